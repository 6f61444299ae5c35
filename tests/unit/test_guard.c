/* SPDX-License-Identifier: Apache-2.0 */
/* The guard of a canary: what it takes for a rule, and when one is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proxy/guard.h"

#define MS UINT64_C(1000)

static struct guard parsed(const char *text)
{
    struct guard g;
    char why[GUARD_TEXT] = "";
    if (!guard_parse(span_str(text), &g, why))
        fail_msg("%s: %s", text, why);
    return g;
}

static void test_rules_are_shares_and_times(void **state)
{
    (void)state;
    struct guard g = parsed("5xx<+1%,5xx<2.5%,p99<+20%,p50<300ms,p90<1.5s");
    assert_int_equal(g.n, 5);
    assert_true(g.rules[0].percent == 0 && g.rules[0].relative && g.rules[0].most == 0.01);
    assert_true(g.rules[1].percent == 0 && !g.rules[1].relative && g.rules[1].most == 0.025);
    assert_true(g.rules[2].percent == 99 && g.rules[2].relative && g.rules[2].most == 0.2);
    assert_true(g.rules[3].percent == 50 && !g.rules[3].relative && g.rules[3].most == 300e3);
    assert_true(g.rules[4].percent == 90 && !g.rules[4].relative && g.rules[4].most == 1500e3);
}

static void test_what_is_no_rule_is_named(void **state)
{
    static const char *const bad[] = {
        "",         "5xx",       "5xx<",     "4xx<1%",
        "5xx<1",    "5xx<-1%",   "5xx>1%",   "5xx<1ms",
        "p99<20%",  "p99<+20ms", "p99<5",    "p98<1s",
        "5xx<1%,",  ",5xx<1%",   "5xx <1%",  "5xx<1% ",
        "p99<1sec", "p99<nan",   "5xx<inf%", "5xx<+ 1%",
        "p99<<1s",  "5xx<1%%,",  "5xx<0x1%", "a rule that is longer than any there is",
    };
    struct guard g;
    char why[GUARD_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why[0] = '\0';
        if (guard_parse(span_str(bad[i]), &g, why))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(why, "expected such as 5xx<+1%"));
    }
    assert_false(guard_parse(SPAN_LIT("5xx<1%,5xx<1%,5xx<1%,5xx<1%,5xx<1%,5xx<1%,5xx<1%,5xx<1%,"
                                      "5xx<1%"),
                             &g, why));
    assert_string_equal(why, "a guard has at most 8 rules");
}

static void test_buckets_are_an_eighth_wide(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (unsigned i = 0; i + 1 < GUARD_BUCKETS; i++) {
        uint64_t top = guard_bucket_us(i);
        assert_int_equal(guard_bucket(top), i);
        assert_int_equal(guard_bucket(top + 1), i + 1);
        assert_true(i < 8 || (top - before) * 8 <= top + 1);
        before = top;
    }
    assert_int_equal(guard_bucket(UINT64_MAX), GUARD_BUCKETS - 1);
}

/* So many requests of so many us each, of which so many were 5xx. */
static void see(struct guard_seen *seen, uint64_t requests, uint64_t us, uint64_t errors)
{
    seen->requests += requests;
    seen->errors += errors;
    seen->buckets[guard_bucket(us)] += requests;
}

static void test_quantiles(void **state)
{
    (void)state;
    struct guard_seen s = {.requests = 0};
    assert_int_equal(guard_quantile_us(&s, 99), 0);
    see(&s, 99, 10 * MS, 0);
    see(&s, 1, 500 * MS, 0);
    assert_int_equal(guard_bucket(guard_quantile_us(&s, 99)), guard_bucket(10 * MS));
    see(&s, 1, 500 * MS, 0);
    assert_int_equal(guard_bucket(guard_quantile_us(&s, 99)), guard_bucket(500 * MS));
    assert_int_equal(guard_bucket(guard_quantile_us(&s, 50)), guard_bucket(10 * MS));
}

