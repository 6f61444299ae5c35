/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every policy: leases, tried sets, weight 0, names, and threads. */
#include "tests/unit/test_balancer_pool.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct lb_policy *policy_after(const struct lb_policy *policy)
{
    size_t i = 0;
    while (lb_policy_at(i) != policy)
        i++;
    return lb_policy_at(i + 1);
}

static void test_policies_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(lb_policy_find("p2c"), &lb_p2c);
    assert_ptr_equal(lb_policy_find("round_robin"), &lb_round_robin);
    assert_ptr_equal(lb_policy_find("least_conn"), &lb_least_conn);
    assert_ptr_equal(lb_policy_find("random"), &lb_random);
    assert_ptr_equal(lb_policy_find("peak_ewma"), &lb_peak_ewma);
    assert_ptr_equal(lb_policy_find("ring_hash"), &lb_ring_hash);
    assert_ptr_equal(lb_policy_find("maglev"), &lb_maglev);
    assert_null(lb_policy_find("roundrobin"));
    assert_null(lb_policy_find(""));
    assert_ptr_equal(lb_policy_at(0), &lb_p2c); /* the default */
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy))
        assert_ptr_equal(lb_policy_find(policy->name), policy);
    assert_null(lb_policy_at(7));
    assert_null(lb_policy_at(SIZE_MAX));
}

static void test_outcomes_have_names(void **state)
{
    (void)state;
    assert_string_equal(lb_outcome_name(LB_OK), "ok");
    assert_string_equal(lb_outcome_name(LB_CANCELLED), "cancelled");
    for (int a = LB_OK; a <= LB_CANCELLED; a++)
        for (int b = LB_OK; b < a; b++)
            assert_string_not_equal(lb_outcome_name((enum lb_outcome)a),
                                    lb_outcome_name((enum lb_outcome)b));
}

static void test_tried_set(void **state)
{
    struct lb_tried t = {0};
    (void)state;
    assert_true(lb_tried_empty(NULL) && !lb_tried_has(NULL, 3));
    assert_true(lb_tried_empty(&t));
    lb_tried_add(&t, 0);
    lb_tried_add(&t, 63);
    lb_tried_add(&t, 64);
    lb_tried_add(&t, 64);
    lb_tried_add(&t, 1000000);
    assert_false(lb_tried_empty(&t));
    assert_true(lb_tried_has(&t, 0) && lb_tried_has(&t, 63) && lb_tried_has(&t, 64) &&
                lb_tried_has(&t, 1000000));
    assert_false(lb_tried_has(&t, 1) || lb_tried_has(&t, 65) || lb_tried_has(&t, 128));
    assert_int_equal(lb_tried_many(&t), 2);
    for (uint32_t i = 0; i < LB_TRIED_MAX; i++)
        lb_tried_add(&t, 100 + i);
    assert_int_equal(lb_tried_many(&t), LB_TRIED_MAX);
    assert_false(lb_tried_has(&t, 64)); /* the oldest are forgotten */
    for (uint32_t i = 0; i < LB_TRIED_MAX; i++)
        assert_true(lb_tried_has(&t, 100 + i));
    lb_tried_clear(&t);
    assert_true(lb_tried_empty(&t) && !lb_tried_has(&t, 0) && !lb_tried_has(&t, 100));
}

static void test_random_numbers(void **state)
{
    struct lb_rng a, b;
    uint64_t seen[10] = {0};
    (void)state;
    lb_rng_seed(&a, 1234567);
    /* The first outputs of the published splitmix64 for this seed. */
    assert_true(lb_rng_next(&a) == UINT64_C(6457827717110365317));
    assert_true(lb_rng_next(&a) == UINT64_C(3203168211198807973));
    lb_rng_seed(&a, 5);
    lb_rng_seed(&b, 5);
    for (int k = 0; k < 100000; k++) {
        uint64_t r = lb_rng_below(&a, 10);
        assert_true(r < 10 && r == lb_rng_below(&b, 10));
        seen[r]++;
    }
    for (size_t k = 0; k < 10; k++)
        assert_in_range(seen[k], 9500, 10500);
    assert_int_equal(lb_rng_below(&a, 1), 0);
}

