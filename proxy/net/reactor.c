/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of a thread: epoll for the sockets, libuv for the rest, the dispatch, the timers and the
 * graveyard. Owns both loops and all recycled memory; must never be touched from another thread.
 */
#include "proxy/net/reactor.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/pipe.h"
#include "proxy/net/tcp.h"

#define REACTOR_MAGIC MAGIC('r', 'e', 'a', 'c')
#define TURN_EVENTS   256 /* more of them come in the next turn */
/* Events between two dispatches. Reading from many and then writing to many costs less than turn
 * about (code stays cached, and a peer that is being woken finds more to do), but the more there
 * are, the longer the first of them waits for its answer. */
#define BATCH_EVENTS 32
#define FULL_TURNS   16 /* in a row, before deadlines are looked at regardless */
/* Deadlines that fire in one turn: clients that came together, and say nothing, end together. */
#define TURN_DEADLINES 32

/* ---- watching ---- */

void watch_init(struct watch *w, int fd, void (*happened)(struct watch *, uint32_t events))
{
    *w = (struct watch){.fd = fd, .happened = happened};
}

int watch_arm(struct reactor *r, struct watch *w, uint32_t events)
{
    if (w->armed == events)
        return 0;
    int op = w->armed == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event event = {.events = events, .data.ptr = w};
    if (epoll_ctl(r->epoll, op, w->fd, &event) != 0)
        return uv_translate_sys_error(errno);
    w->armed = events;
    return 0;
}

void watch_close(struct watch *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->armed = 0;
}

/* ---- turning ---- */

/* It is enough to know: reactor_turn runs libuv after everybody else. */
static void on_uv(struct watch *w, uint32_t events)
{
    (void)events;
    CONTAINER_OF(w, reactor, uv)->uv_runs = true;
}

/* libuv aborts when it can't make its table of descriptors larger. */
static void *realloc_or_end(void *old, size_t size)
{
    void *p = realloc(old, size);
    return size > 0 ? mem_need(p) : p;
}

void reactor_setup(void)
{
    CHECK(uv_replace_allocator(malloc, realloc_or_end, calloc, free) == 0);
}

int reactor_init(struct reactor *r)
{
    *r = (struct reactor){.magic = REACTOR_MAGIC, .hrtime = uv_hrtime, .dial = tcp_dial};
    int err = uv_loop_init(&r->loop);
    if (err != 0)
        return err;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    watch_init(&r->uv, uv_backend_fd(&r->loop), on_uv);
    err = r->epoll < 0 ? uv_translate_sys_error(errno) : watch_arm(r, &r->uv, EPOLLIN);
    if (err != 0) {
        if (r->epoll >= 0)
            close(r->epoll);
        uv_loop_close(&r->loop);
        return err;
    }
    buf_pool_init(&r->bufs);
    recycle_init(&r->pieces, &r->bufs.fund);
    r->pipes.max = PIPES_MAX;
    r->now_ms = uv_now(&r->loop);
    wheel_init(&r->wheel, r->now_ms);
    list_init(&r->ready);
    list_init(&r->graves);
    list_init(&r->later);
    return 0;
}

void reactor_fini(struct reactor *r)
{
    reactor_run(r);
    reactor_dispatch(r);
    CHECK(list_empty(&r->ready) && list_empty(&r->graves) && list_empty(&r->later));
    for (int i = 0; i < SLAB_COUNT; i++)
        if (r->slabs[i].size != 0)
            slab_fini(&r->slabs[i]);
    pipe_fini(r);
    recycle_fini(&r->pieces);
    buf_pool_fini(&r->bufs);
    close(r->epoll);
    CHECK(uv_loop_close(&r->loop) == 0);
    r->magic = 0;
}

static bool reactor_alive(const struct reactor *r)
{
    return r->holds > 0 || uv_loop_alive(&r->loop);
}

/* When libuv has something to do whatever its descriptor says; NEVER: not before that. */
static uint64_t uv_due(const struct reactor *r)
{
    int ms = uv_loop_alive(&r->loop) ? uv_backend_timeout(&r->loop) : -1;
    return ms < 0 ? NEVER : reactor_now(r) + (uint64_t)ms;
}

