/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out: pools, their limits, connections and retries. Writes no counter. Control thread.
 */
#include "proxy/metrics/families.h"

#include "balancer/gate.h"
#include "proxy/base/check.h"

enum pool_counter { POOL_OPENED, POOL_REUSED, POOL_RETRIES, POOL_DENIED };

static void pool_lines(struct text *t, const struct admin_view *v, const char *name,
                       const char *help, enum pool_counter which)
{
    char pool[512];
    text_head(t, name, "counter", help);
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        uint64_t n = which == POOL_OPENED    ? SUM_LATEST(v, pool_stats[i]->opened)
                     : which == POOL_REUSED  ? SUM_LATEST(v, pool_stats[i]->reused)
                     : which == POOL_RETRIES ? SUM_LATEST(v, pool_stats[i]->retries)
                                             : SUM_LATEST(v, pool_stats[i]->denied);
        text_line(t, "%s{pool=\"%s\"} %" PRIu64 "\n", name,
                  text_label(span_str(v->snapshot->pools[i]->name), pool), n);
    }
}

static void budgets(struct text *t, const struct snapshot *snap)
{
    char pool[TEXT_LABEL];
    text_head(
        t, "weir_retry_budget_left", "gauge",
        "Retries that a pool's budget allows right now; pools without a budget are not here.");
    for (size_t i = 0; i < snap->n_pools; i++)
        if (snap->pools[i]->budget != NULL)
            text_line(t, "weir_retry_budget_left{pool=\"%s\"} %" PRIu64 "\n",
                      text_label(span_str(snap->pools[i]->name), pool),
                      lb_budget_left(snap->pools[i]->budget, uv_hrtime() / 1000));
}

static void hedges(struct text *t, const struct admin_view *v)
{
    char pool[512];
    text_head(t, "weir_hedges_total", "counter",
              "Second endpoints that were asked beside the first, by whose answer came first.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        text_label(span_str(v->snapshot->pools[i]->name), pool);
        text_line(t, "weir_hedges_total{pool=\"%s\",result=\"won\"} %" PRIu64 "\n", pool,
                  SUM_LATEST(v, pool_stats[i]->hedges_won));
        text_line(t, "weir_hedges_total{pool=\"%s\",result=\"lost\"} %" PRIu64 "\n", pool,
                  SUM_LATEST(v, pool_stats[i]->hedges_lost));
    }
}

static void connections(struct text *t, const struct admin_view *v)
{
    uint64_t conns = 0;
    for (size_t i = 0; i < v->snapshot->n_pools; i++)
        conns += SUM_LATEST(v, pool_stats[i]->conns);
    text_single(t, "weir_upstream_connections", "gauge", "Upstream connections, idle or busy.",
                conns);
    pool_lines(t, v, "weir_upstream_connections_total", "Upstream connections opened.",
               POOL_OPENED);
    pool_lines(t, v, "weir_upstream_reused_total",
               "Requests sent on a connection that had served before.", POOL_REUSED);
    pool_lines(t, v, "weir_retries_total", "Further attempts after one that failed.", POOL_RETRIES);
    pool_lines(t, v, "weir_retries_denied_total",
               "Further attempts that the pool's retry budget did not allow.", POOL_DENIED);
    budgets(t, v->snapshot);
    hedges(t, v);
}

/* ---- limits ---- */

static uint32_t limit_of(const struct lb_gate_counts *counts)
{
    return counts->limit;
}

static uint32_t pool_in_flight(const struct lb_gate_counts *counts)
{
    return counts->in_flight;
}

static uint32_t queued_of(const struct lb_gate_counts *counts)
{
    return counts->queued;
}

static void gate_lines(struct text *t, const struct snapshot *snap, const char *name,
                       const char *help, uint32_t (*value)(const struct lb_gate_counts *))
{
    char pool[512];
    text_head(t, name, "gauge", help);
    for (size_t i = 0; i < snap->n_pools; i++) {
        if (snap->pools[i]->limits.gate == NULL)
            continue;
        struct lb_gate_counts counts = lb_gate_counts(snap->pools[i]->limits.gate);
        text_line(t, "%s{pool=\"%s\"} %u\n", name, text_label(span_str(snap->pools[i]->name), pool),
                  value(&counts));
    }
}

static void limits(struct text *t, const struct snapshot *snap)
{
    gate_lines(t, snap, "weir_pool_limit",
               "Requests that a pool with a limit takes at once, as of now.", limit_of);
    gate_lines(t, snap, "weir_pool_requests_in_flight", "Requests that such a pool is serving.",
               pool_in_flight);
    gate_lines(t, snap, "weir_pool_queued", "Requests that wait for such a pool.", queued_of);
}

/* ---- TLS ---- */

static void upstream_handshakes(struct text *t, const struct admin_view *v)
{
    char pool[512];
    text_head(t, "weir_upstream_tls_handshakes_total", "counter",
              "TLS handshakes with endpoints, by result.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        if (v->snapshot->pools[i]->tls == NULL)
            continue;
        text_label(span_str(v->snapshot->pools[i]->name), pool);
        for (unsigned version = 0; version < 2; version++)
            for (unsigned resumed = 0; resumed < 2; resumed++)
                text_line(t,
                          "weir_upstream_tls_handshakes_total{pool=\"%s\",result=\"%s\","
                          "version=\"1.%u\"} %" PRIu64 "\n",
                          pool, resumed ? "resumed" : "full", version + 2,
                          SUM_LATEST(v, pool_stats[i]->tls.done[version][resumed]));
        text_line(t,
                  "weir_upstream_tls_handshakes_total{pool=\"%s\",result=\"failed\",version=\"\"} "
                  "%" PRIu64 "\n",
                  pool, SUM_LATEST(v, pool_stats[i]->tls.failed));
    }
}

void metrics_pools(struct text *t, const struct admin_view *v)
{
    connections(t, v);
    limits(t, v->snapshot);
    upstream_handshakes(t, v);
}
