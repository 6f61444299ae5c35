/* SPDX-License-Identifier: Apache-2.0 */
/* What a mistyped word may have been meant to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config/suggest.h"

static void test_distance_counts_typing_mistakes(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", "", 3), 0);
    assert_int_equal(suggest_distance("a", "", 3), 1);
    assert_int_equal(suggest_distance("GET", "get", 3), 0);
    assert_int_equal(suggest_distance("checkout", "chekout", 3), 1);
    assert_int_equal(suggest_distance("checkout", "checkuot", 3), 1);
    assert_int_equal(suggest_distance("checkout", "checkpoint", 3), 3);
    assert_int_equal(suggest_distance("abcd", "wxyz", 3), 4);
    assert_int_equal(suggest_distance("abc", "abcdefgh", 3), 4);
}

static void test_suggestion_is_the_nearest_and_near(void **state)
{
    (void)state;
    struct suggest s;
    suggest_init(&s, "prt");
    suggest_offer(&s, "path");
    assert_null(s.best);
    suggest_offer(&s, "part");
    assert_string_equal(s.best, "part");
    suggest_offer(&s, "prt");
    assert_string_equal(s.best, "prt");
    suggest_init(&s, "x");
    suggest_offer(&s, "y");
    assert_null(s.best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance_counts_typing_mistakes),
        cmocka_unit_test(test_suggestion_is_the_nearest_and_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
