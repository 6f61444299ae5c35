/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and latency histograms with one writer and any readers: a plain load and store, no
 * locked instruction. A reader may see counters of different moments. The writer is the thread that
 * owns the shard.
 */
#ifndef WEIR_BASE_STATS_H
#define WEIR_BASE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct counter {
    _Atomic uint64_t n;
};

/* The owner's thread only. */
static inline void counter_add(struct counter *c, uint64_t n)
{
    uint64_t was = atomic_load_explicit(&c->n, memory_order_relaxed);
    atomic_store_explicit(&c->n, was + n, memory_order_relaxed);
}

static inline void counter_inc(struct counter *c)
{
    counter_add(c, 1);
}

/* For gauges. */
static inline void counter_dec(struct counter *c)
{
    counter_add(c, UINT64_MAX);
}

static inline void counter_set(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->n, n, memory_order_relaxed);
}

/* Any thread. */
static inline uint64_t counter_get(const struct counter *c)
{
    return atomic_load_explicit(&((struct counter *)(uintptr_t)c)->n, memory_order_relaxed);
}

/* Upper bounds in microseconds; the last bucket has none. */
#define HIST_BOUNDS                                                                           \
    {                                                                                         \
        500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, \
            5000000, 10000000, 30000000                                                       \
    }
#define HIST_BUCKETS 16

struct hist {
    struct counter buckets[HIST_BUCKETS]; /* not cumulative */
    struct counter sum_us;
};

/* One more duration. The owner's thread only. */
static inline void hist_add(struct hist *h, uint64_t us)
{
    static const uint32_t bounds[HIST_BUCKETS - 1] = HIST_BOUNDS;
    unsigned i = 0;
    while (i < HIST_BUCKETS - 1 && us > bounds[i])
        i++;
    counter_inc(&h->buckets[i]);
    counter_add(&h->sum_us, us);
}

#endif
