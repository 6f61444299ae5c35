/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its answer. Owns the attempt and the replay chain; must never touch a stream it
 * has released, nor forward a byte of a second response. Worker's thread; all entry points are
 * events of a stream, or the exchange's own timer through the dispatch loop.
 */
#include "proxy/exchange.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/exchange_log.h"
#include "proxy/exchange_state.h"
#include "proxy/http/grpc.h"
#include "proxy/reply.h"
#include "proxy/retry.h"
#include "proxy/worker.h"

#define EXCHANGE_MAGIC MAGIC('e', 'x', 'c', 'h')
#define REPLAY_BYTES   65536 /* of a request body kept for another attempt [linkerd] */

#define STATUS_CLIENT_GONE 499 /* in the log only [nginx] */

static const struct stream_events client_events;
static const struct stream_events upstream_events;
static const struct pool_request_events wish_events;

static struct exchange *exchange_of(const struct stream *s)
{
    return CAST_OBJ(exchange, s->owner, EXCHANGE_MAGIC);
}

/* ---- the end ---- */

static void exchange_bury(struct grave *grave)
{
    struct exchange *x = CONTAINER_OF(grave, exchange, grave);
    CHECK(x->client == NULL && x->upstream == NULL && !lb_lease_started(&x->lease));
    x->magic = 0;
    reactor_free(&x->worker->reactor, SLAB_EXCHANGE, x);
}

static enum lb_outcome outcome_of(enum reason reason)
{
    switch (reason) {
    case REASON_DONE:
        return LB_OK;
    case REASON_CONNECT_REFUSED:
    case REASON_CONNECT_FAILED:
    case REASON_CONNECT_TIMEOUT:
        return LB_CONNECT_FAILED;
    case REASON_RESPONSE_HEAD_TIMEOUT:
    case REASON_RESPONSE_IDLE_TIMEOUT:
    case REASON_UPSTREAM_WRITE_STALL:
    case REASON_REQUEST_TIMEOUT:
        return LB_TIMED_OUT;
    default:
        return reason_row(reason)->side == SIDE_UPSTREAM ? LB_FAILED : LB_CANCELLED;
    }
}

/* Ends the attempt, if there is one. */
static void attempt_end(struct exchange *x, enum reason reason)
{
    if (lb_lease_started(&x->lease)) {
        uint64_t now = reactor_us(&x->worker->reactor);
        enum lb_outcome outcome = outcome_of(reason);
        if (outcome == LB_OK && (x->status == 429 || x->status == 503))
            outcome = LB_OVERLOADED;
        uint64_t head = x->first_byte_us >= x->attempt_us ? x->first_byte_us : now;
        lb_finished(&x->lease, outcome, head - x->attempt_us, now);
    }
    pool_cancel(&x->wish);
    struct stream *upstream = TAKE(x->upstream);
    if (upstream != NULL)
        upstream->ops->release(upstream, reason);
}

static struct span text_keep(struct block *block, struct span s)
{
    char *at = block->data + block->used;
    CHECK(s.len <= block_room(block));
    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    block->used += (uint32_t)s.len;
    return span_of(at, s.len);
}

/* Trailers live no longer than the call that brings them; a pending attempt needs them later. */
static void trailers_keep(struct exchange *x, const struct http_head *from)
{
    struct reactor *r = &x->worker->reactor;
    x->trailers_text = block_get(&r->bufs, true); /* any head that the limits let through */
    x->trailers = reactor_alloc(r, SLAB_HEAD, sizeof(*x->trailers));
    http_head_init(x->trailers);
    for (unsigned i = 0; i < from->n_fields; i++) {
        const struct http_field *f = &from->fields[i];
        if (!(f->flags & FIELD_DROPPED))
            http_head_add(x->trailers, (enum field_id)f->id,
                          text_keep(x->trailers_text, field_name(f)),
                          text_keep(x->trailers_text, field_value(f)));
    }
}

