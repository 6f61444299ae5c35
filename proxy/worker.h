/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data-plane thread: its reactor, its view of every pool, its listeners and conns, and its shard
 * of the statistics. Nothing of it is touched by another thread but the shard (read), the mailbox
 * and what the snapshot shares.
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include <stdatomic.h>
#include <uv.h>

#include "balancer/rng.h"
#include "proxy/access_log.h"
#include "proxy/base/uuid7.h"
#include "proxy/flight.h"
#include "proxy/http/front.h"
#include "proxy/net/tls_stats.h"
#include "proxy/snapshot_view.h"

struct worker_stats {
    struct counter reasons[REASON_COUNT];  /* why exchanges, and idle conns, ended */
    struct counter attempts[REASON_COUNT]; /* why attempts failed, retried or not */
    struct counter conns_total, conns;     /* client conns; the second is a gauge */
    struct counter in_flight;              /* gauge: exchanges */
    struct counter protocols[3];           /* exchanges by HTTP/1.0, 1.1, 2 */
    struct counter accept_paused;
    struct counter kept_us; /* gauge: how long the last reload has kept it from its conns at most */
    struct tls_stats tls;   /* with clients */
};

/* Shared by all workers of a process. */
struct worker_shared {
    struct access_log *log; /* or NULL */
    struct conn_budget *budget;
    uint32_t flights; /* records of each kind that a worker keeps: flight.h */
    uv_async_t *told; /* when a worker has taken or left a view, or its thread is about to end; or
                         NULL */
};

struct explain_job;
struct trace_ring;

struct worker {
    struct reactor reactor;
    unsigned index;
    const struct worker_shared *shared;
    struct snapshot_view *view;         /* that new exchanges begin with */
    struct snapshot_view *trial;        /* that a share of them begins with instead; or NULL */
    uint32_t trial_share;               /* so many of TRIAL_ALL */
    uint32_t trial_due;                 /* TRIAL_ALL: the next one does */
    struct snapshot_view *_Atomic next; /* to be taken, or NULL */
    struct snapshot_view *latest;       /* the newest; the control thread's */
    struct list_node views;             /* taken and not left, the oldest first */
    struct h1_server_options server;
    struct h2_server_options server2;
    struct front_options front;
    struct worker_stats stats;
    struct flight_ring *flights; /* NULL: none are kept; any thread reads */
    struct trace_ring *traces;   /* of recorded requests; there before a view that has some told */
    struct uuid7 ids;
    struct lb_rng rng;
    struct list_node conns; /* client_conn */
    uv_async_t mailbox;
    _Atomic unsigned orders;             /* enum worker_order bits not yet carried out */
    struct explain_job *_Atomic explain; /* asked by the control thread, or NULL */
    bool draining, closing;
    bool leaving;      /* draining and closing, but no client is to notice */
    atomic_bool ended; /* the thread has nothing left to do */
    uv_thread_t thread;
};

enum worker_order {
    WORKER_DRAIN = 1 << 0,   /* answers carry Connection: close */
    WORKER_CLOSE = 1 << 1,   /* stop listening, close idle conns, end when the last one is gone */
    WORKER_ABORT = 1 << 2,   /* close everything now */
    WORKER_TLS = 1 << 3,     /* change to the TLS contexts that worker_swap_tls has left */
    WORKER_WAKE = 1 << 4,    /* a pool may have room for requests that wait here */
    WORKER_VIEW = 1 << 5,    /* take the view that worker_change has left */
    WORKER_SWEEP = 1 << 6,   /* leave views that are not used any more */
    WORKER_EXPLAIN = 1 << 7, /* answer what is in worker.explain */
    WORKER_LEAVE = 1 << 8,   /* another process has the sockets: stop listening, end when the last
                                conn is gone; idle ones stay until an answer has said so */
    WORKER_MOVE = 1 << 9,    /* nothing: that it is carried out tells that the worker is well */
};

/* 0 or a libuv error. Called on the control thread. worker_change and then worker_take follow,
 * before the thread starts. */
int worker_init(struct worker *w, unsigned index, const struct worker_shared *shared);

/* The worker is to use a view that was made for it, of which it may have the parts that stay, for a
 * share of its new exchanges (of TRIAL_ALL; see snapshot_view.h); what was asked for before was
 * taken. Control thread. */
void worker_change(struct worker *w, struct snapshot_view *view, uint32_t share);

/* Uses the view that was left by worker_change, if any. 0 or a libuv error: of a listener that
 * could not be started, while all else is done. Worker's thread. */
int worker_take(struct worker *w);

/* The thread's main: returns when it was told to close and nothing is left. */
void worker_run(struct worker *w);

/* After worker_run has returned. Its views are left; whoever made them frees them. */
void worker_fini(struct worker *w);

/* A client conn of the worker is gone, that came by the listener. Worker's thread. */
void worker_conn_closed(struct worker *w, const struct http_peer *peer);

/* An exchange begins with the worker's view, and ends. Worker's thread. */
struct snapshot_view *worker_enter(struct worker *w);
void worker_exit(struct worker *w, struct snapshot_view *view);

/* Gives the descriptor of one idle upstream conn back. False: there is none. Worker's thread. */
bool worker_shed_idle(struct worker *w);

/* The control thread is to look what has happened. Worker's thread. */
void worker_told(struct worker *w);

/* From any thread. */
void worker_order(struct worker *w, enum worker_order order);

/* New conns use another context for what is at index in snapshot.tls of the latest view, which is
 * the worker's from now on; those that are open keep theirs. Control thread. */
void worker_swap_tls(struct worker *w, size_t index, struct tls_ctx *ctx);

/* Whether this was ordered and is not carried out yet. Any thread. */
bool worker_owes(struct worker *w, enum worker_order order);

/* Carries out what was ordered: what the mailbox does in the next turn. Worker's thread. */
void worker_obey(struct worker *w);

#endif
