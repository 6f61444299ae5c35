/* SPDX-License-Identifier: Apache-2.0 */
/* Subsets of a large pool: how even they load it, and what changes when an endpoint does. */
#include "tests/unit/test_balancer_pool.h"

#include "balancer/subset.h"
#include "proxy/base/check.h"

static struct test_pool pool_subset(uint32_t count, uint32_t subset)
{
    struct test_pool p = pool_new(count, NULL);
    p.options.subset = subset;
    return p;
}

static struct lb *narrow(struct test_pool *p, const struct lb_policy *policy, uint64_t client)
{
    struct lb *lb = pool_lb(p, policy, client);
    lb_narrow(lb, client);
    return lb;
}

/* How many of so many clients use the endpoint that is used by the fewest, and by the most. */
static void spread(uint32_t count, uint32_t subset, const uint64_t *clients, uint32_t n,
                   uint32_t *least, uint32_t *most)
{
    struct test_pool p = pool_subset(count, subset);
    uint32_t *users = calloc(count, sizeof(*users));
    assert_non_null(users);
    for (uint32_t c = 0; c < n; c++) {
        struct lb *lb = narrow(&p, &lb_p2c, clients[c]);
        uint32_t used = 0;
        for (uint32_t i = 0; i < count; i++)
            used += lb_view_share(lb_view_of(lb), i) > 0;
        assert_int_equal(used, subset);
        assert_int_equal(lb_view_of(lb)->eligible, subset);
        assert_int_equal(lb_view_of(lb)->total_weight, subset);
        for (uint32_t i = 0; i < count; i++)
            users[i] += lb_view_share(lb_view_of(lb), i) > 0;
        lb_free(lb);
    }
    *least = *most = users[0];
    for (uint32_t i = 0; i < count; i++) {
        *least = users[i] < *least ? users[i] : *least;
        *most = users[i] > *most ? users[i] : *most;
    }
    free(users);
    pool_free(&p);
}

/* 50 instances of 4 workers, with numbers: each endpoint is used as often as the others. */
static void test_numbered_clients_load_all_endpoints_alike(void **state)
{
    static const struct {
        uint32_t count, subset, from, clients, spread;
    } rows[] = {
        {300, 30, 0, 200, 0},   {300, 30, 70, 10, 0},   {300, 30, 3, 100, 2},
        {1000, 30, 0, 500, 0},  {1000, 300, 0, 100, 0}, {10000, 200, 0, 50, 0},
        {10000, 70, 0, 150, 1}, {97, 13, 1000, 970, 2}, {100, 99, 0, 150, 1},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        uint64_t clients[1000];
        uint32_t least, most;
        for (uint32_t c = 0; c < rows[k].clients; c++)
            clients[c] = rows[k].from + c;
        spread(rows[k].count, rows[k].subset, clients, rows[k].clients, &least, &most);
        print_message("%u of %u, %u clients: %u to %u\n", rows[k].subset, rows[k].count,
                      rows[k].clients, least, most);
        assert_true(most - least <= rows[k].spread);
    }
}

/* Without numbers it is as if each instance drew its endpoints by lot. */
static void test_unnumbered_instances_load_endpoints_as_lots_do(void **state)
{
    uint64_t clients[200];
    uint32_t least, most;
    (void)state;
    for (uint32_t c = 0; c < 200; c++)
        clients[c] = (lb_hash_mix(c / 4 + 1) & UINT32_MAX) * 4 + c % 4;
    spread(300, 30, clients, 200, &least, &most);
    print_message("%u to %u, mean 20, sigma 3.5\n", least, most);
    assert_true(least >= 6 && most <= 34);
}

static void test_a_client_has_the_same_ones_each_time(void **state)
{
    struct test_pool p = pool_subset(100, 7), q = pool_subset(100, 7);
    (void)state;
    for (uint64_t client = 0; client < 40; client++) {
        uint32_t *a = lb_subset_order(pool_group(&p, &lb_p2c), client);
        uint32_t *b = lb_subset_order(pool_group(&q, &lb_random), client);
        bool seen[100] = {false};
        assert_memory_equal(a, b, 100 * sizeof(*a));
        for (int k = 0; k < 100; k++) {
            assert_false(seen[a[k]]);
            seen[a[k]] = true;
        }
        free(a);
        free(b);
    }
    pool_free(&p);
    pool_free(&q);
}