static void trailers_drop(struct exchange *x)
{
    if (x->trailers == NULL)
        return;
    reactor_free(&x->worker->reactor, SLAB_HEAD, TAKE(x->trailers));
    block_drop(TAKE(x->trailers_text));
}

static void replay_drop(struct exchange *x)
{
    chain_clear(&x->replay);
    trailers_drop(x);
    x->replayable = false;
    /* Nobody keeps the request's body any more. */
    x->client->opaque = x->upstream != NULL && x->upstream->splices;
}

/* The last act: everybody is let go, and what happened is told. */
static void exchange_finish(struct exchange *x, enum reason reason)
{
    struct worker *w = x->worker;
    CHECK(!x->finished);
    x->finished = true;
    attempt_end(x, reason);
    replay_drop(x);
    exchange_tell(x, reason); /* the request's head is still there */
    struct stream *client = TAKE(x->client);
    client->ops->release(client, reason);
    block_drop(TAKE(x->scratch));
    wheel_remove(&w->reactor.wheel, &x->timer);
    list_unlink(&x->ready.link);
    counter_dec(&w->stats.in_flight);
    snapshot_unref(x->snapshot);
    reactor_bury(&w->reactor, &x->grave);
}

/* Answers for the upstream, if the client has seen nothing yet, and ends. */
static void exchange_fail(struct exchange *x, enum reason reason)
{
    const struct reason_row *row = reason_row(reason);
    attempt_end(x, reason);
    if (!x->committed && row->status != 0 && row->side != SIDE_GONE) {
        x->status = (uint16_t)reply_status(x->request, reason);
        x->bytes_out += reply_error(&x->worker->reactor, x->client, x->request, reason, x->id);
    }
    exchange_finish(x, reason);
}

/* ---- attempts ---- */

static uint32_t retries_allowed(const struct exchange *x)
{
    return x->snapshot->routes[x->route->index].retries;
}

/* The stream is there. Sends what is there of the request; the rest follows as it comes. */
static void attempt_send(struct exchange *x, struct stream *u)
{
    struct chain body;
    x->upstream = u;
    u->opaque = x->client->splices;
    u->ops->send_head(u, x->request);
    x->attempt_drained = 0;
    chain_init(&body);
    chain_share(&body, &x->replay);
    if (!chain_empty(&body))
        u->ops->send_body(u, &body);
    if (x->request_done)
        u->ops->send_end(u, x->trailers);
    /* All of it was kept while the attempt was pending. */
    if (x->replay.bytes > REPLAY_BYTES || x->trailers != NULL)
        replay_drop(x);
}

/* Opens a stream to the endpoint, now or when there is one. False: it cannot even be begun. */
static bool attempt_begin(struct exchange *x, uint32_t endpoint, bool fresh, enum reason *reason)
{
    struct stream *u;
    x->attempt_us = reactor_us(&x->worker->reactor);
    x->attempts++;
    x->endpoint = endpoint;
    x->wish.response_head_ms = x->snapshot->routes[x->route->index].try_ms;
    u = pool_open(x->pool, endpoint, fresh, &x->wish, reason);
    if (u == NULL && *reason == REASON_NO_DESCRIPTORS && worker_shed_idle(x->worker))
        u = pool_open(x->pool, endpoint, fresh, &x->wish, reason);
    if (u == NULL && *reason != REASON_NONE)
        return false;
    lb_started(pool_lb(x->pool), &x->lease, endpoint, x->attempt_us);
    if (u != NULL)
        attempt_send(x, u);
    return true;
}

static void attempt_failed(struct exchange *x, enum reason reason, bool reused, bool answered);

/* It was the stream that an endpoint over HTTP/2 did not take, for now or on this conn. */
static bool serves_on(enum reason reason)
{
    return reason == REASON_UPSTREAM_REFUSED || reason == REASON_UPSTREAM_GOAWAY;
}

/* Picks an endpoint that was not tried yet; the last once more if there is none and it serves on.
 */
