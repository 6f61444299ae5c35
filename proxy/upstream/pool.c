/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's view of a pool. Owns the balancer and the idle conns; must never hand out a conn that
 * is closed or has unread input. Reactor's thread.
 */
#include "proxy/upstream/pool.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/upstream/pool_state.h"
#include "proxy/upstream/probe.h"

#define LEARN_MIN_MS 100 /* an earlier close is a restart, not a habit */

/* A handshake with an endpoint has ended. */
static void pool_shaken(void *ctx, uint32_t endpoint, const struct tls_info *info)
{
    static struct log_limit limit = LOG_LIMIT(1000);
    const struct pool_view *view = ctx;
    tls_stats_count(&view->stats->tls, info);
    if (!info->done)
        log_limited(&limit, LOG_WARN, "pool %s: TLS handshake with %s: %s", view->spec->name,
                    view->spec->endpoints[endpoint].text,
                    info->error != NULL ? info->error : "it was given up");
}

/* The handshake offers what the pool speaks. */
struct tls_client_options pool_tls_options(struct pool_view *view)
{
    static const uint8_t offers[] = {
        [POOL_AUTO] = TLS_ALPN_H1 | TLS_ALPN_H2,
        [POOL_H1] = TLS_ALPN_H1,
        [POOL_H2] = TLS_ALPN_H2,
        [POOL_UP] = TLS_ALPN_H1 | TLS_ALPN_H2,
    };
    struct tls_client_options options = *view->spec->tls;
    options.alpn = offers[view->protocol];
    options.ended = pool_shaken;
    options.ctx = view;
    return options;
}

struct lb_group *pool_balance(const struct lb_policy *policy, const struct lb_options *options,
                              struct endpoint_spec *endpoints, uint32_t n)
{
    struct lb_endpoint **shared = mem_need(malloc(n * sizeof(struct lb_endpoint *)));
    for (uint32_t i = 0; i < n; i++)
        shared[i] = &endpoints[i].lb;
    struct lb_group *group = lb_group_new(policy, options, shared, n);
    free(shared);
    return group;
}

struct pool_view *pool_view_new(struct reactor *r, const struct pool_spec *spec,
                                struct pool_stats *stats, uint64_t seed)
{
    size_t n = spec->n_endpoints;
    struct pool_view *view = mem_need(calloc(1, sizeof(*view) + n * sizeof(view->endpoints[0])));
    view->reactor = r;
    view->spec = spec;
    view->stats = stats;
    view->endpoints = (struct pool_endpoint *)(void *)(view + 1);
    for (uint32_t i = 0; i < n; i++) {
        struct pool_endpoint *ep = &view->endpoints[i];
        *ep = (struct pool_endpoint){
            .magic = POOL_MAGIC, .view = view, .index = i, .idle_ms = spec->idle_ms};
        list_init(&ep->idle);
        list_init(&ep->h2);
        list_init(&ep->probes);
    }
    /* A conn with a PROXY header is one client's, and nobody knows whether that asks again. */
    CHECK(spec->proxy_header == 0 || (spec->protocol == POOL_H1 && spec->options.once));
    view->protocol = spec->protocol;
    if (spec->tls == NULL && spec->protocol == POOL_AUTO)
        view->protocol = POOL_H1;
    if (spec->balance != NULL)
        view->lb = lb_new(spec->balance, seed);
    if (spec->hedge != 0) {
        view->latencies = mem_need(malloc(sizeof(*view->latencies)));
        lb_quantile_init(view->latencies, spec->hedge);
    }
    return view;
}

void pool_view_free(struct pool_view *view)
{
    if (view == NULL)
        return;
    CHECK(view->conns == 0);
    lb_free(view->lb);
    free(view->latencies);
    tls_client_ctx_free(view->tls);
    free(view);
}

uint32_t pool_conns(const struct pool_view *view)
{
    return view->conns;
}

struct pool_users *pool_users(struct pool_view *view)
{
    return &view->users;
}

uint64_t pool_idle_ms(const struct pool_view *view, uint32_t index)
{
    return view->endpoints[index].idle_ms;
}

/* ---- what conns tell ---- */

