/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The histogram of latencies. The first 128 buckets hold one value each; from then on, every power
 * of two has 128 buckets of equal width. Owns nothing outside its struct; never allocates and does
 * no I/O; any one thread at a time.
 */
#include "bench/load_hist.h"

#include <math.h>
#include <string.h>

enum { SUBS = 1 << HIST_SUB_BITS };

static unsigned bucket_of(uint64_t value)
{
    if (value < SUBS)
        return (unsigned)value;
    if (value >> HIST_MAX_BITS)
        return HIST_BUCKETS - 1;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HIST_SUB_BITS;
    return ((shift + 1) << HIST_SUB_BITS) + (unsigned)(value >> shift) - SUBS;
}

static unsigned shift_of(unsigned bucket)
{
    return bucket < SUBS ? 0 : (bucket >> HIST_SUB_BITS) - 1;
}

static uint64_t lowest(unsigned bucket)
{
    if (bucket < SUBS)
        return bucket;
    return (uint64_t)(SUBS + (bucket & (SUBS - 1))) << shift_of(bucket);
}

static uint64_t highest(unsigned bucket)
{
    return lowest(bucket) + (UINT64_C(1) << shift_of(bucket)) - 1;
}

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof(*h));
    h->min = UINT64_MAX;
}

void hist_add(struct hist *h, uint64_t value)
{
    h->buckets[bucket_of(value)]++;
    h->count++;
    h->sum += value;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

uint64_t hist_quantile(const struct hist *h, double share)
{
    double rank = ceil(share * (double)h->count);
    uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank, seen = 0;

    if (h->count == 0)
        return 0;
    for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
        seen += h->buckets[i];
        if (seen >= wanted)
            return highest(i) < h->max ? highest(i) : h->max;
    }
    return h->max; /* the last bucket has no upper end */
}

uint64_t hist_at_least(const struct hist *h, uint64_t value)
{
    uint64_t n = 0;

    for (unsigned i = bucket_of(value); i < HIST_BUCKETS; i++)
        if (lowest(i) >= value)
            n += h->buckets[i];
    return n;
}

double hist_mean(const struct hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}
