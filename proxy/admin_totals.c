/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over workers. Owns nothing; writes no counter. Control thread. */
#include "proxy/admin_totals.h"

#include <string.h>

static void add_row(const struct admin_view *v, size_t row, struct request_totals *out)
{
    for (unsigned w = 0; w < v->n_workers; w++)
        for (unsigned c = 0; c < STATUS_CLASSES; c++)
            out->classes[c] += counter_get(&v->workers[w].latest->rows[row]->classes[c]);
}

static void add_latency(const struct admin_view *v, size_t route, struct request_totals *out)
{
    for (unsigned w = 0; w < v->n_workers; w++)
        for (unsigned b = 0; b < HIST_BUCKETS; b++)
            out->latency[b] += counter_get(&v->workers[w].latest->durations[route]->buckets[b]);
}

static void add_route(const struct admin_view *v, size_t route, struct request_totals *out)
{
    const struct snapshot *snap = v->snapshot;
    add_latency(v, route, out);
    if (route == route_table_count(snap->table)) {
        add_row(v, 0, out);
        return;
    }
    uint32_t n = 1 + route_table_at(snap->table, route)->n_targets;
    for (uint32_t i = 0; i < n; i++)
        add_row(v, snap->routes[route].row + i, out);
}

void totals_of_route(const struct admin_view *view, size_t route, struct request_totals *out)
{
    memset(out, 0, sizeof(*out));
    add_route(view, route, out);
}

void totals_of_all(const struct admin_view *view, struct request_totals *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i <= route_table_count(view->snapshot->table); i++)
        add_route(view, i, out);
}

uint64_t totals_of_stat(const struct admin_view *view, size_t offset)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < view->n_workers; w++) {
        const char *stats = (const char *)&view->workers[w].stats;
        n += counter_get((const struct counter *)(const void *)(stats + offset));
    }
    return n;
}

uint64_t totals_upstream_conns(const struct admin_view *view)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < view->n_workers; w++)
        for (size_t i = 0; i < view->snapshot->n_pools; i++)
            n += counter_get(&view->workers[w].latest->pool_stats[i]->conns);
    return n;
}

static void write_numbers(struct json *j, const char *key, const uint64_t *numbers, unsigned n)
{
    json_key(j, key);
    json_array_begin(j);
    for (unsigned i = 0; i < n; i++)
        json_u64(j, numbers[i]);
    json_array_end(j);
}

void request_totals_write(struct json *j, const struct request_totals *t)
{
    write_numbers(j, "classes", t->classes, STATUS_CLASSES);
    write_numbers(j, "latency", t->latency, HIST_BUCKETS);
}

double latency_quantile_ms(const uint64_t latency[HIST_BUCKETS], double part)
{
    static const uint32_t bounds[HIST_BUCKETS - 1] = HIST_BOUNDS;
    uint64_t total = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        total += latency[i];
    double left = part * (double)total;
    for (unsigned i = 0; i < HIST_BUCKETS - 1 && total > 0; i++) {
        double from = i > 0 ? bounds[i - 1] : 0, n = (double)latency[i];
        if (left <= n)
            return (from + (bounds[i] - from) * (n > 0 ? left / n : 0)) / 1000;
        left -= n;
    }
    return total > 0 ? bounds[HIST_BUCKETS - 2] / 1000.0 : -1;
}
