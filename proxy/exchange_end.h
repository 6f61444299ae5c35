/* SPDX-License-Identifier: Apache-2.0 */
/* How an exchange and each of its attempts end. Private to exchange.c and exchange_attempt.c.
 * Worker's thread. */
#ifndef WEIR_EXCHANGE_END_H
#define WEIR_EXCHANGE_END_H

#include "proxy/exchange_state.h"

/* The attempt has a response, of a->status, though it goes on. */
void attempt_answered(struct attempt *a);

/* Ends the attempt, if it runs, for reason (REASON_DONE: it was answered, if not to the end): its
 * lease goes back, and its stream is released. */
void attempt_end(struct attempt *a, enum reason reason);

/* Lets go of what is kept of the request: there will be no other attempt. The client's stream must
 * still be there. */
void attempt_forget(struct exchange *x);

/* The last act: the attempt is ended, everybody is let go, and what happened is told. The memory
 * goes at the end of the turn. */
void exchange_finish(struct exchange *x, enum reason reason);

/* Answers for the upstream, if the client has seen nothing yet, and finishes. */
void exchange_fail(struct exchange *x, enum reason reason);

#endif
