/* SPDX-License-Identifier: Apache-2.0 */
/* An explanation as text for a terminal. Owns nothing. The question's thread. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/explain_facts.h"
#include "proxy/pool_state.h"

#define ROUTES_PRINTED 12 /* unless all are asked for */

static void print_request(FILE *out, const struct explain_question *q)
{
    char text[NET_ADDR_TEXT];
    if (q->head != NULL)
        fprintf(out, "request   %.*s %.*s%.*s%s%.*s\n", (int)q->head->method.len,
                q->head->method.ptr, (int)q->head->authority.len, q->head->authority.ptr,
                (int)q->head->path.len, q->head->path.ptr, q->head->has_query ? "?" : "",
                (int)q->head->query.len, q->head->query.ptr);
    struct span addr = net_addr_print(&q->listener->addr, text);
    fprintf(out, "listener  %s on %.*s%s: %s\n", q->listener->name, (int)addr.len, addr.ptr,
            q->listener->tls != NULL ? " (TLS)" : "", q->listener_why);
}

static void print_routes(FILE *out, const struct explanation *e, const struct explain_plan *p)
{
    struct explain_routes routes;
    char text[ROUTE_WHY_TEXT];
    explain_routes_init(&routes, e->question, p, e->most ? SIZE_MAX : ROUTES_PRINTED);
    for (size_t i = 0; i < routes.told; i++) {
        const struct route_verdict *v = &routes.verdicts[i];
        struct span name = route_table_at(p->snap->table, v->rule)->name;
        fprintf(out, "%s %s %.*s: %s\n", i == 0 ? "routes   " : "         ",
                v->why == ROUTE_WON ? "->" : "  ", (int)name.len, name.ptr,
                route_why_text(p->snap->table, &routes.query, v, p->route, text));
    }
    if (routes.n > routes.told)
        fprintf(out, "             and %zu more; --all lists them\n", routes.n - routes.told);
    explain_routes_fini(&routes);
}

static void print_split(FILE *out, const struct explain_plan *p)
{
    if (p->route->n_targets < 2)
        return;
    for (uint32_t i = 0; i < p->route->n_targets; i++) {
        const struct route_target *at = &p->route->targets[i];
        fprintf(out, "%s %s %s: %.1f%%, weight %u of %llu\n", i == 0 ? "split    " : "         ",
                at->pool == p->pool ? "->" : "  ",
                at->pool >= 0 ? p->snap->pools[at->pool]->name : "no pool",
                p->route->total_weight > 0
                    ? (double)at->weight * 100 / (double)p->route->total_weight
                    : 0.0,
                at->weight, (unsigned long long)p->route->total_weight);
    }
}

/* The fields that weir adds, and those that it keeps to itself. */
static void print_sent(FILE *out, const struct explanation *e)
{
    struct block *scratch = NULL;
    struct http_head *head =
        explain_forward((struct explain_question *)(uintptr_t)e->question, &scratch);
    const char *title = "fields   ";
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        bool dropped = f->flags & FIELD_DROPPED, was = i < e->question->head->n_fields;
        if (was && !dropped && f->id != FIELD_HOST)
            continue;
        fprintf(out, "%s %s %.*s: %.*s\n", title,
                dropped ? "- "
                : was   ? "  "
                        : "+ ",
                (int)f->name_len, f->name, (int)f->value_len, f->value);
        title = "         ";
    }
    free(head);
    block_drop(scratch);
}

