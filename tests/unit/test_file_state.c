/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a change of a file is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/watch/file_state.h"

struct folder {
    char path[64], file[96], other[96], link[96];
};

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    strcpy(f->path, "/tmp/weir-file-state-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->file, sizeof(f->file), "%s/a.pem", f->path);
    snprintf(f->other, sizeof(f->other), "%s/b.pem", f->path);
    snprintf(f->link, sizeof(f->link), "%s/link", f->path);
    write_file(f->file, "one");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct folder *f = *state;
    unlink(f->file);
    unlink(f->other);
    unlink(f->link);
    rmdir(f->path);
    free(f);
    return 0;
}

static void test_what_is_as_it_was_has_the_same_state(void **state)
{
    struct folder *f = *state;
    assert_true(file_state(f->file) == file_state(f->file));
    assert_true(file_state(f->path) == file_state(f->path));
    assert_true(file_state("/nowhere") == file_state("/nowhere"));
}

static void test_a_file_that_is_written_replaced_or_removed(void **state)
{
    struct folder *f = *state;
    uint64_t first = file_state(f->file);
    write_file(f->file, "longer");
    uint64_t written = file_state(f->file);
    write_file(f->other, "longer");
    assert_int_equal(rename(f->other, f->file), 0);
    uint64_t replaced = file_state(f->file);
    unlink(f->file);
    uint64_t removed = file_state(f->file);
    assert_true(first != written && written != replaced && replaced != removed);
    assert_true(removed != first);
}

static void test_a_link_that_leads_elsewhere(void **state)
{
    struct folder *f = *state;
    write_file(f->other, "one");
    assert_int_equal(symlink("a.pem", f->link), 0);
    uint64_t before = file_state(f->link);
    unlink(f->link);
    assert_int_equal(symlink("b.pem", f->link), 0);
    assert_true(file_state(f->link) != before);
}

static void test_a_directory_is_the_certificates_in_it(void **state)
{
    struct folder *f = *state;
    uint64_t one = file_state(f->path);
    write_file(f->link, "neither a certificate nor a key");
    assert_true(file_state(f->path) == one);
    write_file(f->other, "two");
    uint64_t two = file_state(f->path);
    assert_true(two != one);
    write_file(f->other, "changed");
    assert_true(file_state(f->path) != two);
    unlink(f->other);
    assert_true(file_state(f->path) == one);
}

static void test_the_order_of_states_counts(void **state)
{
    (void)state;
    uint64_t ab = file_state_mix(file_state_mix(0, 1), 2);
    assert_true(ab != file_state_mix(file_state_mix(0, 2), 1));
    assert_true(ab == file_state_mix(file_state_mix(0, 1), 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_as_it_was_has_the_same_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_written_replaced_or_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_link_that_leads_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_directory_is_the_certificates_in_it, setup,
                                        teardown),
        cmocka_unit_test(test_the_order_of_states_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
