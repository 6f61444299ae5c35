/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools of endpoints. The spec is what all workers share: frozen but for the endpoints' atomics.
 * The view is one worker's: its balancer, its conns and its lists of those that can take a request.
 *
 *   view -> lb, endpoint lists -> idle h1_client      a busy h1_client belongs to its stream's user
 *                              -> h2_client with room     a full one to the users of its streams
 *
 * Reactor's thread, but for the spec.
 */
#ifndef WEIR_UPSTREAM_POOL_H
#define WEIR_UPSTREAM_POOL_H

#include "balancer/budget.h"
#include "balancer/lb.h"
#include "balancer/quantile.h"
#include "proxy/base/stats.h"
#include "proxy/http/h1_client.h"
#include "proxy/http/h2_client.h"
#include "proxy/net/proxy_header.h"
#include "proxy/net/tls_stats.h"
#include "proxy/upstream/balance_key.h"
#include "proxy/upstream/sticky.h"

struct health_spec;
struct pool_endpoint;
struct tls_source;
struct config_endpoints;
struct source_spec;
struct lb_gate;
struct lb_limit;

struct endpoint_spec {
    struct lb_endpoint lb;
    struct net_addr addr;
    struct net_addr also; /* that addr has, if it has one */
    char text[NET_ADDR_TEXT];
    uint32_t twin;   /* how many before it have the same text: it takes more to tell them apart */
    uint32_t weight; /* as configured, and so the next: those of lb may have been changed since */
    bool drain;
};

enum pool_protocol {
    POOL_AUTO, /* what ALPN says; HTTP/1 without TLS */
    POOL_H1,
    POOL_H2, /* by prior knowledge without TLS */
    POOL_UP, /* like auto, but no stream before its conn is up: for those who want no more */
};

/* How many requests the pool takes at once, and how the others wait. */
struct pool_limits {
    struct lb_gate *gate;   /* NULL: any number */
    struct lb_limit *limit; /* that the gate's is learnt by; or NULL */
    uint32_t queue;         /* that may wait */
    uint32_t wait_ms;
    bool fifo;
    bool picky;             /* not everybody has a use of each endpoint that has room */
    struct balance_key key; /* of those that take turns; NONE: the pool's */
};

struct pool_spec {
    uint32_t refs;     /* its owners', as the next: snapshot.h */
    uint64_t identity; /* of whatever it was made of: the same number, the same pool */
    const char *name;
    struct tls_source *source; /* of tls; NULL: plain */
    struct lb_group *balance;  /* of the endpoints: pool_balance; NULL: nobody asks the view's lb */
    struct balance_key key;    /* if its policy uses one */
    struct pool_limits limits;
    struct lb_budget *budget; /* of retries; NULL: any number */
    uint32_t hedge;        /* percent of the answers that come before another is asked; 0: never */
    struct sticky sticky;  /* if it has cookie: the group has tokens */
    uint64_t first_client; /* the number of the process's first worker, for lb_narrow */
    uint32_t outlier_ms;   /* how often its endpoints are compared; if it detects outliers */
    struct endpoint_spec *endpoints;
    struct endpoint_spec **sorted; /* pool_sort; NULL: nobody looks for one */
    uint32_t n_endpoints;
    struct source_spec *from;       /* where they come from; NULL: from the configuration */
    struct config_endpoints *found; /* what they were made of, also by the configuration; NULL:
                                     * nothing is known yet */
    const char *why_none;           /* if there are none: printable ASCII; or NULL */
    uint64_t conns;       /* of how conns are made: where it is the same, they are as good */
    uint32_t idle_ms;     /* how long an idle conn is kept */
    uint32_t max_idle;    /* idle conns for each endpoint of a view */
    uint8_t protocol;     /* enum pool_protocol */
    uint8_t proxy_header; /* enum proxy_header_version: what conns begin with; only with POOL_H1,
                           * and options.once */
    struct h1_client_options options;
    struct h2_client_options h2;
    const struct tls_client_options *tls; /* NULL: plain; see pool_tls_options */
    struct health_spec *health;           /* health.h; NULL: its endpoints are not checked */
};

/* What one worker's views of a pool have in common: its counters. */
struct pool_stats {
    struct counter opened;  /* conns dialled */
    struct counter reused;  /* requests on a conn that had served before */
    struct counter retries; /* further attempts */
    struct counter denied;  /* ... that the budget did not allow */
    struct counter hedges_won, hedges_lost;
    struct counter conns; /* gauge: conns that exist, idle or not */
    struct tls_stats tls;
    struct counter *reasons; /* REASON_COUNT of them, or NULL: why idle conns ended */
    struct pool_view *heir;  /* of the worker's views of the pool, the one that took over last */
};

/* The group of endpoints[0..n), to be freed with lb_group_free, before them. */
struct lb_group *pool_balance(const struct lb_policy *policy, const struct lb_options *options,
                              struct endpoint_spec *endpoints, uint32_t n);

/* Sets spec.sorted, and the endpoints' twins: once their texts and indices are set. */
void pool_sort(struct pool_spec *spec);

/* The endpoint of the same address as wanted, which is another pool's (of several, the one in the
 * same place among them), or -1. */
int32_t pool_find(const struct pool_spec *spec, const struct endpoint_spec *wanted);

