/* SPDX-License-Identifier: Apache-2.0 */
/* Files that change are read once they rest, also behind symlinks that are swapped. */
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

#include "proxy/base/check.h"
#include "proxy/watch/file_state.h"
#include "proxy/watch/file_watch.h"

#define PATIENCE_MS 60000

struct fixture {
    char folder[64], path[96];
    uv_loop_t loop;
    uv_timer_t patience;
    struct file_watch *watch;
    struct file_watched files;
    char text[64]; /* as read last; "bad" is no good */
    unsigned reads;
};

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static uint64_t state(struct file_watched *it)
{
    return file_state(CONTAINER_OF(it, fixture, files)->path);
}

static bool read_it(struct file_watched *it, uint64_t *as_of)
{
    struct fixture *f = CONTAINER_OF(it, fixture, files);
    (void)as_of;
    FILE *in = fopen(f->path, "re");
    f->text[0] = '\0';
    if (in != NULL) {
        f->text[fread(f->text, 1, sizeof(f->text) - 1, in)] = '\0';
        fclose(in);
    }
    f->reads++;
    uv_stop(&f->loop);
    return strcmp(f->text, "bad") != 0;
}

static const struct file_reader reader = {.state = state, .read = read_it};

static void out_of_patience(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the change was not seen");
}

static void read_next(struct fixture *f, const char *expected)
{
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_string_equal(f->text, expected);
}

static int setup(void **data)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->folder, "/tmp/weir-file-watch-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/file", f->folder);
    uv_loop_init(&f->loop);
    uv_timer_init(&f->loop, &f->patience);
    uv_timer_start(&f->patience, out_of_patience, PATIENCE_MS, 0);
    f->watch = file_watch_new(&f->loop);
    *data = f;
    return 0;
}

static void begin(struct fixture *f)
{
    file_watch_add(f->watch, &f->files, &reader, file_state(f->path), false);
    file_watch_paths_begin(f->watch);
    file_watch_path(f->watch, f->path);
    file_watch_paths_end(f->watch);
}

static int teardown(void **data)
{
    struct fixture *f = *data;
    char command[128];
    file_watch_remove(&f->files);
    file_watch_end(f->watch);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->folder);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the tests' own words */
    free(f);
    return 0;
}

static void test_what_is_written_is_read(void **data)
{
    struct fixture *f = *data;
    write_text(f->path, "one");
    begin(f);
    write_text(f->path, "two");
    read_next(f, "two");
    write_text(f->path, "three");
    read_next(f, "three");
    assert_int_equal(f->reads, 2);
    assert_false(f->files.failed);
}

static void test_a_file_that_is_not_there_yet_or_no_more(void **data)
{
    struct fixture *f = *data;
    begin(f);
    write_text(f->path, "one");
    read_next(f, "one");
    unlink(f->path);
    read_next(f, "");
}

static void test_what_is_no_good_is_read_again_when_it_changes(void **data)
{
    struct fixture *f = *data;
    write_text(f->path, "one");
    begin(f);
    write_text(f->path, "bad");
    read_next(f, "bad");
    uv_run(&f->loop, UV_RUN_NOWAIT); /* the answer is taken behind the call */
    assert_true(f->files.failed);
    write_text(f->path, "good");
    read_next(f, "good");
    assert_int_equal(f->reads, 2);
    assert_false(f->files.failed);
}

struct sentinel {
    struct file_watched files;
    uv_loop_t *loop;
    const char *path;
};

static uint64_t sentinel_state(struct file_watched *it)
{
    return file_state(CONTAINER_OF(it, sentinel, files)->path);
}

static bool sentinel_read(struct file_watched *it, uint64_t *as_of)
{
    (void)as_of;
    uv_stop(CONTAINER_OF(it, sentinel, files)->loop);
    return true;
}

static const struct file_reader sentinel_reader = {sentinel_state, sentinel_read};

static void test_what_somebody_else_has_read_is_not_read_again(void **data)
{
    struct fixture *f = *data;
    char beside[96];
    snprintf(beside, sizeof(beside), "%s/beside", f->folder);
    struct sentinel s = {.loop = &f->loop, .path = beside};
    write_text(f->path, "one");
    write_text(beside, "one");
    begin(f);
    file_watch_add(f->watch, &s.files, &sentinel_reader, file_state(beside), false);
    write_text(f->path, "bad");
    file_watch_was_read(&f->files, file_state(f->path));
    write_text(beside, "two"); /* is looked at behind it */
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->reads, 0);
    write_text(f->path, "good");
    read_next(f, "good");
    assert_int_equal(f->reads, 1);
    file_watch_remove(&s.files);
}

/* As Kubernetes does with what it mounts: file -> ..data/file, ..data -> ..1 */
static void test_a_symlink_to_a_directory_is_swapped(void **data)
{
    struct fixture *f = *data;
    char one[96], two[96], link[96], next[96], inside[128];
    snprintf(one, sizeof(one), "%s/..1", f->folder);
    snprintf(two, sizeof(two), "%s/..2", f->folder);
    snprintf(link, sizeof(link), "%s/..data", f->folder);
    snprintf(next, sizeof(next), "%s/..data_tmp", f->folder);
    assert_int_equal(mkdir(one, 0700) | mkdir(two, 0700), 0);
    snprintf(inside, sizeof(inside), "%s/file", one);
    write_text(inside, "one");
    snprintf(inside, sizeof(inside), "%s/file", two);
    write_text(inside, "two");
    assert_int_equal(symlink("..1", link) | symlink("..data/file", f->path), 0);
    begin(f);
    assert_int_equal(symlink("..2", next) | rename(next, link), 0);
    read_next(f, "two");
    assert_int_equal(f->reads, 1);
}

/* No directory of it is watched: looking finds it. */
static void test_without_a_watch_it_is_found_by_looking(void **data)
{
    struct fixture *f = *data;
    write_text(f->path, "one");
    file_watch_add(f->watch, &f->files, &reader, file_state(f->path), false);
    write_text(f->path, "two");
    read_next(f, "two");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_written_is_read),
        TEST(test_a_file_that_is_not_there_yet_or_no_more),
        TEST(test_what_is_no_good_is_read_again_when_it_changes),
        TEST(test_what_somebody_else_has_read_is_not_read_again),
        TEST(test_a_symlink_to_a_directory_is_swapped),
        TEST(test_without_a_watch_it_is_found_by_looking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