static void used_by(struct lb *lb, bool *used)
{
    (void)pick(lb); /* finds out */
    for (uint32_t i = 0; i < lb_view_of(lb)->count; i++)
        used[i] = lb_view_share(lb_view_of(lb), i) > 0;
}

static void test_only_who_is_out_is_replaced_and_comes_back(void **state)
{
    struct test_pool p = pool_subset(50, 5);
    (void)state;
    for (uint64_t client = 0; client < 20; client++) {
        struct lb *lb = narrow(&p, &lb_least_conn, client);
        bool before[50], during[50], after[50];
        used_by(lb, before);
        for (uint32_t i = 0; i < 50; i++) {
            uint32_t came = 0;
            lb_group_mark(p.group, i, LB_DOWN, true, 1);
            used_by(lb, during);
            for (uint32_t k = 0; k < 50; k++) {
                assert_true(during[k] || !before[k] || k == i);
                came += during[k] && !before[k];
            }
            assert_false(during[i]);
            assert_int_equal(came, before[i]);
            lb_group_mark(p.group, i, LB_DOWN, false, 2);
            used_by(lb, after);
            assert_memory_equal(before, after, sizeof(before));
        }
        lb_free(lb);
    }
    pool_free(&p);
}

/* Retries leave it when all of it was tried; sessions stay where they are. */
static void test_the_others_are_a_reserve(void **state)
{
    struct test_pool p = pool_subset(20, 2);
    struct lb *lb = narrow(&p, &lb_round_robin, 3);
    struct lb_tried tried = {0};
    bool used[20];
    (void)state;
    used_by(lb, used);
    for (uint32_t n = 0; n < 20; n++) {
        int32_t i = lb_pick(lb, 0, &tried, 1);
        assert_in_range(i, 0, 19);
        assert_int_equal(used[i], n < 2);
        lb_tried_add(&tried, (uint32_t)i);
    }
    assert_int_equal(lb_pick(lb, 0, &tried, 1), LB_NONE);
    for (int32_t i = 0; i < 20; i++)
        assert_int_equal(lb_pick_stuck(lb, i, 0, NULL, 1), i);
    lb_free(lb);
    pool_free(&p);
}

static void test_every_policy_keeps_to_it(void **state)
{
    const struct lb_policy *policy;
    (void)state;
    for (size_t k = 0; (policy = lb_policy_at(k)) != NULL; k++) {
        if (policy->uses_key)
            continue;
        struct test_pool p = pool_subset(40, 4);
        struct lb *lb = narrow(&p, policy, 9);
        bool used[40], picked[40] = {false};
        used_by(lb, used);
        for (int n = 0; n < 400; n++)
            picked[pick(lb)] = true;
        assert_memory_equal(used, picked, sizeof(used));
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_a_pool_that_is_no_larger_is_used_whole(void **state)
{
    (void)state;
    for (uint32_t subset = 0; subset <= 6; subset++) {
        struct test_pool p = pool_subset(5, subset);
        struct lb *lb = narrow(&p, &lb_p2c, 1);
        assert_int_equal(lb_view_of(lb)->eligible, subset == 0 || subset > 5 ? 5 : subset);
        lb_free(lb);
        pool_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbered_clients_load_all_endpoints_alike),
        cmocka_unit_test(test_unnumbered_instances_load_endpoints_as_lots_do),
        cmocka_unit_test(test_a_client_has_the_same_ones_each_time),
        cmocka_unit_test(test_only_who_is_out_is_replaced_and_comes_back),
        cmocka_unit_test(test_the_others_are_a_reserve),
        cmocka_unit_test(test_every_policy_keeps_to_it),
        cmocka_unit_test(test_a_pool_that_is_no_larger_is_used_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