/* Was the conn made with what the files said before? Its upstream was checked against authorities
 * that may be trusted no more, and was shown a certificate that may have been revoked: it serves
 * nobody new, though who is on it already is let finish. */
static bool pool_outdated(const struct pool_view *view, const struct conn *c)
{
    const struct tls_info *tls = conn_tls(c);
    return tls != NULL && !tls_client_ctx_alike(tls->client, view->tls);
}

void pool_conn_left(struct pool_view *view)
{
    CHECK(view->conns > 0);
    view->conns--;
    if (view->conns == 0 && view->closing && view->users.emptied != NULL)
        view->users.emptied(view->users.ctx);
}

void pool_h1_idle(void *ctx, struct h1_client *cl)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    struct pool_endpoint *heir = pool_heir(ep);
    if (heir != NULL) {
        h1_client_adopt(cl, &heir->view->spec->options, heir);
        pool_conn_moved(ep, heir);
        ep = heir;
    }
    const struct pool_spec *spec = ep->view->spec;
    if (pool_outdated(ep->view, h1_client_conn(cl))) {
        h1_client_close(cl, REASON_UPSTREAM_TLS_CHANGED);
        return;
    }
    if (ep->view->closing || ep->n_idle >= spec->max_idle) {
        h1_client_close(cl, REASON_DONE);
        return;
    }
    list_push_front(&ep->idle, h1_client_link(cl));
    ep->n_idle++;
    h1_client_keep(cl, ep->idle_ms);
}

/* Stay a fifth under what was seen, so that the next request does not meet a closing conn. */
static void client_closes_after(void *ctx, uint64_t ms)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    uint64_t safe = ms - ms / 5;
    if (ms >= LEARN_MIN_MS && safe < ep->idle_ms)
        ep->idle_ms = safe;
}

/* A conn reached what was learnt and was still open: perhaps too much was learnt. */
static void client_outlived(void *ctx)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    uint64_t more = ep->idle_ms + ep->idle_ms / 20 + 1;
    ep->idle_ms = more < ep->view->spec->idle_ms ? more : ep->view->spec->idle_ms;
}

static void client_left(void *ctx)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    CHECK(ep->n_idle > 0);
    ep->n_idle--;
}

/* A conn is no more. */
static void pool_conn_closed(struct pool_endpoint *ep, enum reason reason)
{
    struct counter *reasons = ep->view->stats->reasons;
    if (reasons != NULL && reason_row(reason)->side == SIDE_NONE)
        counter_inc(&reasons[reason]);
    counter_dec(&ep->view->stats->conns);
    pool_conn_left(ep->view);
}

static void client_closed(void *ctx, struct h1_client *cl, enum reason reason)
{
    (void)cl;
    pool_conn_closed(CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC), reason);
}

static const struct h1_client_owner pool_owner = {
    .idle = pool_h1_idle,
    .unlisted = client_left,
    .outlived = client_outlived,
    .closes_after = client_closes_after,
    .closed = client_closed,
};

/* Conns that have no stream at the moment. */
static uint32_t h2_idle(const struct pool_endpoint *ep)
{
    uint32_t n = 0;
    for (struct list_node *it = ep->h2.next; it != &ep->h2; it = it->next)
        n += h2_client_streams(h2_client_at(it)) == 0;
    return n;
}

/* The fullest conns are filled first, so that the others may become idle and end. */
void pool_h2_room(void *ctx, struct h2_client *cl)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    struct pool_endpoint *heir = pool_heir(ep);
    bool idle = h2_client_streams(cl) == 0;
    list_unlink(h2_client_link(cl));
    if (heir != NULL) {
        h2_client_adopt(cl, &heir->view->spec->h2, heir);
        pool_conn_moved(ep, heir);
        ep = heir;
    }
    if (pool_outdated(ep->view, h2_client_conn(cl)))
        h2_client_retire(cl, REASON_UPSTREAM_TLS_CHANGED);
    else if (ep->view->closing || (idle && ep->n_idle + h2_idle(ep) >= ep->view->spec->max_idle))
        h2_client_retire(cl, REASON_DONE);
    else if (idle)
        list_push_back(&ep->h2, h2_client_link(cl));
    else
        list_push_front(&ep->h2, h2_client_link(cl));
}

