/* SPDX-License-Identifier: Apache-2.0 */
/* Who is registered, for how long, and what a file keeps of it. */
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

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/discovery/registry.h"
#include "proxy/discovery/registry_file.h"

struct fixture {
    uv_loop_t loop;
    struct registry *r;
    struct registry_reader reader;
    unsigned told;
    bool certain;
    char path[64];
};

static void on_changed(struct registry_reader *reader, bool certain)
{
    struct fixture *f = CONTAINER_OF(reader, fixture, reader);
    f->told++;
    f->certain = certain;
}

static void begin(struct fixture *f)
{
    f->r = registry_new(&f->loop, f->path);
    f->reader = (struct registry_reader){.pool = "app", .changed = on_changed};
    registry_read(f->r, &f->reader);
}

static void end(struct fixture *f)
{
    registry_read_end(&f->reader);
    registry_end(f->r);
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    log_set_level(LOG_ERROR);
    uv_loop_init(&f->loop);
    snprintf(f->path, sizeof(f->path), "/tmp/registry-%d.yaml", (int)getpid());
    begin(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    end(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    unlink(f->path);
    free(f);
    return 0;
}

static enum registry_done put_of(struct fixture *f, uint32_t max, const char *id, const char *said)
{
    char *wrong;
    enum registry_done done = registry_put(f->r, "app", max, id, span_str(said), &wrong);
    assert_int_equal(wrong != NULL, done == REGISTRY_INVALID);
    free(wrong);
    return done;
}

static enum registry_done put(struct fixture *f, const char *id, const char *said)
{
    return put_of(f, 3, id, said);
}

/* As "b c" in the order that they have. */
static void expect_ids(const struct fixture *f, const char *ids)
{
    char text[256] = "";
    struct registry_entry e;
    for (size_t i = 0; registry_at(f->r, "app", i, &e); i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "", e.id);
    assert_string_equal(text, ids);
}

static void wait_told(struct fixture *f)
{
    for (unsigned told = f->told; f->told == told;)
        assert_true(uv_run(&f->loop, UV_RUN_ONCE) != 0 || f->told != told);
}

#define AT(n) "{\"address\": \"10.0.0." #n ":80\", \"ttl\": \"1s\"}"

static void test_changes_are_told_and_heartbeats_are_not(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, "c", AT(3)), REGISTRY_NEW);
    assert_int_equal(put(f, "a", AT(1)), REGISTRY_NEW);
    assert_int_equal(put(f, "b", AT(2)), REGISTRY_NEW);
    assert_int_equal(f->told, 3);
    assert_true(f->certain);
    expect_ids(f, "a b c");
    assert_int_equal(put(f, "b", "{address: '10.0.0.2:80', ttl: 1s, weight: 1}"), REGISTRY_SAME);
    assert_int_equal(f->told, 3);
    assert_int_equal(put(f, "b", "{address: '10.0.0.2:80', weight: 2}"), REGISTRY_CHANGED);
    assert_int_equal(put(f, "d", AT(4)), REGISTRY_FULL);
    assert_int_equal(put(f, "c", "{}"), REGISTRY_INVALID);
    assert_int_equal(f->told, 4);
    assert_true(registry_remove(f->r, "app", "b"));
    assert_false(registry_remove(f->r, "app", "b"));
    assert_false(registry_remove(f->r, "other", "b"));
    expect_ids(f, "a c");
    assert_int_equal(put(f, "d", AT(1)), REGISTRY_NEW);
    expect_ids(f, "c d");
}

static void test_endpoints_do_not_depend_on_who_came_first(void **state)
{
    struct fixture *f = *state;
    size_t overdue;
    put(f, "a", AT(1));
    put(f, "b", AT(2));
    struct config_endpoints *one = registry_endpoints(f->r, "app", &overdue);
    registry_remove(f->r, "app", "a");
    put(f, "a", AT(1));
    struct config_endpoints *two = registry_endpoints(f->r, "app", &overdue);
    assert_int_equal(one->count, 2);
    assert_string_equal(two->items[1].address.host, "10.0.0.2");
    assert_true(one->hash == two->hash);
    assert_int_equal(overdue, 0);
    config_endpoints_unref(one);
    config_endpoints_unref(two);
}

static void test_all_that_are_silent_stay_until_one_is_heard_of(void **state)
{
    struct fixture *f = *state;
    struct registry_counts counts;
    put(f, "a", AT(1));
    put(f, "b", AT(2));
    do
        wait_told(f), registry_counts(f->r, "app", &counts);
    while (counts.overdue < 2);
    assert_int_equal(counts.expired, 0);
    assert_false(f->certain);
    assert_int_equal(put(f, "a", "{address: '10.0.0.1:80', ttl: 1h}"), REGISTRY_CHANGED);
    registry_counts(f->r, "app", &counts);
    assert_int_equal(counts.overdue, 0);
    expect_ids(f, "a b");
    wait_told(f); /* b has had its second chance */
    expect_ids(f, "a");
}