/* Milliseconds until then: never too few, so that no turn is in vain. */
static int patience(const struct reactor *r, uint64_t due)
{
    if (!list_empty(&r->later))
        return 0;
    if (due == NEVER)
        return -1;
    uint64_t now = reactor_now(r), ms = due > now ? due - now : 0;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* What was put off during the turn; what these put off waits for the next. */
static void run_later(struct reactor *r)
{
    struct list_node tasks;
    list_init(&tasks);
    list_splice_back(&tasks, &r->later);
    struct list_node *node;
    while ((node = list_pop_front(&tasks)) != NULL) {
        struct ready *task = CONTAINER_OF(node, ready, link);
        task->run(task);
        reactor_dispatch(r);
    }
}

static void run_events(struct reactor *r, const struct epoll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        struct watch *w = events[i].data.ptr;
        if (w->fd >= 0)
            w->happened(w, events[i].events);
        if (i % BATCH_EVENTS == BATCH_EVENTS - 1)
            reactor_dispatch(r);
    }
    reactor_dispatch(r);
}

/* Deadlines come after what has happened: a thread that was held up first reads what came in time.
 * A full round of events may not be all of it. */
static void run_deadlines(struct reactor *r, bool full)
{
    if (full && ++r->full_turns < FULL_TURNS)
        return;
    r->full_turns = 0;
    if (wheel_next_ms(&r->wheel) > reactor_now(r))
        return;
    wheel_advance_some(&r->wheel, reactor_now(r), TURN_DEADLINES);
    reactor_dispatch(r);
}

void reactor_turn(struct reactor *r)
{
    struct epoll_event events[TURN_EVENTS];
    uint64_t uv = uv_due(r), wheel = wheel_next_ms(&r->wheel);
    counter_set(&r->turn_ms, 0);
    int n = epoll_wait(r->epoll, events, TURN_EVENTS, patience(r, uv < wheel ? uv : wheel));
    CHECK(n >= 0 || errno == EINTR);
    uv_update_time(&r->loop);
    r->now_ms = uv_now(&r->loop);
    counter_set(&r->turn_ms, r->now_ms);
    run_events(r, events, n);
    run_deadlines(r, n == TURN_EVENTS);
    if (r->uv_runs || uv <= reactor_now(r)) {
        r->uv_runs = false;
        uv_run(&r->loop, UV_RUN_NOWAIT);
    }
    run_later(r);
}

void reactor_run(struct reactor *r)
{
    uv_run(&r->loop, UV_RUN_NOWAIT); /* only this puts what was started in libuv's epoll */
    while (reactor_alive(r))
        reactor_turn(r);
}

void reactor_unhold(struct reactor *r)
{
    CHECK(r->holds > 0);
    r->holds--;
}

void reactor_later(struct reactor *r, struct ready *task)
{
    if (!list_linked(&task->link))
        list_push_back(&r->later, &task->link);
}

void reactor_ready(struct reactor *r, struct ready *ready)
{
    if (!list_linked(&ready->link))
        list_push_back(&r->ready, &ready->link);
}

void reactor_dispatch(struct reactor *r)
{
    if (r->dispatching)
        return;
    r->dispatching = true;
    struct list_node *node;
    do {
        while ((node = list_pop_front(&r->ready)) != NULL) {
            r->us = 0;
            struct ready *ready = CONTAINER_OF(node, ready, link);
            ready->run(ready);
        }
        while ((node = list_pop_front(&r->graves)) != NULL) {
            struct grave *grave = CONTAINER_OF(node, grave, link);
            grave->bury(grave);
        }
    } while (!list_empty(&r->ready)); /* the last client conn's end ends upstream conns */
    r->us = 0;                        /* whoever asks outside the queue asks after a wait */
    r->dispatching = false;
}

void reactor_bury(struct reactor *r, struct grave *grave)
{
    if (!list_linked(&grave->link))
        list_push_back(&r->graves, &grave->link);
}

struct slab *reactor_slab(struct reactor *r, enum reactor_slab kind, size_t size)
{
    struct slab *slab = &r->slabs[kind];
    if (slab->size == 0) {
        slab_init(slab, size, size < 1024 ? 32 : 8);
        slab->fund = &r->bufs.fund;
    }
    DCHECK(slab->size >= size && slab->size < size + 16);
    return slab;
}

void *reactor_alloc(struct reactor *r, enum reactor_slab kind, size_t size)
{
    return mem_need(slab_get(reactor_slab(r, kind, size)));
}

static void read_clock(struct reactor *r, uint64_t second)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(r->date, sizeof(r->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    r->wall_offset_us =
        (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - r->hrtime() / 1000;
    r->date_second = second;
}

static inline void refresh_clock(struct reactor *r)
{
    uint64_t second = reactor_now(r) / 1000;
    if (second != r->date_second || r->date[0] == '\0')
        read_clock(r, second);
}

uint64_t reactor_wall_us(struct reactor *r, uint64_t us)
{
    refresh_clock(r);
    return us + r->wall_offset_us;
}

struct span reactor_date(struct reactor *r)
{
    refresh_clock(r);
    return span_of(r->date, 29);
}
