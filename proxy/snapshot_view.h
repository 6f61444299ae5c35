/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker's view of a snapshot: a view of each pool, the listeners, and what is counted by route
 * and pool. Made by the control thread from the view before, of which it has whatever stays as it
 * was: views of pools with their conns, listeners with their sockets, counters. The worker takes
 * it, and leaves it when it has the next, and its own last exchange has ended, and nobody is left
 * on conns of listeners and pools that only it had; then the control thread frees it.
 *
 *   snapshot_view -> pool_view with its admission, worker_listener (counted by the worker)
 *                 -> counters (counted by the control thread)
 *   exchange ~> snapshot_view
 *
 * What is not said to be the control thread's is the worker's, once it has taken the view.
 */
#ifndef WEIR_SNAPSHOT_VIEW_H
#define WEIR_SNAPSHOT_VIEW_H

#include <stdatomic.h>

#include "balancer/rng.h"
#include "proxy/net/listen.h"
#include "proxy/snapshot.h"
#include "proxy/trial.h"

/* Responses by status class; index 0 is 1xx. */
struct row_stats {
    struct counter classes[5];
    struct counter in_flight; /* gauge: exchanges; of a route's first row, for all of it */
};

struct worker_listener {
    struct listener base;
    const struct listener_spec *spec; /* as of the newest view that has it */
    struct tls_server_ctx *tls;       /* for its new conns; NULL: plain text */
    struct counter conns;             /* gauge: that came by it */
    struct counter classes[5];        /* its responses by status class; index 0 is 1xx */
    uint32_t users;                   /* views that were taken and not left */
    bool open;                        /* it is in the view that was taken last */
    bool left; /* nobody has its sockets once WORKER_LEAVE is obeyed; set before that order */
};

/* What a view does to a listener when it is taken. */
struct listener_change {
    struct worker_listener *at;
    int socket;                 /* to listen on; -1: it does already */
    struct tls_server_ctx *tls; /* unless its spec stays */
};

struct admission;
struct worker;

struct snapshot_view {
    struct snapshot *snapshot; /* the control thread counts it */
    struct counter exchanges;  /* gauge: that began with it */
    struct pool_view **pools;
    struct admission **admissions; /* by pool, as long as it; NULL: any number of requests */
    struct listener_change *listeners;
    struct row_stats **rows;           /* snapshot.n_rows */
    struct hist **durations;           /* by route; the last is "no route" */
    struct pool_stats **pool_stats;    /* by pool */
    struct tls_ctx *_Atomic *tls_next; /* as snapshot.tls: to be used from now on, or NULL */
    struct list_node link;             /* the worker's, of those that it has not left */
    struct trial_stats *trial;         /* the worker's: what its requests are counted in; or NULL */
    bool entered;                      /* the worker's: it has it, and has not left it */
    /* The control thread's, before it hands over the view, each time: how many of the new requests
     * begin with it, of TRIAL_ALL; and if that is not all, what is counted of those, and of the
     * others. */
    uint32_t share;
    struct trial_stats *trials[2];
    bool alone;         /* the same: no other weir has sockets that this one lets go of by it */
    bool tells_clients; /* a pool does, by PROXY headers: where a client came to matters */
    atomic_bool taken, left;
};

/* What of a snapshot was in the one before, by index there; -1: it was not. Listeners: whether its
 * socket stays; the others: whether there was one of that name. */
struct snapshot_match {
    int32_t *listeners, *pools, *routes, *rows;
};

/* before: NULL matches nothing. */
void snapshot_match_init(struct snapshot_match *match, const struct snapshot *snap,
                         const struct snapshot *before);
void snapshot_match_fini(struct snapshot_match *match);

/* Whether both listen on one socket: on the same address, and if the kernel is to choose the port,
 * by the same name. */
bool listener_spec_same_socket(const struct listener_spec *a, const struct listener_spec *b);

/* For the worker, which is given it afterwards; before: NULL, or the view that was made for it
 * last. sockets: one for each listener, taken over; -1: it has one. What has TLS needs
 * snapshot_view_secure. Control thread. */
struct snapshot_view *snapshot_view_new(struct worker *w, struct snapshot *snap,
                                        const struct snapshot_view *before,
                                        const struct snapshot_match *match, const int *sockets,
                                        struct lb_rng *rng);

/* A context for what is at index in snapshot.tls, of what was read for it. NULL with *error set to
 * malloc'd text. Control thread. */
struct tls_ctx *snapshot_view_make_tls(const struct snapshot_view *view, size_t index,
                                       const struct tls_set *set, char **error);

/* Contexts for all that is new in it. False with *error set. Before it is taken; control thread. */
bool snapshot_view_secure(struct snapshot_view *view, const struct snapshot_view *before,
                          const struct snapshot_match *match, char **error);

/* Undoes snapshot_view_new: nobody has taken it. Control thread. */
void snapshot_view_discard(struct snapshot_view *view, const struct snapshot_view *before,
                           const struct snapshot_match *match);

/* The worker's part of the end: pools and listeners that no other view has are freed; nobody uses
 * them. On the worker's thread, or when that has ended. */
void snapshot_view_leave(struct snapshot_view *view);

/* Frees one that was left, and lets go of its snapshot. NULL is fine. Control thread. */
void snapshot_view_free(struct snapshot_view *view);

#endif
