/* SPDX-License-Identifier: Apache-2.0 */
/* How an exchange and each of its attempts end. Private to exchange.c and exchange_attempt.c.
 * Worker's thread. */
#ifndef WEIR_EXCHANGE_END_H
#define WEIR_EXCHANGE_END_H

#include "proxy/exchange_state.h"

/* The attempt has its final head, at head_us: what that says of the endpoint is noted, and not yet
 * told. That of a gRPC call says nothing unless it has the call's status. */
void attempt_rate(struct attempt *a, const struct http_head *head);

/* The same of the trailers, or NULL, of one whose status follows: a call that ends without one has
 * failed. */
void attempt_rate_end(struct attempt *a, const struct http_head *trailers);

/* The attempt, a probe, is answered as it was rated. */
void attempt_proved(struct attempt *a);

/* The attempt is answered, as it was rated, though it goes on: for a probe, this decides. */
static inline void attempt_answered(struct attempt *a)
{
    if (a->lease.probe)
        attempt_proved(a);
}

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
