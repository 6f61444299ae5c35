/* SPDX-License-Identifier: Apache-2.0 */
/* A quantile of what was seen lately. Owns nothing; no I/O, no clock, no allocation. */
#include "balancer/quantile.h"

#include <string.h>

#include "proxy/base/check.h"

#define FRACTION_BITS 3
#define TOTAL_MAX     2048 /* then all counts are halved */
#define EVERY         16   /* answers, after which the value is worked out again */

/* log2 in eighths, with straight lines between the powers of two. */
static uint32_t bucket_of(uint64_t us)
{
    unsigned n = 63 - (unsigned)__builtin_clzll(us | 1);
    uint32_t part = (uint32_t)((us | 1) << (63 - n) >> (63 - FRACTION_BITS));
    uint32_t i = n << FRACTION_BITS | (part & ((1 << FRACTION_BITS) - 1));
    return i < LB_QUANTILE_BUCKETS ? i : LB_QUANTILE_BUCKETS - 1;
}

/* What is in no lower bucket is at least this. */
static uint64_t bucket_floor(uint32_t i)
{
    uint64_t part = (i & ((1 << FRACTION_BITS) - 1)) + (1 << FRACTION_BITS);
    return (part << (i >> FRACTION_BITS)) >> FRACTION_BITS;
}

void lb_quantile_init(struct lb_quantile *q, uint32_t percent)
{
    CHECK(percent >= 1 && percent <= 99);
    memset(q, 0, sizeof(*q));
    q->percent = percent;
}

static void halve(struct lb_quantile *q)
{
    q->total = 0;
    for (uint32_t i = 0; i < LB_QUANTILE_BUCKETS; i++)
        q->total += q->counts[i] /= 2;
}

static uint64_t work_out(const struct lb_quantile *q)
{
    uint64_t above = (uint64_t)q->total * (100 - q->percent) / 100, seen = 0;
    uint32_t i = LB_QUANTILE_BUCKETS;
    while (i > 0 && seen + q->counts[i - 1] <= above)
        seen += q->counts[--i];
    return bucket_floor(i);
}

void lb_quantile_add(struct lb_quantile *q, uint64_t us)
{
    q->counts[bucket_of(us)]++;
    if (++q->total >= TOTAL_MAX)
        halve(q);
    if (++q->fresh >= EVERY && q->total >= LB_QUANTILE_MIN) {
        q->fresh = 0;
        q->value_us = work_out(q);
    }
}

uint64_t lb_quantile_us(const struct lb_quantile *q)
{
    return q->value_us;
}
