/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are put in their place as a whole. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/watch/file_put.h"

struct folder {
    char path[64], file[96], new[128];
};

static int setup(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->path, sizeof(f->path), "/tmp/weir-file-put-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->file, sizeof(f->file), "%s/file", f->path);
    snprintf(f->new, sizeof(f->new), "%s.new", f->file);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct folder *f = *state;
    unlink(f->file);
    unlink(f->new);
    assert_int_equal(rmdir(f->path), 0);
    free(f);
    return 0;
}

static size_t read_file(const char *path, char *out, size_t room)
{
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    size_t n = fread(out, 1, room - 1, in);
    fclose(in);
    out[n] = '\0';
    return n;
}

static void expect_file(const struct folder *f, const char *text)
{
    char got[64];
    read_file(f->file, got, sizeof(got));
    assert_string_equal(got, text);
    assert_int_equal(access(f->new, F_OK), -1);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void test_it_takes_the_place_of_what_was_there(void **state)
{
    const struct folder *f = *state;
    struct stat st;
    assert_int_equal(file_put(f->file, SPAN_LIT("one"), 0600, true), 0);
    expect_file(f, "one");
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(file_put(f->file, SPAN_LIT("2"), 0600, false), 0);
    expect_file(f, "2");
    assert_int_equal(file_put(f->file, SPAN_LIT(""), 0600, false), 0);
    expect_file(f, "");
}

static void test_what_a_crash_has_left_is_taken_over(void **state)
{
    const struct folder *f = *state;
    write_file(f->new, "longer than what comes");
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), 0);
    expect_file(f, "new");
}

/* What somebody else has laid there, to have it written to. */
static void test_a_link_is_not_written_through(void **state)
{
    const struct folder *f = *state;
    write_file(f->file, "mine");
    assert_int_equal(symlink("file", f->new), 0);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), ELOOP);
    assert_int_equal(unlink(f->new), 0);
    assert_int_equal(link(f->file, f->new), 0);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), 0);
    expect_file(f, "new");
}

/* One who has been stopped, say: weir does not stop with it. */
static void test_who_does_not_let_go_is_not_waited_for_for_ever(void **state)
{
    const struct folder *f = *state;
    write_file(f->file, "old");
    write_file(f->new, "");
    int fd = open(f->new, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), EAGAIN);
    assert_non_null(strstr(file_put_why(EAGAIN), "another process"));
    assert_string_equal(file_put_why(ENOENT), strerror(ENOENT));
    close(fd);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), 0);
    expect_file(f, "new");
}

/* A lock on what is not weir's is of no interest. */
static void test_a_lock_on_what_somebody_has_laid_there_is_not_waited_for(void **state)
{
    const struct folder *f = *state;
    write_file(f->file, "old");
    assert_int_equal(link(f->file, f->new), 0);
    int fd = open(f->new, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), 0);
    close(fd);
    expect_file(f, "new");
}

static void test_what_was_there_stays_if_it_cannot_be_written(void **state)
{
    const struct folder *f = *state;
    char path[5000];
    assert_int_equal(mkdir(f->file, 0700), 0);
    assert_int_equal(file_put(f->file, SPAN_LIT("new"), 0600, true), EISDIR);
    assert_int_equal(access(f->new, F_OK), -1);
    assert_int_equal(rmdir(f->file), 0);
    snprintf(path, sizeof(path), "%s/no/file", f->path);
    assert_int_equal(file_put(path, SPAN_LIT("new"), 0600, true), ENOENT);
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(file_put(path, SPAN_LIT("new"), 0600, true), ENAMETOOLONG);
}

#define WRITERS 4
#define TIMES   200
#define BYTES   20000

static void write_many(const struct folder *f, char letter)
{
    char text[BYTES];
    memset(text, letter, sizeof(text));
    for (int i = 0; i < TIMES; i++)
        if (file_put(f->file, span_of(text, sizeof(text)), 0600, false) != 0)
            _exit(1);
    _exit(0);
}

/* Each of them has all its bytes of one. */
static void read_many(const struct folder *f)
{
    char text[BYTES + 2];
    for (int i = 0; i < TIMES; i++) {
        assert_int_equal(read_file(f->file, text, sizeof(text)), BYTES);
        assert_int_equal(strspn(text, (char[]){text[0], '\0'}), BYTES);
    }
}

static void test_many_write_the_same_file_and_it_is_always_whole(void **state)
{
    const struct folder *f = *state;
    pid_t pids[WRITERS];
    char text[BYTES];
    int status;
    memset(text, 'x', sizeof(text));
    assert_int_equal(file_put(f->file, span_of(text, sizeof(text)), 0600, false), 0);
    for (int i = 0; i < WRITERS; i++)
        if ((pids[i] = fork()) == 0)
            write_many(f, (char)('a' + i));
    read_many(f);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    read_many(f);
    assert_int_equal(access(f->new, F_OK), -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_it_takes_the_place_of_what_was_there),
        T(test_what_a_crash_has_left_is_taken_over),
        T(test_a_link_is_not_written_through),
        T(test_who_does_not_let_go_is_not_waited_for_for_ever),
        T(test_a_lock_on_what_somebody_has_laid_there_is_not_waited_for),
        T(test_what_was_there_stays_if_it_cannot_be_written),
        T(test_many_write_the_same_file_and_it_is_always_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
