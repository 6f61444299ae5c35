/* SPDX-License-Identifier: Apache-2.0 */
/* How an exchange and each of its attempts end. Private to exchange.c and exchange_attempt.c.
 * Worker's thread. */
#ifndef WEIR_EXCHANGE_END_H
#define WEIR_EXCHANGE_END_H

#include "proxy/exchange_state.h"

/* The attempt has a response, with this head, though it goes on. That of a gRPC call says nothing
 * yet unless it has the call's status. */
void attempt_answered(struct exchange *x, const struct http_head *head);

/* A part of a message of a call whose status follows: the endpoint does answer. */
void attempt_spoke(struct exchange *x);

/* The response is whole. trailers: or NULL. */
void attempt_whole(struct exchange *x, const struct http_head *trailers);

/* Ends the attempt, if there is one, for reason (REASON_DONE: it was answered whole): its lease
 * goes back, and its stream is released. */
void attempt_end(struct exchange *x, enum reason reason);

/* Lets go of what is kept of the request: there will be no other attempt. The client's stream must
 * still be there. */
void attempt_forget(struct exchange *x);

/* The last act: the attempt is ended, everybody is let go, and what happened is told. The memory
 * goes at the end of the turn. */
void exchange_finish(struct exchange *x, enum reason reason);

/* Answers for the upstream, if the client has seen nothing yet, and finishes. */
void exchange_fail(struct exchange *x, enum reason reason);

#endif
