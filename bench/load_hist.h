/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram of latencies: log-linear as HdrHistogram's, of fixed size. A value below 2^43 ns
 * (2.4 hours; larger ones count as that) is kept to within 1/128 of itself.
 */
#ifndef BENCH_LOAD_HIST_H
#define BENCH_LOAD_HIST_H

#include <stdint.h>

enum {
    HIST_SUB_BITS = 7,
    HIST_MAX_BITS = 43,
    HIST_BUCKETS = (HIST_MAX_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS
};

struct hist {
    uint64_t count, sum, min, max; /* min is meaningless while count is 0 */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_init(struct hist *h);
void hist_add(struct hist *h, uint64_t value);

/* The smallest value such that `share` (0..1) of all are not above it, or at most 1/128 more than
 * that, and never more than the largest; 0 of an empty histogram. */
uint64_t hist_quantile(const struct hist *h, double share);

/* How many are surely not below `value`: those within 1/128 of it may be left out. */
uint64_t hist_at_least(const struct hist *h, uint64_t value);

double hist_mean(const struct hist *h);

#endif
