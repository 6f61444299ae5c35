/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of endpoints to test balancers with, and their picks. Owns the endpoints. Included by one
 * test program each; one thread.
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
#include <time.h>

#include <cmocka.h>

#include "balancer/lb.h"
#include "balancer/rng.h"

struct test_pool {
    uint32_t count;
    struct lb_endpoint *endpoints;
    struct lb_endpoint **list;
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
        lb_endpoint_init(&p.endpoints[i], i, i, weights ? weights[i] : 1);
        p.list[i] = &p.endpoints[i];
    }
    return p;
}

static inline void pool_free(struct test_pool *p)
{
    free(p->list);
    free(p->endpoints);
}

static inline struct lb *pool_lb(const struct test_pool *p, const struct lb_policy *policy,
                                 uint64_t seed)
{
    return lb_new(policy, p->list, p->count, seed);
}

static inline int32_t pick(struct lb *lb)
{
    return lb_pick(lb, 0, NULL, 0);
}

static inline double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Prints what a pick of this policy costs in a pool of 10,000; for people to read. */
static inline void print_cost(const struct lb_policy *policy, const char *what,
                              const uint32_t *weights)
{
    enum { COUNT = 10000, PICKS = 200000 };
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, policy, 7);
    struct lb_lease out[64] = {0};
    double before = seconds();
    for (uint32_t k = 0; k < PICKS; k++) {
        int32_t i = pick(lb);
        assert_true(i >= 0);
        struct lb_lease *lease = &out[k % ARRAY_LEN(out)];
        lb_lease_drop(lease, 0);
        lb_started(lb, lease, (uint32_t)i, 0);
    }
    print_message("%s, 10000 endpoints, %s: %.0f ns a pick, with its start and finish\n",
                  policy->name, what, (seconds() - before) * 1e9 / PICKS);
    for (size_t k = 0; k < ARRAY_LEN(out); k++)
        lb_lease_drop(&out[k], 0);
    lb_free(lb);
    pool_free(&p);
}

static inline void print_costs(const struct lb_policy *policy)
{
    static uint32_t few[10000], many[10000], distinct[10000];
    for (uint32_t i = 0; i < ARRAY_LEN(few); i++) {
        few[i] = 1 + i % 4;
        many[i] = 1 + i * 7 % 1000;
        distinct[i] = 1 + i;
    }
    print_cost(policy, "equal weights", NULL);
    print_cost(policy, "weights 1 to 4", few);
    print_cost(policy, "weights 1 to 1000", many);
    print_cost(policy, "all weights different", distinct);
}

#endif
