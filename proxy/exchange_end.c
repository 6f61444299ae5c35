/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an exchange and each of its attempts end. Owns what is on its way out; must never begin
 * anything. Worker's thread; called by exchange.c and exchange_attempt.c.
 */
#include "proxy/exchange_end.h"

#include "proxy/base/check.h"
#include "proxy/exchange_log.h"
#include "proxy/http/grpc.h"
#include "proxy/outlier_watch.h"
#include "proxy/reply.h"

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

void attempt_spoke(struct exchange *x)
{
    uint64_t now = reactor_us(&x->worker->reactor);
    if (lb_answered(&x->lease, outcome_of_status(x->rated), now))
        outlier_tell(pool_spec_of(x->pool), x->endpoint, now);
}

void attempt_whole(struct exchange *x, const struct http_head *trailers)
{
    unsigned code;
    if (!x->status_follows || trailers == NULL || !grpc_status(trailers, &code))
        return;
    x->rated = (uint16_t)grpc_http_status(code);
    x->status_follows = false;
}

void attempt_answered(struct exchange *x, const struct http_head *head)
{
    x->rated = head->status;
    x->status_follows = head->status == 200 && grpc_is_call(x->request);
    attempt_whole(x, head); /* if it is all that there is */
    if (!x->status_follows)
        attempt_spoke(x);
}

void attempt_end(struct exchange *x, enum reason reason)
{
    if (lb_lease_started(&x->lease)) {
        uint64_t now = reactor_us(&x->worker->reactor);
        enum lb_outcome outcome = outcome_of(reason);
        if (outcome == LB_OK)
            outcome = outcome_of_status(x->rated);
        if (reason == REASON_REQUEST_TIMEOUT && (!x->request_done || x->committed))
            outcome = LB_CANCELLED; /* the client may be what is slow */
        uint64_t head = x->first_byte_us >= x->attempt_us ? x->first_byte_us : now;
        if (lb_finished(&x->lease, outcome, head - x->attempt_us, now))
            outlier_tell(pool_spec_of(x->pool), x->endpoint, now);
    }
    pool_cancel(&x->wish);
    struct stream *upstream = TAKE(x->upstream);
    if (upstream != NULL)
        upstream->ops->release(upstream, reason);
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
    x->client->opaque = x->upstream != NULL && x->upstream->splices;
}

static void exchange_bury(struct grave *grave)
{
    struct exchange *x = CONTAINER_OF(grave, exchange, grave);
    CHECK(x->client == NULL && x->upstream == NULL && !lb_lease_started(&x->lease));
    x->magic = 0;
    reactor_free(&x->worker->reactor, SLAB_EXCHANGE, x);
}

void exchange_finish(struct exchange *x, enum reason reason)
{
    struct worker *w = x->worker;
    CHECK(!x->finished);
    x->finished = true;
    attempt_end(x, reason);
    attempt_forget(x);
    exchange_tell(x, reason); /* the request's head is still there */
    struct stream *client = TAKE(x->client);
    client->ops->release(client, reason);
    block_drop(TAKE(x->scratch));
    wheel_remove(&w->reactor.wheel, &x->timer);
    list_unlink(&x->ready.link);
    counter_dec(&w->stats.in_flight);
    snapshot_unref(x->snapshot);
    x->grave.bury = exchange_bury;
    reactor_bury(&w->reactor, &x->grave);
}

void exchange_fail(struct exchange *x, enum reason reason)
{
    const struct reason_row *row = reason_row(reason);
    attempt_end(x, reason);
    if (!x->committed && row->status != 0 && row->side != SIDE_GONE) {
        x->status = (uint16_t)reply_status(x->request, reason);
        x->bytes_out += reply_error(&x->worker->reactor, x->client, x->request, reason, x->id);
    }
    exchange_finish(x, reason);
}
