/* SPDX-License-Identifier: Apache-2.0 */
/*
 * round_robin counts turns, and starts over before the count gets too large. That takes weeks, so
 * this program has its own round_robin, which starts over every few turns.
 */
#define RR_TURN_MAX 5
#include "balancer/round_robin.c"

#include "tests/unit/test_balancer_pool.h"

static void test_starting_over_does_not_change_the_order(void **state)
{
    const uint32_t weights[] = {5, 1, 1};
    struct test_pool p = pool_new(3, weights);
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct lb *lb = pool_lb(&p, &lb_round_robin, seed);
        char seen[1001];
        for (size_t k = 0; k < 1000; k++)
            seen[k] = (char)('a' + pick(lb));
        seen[1000] = '\0';
        const char *head = strstr(seen, "aabacaa");
        assert_non_null(head);
        assert_true(head - seen < 7);
        for (; strlen(head) >= 7; head += 7)
            assert_memory_equal(head, "aabacaa", 7);
        lb_free(lb);
    }
    pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starting_over_does_not_change_the_order),
    };
    return cmocka_run_group_tests_name("round_robin, starting over", tests, NULL, NULL);
}
