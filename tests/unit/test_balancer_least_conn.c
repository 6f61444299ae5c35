/* SPDX-License-Identifier: Apache-2.0 */
/* least_conn against a scan of the counters, alone and with other workers' requests. */
#include "tests/unit/test_balancer_pool.h"

#define EXACT 128 /* a pool of so many endpoints is seen whole at each pick */

/* Fails unless i is among the least busy of those eligible and untried. */
static void expect_least(const struct lb *lb, const struct lb_tried *tried, int32_t i)
{
    const struct lb_view *v = lb_view_of(lb);
    bool any = false;
    for (uint32_t k = 0; k < v->count; k++) {
        uint64_t share = lb_view_share(v, k);
        if (share == 0 || lb_tried_has(tried, k))
            continue;
        any = true;
        assert_true(i >= 0);
        assert_true(lb_view_in_flight(v, (uint32_t)i) * share <=
                    (uint64_t)lb_view_in_flight(v, k) * lb_view_share(v, (uint32_t)i));
    }
    assert_int_equal(any, i != LB_NONE);
    if (any)
        assert_true(lb_view_share(v, (uint32_t)i) > 0 && !lb_tried_has(tried, (uint32_t)i));
}

/* Starts, ends and changes at random, through `workers` balancers over one pool. */
static void churn(uint32_t count, uint32_t workers, uint64_t top_weight, uint64_t seed)
{
    enum { LEASES = 2000 };
    struct lb_rng rng;
    struct lb *lbs[4];
    struct lb_lease *leases = calloc(LEASES, sizeof(*leases));
    uint32_t *weights = malloc(count * sizeof(*weights));
    lb_rng_seed(&rng, seed);
    for (uint32_t i = 0; i < count; i++)
        weights[i] = 1 + (uint32_t)lb_rng_below(&rng, top_weight);
    struct test_pool p = pool_new(count, weights);
    for (uint32_t w = 0; w < workers; w++)
        lbs[w] = pool_lb(&p, &lb_least_conn, lb_rng_next(&rng));
    for (int k = 0; k < 5000; k++) {
        struct lb *lb = lbs[lb_rng_below(&rng, workers)];
        struct lb_lease *lease = &leases[lb_rng_below(&rng, LEASES)];
        struct lb_tried t = {0};
        uint32_t i = (uint32_t)lb_rng_below(&rng, count);
        if (k % 50 == 0)
            set_usable(&p, i, !usable(&p, i));
        if (k % 70 == 0)
            lb_group_set_weight(p.group, i, (uint32_t)lb_rng_below(&rng, top_weight + 1));
        for (uint64_t n = k % 3 ? 0 : lb_rng_below(&rng, 5); n-- > 0;)
            lb_tried_add(&t, (uint32_t)lb_rng_below(&rng, count));
        lb_lease_drop(lease, 0);
        int32_t picked = lb_pick(lb, 0, &t, 0);
        expect_least(lb, &t, picked);
        if (picked != LB_NONE)
            lb_started(lb, lease, (uint32_t)picked, 0);
    }
    for (size_t k = 0; k < LEASES; k++)
        lb_lease_drop(&leases[k], 0);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 0);
    for (uint32_t w = 0; w < workers; w++)
        lb_free(lbs[w]);
    pool_free(&p);
    free(weights);
    free(leases);
}

static void test_always_the_least_busy_with_one_worker(void **state)
{
    (void)state;
    churn(1, 1, 1, 1);
    churn(2, 1, 3, 2);
    churn(7, 1, 1, 3);
    churn(33, 1, 10, 4);
    churn(1000, 1, 1, 5);
    churn(1000, 1, 1000, 6);
}

/* BEHAVIOUR 7: least in-flight over weight, across all workers. */
static void test_always_the_least_busy_across_workers(void **state)
{
    (void)state;
    churn(3, 2, 1, 7);
    churn(10, 4, 5, 8);
    churn(EXACT, 4, 100, 9);
}

/* Beyond EXACT: a request that another worker started is seen before its endpoint is picked. */
static void test_large_pool_never_takes_one_that_got_busier(void **state)
{
    enum { COUNT = 2000 };
    struct test_pool p = pool_new(COUNT, NULL);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 10);
    struct lb_rng rng;
    (void)state;
    lb_rng_seed(&rng, 10);
    for (int k = 0; k < 1000; k++) {
        uint32_t busy = (uint32_t)lb_rng_below(&rng, COUNT);
        atomic_fetch_add_explicit(&p.endpoints[busy].in_flight, 1, memory_order_relaxed);
        int32_t i = pick(lb);
        assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 0);
    }
    lb_free(lb);
    pool_free(&p);
}

