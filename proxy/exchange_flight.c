/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges on their way into the flight recorder. Owns nothing; must cost what goes well next to
 * nothing. Worker's thread. */
#include "proxy/exchange_flight.h"

#include <stdio.h>
#include <string.h>

#include "proxy/exchange_trace.h"
#include "proxy/net/tls.h"

static uint32_t since(const struct exchange *x, uint64_t us)
{
    return us > x->start_us ? flight_us(us - x->start_us) : 0;
}

static uint32_t since_or_never(const struct exchange *x, uint64_t us)
{
    return us != 0 ? since(x, us) : FLIGHT_NEVER;
}

uint64_t exchange_reached_us(const struct stream *u)
{
    const struct tls_info *tls = u->ops->tls(u);
    return tls != NULL ? tls->below_us : u->connected_us;
}

/* Another request's conn may have been on its way before this attempt began. */
static uint32_t reached(const struct attempt *a)
{
    const struct stream *u = a->upstream;
    uint64_t us = u != NULL ? exchange_reached_us(u) : a->reached_us;
    return since_or_never(a->exchange, us != 0 && us < a->start_us ? a->start_us : us);
}

static struct flight_leg leg_of(const struct attempt *a, enum reason reason, uint64_t now)
{
    const struct exchange *x = a->exchange;
    const struct stream *u = a->upstream;
    return (struct flight_leg){
        .span = x->recorded ? exchange_trace_span(a) : 0,
        .sent = a->drained < UINT32_MAX ? (uint32_t)a->drained : UINT32_MAX,
        .endpoint = a->endpoint,
        .start_us = since(x, a->start_us),
        .reached_us = reached(a),
        .up_us = since_or_never(x, u != NULL ? u->connected_us : a->connected_us),
        .head_us = since_or_never(x, a->head_us),
        .end_us = since(x, now),
        .reason = (uint16_t)reason,
        .status = a->status,
        .reused = u != NULL ? u->reused : a->reused,
        .also = u != NULL ? u->also : a->also,
        .hedge = a->hedge,
        .note = reason == REASON_RETRY_BUDGET,
        .tls = pool_spec_of(x->pool)->tls != NULL,
        .version = a->version,
    };
}

void exchange_leg(struct attempt *a, enum reason reason)
{
    struct exchange *x = a->exchange;
    if (reason != REASON_RETRY_BUDGET)
        a->told = true;
    if (x->n_legs < ARRAY_LEN(x->legs))
        x->legs[x->n_legs++] = leg_of(a, reason, reactor_us(&x->worker->reactor));
    else
        x->legs_lost++;
}

struct span exchange_path(const struct http_head *head, char *out, size_t size)
{
    if (head->path.ptr == NULL)
        return head->target;
    if (!head->has_query)
        return head->path;
    if (head->path.ptr + head->path.len + 1 == head->query.ptr)
        return span_of(head->path.ptr, head->path.len + 1 + head->query.len);
    size_t n = (size_t)snprintf(out, size, "%.*s?%.*s", (int)head->path.len, head->path.ptr,
                                (int)head->query.len, head->query.ptr);
    return span_of(out, n < size ? n : size - 1);
}

uint64_t exchange_queued_us(const struct exchange *x, uint64_t now)
{
    if (x->admission != NULL)
        return (x->admitted_us != 0 ? x->admitted_us : now) - x->start_us;
    return x->attempts > 0 ? x->attempt->start_us - x->start_us : 0;
}

/* What went well: is it to be looked at all the same? FLIGHT_KINDS: no. */
static enum flight_kind kind_of_done(const struct exchange *x, uint64_t now)
{
    if (x->status >= 500)
        return FLIGHT_FAILED;
    if (x->n_legs > 0 || x->hedged)
        return FLIGHT_RETRIED;
    uint64_t head = x->first_byte_us != 0 ? x->first_byte_us : now;
    return head - x->start_us >= x->snapshot->slow_us ? FLIGHT_SLOW : FLIGHT_KINDS;
}

static enum flight_kind kind_of_failed(enum reason reason)
{
    const struct reason_row *row = reason_row(reason);
    bool clients = reason == REASON_NO_ROUTE || row->side == SIDE_CLIENT ||
                   (row->side == SIDE_GONE && reason != REASON_SHUTDOWN);
    return clients ? FLIGHT_CLIENT : FLIGHT_FAILED;
}

