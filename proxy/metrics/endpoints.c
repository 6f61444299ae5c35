/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints: their state, health checks, ejections, and who found them. Writes no counter. Control
 * thread.
 */
#include "proxy/metrics/families.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/state.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

/* Of all pools, one after the other: what a family of metrics shows may be of no other moment. */
struct standing {
    struct lb_state *states;
    struct lb_shares *pools;
};

static struct standing standing_of(struct mem_fund *fund, const struct snapshot *snap)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < snap->n_pools; i++)
        n += snap->pools[i]->n_endpoints;
    struct standing s = {mem_need(mem_alloc(fund, n * sizeof(s.states[0]))),
                         mem_need(mem_alloc(fund, snap->n_pools * sizeof(s.pools[0])))};
    uint32_t *weights = mem_need(mem_alloc(fund, n * sizeof(weights[0])));
    for (size_t i = 0; i < snap->n_pools; i++) {
        lb_states(snap->pools[i]->balance, uv_hrtime() / 1000, s.states + at, weights, &s.pools[i]);
        at += snap->pools[i]->n_endpoints;
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
    snprintf(out, 1100, "pool=\"%s\",endpoint=\"%s%s\"", text_label(span_str(spec->name), pool),
             text_label(span_str(ep->text), endpoint), twin);
    return out;
}

static void each_endpoint(struct text *t, const struct snapshot *snap, const struct lb_state *s,
                          endpoint_lines_fn *lines)
{
    char labels[1100];
    for (size_t i = 0; i < snap->n_pools; i++)
        for (uint32_t k = 0; k < snap->pools[i]->n_endpoints; k++, s++)
            lines(t, s, endpoint_labels(snap->pools[i], k, labels));
}

static void state_lines(struct text *t, const struct lb_state *s, const char *labels)
{
    text_line(t, "weir_endpoint_state{%s,state=\"healthy\"} %d\n", labels, s->marks == 0);
    for (unsigned m = 0; m < LB_MARKS; m++)
        text_line(t, "weir_endpoint_state{%s,state=\"%s\"} %u\n", labels,
                  lb_mark_name((enum lb_mark)(1 << m)), s->marks >> m & 1);
}

static void in_flight_line(struct text *t, const struct lb_state *s, const char *labels)
{
    text_line(t, "weir_endpoint_requests_in_flight{%s} %u\n", labels, s->in_flight);
}

static void share_line(struct text *t, const struct lb_state *s, const char *labels)
{
    text_line(t, "weir_endpoint_share{%s} %.6g\n", labels, s->share);
}

static void panics(struct text *t, const struct snapshot *snap, const struct lb_shares *shares)
{
    char pool[512];
    text_head(t, "weir_pool_panic", "gauge",
              "Whether so few endpoints are usable that ejections are ignored.");
    for (size_t i = 0; i < snap->n_pools; i++)
        text_line(t, "weir_pool_panic{pool=\"%s\"} %d\n",
                  text_label(span_str(snap->pools[i]->name), pool), shares[i].panic);
}

static void ejections(struct text *t, const struct snapshot *snap)
{
    char pool[512];
    text_head(
        t, "weir_ejections_total", "counter",
        "Outliers found, by cause: ejected, observed only, or held since too few would be left.");
    for (size_t i = 0; i < snap->n_pools; i++)
        for (int c = 0; c < LB_CAUSES && snap->pools[i]->balance->outlier != NULL; c++)
            for (int r = 0; r < LB_RESULTS; r++)
                text_line(
                    t, "weir_ejections_total{pool=\"%s\",cause=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                    text_label(span_str(snap->pools[i]->name), pool),
                    lb_cause_name((enum lb_cause)c), lb_result_name((enum lb_result)r),
                    lb_outlier_count(snap->pools[i]->balance, (enum lb_cause)c, (enum lb_result)r));
}

