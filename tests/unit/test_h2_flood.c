/* SPDX-License-Identifier: Apache-2.0 */
/* How many cheap frames a peer may send, and what fills its purses again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/http/h2_flood.h"

/* How many in a row are let through. */
static unsigned spend(struct h2_flood *f, enum h2_flood_kind kind, uint64_t now)
{
    unsigned n = 0;
    while (h2_flood_count(f, kind, now) == REASON_NONE)
        n++;
    return n;
}

static void resets_have_a_burst_and_then_a_rate(void **state)
{
    struct h2_flood f;
    (void)state;
    h2_flood_init(&f, 5000);
    assert_int_equal(spend(&f, FLOOD_RESET, 5000), 1000);
    assert_int_equal(spend(&f, FLOOD_RESET, 5999), 0);
    assert_int_equal(spend(&f, FLOOD_RESET, 6000), 200);
    assert_int_equal(spend(&f, FLOOD_RESET, 8500), 400);
    assert_int_equal(spend(&f, FLOOD_RESET, 9000), 200);
    assert_int_equal(spend(&f, FLOOD_RESET, UINT64_C(1) << 60), 1000);
    assert_int_equal(h2_flood_count(&f, FLOOD_RESET, UINT64_C(1) << 60), REASON_H2_RESET_FLOOD);
}

/* So many resets a second for an hour: how many are let through? UINT64_MAX: all of them. */
static uint64_t borne(unsigned a_second)
{
    struct h2_flood f;
    h2_flood_init(&f, 0);
    for (uint64_t n = 0; n < a_second * 3600u; n++)
        if (h2_flood_count(&f, FLOOD_RESET, n * 1000 / a_second) != REASON_NONE)
            return n;
    return UINT64_MAX;
}

static void two_hundred_resets_a_second_are_borne_for_ever(void **state)
{
    (void)state;
    assert_true(borne(100) == UINT64_MAX);
    assert_true(borne(200) == UINT64_MAX);
    assert_int_equal(borne(220), 40 * 220 + 200); /* 20 of the burst go each second */
    assert_int_equal(borne(1200), 1000);
}

static void a_purse_is_not_another(void **state)
{
    struct h2_flood f;
    (void)state;
    h2_flood_init(&f, 0);
    spend(&f, FLOOD_PING, 0);
    assert_int_equal(h2_flood_count(&f, FLOOD_SETTINGS, 0), REASON_NONE);
    assert_int_equal(h2_flood_count(&f, FLOOD_PING, 0), REASON_H2_PING_FLOOD);
}

static void a_section_has_pieces_of_its_own_and_time_brings_none(void **state)
{
    struct h2_flood f;
    (void)state;
    h2_flood_init(&f, 0);
    assert_int_equal(spend(&f, FLOOD_CONTINUATION, 0), 8);
    assert_int_equal(spend(&f, FLOOD_CONTINUATION, 100000), 0);
    h2_flood_section(&f);
    assert_int_equal(spend(&f, FLOOD_CONTINUATION, 100000), 8);
}

/* A body of any length is answered by window updates, a gRPC call ends with an empty DATA. */
static void what_makes_frames_legitimate_pays_for_them(void **state)
{
    struct h2_flood f;
    (void)state;
    h2_flood_init(&f, 0);
    for (unsigned i = 0; i < 100000; i++) {
        h2_flood_data_sent(&f);
        assert_int_equal(h2_flood_count(&f, FLOOD_WINDOW, 0), REASON_NONE);
        assert_int_equal(h2_flood_count(&f, FLOOD_WINDOW, 0), REASON_NONE);
        h2_flood_stream(&f);
        assert_int_equal(h2_flood_count(&f, FLOOD_EMPTY_DATA, 0), REASON_NONE);
        assert_int_equal(h2_flood_count(&f, FLOOD_PRIORITY, 0), REASON_NONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resets_have_a_burst_and_then_a_rate),
        cmocka_unit_test(two_hundred_resets_a_second_are_borne_for_ever),
        cmocka_unit_test(a_purse_is_not_another),
        cmocka_unit_test(a_section_has_pieces_of_its_own_and_time_brings_none),
        cmocka_unit_test(what_makes_frames_legitimate_pays_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
