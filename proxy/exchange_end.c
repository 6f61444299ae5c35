/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an exchange and each of its attempts end. Owns what is on its way out; must never begin
 * anything. Worker's thread; called by exchange.c and exchange_attempt.c.
 */
#include "proxy/exchange_end.h"

#include "proxy/base/check.h"
#include "proxy/exchange_admit.h"
#include "proxy/exchange_flight.h"
#include "proxy/exchange_log.h"
#include "proxy/http/grpc.h"
#include "proxy/outlier_watch.h"
#include "proxy/reply.h"
#include "proxy/retry.h"

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
    case REASON_UPSTREAM_WRITE_STALL:
    case REASON_REQUEST_TIMEOUT:
        return LB_TIMED_OUT;
    case REASON_UPSTREAM_REFUSED: /* not now, says the endpoint, and has done nothing */
        return LB_OVERLOADED;
    case REASON_UPSTREAM_FULL:
    case REASON_UPSTREAM_GOAWAY:       /* not on this conn */
    case REASON_RESPONSE_IDLE_TIMEOUT: /* it has answered; there may be nothing to say */
        return LB_CANCELLED;
    default:
        return reason_row(reason)->side == SIDE_UPSTREAM ? LB_FAILED : LB_CANCELLED;
    }
}

static enum lb_outcome outcome_of_status(unsigned status)
{
    if (status == 429)
        return LB_OVERLOADED;
    if (status == 503)
        return LB_UNAVAILABLE;
    return status >= 500 ? LB_ERROR : LB_OK;
}

void attempt_rate_end(struct attempt *a, const struct http_head *trailers)
{
    unsigned code;
    if (trailers == NULL || !grpc_status(trailers, &code))
        code = GRPC_UNKNOWN; /* to the caller */
    a->rated = (uint16_t)grpc_http_status(code);
    a->status_follows = false;
}

void attempt_rate(struct attempt *a, const struct http_head *head)
{
    a->rated = head->status;
    a->status_follows = head->status == 200 && grpc_is_call(a->exchange->request);
    unsigned code;
    if (a->status_follows && grpc_status(head, &code)) /* it is all that there is */
        attempt_rate_end(a, head);
}

void attempt_proved(struct attempt *a)
{
    uint64_t now = reactor_us(&a->exchange->worker->reactor);
    if (lb_answered(&a->lease, outcome_of_status(a->rated), now))
        outlier_tell(pool_spec_of(a->exchange->pool), a->endpoint, now);
}

/* From first attempts alone, and from those that a hedge has outrun as well: they took longer than
 * they were let. Else each hedge that is fast would make the next come earlier. */
static void hedge_learn(const struct attempt *a, bool answered, uint64_t us)
{
    struct lb_quantile *latencies = pool_latencies(a->exchange->pool);
    if (latencies != NULL && answered && !a->hedge && a->exchange->retries == 0 &&
        retry_safe(a->exchange->request->method))
        lb_quantile_add(latencies, us);
}

static void lease_end(struct attempt *a, enum reason reason)
{
    const struct exchange *x = a->exchange;
    uint64_t now = reactor_us(&x->worker->reactor);
    enum lb_outcome outcome = outcome_of(reason);
    if (outcome == LB_OK)
        outcome = outcome_of_status(a->rated);
    if (reason == REASON_REQUEST_TIMEOUT && (!x->request_done || x->committed))
        outcome = LB_CANCELLED; /* the client may be what is slow */
    uint64_t head = a->head_us != 0 ? a->head_us : now;
    hedge_learn(a, outcome == LB_OK || reason == REASON_OUTRUN, head - a->start_us);
    if (lb_finished(&a->lease, outcome, head - a->start_us, now))
        outlier_tell(pool_spec_of(x->pool), a->endpoint, now);
    if (x->admission != NULL)
        exchange_endpoint_freed(a->exchange);
}

void attempt_end(struct attempt *a, enum reason reason)
{
    if (lb_lease_started(&a->lease))
        lease_end(a, reason);
    pool_cancel(&a->wish);
    struct stream *upstream = TAKE(a->upstream);
    if (upstream == NULL)
        return;
    a->connected_us = upstream->connected_us;
    a->reused = upstream->reused;
    a->also = upstream->also;
    a->reached_us = a->reused ? a->connected_us : exchange_reached_us(upstream);
    upstream->ops->release(upstream, reason);
}

static void attempts_end(struct exchange *x, enum reason reason)
{
    attempt_end(x->attempt, reason);
    if (x->hedged)
        attempt_end(&x->tries[x->attempt == &x->tries[0]], reason);
}

static void trailers_drop(struct exchange *x)
{
    if (x->trailers == NULL)
        return;
    reactor_free(&x->worker->reactor, SLAB_HEAD, TAKE(x->trailers));
    block_drop(TAKE(x->trailers_text));
}

void attempt_forget(struct exchange *x)
{
    chain_clear(&x->replay);
    trailers_drop(x);
    x->replayable = false;
    /* Nobody keeps the request's body any more. */
    x->client->opaque = x->attempt->upstream != NULL && x->attempt->upstream->splices;
}

static void exchange_bury(struct grave *grave)
{
    struct exchange *x = CONTAINER_OF(grave, exchange, grave);
    CHECK(x->client == NULL);
    for (int i = 0; i <= x->hedged; i++)
        CHECK(x->tries[i].upstream == NULL && !lb_lease_started(&x->tries[i].lease));
    x->magic = 0;
    reactor_free(&x->worker->reactor, SLAB_EXCHANGE, x);
}

/* A hedge has won if its answer is the one that was passed on. */
static void hedge_tell(const struct exchange *x)
{
    struct pool_stats *stats = pool_stats_of(x->pool);
    bool won = x->attempt->hedge && (x->committed || x->interim);
    counter_inc(won ? &stats->hedges_won : &stats->hedges_lost);
}

void exchange_finish(struct exchange *x, enum reason reason)
{
    struct worker *w = x->worker;
    CHECK(!x->finished);
    x->finished = true;
    attempts_end(x, reason);
    if (x->admission != NULL)
        exchange_leave(x, reason);
    attempt_forget(x);
    if (x->hedged)
        hedge_tell(x);
    if (x->route != NULL)
        counter_dec(exchange_route_gauge(x));
    counter_dec(&w->stats.in_flight);
    exchange_tell(x, reason); /* who has read its line finds it counted; its head is still there */
    struct stream *client = TAKE(x->client);
    client->ops->release(client, reason);
    block_drop(TAKE(x->scratch));
    wheel_remove(&w->reactor.wheel, &x->timer);
    wheel_remove(&w->reactor.wheel, &x->pause);
    list_unlink(&x->ready.link);
    worker_exit(w, x->view);
    x->grave.bury = exchange_bury;
    reactor_bury(&w->reactor, &x->grave);
}

/* Why a pool has no endpoint at all. */
static const char *detail_of(const struct exchange *x, enum reason reason)
{
    return reason == REASON_NO_ENDPOINT ? pool_spec_of(x->pool)->why_none : NULL;
}

void exchange_fail(struct exchange *x, enum reason reason)
{
    const struct reason_row *row = reason_row(reason);
    attempts_end(x, reason);
    if (!x->committed && row->status != 0 && row->side != SIDE_GONE) {
        x->status = (uint16_t)reply_status(x->request, reason);
        x->bytes_out += reply_error(&x->worker->reactor, x->client, x->request, reason,
                                    detail_of(x, reason), x->id);
    }
    exchange_finish(x, reason);
}
