/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two halves of an exchange, as they call one another: exchange.c, the client's, and
 * exchange_attempt.c, the upstream's. Private to them. Worker's thread.
 */
#ifndef WEIR_EXCHANGE_ATTEMPT_H
#define WEIR_EXCHANGE_ATTEMPT_H

#include "proxy/exchange_state.h"

/* ---- exchange_attempt.c ---- */

/* Of a new exchange, whose peer is set: there is no attempt yet. */
void attempt_init(struct exchange *x);

/* Picks an endpoint and asks it, now or when there is a stream to it. The route and its pool are
 * chosen, and the request's head is edited. The exchange may have ended when it returns. */
void attempt_first(struct exchange *x);

/* More of the request's body; takes all of the chain. Sent, or kept while the attempt is pending.
 */
void attempt_send_body(struct exchange *x, struct chain *body);

/* The request is complete; in a tunnel: the client has ended its direction. trailers: NULL, or
 * valid during the call. Sent, or kept while the attempt is pending. */
void attempt_send_end(struct exchange *x, const struct http_head *trailers);

/* Ends the attempt, if there is one, for reason (REASON_DONE: it was answered whole): its lease
 * goes back, and its stream is released. */
void attempt_end(struct exchange *x, enum reason reason);

/* Lets go of what is kept of the request: there will be no other attempt. The client's stream must
 * still be there. */
void attempt_forget(struct exchange *x);

/* ---- exchange.c ---- */

/* The last act: the attempt is ended, everybody is let go, and what happened is told. The memory
 * goes at the end of the turn. */
void exchange_finish(struct exchange *x, enum reason reason);

/* Answers for the upstream, if the client has seen nothing yet, and finishes. */
void exchange_fail(struct exchange *x, enum reason reason);

/* Moves the idle deadline of a tunnel. */
void exchange_touch(struct exchange *x);

#endif