static void test_places_at_an_endpoint_are_held_and_given_back(void **state)
{
    struct test_pool p = pool_new(2, NULL);
    struct lb_lease lease = {0};
    (void)state;
    p.endpoints[0].most = 1;
    p.endpoints[1].most = 1;
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1), *other = lb_new(p.group, 2);
    int32_t i = lb_pick(lb, 0, NULL, 0);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 1);
    assert_false(lb_claim(other, (uint32_t)i));
    assert_true(lb_unpicked(lb, 0));
    assert_false(lb_unpicked(lb, 0));
    assert_true(lb_claim(other, (uint32_t)i) && lb_claim(other, (uint32_t)i));
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 1);
    lb_started(other, &lease, (uint32_t)i, 0);
    lb_restart(&lease, 0); /* nobody comes in between */
    assert_false(lb_claim(lb, (uint32_t)i));
    lb_started(other, &lease, (uint32_t)i, 0);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 1);
    assert_true(lb_claim(other, 1 - (uint32_t)i)); /* instead of what was picked, if that is less */
    lb_lease_drop(&lease, 0);
    lb_free(other);
    lb_free(lb);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[0]), 0);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 0);
    pool_free(&p);
}

static void test_view_sums_follow_changes(void **state)
{
    const uint32_t weights[] = {5, 0, 7};
    struct test_pool p = pool_new(3, weights);
    struct lb *lb = pool_lb(&p, &lb_p2c, 1);
    const struct lb_view *v = lb_view_of(lb);
    (void)state;
    assert_ptr_equal(lb_policy_of(lb), &lb_p2c);
    assert_int_equal(v->eligible, 2);
    assert_int_equal(v->total_weight, 12);
    set_usable(&p, 0, false);
    set_usable(&p, 0, false);
    set_usable(&p, 1, false);
    assert_int_equal(v->eligible, 2); /* that is found out by the next pick */
    pick(lb);
    assert_int_equal(v->eligible, 1);
    assert_int_equal(v->total_weight, 7);
    lb_group_set_weight(p.group, 0, 9); /* counts once it is usable again */
    pick(lb);
    assert_int_equal(v->total_weight, 7);
    set_usable(&p, 0, true);
    pick(lb);
    assert_int_equal(v->eligible, 2);
    assert_int_equal(v->total_weight, 16);
    lb_group_set_weight(p.group, 2, 0);
    pick(lb);
    assert_int_equal(v->eligible, 1);
    assert_int_equal(v->total_weight, 9);
    lb_free(lb);
    lb_free(NULL);
    pool_free(&p);
}

static void test_a_single_endpoint_is_always_it(void **state)
{
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        struct test_pool p = pool_new(1, NULL);
        struct lb *lb = pool_lb(&p, policy, 1);
        struct lb_tried t = {0};
        for (int k = 0; k < 100; k++)
            assert_int_equal(pick(lb), 0);
        lb_tried_add(&t, 0);
        assert_int_equal(lb_pick(lb, 0, &t, 0), LB_NONE);
        set_usable(&p, 0, false);
        assert_int_equal(pick(lb), LB_NONE);
        set_usable(&p, 0, true);
        assert_int_equal(pick(lb), 0);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_nobody_to_pick_from_the_start(void **state)
{
    const uint32_t weights[] = {0, 0};
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        struct test_pool p = pool_new(2, weights);
        struct lb *lb = pool_lb(&p, policy, 1);
        assert_int_equal(pick(lb), LB_NONE);
        lb_group_set_weight(p.group, 1, 3);
        for (int k = 0; k < 20; k++)
            assert_int_equal(pick(lb), 1);
        lb_free(lb);
        pool_free(&p);
    }
}