/* The pool takes the place of another: endpoints that both have keep what is known of them, and
 * what an operator has made of them, unless that is configured in another way now. Others are new.
 * So go on the budget of retries and the limit that was learnt. Before anybody else sees the spec;
 * before may be in use. Both are sorted. */
void pool_follow(struct pool_spec *spec, const struct pool_spec *before, uint64_t now_us);

/* ... of what an operator has made of them alone: also later, when others see it. */
void pool_follow_orders(struct pool_spec *spec, const struct pool_spec *before);

/* Whoever counts who uses the view may do so here. emptied: told, from within a callback, when a
 * view that pool_close_idle was called for has no conn any more; or NULL. */
struct pool_users {
    uint32_t n;
    void (*emptied)(void *ctx);
    void *ctx;
};

/* Private to pool.c, but for the functions below that look into it. */
struct pool_view {
    struct reactor *reactor;
    const struct pool_spec *spec;
    struct pool_stats *stats;
    struct lb *lb;
    struct lb_quantile *latencies; /* NULL: nobody wants to know */
    struct tls_client_ctx *tls;    /* of new conns; NULL: plain */
    struct pool_users users;
    uint32_t conns;
    uint8_t protocol; /* enum pool_protocol; POOL_AUTO only with TLS */
    bool closing;
    bool over;                       /* another took over: its conns, when idle, are the heir's */
    struct pool_endpoint *endpoints; /* right behind it */
};

/* A worker's view. spec and stats must outlive it. seed differs from worker to worker. */
struct pool_view *pool_view_new(struct reactor *r, const struct pool_spec *spec,
                                struct pool_stats *stats, uint64_t seed);

/* What a context for the view's conns is made with, but for ca and cert if they are not the spec's.
 * The spec has TLS. Any thread. */
struct tls_client_options pool_tls_options(struct pool_view *view);

/* New conns are made with ctx, which is the view's from now on: before the first, and again
 * whenever the files have changed that it comes from. Conns of the context before serve whom they
 * serve, or whoever waits for their handshake, and nobody else. */
void pool_secure(struct pool_view *view, struct tls_client_ctx *ctx);

/* Whether it was called for the view. */
static inline bool pool_secured(const struct pool_view *view)
{
    return view->tls != NULL;
}

/* All conns must be gone: pool_close_idle, then let the loop run. NULL is fine. */
void pool_view_free(struct pool_view *view);

/* The parts of it, which live as long as it (the second and third: as given). */
static inline struct lb *pool_lb(struct pool_view *view)
{
    return view->lb;
}

static inline const struct pool_spec *pool_spec_of(const struct pool_view *view)
{
    return view->spec;
}

static inline struct pool_stats *pool_stats_of(struct pool_view *view)
{
    return view->stats;
}

/* How long answers to this worker take; NULL: the pool does not hedge. */
static inline struct lb_quantile *pool_latencies(struct pool_view *view)
{
    return view->latencies;
}

/* A wish for a stream. Its owner's memory, in which it may wait: for one stream at a time. */
struct pool_request {
    const struct pool_request_events *events;
    const struct stream_events *stream_events; /* the stream's, and its owner */
    void *owner;
    const struct http_peer *client; /* for whom; NULL: nobody can say */
    uint32_t response_head_ms;
    uint64_t
        reached_us; /* set before failed: when the handshake began that failed; 0: it had not */
    bool body;      /* more follows its head */
    struct list_node link; /* the pool's, while it waits */
};

/* What becomes of one that had to wait; from the dispatch loop, and the pool's last touch of it. */
struct pool_request_events {
    void (*ready)(struct pool_request *, struct stream *);
    void (*failed)(struct pool_request *, enum reason reason);
};

/* A stream to the endpoint at index: on a conn that is idle or has room, else on a new one. fresh:
 * only on one that has not served yet. With a PROXY header always on a new one. NULL with *reason
 * when a conn cannot even be begun; NULL with REASON_NONE when the request waits. */
struct stream *pool_open(struct pool_view *view, uint32_t index, bool fresh,
                         struct pool_request *request, enum reason *reason);

/* It waits no more; fine if it does not wait. Neither event follows. */
static inline void pool_cancel(struct pool_request *request)
{
    list_unlink(&request->link);
}

/* Closes all idle conns, and from now on each that becomes idle. */
void pool_close_idle(struct pool_view *view);

/* The view is the one of its pool that new requests go to, and the one that was it before is not
 * any more: conns of that one which are idle go over to it, and so do others when they become so,
 * if their endpoint is here too and they would be made the same way. So does what was learnt of it.
 */
void pool_take_over(struct pool_view *view);

/* Nor is this one any more, if it was; that is not followed by another. */
void pool_step_down(struct pool_view *view);

/* Conns that exist, idle or not. */
uint32_t pool_conns(const struct pool_view *view);

/* Those of this view. */
struct pool_users *pool_users(struct pool_view *view);

/* Gives one idle conn's descriptor back, at once. False: there is none. */
bool pool_shed_idle(struct pool_view *view);

/* How long idle conns to an endpoint are kept at the moment, ms: the configured time, or less
 * where the upstream was seen to close earlier. */
uint64_t pool_idle_ms(const struct pool_view *view, uint32_t index);

#endif
