/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: how it begins and what its client sends. When it is let through is in
 * exchange_admit.c, how it is answered in exchange_attempt.c, how it ends in exchange_end.c. Owns
 * the exchange until then; must never touch a stream it has released. Worker's thread; all entry
 * points are events of a stream, or the exchange's own timer through the dispatch loop.
 */
#include "proxy/exchange.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/exchange_admit.h"
#include "proxy/exchange_attempt.h"
#include "proxy/exchange_end.h"
#include "proxy/exchange_trace.h"
#include "proxy/http/grpc.h"
#include "proxy/reply.h"
#include "proxy/request_route.h"
#include "proxy/worker.h"

#define STATUS_CLIENT_GONE 499 /* in the log only [nginx] */

static const struct stream_events client_events;

/* ---- the request comes ---- */

/* Chooses the route and its pool. False: the exchange has ended. */
static bool exchange_route(struct exchange *x)
{
    struct worker *w = x->worker;
    struct route_query query = request_query(x->request, x->listener->name);
    x->route = route_find(x->snapshot->table, &query);
    if (x->route == NULL) {
        exchange_fail(x, REASON_NO_ROUTE);
        return false;
    }
    counter_inc(exchange_route_gauge(x));
    int32_t pool = route_split_pick(x->route, &w->rng);
    if (pool == ROUTE_NO_POOL) {
        exchange_fail(x, REASON_NO_POOL);
        return false;
    }
    x->pool_index = pool;
    x->pool = x->view->pools[pool];
    return true;
}

static void exchange_late(struct wheel_timer *timer)
{
    struct exchange *x = CONTAINER_OF(timer, exchange, timer);
    x->late = true;
    reactor_ready(&x->worker->reactor, &x->ready);
}

static void exchange_run(struct ready *ready)
{
    struct exchange *x = CONTAINER_OF(ready, exchange, ready);
    if (x->late)
        exchange_fail(x, x->tunnel ? REASON_TUNNEL_IDLE : REASON_REQUEST_TIMEOUT);
    else if (x->due)
        attempt_due(x);
}

/* The whole request ends in time: in the route's, or in what a gRPC caller gives it. */
static void exchange_bound(struct exchange *x)
{
    struct reactor *r = &x->worker->reactor;
    uint64_t ms = x->snapshot->routes[x->route->index].request_ms, caller_ms;
    bool bound = ms != 0;
    if (grpc_timeout(x->request, &caller_ms) && (!bound || caller_ms < ms)) {
        ms = caller_ms;
        bound = true;
    }
    if (bound)
        wheel_set(&r->wheel, &x->timer, reactor_now(r) + ms);
}

static struct exchange *exchange_new(struct worker *w, struct stream *client,
                                     struct http_head *request, const struct http_peer *peer)
{
    struct exchange *x = reactor_alloc(&w->reactor, SLAB_EXCHANGE, sizeof(*x));
    const struct worker_listener *listener = peer->listener;
    memset(x, 0, EXCHANGE_ZEROED);
    x->magic = EXCHANGE_MAGIC;
    x->worker = w;
    x->view = worker_enter(w);
    x->snapshot = x->view->snapshot;
    x->client = client;
    x->request = request;
    x->peer = peer;
    x->listener = listener->spec;
    x->pool_index = -1;
    x->start_us = reactor_us(&w->reactor);
    lb_tried_clear(&x->tried);
    list_init(&x->ready.link);
    list_init(&x->grave.link);
    x->ready.run = exchange_run;
    wheel_timer_init(&x->timer, exchange_late);
    attempt_init(x);
    client->events = &client_events;
    client->owner = x;
    uuid7_format(&w->ids, reactor_wall_us(&w->reactor, x->start_us) / 1000, x->own_id);
    x->id = request_id_of(request, span_of(x->own_id, UUID7_LEN));
    counter_inc(&w->stats.in_flight);
    return x;
}

/* A conn that was one too many is not any more once others have gone. */
static bool over_limit(const struct worker *w, const struct http_peer *peer)
{
    return peer->over_limit && conn_budget_over(w->shared->budget);
}

