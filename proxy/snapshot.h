/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frozen configuration in the form that workers use. Made by runtime.c from the configuration's
 * structs; immutable but for the endpoints' atomics; refcounted, so that exchanges finish on the
 * one they began with. Any thread may read.
 */
#ifndef WEIR_SNAPSHOT_H
#define WEIR_SNAPSHOT_H

#include "proxy/base/cidr.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1_server.h"
#include "proxy/retry.h"
#include "proxy/route.h"
#include "proxy/tls_source.h"
#include "proxy/upstream/pool.h"

struct listener_spec {
    const char *name;
    struct net_addr addr; /* as asked for */
    uint32_t mode;        /* of a Unix socket */
    struct cidr_set trusted;
    bool trust_unix;
    struct forward_options forward;
    uint32_t redirect_https;    /* serves nothing but redirects to this port; 0: requests */
    struct cidr_set proxy_from; /* peers whose conns begin with a header of the PROXY protocol */
    bool proxy_from_unix;
};

/* What a route says beside where it leads; same index as in the table. */
struct route_spec {
    uint32_t request_ms; /* whole request; 0 = no bound */
    uint32_t try_ms;     /* response head, per try */
    struct retry_rule retry;
    uint32_t row; /* first of its rows in the statistics */
};

struct snapshot {
    _Atomic uint32_t refs;
    struct listener_spec *listeners;
    size_t n_listeners;
    struct route_table *table;
    struct route_spec *routes;
    struct pool_spec *pools;
    size_t n_pools;
    struct tls_source **tls; /* by listener, and behind them by pool; NULL: plain text */
    size_t n_rows; /* of statistics: row 0 is "no route"; a route has one for "no pool", then one
                      for each of its targets */
    struct h1_server_options server; /* service and ctx are the worker's */
    uint32_t upgraded_ms;
    uint32_t handshake_ms; /* for a client's TLS handshake, and for its PROXY header */
    uint32_t max_connections;
    uint32_t pipes; /* that a worker may have at once, for large bodies */
};

/* The last one frees it, with all that it points to. NULL is fine. */
void snapshot_unref(struct snapshot *snap);

/* How many there are in tls. */
static inline size_t snapshot_n_tls(const struct snapshot *snap)
{
    return snap->n_listeners + snap->n_pools;
}

/* Returns snap, for whoever keeps it. */
static inline struct snapshot *snapshot_ref(struct snapshot *snap)
{
    atomic_fetch_add_explicit(&snap->refs, 1, memory_order_relaxed);
    return snap;
}

#endif