static void add_texts(const struct exchange *x, struct flight *f)
{
    char path[1024];
    flight_set_text(f, FLIGHT_ID, x->id);
    flight_set_text(f, FLIGHT_PEER, span_of(x->peer->text, x->peer->text_len));
    flight_set_text(f, FLIGHT_LISTENER, span_str(x->listener->name));
    flight_set_text(f, FLIGHT_METHOD, x->request->method);
    flight_set_text(f, FLIGHT_HOST, x->request->authority);
    flight_set_text(f, FLIGHT_PATH, exchange_path(x->request, path, sizeof(path)));
    if (x->route != NULL)
        flight_set_text(f, FLIGHT_ROUTE, x->route->name);
    if (x->pool != NULL)
        flight_set_text(f, FLIGHT_POOL, span_str(pool_spec_of(x->pool)->name));
}

struct span exchange_leg_text(const struct exchange *x, const struct flight_leg *leg,
                              const char *mark, char out[EXCHANGE_LEG_TEXT])
{
    char other[NET_ADDR_TEXT];
    const struct endpoint_spec *endpoint = &pool_spec_of(x->pool)->endpoints[leg->endpoint];
    if (!leg->also || endpoint->addr.also == NULL)
        return span_str(endpoint->text);
    struct span also = net_addr_print(endpoint->addr.also, other);
    int n =
        snprintf(out, EXCHANGE_LEG_TEXT, "%s%s%.*s", endpoint->text, mark, (int)also.len, also.ptr);
    return span_of(out, (size_t)n);
}

static void add_leg(const struct exchange *x, struct flight *f, const struct flight_leg *leg)
{
    char text[EXCHANGE_LEG_TEXT];
    flight_add_leg(f, leg, exchange_leg_text(x, leg, FLIGHT_ALSO, text));
}

static void add_running(const struct exchange *x, struct flight *f, const struct attempt *a,
                        enum reason reason, uint64_t now)
{
    if (a->told)
        return;
    struct flight_leg leg = leg_of(a, reason, now);
    add_leg(x, f, &leg);
}

/* Those that have failed, and those that ran until now: last, the one that counts. */
static void add_legs(const struct exchange *x, struct flight *f, enum reason reason, uint64_t now)
{
    for (unsigned i = 0; i < x->n_legs; i++)
        add_leg(x, f, &x->legs[i]);
    if (x->hedged)
        add_running(x, f, &x->tries[x->attempt == &x->tries[0]], reason, now);
    if (x->attempts > 0)
        add_running(x, f, x->attempt, reason, now);
    f->legs_lost = (uint8_t)(f->legs_lost + x->legs_lost);
}

static void add_trace(const struct exchange *x, struct flight_trace *to)
{
    const struct trace *from = &x->trace;
    to->there = true;
    to->has_parent = from->has_parent;
    memcpy(to->id, trace_id_of(from).ptr, sizeof(to->id));
    memcpy(to->span, from->span, sizeof(to->span));
    if (from->has_parent)
        memcpy(to->parent, from->parent, sizeof(to->parent));
}

static void fill(const struct exchange *x, enum reason reason, enum flight_kind kind, uint64_t now,
                 struct flight *f)
{
    flight_init(f);
    f->time_us = reactor_wall_us(&x->worker->reactor, x->start_us);
    f->total_us = now - x->start_us;
    f->queue_us = exchange_queued_us(x, now);
    f->head_us = x->first_byte_us != 0 ? x->first_byte_us - x->start_us : 0;
    f->bytes_in = x->bytes_in;
    f->bytes_out = x->bytes_out;
    f->attempts = x->attempts;
    f->status = x->status;
    f->reason = (uint16_t)reason;
    f->kind = (uint8_t)kind;
    f->protocol = (uint8_t)x->request->version;
    f->queued = x->admission != NULL;
    f->whole = x->request_done;
    f->cut = x->committed && !x->response_done && reason != REASON_DONE;
    if (x->traced)
        add_trace(x, &f->trace);
    add_texts(x, f);
    add_legs(x, f, reason, now);
}

static void record(const struct exchange *x, enum reason reason, enum flight_kind kind,
                   uint64_t now)
{
    struct flight f;
    fill(x, reason, kind, now, &f);
    if (kind != FLIGHT_KINDS)
        flight_ring_put(x->worker->flights, &f);
    if (x->recorded)
        exchange_trace_tell(x, &f);
}

void exchange_fly(const struct exchange *x, enum reason reason, uint64_t now)
{
    enum flight_kind kind = FLIGHT_KINDS;
    if (x->worker->flights != NULL)
        kind = reason == REASON_DONE ? kind_of_done(x, now) : kind_of_failed(reason);
    if (kind != FLIGHT_KINDS || x->recorded)
        record(x, reason, kind, now);
}
