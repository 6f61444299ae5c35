/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an exchange gets another attempt, where, and when. Private to exchange_attempt.c.
 * Worker's thread.
 */
#ifndef WEIR_EXCHANGE_RETRY_H
#define WEIR_EXCHANGE_RETRY_H

#include "proxy/exchange_state.h"
#include "proxy/retry.h"

/* What the rule says of an attempt that failed, or had an answer that is not wanted. */
enum retry_verdict retry_judge(const struct attempt *a, enum reason reason, bool reused,
                               bool answered);

/* A request has come, of which what follows are retries. */
static inline void retry_request(struct exchange *x, uint64_t now_us)
{
    struct lb_budget *budget = pool_spec_of(x->pool)->budget;
    if (budget != NULL)
        lb_budget_request(budget, x->worker->index, now_us);
}

/*
 * For RETRY_OTHER after an attempt that ended for reason: picks x->next, and takes a retry from the
 * budget. The pause before it is no less than least_ms; *pause_ms: how long it is. REASON_NONE, or
 * why there is no other attempt. What never reached an application costs nothing of the budget: it
 * is no load.
 */
enum reason retry_grant(struct exchange *x, enum reason reason, uint64_t least_ms,
                        uint64_t *pause_ms);

/* The pause is over: picks x->next once more, for much may have changed. False: there is nobody. */
bool retry_place(struct exchange *x);

/* Why the exchange ends, if there is nobody: its last attempt's failure; but an answer is none. */
enum reason retry_nowhere(const struct exchange *x);

/* When a second endpoint is to be asked beside the attempt that runs, in ms from now; 0: never. Of
 * an exchange whose pool hedges. */
uint64_t hedge_after_ms(const struct exchange *x);

/* That time has come: picks x->next, and takes a retry from the budget. False: there is nobody, or
 * nothing left. */
bool hedge_grant(struct exchange *x);

#endif
