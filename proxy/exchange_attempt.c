/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attempts at answering an exchange: picking an endpoint, sending it the request, trying once
 * more or a second one at the same time, forwarding the response of one. Owns the lease, the
 * upstream stream and what is kept of the request for another attempt; must never forward a byte of
 * a second response. Worker's thread; all entry points are calls of exchange.c, or events of the
 * upstream stream or of the wait for one.
 */
#include "proxy/exchange_attempt.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/exchange_admit.h"
#include "proxy/exchange_end.h"
#include "proxy/exchange_flight.h"
#include "proxy/exchange_retry.h"
#include "proxy/exchange_trace.h"

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

/* There is another attempt, to which the request has yet to be sent. */
static bool rival_waits(const struct attempt *a)
{
    const struct attempt *rival = attempt_rival(a);
    return rival != NULL && rival->upstream == NULL;
}

/* The stream is there. Sends what is there of the request; the rest follows as it comes. */
static void attempt_send(struct attempt *a, struct stream *u)
{
    struct exchange *x = a->exchange;
    struct chain body;
    a->upstream = u;
    u->opaque = x->client->splices;
    if (x->recorded)
        exchange_trace_attempt(a);
    u->ops->send_head(u, x->request);
    chain_init(&body);
    chain_share(&body, &x->replay);
    if (!chain_empty(&body))
        u->ops->send_body(u, &body);
    if (x->request_done)
        u->ops->send_end(u, x->trailers);
    /* All of it was kept while the attempt was pending; another may still be. */
    if ((x->replay.bytes > REPLAY_BYTES || x->trailers != NULL) && !rival_waits(a))
        attempt_forget(x);
}

/* Opens a stream to the endpoint, now or when there is one. False: it cannot even be begun. */
static bool attempt_begin(struct attempt *a, uint32_t endpoint, bool fresh, enum reason *reason)
{
    struct exchange *x = a->exchange;
    struct stream *u;
    x->attempts++;
    a->start_us = reactor_us(&x->worker->reactor);
    a->head_us = 0;
    a->drained = 0;
    a->span = 0;
    a->reached_us = a->connected_us = 0;
    a->endpoint = endpoint;
    a->status = 0;
    a->version = 0;
    a->reused = a->also = a->told = false;
    a->wish.reached_us = 0;
    a->wish.body = x->request->body != BODY_NONE || x->request->upgrade.len > 0;
    a->wish.response_head_ms = x->snapshot->routes[x->route->index].try_ms;
    u = pool_open(x->pool, endpoint, fresh, &a->wish, reason);
    if (u == NULL && *reason == REASON_NO_DESCRIPTORS && worker_shed_idle(x->worker))
        u = pool_open(x->pool, endpoint, fresh, &a->wish, reason);
    if (u == NULL && *reason != REASON_NONE) {
        exchange_unpick(x);
        return false;
    }
    lb_started(pool_lb(x->pool), &a->lease, endpoint, a->start_us);
    if (u != NULL)
        attempt_send(a, u);
    return true;
}

static void attempt_failed(struct attempt *a, enum reason reason, bool reused, bool answered);
static void attempt_set(struct exchange *x, struct attempt *a);

static void attempt_start(struct attempt *a, uint32_t endpoint, bool fresh)
{
    enum reason reason;
    lb_tried_add(&a->exchange->tried, endpoint);
    if (!attempt_begin(a, endpoint, fresh, &reason))
        attempt_failed(a, reason, false, false);
}

/* There will be another attempt, at x->next. */
static void attempt_after(struct exchange *x, uint64_t pause_ms)
{
    struct reactor *r = &x->worker->reactor;
    x->attempt->hedge = false; /* whatever has failed was one */
    if (pause_ms > 0)
        wheel_set(&r->wheel, &x->pause, reactor_now(r) + pause_ms);
    else if (lb_claim(pool_lb(x->pool), x->next))
        attempt_start(x->attempt, x->next, false);
    else
        exchange_fail(x, retry_nowhere(x));
}

/* The request is whole, and the attempt runs. */
static void hedge_arm(struct exchange *x)
{
    uint64_t ms = pool_latencies(x->pool) != NULL ? hedge_after_ms(x) : 0;
    if (ms > 0)
        wheel_set(&x->worker->reactor.wheel, &x->pause, reactor_now(&x->worker->reactor) + ms);
}

/* A second endpoint is asked beside the first. */
static void hedge_begin(struct exchange *x)
{
    struct attempt *a = &x->tries[1];
    if (!hedge_grant(x))
        return;
    memset(a, 0, sizeof(*a));
    attempt_set(x, a);
    a->hedge = true;
    x->hedged = true;
    attempt_start(a, x->next, false);
}

void attempt_due(struct exchange *x)
{
    x->due = false;
    if (lb_lease_started(&x->attempt->lease))
        hedge_begin(x);
    else if (retry_place(x))
        attempt_start(x->attempt, x->next, false);
    else
        exchange_fail(x, retry_nowhere(x));
}

