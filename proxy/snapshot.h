/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frozen configuration in the form that workers use. Made by runtime_build.c from the
 * configuration's structs; immutable but for the endpoints' atomics. Counted, and so are its
 * listeners and pools: the next snapshot has those of this one that stay as they are. Any thread
 * may read; the control thread makes, counts and frees.
 */
#ifndef WEIR_SNAPSHOT_H
#define WEIR_SNAPSHOT_H

#include "proxy/base/cidr.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1_server.h"
#include "proxy/http/trace_context.h"
#include "proxy/retry.h"
#include "proxy/route.h"
#include "proxy/tls_source.h"
#include "proxy/upstream/pool.h"

struct trace_target;

struct listener_spec {
    uint32_t refs;     /* snapshots that have it */
    uint64_t identity; /* of whatever it was made of: the same number, the same listener */
    const char *name;
    struct net_addr asked;  /* the address as configured */
    struct net_addr addr;   /* with the port that the kernel chose, if it was to */
    struct tls_source *tls; /* NULL: plain text */
    uint32_t mode;          /* of a Unix socket */
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
    uint32_t refs;
    struct listener_spec **listeners;
    size_t n_listeners;
    struct route_table *table;
    struct route_spec *routes;
    struct pool_spec **pools;
    size_t n_pools;
    struct tls_source **tls; /* theirs: by listener, and behind them by pool; NULL: plain text */
    size_t n_rows; /* of statistics: row 0 is "no route"; a route has one for "no pool", then one
                      for each of its targets */
    struct h1_server_options server; /* service and ctx are the worker's */
    uint32_t upgraded_ms;
    uint32_t handshake_ms; /* for a client's TLS handshake, and for its PROXY header */
    uint32_t max_connections;
    bool traces; /* requests are parts of traces */
    struct trace_sampler sampler;
    struct trace_target *traces_to; /* where recorded ones are told: target.h; NULL: nowhere */
    uint64_t slow_us; /* until the answer's head: a request that takes longer is recorded */
    uint32_t pipes;   /* that a worker may have at once, for large bodies */
};

/* Returns snap, for whoever keeps it. */
struct snapshot *snapshot_ref(struct snapshot *snap);
/* The last one frees it, with what no other snapshot has. NULL is fine. */
void snapshot_unref(struct snapshot *snap);

/* The same, of a part; what is new has one reference, its maker's. */
struct listener_spec *listener_spec_ref(struct listener_spec *spec);
void listener_spec_unref(struct listener_spec *spec);
struct pool_spec *pool_spec_ref(struct pool_spec *spec);
void pool_spec_unref(struct pool_spec *spec);

/* What an operator has made of endpoints of the other since this one was built from it. */
void snapshot_follow_orders(const struct snapshot *snap, const struct snapshot *before);

/* Whether what a peer at that address says of its clients is believed. */
bool listener_spec_trusts(const struct listener_spec *spec, const struct net_addr *addr);

/* How many there are in tls. */
static inline size_t snapshot_n_tls(const struct snapshot *snap)
{
    return snap->n_listeners + snap->n_pools;
}

#endif