/* The next conns are like it. Of one that takes none at all nobody would ever hear otherwise. */
static void h2_takes(void *ctx, struct h2_client *cl, uint32_t streams)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    (void)cl;
    ep->takes = streams > 0 ? streams : 1;
}

static void h2_closed(void *ctx, struct h2_client *cl, enum reason reason)
{
    (void)cl;
    pool_conn_closed(CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC), reason);
}

static const struct h2_client_owner pool_h2_owner = {
    .room = pool_h2_room,
    .takes = h2_takes,
    .closed = h2_closed,
};

/* ---- handing out ---- */

/* A conn was dialled. */
static void pool_opened(struct pool_endpoint *ep, struct conn *c)
{
    struct pool_view *view = ep->view;
    if (view->tls != NULL && c != NULL)
        conn_secure_client(c, view->tls, ep->index, &view->spec->endpoints[ep->index].addr);
    view->conns++;
    counter_inc(&view->stats->opened);
    counter_inc(&view->stats->conns);
}

static struct h1_client *take_idle(struct pool_endpoint *ep)
{
    struct list_node *node = list_pop_front(&ep->idle);
    if (node == NULL)
        return NULL;
    ep->n_idle--;
    return h1_client_at(node);
}

/* The client's address goes first, before TLS or whatever is spoken. */
static void announce(struct conn *c, enum proxy_header_version version,
                     const struct http_peer *client)
{
    struct net_addr from = {0}, to = {0};
    struct block *block;
    char *at = conn_reserve(c, PROXY_HEADER_WRITE_MAX, &block);
    if (client != NULL)
        http_peer_ends(client, &from, &to);
    conn_wrote(c, block, at, proxy_header_write(version, &from, &to, at));
}

static struct h1_client *dial(struct pool_endpoint *ep, const struct pool_request *request,
                              enum reason *reason)
{
    struct pool_view *view = ep->view;
    int err;
    struct h1_client *cl =
        h1_client_dial(view->reactor, &view->spec->options, &view->spec->endpoints[ep->index].addr,
                       &pool_owner, ep, &err);
    if (cl == NULL) {
        *reason = h1_client_connect_reason(err);
        return NULL;
    }
    if (view->spec->proxy_header != 0)
        announce(h1_client_conn(cl), view->spec->proxy_header, request->client);
    pool_opened(ep, h1_client_conn(cl));
    return cl;
}

/* A conn that has room for it; fresh: one that has not served yet. What is listed may have met its
 * end in this turn and not have been told so far. */
static struct h2_client *h2_find(const struct pool_endpoint *ep, bool fresh,
                                 const struct pool_request *request)
{
    for (struct list_node *it = ep->h2.next; it != &ep->h2; it = it->next) {
        struct h2_client *cl = h2_client_at(it);
        if (h2_client_room(cl) && !(fresh && h2_client_served(cl)) &&
            !(request->body && h2_client_clogged(cl)))
            return cl;
    }
    return NULL;
}

static struct h2_client *h2_dial(struct pool_endpoint *ep, enum reason *reason)
{
    struct pool_view *view = ep->view;
    int err;
    struct h2_client *cl =
        h2_client_dial(view->reactor, &view->spec->h2, ep->takes,
                       &view->spec->endpoints[ep->index].addr, &pool_h2_owner, ep, &err);
    if (cl == NULL) {
        *reason = h1_client_connect_reason(err);
        return NULL;
    }
    pool_opened(ep, h2_client_conn(cl));
    list_push_front(&ep->h2, h2_client_link(cl));
    return cl;
}

static struct stream *open_h1(struct h1_client *cl, const struct pool_request *request)
{
    return h1_client_open(cl, request->stream_events, request->owner, request->response_head_ms);
}

static struct stream *open_h2(struct h2_client *cl, const struct pool_request *request)
{
    return h2_client_open(cl, request->stream_events, request->owner, request->response_head_ms);
}

/* ---- when only the handshake tells ---- */

static const struct probe_owner pool_probe_owner;

