/* SPDX-License-Identifier: Apache-2.0 */
/* What results of health checks come to, when the next one is due; and the messages of gRPC's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/health.h"
#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/upstream/health_grpc.h"

#define SECOND UINT64_C(1000000) /* us */

static const struct lb_health_rules rules = {
    .down_after = 3, .up_after = 2, .every_ms = 5000, .out_ms = 1000, .jitter = 10};

/*
 * Plays results, a letter each: '.' passed, 'x' failed. After each of them the state, as a letter:
 * '?' unknown, '!' unproven, 'u' up, 'd' down; in upper case what has news.
 */
static void check_story(bool must_pass, const char *results, const char *expected)
{
    static const char letters[] = {[LB_HEALTH_UNKNOWN] = '?',
                                   [LB_HEALTH_UNPROVEN] = '!',
                                   [LB_HEALTH_UP] = 'u',
                                   [LB_HEALTH_DOWN] = 'd'};
    char states[64] = "";
    struct lb_health h;
    lb_health_init(&h, &rules, must_pass, 0, SECOND);
    for (size_t i = 0; results[i] != '\0'; i++) {
        uint64_t since = h.since_us, now = (i + 2) * SECOND;
        uint8_t before = h.state;
        enum lb_health_news news = lb_health_result(&h, &rules, results[i] == '.', now);
        states[i] = letters[h.state];
        if (news == LB_HEALTH_WENT_UP)
            states[i] = 'U';
        else if (news == LB_HEALTH_WENT_DOWN)
            states[i] = 'D';
        assert_int_equal(h.since_us, h.state == before ? since : now);
        assert_true(lb_health_usable(&h) == (strchr("?uU", states[i]) != NULL));
    }
    assert_string_equal(states, expected);
}

/* BEHAVIOUR 8: down after 3, up after 2. */
static void test_three_failures_in_a_row_take_it_down_and_two_passes_bring_it_back(void **state)
{
    (void)state;
    check_story(false, "....", "uuuu");
    check_story(false, "xxx", "??D");
    check_story(false, "xx.xx.", "??uuuu");
    check_story(false, ".xxx", "uuuD");
    check_story(false, ".xxxxx", "uuuDdd");
    check_story(false, ".xxx..", "uuuDdU");
    check_story(false, ".xxx.x.x..", "uuuDdddddU");
    check_story(false, ".xxx..xxx", "uuuDdUuuD");
}

/* BEHAVIOUR 8: an endpoint added at run time must pass once. */
static void test_one_that_must_pass_has_to_pass_once(void **state)
{
    (void)state;
    check_story(true, ".", "U");
    check_story(true, "xxxxx.", "!!!!!U");
    check_story(true, "x.xxx..", "!UuuDdU");
}

static void test_thresholds_of_one(void **state)
{
    const struct lb_health_rules one = {.down_after = 1, .up_after = 1, .every_ms = 1, .out_ms = 1};
    struct lb_health h;
    (void)state;
    lb_health_init(&h, &one, false, 0, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lb_health_result(&h, &one, false, 0), LB_HEALTH_WENT_DOWN);
        assert_int_equal(lb_health_result(&h, &one, true, 0), LB_HEALTH_WENT_UP);
    }
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Any endpoints in a row: the largest gap between two of their turns, and the mean one. */
static void check_spread(uint32_t first, uint32_t count)
{
    uint64_t *at = calloc(count, sizeof(*at)), largest = 0;
    assert_non_null(at);
    for (uint32_t i = 0; i < count; i++) {
        struct lb_health h;
        const struct lb_health_rules slow = {
            .down_after = 1, .up_after = 1, .every_ms = 3600000, .out_ms = 1};
        lb_health_init(&h, &slow, false, first + i, 7 * SECOND);
        assert_in_range(h.slot_ms, 7000, 7000 + 3600000 - 1);
        at[i] = h.slot_ms - 7000;
    }
    qsort(at, count, sizeof(*at), by_size);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t next = i + 1 < count ? at[i + 1] : at[0] + 3600000;
        largest = next - at[i] > largest ? next - at[i] : largest;
    }
    assert_true(largest < 3 * UINT64_C(3600000) / count + 2);
    free(at);
}

static void test_checks_of_many_endpoints_are_spread_over_the_interval(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 10, 1000, 10000};
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        check_spread(0, counts[k]);
        check_spread(12345, counts[k]);
    }
}

/* BEHAVIOUR 8: jittered. The mean time between checks is the interval, whatever the dice say. */
static void test_jitter_makes_a_check_late_but_does_not_add_up(void **state)
{
    struct lb_rng rng;
    struct lb_health h;
    uint64_t earliest = UINT64_MAX, latest = 0;
    (void)state;
    lb_rng_seed(&rng, 1);
    lb_health_init(&h, &rules, false, 0, 0);
    uint64_t now = h.slot_ms;
    for (uint64_t i = 1; i <= 1000; i++) {
        now = lb_health_next_ms(&h, &rules, now + 300, lb_rng_next(&rng));
        assert_in_range(now, i * 5000, i * 5000 + 500);
        earliest = now - i * 5000 < earliest ? now - i * 5000 : earliest;
        latest = now - i * 5000 > latest ? now - i * 5000 : latest;
    }
    assert_true(earliest < 50 && latest > 450);
}

