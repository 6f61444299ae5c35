/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attempts at answering an exchange: picking an endpoint, sending it the request, trying once
 * more, forwarding its response. Owns the lease, the upstream stream and what is kept of the
 * request for another attempt; must never forward a byte of a second response. Worker's thread; all
 * entry points are calls of exchange.c, or events of the upstream stream or of the wait for one.
 */
#include "proxy/exchange_attempt.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/exchange_end.h"
#include "proxy/exchange_log.h"
#include "proxy/retry.h"

#define REPLAY_BYTES 65536 /* of a request body kept for another attempt [linkerd] */

static const struct stream_events upstream_events;
static const struct pool_request_events wish_events;

/* ---- what is kept of the request ---- */

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
        if (f->flags & FIELD_DROPPED)
            continue;
        http_head_add(x->trailers, (enum field_id)f->id, text_keep(x->trailers_text, field_name(f)),
                      text_keep(x->trailers_text, field_value(f)));
        x->trailers->fields[x->trailers->n_fields - 1].flags = f->flags;
    }
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
        attempt_forget(x);
}

/* Opens a stream to the endpoint, now or when there is one. False: it cannot even be begun. */
static bool attempt_begin(struct exchange *x, uint32_t endpoint, bool fresh, enum reason *reason)
{
    struct stream *u;
    x->attempt_us = reactor_us(&x->worker->reactor);
    x->attempts++;
    x->endpoint = endpoint;
    x->wish.body = x->request->body != BODY_NONE || x->request->upgrade.len > 0;
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

/* Takes another attempt from the pool's budget, if that has one left. */
static bool retry_afford(struct exchange *x)
{
    struct pool_stats *stats = pool_stats_of(x->pool);
    struct lb_budget *budget = pool_spec_of(x->pool)->budget;
    if (budget != NULL &&
        !lb_budget_retry(budget, x->worker->index, reactor_us(&x->worker->reactor))) {
        counter_inc(&stats->denied);
        return false;
    }
    x->retries++;
    counter_inc(&stats->retries);
    return true;
}

/* Picks an endpoint that was not tried yet; the last once more if there is none and it serves on.
 */
static void attempt_next(struct exchange *x, enum reason last)
{
    enum reason reason;
    int32_t endpoint = lb_pick_stuck(pool_lb(x->pool), x->stuck, x->key, &x->tried,
                                     reactor_us(&x->worker->reactor));
    if (endpoint == LB_NONE && serves_on(last))
        endpoint = (int32_t)x->endpoint;
    if (endpoint == LB_NONE) {
        exchange_fail(x, last);
        return;
    }
    if (x->attempts > 0 && !retry_afford(x)) {
        exchange_fail(x, REASON_RETRY_BUDGET);
        return;
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
    if (verdict == RETRY_SAME) /* that says nothing of the endpoint, only of the conn */
        lb_lease_drop(&x->lease, reactor_us(&x->worker->reactor));
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

void attempt_first(struct exchange *x)
{
    struct lb_budget *budget = pool_spec_of(x->pool)->budget;
    if (budget != NULL)
        lb_budget_request(budget, x->worker->index, reactor_us(&x->worker->reactor));
    attempt_next(x, REASON_NO_ENDPOINT);
}

/* ---- the stream that an attempt waits for ---- */

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

void attempt_init(struct exchange *x)
{
    list_init(&x->wish.link);
    x->wish.events = &wish_events;
    x->wish.stream_events = &upstream_events;
    x->wish.owner = x;
    x->wish.client = x->peer;
    x->replayable = true;
}

/* ---- the request goes ---- */

void attempt_send_body(struct exchange *x, struct chain *body)
{
    struct stream *u = x->upstream;
    if (u == NULL) { /* the attempt is pending; there is no credit for more than a window */
        chain_move(&x->replay, body);
        return;
    }
    if (x->replayable) {
        if (x->replay.bytes + body->bytes <= REPLAY_BYTES)
            chain_share(&x->replay, body);
        else
            attempt_forget(x);
    }
    u->ops->send_body(u, body);
}

void attempt_send_end(struct exchange *x, const struct http_head *trailers)
{
    struct stream *u = x->upstream;
    if (trailers != NULL && u == NULL) /* the attempt is pending */
        trailers_keep(x, trailers);
    else if (trailers != NULL) /* they are gone after this call: no second try */
        attempt_forget(x);
    if (u != NULL)
        u->ops->send_end(u, trailers);
}

/* ---- the response comes ---- */

/* Both directions are bytes now, and the whole of it may only be idle for so long. */
static void exchange_upgrade(struct exchange *x)
{
    x->tunnel = true;
    x->request_done = false;
    exchange_touch(x);
}

/* What the upstream was told. */
static bool came_by_tls(struct exchange *x)
{
    struct http_field *proto = http_head_find(x->request, FIELD_X_FORWARDED_PROTO);
    struct span list = field_value(proto), first;
    return span_next_element(&list, &first) && span_eq_nocase(first, SPAN_LIT("https"));
}

/* The client's cookie names no endpoint, or another one than has answered. */
static void keep_session(struct exchange *x, struct http_head *head, char text[STICKY_TEXT])
{
    const struct pool_spec *spec = pool_spec_of(x->pool);
    if (spec->sticky.cookie.len > 0 && x->stuck != (int32_t)x->endpoint)
        sticky_tell(&spec->sticky, spec->balance, x->endpoint, came_by_tls(x), head, text);
}

static void on_upstream_head(struct stream *s, struct http_head *head)
{
    struct exchange *x = exchange_of(s);
    char cookie[STICKY_TEXT];
    bool final = head->status >= 200 || head->status == 101;
    if (head->body == BODY_TUNNEL && !x->request_done) { /* upgraded in the middle of a request */
        attempt_failed(x, REASON_BAD_RESPONSE, s->reused, s->answered);
        return;
    }
    if (final)
        x->committed = true;
    else
        x->interim = true;
    attempt_forget(x);
    if (final) {
        x->first_byte_us = reactor_us(&x->worker->reactor);
        x->connected_us = s->connected_us;
        x->reused = s->reused;
        x->status = head->status;
        attempt_answered(x, head);
    }
    forward_response(head, &x->listener->forward, reactor_date(&x->worker->reactor));
    if (final)
        keep_session(x, head, cookie);
    x->client->ops->send_head(x->client, head);
    if (head->body == BODY_TUNNEL)
        exchange_upgrade(x);
}

static void on_upstream_body(struct stream *s, struct chain *body)
{
    struct exchange *x = exchange_of(s);
    x->bytes_out += body->bytes;
    if (x->status_follows)
        attempt_spoke(x);
    if (x->tunnel)
        exchange_touch(x);
    x->client->ops->send_body(x->client, body);
}

static void on_upstream_end(struct stream *s, struct http_head *trailers)
{
    struct exchange *x = exchange_of(s);
    x->response_done = true;
    attempt_whole(x, trailers);
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