/* And one that got idle elsewhere is found after count / EXACT picks at the latest. */
static void test_large_pool_finds_one_that_got_idle(void **state)
{
    enum { COUNT = 2000 };
    struct test_pool p = pool_new(COUNT, NULL);
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        atomic_store_explicit(&p.endpoints[i].in_flight, 5, memory_order_relaxed);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 11);
    for (uint32_t idle = 0; idle < COUNT; idle += 97) {
        int within = 0;
        atomic_store_explicit(&p.endpoints[idle].in_flight, 1, memory_order_relaxed);
        while (pick(lb) != (int32_t)idle)
            assert_true(++within <= COUNT / EXACT + 1);
        atomic_store_explicit(&p.endpoints[idle].in_flight, 5, memory_order_relaxed);
    }
    lb_free(lb);
    pool_free(&p);
}

/* Its own requests need no sweep, even those on endpoints that it did not pick (sticky ones). */
static void test_large_pool_sees_its_own_starts_and_ends_at_once(void **state)
{
    enum { COUNT = 2000 };
    struct test_pool p = pool_new(COUNT, NULL);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 14);
    struct lb_lease *leases = calloc(COUNT, sizeof(*leases));
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        if (i != 1234)
            lb_started(lb, &leases[i], i, 0);
    assert_int_equal(pick(lb), 1234);
    lb_started(lb, &leases[1234], 1234, 0);
    lb_finished(&leases[77], LB_OK, 0, 0);
    assert_int_equal(pick(lb), 77);
    for (uint32_t i = 0; i < COUNT; i++)
        lb_lease_drop(&leases[i], 0);
    free(leases);
    lb_free(lb);
    pool_free(&p);
}

/* BEHAVIOUR 7: ties by round robin. */
static void test_idle_endpoints_take_turns(void **state)
{
    struct test_pool p = pool_new(5, NULL);
    unsigned firsts = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct lb *lb = pool_lb(&p, &lb_least_conn, seed);
        int32_t first = pick(lb);
        firsts |= 1u << first;
        for (int32_t k = 1; k < 50; k++)
            assert_int_equal(pick(lb), (first + k) % 5);
        lb_free(lb);
    }
    assert_int_equal(firsts, 0x1f);
    pool_free(&p);
}

static void test_idle_endpoints_take_turns_by_weight(void **state)
{
    const uint32_t weights[] = {5, 1, 0, 4};
    struct test_pool p = pool_new(4, weights);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 12);
    (void)state;
    for (int round = 0; round < 20; round++) {
        uint32_t seen[4] = {0};
        for (int k = 0; k < 10; k++)
            seen[pick(lb)]++;
        if (round > 0) /* after the start's phase */
            assert_memory_equal(seen, weights, sizeof(seen));
    }
    lb_free(lb);
    pool_free(&p);
}

/* Who was too busy for its turns does not get them back in a row. */
static void test_a_busy_time_is_not_made_up_for(void **state)
{
    struct test_pool p = pool_new(3, NULL);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 13);
    int in_a_row = 0, most = 0;
    (void)state;
    atomic_store_explicit(&p.endpoints[1].in_flight, 1, memory_order_relaxed);
    for (int k = 0; k < 1000; k++)
        assert_int_not_equal(pick(lb), 1);
    atomic_store_explicit(&p.endpoints[1].in_flight, 0, memory_order_relaxed);
    for (int k = 0; k < 30; k++) {
        in_a_row = pick(lb) == 1 ? in_a_row + 1 : 0;
        most = in_a_row > most ? in_a_row : most;
    }
    assert_int_equal(most, 1);
    lb_free(lb);
    pool_free(&p);
}

static void test_cost(void **state)
{
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_always_the_least_busy_with_one_worker),
        cmocka_unit_test(test_always_the_least_busy_across_workers),
        cmocka_unit_test(test_large_pool_never_takes_one_that_got_busier),
        cmocka_unit_test(test_large_pool_finds_one_that_got_idle),
        cmocka_unit_test(test_large_pool_sees_its_own_starts_and_ends_at_once),
        cmocka_unit_test(test_idle_endpoints_take_turns),
        cmocka_unit_test(test_idle_endpoints_take_turns_by_weight),
        cmocka_unit_test(test_a_busy_time_is_not_made_up_for),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests_name("least_conn", tests, NULL, NULL);
}