/* Does a conn that comes up have as many who wait for it as it will take? */
static bool probe_full(const struct pool_endpoint *ep, struct probe *p)
{
    const struct list_node *waiting = probe_waiting(p);
    uint32_t room = ep->spoke_h1 ? 1 : ep->takes != 0 ? ep->takes : UINT32_MAX;
    for (const struct list_node *it = waiting->next; it != waiting && room > 0; it = it->next)
        room--;
    return room == 0;
}

/* The request waits for a conn to come up: for the last that was begun, if that will take it.
 * False: none can be begun. */
static bool probe_wait(struct pool_endpoint *ep, struct pool_request *request, enum reason *reason)
{
    const struct pool_spec *spec = ep->view->spec;
    const struct probe_options options = {.connect_ms = spec->options.connect_ms,
                                          .write_stall_ms = spec->options.write_stall_ms,
                                          .tls = ep->view->tls,
                                          .endpoint = ep->index};
    struct probe *p = list_empty(&ep->probes) ? NULL : probe_at(ep->probes.next);
    int err;
    if (p == NULL || probe_full(ep, p)) {
        p = probe_dial(ep->view->reactor, &options, &spec->endpoints[ep->index].addr,
                       &pool_probe_owner, ep, &err);
        if (p == NULL) {
            *reason = h1_client_connect_reason(err);
            return false;
        }
        pool_opened(ep, NULL);
        list_push_front(&ep->probes, probe_link(p));
    }
    list_push_back(probe_waiting(p), &request->link);
    *reason = REASON_NONE;
    return true;
}

static struct pool_request *pop_waiting(struct list_node *waiting)
{
    struct list_node *node = list_pop_front(waiting);
    return node != NULL ? CONTAINER_OF(node, pool_request, link) : NULL;
}

static void probe_up_h1(struct pool_endpoint *ep, struct conn *from, struct list_node *waiting)
{
    struct pool_view *view = ep->view;
    struct h1_client *cl = h1_client_new(view->reactor, &view->spec->options, &pool_owner, ep);
    struct pool_request *request = pop_waiting(waiting);
    ep->spoke_h1 = true;
    conn_hand_over(from, h1_client_conn(cl));
    if (request != NULL)
        request->events->ready(request, open_h1(cl, request));
    else
        pool_h1_idle(ep, cl);
}

static void probe_up_h2(struct pool_endpoint *ep, struct conn *from, struct list_node *waiting)
{
    struct pool_view *view = ep->view;
    struct h2_client *cl =
        h2_client_new(view->reactor, &view->spec->h2, ep->takes, &pool_h2_owner, ep);
    struct pool_request *request;
    ep->spoke_h1 = false;
    conn_hand_over(from, h2_client_conn(cl));
    list_push_front(&ep->h2, h2_client_link(cl));
    while (h2_client_room(cl) && (request = pop_waiting(waiting)) != NULL)
        request->events->ready(request, open_h2(cl, request));
    /* Who waited has gone: is it one idle conn too many? Or has its time passed meanwhile? */
    if (h2_client_streams(cl) == 0 || pool_outdated(view, h2_client_conn(cl)))
        pool_h2_room(ep, cl);
}

/* Those for whom it has no room wait for another. */
static void probe_up(void *ctx, struct conn *from, bool h2, struct list_node *waiting)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    struct pool_request *request;
    enum reason reason;
    if (h2)
        probe_up_h2(ep, from, waiting);
    else
        probe_up_h1(ep, from, waiting);
    while ((request = pop_waiting(waiting)) != NULL)
        if (!probe_wait(ep, request, &reason))
            request->events->failed(request, reason);
}

static void probe_failed(void *ctx, enum reason reason, uint64_t reached_us,
                         struct list_node *waiting)
{
    struct pool_request *request;
    (void)ctx;
    while ((request = pop_waiting(waiting)) != NULL) {
        request->reached_us = reached_us;
        request->events->failed(request, reason);
    }
}

static void probe_closed(void *ctx, enum reason reason)
{
    pool_conn_closed(CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC), reason);
}

static const struct probe_owner pool_probe_owner = {
    .up = probe_up,
    .failed = probe_failed,
    .closed = probe_closed,
};