static void test_what_nobody_reads_expires(void **state)
{
    struct fixture *f = *state;
    put(f, "a", AT(1));
    registry_read_end(&f->reader);
    for (struct registry_entry e; registry_at(f->r, "app", 0, &e);)
        uv_run(&f->loop, UV_RUN_ONCE);
    registry_read(f->r, &f->reader);
}

/* A pod that is made anew has another id, and its predecessor's address. */
static void test_at_the_limit_who_is_there_can_be_replaced(void **state)
{
    struct fixture *f = *state;
    char id[16], said[64];
    put(f, "a", AT(1));
    put(f, "b", AT(2));
    put(f, "c", AT(3));
    assert_int_equal(put(f, "d", AT(4)), REGISTRY_FULL);
    assert_int_equal(put(f, "d", AT(2)), REGISTRY_NEW);
    expect_ids(f, "a c d");
    assert_int_equal(put(f, "c", AT(5)), REGISTRY_CHANGED);
    assert_int_equal(put(f, "c", AT(1)), REGISTRY_CHANGED);
    expect_ids(f, "c d");
    for (int i = 0; i < 31; i++) {
        snprintf(id, sizeof(id), "z%d", i);
        snprintf(said, sizeof(said), "{address: '10.0.1.%d:80', zone: z%d}", i, i);
        assert_int_equal(put_of(f, 100, id, said), REGISTRY_NEW);
    }
    assert_int_equal(put_of(f, 100, "y", "{address: '10.0.2.1:80', zone: y}"), REGISTRY_ZONES);
    assert_int_equal(put_of(f, 100, "y", "{address: '10.0.1.7:80', zone: y}"), REGISTRY_NEW);
}

static void test_an_address_has_many_texts(void **state)
{
    struct fixture *f = *state;
    put(f, "a", "{address: '[::1]:80'}");
    put(f, "b", "{address: '[0:0::0001]:80'}");
    expect_ids(f, "b");
    put(f, "c", "{address: '10.0.0.1:80'}");
    put(f, "d", "{address: '[::ffff:10.0.0.1]:80'}");
    expect_ids(f, "b d");
    assert_int_equal(put(f, "b", "{address: '[::1]:80'}"), REGISTRY_CHANGED);
}

static void test_a_file_keeps_them(void **state)
{
    struct fixture *f = *state;
    struct registry_entry e;
    put(f, "a", "{address: '[::1]:80', weight: 0, zone: z, backup: true, ttl: 1500ms}");
    put(f, "b", "{address: 'unix:/run/a \\\"b\\\".sock', drain: true, priority: 3}");
    end(f);
    begin(f);
    expect_ids(f, "a b");
    assert_true(registry_find(f->r, "app", "a", &e));
    assert_string_equal(e.address, "[::1]:80");
    assert_string_equal(e.zone, "z");
    assert_true(e.weight == 0 && e.backup && !e.drain && e.ttl_ms == 1500 && e.left_ms > 0);
    assert_true(registry_find(f->r, "app", "b", &e));
    assert_true(e.drain && e.priority == 3);
    assert_int_equal(put(f, "a",
                         "{address: '[::1]:80', weight: 0, zone: z, backup: true, "
                         "ttl: 1500ms}"),
                     REGISTRY_SAME);
}

