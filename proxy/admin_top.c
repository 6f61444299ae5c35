/* SPDX-License-Identifier: Apache-2.0 */
/* The state of things as text. Owns nothing; must never make a worker wait. Control thread. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/admin_history.h"
#include "proxy/base/mem.h"
#include "proxy/pool_state.h"
#include "proxy/version.h"

#define NAME_MAX_SHOWN 28 /* of a pool, a route, an address */

static uint64_t sum(const uint64_t *numbers, unsigned n)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += numbers[i];
    return total;
}

/* What has come since; a reload may have taken a route's counters away. */
static void subtract(uint64_t *numbers, const uint64_t *before, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        numbers[i] = numbers[i] > before[i] ? numbers[i] - before[i] : 0;
}

static void print_age(FILE *out, uint64_t s)
{
    if (s < 3600)
        fprintf(out, "%u min", (unsigned)(s / 60));
    else if (s < 86400)
        fprintf(out, "%u h %u min", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
    else
        fprintf(out, "%u d %u h", (unsigned)(s / 86400), (unsigned)(s / 3600 % 24));
}

static void print_ms(FILE *out, const uint64_t latency[HIST_BUCKETS], double part, int width)
{
    char text[24] = "-";
    double ms = latency_quantile_ms(latency, part);
    if (ms >= 0)
        snprintf(text, sizeof(text), ms < 100 ? "%.1f ms" : "%.0f ms", ms);
    fprintf(out, "%*s", width, text);
}

static void print_process(FILE *out, const struct admin_view *v)
{
    fprintf(out, "weir %s  %s, up ", WEIR_VERSION, v->ready ? "serving" : "draining");
    print_age(out, (uint64_t)time(NULL) - v->started_s);
    fprintf(out, "  generation %llu%s  %u worker%s\n", (unsigned long long)v->reloads.generation,
            v->reloads.last_failed ? " (the last reload FAILED)" : "", v->n_workers,
            v->n_workers == 1 ? "" : "s");
}

static void print_requests(FILE *out, const struct admin_view *v, const struct admin_history *h)
{
    const struct history_sample *before = admin_history_before(h);
    struct history_sample now;
    history_sample_take(&now, v);
    struct request_totals t = now.totals;
    double seconds = 0;
    if (before != NULL) {
        seconds = (double)(now.at_ms - before->at_ms) / 1000;
        subtract(t.classes, before->totals.classes, STATUS_CLASSES);
        subtract(t.latency, before->totals.latency, HIST_BUCKETS);
    }
    uint64_t n = sum(t.classes, STATUS_CLASSES);
    if (seconds > 0)
        fprintf(out, "requests %.1f/s", (double)n / seconds);
    else
        fprintf(out, "requests %llu", (unsigned long long)n);
    fprintf(out, "  5xx %.1f%%", n > 0 ? (double)t.classes[4] * 100 / (double)n : 0.0);
    fputs("  p50 ", out);
    print_ms(out, t.latency, .5, 0);
    fputs("  p95 ", out);
    print_ms(out, t.latency, .95, 0);
    fputs("  p99 ", out);
    print_ms(out, t.latency, .99, 0);
    fprintf(out, "  in flight %llu  clients %llu  upstream %llu\n",
            (unsigned long long)now.in_flight, (unsigned long long)now.clients,
            (unsigned long long)totals_upstream_conns(v));
}

static const char *state_name(const struct pool_state *state, uint32_t i)
{
    enum lb_exclusion why = pool_state_excluded(state, i, NULL);
    if (why != LB_IN)
        return lb_exclusion_name(why);
    return state->states[i].marks == 0 ? "serving" : "ejected, serving";
}

static void print_pool(FILE *out, const struct pool_spec *pool)
{
    struct pool_state state;
    pool_state_init(&state, pool, uv_hrtime() / 1000);
    fprintf(out, "\n%-*.*s %-18s %6s %9s %10s  %s%s%s\n", NAME_MAX_SHOWN, NAME_MAX_SHOWN,
            pool->name, "STATE", "SHARE", "IN FLIGHT", "LATENCY", pool->balance->policy->name,
            state.shares.panic ? "  PANIC: ejections are ignored" : "",
            state.shares.backups ? "  only backups are usable" : "");
    for (uint32_t i = 0; i < pool->n_endpoints; i++) {
        char name[ENDPOINT_NAME], why[EXCLUSION_TEXT], latency[24] = "-";
        const struct lb_state *s = &state.states[i];
        if (s->ewma_us > 0)
            snprintf(latency, sizeof(latency), "%.1f ms", s->ewma_us / 1000);
        fprintf(out, "  %-*s %-18s %5.1f%% %9u %10s  %s\n", NAME_MAX_SHOWN - 2,
                endpoint_name(&pool->endpoints[i], name), state_name(&state, i), s->share * 100,
                s->in_flight, latency, pool_state_why(&state, i, NULL, why));
    }
    pool_state_fini(&state);
}

static void print_routes(FILE *out, const struct admin_view *v)
{
    size_t n = route_table_count(v->snapshot->table);
    fprintf(out, "\n%-*s %12s %9s %9s %10s %10s\n", NAME_MAX_SHOWN, "ROUTE", "REQUESTS", "4XX",
            "5XX", "P50", "P95");
    for (size_t i = 0; i <= n; i++) {
        struct request_totals t;
        totals_of_route(v, i, &t);
        if (i == n && sum(t.classes, STATUS_CLASSES) == 0)
            continue;
        fprintf(out, "%-*.*s %12llu %9llu %9llu", NAME_MAX_SHOWN, NAME_MAX_SHOWN,
                i < n ? route_table_at(v->snapshot->table, i)->name.ptr : "(no route)",
                (unsigned long long)sum(t.classes, STATUS_CLASSES),
                (unsigned long long)t.classes[3], (unsigned long long)t.classes[4]);
        print_ms(out, t.latency, .5, 11);
        print_ms(out, t.latency, .95, 11);
        fputc('\n', out);
    }
}

void admin_top(const struct admin_ask *ask, const struct admin_history *history)
{
    const struct admin_view *v = ask->view;
    char *text = NULL;
    size_t len;
    FILE *out = mem_need(open_memstream(&text, &len));
    print_process(out, v);
    print_requests(out, v, history);
    for (size_t i = 0; i < v->snapshot->n_pools; i++)
        print_pool(out, v->snapshot->pools[i]);
    print_routes(out, v);
    mem_need(fclose(out) == 0 ? text : NULL);
    admin_text(ask, 200, SPAN_LIT("text/plain; charset=utf-8"), span_of(text, len));
    free(text);
}
