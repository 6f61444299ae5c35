/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes in: requests by listener, route, pool and protocol, how long they take, connections,
 * and how it all ends. Writes no counter. Control thread.
 */
#include "proxy/metrics/families.h"

#include "proxy/base/check.h"

static void row_lines(struct text *t, const struct admin_view *v, size_t row, const char *route,
                      const char *pool)
{
    for (unsigned class = 0; class < 5; class ++) {
        uint64_t n = SUM_LATEST(v, rows[row]->classes[class]);
        if (n > 0)
            text_line(t,
                      "weir_requests_total{route=\"%s\",pool=\"%s\",status=\"%uxx\"} %" PRIu64 "\n",
                      route, pool, class + 1, n);
    }
}

static void requests(struct text *t, const struct admin_view *v)
{
    const struct snapshot *snap = v->snapshot;
    char route[512], pool[512];
    text_head(t, "weir_requests_total", "counter",
              "Requests answered, by route, pool and status class.");
    row_lines(t, v, 0, "", "");
    for (size_t i = 0; i < route_table_count(snap->table); i++) {
        const struct route *r = route_table_at(snap->table, i);
        uint32_t row = snap->routes[i].row;
        text_label(r->name, route);
        row_lines(t, v, row, route, "");
        for (uint32_t j = 0; j < r->n_targets; j++)
            row_lines(t, v, row + 1 + j, route,
                      r->targets[j].pool >= 0
                          ? text_label(span_str(snap->pools[r->targets[j].pool]->name), pool)
                          : "");
    }
}

static void listeners(struct text *t, const struct admin_view *v)
{
    const struct snapshot *snap = v->snapshot;
    char name[TEXT_LABEL];
    text_head(t, "weir_listener_requests_total", "counter",
              "Requests answered, by listener and status class.");
    for (size_t i = 0; i < snap->n_listeners; i++)
        for (unsigned class = 0; class < 5; class ++) {
            uint64_t n = SUM_LATEST(v, listeners[i].at->classes[class]);
            if (n > 0)
                text_line(t,
                          "weir_listener_requests_total{listener=\"%s\",status=\"%uxx\"} %" PRIu64
                          "\n",
                          text_label(span_str(snap->listeners[i]->name), name), class + 1, n);
        }
    text_head(t, "weir_listener_connections", "gauge", "Client connections, by listener.");
    for (size_t i = 0; i < snap->n_listeners; i++)
        text_line(t, "weir_listener_connections{listener=\"%s\"} %" PRIu64 "\n",
                  text_label(span_str(snap->listeners[i]->name), name),
                  SUM_LATEST(v, listeners[i].at->conns));
}

static void protocols(struct text *t, const struct admin_view *v)
{
    static const char *const names[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"};
    text_head(t, "weir_requests_by_protocol_total", "counter",
              "Requests answered, by what the client speaks.");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        text_line(t, "weir_requests_by_protocol_total{protocol=\"%s\"} %" PRIu64 "\n", names[i],
                  SUM(v, protocols[i]));
}

static void duration(struct text *t, const struct admin_view *v, size_t index, const char *route)
{
    static const uint32_t bounds[HIST_BUCKETS - 1] = HIST_BOUNDS;
    uint64_t count = 0, buckets[HIST_BUCKETS];
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        count += buckets[b] = SUM_LATEST(v, durations[index]->buckets[b]);
    if (count == 0)
        return;
    uint64_t so_far = 0;
    for (unsigned b = 0; b < HIST_BUCKETS - 1; b++)
        text_line(t, "weir_request_duration_seconds_bucket{route=\"%s\",le=\"%g\"} %" PRIu64 "\n",
                  route, bounds[b] / 1e6, so_far += buckets[b]);
    text_line(t, "weir_request_duration_seconds_bucket{route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n",
              route, count);
    text_line(t, "weir_request_duration_seconds_sum{route=\"%s\"} %.6f\n", route,
              (double)SUM_LATEST(v, durations[index]->sum_us) / 1e6);
    text_line(t, "weir_request_duration_seconds_count{route=\"%s\"} %" PRIu64 "\n", route, count);
}

static void durations(struct text *t, const struct admin_view *v)
{
    size_t n = route_table_count(v->snapshot->table);
    char route[512];
    text_head(t, "weir_request_duration_seconds", "histogram",
              "From the end of the request's head to the end of the exchange.");
    for (size_t i = 0; i < n; i++)
        duration(t, v, i, text_label(route_table_at(v->snapshot->table, i)->name, route));
    duration(t, v, n, "");
}

static void connections(struct text *t, const struct admin_view *v)
{
    text_single(t, "weir_requests_in_flight", "gauge", "Requests being answered.",
                SUM(v, in_flight));
    text_single(t, "weir_client_connections", "gauge", "Client connections.", SUM(v, conns));
    text_single(t, "weir_client_connections_total", "counter", "Client connections accepted.",
                SUM(v, conns_total));
    text_single(t, "weir_client_connections_limit", "gauge",
                "So many are served at once: limits.connections, or fewer for want of descriptors.",
                conn_budget_max(v->workers[0].shared->budget));
    text_single(t, "weir_accept_paused_total", "counter",
                "Times that accepting paused for want of descriptors or connections.",
                SUM(v, accept_paused));
}

static void errors(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_errors_total", "counter",
              "Exchanges and connections that ended for a reason.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side != SIDE_NONE)
            text_line(t, "weir_errors_total{reason=\"%s\"} %" PRIu64 "\n",
                      reason_row((enum reason)i)->name, SUM(v, reasons[i]));
    text_head(t, "weir_upstream_idle_ended_total", "counter",
              "Idle upstream connections that ended.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side == SIDE_NONE)
            text_line(t, "weir_upstream_idle_ended_total{reason=\"%s\"} %" PRIu64 "\n",
                      reason_row((enum reason)i)->name, SUM(v, reasons[i]));
    text_head(t, "weir_attempts_failed_total", "counter",
              "Attempts at an endpoint that failed, retried or not.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side == SIDE_UPSTREAM)
            text_line(t, "weir_attempts_failed_total{reason=\"%s\"} %" PRIu64 "\n",
                      reason_row((enum reason)i)->name, SUM(v, attempts[i]));
}

void metrics_traffic(struct text *t, const struct admin_view *v)
{
    requests(t, v);
    listeners(t, v);
    protocols(t, v);
    durations(t, v);
    connections(t, v);
    errors(t, v);
}
