/* SPDX-License-Identifier: Apache-2.0 */
/* random and p2c: what is drawn how often, who is left out, who is less busy. Fixed seeds. */
#include "tests/unit/test_balancer_pool.h"

#include <math.h>

/* Fails if seen[] is not from weights: chi-squared beyond six standard deviations. */
static void expect_shares(const uint64_t *seen, const uint32_t *weights, uint32_t count)
{
    double total = 0, draws = 0, chi2 = 0, kinds = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += weights[i];
        draws += (double)seen[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        double due = draws * weights[i] / total;
        if (weights[i] == 0) {
            assert_int_equal(seen[i], 0);
            continue;
        }
        chi2 += ((double)seen[i] - due) * ((double)seen[i] - due) / due;
        kinds++;
    }
    assert_true(chi2 < kinds - 1 + 6 * sqrt(2 * kinds) + 1);
}

static void count_picks(struct lb *lb, const struct lb_tried *tried, uint64_t *seen, uint32_t n)
{
    memset(seen, 0, lb_view_of(lb)->count * sizeof(*seen));
    while (n-- > 0) {
        int32_t i = lb_pick(lb, 0, tried, 0);
        assert_true(i >= 0);
        seen[i]++;
    }
}

static void test_random_draws_by_weight(void **state)
{
    static const uint32_t weights[][6] = {
        {1, 1, 1, 1, 1, 1},
        {5, 1, 1, 0, 2, 7},
        {0, 0, 0, 0, 0, 3},
        {1000, 1, 1, 1, 1, 1},
        {1, 1000000, 1, 0, 500000, 333333},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(weights); k++) {
        struct test_pool p = pool_new(6, weights[k]);
        struct lb *lb = pool_lb(&p, &lb_random, k);
        uint64_t seen[6];
        count_picks(lb, NULL, seen, 200000);
        expect_shares(seen, weights[k], 6);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_random_follows_changes(void **state)
{
    enum { COUNT = 300 };
    uint32_t weights[COUNT];
    uint64_t seen[COUNT];
    struct lb_rng rng;
    (void)state;
    lb_rng_seed(&rng, 11);
    for (uint32_t i = 0; i < COUNT; i++)
        weights[i] = (uint32_t)lb_rng_below(&rng, 1001);
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, &lb_random, 12);
    for (int round = 0; round < 5; round++) {
        uint32_t i = (uint32_t)lb_rng_below(&rng, COUNT), j = (uint32_t)lb_rng_below(&rng, COUNT);
        set_usable(&p, i, false);
        lb_group_set_weight(p.group, j, 5000);
        for (i = 0; i < COUNT; i++)
            weights[i] = share(&p, i);
        count_picks(lb, NULL, seen, 300000);
        expect_shares(seen, weights, COUNT);
    }
    lb_free(lb);
    pool_free(&p);
}

/* Whoever holds most of the weight and was tried is left out by the scan, not by redrawing. */
static void test_tried_are_left_out_and_proportions_kept(void **state)
{
    const uint32_t weights[] = {1000000, 3, 1, 0, 2, 10}, left[] = {0, 3, 1, 0, 2, 0};
    struct test_pool p = pool_new(6, weights);
    struct lb *lb = pool_lb(&p, &lb_random, 21);
    struct lb_tried t = {0};
    uint64_t seen[6];
    (void)state;
    lb_tried_add(&t, 0);
    lb_tried_add(&t, 5);
    count_picks(lb, &t, seen, 60000);
    expect_shares(seen, left, 6);
    lb_tried_add(&t, 1);
    lb_tried_add(&t, 2);
    assert_int_equal(lb_pick(lb, 0, &t, 0), 4);
    lb_tried_add(&t, 4);
    assert_int_equal(lb_pick(lb, 0, &t, 0), LB_NONE);
    lb_free(lb);
    pool_free(&p);
}

/* Each endpoint has as much in flight as busy[] says, of another worker. */
static void set_busy(struct test_pool *p, const uint32_t *busy)
{
    for (uint32_t i = 0; i < p->count; i++)
        atomic_store_explicit(&p->endpoints[i].in_flight, busy[i], memory_order_relaxed);
}

static void test_p2c_of_two_always_takes_the_less_busy(void **state)
{
    const uint32_t weights[] = {1000, 1}, busy[] = {1001, 1}, busier[] = {999, 1};
    struct test_pool p = pool_new(2, weights);
    struct lb *lb = pool_lb(&p, &lb_p2c, 31);
    (void)state;
    set_busy(&p, busy);
    for (int k = 0; k < 1000; k++)
        assert_int_equal(pick(lb), 1);
    set_busy(&p, busier);
    for (int k = 0; k < 1000; k++)
        assert_int_equal(pick(lb), 0);
    lb_free(lb);
    pool_free(&p);
}

static void test_p2c_is_by_weight_when_idle(void **state)
{
    const uint32_t weights[] = {8, 4, 2, 1, 0, 1};
    struct test_pool p = pool_new(6, weights);
    struct lb *lb = pool_lb(&p, &lb_p2c, 32);
    uint64_t seen[6];
    (void)state;
    count_picks(lb, NULL, seen, 200000);
    expect_shares(seen, weights, 6);
    lb_free(lb);
    pool_free(&p);
}

/* The busiest is never taken, the idlest whenever it is one of the two: 1 - (n-2)/n. */
static void test_p2c_compares_two_different_ones(void **state)
{
    const uint32_t busy[] = {50, 0, 40, 30, 20}, likely[] = {0, 4, 1, 2, 3};
    struct test_pool p = pool_new(5, NULL);
    struct lb *lb = pool_lb(&p, &lb_p2c, 33);
    uint64_t seen[5];
    (void)state;
    set_busy(&p, busy);
    count_picks(lb, NULL, seen, 100000);
    expect_shares(seen, likely, 5);
    lb_free(lb);
    pool_free(&p);
}

/* The second draw differs from the first, even where redrawing would not do. */
static void test_p2c_compares_where_one_has_nearly_all_weight(void **state)
{
    const uint32_t weights[] = {3, 1000000, 1, 2}, busy[] = {0, 1000000, 0, 0};
    const uint32_t likely[] = {3, 0, 1, 2};
    struct test_pool p = pool_new(4, weights);
    struct lb *lb = pool_lb(&p, &lb_p2c, 34);
    uint64_t seen[4];
    (void)state;
    set_busy(&p, busy);
    count_picks(lb, NULL, seen, 60000);
    expect_shares(seen, likely, 4);
    lb_free(lb);
    pool_free(&p);
}

static void test_p2c_with_tried(void **state)
{
    const uint32_t busy[] = {0, 9, 5};
    struct test_pool p = pool_new(3, NULL);
    struct lb *lb = pool_lb(&p, &lb_p2c, 35);
    struct lb_tried t = {0};
    (void)state;
    set_busy(&p, busy);
    lb_tried_add(&t, 0);
    for (int k = 0; k < 200; k++)
        assert_int_equal(lb_pick(lb, 0, &t, 0), 2);
    lb_tried_add(&t, 2);
    assert_int_equal(lb_pick(lb, 0, &t, 0), 1);
    lb_tried_add(&t, 1);
    assert_int_equal(lb_pick(lb, 0, &t, 0), LB_NONE);
    lb_free(lb);
    pool_free(&p);
}

static uint32_t fullest_after(const struct lb_policy *policy, uint32_t n)
{
    struct test_pool p = pool_new(n, NULL);
    struct lb *lb = pool_lb(&p, policy, 36);
    struct lb_lease *leases = calloc(n, sizeof(*leases));
    uint32_t top = 0;
    for (uint32_t k = 0; k < n; k++)
        lb_started(lb, &leases[k], (uint32_t)pick(lb), 0);
    for (uint32_t i = 0; i < n; i++)
        if (lb_endpoint_in_flight(&p.endpoints[i]) > top)
            top = lb_endpoint_in_flight(&p.endpoints[i]);
    for (uint32_t k = 0; k < n; k++)
        lb_lease_drop(&leases[k], 0);
    free(leases);
    lb_free(lb);
    pool_free(&p);
    return top;
}

/* n balls into n bins: ln n / ln ln n + O(1) with one choice, log2 ln n + O(1) with two. */
static void test_two_choices_keep_the_fullest_low(void **state)
{
    (void)state;
    assert_in_range(fullest_after(&lb_p2c, 10000), 2, 4);
    assert_in_range(fullest_after(&lb_random, 10000), 5, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_draws_by_weight),
        cmocka_unit_test(test_random_follows_changes),
        cmocka_unit_test(test_tried_are_left_out_and_proportions_kept),
        cmocka_unit_test(test_p2c_of_two_always_takes_the_less_busy),
        cmocka_unit_test(test_p2c_is_by_weight_when_idle),
        cmocka_unit_test(test_p2c_compares_two_different_ones),
        cmocka_unit_test(test_p2c_compares_where_one_has_nearly_all_weight),
        cmocka_unit_test(test_p2c_with_tried),
        cmocka_unit_test(test_two_choices_keep_the_fullest_low),
    };
    return cmocka_run_group_tests_name("random and p2c", tests, NULL, NULL);
}
