/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics text. Reads the workers' shards without stopping them, so that counters may be of
 * slightly different moments. The label sets are closed: routes, pools, reasons; no label comes
 * from a request. Control thread.
 */
#include "proxy/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/state.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define LINE_MAX_BYTES 4096

struct text {
    struct buf_pool *pool;
    struct chain *out;
    struct block *block;
};

/* Appends one line, which must not be longer than LINE_MAX_BYTES. */
__attribute__((format(printf, 2, 3))) static void line(struct text *t, const char *format, ...)
{
    if (t->block == NULL || block_room(t->block) < LINE_MAX_BYTES) {
        block_drop(t->block);
        t->block = block_get(t->pool, false);
    }
    char *at = t->block->data + t->block->used;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(at, LINE_MAX_BYTES, format, args);
    va_end(args);
    CHECK(n >= 0);
    size_t len = n < LINE_MAX_BYTES ? (size_t)n : LINE_MAX_BYTES - 1;
    chain_append(t->out, t->block, at, len);
    t->block->used += (uint32_t)len;
}

/* A label value: backslash, quote and line feed escaped. */
static const char *label(struct span value, char out[512])
{
    size_t n = 0;
    for (size_t i = 0; i < value.len && n < 508; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"' || c == '\n')
            out[n++] = '\\';
        out[n++] = c == '\n' ? 'n' : c;
    }
    out[n] = '\0';
    return out;
}

#define SUM(view, member)                                           \
    __extension__({                                                 \
        uint64_t sum_ = 0;                                          \
        for (unsigned w_ = 0; w_ < (view)->n_workers; w_++)         \
            sum_ += counter_get(&(view)->workers[w_].stats.member); \
        sum_;                                                       \
    })

