/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attempts at answering an exchange, as exchange.c, the client's half of it, calls them. An
 * attempt that fails for good ends the exchange. Worker's thread.
 */
#ifndef WEIR_EXCHANGE_ATTEMPT_H
#define WEIR_EXCHANGE_ATTEMPT_H

#include "proxy/exchange_state.h"

/* Of a new exchange, whose peer is set: there is no attempt yet. */
void attempt_init(struct exchange *x);

/* Picks an endpoint and asks it, now or when there is a stream to it. The route and its pool are
 * chosen, and the request's head is edited. False: every endpoint has as many requests as it may,
 * or that of its session has, and nothing has been done. Else the exchange may have ended when it
 * returns. */
bool attempt_first(struct exchange *x);

/* The time of the next attempt has come. */
void attempt_due(struct exchange *x);

/* More of the request's body; takes all of the chain. Sent, or kept while the attempt is pending.
 */
void attempt_send_body(struct exchange *x, struct chain *body);

/* The request is complete; in a tunnel: the client has ended its direction. trailers: NULL, or
 * valid during the call. Sent, or kept while the attempt is pending. */
void attempt_send_end(struct exchange *x, const struct http_head *trailers);

#endif
