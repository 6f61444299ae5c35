/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least_conn's passes grow, and are counted from 0 again before they get too large. That takes
 * long, so this program has its own least_conn, which does so every few picks.
 */
#define LC_CLOCK_MAX (UINT64_C(3) << 32)
#include "balancer/least_conn.c"

#include "tests/unit/test_balancer_pool.h"

static void test_starting_over_does_not_change_the_turns(void **state)
{
    struct test_pool p = pool_new(5, NULL);
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct lb *lb = pool_lb(&p, &lb_least_conn, seed);
        int32_t first = pick(lb);
        for (int32_t k = 1; k < 200; k++)
            assert_int_equal(pick(lb), (first + k) % 5);
        lb_free(lb);
    }
    pool_free(&p);
}

static void test_starting_over_keeps_the_weights(void **state)
{
    const uint32_t weights[] = {5, 1, 4};
    uint32_t seen[3] = {0};
    struct test_pool p = pool_new(3, weights);
    struct lb *lb = pool_lb(&p, &lb_least_conn, 1);
    (void)state;
    for (int k = 0; k < 1000; k++)
        seen[pick(lb)]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 100 * weights[i] - 5, 100 * weights[i] + 5);
    lb_free(lb);
    pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starting_over_does_not_change_the_turns),
        cmocka_unit_test(test_starting_over_keeps_the_weights),
    };
    return cmocka_run_group_tests_name("least_conn, starting over", tests, NULL, NULL);
}
