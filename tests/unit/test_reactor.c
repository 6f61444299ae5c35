/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: what is watched, what is put off, what libuv has to do, and when it ends. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/reactor.h"

struct end {
    struct watch watch;
    struct end *kills; /* closed when something happens here */
    unsigned happened;
    uint32_t events;
};

struct fixture {
    struct reactor r;
    struct end ends[4]; /* 0 and 1 are a pair, 2 and 3 another */
    struct ready task;
    unsigned tasks;
    bool again;
};

static void on_happened(struct watch *w, uint32_t events)
{
    struct end *e = CONTAINER_OF(w, end, watch);
    e->happened++;
    e->events = events;
    if (e->kills != NULL)
        watch_close(&e->kills->watch);
}

static void on_task(struct ready *task)
{
    struct fixture *f = CONTAINER_OF(task, fixture, task);
    f->tasks++;
    if (f->again)
        reactor_later(&f->r, &f->task);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    for (int i = 0; i < 4; i += 2) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        watch_init(&f->ends[i].watch, fds[0], on_happened);
        watch_init(&f->ends[i + 1].watch, fds[1], on_happened);
    }
    list_init(&f->task.link);
    f->task.run = on_task;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        watch_close(&f->ends[i].watch);
    reactor_fini(&f->r);
    free(f);
    return 0;
}

static void say(struct fixture *f, int i)
{
    assert_int_equal(send(f->ends[i].watch.fd, "x", 1, 0), 1);
}

static void hear(struct fixture *f, int i)
{
    char byte;
    assert_int_equal(recv(f->ends[i].watch.fd, &byte, 1, 0), 1);
}

static void only_what_was_asked_for_is_told(void **state)
{
    struct fixture *f = *state;
    struct end *e = &f->ends[0];
    assert_int_equal(watch_arm(&f->r, &e->watch, EPOLLOUT), 0);
    say(f, 1);
    reactor_turn(&f->r);
    assert_int_equal(e->events, EPOLLOUT);
    assert_int_equal(watch_arm(&f->r, &e->watch, EPOLLIN), 0);
    reactor_turn(&f->r);
    assert_int_equal(e->events, EPOLLIN);
    assert_int_equal(watch_arm(&f->r, &e->watch, 0), 0);
    reactor_later(&f->r, &f->task); /* a turn that does not wait */
    reactor_turn(&f->r);
    assert_int_equal(e->happened, 2);
}

/* Level-triggered: who leaves a byte behind is told again. */
static void what_is_left_is_told_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(watch_arm(&f->r, &f->ends[0].watch, EPOLLIN), 0);
    say(f, 1);
    reactor_turn(&f->r);
    reactor_turn(&f->r);
    assert_int_equal(f->ends[0].happened, 2);
    hear(f, 0);
    reactor_later(&f->r, &f->task);
    reactor_turn(&f->r);
    assert_int_equal(f->ends[0].happened, 2);
}

/* Both are in one batch; whichever comes first closes the other. */
static void the_closed_hear_nothing_of_the_same_turn(void **state)
{
    struct fixture *f = *state;
    f->ends[0].kills = &f->ends[2];
    f->ends[2].kills = &f->ends[0];
    assert_int_equal(watch_arm(&f->r, &f->ends[0].watch, EPOLLIN), 0);
    assert_int_equal(watch_arm(&f->r, &f->ends[2].watch, EPOLLIN), 0);
    say(f, 1);
    say(f, 3);
    reactor_turn(&f->r);
    assert_int_equal(f->ends[0].happened + f->ends[2].happened, 1);
}

static void a_peer_that_is_gone_is_told_unasked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(watch_arm(&f->r, &f->ends[0].watch, EPOLLIN), 0);
    watch_close(&f->ends[1].watch);
    reactor_turn(&f->r);
    assert_true(f->ends[0].events & EPOLLHUP);
}

static void what_cannot_be_watched_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct watch w;
    int fd = dup(0);
    assert_true(fd >= 0);
    close(fd);
    watch_init(&w, fd, on_happened);
    assert_int_equal(watch_arm(&f->r, &w, EPOLLIN), UV_EBADF);
    assert_int_equal(w.armed, 0);
}

static void what_is_put_off_runs_once_a_turn(void **state)
{
    struct fixture *f = *state;
    f->again = true;
    reactor_later(&f->r, &f->task);
    reactor_later(&f->r, &f->task); /* twice is once */
    reactor_turn(&f->r);
    assert_int_equal(f->tasks, 1);
    f->again = false;
    reactor_turn(&f->r);
    assert_int_equal(f->tasks, 2);
}

static void on_wheel(struct wheel_timer *t)
{
    t->fire = NULL;
}

static void a_turn_lasts_no_longer_than_the_next_deadline(void **state)
{
    struct fixture *f = *state;
    struct wheel_timer t;
    wheel_timer_init(&t, on_wheel);
    uint64_t begin = reactor_now(&f->r);
    wheel_set(&f->r.wheel, &t, begin + 30);
    while (t.fire != NULL)
        reactor_turn(&f->r);
    assert_true(reactor_now(&f->r) >= begin + 30);
}

/* ---- a thread that was held up ---- */

struct held_up {
    struct fixture *f;
    struct watch *peer;
    struct wheel_timer late;
    char order[8]; /* what happened: busy, peer, late */
};

static struct held_up held_up;

static void note(const char *what)
{
    assert_true(strlen(held_up.order) + 1 < sizeof(held_up.order));
    strcat(held_up.order, what);
}