static bool broken(const char *rules, const struct guard_seen *canary,
                   const struct guard_seen *beside, bool last)
{
    struct guard g = parsed(rules);
    char why[GUARD_TEXT] = "";
    bool is = guard_broken(&g, canary, beside, last, why);
    assert_true(is == (why[0] != '\0'));
    return is;
}

static void test_a_dead_one_is_known_by_its_first_five(void **state)
{
    (void)state;
    struct guard_seen beside = {.requests = 0}, canary = {.requests = 0};
    see(&beside, 95, MS, 0);
    see(&canary, 4, MS, 4);
    assert_false(broken("5xx<+1%", &canary, &beside, false));
    see(&canary, 1, MS, 1);
    assert_true(broken("5xx<+1%", &canary, &beside, false));
}

static void test_a_failure_or_two_may_be_chance_until_the_end(void **state)
{
    (void)state;
    struct guard_seen beside = {.requests = 0}, canary = {.requests = 0};
    see(&beside, 1900, MS, 19);
    see(&canary, 98, MS, 0);
    see(&canary, 2, MS, 2);
    assert_false(broken("5xx<+1%", &canary, &beside, false));
    assert_false(broken("5xx<+1%", &canary, &beside, true)); /* 2%, and 1% + 1% are allowed */
    assert_true(broken("5xx<1%", &canary, &beside, true));
    see(&canary, 1, MS, 1);
    assert_false(broken("5xx<+1%", &canary, &beside, false));
    assert_true(broken("5xx<+1%", &canary, &beside, true));
}

static void test_what_serves_may_fail_as_much(void **state)
{
    (void)state;
    struct guard_seen beside = {.requests = 0}, canary = {.requests = 0};
    see(&beside, 1000, MS, 300);
    see(&canary, 100, MS, 31);
    assert_false(broken("5xx<+1%", &canary, &beside, true));
    see(&canary, 100, MS, 60);
    assert_true(broken("5xx<+1%", &canary, &beside, true));
    assert_true(broken("5xx<+1%", &canary, &beside, false));
}

static void test_latencies_are_compared_with_those_beside(void **state)
{
    (void)state;
    struct guard_seen beside = {.requests = 0}, canary = {.requests = 0};
    see(&canary, 200, 10 * MS, 0);
    assert_false(broken("p99<+20%", &canary, &beside, true)); /* with nothing */
    see(&beside, 1000, 10 * MS, 0);
    see(&canary, 2, 50 * MS, 0);
    assert_false(broken("p99<+20%", &canary, &beside, true)); /* one in a hundred may */
    see(&canary, 1, 50 * MS, 0);
    assert_true(broken("p99<+20%", &canary, &beside, true));
    assert_false(broken("p99<+20%", &canary, &beside, false)); /* it may be chance */
    see(&canary, 20, 50 * MS, 0);
    assert_true(broken("p99<+20%", &canary, &beside, false));
    assert_false(broken("p50<+20%,p99<100ms", &canary, &beside, true));
    assert_true(broken("p50<5ms", &canary, &beside, true));
}

static void test_too_few_prove_nothing(void **state)
{
    (void)state;
    struct guard_seen beside = {.requests = 0}, canary = {.requests = 0};
    see(&beside, 100, MS, 0);
    see(&canary, 4, MS, 0);
    assert_false(broken("5xx<+1%", &canary, &beside, false));
    assert_true(broken("5xx<+1%", &canary, &beside, true));
    see(&canary, 1, MS, 0);
    assert_false(broken("5xx<+1%", &canary, &beside, true));
    struct guard none = {.n = 0};
    char why[GUARD_TEXT];
    assert_false(guard_broken(&none, &(struct guard_seen){.requests = 0}, &beside, true, why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_are_shares_and_times),
        cmocka_unit_test(test_what_is_no_rule_is_named),
        cmocka_unit_test(test_buckets_are_an_eighth_wide),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_a_dead_one_is_known_by_its_first_five),
        cmocka_unit_test(test_a_failure_or_two_may_be_chance_until_the_end),
        cmocka_unit_test(test_what_serves_may_fail_as_much),
        cmocka_unit_test(test_latencies_are_compared_with_those_beside),
        cmocka_unit_test(test_too_few_prove_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