/* ---- the three ways ---- */

static struct stream *pool_open_h1(struct pool_endpoint *ep, bool fresh,
                                   const struct pool_request *request, enum reason *reason)
{
    struct h1_client *cl = fresh ? NULL : take_idle(ep);
    if (cl != NULL)
        counter_inc(&ep->view->stats->reused);
    else
        cl = dial(ep, request, reason);
    return cl != NULL ? open_h1(cl, request) : NULL;
}

static struct stream *pool_open_h2(struct pool_endpoint *ep, bool fresh,
                                   const struct pool_request *request, enum reason *reason)
{
    struct h2_client *cl = h2_find(ep, fresh, request);
    if (cl != NULL && h2_client_served(cl))
        counter_inc(&ep->view->stats->reused);
    else if (cl == NULL)
        cl = h2_dial(ep, reason);
    return cl != NULL ? open_h2(cl, request) : NULL;
}

static struct stream *pool_open_auto(struct pool_endpoint *ep, bool fresh,
                                     struct pool_request *request, enum reason *reason)
{
    if (h2_find(ep, fresh, request) != NULL)
        return pool_open_h2(ep, fresh, request, reason);
    if (!fresh && !list_empty(&ep->idle))
        return pool_open_h1(ep, fresh, request, reason);
    probe_wait(ep, request, reason);
    return NULL;
}

struct stream *pool_open(struct pool_view *view, uint32_t index, bool fresh,
                         struct pool_request *request, enum reason *reason)
{
    CHECK(index < view->spec->n_endpoints && !list_linked(&request->link));
    CHECK((view->spec->tls != NULL) == (view->tls != NULL));
    struct pool_endpoint *ep = &view->endpoints[index];
    if (view->protocol == POOL_UP) {
        probe_wait(ep, request, reason);
        return NULL;
    }
    if (view->protocol == POOL_AUTO)
        return pool_open_auto(ep, fresh, request, reason);
    return view->protocol == POOL_H2 ? pool_open_h2(ep, fresh, request, reason)
                                     : pool_open_h1(ep, fresh, request, reason);
}

static bool shed_h1(struct pool_endpoint *ep)
{
    if (list_empty(&ep->idle))
        return false;
    struct list_node *oldest = ep->idle.prev;
    list_unlink(oldest);
    ep->n_idle--;
    h1_client_close(h1_client_at(oldest), REASON_DONE);
    return true;
}

static bool shed_h2(struct pool_endpoint *ep)
{
    for (struct list_node *it = ep->h2.prev; it != &ep->h2; it = it->prev) {
        if (h2_client_streams(h2_client_at(it)) > 0)
            continue;
        h2_client_close(h2_client_at(it), REASON_DONE);
        return true;
    }
    return false;
}

bool pool_shed_idle(struct pool_view *view)
{
    for (uint32_t i = 0; i < view->spec->n_endpoints; i++)
        if (shed_h1(&view->endpoints[i]) || shed_h2(&view->endpoints[i]))
            return true;
    return false;
}

/* Of every endpoint: closes what is idle, and lets nobody join what is not. */
static void pool_retire(struct pool_view *view, enum reason reason)
{
    for (uint32_t i = 0; i < view->spec->n_endpoints; i++) {
        struct pool_endpoint *ep = &view->endpoints[i];
        struct h1_client *cl;
        struct list_node *node;
        while ((cl = take_idle(ep)) != NULL)
            h1_client_close(cl, reason);
        while ((node = list_pop_front(&ep->h2)) != NULL)
            h2_client_retire(h2_client_at(node), reason);
        while ((node = list_pop_front(&ep->probes)) != NULL)
            if (list_empty(probe_waiting(probe_at(node))))
                probe_give_up(probe_at(node));
    }
}

void pool_secure(struct pool_view *view, struct tls_client_ctx *ctx)
{
    tls_client_ctx_free(view->tls);
    view->tls = ctx;
    pool_retire(view, REASON_UPSTREAM_TLS_CHANGED);
}

void pool_close_idle(struct pool_view *view)
{
    view->closing = true;
    pool_retire(view, REASON_DONE);
}