/* This takes longer than a deadline is away, and meanwhile the peer's byte comes. */
static void on_busy(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    note("b");
    hear(held_up.f, 0);
    wheel_set(&held_up.f->r.wheel, &held_up.late, reactor_now(&held_up.f->r) + WHEEL_TICK_MS);
    while (uv_hrtime() / 1000000 < held_up.late.deadline_ms + 2 * WHEEL_TICK_MS)
        ;
    say(held_up.f, 3);
}

static void on_peer(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    note("p");
    hear(held_up.f, 2);
}

static void on_late(struct wheel_timer *t)
{
    (void)t;
    note("l");
}

static void what_has_come_is_read_before_a_deadline_passes(void **state)
{
    struct fixture *f = *state;
    held_up = (struct held_up){.f = f};
    f->ends[0].watch.happened = on_busy;
    f->ends[2].watch.happened = on_peer;
    assert_int_equal(watch_arm(&f->r, &f->ends[0].watch, EPOLLIN), 0);
    assert_int_equal(watch_arm(&f->r, &f->ends[2].watch, EPOLLIN), 0);
    wheel_timer_init(&held_up.late, on_late);
    say(f, 1);
    while (strlen(held_up.order) < 3)
        reactor_turn(&f->r);
    assert_string_equal(held_up.order, "bpl");
}

/* ---- libuv's part ---- */

static void on_async(uv_async_t *async)
{
    uv_close((uv_handle_t *)async, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
}

static void libuv_is_run_and_waited_for(void **state)
{
    struct fixture *f = *state;
    uv_async_t async;
    uv_timer_t timer;
    assert_int_equal(uv_async_init(&f->r.loop, &async, on_async), 0);
    assert_int_equal(uv_timer_init(&f->r.loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, on_timer, 20, 0), 0);
    assert_int_equal(uv_async_send(&async), 0);
    reactor_run(&f->r); /* returns when both are closed */
    assert_true(uv_is_closing((uv_handle_t *)&async) && uv_is_closing((uv_handle_t *)&timer));
    assert_false(uv_loop_alive(&f->r.loop));
}

static void unhold(struct ready *task)
{
    struct fixture *f = CONTAINER_OF(task, fixture, task);
    f->tasks++;
    reactor_unhold(&f->r);
}

static void who_holds_it_keeps_it_running(void **state)
{
    struct fixture *f = *state;
    f->task.run = unhold;
    reactor_hold(&f->r);
    reactor_later(&f->r, &f->task);
    reactor_run(&f->r);
    assert_int_equal(f->tasks, 1);
}

struct dead {
    struct grave grave;
    struct fixture *f;
};

static void on_bury(struct grave *grave)
{
    struct fixture *f = CONTAINER_OF(grave, dead, grave)->f;
    reactor_ready(&f->r, &f->task);
}

/* The last client conn of a worker that drains ends idle upstream conns, which say goodbye. */
static void what_a_burial_makes_ready_runs_in_the_same_dispatch(void **state)
{
    struct fixture *f = *state;
    struct dead dead = {.f = f, .grave = {.bury = on_bury}};
    list_init(&dead.grave.link);
    reactor_bury(&f->r, &dead.grave);
    reactor_dispatch(&f->r);
    assert_int_equal(f->tasks, 1);
}

struct stuck {
    struct reactor *r;
    uv_async_t async;
    sem_t begun, may_end;
    bool over;
};

static void on_stuck(uv_async_t *async)
{
    struct stuck *s = CONTAINER_OF(async, stuck, async);
    sem_post(&s->begun);
    sem_wait(&s->may_end);
}

static void on_over(uv_async_t *async)
{
    struct stuck *s = CONTAINER_OF(async, stuck, async);
    uv_close((uv_handle_t *)async, NULL);
    s->over = true;
}

/* Not reactor_run, which begins with a round of libuv's that is no turn. */
static void *run_turns(void *arg)
{
    struct stuck *s = arg;
    while (!s->over)
        reactor_turn(s->r);
    return NULL;
}

static void another_thread_sees_whether_it_waits(void **state)
{
    struct fixture *f = *state;
    struct stuck s = {.r = &f->r};
    pthread_t thread;
    assert_int_equal(sem_init(&s.begun, 0, 0), 0);
    assert_int_equal(sem_init(&s.may_end, 0, 0), 0);
    assert_int_equal(uv_async_init(&f->r.loop, &s.async, on_stuck), 0);
    uv_run(&f->r.loop, UV_RUN_NOWAIT);
    assert_int_equal(pthread_create(&thread, NULL, run_turns, &s), 0);
    uv_async_send(&s.async);
    sem_wait(&s.begun);
    uint64_t since = counter_get(&f->r.turn_ms);
    assert_true(since != 0 && since <= uv_hrtime() / 1000000);
    s.async.async_cb = on_over;
    sem_post(&s.may_end);
    while (counter_get(&f->r.turn_ms) != 0)
        sched_yield();
    uv_async_send(&s.async);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sem_destroy(&s.begun);
    sem_destroy(&s.may_end);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_was_asked_for_is_told),
        TEST(what_is_left_is_told_again),
        TEST(the_closed_hear_nothing_of_the_same_turn),
        TEST(a_peer_that_is_gone_is_told_unasked),
        TEST(what_cannot_be_watched_is_an_error),
        TEST(what_is_put_off_runs_once_a_turn),
        TEST(a_turn_lasts_no_longer_than_the_next_deadline),
        TEST(what_has_come_is_read_before_a_deadline_passes),
        TEST(libuv_is_run_and_waited_for),
        TEST(who_holds_it_keeps_it_running),
        TEST(another_thread_sees_whether_it_waits),
        TEST(what_a_burial_makes_ready_runs_in_the_same_dispatch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
