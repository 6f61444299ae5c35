/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a turn: a thread that was held up reads what has come before it looks at its clocks.
 * Real pipes and the real loop; the only pause stands for a machine that is busy elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/reactor.h"

struct turn {
    struct reactor r;
    struct wheel_timer late;
    uv_poll_t busy, peer;
    int to_busy[2], to_peer[2];
    char order[8]; /* what happened: busy, peer, late */
};

static void note(struct turn *t, int fd, char what)
{
    char byte;
    size_t n = strlen(t->order);
    assert_true(n + 1 < sizeof(t->order));
    t->order[n] = what;
    if (fd >= 0)
        assert_int_equal(read(fd, &byte, 1), 1);
}

static void on_late(struct wheel_timer *late)
{
    note(CONTAINER_OF(late, turn, late), -1, 'l');
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct turn *t = poll->data;
    note(t, t->to_peer[0], 'p');
}

/* This turn takes longer than the clock has, and meanwhile the peer's bytes come. */
static void on_busy(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct turn *t = poll->data;
    note(t, t->to_busy[0], 'b');
    while (uv_hrtime() / 1000000 < t->late.deadline_ms + 2 * WHEEL_TICK_MS)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(write(t->to_peer[1], "x", 1), 1);
}

static void listen_to(struct turn *t, uv_poll_t *poll, int ends[2], uv_poll_cb cb)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(uv_poll_init(&t->r.loop, poll, ends[0]), 0);
    poll->data = t;
    assert_int_equal(uv_poll_start(poll, UV_READABLE, cb), 0);
}

static void what_has_come_is_read_before_a_clock_runs_out(void **state)
{
    (void)state;
    struct turn t = {.order = ""};
    assert_int_equal(reactor_init(&t.r), 0);
    listen_to(&t, &t.busy, t.to_busy, on_busy);
    listen_to(&t, &t.peer, t.to_peer, on_peer);
    wheel_timer_init(&t.late, on_late);
    wheel_set(&t.r.wheel, &t.late, reactor_now(&t.r) + 5 * WHEEL_TICK_MS);
    assert_int_equal(write(t.to_busy[1], "x", 1), 1);
    while (strlen(t.order) < 3)
        uv_run(&t.r.loop, UV_RUN_ONCE);
    assert_string_equal(t.order, "bpl");
    uv_close((uv_handle_t *)&t.busy, NULL);
    uv_close((uv_handle_t *)&t.peer, NULL);
    reactor_fini(&t.r);
    for (int i = 0; i < 2; i++) {
        close(t.to_busy[i]);
        close(t.to_peer[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_come_is_read_before_a_clock_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
