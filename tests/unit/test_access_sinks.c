/* SPDX-License-Identifier: Apache-2.0 */
/* What the access log does with its files and with syslog: the names, the heads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "proxy/access_rotate.h"
#include "proxy/access_syslog.h"

static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/weir-sinks-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", dir);
    return 0;
}

static void name_of(char out[128], unsigned n)
{
    snprintf(out, 128, n == 0 ? "%s" : "%s.%u", path, n);
}

static int teardown(void **state)
{
    (void)state;
    char name[128];
    for (unsigned n = 0; n < 6; n++) {
        name_of(name, n);
        unlink(name);
    }
    return rmdir(dir);
}

static void put(unsigned n, char c)
{
    char name[128];
    name_of(name, n);
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    fputc(c, f);
    fclose(f);
}

/* What each file holds, '-' for one that is not there. */
static void assert_files(const char *want)
{
    char got[8] = "", name[128];
    for (unsigned n = 0; n < strlen(want); n++) {
        name_of(name, n);
        FILE *f = fopen(name, "r");
        got[n] = f != NULL ? (char)fgetc(f) : '-';
        if (f != NULL)
            fclose(f);
    }
    assert_string_equal(got, want);
}

static void files_move_up_and_the_oldest_goes(void **state)
{
    (void)state;
    assert_true(access_rotate(path, 2)); /* there is nothing yet */
    assert_files("----");
    for (int c = 'a'; c <= 'd'; c++) {
        put(0, (char)c);
        assert_true(access_rotate(path, 2));
    }
    assert_files("-dc-");
}

static void a_gap_stays_one(void **state)
{
    (void)state;
    put(0, 'a');
    put(3, 'x');
    assert_true(access_rotate(path, 3));
    assert_files("-a-x");
}

static void to_keep_none_is_to_remove_it(void **state)
{
    (void)state;
    put(0, 'a');
    assert_true(access_rotate(path, 0));
    assert_files("--");
}

static void a_message_begins_as_rfc_5424_has_it(void **state)
{
    (void)state;
    struct access_syslog s;
    char err[256], head[SYSLOG_HEAD], want[SYSLOG_HEAD];
    struct access_syslog_options options = {.path = "/nowhere", .facility = 16, .tag = "edge"};
    assert_true(access_syslog_init(&s, &options, err, sizeof(err)));
    size_t len = access_syslog_head(&s, UINT64_C(1700000000123456), head);
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    snprintf(want, sizeof(want), "<134>1 2023-11-14T22:13:20.123456Z %.100s edge %d access - ",
             host, (int)getpid());
    assert_string_equal(head, want);
    assert_int_equal(len, strlen(want));
    options.path = "/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/0123456789/"
                   "0123456789/0123456789/0123456789/0123456789";
    assert_false(access_syslog_init(&s, &options, err, sizeof(err)));
    assert_non_null(strstr(err, "too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_move_up_and_the_oldest_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_stays_one, setup, teardown),
        cmocka_unit_test_setup_teardown(to_keep_none_is_to_remove_it, setup, teardown),
        cmocka_unit_test(a_message_begins_as_rfc_5424_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