static void on_settled(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void test_nothing_is_written_while_it_is_held(void **state)
{
    struct fixture *f = *state;
    unsigned settled = 0;
    put(f, "a", AT(1));
    assert_int_equal(access(f->path, F_OK), -1);
    assert_false(registry_hold(f->r, on_settled, &settled));
    assert_true(registry_held(f->r));
    while (settled == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(access(f->path, F_OK), 0);
    assert_true(registry_hold(f->r, on_settled, &settled));
    unlink(f->path);
    end(f);
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(settled, 1);
    begin(f);
}

/* What has changed is on its way to the disk, and more may change. */
static void write_begins(struct fixture *f, unsigned *settled)
{
    assert_false(registry_hold(f->r, on_settled, settled));
    registry_release(f->r);
}

/* The second change comes while the first is on its way to the disk. */
static void test_the_last_state_is_what_is_left(void **state)
{
    struct fixture *f = *state;
    unsigned settled = 0;
    put(f, "a", AT(1));
    write_begins(f, &settled);
    put(f, "b", AT(2));
    end(f);
    begin(f);
    expect_ids(f, "a b");
    put(f, "c", AT(3));
    write_begins(f, &settled);
    assert_true(registry_remove(f->r, "app", "a"));
    assert_false(registry_hold(f->r, on_settled, &settled));
    while (settled == 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    end(f);
    begin(f);
    expect_ids(f, "b c");
}

/* Two changes that must be written come while the disk is slow. */
static void test_what_waits_to_be_written_may_change(void **state)
{
    struct fixture *f = *state;
    unsigned settled = 0;
    put(f, "a", AT(1));
    write_begins(f, &settled);
    put(f, "b", AT(2));
    write_begins(f, &settled);
    put(f, "c", AT(3));
    end(f);
    begin(f);
    expect_ids(f, "a b c");
}

static void wait_saved(struct fixture *f, uint64_t errors, const char *error)
{
    struct registry_saved saved;
    do
        uv_run(&f->loop, UV_RUN_ONCE), registry_saved(f->r, &saved);
    while (saved.errors < errors || (saved.error != NULL) != (error != NULL));
    if (error != NULL)
        assert_non_null(strstr(saved.error, error));
}

static void test_what_cannot_be_written_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct registry_saved saved;
    assert_int_equal(mkdir(f->path, 0700), 0);
    put(f, "a", AT(1));
    wait_saved(f, 1, "Is a directory");
    registry_saved(f->r, &saved);
    assert_string_equal(saved.path, f->path);
    assert_int_equal(rmdir(f->path), 0);
    wait_saved(f, 1, NULL);
    assert_int_equal(access(f->path, F_OK), 0);
}

static struct config_registered *describe_much(void *ctx, struct config_mem *mem)
{
    struct config_registered *all = config_mem_alloc(mem, 1, sizeof(*all));
    (void)ctx;
    all->version = 1;
    all->count = 1;
    all->pools = config_mem_alloc(mem, 1, sizeof(*all->pools));
    all->pools->name = "app";
    all->pools->count = 40000;
    all->pools->items = config_mem_alloc(mem, 40000, sizeof(*all->pools->items));
    for (size_t i = 0; i < all->pools->count; i++) {
        struct config_registration *to = &all->pools->items[i];
        to->id = config_mem_printf(mem, "%0128zu", i);
        to->ttl_ms = 30000;
        to->endpoint.address.text = config_mem_printf(mem, "unix:/%0100zu", i);
        to->endpoint.health.text = to->endpoint.address.text;
    }
    return all;
}

/* It would not be read again. */
static void test_a_file_of_too_much_is_not_written(void **state)
{
    const struct fixture *f = *state;
    uv_loop_t loop;
    unsigned settled = 0;
    uv_loop_init(&loop);
    struct registry_file *file = registry_file_new(&loop, f->path, describe_much, NULL);
    registry_file_changed(file, 40000);
    assert_false(registry_file_hold(file, on_settled, &settled));
    while (settled == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(registry_file_errors(file), 1);
    assert_non_null(strstr(registry_file_error(file), "more than 16 MiB"));
    assert_int_equal(access(f->path, F_OK), -1);
    registry_file_end(file);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* To write thousands down takes a while, in which nobody else is served. */
static void test_a_file_of_many_is_written_less_often(void **state)
{
    struct fixture *f = *state;
    char id[16], said[64];
    unsigned settled = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "id-%d", i);
        snprintf(said, sizeof(said), "{address: '127.0.0.1:%d', ttl: 24h}", 1 + i);
        assert_int_equal(put_of(f, 1000, id, said), REGISTRY_NEW);
    }
    if (!registry_hold(f->r, on_settled, &settled))
        while (settled == 0)
            uv_run(&f->loop, UV_RUN_ONCE);
    registry_release(f->r);
    assert_true(registry_remove(f->r, "app", "id-0"));
    assert_int_equal(uv_backend_timeout(&f->loop), 100 + 999 / 20);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_changes_are_told_and_heartbeats_are_not),
        T(test_endpoints_do_not_depend_on_who_came_first),
        T(test_all_that_are_silent_stay_until_one_is_heard_of),
        T(test_what_nobody_reads_expires),
        T(test_a_file_keeps_them),
        T(test_at_the_limit_who_is_there_can_be_replaced),
        T(test_an_address_has_many_texts),
        T(test_nothing_is_written_while_it_is_held),
        T(test_the_last_state_is_what_is_left),
        T(test_what_waits_to_be_written_may_change),
        T(test_what_cannot_be_written_is_tried_again),
        T(test_a_file_of_too_much_is_not_written),
        T(test_a_file_of_many_is_written_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