static void print_pool(FILE *out, const struct explanation *e, const struct explain_plan *p)
{
    const struct pool_spec *pool = p->snap->pools[p->pool];
    struct pool_state state;
    char key[EXPLAIN_TEXT];
    pool_state_init(&state, pool, e->now_us);
    fprintf(out, "pool      %s: %s", pool->name, pool->balance->policy->name);
    if (pool->key.kind != BALANCE_KEY_NONE)
        fprintf(out, " by %s%s", explain_key_text(pool, key),
                p->key == 0 ? ", which is not there" : "");
    fprintf(out, "%s%s\n", state.shares.panic ? "; PANIC: ejections are ignored" : "",
            state.shares.backups ? "; only backups are usable" : "");
    fprintf(out, "          score: %s\n", pool->balance->policy->score_is);
    for (uint32_t i = 0; i < pool->n_endpoints; i++) {
        char name[ENDPOINT_NAME], why[EXCLUSION_TEXT], score[32] = "-";
        const struct lb_state *s = &state.states[i];
        if (!isnan(p->look.scores[i]))
            snprintf(score, sizeof(score), "%.4g", p->look.scores[i]);
        fprintf(out, "             %-24s weight %-4u share %5.1f%%  in flight %-4u score %s",
                endpoint_name(&pool->endpoints[i], name), s->weight, s->share * 100, s->in_flight,
                score);
        if (pool_state_excluded(&state, i, &p->look) != LB_IN)
            fprintf(out, "  excluded: %s", pool_state_why(&state, i, &p->look, why));
        fputc('\n', out);
    }
    pool_state_fini(&state);
}

static void print_pools(FILE *out, const struct explanation *e)
{
    for (const struct explain_answer *a = explain_first(e); a < e->answers + e->n_answers; a++) {
        if (a->answered && a->plan.pool >= 0)
            print_pool(out, e, &a->plan);
        if (e->live)
            break;
    }
}

static void print_times(FILE *out, const struct explanation *e, const struct explain_plan *p)
{
    struct explain_time times[EXPLAIN_TIMES];
    unsigned n = explain_times(e->question, p, times);
    fputs("timeouts ", out);
    for (unsigned i = 0; i < n; i++) {
        fprintf(out, " %s ", times[i].name);
        if (times[i].ms == 0)
            fputs("none", out);
        else
            fprintf(out, "%g s", (double)times[i].ms / 1000);
        fputs(i + 1 < n ? "," : "\n", out);
    }
}

static void print_retry(FILE *out, const struct explanation *e, const struct explain_plan *p)
{
    const struct retry_rule *rule = &p->snap->routes[p->route->index].retry;
    char when[RETRY_WHEN_TEXT];
    if (rule->attempts == 0) {
        fputs("retries   none\n", out);
        return;
    }
    fprintf(out, "retries   up to %u, at another endpoint%s, after: %s", rule->attempts,
            rule->same_endpoint ? " or the same" : "", explain_retry_when(rule, when));
    if (!explain_repeatable(e->question, rule))
        fputs("; only if nothing of it was processed, for the method may not be sent twice", out);
    fputs("\n          pauses of up to", out);
    for (unsigned i = 0; i < rule->attempts; i++)
        fprintf(out, "%s %llu ms", i > 0 ? "," : "", (unsigned long long)retry_backoff_ms(rule, i));
    fputc('\n', out);
}

static void print_next(FILE *out, const struct explanation *e)
{
    for (unsigned i = 0; i < e->n_answers; i++) {
        const struct explain_answer *a = &e->answers[i];
        char text[EXPLAIN_TEXT];
        if (!a->answered)
            continue;
        enum explain_end end = explain_end_of(e->question, &a->plan);
        enum reason reason = explain_reason_of(e->question, &a->plan, end);
        fputs("next      ", out);
        if (e->live)
            fprintf(out, "worker %u: ", a->worker);
        if (reason != REASON_NONE)
            fprintf(out, "%u, %s: ", reason_row(reason)->status, reason_row(reason)->name);
        fprintf(out, "%s\n", explain_end_text(e, a, text));
    }
}

void explanation_print(FILE *out, const struct explanation *e)
{
    const struct explain_plan *p = &explain_first(e)->plan;
    print_request(out, e->question);
    if (p->route != NULL || explain_end_of(e->question, p) == EXPLAIN_NO_ROUTE)
        print_routes(out, e, p);
    if (p->route != NULL) {
        print_split(out, p);
        print_sent(out, e);
        print_pools(out, e);
        print_times(out, e, p);
        print_retry(out, e, p);
    }
    print_next(out, e);
}
