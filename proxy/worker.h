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
#include "proxy/http/front.h"
#include "proxy/net/listen.h"
#include "proxy/net/tls_stats.h"
#include "proxy/snapshot.h"

/* Responses by status class; index 0 is 1xx. */
struct row_stats {
    struct counter classes[5];
};

struct worker_stats {
    struct counter reasons[REASON_COUNT];  /* why exchanges, and idle conns, ended */
    struct counter attempts[REASON_COUNT]; /* why attempts failed, retried or not */
    struct counter conns_total, conns;     /* client conns; the second is a gauge */
    struct counter in_flight;              /* gauge: exchanges */
    struct counter protocols[3];           /* exchanges by HTTP/1.0, 1.1, 2 */
    struct counter accept_paused;
    struct tls_stats tls;     /* with clients */
    struct row_stats *rows;   /* snapshot.n_rows */
    struct hist *durations;   /* by route; the last is "no route" */
    struct pool_stats *pools; /* snapshot.n_pools */
};

/* Shared by all workers of a process. */
struct worker_shared {
    struct snapshot *snapshot;
    struct access_log *log; /* or NULL */
    struct conn_budget *budget;
    uv_async_t *ended; /* told when a worker's thread is about to end */
};

struct worker {
    struct reactor reactor;
    unsigned index;
    const struct worker_shared *shared;
    struct snapshot *snapshot;
    struct h1_server_options server;
    struct h2_server_options server2;
    struct front_options front;
    struct pool_view **pools;
    struct admission **admissions; /* by pool; NULL: it takes any number of requests */
    struct worker_stats stats;
    struct uuid7 ids;
    struct lb_rng rng;
    struct list_node conns; /* client_conn */
    struct listener *listeners;
    size_t n_listeners;
    struct tls_server_ctx **tls;       /* by listener: for its new conns; NULL: plain text */
    struct tls_ctx *_Atomic *tls_next; /* as snapshot.tls: to be used from now on, or NULL */
    uv_async_t mailbox;
    _Atomic unsigned orders; /* enum worker_order bits not yet carried out */
    bool draining, closing;
    bool tells_clients; /* a pool does, by PROXY headers: where a client came to matters */
    atomic_bool ended;  /* the thread has nothing left to do */
    uv_thread_t thread;
};

enum worker_order {
    WORKER_DRAIN = 1 << 0, /* answers carry Connection: close */
    WORKER_CLOSE = 1 << 1, /* stop listening, close idle conns, end when the last one is gone */
    WORKER_ABORT = 1 << 2, /* close everything now */
    WORKER_WAKE = 1 << 4,  /* a pool may have room for requests that wait here */
    WORKER_TLS = 1 << 3,   /* change to the TLS contexts that worker_swap_tls has left */
};

/* sockets: one listening descriptor for each listener of the snapshot, taken over. 0 or a libuv
 * error. Called on the control thread. */
int worker_init(struct worker *w, unsigned index, const struct worker_shared *shared,
                const int *sockets);

/* The thread's main: returns when it was told to close and nothing is left. */
void worker_run(struct worker *w);

/* After worker_run has returned. */
void worker_fini(struct worker *w);

/* A client conn of the worker is gone. Worker's thread. */
void worker_conn_closed(struct worker *w);

/* Gives the descriptor of one idle upstream conn back. False: there is none. Worker's thread. */
bool worker_shed_idle(struct worker *w);

/* From any thread. */
void worker_order(struct worker *w, enum worker_order order);

/* A context for what is at index in snapshot.tls, of what was read for it. NULL with *error set to
 * malloc'd text. Control thread. */
struct tls_ctx *worker_make_tls(const struct worker *w, size_t index, const struct tls_set *set,
                                char **error);

/* New conns use another context, which is the worker's from now on; those that are open keep
 * theirs. Control thread. */
void worker_swap_tls(struct worker *w, size_t index, struct tls_ctx *ctx);

/* Carries out what was ordered: what the mailbox does in the next turn. Worker's thread. */
void worker_obey(struct worker *w);

#endif
