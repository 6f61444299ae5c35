/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the next pick: it is the one that comes, whatever the policy and the state of the pool,
 * and nobody can tell that somebody has looked.
 */
#include "tests/unit/test_balancer_pool.h"

#include <math.h>

#include "balancer/look.h"
#include "balancer/outlier.h"
#include "balancer/state.h"

#define SECOND UINT64_C(1000000)
#define START  (100 * SECOND)

enum { ENDPOINTS = 7, LEASES = 40 };

/* What happens to a pool between picks: requests that begin and end, marks and weights. */
struct life {
    struct test_pool pool;
    struct lb *lb;
    struct lb_rng rng;
    struct lb_lease leases[LEASES];
    uint64_t now_us;
};

static uint32_t below(struct life *l, uint32_t n)
{
    return (uint32_t)lb_rng_below(&l->rng, n);
}

static void happen(struct life *l)
{
    struct lb_lease *lease = &l->leases[below(l, LEASES)];
    uint32_t i = below(l, ENDPOINTS), what = below(l, 12);
    l->now_us += below(l, 200000);
    if (what == 0)
        lb_group_mark(l->pool.group, i, LB_DOWN, below(l, 2), l->now_us);
    else if (what == 1)
        lb_group_set_weight(l->pool.group, i, below(l, 4));
    else if (lb_lease_started(lease))
        lb_finished(lease, below(l, 4) > 0 ? LB_OK : LB_ERROR, below(l, 90000), l->now_us);
}

static struct lb_tried some_tried(struct life *l)
{
    struct lb_tried tried = {0};
    for (uint32_t n = below(l, 3); n > 0 && below(l, 2); n--)
        lb_tried_add(&tried, below(l, ENDPOINTS));
    return tried;
}

static void in_flight(const struct life *l, uint32_t counts[ENDPOINTS])
{
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        counts[i] = lb_endpoint_in_flight(&l->pool.endpoints[i]);
}

static void look_then_pick(struct life *l)
{
    struct lb_tried tried = some_tried(l);
    uint64_t key = below(l, 2) ? below(l, 1000) + 1 : 0;
    int32_t stuck = below(l, 4) == 0 ? (int32_t)below(l, ENDPOINTS) : LB_NONE;
    uint32_t before[ENDPOINTS], after[ENDPOINTS];
    struct lb_look look, again;
    in_flight(l, before);
    lb_look_ahead(l->lb, stuck, key, &tried, l->now_us, &look);
    lb_look_ahead(l->lb, stuck, key, &tried, l->now_us, &again);
    in_flight(l, after);
    assert_memory_equal(before, after, sizeof(before));
    assert_int_equal(look.index, again.index);
    int32_t picked = lb_pick_stuck(l->lb, stuck, key, &tried, l->now_us);
    assert_int_equal(look.index, picked);
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        assert_int_equal(look.weights[i], lb_view_share(lb_view_of(l->lb), i));
    struct lb_lease *lease = &l->leases[below(l, LEASES)];
    if (picked >= 0 && !lb_lease_started(lease))
        lb_started(l->lb, lease, (uint32_t)picked, l->now_us);
    else
        lb_unpicked(l->lb, l->now_us);
    lb_look_fini(&look);
    lb_look_fini(&again);
}

static void live(const struct lb_policy *policy, uint64_t seed, uint32_t most)
{
    static const struct lb_outlier_options outlier = {.mode = LB_RULE_ENFORCE,
                                                      .errors = 2,
                                                      .max = 50,
                                                      .eject_us = SECOND,
                                                      .max_eject_us = 5 * SECOND};
    static const uint32_t weights[ENDPOINTS] = {1, 2, 3, 1, 5, 1, 2};
    struct life l = {.pool = pool_new(ENDPOINTS, weights), .now_us = START};
    lb_rng_seed(&l.rng, seed);
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        l.pool.endpoints[i].most = most;
    lb_outlier_attach(pool_group(&l.pool, policy), &outlier);
    l.lb = pool_lb(&l.pool, policy, seed);
    for (int n = 0; n < 3000; n++) {
        happen(&l);
        look_then_pick(&l);
    }
    for (int i = 0; i < LEASES; i++)
        lb_lease_drop(&l.leases[i], l.now_us);
    lb_free(l.lb);
    pool_free(&l.pool);
}