/* The attempt that runs is one too many, or it is over: no other is begun beside it. */
static void hedge_disarm(struct exchange *x)
{
    wheel_cancel(&x->pause);
    x->due = false;
}

/* It ends without an answer for the client, and another one goes on. False: none does. */
static bool attempt_yield(struct attempt *a, enum reason reason)
{
    struct attempt *rival = attempt_rival(a);
    if (rival == NULL)
        return false;
    attempt_end(a, reason);
    a->exchange->attempt = rival;
    return true;
}

/* It answers: it is the one from now on. */
static void attempt_settle(struct attempt *a)
{
    struct exchange *x = a->exchange;
    struct attempt *rival = attempt_rival(a);
    hedge_disarm(x);
    if (rival == NULL)
        return;
    exchange_leg(rival, REASON_OUTRUN);
    attempt_end(rival, REASON_OUTRUN);
    x->attempt = a;
}

static void attempt_note(struct attempt *a, enum reason reason)
{
    struct exchange *x = a->exchange;
    exchange_leg(a, reason);
    counter_inc(&x->worker->stats.attempts[reason]);
}

static void log_failure(const struct attempt *a, enum reason reason, enum retry_verdict verdict)
{
    const struct exchange *x = a->exchange;
    log_debug("request %.*s: attempt %u at %s failed: %s; %s", (int)x->id.len, x->id.ptr,
              x->attempts, pool_spec_of(x->pool)->endpoints[a->endpoint].text,
              reason_row(reason)->name, retry_verdict_name(verdict));
}

/* The conn was to blame, and the endpoint may be fine. */
static void attempt_same(struct attempt *a, enum reason reason)
{
    struct exchange *x = a->exchange;
    lb_restart(&a->lease, reactor_us(&x->worker->reactor));
    attempt_end(a, reason);
    x->attempts--; /* the stale conn does not count as a try */
    attempt_start(a, a->endpoint, true);
}

/* The attempt is over without a whole answer: once more, or an end. */
static void attempt_failed(struct attempt *a, enum reason reason, bool reused, bool answered)
{
    struct exchange *x = a->exchange;
    enum retry_verdict verdict = retry_judge(a, reason, reused, answered);
    uint64_t pause_ms;
    attempt_note(a, reason);
    log_failure(a, reason, verdict);
    if (attempt_yield(a, reason))
        return;
    if (verdict == RETRY_SAME) {
        attempt_same(a, reason);
        return;
    }
    if (verdict == RETRY_NO) {
        exchange_fail(x, reason);
        return;
    }
    attempt_end(a, reason);
    hedge_disarm(x);
    reason = retry_grant(x, reason, 0, &pause_ms);
    if (reason == REASON_NONE)
        attempt_after(x, pause_ms);
    else
        exchange_fail(x, reason);
}

bool attempt_first(struct exchange *x)
{
    uint64_t now = reactor_us(&x->worker->reactor);
    int32_t endpoint = (x->stays ? lb_pick_waited : lb_pick_stuck)(pool_lb(x->pool), x->stuck,
                                                                   x->key, &x->tried, now);
    if (endpoint == LB_FULL)
        return false;
    retry_request(x, now);
    if (endpoint == LB_NONE) {
        exchange_fail(x, REASON_NO_ENDPOINT);
        return true;
    }
    attempt_start(x->attempt, (uint32_t)endpoint, false);
    if (x->request_done && !x->finished) /* it has waited for its turn */
        hedge_arm(x);
    return true;
}

/* ---- an answer that is as good as none ---- */

/* Whether it is dropped for another attempt; only then is the attempt over. */
static bool attempt_declined(struct attempt *a, struct http_head *head, bool reused)
{
    struct exchange *x = a->exchange;
    const struct retry_rule *rule = retry_rule_of(x);
    enum reason reason = retry_answer(rule, head);
    uint64_t asked_ms, pause_ms;
    if (reason == REASON_NONE || retry_judge(a, reason, reused, true) != RETRY_OTHER)
        return false;
    if (attempt_rival(a) != NULL) {
        attempt_note(a, reason);
        return attempt_yield(a, REASON_DONE);
    }
    if ((asked_ms = retry_after_ms(head)) > rule->retry_after_ms)
        return false;
    enum reason denied = retry_grant(x, reason, asked_ms, &pause_ms);
    if (denied == REASON_RETRY_BUDGET)
        exchange_leg(a, denied);
    if (denied != REASON_NONE)
        return false;
    attempt_note(a, reason);
    log_failure(a, reason, RETRY_OTHER);
    attempt_end(a, REASON_DONE);
    hedge_disarm(x);
    attempt_after(x, pause_ms);
    return true;
}

/* ---- the stream that an attempt waits for ---- */