static void test_one_that_gets_no_requests_has_an_interval_of_its_own(void **state)
{
    struct lb_health h;
    (void)state;
    lb_health_init(&h, &rules, false, 0, 0);
    for (int i = 0; i < 3; i++)
        lb_health_result(&h, &rules, false, 0);
    assert_int_equal(lb_health_next_ms(&h, &rules, 500, 0), 1000);
    assert_int_equal(lb_health_next_ms(&h, &rules, 1500, 0), 2000);
    for (int i = 0; i < 2; i++)
        lb_health_result(&h, &rules, true, 0);
    assert_int_equal(lb_health_next_ms(&h, &rules, 2500, 0), 7000);
}

static void test_intervals_that_went_by_are_left_out(void **state)
{
    struct lb_health h;
    (void)state;
    lb_health_init(&h, &rules, false, 0, 0);
    assert_int_equal(lb_health_next_ms(&h, &rules, 5200, 0), 5000); /* late: at once */
    assert_int_equal(lb_health_next_ms(&h, &rules, 61234, 0), 60000);
    assert_int_equal(lb_health_next_ms(&h, &rules, 61300, 0), 65000);
}

/* ---- gRPC ---- */

static void test_the_grpc_request(void **state)
{
    char out[HEALTH_GRPC_REQUEST], service[HEALTH_GRPC_SERVICE];
    (void)state;
    assert_int_equal(health_grpc_request(span_of(NULL, 0), out), 5);
    assert_memory_equal(out, "\0\0\0\0\0", 5);
    assert_int_equal(health_grpc_request(SPAN_LIT("a.B"), out), 10);
    assert_memory_equal(out, "\0\0\0\0\5\n\3a.B", 10);
    memset(service, 's', sizeof(service));
    assert_int_equal(health_grpc_request(span_of(service, 127), out), 5 + 2 + 127);
    assert_memory_equal(out, "\0\0\0\0\x81\n\x7f", 7);
    assert_int_equal(health_grpc_request(span_of(service, 255), out), 5 + 3 + 255);
    assert_memory_equal(out, "\0\0\0\1\2\n\xff\1sss", 11);
    assert_memory_equal(out + 8, service, 255);
}

static void test_the_grpc_response(void **state)
{
    static const struct {
        struct span bytes;
        bool serving;
    } cases[] = {
        {SPAN_LIT("\0\0\0\0\2\x08\1"), true},
        {SPAN_LIT("\0\0\0\0\3\x08\x81\0"), true}, /* a varint that is longer than it needs to be */
        {SPAN_LIT("\0\0\0\0\4\x12\0\x08\1"), true}, /* behind a field of later times */
        {SPAN_LIT("\0\0\0\0\xd\x19"
                  "12345678"
                  "\x1d"
                  "1234\x08\1"),
         false}, /* the wrong length */
        {SPAN_LIT("\0\0\0\0\x10\x19"
                  "12345678"
                  "\x1d"
                  "1234\x08\1"),
         true},
        {SPAN_LIT("\0\0\0\0\4\x08\1\x08\2"), false}, /* the last one counts */
        {SPAN_LIT("\0\0\0\0\2\x08\2"), false},
        {SPAN_LIT("\0\0\0\0\0"), false},       /* UNKNOWN */
        {SPAN_LIT("\1\0\0\0\2\x08\1"), false}, /* compressed */
        {SPAN_LIT("\0\0\0\0\1\x08\1"), false},
        {SPAN_LIT("\0\0\0\0\3\x08\1"), false},
        {SPAN_LIT("\0\0\0\0\1\x08"), false},
        {SPAN_LIT("\0\0\0\0\2\x12\1"), false}, /* longer than the message */
        {SPAN_LIT("\0\0\0\0\2\x0b\1"), false}, /* a group */
        {SPAN_LIT("\0\0\0\0\xc\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), false},
        {SPAN_LIT("\0\0\0\0"), false},
        {SPAN_LIT(""), false},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        /* Of its own, so that a sanitizer sees what is read beyond it. */
        char *bytes = malloc(cases[k].bytes.len + 1);
        assert_non_null(bytes);
        memcpy(bytes, cases[k].bytes.ptr, cases[k].bytes.len);
        if (health_grpc_serving(span_of(bytes, cases[k].bytes.len)) != cases[k].serving)
            fail_msg("case %zu", k);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_failures_in_a_row_take_it_down_and_two_passes_bring_it_back),
        cmocka_unit_test(test_one_that_must_pass_has_to_pass_once),
        cmocka_unit_test(test_thresholds_of_one),
        cmocka_unit_test(test_checks_of_many_endpoints_are_spread_over_the_interval),
        cmocka_unit_test(test_jitter_makes_a_check_late_but_does_not_add_up),
        cmocka_unit_test(test_one_that_gets_no_requests_has_an_interval_of_its_own),
        cmocka_unit_test(test_intervals_that_went_by_are_left_out),
        cmocka_unit_test(test_the_grpc_request),
        cmocka_unit_test(test_the_grpc_response),
    };
    return cmocka_run_group_tests_name("health checks", tests, NULL, NULL);
}
