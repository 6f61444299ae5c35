/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker counts of requests while a canary runs: once for those that begin with it, once for
 * those beside it. Owned by the control thread (canary.h), which reads it; written by the worker.
 */
#ifndef WEIR_TRIAL_H
#define WEIR_TRIAL_H

#include "proxy/base/stats.h"
#include "proxy/guard.h"

#define TRIAL_ALL UINT32_C(1000000) /* of a share: all requests */

struct trial_stats {
    uint64_t since_us; /* the worker's: requests that began before do not count */
    struct counter requests, errors;
    struct counter buckets[GUARD_BUCKETS];
};

/* A request has been answered with a status, or could not be: one of ours. us: until the answer
 * began. */
static inline void trial_count(struct trial_stats *t, unsigned status, uint64_t us)
{
    counter_inc(&t->requests);
    if (status >= 500)
        counter_inc(&t->errors);
    counter_inc(&t->buckets[guard_bucket(us)]);
}

#endif