/* In a pool beyond the bitmap too: each tried one is out, and the last is found. */
static void test_every_endpoint_is_tried_once_before_none_is_left(void **state)
{
    static const uint32_t sizes[] = {2, 10, 64, 70};
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            struct test_pool p = pool_new(sizes[s], NULL);
            struct lb *lb = pool_lb(&p, policy, s);
            struct lb_tried t = {0};
            for (uint32_t k = 0; k < sizes[s]; k++) {
                int32_t i = lb_pick(lb, 0, &t, 0);
                assert_true(i >= 0 && !lb_tried_has(&t, (uint32_t)i));
                lb_tried_add(&t, (uint32_t)i);
            }
            assert_int_equal(lb_pick(lb, 0, &t, 0), LB_NONE);
            lb_free(lb);
            pool_free(&p);
        }
    }
}

static void test_no_pick_is_unusable_weightless_or_tried(void **state)
{
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        enum { COUNT = 200 };
        struct test_pool p = pool_new(COUNT, NULL);
        struct lb *lb = pool_lb(&p, policy, 9);
        struct lb_rng rng;
        lb_rng_seed(&rng, 9);
        for (int k = 0; k < 5000; k++) {
            struct lb_tried t = {0};
            uint32_t any = (uint32_t)lb_rng_below(&rng, COUNT);
            set_usable(&p, any, lb_rng_below(&rng, 3) == 0);
            lb_group_set_weight(p.group, (any + 7) % COUNT, (uint32_t)lb_rng_below(&rng, 3));
            for (uint32_t n = 0; n < LB_TRIED_MAX; n++)
                lb_tried_add(&t, (uint32_t)lb_rng_below(&rng, COUNT));
            int32_t i = lb_pick(lb, 0, &t, 0);
            uint32_t left = 0;
            for (uint32_t e = 0; e < COUNT; e++)
                left += share(&p, e) > 0 && !lb_tried_has(&t, e);
            assert_int_equal(i != LB_NONE, left > 0);
            if (left > 0)
                assert_true(share(&p, (uint32_t)i) > 0 && !lb_tried_has(&t, (uint32_t)i));
        }
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_equal_seeds_give_equal_picks(void **state)
{
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        struct test_pool p = pool_new(50, NULL);
        struct lb *a = pool_lb(&p, policy, 77), *b = pool_lb(&p, policy, 77);
        struct lb *c = pool_lb(&p, policy, 78);
        int differ = 0;
        for (int k = 0; k < 500; k++) {
            int32_t i = pick(a);
            assert_int_equal(i, pick(b));
            differ += i != pick(c);
        }
        assert_true(differ > 0);
        lb_free(a);
        lb_free(b);
        lb_free(c);
        pool_free(&p);
    }
}

static void test_a_lease_counts_its_endpoint_while_it_is_out(void **state)
{
    struct test_pool p = pool_new(2, NULL);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease a, b;
    (void)state;
    lb_lease_init(&a);
    lb_lease_init(&b);
    assert_false(lb_lease_started(&a));
    lb_started(lb, &a, 1, 10);
    lb_started(lb, &b, 1, 11);
    assert_true(lb_lease_started(&a));
    assert_int_equal(a.index, 1);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 2);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[0]), 0);
    lb_finished(&a, LB_OK, 5, 15);
    assert_false(lb_lease_started(&a));
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 1);
    lb_started(lb, &a, 0, 16); /* and may be used again */
    lb_lease_drop(&a, 17);
    lb_lease_drop(&a, 17);
    lb_lease_drop(&b, 17);
    assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 0);
    lb_free(lb);
    pool_free(&p);
}

static void test_what_a_drained_endpoint_has_ends_and_nothing_comes(void **state)
{
    (void)state;
    for (size_t k = 0; lb_policy_at(k) != NULL; k++) {
        struct test_pool p = pool_new(3, NULL);
        struct lb *lb = pool_lb(&p, lb_policy_at(k), 1);
        struct lb_lease lease = {0};
        lb_started(lb, &lease, 1, 10);
        lb_group_mark(p.group, 1, LB_DRAINED, true, 10);
        for (uint64_t n = 0; n < 100; n++)
            assert_int_not_equal(lb_pick(lb, n + 1, NULL, 10), 1);
        assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 1);
        lb_finished(&lease, LB_OK, 5, 15);
        assert_int_equal(lb_endpoint_in_flight(&p.endpoints[1]), 0);
        lb_free(lb);
        pool_free(&p);
    }
}

