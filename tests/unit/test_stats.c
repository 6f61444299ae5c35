/* SPDX-License-Identifier: Apache-2.0 */
/* Counters with one writer, and where a histogram puts a value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/stats.h"

static const uint64_t bounds[] = HIST_BOUNDS;

static void a_counter_counts(void **state)
{
    (void)state;
    struct counter c = {0};
    counter_inc(&c);
    counter_add(&c, 41);
    assert_int_equal(counter_get(&c), 42);
    counter_add(&c, 0);
    assert_int_equal(counter_get(&c), 42);
    counter_add(&c, UINT64_C(1) << 40);
    assert_true(counter_get(&c) == (UINT64_C(1) << 40) + 42);
}

static void a_gauge_goes_down_again(void **state)
{
    (void)state;
    struct counter c = {0};
    counter_inc(&c);
    counter_inc(&c);
    counter_dec(&c);
    assert_int_equal(counter_get(&c), 1);
    counter_dec(&c);
    assert_int_equal(counter_get(&c), 0);
}

static void bounds_rise(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_LEN(bounds), HIST_BUCKETS - 1);
    for (size_t i = 1; i < ARRAY_LEN(bounds); i++)
        assert_true(bounds[i] > bounds[i - 1]);
}

/* Prometheus buckets are "less than or equal". */
static void a_bound_belongs_to_its_own_bucket(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        struct hist h;
        memset(&h, 0, sizeof(h));
        hist_add(&h, bounds[i]);
        assert_int_equal(counter_get(&h.buckets[i]), 1);
        hist_add(&h, bounds[i] + 1);
        assert_int_equal(counter_get(&h.buckets[i]), 1);
        assert_int_equal(counter_get(&h.buckets[i + 1]), 1);
        assert_true(counter_get(&h.sum_us) == 2 * bounds[i] + 1);
    }
}

static void extremes_have_a_bucket(void **state)
{
    (void)state;
    struct hist h;
    memset(&h, 0, sizeof(h));
    hist_add(&h, 0);
    assert_int_equal(counter_get(&h.buckets[0]), 1);
    hist_add(&h, UINT64_MAX);
    assert_int_equal(counter_get(&h.buckets[HIST_BUCKETS - 1]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_counts),
        cmocka_unit_test(a_gauge_goes_down_again),
        cmocka_unit_test(bounds_rise),
        cmocka_unit_test(a_bound_belongs_to_its_own_bucket),
        cmocka_unit_test(extremes_have_a_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
