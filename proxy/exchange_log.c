/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of an exchange: counters and the access log. Owns nothing; worker's thread. */
#include "proxy/exchange_log.h"

#include <stdio.h>

/* Its name; of an answer that is not passed on: what it was. */
static const char *trail_name(const struct attempt *a, enum reason reason, char text[16])
{
    if (reason != REASON_UPSTREAM_STATUS)
        return reason_row(reason)->name;
    snprintf(text, 16, "status_%u", a->status);
    return text;
}

void exchange_trail(struct attempt *a, enum reason reason)
{
    struct exchange *x = a->exchange;
    const struct pool_spec *spec = pool_spec_of(x->pool);
    size_t room = TRAIL_BYTES - x->trail_len;
    char name[16];
    int n = snprintf(x->trail + x->trail_len, room, "%s%s %s", x->trail_len > 0 ? "\n" : "",
                     trail_name(a, reason, name), spec->endpoints[a->endpoint].text);
    if (n > 0 && (size_t)n < room) /* an entry is whole or left out */
        x->trail_len = (uint16_t)(x->trail_len + n);
}

/* The row of route and pool. */
static struct row_stats *row_of(const struct exchange *x)
{
    struct row_stats *rows = x->worker->stats.rows;
    if (x->route == NULL)
        return &rows[0];
    uint32_t row = x->snapshot->routes[x->route->index].row;
    for (uint32_t i = 0; x->pool_index >= 0 && i < x->route->n_targets; i++)
        if (x->route->targets[i].pool == x->pool_index)
            return &rows[row + 1 + i];
    return &rows[row];
}

/* Path and query as one text: as they stand in the head if they are still side by side. */
static struct span path_of(const struct http_head *head, char *out, size_t size)
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

static struct span field_of(struct http_head *head, enum field_id id)
{
    const struct http_field *f = http_head_find(head, id);
    return f != NULL ? field_value(f) : span_of(NULL, 0);
}

static uint64_t connect_us(const struct exchange *x)
{
    uint64_t began = x->attempt->start_us;
    return !x->reused && x->connected_us > began ? x->connected_us - began : 0;
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
    char path[1024];
    struct access_record record = {
        .time_us = reactor_wall_us(&w->reactor, x->start_us),
        .id = x->id,
        .client = span_of(x->peer->text, x->peer->text_len),
        .listener = span_str(x->listener->name),
        .method = head->method,
        .host = head->authority,
        .path = path_of(head, path, sizeof(path)),
        .protocol = protocol_of(head),
        .route = x->route != NULL ? x->route->name : span_of(NULL, 0),
        .reason = reason == REASON_DONE ? span_of(NULL, 0) : span_str(reason_row(reason)->name),
        .trail = span_of(x->trail, x->trail_len),
        .referer = field_of(head, FIELD_REFERER),
        .user_agent = field_of(head, FIELD_USER_AGENT),
        .attempts = x->attempts,
        .status = x->status,
        .bytes_in = x->bytes_in,
        .bytes_out = x->bytes_out,
        .connect_us = connect_us(x),
        .first_byte_us = x->first_byte_us > x->start_us ? x->first_byte_us - x->start_us : 0,
        .total_us = now - x->start_us,
    };
    if (x->pool != NULL) {
        const struct pool_spec *spec = pool_spec_of(x->pool);
        record.pool = span_str(spec->name);
        if (x->attempts > 0) {
            record.endpoint = span_str(spec->endpoints[x->attempt->endpoint].text);
            record.queue_us = x->attempt->start_us - x->start_us;
        }
    }
    access_log_write(w->shared->log, w->index, &record);
}

void exchange_tell(struct exchange *x, enum reason reason)
{
    struct worker_stats *stats = &x->worker->stats;
    uint64_t now = reactor_us(&x->worker->reactor);
    unsigned class = x->status >= 100 && x->status < 600 ? x->status / 100u : 5;
    counter_inc(&row_of(x)->classes[class - 1]);
    counter_inc(&stats->protocols[x->request->version == 20 ? 2 : x->request->version != 10]);
    hist_add(&stats->durations[x->route != NULL ? x->route->index
                                                : route_table_count(x->snapshot->table)],
             now - x->start_us);
    if (reason != REASON_DONE)
        counter_inc(&stats->reasons[reason]);
    if (x->worker->shared->log != NULL)
        write_line(x, reason, now);
}
