/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of endpoints to test balancers with, and their picks. Owns the endpoints and the group.
 * Included by one test program each; one thread.
 */
#ifndef WEIR_TESTS_TEST_BALANCER_POOL_H
#define WEIR_TESTS_TEST_BALANCER_POOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/hash.h"
#include "balancer/lb.h"
#include "balancer/rng.h"

struct test_pool {
    uint32_t count;
    struct lb_endpoint *endpoints;
    struct lb_endpoint **list;
    struct lb_options options;
    struct lb_group *group; /* of the policy that was last asked for */
};

/* weights: NULL = all 1 */
static inline struct test_pool pool_new(uint32_t count, const uint32_t *weights)
{
    struct test_pool p = {.count = count};
    p.endpoints = aligned_alloc(LB_CACHE_LINE, count * sizeof(*p.endpoints));
    p.list = malloc(count * sizeof(*p.list));
    assert_non_null(p.endpoints);
    assert_non_null(p.list);
    for (uint32_t i = 0; i < count; i++) {
        lb_endpoint_init(&p.endpoints[i], lb_hash_pair(i, 0), i, weights ? weights[i] : 1);
        p.list[i] = &p.endpoints[i];
    }
    return p;
}

static inline void pool_free(struct test_pool *p)
{
    lb_group_free(p->group);
    free(p->list);
    free(p->endpoints);
}

/* The balancers of the group before must be gone. */
static inline struct lb_group *pool_group(struct test_pool *p, const struct lb_policy *policy)
{
    if (p->group == NULL || p->group->policy != policy) {
        lb_group_free(p->group);
        p->group = lb_group_new(policy, &p->options, p->list, p->count);
    }
    return p->group;
}

static inline struct lb *pool_lb(struct test_pool *p, const struct lb_policy *policy, uint64_t seed)
{
    return lb_new(pool_group(p, policy), seed);
}

static inline int32_t pick(struct lb *lb)
{
    return lb_pick(lb, 0, NULL, 0);
}

static inline void set_usable(struct test_pool *p, uint32_t i, bool usable)
{
    lb_group_mark(p->group, i, LB_DRAINED, !usable, 1);
}

static inline bool usable(const struct test_pool *p, uint32_t i)
{
    return lb_group_marks(p->group, i) == 0;
}

/* The weight that i has from the next pick on, if nothing but its own marks counts. */
static inline uint32_t share(const struct test_pool *p, uint32_t i)
{
    return usable(p, i) ? lb_group_weight(p->group, i) : 0;
}

#endif