static void head(struct text *t, const char *name, const char *type, const char *help)
{
    line(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(struct text *t, const char *name, const char *type, const char *help, uint64_t n)
{
    head(t, name, type, help);
    line(t, "%s %" PRIu64 "\n", name, n);
}

static void row_lines(struct text *t, const struct admin_view *v, size_t row, const char *route,
                      const char *pool)
{
    for (unsigned class = 0; class < 5; class ++) {
        uint64_t n = SUM(v, rows[row].classes[class]);
        if (n > 0)
            line(t, "weir_requests_total{route=\"%s\",pool=\"%s\",status=\"%uxx\"} %" PRIu64 "\n",
                 route, pool, class + 1, n);
    }
}

static void requests(struct text *t, const struct admin_view *v)
{
    const struct snapshot *snap = v->snapshot;
    char route[512], pool[512];
    head(t, "weir_requests_total", "counter",
         "Requests answered, by route, pool and status class.");
    row_lines(t, v, 0, "", "");
    for (size_t i = 0; i < route_table_count(snap->table); i++) {
        const struct route *r = route_table_at(snap->table, i);
        uint32_t row = snap->routes[i].row;
        label(r->name, route);
        row_lines(t, v, row, route, "");
        for (uint32_t j = 0; j < r->n_targets; j++)
            row_lines(t, v, row + 1 + j, route,
                      r->targets[j].pool >= 0
                          ? label(span_str(snap->pools[r->targets[j].pool].name), pool)
                          : "");
    }
}

static void protocols(struct text *t, const struct admin_view *v)
{
    static const char *const names[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"};
    head(t, "weir_requests_by_protocol_total", "counter",
         "Requests answered, by what the client speaks.");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        line(t, "weir_requests_by_protocol_total{protocol=\"%s\"} %" PRIu64 "\n", names[i],
             SUM(v, protocols[i]));
}

static void duration(struct text *t, const struct admin_view *v, size_t index, const char *route)
{
    static const uint32_t bounds[HIST_BUCKETS - 1] = HIST_BOUNDS;
    uint64_t count = 0, buckets[HIST_BUCKETS];
    for (unsigned b = 0; b < HIST_BUCKETS; b++)
        count += buckets[b] = SUM(v, durations[index].buckets[b]);
    if (count == 0)
        return;
    uint64_t so_far = 0;
    for (unsigned b = 0; b < HIST_BUCKETS - 1; b++)
        line(t, "weir_request_duration_seconds_bucket{route=\"%s\",le=\"%g\"} %" PRIu64 "\n", route,
             bounds[b] / 1e6, so_far += buckets[b]);
    line(t, "weir_request_duration_seconds_bucket{route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", route,
         count);
    line(t, "weir_request_duration_seconds_sum{route=\"%s\"} %.6f\n", route,
         (double)SUM(v, durations[index].sum_us) / 1e6);
    line(t, "weir_request_duration_seconds_count{route=\"%s\"} %" PRIu64 "\n", route, count);
}

static void durations(struct text *t, const struct admin_view *v)
{
    size_t n = route_table_count(v->snapshot->table);
    char route[512];
    head(t, "weir_request_duration_seconds", "histogram",
         "From the end of the request's head to the end of the exchange.");
    for (size_t i = 0; i < n; i++)
        duration(t, v, i, label(route_table_at(v->snapshot->table, i)->name, route));
    duration(t, v, n, "");
}

enum pool_counter { POOL_OPENED, POOL_REUSED, POOL_RETRIES, POOL_DENIED };

static void pool_lines(struct text *t, const struct admin_view *v, const char *name,
                       const char *help, enum pool_counter which)
{
    char pool[512];
    head(t, name, "counter", help);
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        uint64_t n = which == POOL_OPENED    ? SUM(v, pools[i].opened)
                     : which == POOL_REUSED  ? SUM(v, pools[i].reused)
                     : which == POOL_RETRIES ? SUM(v, pools[i].retries)
                                             : SUM(v, pools[i].denied);
        line(t, "%s{pool=\"%s\"} %" PRIu64 "\n", name,
             label(span_str(v->snapshot->pools[i].name), pool), n);
    }
}

static void hedges(struct text *t, const struct admin_view *v)
{
    char pool[512];
    head(t, "weir_hedges_total", "counter",
         "Second endpoints that were asked beside the first, by whose answer came first.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        label(span_str(v->snapshot->pools[i].name), pool);
        line(t, "weir_hedges_total{pool=\"%s\",result=\"won\"} %" PRIu64 "\n", pool,
             SUM(v, pools[i].hedges_won));
        line(t, "weir_hedges_total{pool=\"%s\",result=\"lost\"} %" PRIu64 "\n", pool,
             SUM(v, pools[i].hedges_lost));
    }
}

static void pools(struct text *t, const struct admin_view *v)
{
    uint64_t conns = 0;
    for (size_t i = 0; i < v->snapshot->n_pools; i++)
        conns += SUM(v, pools[i].conns);
    single(t, "weir_upstream_connections", "gauge", "Upstream connections, idle or busy.", conns);
    pool_lines(t, v, "weir_upstream_connections_total", "Upstream connections opened.",
               POOL_OPENED);
    pool_lines(t, v, "weir_upstream_reused_total",
               "Requests sent on a connection that had served before.", POOL_REUSED);
    pool_lines(t, v, "weir_retries_total", "Further attempts after one that failed.", POOL_RETRIES);
    pool_lines(t, v, "weir_retries_denied_total",
               "Further attempts that the pool's retry budget did not allow.", POOL_DENIED);
    hedges(t, v);
}

/* ---- endpoints ---- */

/* Of all pools, one after the other: what a family of metrics shows may be of no other moment. */
struct standing {
    struct lb_state *states;
    struct lb_shares *pools;
};

static struct standing standing_of(struct mem_fund *fund, const struct snapshot *snap)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < snap->n_pools; i++)
        n += snap->pools[i].n_endpoints;
    struct standing s = {mem_need(mem_alloc(fund, n * sizeof(s.states[0]))),
                         mem_need(mem_alloc(fund, snap->n_pools * sizeof(s.pools[0])))};
    uint32_t *weights = mem_need(mem_alloc(fund, n * sizeof(weights[0])));
    for (size_t i = 0; i < snap->n_pools; i++) {
        lb_states(snap->pools[i].balance, uv_hrtime() / 1000, s.states + at, weights, &s.pools[i]);
        at += snap->pools[i].n_endpoints;
    }
    free(weights);
    return s;
}

typedef void endpoint_lines_fn(struct text *t, const struct lb_state *s, const char *labels);

/* What names an endpoint: an address that is there more than once has a number, too. */
static const char *endpoint_labels(const struct pool_spec *spec, uint32_t i, char out[1100])
{
    char pool[512], endpoint[512], twin[16] = "";
    const struct endpoint_spec *ep = &spec->endpoints[i];
    if (ep->twin > 0)
        snprintf(twin, sizeof(twin), "#%u", ep->twin + 1);
    snprintf(out, 1100, "pool=\"%s\",endpoint=\"%s%s\"", label(span_str(spec->name), pool),
             label(span_str(ep->text), endpoint), twin);
    return out;
}

