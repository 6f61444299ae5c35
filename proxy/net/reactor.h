/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread's event loop and what everything on it shares: memory, timers, the queue of objects
 * that have something to do, and the graveyard. Workers and the control thread have one each.
 *
 * Sockets are watched by an epoll of the reactor's own; libuv's loop hangs in it as one more
 * descriptor and runs what is no socket (signals, wake-ups from other threads, timers of the
 * control thread). See HACKING.md for what that saves.
 *
 * Whatever happens to a watched socket is only recorded and makes an object ready;
 * reactor_dispatch then runs the ready objects until none is left, and frees the dead ones last.
 * That is how up-calls never have a parser or a write beneath them, and nothing is freed inside a
 * callback.
 */
#ifndef WEIR_NET_REACTOR_H
#define WEIR_NET_REACTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/buf.h"
#include "proxy/base/list.h"
#include "proxy/base/recycle.h"
#include "proxy/base/slab.h"
#include "proxy/base/span.h"
#include "proxy/base/stats.h"
#include "proxy/base/wheel.h"

#define NEVER UINT64_MAX /* a deadline that does not come */

/* The kinds of objects a reactor recycles; the layer above net names its own here too. */
enum reactor_slab {
    SLAB_TCP,
    SLAB_TLS,
    SLAB_FRONT,
    SLAB_H1_SERVER,
    SLAB_H1_STREAM,
    SLAB_H1_PARSER,
    SLAB_H1_CLIENT,
    SLAB_PROBE,
    SLAB_H2_SERVER,
    SLAB_H2_CLIENT,
    SLAB_H2_STREAM,
    SLAB_HEAD,
    SLAB_EXCHANGE,
    SLAB_COUNT
};

/* Something that may have work to do in this turn. */
struct ready {
    struct list_node link;
    void (*run)(struct ready *);
};

/* Something that is dead and waits for the callbacks of the turn to unwind. */
struct grave {
    struct list_node link;
    void (*bury)(struct grave *);
};

/* A descriptor in the reactor's epoll, level-triggered. Embedded in its owner; it may be closed at
 * any time, its memory may go in a later turn (reactor_later). */
struct watch {
    int fd;         /* -1: closed; what epoll had already said of it is dropped */
    uint32_t armed; /* EPOLLIN, EPOLLOUT; 0 = not in epoll */
    /* EPOLLHUP and EPOLLERR come unasked. Only records: reactor_dispatch follows. */
    void (*happened)(struct watch *, uint32_t events);
};
struct net_addr;
struct transport;
struct transport_events;

/* See pipe.h. */
struct pipe_pool {
    struct block *free;
    uint32_t n_free, out; /* kept, handed out */
    uint32_t max;         /* that may be handed out; the owner of the reactor may say fewer */
    uint64_t wait_until;  /* ms; no new one before: there were no descriptors */
};

struct reactor {
    uint32_t magic;
    bool dispatching;
    bool uv_runs;       /* libuv has something to do in this turn */
    uint8_t full_turns; /* in a row that had more events than one turn takes */
    int epoll;
    uint64_t now_ms;
    struct counter turn_ms; /* when it woke for what it is at now; 0: it waits. Any thread reads */
    uint64_t us;            /* of reactor_us; 0: to be read */
    /* The world: the kernel's clock (ns, monotonic) and its sockets. A test puts its own here, and
     * its own time into now_ms, right after reactor_init. dial: see tcp_dial. */
    uint64_t (*hrtime)(void);
    struct transport *(*dial)(struct reactor *, const struct net_addr *to, uint32_t within_ms,
                              const struct transport_events *, void *owner, int *err);
    uv_loop_t loop;
    struct watch uv; /* libuv's own descriptor */
    uint32_t holds;
    struct buf_pool bufs;
    struct recycle pieces; /* for libraries that allocate on their own */
    struct pipe_pool pipes;
    struct wheel wheel;
    struct list_node ready, graves;
    struct list_node later; /* of struct ready, for the end of the turn */
    struct slab slabs[SLAB_COUNT];
    uint64_t date_second;
    char date[32];           /* IMF-fixdate of date_second */
    uint64_t wall_offset_us; /* Unix time minus uv_hrtime, as of date_second */
};

/* In a process, before its first reactor: what libuv does when memory is out. Again is fine. */
void reactor_setup(void);

/* Returns 0 or a libuv error. */
int reactor_init(struct reactor *r);

/* The loop must have nothing left but the reactor's own handles. Checks that all memory is back. */
void reactor_fini(struct reactor *r);

/* Runs until nobody holds it and libuv has nothing left to wait for. */
void reactor_run(struct reactor *r);

/* One turn of it: waits until something happens, at most until the next deadline. */
void reactor_turn(struct reactor *r);

/* Whoever waits for events keeps the loop running. */
static inline void reactor_hold(struct reactor *r)
{
    r->holds++;
}
void reactor_unhold(struct reactor *r);

/* A descriptor that is not watched yet; watch_close closes it. */
void watch_init(struct watch *w, int fd, void (*happened)(struct watch *, uint32_t events));

/* Watches for exactly these events, EPOLLIN and EPOLLOUT; 0 for none at all. One system call, or
 * none if nothing changes. 0 or a libuv error: the kernel is out of memory or of watches. */
int watch_arm(struct reactor *r, struct watch *w, uint32_t events);

/* Closes the descriptor; idempotent. A socket that only this process has leaves epoll by itself. */
void watch_close(struct watch *w);

/* Runs a task at the end of this turn, when every event of it has been handled; or at the end of
 * the next, when told at the end of a turn. */
void reactor_later(struct reactor *r, struct ready *task);

/* Puts an object in the queue, once; reactor_dispatch runs what is in it. The reactor does so
 * itself after events and deadlines; a callback of libuv calls it at its end. */
void reactor_ready(struct reactor *r, struct ready *ready);
void reactor_dispatch(struct reactor *r);

/* Calls bury after the current dispatch, never inside it. */
void reactor_bury(struct reactor *r, struct grave *grave);

/* Milliseconds since an arbitrary start, as of the beginning of this turn. */
static inline uint64_t reactor_now(const struct reactor *r)
{
    return r->now_ms;
}

/* A recycled object of the kind, undefined content, never NULL; every call for a kind names the
 * same size. */
void *reactor_alloc(struct reactor *r, enum reactor_slab kind, size_t size);

/* The slab of a kind, for those who recycle through it themselves. */
struct slab *reactor_slab(struct reactor *r, enum reactor_slab kind, size_t size);

/* Gives back what reactor_alloc of the same kind returned; NULL is fine. */
static inline void reactor_free(struct reactor *r, enum reactor_slab kind, void *obj)
{
    slab_put(&r->slabs[kind], obj);
}

/* Is memory so short that only what is in progress should go on? */
static inline bool reactor_short(struct reactor *r)
{
    return mem_short(&r->bufs.fund);
}

/* Microseconds of a monotonic clock: one and the same while one object of the queue runs, or from
 * one dispatch to the next outside of it, so that it is read once and not for every use. */
static inline uint64_t reactor_us(struct reactor *r)
{
    if (r->us == 0)
        r->us = r->hrtime() / 1000;
    return r->us;
}

/* The Unix time of a reactor_us, in microseconds; set right once a second. */
uint64_t reactor_wall_us(struct reactor *r, uint64_t us);

/* Now as an IMF-fixdate (RFC 9110 section 5.6.7), 29 bytes, recomputed once a second. */
struct span reactor_date(struct reactor *r);

#endif