/* The misuse aborts: in a child, so that the test lives to see it. */
static void expect_abort(void (*misuse)(struct lb *))
{
    struct test_pool p = pool_new(2, NULL);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) != NULL)
            misuse(lb);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    lb_free(lb);
    pool_free(&p);
}

static void start_twice(struct lb *lb)
{
    struct lb_lease lease = {0};
    lb_started(lb, &lease, 0, 0);
    lb_started(lb, &lease, 1, 0);
}

static void finish_twice(struct lb *lb)
{
    struct lb_lease lease = {0};
    lb_started(lb, &lease, 0, 0);
    lb_finished(&lease, LB_OK, 0, 0);
    lb_finished(&lease, LB_OK, 0, 0);
}

static void free_while_leased(struct lb *lb)
{
    struct lb_lease lease = {0};
    lb_started(lb, &lease, 0, 0);
    lb_free(lb);
}

static void test_unpaired_leases_abort(void **state)
{
    (void)state;
    expect_abort(start_twice);
    expect_abort(finish_twice);
    expect_abort(free_while_leased);
}

struct worker {
    struct test_pool *pool;
    const struct lb_policy *policy;
    uint64_t seed;
    uint64_t picks;
};

static void *work(void *arg)
{
    enum { LEASES = 16, PICKS = 20000 };
    struct worker *w = arg;
    struct lb *lb = pool_lb(w->pool, w->policy, w->seed);
    struct lb_lease leases[LEASES] = {0};
    for (uint32_t k = 0; k < PICKS; k++) {
        int32_t i = pick(lb);
        lb_lease_drop(&leases[k % LEASES], k);
        if (i != LB_NONE)
            lb_started(lb, &leases[k % LEASES], (uint32_t)i, k);
        w->picks += i != LB_NONE;
        set_usable(w->pool, k % w->pool->count, k % 3 != 0);
    }
    for (uint32_t k = 0; k < LEASES; k++)
        lb_lease_drop(&leases[k], PICKS);
    lb_free(lb);
    return NULL;
}

static void test_workers_share_the_counts(void **state)
{
    (void)state;
    for (const struct lb_policy *policy = lb_policy_at(0); policy; policy = policy_after(policy)) {
        struct test_pool p = pool_new(9, NULL);
        pthread_t threads[3];
        struct worker workers[3];
        pool_group(&p, policy);
        for (size_t k = 0; k < 3; k++) {
            workers[k] = (struct worker){&p, policy, k, 0};
            assert_int_equal(pthread_create(&threads[k], NULL, work, &workers[k]), 0);
        }
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(pthread_join(threads[k], NULL), 0);
            assert_true(workers[k].picks > 0);
        }
        for (uint32_t i = 0; i < p.count; i++)
            assert_int_equal(lb_endpoint_in_flight(&p.endpoints[i]), 0);
        pool_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_are_found_by_name),
        cmocka_unit_test(test_outcomes_have_names),
        cmocka_unit_test(test_tried_set),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_places_at_an_endpoint_are_held_and_given_back),
        cmocka_unit_test(test_view_sums_follow_changes),
        cmocka_unit_test(test_a_single_endpoint_is_always_it),
        cmocka_unit_test(test_nobody_to_pick_from_the_start),
        cmocka_unit_test(test_every_endpoint_is_tried_once_before_none_is_left),
        cmocka_unit_test(test_no_pick_is_unusable_weightless_or_tried),
        cmocka_unit_test(test_equal_seeds_give_equal_picks),
        cmocka_unit_test(test_a_lease_counts_its_endpoint_while_it_is_out),
        cmocka_unit_test(test_what_a_drained_endpoint_has_ends_and_nothing_comes),
        cmocka_unit_test(test_unpaired_leases_abort),
        cmocka_unit_test(test_workers_share_the_counts),
    };
    return cmocka_run_group_tests_name("balancer", tests, NULL, NULL);
}