static void each_endpoint(struct text *t, const struct snapshot *snap, const struct lb_state *s,
                          endpoint_lines_fn *lines)
{
    char labels[1100];
    for (size_t i = 0; i < snap->n_pools; i++)
        for (uint32_t k = 0; k < snap->pools[i].n_endpoints; k++, s++)
            lines(t, s, endpoint_labels(&snap->pools[i], k, labels));
}

static void state_lines(struct text *t, const struct lb_state *s, const char *labels)
{
    line(t, "weir_endpoint_state{%s,state=\"healthy\"} %d\n", labels, s->marks == 0);
    for (unsigned m = 0; m < LB_MARKS; m++)
        line(t, "weir_endpoint_state{%s,state=\"%s\"} %u\n", labels,
             lb_mark_name((enum lb_mark)(1 << m)), s->marks >> m & 1);
}

static void in_flight_line(struct text *t, const struct lb_state *s, const char *labels)
{
    line(t, "weir_endpoint_requests_in_flight{%s} %u\n", labels, s->in_flight);
}

static void share_line(struct text *t, const struct lb_state *s, const char *labels)
{
    line(t, "weir_endpoint_share{%s} %.6g\n", labels, s->share);
}

static void panics(struct text *t, const struct snapshot *snap, const struct lb_shares *shares)
{
    char pool[512];
    head(t, "weir_pool_panic", "gauge",
         "Whether so few endpoints are usable that ejections are ignored.");
    for (size_t i = 0; i < snap->n_pools; i++)
        line(t, "weir_pool_panic{pool=\"%s\"} %d\n", label(span_str(snap->pools[i].name), pool),
             shares[i].panic);
}

static void ejections(struct text *t, const struct snapshot *snap)
{
    char pool[512];
    head(t, "weir_ejections_total", "counter",
         "Outliers found, by cause: ejected, observed only, or held since too few would be left.");
    for (size_t i = 0; i < snap->n_pools; i++)
        for (int c = 0; c < LB_CAUSES && snap->pools[i].balance->outlier != NULL; c++)
            for (int r = 0; r < LB_RESULTS; r++)
                line(t,
                     "weir_ejections_total{pool=\"%s\",cause=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                     label(span_str(snap->pools[i].name), pool), lb_cause_name((enum lb_cause)c),
                     lb_result_name((enum lb_result)r),
                     lb_outlier_count(snap->pools[i].balance, (enum lb_cause)c, (enum lb_result)r));
}

static void endpoints(struct text *t, const struct snapshot *snap)
{
    struct standing s = standing_of(&t->pool->fund, snap);
    head(t, "weir_endpoint_state", "gauge",
         "Whether an endpoint is healthy, and what keeps it from getting requests.");
    each_endpoint(t, snap, s.states, state_lines);
    head(t, "weir_endpoint_requests_in_flight", "gauge", "Requests that an endpoint is serving.");
    each_endpoint(t, snap, s.states, in_flight_line);
    head(t, "weir_endpoint_share", "gauge",
         "The part of its pool's new requests that an endpoint gets, by effective weight.");
    each_endpoint(t, snap, s.states, share_line);
    panics(t, snap, s.pools);
    ejections(t, snap);
    free(s.states);
    free(s.pools);
}

