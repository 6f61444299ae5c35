/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all workers share of a pool: its endpoints, how it is balanced, and the table of a policy
 * that hashes keys. Whoever learns something of an endpoint (health checks, outlier detection, an
 * operator) tells it here, from any thread; each worker's balancer finds out at its next pick.
 * Allocates only when it is made; no I/O, no clock.
 */
#ifndef WEIR_BALANCER_GROUP_H
#define WEIR_BALANCER_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/endpoint.h"

#define LB_ENDPOINTS_MAX (1u << 20) /* in one group */
#define LB_NEVER         UINT64_MAX

struct lb_outlier;
struct lb_policy;
struct lb_sticky;

/* All zero is the plainest of groups. */
struct lb_options {
    uint32_t bound;         /* percent of the mean load that an endpoint may have, more than 100;
                               0 = any. Only policies that hash keys look at it */
    uint64_t slow_start_us; /* over which an endpoint that came (back) gets its part; 0 = at once */
    uint32_t subset;        /* endpoints that a balancer uses after lb_narrow; 0 = all */
    uint8_t zone;           /* that this process is in; 0 = not known */
};

struct lb_group {
    const struct lb_policy *policy;
    struct lb_options options;
    struct lb_endpoint **endpoints;
    uint32_t count;
    bool bounded;               /* an endpoint may have only so many requests in flight */
    void *table;                /* the policy's, read-only, or NULL */
    struct lb_outlier *outlier; /* lb_outlier_attach; or NULL */
    struct lb_sticky *sticky;   /* lb_sticky_attach; or NULL */
    _Atomic uint64_t *since;    /* LB_MARKS for each endpoint: when it was marked last */
    _Atomic uint64_t probe_us;  /* when an ejected endpoint may be asked again, or LB_NEVER */
    _Atomic uint32_t epoch;     /* moves on with each change of who may be picked */
    alignas(LB_CACHE_LINE) _Atomic uint64_t in_flight; /* of all endpoints; only with a bound */
};

/*
 * A group of endpoints[0..count), count <= LB_ENDPOINTS_MAX; of none, nobody is picked. The
 * pointers are copied; the endpoints are borrowed and must outlive it, and their zones, priorities
 * and so on are set. Equal ids are made different. options: NULL is all zero. A policy with a table
 * builds it here, which may take tens of milliseconds: not for a worker's thread. Never NULL.
 */
struct lb_group *lb_group_new(const struct lb_policy *policy, const struct lb_options *options,
                              struct lb_endpoint *const *endpoints, uint32_t count);

/* Every balancer on it must be gone. NULL is fine. */
void lb_group_free(struct lb_group *group);

/*
 * Sets a mark of endpoint index, or takes it away. Whoever loses the last one comes back by slow
 * start as of now_us (of the clock that is given to lb_pick; at least 1).
 */
void lb_group_mark(struct lb_group *group, uint32_t index, enum lb_mark mark, bool on,
                   uint64_t now_us);

/* 0..LB_WEIGHT_MAX. */
void lb_group_set_weight(struct lb_group *group, uint32_t index, uint32_t weight);

/* Slow start begins now, though nothing was wrong: for one that was added to a pool in use. */
void lb_group_warm(struct lb_group *group, uint32_t index, uint64_t now_us);

/* When its slow start began last; 0: long ago. */
static inline uint64_t lb_group_warm_since(const struct lb_group *group, uint32_t index)
{
    return atomic_load_explicit(&group->endpoints[index]->warm_us, memory_order_relaxed);
}

/* All indices in the order of the ids, which is the same in every process. malloc's; never NULL. */
uint32_t *lb_group_order(const struct lb_group *group);

static inline uint32_t lb_group_marks(const struct lb_group *group, uint32_t index)
{
    return atomic_load_explicit(&group->endpoints[index]->marks, memory_order_relaxed);
}

/* When it got that mark, or when it lost it; 0: it had it, or not, from the start. */
static inline uint64_t lb_group_since(const struct lb_group *group, uint32_t index,
                                      enum lb_mark mark)
{
    const _Atomic uint64_t *since = &group->since[(size_t)index * LB_MARKS];
    return atomic_load_explicit(&since[__builtin_ctz(mark)], memory_order_relaxed);
}

static inline uint32_t lb_group_weight(const struct lb_group *group, uint32_t index)
{
    return atomic_load_explicit(&group->endpoints[index]->weight, memory_order_relaxed);
}

#endif
