/* SPDX-License-Identifier: Apache-2.0 */
/* Identifiers: their layout, their order within and across milliseconds, and no two alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/uuid7.h"

struct id {
    char text[UUID7_LEN + 1];
};

static struct id next_id(struct uuid7 *gen, uint64_t ms)
{
    struct id id = {.text = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    uuid7_format(gen, ms, id.text);
    return id;
}

static void the_layout_is_that_of_rfc_9562(void **state)
{
    (void)state;
    struct uuid7 gen;
    assert_true(uuid7_init(&gen));
    /* The time of the RFC's own example, appendix A.6. */
    struct id id = next_id(&gen, UINT64_C(0x017F22E279B0));
    assert_memory_equal(id.text, "017f22e2-79b0-7", 15);
    assert_int_equal(strspn(id.text, "0123456789abcdef-"), UUID7_LEN);
    for (size_t i = 0; i < UUID7_LEN; i++)
        assert_int_equal(id.text[i] == '-', i == 8 || i == 13 || i == 18 || i == 23);
    assert_non_null(strchr("89ab", id.text[19]));
    assert_int_equal(id.text[UUID7_LEN], 0);
}

static void the_bits_of_a_known_state_are_where_they_belong(void **state)
{
    (void)state;
    /* One step from here carries out of the low 62 bits into the high 12. */
    struct uuid7 gen = {.state = {1, 2, 3, 4},
                        .last_ms = UINT64_C(0xaabbccddeeff),
                        .high = 0x3ff,
                        .low = (UINT64_C(1) << 62) - 1};
    struct id id = next_id(&gen, UINT64_C(0xaabbccddeeff));
    assert_int_equal(gen.high, 0x400);
    char want[64];
    snprintf(want, sizeof want, "aabbccdd-eeff-7400-8000-%012llx", (unsigned long long)gen.low);
    assert_string_equal(id.text, want);
}

static void a_millisecond_that_is_full_borrows_the_next(void **state)
{
    (void)state;
    struct uuid7 gen = {
        .state = {1, 2, 3, 4}, .last_ms = 1000, .high = 0xfff, .low = (UINT64_C(1) << 62) - 1};
    struct id a = next_id(&gen, 1000), b = next_id(&gen, 1000), c = next_id(&gen, 1002);
    assert_memory_equal(a.text, "00000000-03e9-7", 15);
    assert_memory_equal(b.text, "00000000-03e9-7", 15);
    assert_memory_equal(c.text, "00000000-03ea-7", 15);
    assert_true(strcmp(a.text, b.text) < 0);
}

static void ids_increase_whatever_the_clock_does(void **state)
{
    (void)state;
    struct uuid7 gen;
    assert_true(uuid7_init(&gen));
    static const uint64_t times[] = {5000000, 5000000, 5000001, 5000000, 4999000,
                                     4990001, 5000001, 5000900, 5000900};
    struct id last = next_id(&gen, 4999999);
    for (size_t round = 0; round < 2000; round++) {
        uint64_t ms = times[round % 9] + round / 9 * 1000;
        struct id id = next_id(&gen, ms);
        assert_true(strcmp(last.text, id.text) < 0);
        last = id;
    }
    /* A clock that was set back by more is believed. */
    struct id id = next_id(&gen, 1000);
    assert_memory_equal(id.text, "00000000-03e8-7", 15);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, UUID7_LEN);
}

static void two_generators_do_not_meet(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct id *ids = calloc(2 * N, sizeof *ids);
    assert_non_null(ids);
    struct uuid7 a, b;
    assert_true(uuid7_init(&a));
    assert_true(uuid7_init(&b));
    for (size_t i = 0; i < N; i++) {
        ids[2 * i] = next_id(&a, 1000 + i / 100);
        ids[2 * i + 1] = next_id(&b, 1000 + i / 100);
    }
    qsort(ids, 2 * N, sizeof *ids, compare_ids);
    for (size_t i = 1; i < 2 * N; i++)
        assert_string_not_equal(ids[i - 1].text, ids[i].text);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_that_of_rfc_9562),
        cmocka_unit_test(the_bits_of_a_known_state_are_where_they_belong),
        cmocka_unit_test(a_millisecond_that_is_full_borrows_the_next),
        cmocka_unit_test(ids_increase_whatever_the_clock_does),
        cmocka_unit_test(two_generators_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
