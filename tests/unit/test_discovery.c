/* SPDX-License-Identifier: Apache-2.0 */
/* What is believed of answers, and how long is waited after failures. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/rng.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/discovery/backoff.h"
#include "proxy/discovery/belief.h"

/* ---- backoff ---- */

static void test_waits_grow_up_to_a_bound(void **state)
{
    struct backoff b = {0};
    const uint64_t most[] = {2400, 7200, 21600, 30000, 30000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(most); i++) {
        uint64_t last = b.last_ms > BACKOFF_MIN_MS ? b.last_ms : BACKOFF_MIN_MS;
        uint64_t top = last * 3 < BACKOFF_MAX_MS ? last * 3 : BACKOFF_MAX_MS;
        assert_int_equal(backoff_next(&b, top - BACKOFF_MIN_MS), most[i]);
    }
    assert_int_equal(backoff_next(&b, 0), BACKOFF_MIN_MS);
    backoff_reset(&b);
    assert_int_equal(backoff_next(&b, 1600), 2400);
}

static void test_waits_are_spread(void **state)
{
    struct lb_rng rng;
    uint64_t low = UINT64_MAX, high = 0;
    (void)state;
    lb_rng_seed(&rng, 7);
    for (int i = 0; i < 10000; i++) {
        struct backoff b = {30000};
        uint64_t ms = backoff_next(&b, lb_rng_next(&rng));
        assert_in_range(ms, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    assert_in_range(low, BACKOFF_MIN_MS, BACKOFF_MIN_MS + 100);
    assert_in_range(high, BACKOFF_MAX_MS - 100, BACKOFF_MAX_MS);
}

/* ---- belief ---- */

/* "abc" is three endpoints, "" none; "aB" are two, the second of which drains. */
static struct config_endpoints *set_of(const char *hosts)
{
    size_t n = strlen(hosts);
    struct config_endpoints *set = config_endpoints_new(n);
    for (size_t i = 0; i < n; i++) {
        char host[16];
        snprintf(host, sizeof(host), "10.0.0.%d", tolower(hosts[i]));
        config_endpoints_put(set, i, host, 80, 1, 0);
        config_endpoints_place(set, i, NULL, isupper(hosts[i]) != 0);
    }
    config_endpoints_done(set);
    return set;
}

/* What happens at a time, and what comes of it: answer NULL is no answer. */
struct moment {
    uint64_t at_ms;
    const char *answer;
    enum belief_step step;
    const char *held; /* NULL: nothing */
};

static void expect_held(const struct belief *b, const char *hosts)
{
    struct config_endpoints *expected = hosts != NULL ? set_of(hosts) : NULL;
    assert_int_equal(b->held != NULL, expected != NULL);
    if (expected != NULL && b->held != NULL)
        assert_true(b->held->hash == expected->hash);
    config_endpoints_unref(expected);
}

static void play(const struct moment *moments, size_t n)
{
    struct belief b = {0};
    for (size_t i = 0; i < n; i++) {
        const struct moment *m = &moments[i];
        if (m->answer != NULL)
            belief_answer(&b, set_of(m->answer), m->at_ms);
        else
            assert_true(m->step == BELIEF_WAIT || belief_due_ms(&b) <= m->at_ms);
        enum belief_step step = belief_step(&b, m->at_ms);
        if (step != m->step)
            fail_msg("moment %zu: step %d, expected %d", i, step, m->step);
        expect_held(&b, m->held);
    }
    belief_fini(&b);
}

#define PLAY(...) \
    play((const struct moment[]){__VA_ARGS__}, ARRAY_LEN(((const struct moment[]){__VA_ARGS__})))

#define WAIT BELIEF_WAIT
#define USE  BELIEF_USE
#define ASK  BELIEF_ASK

static void test_the_first_answer_is_used_at_once(void **state)
{
    (void)state;
    PLAY({0, NULL, WAIT, NULL}, {5, "ab", USE, "ab"}, {5, NULL, WAIT, "ab"});
    PLAY({5, "", USE, ""}, {5, NULL, WAIT, ""}, {9, "a", WAIT, ""}, {59, NULL, USE, "a"});
}

static void test_a_change_waits_for_others(void **state)
{
    (void)state;
    PLAY({0, "a", USE, "a"}, {100, "ab", WAIT, "a"}, {149, NULL, WAIT, "a"}, {150, NULL, USE, "ab"},
         {150, NULL, WAIT, "ab"});
    PLAY({0, "a", USE, "a"}, {100, "ab", WAIT, "a"}, {140, "abc", WAIT, "a"},
         {189, NULL, WAIT, "a"}, {190, NULL, USE, "abc"});
    /* The same again does not put it off. */
    PLAY({0, "a", USE, "a"}, {100, "ab", WAIT, "a"}, {140, "ab", WAIT, "a"},
         {150, NULL, USE, "ab"});
}

static void test_what_changes_all_the_time_is_used_all_the_same(void **state)
{
    (void)state;
    struct moment moments[40] = {{0, "a", USE, "a"}};
    for (unsigned i = 1; i < 40; i++) {
        uint64_t at = 100 + (i - 1) * 40;
        bool used = at >= 100 + BELIEF_AT_MOST_MS;
        moments[i] = (struct moment){at, i % 2 ? "ab" : "ac", used ? USE : WAIT, NULL};
        if (used) {
            moments[i].held = moments[i].answer;
            play(moments, i + 1);
            return;
        }
        moments[i].held = "a";
    }
    fail();
}

static void test_who_leaves_is_not_waited_with(void **state)
{
    (void)state;
    PLAY({0, "ab", USE, "ab"}, {100, "abc", WAIT, "ab"}, {140, "bc", WAIT, "ab"},
         {149, NULL, WAIT, "ab"}, {150, NULL, USE, "bc"});
    PLAY({0, "ab", USE, "ab"}, {100, "abc", WAIT, "ab"}, {140, "abcd", WAIT, "ab"},
         {180, "aBcd", USE, "aBcd"});
    /* It had no work before; and one that is there again is nobody who leaves. */
    PLAY({0, "aB", USE, "aB"}, {100, "a", WAIT, "aB"}, {140, "ac", WAIT, "aB"},
         {189, NULL, WAIT, "aB"}, {190, NULL, USE, "ac"});
    PLAY({0, "ab", USE, "ab"}, {100, "ac", WAIT, "ab"}, {140, "abc", WAIT, "ab"},
         {189, NULL, WAIT, "ab"}, {190, NULL, USE, "abc"});
}

static void test_what_was_taken_back_is_not_used(void **state)
{
    (void)state;
    PLAY({0, "a", USE, "a"}, {100, "ab", WAIT, "a"}, {110, "a", WAIT, "a"},
         {9999, NULL, WAIT, "a"});
}

static void test_an_empty_answer_has_to_be_confirmed(void **state)
{
    (void)state;
    PLAY({0, "a", USE, "a"}, {100, "", WAIT, "a"}, {2099, NULL, WAIT, "a"}, {2100, NULL, ASK, "a"},
         {2100, NULL, WAIT, "a"}, {9000, NULL, WAIT, "a"}, {9100, "", USE, ""},
         {9100, NULL, WAIT, ""});
    /* Said again too soon is not said again; much later it is, though nobody has asked. */
    PLAY({0, "a", USE, "a"}, {100, "", WAIT, "a"}, {150, "", WAIT, "a"}, {2100, "", USE, ""});
}

static void test_an_empty_answer_that_was_a_slip(void **state)
{
    (void)state;
    PLAY({0, "a", USE, "a"}, {100, "", WAIT, "a"}, {2100, NULL, ASK, "a"}, {2110, "a", WAIT, "a"},
         {9999, NULL, WAIT, "a"});
    PLAY({0, "a", USE, "a"}, {100, "", WAIT, "a"}, {2100, NULL, ASK, "a"}, {2110, "b", WAIT, "a"},
         {2160, NULL, USE, "b"});
    /* It begins anew. */
    PLAY({0, "a", USE, "a"}, {100, "", WAIT, "a"}, {2000, "a", WAIT, "a"}, {2200, "", WAIT, "a"},
         {4199, NULL, WAIT, "a"}, {4200, NULL, ASK, "a"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_grow_up_to_a_bound),
        cmocka_unit_test(test_waits_are_spread),
        cmocka_unit_test(test_the_first_answer_is_used_at_once),
        cmocka_unit_test(test_a_change_waits_for_others),
        cmocka_unit_test(test_what_changes_all_the_time_is_used_all_the_same),
        cmocka_unit_test(test_who_leaves_is_not_waited_with),
        cmocka_unit_test(test_what_was_taken_back_is_not_used),
        cmocka_unit_test(test_an_empty_answer_has_to_be_confirmed),
        cmocka_unit_test(test_an_empty_answer_that_was_a_slip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