static void test_a_look_is_the_next_pick(void **state)
{
    (void)state;
    for (size_t i = 0; lb_policy_at(i) != NULL; i++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            live(lb_policy_at(i), seed, LB_ANY);
}

static void test_a_look_is_the_next_pick_where_endpoints_are_full(void **state)
{
    (void)state;
    for (size_t i = 0; lb_policy_at(i) != NULL; i++)
        for (uint64_t seed = 1; seed <= 4; seed++)
            live(lb_policy_at(i), seed, 2);
}

/* The probe of an ejected endpoint is not spent by looking. */
static void test_a_look_leaves_the_probe(void **state)
{
    static const struct lb_outlier_options outlier = {.mode = LB_RULE_ENFORCE,
                                                      .errors = 1,
                                                      .max = 50,
                                                      .eject_us = SECOND,
                                                      .max_eject_us = SECOND};
    struct test_pool p = pool_new(2, NULL);
    struct lb_look look;
    struct lb_lease lease = {0};
    (void)state;
    lb_outlier_attach(pool_group(&p, &lb_p2c), &outlier);
    struct lb *lb = pool_lb(&p, &lb_p2c, 1);
    lb_started(lb, &lease, 1, START);
    assert_true(lb_finished(&lease, LB_ERROR, 1, START));
    lb_look_ahead(lb, LB_NONE, 0, NULL, START + 1, &look);
    assert_int_equal(look.index, 0);
    assert_false(look.probe);
    assert_true(isnan(look.scores[1]));
    lb_look_fini(&look);
    for (int n = 0; n < 2; n++) {
        lb_look_ahead(lb, LB_NONE, 0, NULL, START + SECOND, &look);
        assert_int_equal(look.index, 1);
        assert_true(look.probe);
        lb_look_fini(&look);
    }
    assert_int_equal(lb_pick(lb, 0, NULL, START + SECOND), 1);
    lb_unpicked(lb, START + SECOND);
    lb_free(lb);
    pool_free(&p);
}

/* Keys: the scores are the places in the row, from 1, and the pick is the first that takes it. */
static void test_scores_of_keys(void **state)
{
    const struct lb_policy *const policies[] = {&lb_ring_hash, &lb_maglev};
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(policies); k++) {
        struct test_pool p = pool_new(5, NULL);
        struct lb *lb = pool_lb(&p, policies[k], 3);
        for (uint64_t key = 1; key < 200; key++) {
            struct lb_look look;
            lb_look_ahead(lb, LB_NONE, lb_hash_mix(key), NULL, 0, &look);
            assert_true(look.scores[look.index] == 1);
            lb_look_fini(&look);
        }
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_exclusions(void **state)
{
    static const uint32_t weights[] = {10, 1, 0, 1, 1, 1};
    struct test_pool p = pool_new(6, weights);
    struct lb_state states[6];
    uint32_t effective[6];
    struct lb_shares shares;
    (void)state;
    p.endpoints[3].backup = true;
    p.endpoints[4].priority = 1;
    p.endpoints[5].most = 1;
    pool_group(&p, &lb_random);
    lb_group_mark(p.group, 1, LB_DOWN, true, 7);
    lb_group_mark(p.group, 1, LB_EJECTED, true, 8);
    atomic_store(&p.endpoints[5].in_flight, 1);
    lb_states(p.group, 9, states, effective, &shares);
    const enum lb_exclusion want[] = {LB_IN,         LB_OUT_DOWN,  LB_OUT_WEIGHT,
                                      LB_OUT_BACKUP, LB_OUT_LEVEL, LB_OUT_FULL};
    for (int i = 0; i < 6; i++)
        assert_string_equal(lb_exclusion_name(states[i].exclusion), lb_exclusion_name(want[i]));
    pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_look_is_the_next_pick),
        cmocka_unit_test(test_a_look_is_the_next_pick_where_endpoints_are_full),
        cmocka_unit_test(test_a_look_leaves_the_probe),
        cmocka_unit_test(test_scores_of_keys),
        cmocka_unit_test(test_exclusions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