static struct attempt *attempt_of_wish(const struct pool_request *wish)
{
    return CAST_OBJ(attempt, wish->owner, ATTEMPT_MAGIC);
}

static void on_wish_ready(struct pool_request *wish, struct stream *u)
{
    attempt_send(attempt_of_wish(wish), u);
}

static void on_wish_failed(struct pool_request *wish, enum reason reason)
{
    struct attempt *a = attempt_of_wish(wish);
    a->reached_us = wish->reached_us;
    attempt_failed(a, reason, false, false);
}

static const struct pool_request_events wish_events = {
    .ready = on_wish_ready,
    .failed = on_wish_failed,
};

static void attempt_ready(struct wheel_timer *timer)
{
    struct exchange *x = CONTAINER_OF(timer, exchange, pause);
    x->due = true;
    reactor_ready(&x->worker->reactor, &x->ready);
}

static void attempt_set(struct exchange *x, struct attempt *a)
{
    a->magic = ATTEMPT_MAGIC;
    a->exchange = x;
    list_init(&a->wish.link);
    a->wish.events = &wish_events;
    a->wish.stream_events = &upstream_events;
    a->wish.owner = a;
    a->wish.client = x->peer;
}

void attempt_init(struct exchange *x)
{
    x->attempt = &x->tries[0];
    attempt_set(x, x->attempt);
    wheel_timer_init(&x->pause, attempt_ready);
    x->replayable = true;
}

/* ---- the request goes ---- */

void attempt_send_body(struct exchange *x, struct chain *body)
{
    struct stream *u = x->attempt->upstream;
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
    struct stream *u = x->attempt->upstream;
    if (trailers != NULL && u == NULL) /* the attempt is pending */
        trailers_keep(x, trailers);
    else if (trailers != NULL) /* they are gone after this call: no second try */
        attempt_forget(x);
    if (u != NULL)
        u->ops->send_end(u, trailers);
    hedge_arm(x);
}

/* ---- the response comes ---- */

static struct attempt *attempt_of(const struct stream *s)
{
    return CAST_OBJ(attempt, s->owner, ATTEMPT_MAGIC);
}

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
    if (spec->sticky.cookie.len > 0 && x->stuck != (int32_t)x->attempt->endpoint)
        sticky_tell(&spec->sticky, spec->balance, x->attempt->endpoint, came_by_tls(x), head, text);
}

static void on_upstream_head(struct stream *s, struct http_head *head)
{
    struct attempt *a = attempt_of(s);
    struct exchange *x = a->exchange;
    char cookie[STICKY_TEXT];
    bool final = head->status >= 200 || head->status == 101;
    if (head->body == BODY_TUNNEL && !x->request_done) { /* upgraded in the middle of a request */
        attempt_failed(a, REASON_BAD_RESPONSE, s->reused, s->answered);
        return;
    }
    if (final) {
        a->status = head->status;
        a->version = head->version;
        a->head_us = reactor_us(&x->worker->reactor);
        attempt_rate(a, head);
        if (attempt_declined(a, head, s->reused))
            return;
    }
    attempt_settle(a);
    if (final)
        x->committed = true;
    else
        x->interim = true;
    attempt_forget(x);
    if (final) {
        x->first_byte_us = a->head_us;
        x->status = head->status;
        if (!a->status_follows)
            attempt_answered(a);
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
    struct attempt *a = attempt_of(s);
    struct exchange *x = a->exchange;
    x->bytes_out += body->bytes;
    if (a->status_follows) /* a part of a message: the endpoint does answer */
        attempt_answered(a);
    if (x->tunnel)
        exchange_touch(x);
    x->client->ops->send_body(x->client, body);
}

static void on_upstream_end(struct stream *s, struct http_head *trailers)
{
    struct attempt *a = attempt_of(s);
    struct exchange *x = a->exchange;
    x->response_done = true;
    if (a->status_follows)
        attempt_rate_end(a, trailers);
    forward_trailers(trailers, false);
    x->client->ops->send_end(x->client, trailers);
    if (!x->tunnel || x->request_done)
        exchange_finish(x, REASON_DONE);
}

/* Bytes that were sent in an earlier attempt were credited then. */
static void on_upstream_drained(struct stream *s, size_t n)
{
    struct attempt *a = attempt_of(s);
    struct exchange *x = a->exchange;
    a->drained += n;
    if (a->drained <= x->credited)
        return;
    size_t more = (size_t)(a->drained - x->credited);
    x->credited = a->drained;
    x->client->ops->credit(x->client, more);
}

static void on_upstream_aborted(struct stream *s, enum reason reason)
{
    attempt_failed(attempt_of(s), reason, s->reused, s->answered);
}

static const struct stream_events upstream_events = {
    .head = on_upstream_head,
    .body = on_upstream_body,
    .end = on_upstream_end,
    .drained = on_upstream_drained,
    .aborted = on_upstream_aborted,
};