static void errors(struct text *t, const struct admin_view *v)
{
    head(t, "weir_errors_total", "counter", "Exchanges and connections that ended for a reason.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side != SIDE_NONE)
            line(t, "weir_errors_total{reason=\"%s\"} %" PRIu64 "\n",
                 reason_row((enum reason)i)->name, SUM(v, reasons[i]));
    head(t, "weir_upstream_idle_ended_total", "counter", "Idle upstream connections that ended.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side == SIDE_NONE)
            line(t, "weir_upstream_idle_ended_total{reason=\"%s\"} %" PRIu64 "\n",
                 reason_row((enum reason)i)->name, SUM(v, reasons[i]));
    head(t, "weir_attempts_failed_total", "counter",
         "Attempts at an endpoint that failed, retried or not.");
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++)
        if (reason_row((enum reason)i)->side == SIDE_UPSTREAM)
            line(t, "weir_attempts_failed_total{reason=\"%s\"} %" PRIu64 "\n",
                 reason_row((enum reason)i)->name, SUM(v, attempts[i]));
}

#define SUM_USED(view, member)                                                                   \
    __extension__({                                                                              \
        uint64_t sum_ = 0;                                                                       \
        for (unsigned w_ = 0; w_ < (view)->n_workers; w_++)                                      \
            sum_ +=                                                                              \
                atomic_load_explicit(&(view)->workers[w_].reactor.member, memory_order_relaxed); \
        sum_;                                                                                    \
    })

static void objects(struct text *t, const struct admin_view *v)
{
    static const char *const kinds[SLAB_COUNT] = {
        [SLAB_TCP] = "tcp",
        [SLAB_TLS] = "tls",
        [SLAB_FRONT] = "front",
        [SLAB_H1_SERVER] = "h1_server",
        [SLAB_H1_STREAM] = "h1_stream",
        [SLAB_H1_PARSER] = "h1_parser",
        [SLAB_H1_CLIENT] = "h1_client",
        [SLAB_H2_SERVER] = "h2_server",
        [SLAB_H2_CLIENT] = "h2_client",
        [SLAB_H2_STREAM] = "h2_stream",
        [SLAB_PROBE] = "probe",
        [SLAB_HEAD] = "head",
        [SLAB_EXCHANGE] = "exchange",
    };
    head(t, "weir_objects", "gauge", "Objects of the workers that are in use, by kind.");
    for (int i = 0; i < SLAB_COUNT; i++) {
        CHECK(kinds[i] != NULL); /* a new kind wants a name above */
        line(t, "weir_objects{kind=\"%s\"} %" PRIu64 "\n", kinds[i], SUM_USED(v, slabs[i].in_use));
    }
    line(t, "weir_objects{kind=\"block\"} %" PRIu64 "\n", SUM_USED(v, bufs.blocks));
    line(t, "weir_objects{kind=\"slice\"} %" PRIu64 "\n", SUM_USED(v, bufs.slices.in_use));
}

enum cert_number { CERT_RELOADS, CERT_ERRORS, CERT_FAILED };

static void cert_lines(struct text *t, const struct admin_view *v, const char *name,
                       const char *type, const char *help, enum cert_number which)
{
    char user[512];
    struct cert_status status;
    head(t, name, type, help);
    for (size_t i = 0; i < snapshot_n_tls(v->snapshot); i++) {
        if (!cert_watch_status(v->certs, i, &status))
            continue;
        uint64_t n = which == CERT_RELOADS  ? status.reloads
                     : which == CERT_ERRORS ? status.errors
                                            : status.failed;
        line(t, "%s{%s=\"%s\"} %" PRIu64 "\n", name, status.source->kind,
             label(span_str(status.source->name), user), n);
    }
}

/* By file: what names are in a certificate is for the log of whoever reads it. */
static void cert_expiry(struct text *t, const struct admin_view *v)
{
    char user[512], file[512];
    struct cert_status status;
    head(t, "weir_tls_cert_expiry_seconds", "gauge",
         "When a certificate in use expires, in Unix time.");
    for (size_t i = 0; i < snapshot_n_tls(v->snapshot); i++) {
        if (!cert_watch_status(v->certs, i, &status) || status.certs == NULL)
            continue;
        label(span_str(status.source->name), user);
        for (size_t k = 0; k < tls_certs_count(status.certs); k++) {
            const struct tls_cert_info *cert = tls_certs_at(status.certs, k);
            line(t, "weir_tls_cert_expiry_seconds{%s=\"%s\",file=\"%s\"} %" PRId64 "\n",
                 status.source->kind, user, label(span_str(cert->cert_file), file),
                 cert->not_after);
        }
    }
}

static void upstream_handshakes(struct text *t, const struct admin_view *v)
{
    char pool[512];
    head(t, "weir_upstream_tls_handshakes_total", "counter",
         "TLS handshakes with endpoints, by result.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        if (v->snapshot->pools[i].tls == NULL)
            continue;
        label(span_str(v->snapshot->pools[i].name), pool);
        for (unsigned version = 0; version < 2; version++)
            for (unsigned resumed = 0; resumed < 2; resumed++)
                line(t,
                     "weir_upstream_tls_handshakes_total{pool=\"%s\",result=\"%s\","
                     "version=\"1.%u\"} %" PRIu64 "\n",
                     pool, resumed ? "resumed" : "full", version + 2,
                     SUM(v, pools[i].tls.done[version][resumed]));
        line(t,
             "weir_upstream_tls_handshakes_total{pool=\"%s\",result=\"failed\",version=\"\"} "
             "%" PRIu64 "\n",
             pool, SUM(v, pools[i].tls.failed));
    }
}

static void handshakes(struct text *t, const struct admin_view *v)
{
    head(t, "weir_tls_handshakes_total", "counter", "TLS handshakes with clients, by result.");
    for (unsigned version = 0; version < 2; version++)
        for (unsigned resumed = 0; resumed < 2; resumed++)
            line(t, "weir_tls_handshakes_total{result=\"%s\",version=\"1.%u\"} %" PRIu64 "\n",
                 resumed ? "resumed" : "full", version + 2, SUM(v, tls.done[version][resumed]));
    line(t, "weir_tls_handshakes_total{result=\"failed\",version=\"\"} %" PRIu64 "\n",
         SUM(v, tls.failed));
}

static void tls(struct text *t, const struct admin_view *v)
{
    if (v->certs == NULL)
        return;
    handshakes(t, v);
    cert_expiry(t, v);
    cert_lines(t, v, "weir_tls_cert_reloads_total", "counter",
               "Times that changed certificates were put to use.", CERT_RELOADS);
    cert_lines(t, v, "weir_tls_cert_reload_errors_total", "counter",
               "Times that changed certificates were not, because something is wrong with them.",
               CERT_ERRORS);
    cert_lines(t, v, "weir_tls_cert_reload_failed", "gauge",
               "Whether the last change of certificates was not put to use.", CERT_FAILED);
}

/* ---- health checks ---- */

static void endpoints_up(struct text *t, const struct admin_view *v)
{
    char labels[1100];
    head(t, "weir_endpoint_up", "gauge",
         "Whether an endpoint gets requests, as far as its health checks decide.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        const struct pool_spec *spec = &v->snapshot->pools[i];
        for (uint32_t k = 0; spec->health != NULL && k < spec->n_endpoints; k++)
            line(t, "weir_endpoint_up{%s} %d\n", endpoint_labels(spec, k, labels),
                 lb_health_usable(health_of(v->health, i, k)));
    }
}

static void check_line(struct text *t, const char *pool, const char *result, const char *reason,
                       uint64_t n)
{
    line(t, "weir_health_checks_total{pool=\"%s\",result=\"%s\",reason=\"%s\"} %" PRIu64 "\n", pool,
         result, reason, n);
}

static void health_checks(struct text *t, const struct admin_view *v)
{
    char pool[512];
    head(t, "weir_health_checks_total", "counter", "Health checks that have ended, by result.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        const struct health_counts *counts = health_counts(v->health, i);
        if (counts == NULL)
            continue;
        label(span_str(v->snapshot->pools[i].name), pool);
        check_line(t, pool, "passed", "", counts->passed);
        check_line(t, pool, "skipped", "", counts->skipped);
        for (unsigned why = 0; why < HEALTH_WHY_COUNT; why++)
            if (counts->failed[why] > 0)
                check_line(t, pool, "failed", health_why_name(why), counts->failed[why]);
    }
}

void metrics_write(const struct admin_view *v, struct buf_pool *pool, struct chain *out)
{
    struct text t = {.pool = pool, .out = out};
    head(&t, "weir_build_info", "gauge", "What is running.");
    line(&t, "weir_build_info{version=\"%s\"} 1\n", WEIR_VERSION);
    single(&t, "weir_workers", "gauge", "Data-plane threads.", v->n_workers);
    requests(&t, v);
    protocols(&t, v);
    durations(&t, v);
    single(&t, "weir_requests_in_flight", "gauge", "Requests being answered.", SUM(v, in_flight));
    single(&t, "weir_client_connections", "gauge", "Client connections.", SUM(v, conns));
    single(&t, "weir_client_connections_total", "counter", "Client connections accepted.",
           SUM(v, conns_total));
    pools(&t, v);
    endpoints(&t, v->snapshot);
    errors(&t, v);
    objects(&t, v);
    tls(&t, v);
    upstream_handshakes(&t, v);
    endpoints_up(&t, v);
    health_checks(&t, v);
    single(&t, "weir_access_log_dropped_total", "counter", "Access log lines that were lost.",
           v->log != NULL ? access_log_dropped(v->log) : 0);
    single(&t, "weir_accept_paused_total", "counter",
           "Times that accepting paused for want of descriptors or connections.",
           SUM(v, accept_paused));
    block_drop(t.block);
}