/* The listener serves nothing: the client is sent to where TLS is spoken. */
static void exchange_redirect(struct exchange *x)
{
    if (!reply_to_https(&x->worker->reactor, x->client, x->request, x->listener->redirect_https,
                        &x->scratch)) {
        exchange_fail(x, REASON_MISSING_HOST);
        return;
    }
    x->status = 308;
    x->committed = true;
    exchange_finish(x, REASON_DONE);
}

/* Whom the request belongs to, by its head as the client sent it: its endpoint, and its turn. */
static void exchange_key(struct exchange *x)
{
    const struct pool_spec *spec = pool_spec_of(x->pool);
    struct admission *a = x->view->admissions[x->pool_index];
    if (spec->key.kind != BALANCE_KEY_NONE)
        x->key = balance_key_hash(&spec->key, x->request, x->peer);
    if (a != NULL)
        exchange_queue_up(x, a);
    x->stuck = spec->sticky.cookie.len > 0 ? sticky_find(&spec->sticky, spec->balance, x->request)
                                           : LB_NONE;
}

static void on_request(void *ctx, struct stream *client, struct http_head *request,
                       const struct http_peer *peer, enum reason reason)
{
    struct worker *w = ctx;
    struct exchange *x = exchange_new(w, client, request, peer);
    if (x->snapshot->traces)
        exchange_trace(x);
    if (reason == REASON_NONE && over_limit(w, peer))
        reason = REASON_CONNECTION_LIMIT;
    if (reason == REASON_NONE && reactor_short(&w->reactor))
        reason = REASON_NO_MEMORY;
    if (reason != REASON_NONE) {
        exchange_fail(x, reason);
        return;
    }
    if (x->listener->redirect_https != 0) {
        exchange_redirect(x);
        return;
    }
    if (!exchange_route(x))
        return;
    exchange_bound(x);
    exchange_key(x);
    if (x->traced)
        trace_forward(request, &x->trace);
    forward_request(request, peer, &x->listener->forward, x->id, &w->reactor.bufs, &x->scratch);
    if (x->admission != NULL)
        exchange_admit(x);
    else
        attempt_first(x);
}

static void on_client_body(struct stream *s, struct chain *body)
{
    struct exchange *x = exchange_of(s);
    x->bytes_in += body->bytes;
    if (x->tunnel)
        exchange_touch(x);
    attempt_send_body(x, body);
}

static void on_client_end(struct stream *s, struct http_head *trailers)
{
    struct exchange *x = exchange_of(s);
    x->request_done = true;
    if (x->tunnel)
        trailers = NULL;
    else
        forward_trailers(trailers, true);
    attempt_send_end(x, trailers);
    if (x->tunnel && x->response_done)
        exchange_finish(x, REASON_DONE);
}

static void on_client_drained(struct stream *s, size_t n)
{
    struct exchange *x = exchange_of(s);
    struct stream *u = x->attempt->upstream;
    if (u != NULL)
        u->ops->credit(u, n);
}

static void on_client_aborted(struct stream *s, enum reason reason)
{
    struct exchange *x = exchange_of(s);
    if (!x->committed && reason_row(reason)->side == SIDE_GONE)
        x->status = STATUS_CLIENT_GONE;
    exchange_fail(x, reason);
}

static const struct stream_events client_events = {
    .body = on_client_body,
    .end = on_client_end,
    .drained = on_client_drained,
    .aborted = on_client_aborted,
};

/* ---- the service ---- */

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    struct worker *w = ctx;
    const struct worker_listener *listener = peer->listener;
    bool lets = !w->draining || (w->leaving && promised);
    return lets && listener->open && !over_limit(w, peer) && !reactor_short(&w->reactor);
}

static void on_conn_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct worker *w = ctx;
    if (reason_row(reason)->count == COUNT_CONN)
        counter_inc(&w->stats.reasons[reason]);
    worker_conn_closed(w, peer);
}

const struct http_service exchange_service = {
    .request = on_request,
    .keep_alive = on_keep_alive,
    .closed = on_conn_closed,
};