static void attempt_next(struct exchange *x, enum reason last)
{
    enum reason reason;
    int32_t endpoint =
        lb_pick(pool_lb(x->pool), x->key, &x->tried, reactor_us(&x->worker->reactor));
    if (endpoint == LB_NONE && serves_on(last))
        endpoint = (int32_t)x->endpoint;
    if (endpoint == LB_NONE) {
        exchange_fail(x, last);
        return;
    }
    if (x->attempts > 0) {
        x->retries++;
        counter_inc(&pool_stats_of(x->pool)->retries);
    }
    lb_tried_add(&x->tried, (uint32_t)endpoint);
    if (!attempt_begin(x, (uint32_t)endpoint, false, &reason))
        attempt_failed(x, reason, false, false);
}

/* The attempt is over without a whole answer: once more, or an end. */
static void attempt_failed(struct exchange *x, enum reason reason, bool reused, bool answered)
{
    struct retry_facts facts = {
        .reason = reason,
        .idempotent = x->request->idempotent,
        .committed = x->committed || x->interim,
        .replayable = x->replayable,
        .reused = reused,
        .answered = answered,
        .attempts_left = retries_allowed(x) - x->retries,
    };
    enum retry_verdict verdict = retry_verdict(&facts);
    exchange_trail(x, reason);
    log_debug("request %.*s: attempt %u at %s failed: %s; %s", (int)x->id.len, x->id.ptr,
              x->attempts, pool_spec_of(x->pool)->endpoints[x->endpoint].text,
              reason_row(reason)->name, retry_verdict_name(verdict));
    counter_inc(&x->worker->stats.attempts[reason]);
    if (verdict == RETRY_NO) {
        exchange_fail(x, reason);
        return;
    }
    attempt_end(x, reason);
    if (verdict == RETRY_SAME) {
        x->attempts--; /* the stale conn does not count as a try */
        if (attempt_begin(x, x->endpoint, true, &reason))
            return;
        attempt_failed(x, reason, false, false);
        return;
    }
    attempt_next(x, reason);
}

static struct exchange *exchange_of_wish(const struct pool_request *wish)
{
    return CAST_OBJ(exchange, wish->owner, EXCHANGE_MAGIC);
}

static void on_wish_ready(struct pool_request *wish, struct stream *u)
{
    attempt_send(exchange_of_wish(wish), u);
}

static void on_wish_failed(struct pool_request *wish, enum reason reason)
{
    attempt_failed(exchange_of_wish(wish), reason, false, false);
}

static const struct pool_request_events wish_events = {
    .ready = on_wish_ready,
    .failed = on_wish_failed,
};

/* ---- the request comes ---- */

/* Moves the idle deadline of a tunnel. */
static void exchange_touch(struct exchange *x)
{
    struct reactor *r = &x->worker->reactor;
    wheel_set(&r->wheel, &x->timer, reactor_now(r) + x->snapshot->upgraded_ms);
}

static unsigned request_field(const void *ctx, struct span name, struct span *value)
{
    const struct http_head *head = ctx;
    unsigned n = 0;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), name) && n++ == 0)
            *value = field_value(&head->fields[i]);
    return n;
}

/* Chooses the route and its pool. False: the exchange has ended. */
static bool exchange_route(struct exchange *x)
{
    struct worker *w = x->worker;
    struct route_query query = {
        .host = x->request->authority,
        .path = x->request->path,
        .method = x->request->method,
        .field = request_field,
        .field_ctx = x->request,
    };
    x->route = route_find(x->snapshot->table, &query);
    if (x->route == NULL) {
        exchange_fail(x, REASON_NO_ROUTE);
        return false;
    }
    int32_t pool = route_split_pick(x->route, &w->rng);
    if (pool == ROUTE_NO_POOL) {
        exchange_fail(x, REASON_NO_POOL);
        return false;
    }
    x->pool_index = pool;
    x->pool = w->pools[pool];
    return true;
}

static void exchange_late(struct wheel_timer *timer)
{
    struct exchange *x = CONTAINER_OF(timer, exchange, timer);
    reactor_ready(&x->worker->reactor, &x->ready);
}

