/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long most answers take: a quantile of what was seen lately, from a histogram of logarithms.
 * It is right to an eighth, forgets by halving (what was seen 2,048 answers ago counts a quarter at
 * most), and knows nothing before LB_QUANTILE_MIN answers. A plain value; pure; one thread.
 */
#ifndef WEIR_BALANCER_QUANTILE_H
#define WEIR_BALANCER_QUANTILE_H

#include <stdint.h>

#define LB_QUANTILE_MIN     32
#define LB_QUANTILE_BUCKETS 256 /* eight for each power of two: up to 2^32 us, an hour */

struct lb_quantile {
    uint32_t percent; /* 1..99 */
    uint32_t total;
    uint32_t fresh; /* seen since value_us was worked out */
    uint64_t value_us;
    uint32_t counts[LB_QUANTILE_BUCKETS];
};

/* Of nothing yet. */
void lb_quantile_init(struct lb_quantile *q, uint32_t percent);

/* An answer took so long. */
void lb_quantile_add(struct lb_quantile *q, uint64_t us);

/* What so many percent of the answers do not take longer than; 0: not known yet. */
uint64_t lb_quantile_us(const struct lb_quantile *q);

#endif