static void endpoints(struct text *t, const struct snapshot *snap)
{
    struct standing s = standing_of(&t->pool->fund, snap);
    text_head(t, "weir_endpoint_state", "gauge",
              "Whether an endpoint is healthy, and what keeps it from getting requests.");
    each_endpoint(t, snap, s.states, state_lines);
    text_head(t, "weir_endpoint_requests_in_flight", "gauge",
              "Requests that an endpoint is serving.");
    each_endpoint(t, snap, s.states, in_flight_line);
    text_head(t, "weir_endpoint_share", "gauge",
              "The part of its pool's new requests that an endpoint gets, by effective weight.");
    each_endpoint(t, snap, s.states, share_line);
    panics(t, snap, s.pools);
    ejections(t, snap);
    free(s.states);
    free(s.pools);
}

/* ---- health checks ---- */

static void endpoints_up(struct text *t, const struct admin_view *v)
{
    char labels[1100];
    text_head(t, "weir_endpoint_up", "gauge",
              "Whether an endpoint gets requests, as far as its health checks decide.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        const struct pool_spec *spec = v->snapshot->pools[i];
        for (uint32_t k = 0; spec->health != NULL && k < spec->n_endpoints; k++)
            text_line(t, "weir_endpoint_up{%s} %d\n", endpoint_labels(spec, k, labels),
                      lb_health_usable(health_of(v->health, i, k)));
    }
}

static void check_line(struct text *t, const char *pool, const char *result, const char *reason,
                       uint64_t n)
{
    text_line(t, "weir_health_checks_total{pool=\"%s\",result=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
              pool, result, reason, n);
}

static void health_checks(struct text *t, const struct admin_view *v)
{
    char pool[512];
    text_head(t, "weir_health_checks_total", "counter",
              "Health checks that have ended, by result.");
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        const struct health_counts *counts = health_counts(v->health, i);
        if (counts == NULL)
            continue;
        text_label(span_str(v->snapshot->pools[i]->name), pool);
        check_line(t, pool, "passed", "", counts->passed);
        check_line(t, pool, "skipped", "", counts->skipped);
        for (unsigned why = 0; why < HEALTH_WHY_COUNT; why++)
            if (counts->failed[why] > 0)
                check_line(t, pool, "failed", health_why_name(why), counts->failed[why]);
    }
}

/* ---- discovery ---- */

enum found_number { FOUND_ENDPOINTS, FOUND_AGE, FOUND_CHANGES, FOUND_ERRORS, FOUND_FAILING };

static uint64_t found_number(const struct discovery_status *s, enum found_number which)
{
    const uint64_t numbers[] = {[FOUND_ENDPOINTS] = s->count,
                                [FOUND_AGE] = s->age_ms / 1000,
                                [FOUND_CHANGES] = s->changes,
                                [FOUND_ERRORS] = s->errors,
                                [FOUND_FAILING] = s->error != NULL};
    return numbers[which];
}

static void found_lines(struct text *t, const struct admin_view *v, const char *name,
                        const char *type, const char *help, enum found_number which)
{
    struct discovery_status status;
    char pool[512], source[512];
    text_head(t, name, type, help);
    for (size_t i = 0; i < v->snapshot->n_pools; i++) {
        if (!discovery_status(v->discovery, v->snapshot->pools[i]->name, &status))
            continue;
        text_line(t, "%s{pool=\"%s\",source=\"%s\"} %" PRIu64 "\n", name,
                  text_label(span_str(v->snapshot->pools[i]->name), pool),
                  text_label(span_str(status.spec->text), source), found_number(&status, which));
    }
}

static void discovered(struct text *t, const struct admin_view *v)
{
    found_lines(t, v, "weir_discovery_endpoints", "gauge", "Endpoints that a source has found.",
                FOUND_ENDPOINTS);
    found_lines(t, v, "weir_discovery_age_seconds", "gauge", "Since a source answered last.",
                FOUND_AGE);
    found_lines(t, v, "weir_discovery_changes_total", "counter",
                "Times that a source has found other endpoints.", FOUND_CHANGES);
    found_lines(t, v, "weir_discovery_errors_total", "counter", "Times that a source has failed.",
                FOUND_ERRORS);
    found_lines(t, v, "weir_discovery_failing", "gauge",
                "Whether a source has failed since it answered last.", FOUND_FAILING);
}

void metrics_endpoints(struct text *t, const struct admin_view *v)
{
    endpoints(t, v->snapshot);
    endpoints_up(t, v);
    health_checks(t, v);
    discovered(t, v);
}
