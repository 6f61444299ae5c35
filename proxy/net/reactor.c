/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dispatch loop, the one timer and the graveyard of a thread. Owns the libuv loop and all
 * recycled memory; must never be touched from another thread.
 */
#include "proxy/net/reactor.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define REACTOR_MAGIC MAGIC('r', 'e', 'a', 'c')

static void on_tick(uv_timer_t *tick)
{
    struct reactor *r = CAST_OBJ(reactor, tick->data, REACTOR_MAGIC);
    r->tick_at = NEVER;
    wheel_advance(&r->wheel, reactor_now(r));
    reactor_dispatch(r);
}

/* Just before the loop sleeps: the tick stands where the wheel next has something to do. */
static void on_prepare(uv_prepare_t *prep)
{
    struct reactor *r = CAST_OBJ(reactor, prep->data, REACTOR_MAGIC);
    uint64_t next = wheel_next_ms(&r->wheel);
    if (next == r->tick_at)
        return;
    r->tick_at = next;
    if (next == NEVER) {
        uv_timer_stop(&r->tick);
        return;
    }
    uint64_t now = reactor_now(r);
    uv_timer_start(&r->tick, on_tick, next > now ? next - now : 0, 0);
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
    *r = (struct reactor){.magic = REACTOR_MAGIC, .tick_at = NEVER};
    int err = uv_loop_init(&r->loop);
    if (err != 0)
        return err;
    buf_pool_init(&r->bufs);
    wheel_init(&r->wheel, uv_now(&r->loop));
    list_init(&r->ready);
    list_init(&r->graves);
    uv_timer_init(&r->loop, &r->tick);
    uv_prepare_init(&r->loop, &r->prep);
    r->tick.data = r->prep.data = r;
    uv_prepare_start(&r->prep, on_prepare);
    /* Neither keeps the loop alive: the conns and listeners do. */
    uv_unref((uv_handle_t *)&r->tick);
    uv_unref((uv_handle_t *)&r->prep);
    return 0;
}

void reactor_fini(struct reactor *r)
{
    uv_close((uv_handle_t *)&r->tick, NULL);
    uv_close((uv_handle_t *)&r->prep, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    reactor_dispatch(r);
    CHECK(list_empty(&r->ready) && list_empty(&r->graves));
    for (int i = 0; i < SLAB_COUNT; i++)
        if (r->slabs[i].size != 0)
            slab_fini(&r->slabs[i]);
    buf_pool_fini(&r->bufs);
    CHECK(uv_loop_close(&r->loop) == 0);
    r->magic = 0;
}

void reactor_run(struct reactor *r)
{
    uv_run(&r->loop, UV_RUN_DEFAULT);
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
    while ((node = list_pop_front(&r->ready)) != NULL) {
        struct ready *ready = CONTAINER_OF(node, ready, link);
        ready->run(ready);
    }
    while ((node = list_pop_front(&r->graves)) != NULL) {
        struct grave *grave = CONTAINER_OF(node, grave, link);
        grave->bury(grave);
    }
    CHECK(list_empty(&r->ready));
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

static void refresh_clock(struct reactor *r)
{
    uint64_t second = reactor_now(r) / 1000;
    if (second == r->date_second && r->date[0] != '\0')
        return;
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(r->date, sizeof(r->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    r->wall_offset_us =
        (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - reactor_us();
    r->date_second = second;
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
