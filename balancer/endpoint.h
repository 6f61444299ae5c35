/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all workers share about one endpoint. Allocated and freed by whoever owns the pool (with
 * its own alignment: use aligned_alloc, or an array of these), it outlives every balancer that
 * points at it. Must never do I/O or read a clock. Any thread; only the counters change after the
 * endpoint was published, and they are relaxed atomics: each is a statistic on its own, nothing
 * else is read on the strength of it.
 */
#ifndef WEIR_BALANCER_ENDPOINT_H
#define WEIR_BALANCER_ENDPOINT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#include "proxy/base/check.h"

#define LB_CACHE_LINE 64
#define LB_WEIGHT_MAX (1u << 20) /* of an effective weight; configured ones end at 1000 */

struct lb_endpoint {
    uint64_t id;     /* the owner's identity of it (a hash of the address, say); opaque here */
    uint32_t index;  /* the owner's index of it; opaque here, need not be that in a view */
    uint32_t weight; /* as configured, 0..LB_WEIGHT_MAX; 0 = no new requests */

    /* Requests started and not finished, by all workers. Written for each request by each worker:
       alone on its line, so that reading the fields above never waits for it. */
    alignas(LB_CACHE_LINE) _Atomic uint32_t in_flight;
};

static inline void lb_endpoint_init(struct lb_endpoint *ep, uint64_t id, uint32_t index,
                                    uint32_t weight)
{
    CHECK(weight <= LB_WEIGHT_MAX);
    ep->id = id;
    ep->index = index;
    ep->weight = weight;
    atomic_init(&ep->in_flight, 0);
}

/* Requests in flight over all workers, as of some moment just now. */
static inline uint32_t lb_endpoint_in_flight(const struct lb_endpoint *ep)
{
    return atomic_load_explicit(&ep->in_flight, memory_order_relaxed);
}

#endif
