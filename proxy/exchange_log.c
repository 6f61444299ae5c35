/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of an exchange: counters and the access log. Owns nothing; worker's thread. */
#include "proxy/exchange_log.h"

#include <stdio.h>

#include "proxy/exchange_flight.h"

#define TRAIL_BYTES 256

/* Why it failed; of an answer that is not passed on: what it was. */
static const char *leg_name(const struct flight_leg *leg, char text[16])
{
    if (leg->reason != REASON_UPSTREAM_STATUS)
        return reason_row((enum reason)leg->reason)->name;
    snprintf(text, 16, "status_%u", leg->status);
    return text;
}

/* An entry is whole or left out. */
static struct span trail_of(const struct exchange *x, char out[TRAIL_BYTES])
{
    size_t len = 0;
    char name[16], text[EXCHANGE_LEG_TEXT];
    for (unsigned i = 0; i < x->n_legs; i++) {
        const struct flight_leg *leg = &x->legs[i];
        size_t room = TRAIL_BYTES - len;
        struct span at = exchange_leg_text(x, leg, " by ", text);
        int n = snprintf(out + len, room, "%s%s %.*s", len > 0 ? "\n" : "", leg_name(leg, name),
                         (int)at.len, at.ptr);
        if (n > 0 && (size_t)n < room)
            len += (size_t)n;
    }
    return span_of(out, len);
}

/* The row of route and pool. */
static struct row_stats *row_of(const struct exchange *x)
{
    struct row_stats **rows = x->view->rows;
    if (x->route == NULL)
        return rows[0];
    uint32_t row = x->snapshot->routes[x->route->index].row;
    for (uint32_t i = 0; x->pool_index >= 0 && i < x->route->n_targets; i++)
        if (x->route->targets[i].pool == x->pool_index)
            return rows[row + 1 + i];
    return rows[row];
}

static struct worker_listener *listener_of(const struct exchange *x)
{
    return (struct worker_listener *)(uintptr_t)x->peer->listener;
}

static struct span field_of(struct http_head *head, enum field_id id)
{
    const struct http_field *f = http_head_find(head, id);
    return f != NULL ? field_value(f) : span_of(NULL, 0);
}

static uint64_t connect_us(const struct attempt *a)
{
    return a->connected_us > a->start_us ? a->connected_us - a->start_us : 0;
}

static struct span protocol_of(const struct http_head *head)
{
    if (head->version == 20)
        return SPAN_LIT("HTTP/2.0");
    return head->version == 10 ? SPAN_LIT("HTTP/1.0") : SPAN_LIT("HTTP/1.1");
}

static void write_line(struct exchange *x, enum reason reason, uint64_t now)
{
    struct worker *w = x->worker;
    struct http_head *head = x->request;
    char path[1024], trail[TRAIL_BYTES];
    struct access_record record = {
        .time_us = reactor_wall_us(&w->reactor, x->start_us),
        .id = x->id,
        .client = span_of(x->peer->text, x->peer->text_len),
        .listener = span_str(x->listener->name),
        .method = head->method,
        .host = head->authority,
        .path = exchange_path(head, path, sizeof(path)),
        .protocol = protocol_of(head),
        .route = x->route != NULL ? x->route->name : span_of(NULL, 0),
        .reason = reason == REASON_DONE ? span_of(NULL, 0) : span_str(reason_row(reason)->name),
        .trail = trail_of(x, trail),
        .referer = field_of(head, FIELD_REFERER),
        .user_agent = field_of(head, FIELD_USER_AGENT),
        .attempts = x->attempts,
        .status = x->status,
        .bytes_in = x->bytes_in,
        .bytes_out = x->bytes_out,
        .connect_us = connect_us(x->attempt),
        .first_byte_us = x->first_byte_us > x->start_us ? x->first_byte_us - x->start_us : 0,
        .total_us = now - x->start_us,
    };
    if (x->traced) {
        record.trace_id = trace_id_of(&x->trace);
        record.span_id = trace_span_of(&x->trace);
        if (x->trace.has_parent)
            record.parent_id = span_of(x->trace.parent, SPAN_ID);
    }
    if (x->pool != NULL) {
        const struct pool_spec *spec = pool_spec_of(x->pool);
        record.pool = span_str(spec->name);
        if (x->attempts > 0) {
            record.endpoint = span_str(spec->endpoints[x->attempt->endpoint].text);
        }
        record.queue_us = exchange_queued_us(x, now);
    }
    access_log_write(w->shared->log, w->index, &record);
}

/* What went well is sampled; what did not, or not at once, is always told. */
static bool wants_line(const struct exchange *x, enum reason reason)
{
    return reason != REASON_DONE || x->status >= 500 || x->n_legs > 0 ||
           access_log_samples(x->worker->shared->log, x->id);
}

/* A client that has gone says nothing of the configuration that it met. */
static void tell_trial(const struct exchange *x, uint64_t now)
{
    struct trial_stats *trial = x->view->trial;
    if (trial == NULL || x->start_us < trial->since_us || x->status < 100 || x->status == 499)
        return;
    uint64_t end = x->first_byte_us > x->start_us ? x->first_byte_us : now;
    trial_count(trial, x->status, end - x->start_us);
}

void exchange_tell(struct exchange *x, enum reason reason)
{
    struct worker_stats *stats = &x->worker->stats;
    uint64_t now = reactor_us(&x->worker->reactor);
    unsigned class = x->status >= 100 && x->status < 600 ? x->status / 100u : 5;
    counter_inc(&row_of(x)->classes[class - 1]);
    counter_inc(&listener_of(x)->classes[class - 1]);
    counter_inc(&stats->protocols[x->request->version == 20 ? 2 : x->request->version != 10]);
    hist_add(x->view->durations[x->route != NULL ? x->route->index
                                                 : route_table_count(x->snapshot->table)],
             now - x->start_us);
    if (reason != REASON_DONE)
        counter_inc(&stats->reasons[reason]);
    tell_trial(x, now);
    exchange_fly(x, reason, now); /* first: who has read the line finds the record */
    if (x->worker->shared->log != NULL && wants_line(x, reason))
        write_line(x, reason, now);
}
