/* SPDX-License-Identifier: Apache-2.0 */
/* The quantile of latencies: how exact it is, and what it forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balancer/quantile.h"
#include "balancer/rng.h"

static struct lb_quantile q;

static void test_it_says_nothing_before_it_has_seen_enough(void **state)
{
    (void)state;
    lb_quantile_init(&q, 95);
    for (int i = 0; i < LB_QUANTILE_MIN - 1; i++) {
        lb_quantile_add(&q, 1000);
        assert_true(lb_quantile_us(&q) == 0);
    }
    lb_quantile_add(&q, 1000);
    assert_in_range(lb_quantile_us(&q), 1000, 1125);
}

/* Never less than what was asked for, and an eighth more at most. */
static void test_it_is_right_to_an_eighth(void **state)
{
    (void)state;
    struct lb_rng rng;
    lb_rng_seed(&rng, 3);
    static const uint32_t percents[] = {50, 90, 95, 99};
    for (uint64_t scale = 10; scale <= 100000000; scale *= 100)
        for (unsigned p = 0; p < 4; p++) {
            lb_quantile_init(&q, percents[p]);
            for (int i = 0; i < 100000; i++)
                lb_quantile_add(&q, lb_rng_below(&rng, scale * 100));
            uint64_t exact = scale * percents[p];
            assert_in_range(lb_quantile_us(&q), exact - exact / 20, exact + exact / 6);
        }
}

/* With one of twenty slow, most are still below; with one of ten, they are not. */
static void test_a_few_slow_ones_do_not_move_it(void **state)
{
    (void)state;
    lb_quantile_init(&q, 95);
    for (int i = 1; i <= 4000; i++)
        lb_quantile_add(&q, i % 40 == 0 ? 1000000 : 2000);
    assert_in_range(lb_quantile_us(&q), 2000, 2300);
    for (int i = 1; i <= 4000; i++)
        lb_quantile_add(&q, i % 10 == 0 ? 1000000 : 2000);
    assert_in_range(lb_quantile_us(&q), 1000000, 1125000);
}

static void test_it_forgets(void **state)
{
    (void)state;
    lb_quantile_init(&q, 95);
    for (int i = 0; i < 10000; i++)
        lb_quantile_add(&q, 5000000);
    for (int i = 0; i < 10000; i++)
        lb_quantile_add(&q, 100);
    assert_in_range(lb_quantile_us(&q), 100, 113);
}

static void test_the_ends_of_its_range(void **state)
{
    (void)state;
    lb_quantile_init(&q, 50);
    for (int i = 0; i < 64; i++)
        lb_quantile_add(&q, 0);
    assert_in_range(lb_quantile_us(&q), 0, 2);
    lb_quantile_init(&q, 50);
    for (int i = 0; i < 64; i++)
        lb_quantile_add(&q, UINT64_MAX);
    assert_in_range(lb_quantile_us(&q), UINT64_C(1) << 31, UINT64_C(1) << 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_nothing_before_it_has_seen_enough),
        cmocka_unit_test(test_it_is_right_to_an_eighth),
        cmocka_unit_test(test_a_few_slow_ones_do_not_move_it),
        cmocka_unit_test(test_it_forgets),
        cmocka_unit_test(test_the_ends_of_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
