/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all workers share about one endpoint. Allocated and freed by whoever owns the pool (with
 * its own alignment: use aligned_alloc, or an array of these), it outlives every balancer that
 * points at it. Must never do I/O or read a clock. Any thread; only the atomics change after the
 * endpoint was published, and they are relaxed: each is a fact on its own, nothing else is read on
 * the strength of it. What changes who may be picked is written by group.h's setters only, which
 * then tell the workers.
 */
#ifndef WEIR_BALANCER_ENDPOINT_H
#define WEIR_BALANCER_ENDPOINT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/check.h"

#define LB_CACHE_LINE 64
#define LB_WEIGHT_MAX (1u << 20) /* of an effective weight; configured ones end at 1000 */
#define LB_MARKS      4          /* kinds of them, enum lb_mark */
#define LB_LEVELS     8          /* of priority: 0 (first) to 7 */
#define LB_ZONES      32         /* 0 (not known) to 31 */
#define LB_ANY        UINT32_MAX /* requests in flight */

/* Why an endpoint gets no new requests. Bits, so that each has one owner and none hides another. */
enum lb_mark {
    LB_DRAINED = 1 << 0,  /* an operator took it out: nothing overrules that */
    LB_UNPROVEN = 1 << 1, /* added at run time, and no check has passed yet */
    LB_DOWN = 1 << 2,     /* its health checks fail */
    LB_EJECTED = 1 << 3,  /* an outlier among its peers; ignored in a panic */
};

struct lb_endpoint {
    uint64_t id;      /* its identity, such as a hash of its address: what keys stick to */
    uint32_t index;   /* the owner's index of it; opaque here, need not be that in a group */
    uint8_t zone;     /* 0..LB_ZONES - 1 */
    uint8_t priority; /* 0..LB_LEVELS - 1; lower goes first */
    bool backup;      /* only when no other is usable */
    uint32_t most;    /* requests that it may have in flight; LB_ANY */

    _Atomic uint32_t weight;  /* 0..LB_WEIGHT_MAX; 0 = no new requests */
    _Atomic uint32_t marks;   /* enum lb_mark; 0 = usable */
    _Atomic uint64_t warm_us; /* when it came, or came back: slow start begins; 0 = long ago */

    /* Written for each request by each worker: alone on their line, so that reading the fields
       above never waits for them. */
    alignas(LB_CACHE_LINE) _Atomic uint32_t in_flight; /* started and not finished */
    _Atomic uint32_t run;                              /* failures since the last answer */
    _Atomic uint32_t waiting; /* requests of its sessions: what room it gets is theirs */
    _Atomic uint64_t latency; /* latency.h; 0 = nothing known */
    /* All that ended so far, for outlier.h; they wrap. */
    _Atomic uint32_t answers, failures;
    _Atomic uint64_t logs; /* of the answers' latencies: sum of lb_outlier_log */
};

/* Zone 0, priority 0, no backup, usable and warm; any number of requests. */
static inline void lb_endpoint_init(struct lb_endpoint *ep, uint64_t id, uint32_t index,
                                    uint32_t weight)
{
    CHECK(weight <= LB_WEIGHT_MAX);
    ep->id = id;
    ep->index = index;
    ep->zone = 0;
    ep->priority = 0;
    ep->backup = false;
    ep->most = LB_ANY;
    atomic_init(&ep->weight, weight);
    atomic_init(&ep->marks, 0);
    atomic_init(&ep->warm_us, 0);
    atomic_init(&ep->in_flight, 0);
    atomic_init(&ep->run, 0);
    atomic_init(&ep->waiting, 0);
    atomic_init(&ep->latency, 0);
    atomic_init(&ep->answers, 0);
    atomic_init(&ep->failures, 0);
    atomic_init(&ep->logs, 0);
}

/* Requests in flight over all workers, as of some moment just now. */
static inline uint32_t lb_endpoint_in_flight(const struct lb_endpoint *ep)
{
    return atomic_load_explicit(&ep->in_flight, memory_order_relaxed);
}

#endif