static void exchange_run(struct ready *ready)
{
    struct exchange *x = CONTAINER_OF(ready, exchange, ready);
    exchange_fail(x, x->tunnel ? REASON_TUNNEL_IDLE : REASON_REQUEST_TIMEOUT);
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
    memset(x, 0, offsetof(struct exchange, trail));
    x->magic = EXCHANGE_MAGIC;
    x->worker = w;
    x->snapshot = snapshot_ref(w->snapshot);
    x->client = client;
    x->request = request;
    x->peer = peer;
    x->listener = peer->listener;
    x->replayable = true;
    x->pool_index = -1;
    x->start_us = reactor_us(&w->reactor);
    list_init(&x->ready.link);
    list_init(&x->grave.link);
    list_init(&x->wish.link);
    x->wish.events = &wish_events;
    x->wish.stream_events = &upstream_events;
    x->wish.owner = x;
    x->wish.client = peer;
    x->ready.run = exchange_run;
    x->grave.bury = exchange_bury;
    wheel_timer_init(&x->timer, exchange_late);
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
    if (!reply_to_https(&x->worker->reactor, x->client, x->request, &x->scratch)) {
        exchange_fail(x, REASON_MISSING_HOST);
        return;
    }
    x->status = 308;
    x->committed = true;
    exchange_finish(x, REASON_DONE);
}

static void on_request(void *ctx, struct stream *client, struct http_head *request,
                       const struct http_peer *peer, enum reason reason)
{
    struct worker *w = ctx;
    struct exchange *x = exchange_new(w, client, request, peer);
    if (reason == REASON_NONE && over_limit(w, peer))
        reason = REASON_CONNECTION_LIMIT;
    if (reason == REASON_NONE && reactor_short(&w->reactor))
        reason = REASON_NO_MEMORY;
    if (reason != REASON_NONE) {
        exchange_fail(x, reason);
        return;
    }
    if (x->listener->redirect_https) {
        exchange_redirect(x);
        return;
    }
    if (!exchange_route(x))
        return;
    exchange_bound(x);
    x->key = balance_key_hash(&pool_spec_of(x->pool)->key, request, peer);
    forward_request(request, peer, &x->listener->forward, x->id, &w->reactor.bufs, &x->scratch);
    attempt_next(x, REASON_NO_ENDPOINT);
}

static void on_client_body(struct stream *s, struct chain *body)
{
    struct exchange *x = exchange_of(s);
    x->bytes_in += body->bytes;
    if (x->tunnel)
        exchange_touch(x);
    if (x->upstream ==
        NULL) { /* the attempt is pending; there is no credit for more than a window */
        chain_move(&x->replay, body);
        return;
    }
    if (x->replayable) {
        if (x->replay.bytes + body->bytes <= REPLAY_BYTES)
            chain_share(&x->replay, body);
        else
            replay_drop(x);
    }
    x->upstream->ops->send_body(x->upstream, body);
}

static void on_client_end(struct stream *s, struct http_head *trailers)
{
    struct exchange *x = exchange_of(s);
    x->request_done = true;
    if (x->tunnel) {
        x->upstream->ops->send_end(x->upstream, NULL);
        if (x->response_done)
            exchange_finish(x, REASON_DONE);
        return;
    }
    forward_trailers(trailers, true);
    if (x->upstream == NULL) { /* the attempt is pending */
        if (trailers != NULL)
            trailers_keep(x, trailers);
        return;
    }
    if (trailers != NULL) /* they are gone after this call: no second try */
        replay_drop(x);
    x->upstream->ops->send_end(x->upstream, trailers);
}

