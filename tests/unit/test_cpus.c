/* SPDX-License-Identifier: Apache-2.0 */
/* CPU quotas as cgroups write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/cpus.h"

static void a_quota_is_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        double want;
    } rows[] = {
        {"max 100000\n", 0},
        {"max\n", 0},
        {"150000 100000\n", 1.5},
        {"100000 100000", 1},
        {"5000 100000", 0.05},
        {"200000 50000\n", 4},
        {"-1 100000\n", 0}, /* cgroup v1's "none" */
        {"0 100000\n", 0},
        {"100000 0\n", 0},
        {"100000\n", 0},
        {"100000 -5\n", 0},
        {"", 0},
        {"\n", 0},
        {"garbage 100000\n", 0},
        {"100000 max\n", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double got = cpus_parse_max(rows[i].line);
        if (got != rows[i].want)
            fail_msg("\"%s\": %f, want %f", rows[i].line, got, rows[i].want);
    }
}

static void there_is_always_one_and_a_word_about_it(void **state)
{
    (void)state;
    char why[128] = "";
    unsigned cpus = cpus_available(why, sizeof(why));
    assert_in_range(cpus, 1, 100000);
    assert_true(strstr(why, "CPU") != NULL);
    char cut[4];
    assert_int_equal(cpus_available(cut, sizeof(cut)), cpus);
    assert_int_equal(strlen(cut), sizeof(cut) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quota_is_parsed),
        cmocka_unit_test(there_is_always_one_and_a_word_about_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