static void on_client_drained(struct stream *s, size_t n)
{
    struct exchange *x = exchange_of(s);
    if (x->upstream != NULL)
        x->upstream->ops->credit(x->upstream, n);
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

/* ---- the response comes ---- */

/* Both directions are bytes now, and the whole of it may only be idle for so long. */
static void exchange_upgrade(struct exchange *x)
{
    x->tunnel = true;
    x->request_done = false;
    exchange_touch(x);
}

static void on_upstream_head(struct stream *s, struct http_head *head)
{
    struct exchange *x = exchange_of(s);
    bool final = head->status >= 200 || head->status == 101;
    if (head->body == BODY_TUNNEL && !x->request_done) { /* upgraded in the middle of a request */
        attempt_failed(x, REASON_BAD_RESPONSE, s->reused, s->answered);
        return;
    }
    if (final)
        x->committed = true;
    else
        x->interim = true;
    replay_drop(x);
    if (final) {
        x->first_byte_us = reactor_us(&x->worker->reactor);
        x->connected_us = s->connected_us;
        x->reused = s->reused;
        x->status = head->status;
    }
    forward_response(head, &x->listener->forward, reactor_date(&x->worker->reactor));
    x->client->ops->send_head(x->client, head);
    if (head->body == BODY_TUNNEL)
        exchange_upgrade(x);
}

static void on_upstream_body(struct stream *s, struct chain *body)
{
    struct exchange *x = exchange_of(s);
    x->bytes_out += body->bytes;
    if (x->tunnel)
        exchange_touch(x);
    x->client->ops->send_body(x->client, body);
}

static void on_upstream_end(struct stream *s, struct http_head *trailers)
{
    struct exchange *x = exchange_of(s);
    x->response_done = true;
    forward_trailers(trailers, false);
    x->client->ops->send_end(x->client, trailers);
    if (!x->tunnel || x->request_done)
        exchange_finish(x, REASON_DONE);
}

/* Bytes that were sent in an earlier attempt were credited then. */
static void on_upstream_drained(struct stream *s, size_t n)
{
    struct exchange *x = exchange_of(s);
    x->attempt_drained += n;
    if (x->attempt_drained <= x->credited)
        return;
    size_t more = (size_t)(x->attempt_drained - x->credited);
    x->credited = x->attempt_drained;
    x->client->ops->credit(x->client, more);
}

static void on_upstream_aborted(struct stream *s, enum reason reason)
{
    struct exchange *x = exchange_of(s);
    attempt_failed(x, reason, s->reused, s->answered);
}

static const struct stream_events upstream_events = {
    .head = on_upstream_head,
    .body = on_upstream_body,
    .end = on_upstream_end,
    .drained = on_upstream_drained,
    .aborted = on_upstream_aborted,
};

/* ---- the service ---- */

static bool on_keep_alive(void *ctx, const struct http_peer *peer)
{
    struct worker *w = ctx;
    return !w->draining && !over_limit(w, peer) && !reactor_short(&w->reactor);
}

/* Of a conn that ends for it there may be no exchange that would be counted. */
static bool ends_unasked(enum reason reason)
{
    switch (reason) {
    case REASON_IDLE_TIMEOUT:
    case REASON_HEAD_TIMEOUT: /* HTTP/2: nobody was asked yet */
    case REASON_BAD_PROXY_HEADER:
    case REASON_PROXY_HEADER_TIMEOUT:
    case REASON_TLS_HANDSHAKE_FAILED:
    case REASON_TLS_HANDSHAKE_TIMEOUT:
    case REASON_H2_PROTOCOL_ERROR:
    case REASON_H2_SETTINGS_TIMEOUT:
    case REASON_H2_RESET_FLOOD:
    case REASON_H2_CONTINUATION_FLOOD:
    case REASON_H2_SETTINGS_FLOOD:
    case REASON_H2_PING_FLOOD:
    case REASON_H2_EMPTY_DATA_FLOOD:
    case REASON_H2_PRIORITY_FLOOD:
    case REASON_H2_WINDOW_FLOOD:
    case REASON_H2_HPACK_BOMB:
        return true;
    default:
        return false;
    }
}

static void on_conn_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct worker *w = ctx;
    (void)peer;
    if (ends_unasked(reason))
        counter_inc(&w->stats.reasons[reason]);
    worker_conn_closed(w);
}

const struct http_service exchange_service = {
    .request = on_request,
    .keep_alive = on_keep_alive,
    .closed = on_conn_closed,
};
