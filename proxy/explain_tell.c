/* SPDX-License-Identifier: Apache-2.0 */
/* An explanation as JSON. Owns nothing; asks the same functions as whoever serves. The question's
 * thread. */
#include "proxy/explain.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/explain_facts.h"
#include "proxy/pool_state.h"

#define ROUTES_TOLD 50 /* unless all are asked for */

static void key_string(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_cstring(j, value);
}

static void key_span(struct json *j, const char *key, struct span value)
{
    json_key(j, key);
    json_string(j, value);
}

static void key_u64(struct json *j, const char *key, uint64_t value)
{
    json_key(j, key);
    json_u64(j, value);
}

static void key_bool(struct json *j, const char *key, bool value)
{
    json_key(j, key);
    json_bool(j, value);
}

/* ---- the request ---- */

static void write_request(struct json *j, const struct explain_question *q)
{
    json_key(j, "request");
    json_object_begin(j);
    if (q->head != NULL) {
        key_span(j, "method", q->head->method);
        key_span(j, "host", q->head->authority);
        key_span(j, "path", q->head->path);
        json_key(j, "query");
        if (q->head->has_query)
            json_string(j, q->head->query);
        else
            json_null(j);
    }
    key_span(j, "client", http_peer_host(&q->peer));
    key_bool(j, "trusted", q->peer.trusted);
    json_object_end(j);
}

static void write_listener(struct json *j, const struct explain_question *q)
{
    char text[NET_ADDR_TEXT];
    json_key(j, "listener");
    json_object_begin(j);
    key_string(j, "name", q->listener->name);
    key_span(j, "address", net_addr_print(&q->listener->addr, text));
    key_bool(j, "tls", q->listener->tls != NULL);
    key_string(j, "why", q->listener_why);
    json_object_end(j);
}

/* ---- routes ---- */

static void write_verdict(struct json *j, const struct route_table *t, const struct route_query *q,
                          const struct route_verdict *v, const struct route *won)
{
    char text[ROUTE_WHY_TEXT];
    json_object_begin(j);
    key_span(j, "name", route_table_at(t, v->rule)->name);
    key_u64(j, "place", v->rule + 1);
    key_string(j, "verdict", route_why_name(v->why));
    key_string(j, "why", route_why_text(t, q, v, won, text));
    json_object_end(j);
}

static void write_routes(struct json *j, const struct explanation *e, const struct explain_plan *p)
{
    const struct route_table *t = p->snap->table;
    struct explain_routes routes;
    explain_routes_init(&routes, e->question, p, e->most ? SIZE_MAX : ROUTES_TOLD);
    json_key(j, "route");
    if (p->route != NULL)
        json_string(j, p->route->name);
    else
        json_null(j);
    json_key(j, "routes");
    json_array_begin(j);
    for (size_t i = 0; i < routes.told; i++)
        write_verdict(j, t, &routes.query, &routes.verdicts[i], p->route);
    json_array_end(j);
    key_u64(j, "routes_left_out", routes.n - routes.told);
    explain_routes_fini(&routes);
}

static void write_split(struct json *j, const struct explain_plan *p)
{
    json_key(j, "split");
    json_array_begin(j);
    for (uint32_t i = 0; i < p->route->n_targets; i++) {
        const struct route_target *at = &p->route->targets[i];
        json_object_begin(j);
        json_key(j, "pool");
        if (at->pool != ROUTE_NO_POOL)
            json_cstring(j, p->snap->pools[at->pool]->name);
        else
            json_null(j);
        key_u64(j, "weight", at->weight);
        json_key(j, "percent");
        json_ms(j, p->route->total_weight > 0
                       ? (uint64_t)at->weight * 100000 / p->route->total_weight
                       : 0);
        json_object_end(j);
    }
    json_array_end(j);
}

/* ---- what the endpoint gets ---- */

static void write_sent(struct json *j, const struct explanation *e)
{
    struct block *scratch = NULL;
    /* What is edited is a copy; the question's buffers are this thread's. */
    struct http_head *head =
        explain_forward((struct explain_question *)(uintptr_t)e->question, &scratch);
    json_key(j, "sent");
    json_array_begin(j);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        if (f->flags & FIELD_DROPPED)
            continue;
        json_object_begin(j);
        key_span(j, "name", field_name(f));
        key_span(j, "value", field_value(f));
        json_object_end(j);
    }
    json_array_end(j);
    free(head);
    block_drop(scratch);
}

/* ---- times and retries ---- */

static void write_timeouts(struct json *j, const struct explanation *e,
                           const struct explain_plan *p)
{
    struct explain_time times[EXPLAIN_TIMES];
    unsigned n = explain_times(e->question, p, times);
    json_key(j, "timeouts_ms");
    json_object_begin(j);
    for (unsigned i = 0; i < n; i++) {
        json_key(j, times[i].name);
        if (times[i].ms == 0)
            json_null(j);
        else
            json_u64(j, times[i].ms);
    }
    json_object_end(j);
}

static void write_retry(struct json *j, const struct explanation *e, const struct explain_plan *p)
{
    const struct retry_rule *rule = &p->snap->routes[p->route->index].retry;
    const struct pool_spec *pool = p->pool >= 0 ? p->snap->pools[p->pool] : NULL;
    char text[RETRY_WHEN_TEXT];
    json_key(j, "retry");
    json_object_begin(j);
    key_u64(j, "attempts", rule->attempts);
    key_string(j, "when", explain_retry_when(rule, text));
    key_bool(j, "may_be_sent_twice", explain_repeatable(e->question, rule));
    json_key(j, "pauses_up_to_ms");
    json_array_begin(j);
    for (unsigned i = 0; i < rule->attempts; i++)
        json_u64(j, retry_backoff_ms(rule, i));
    json_array_end(j);
    key_bool(j, "same_endpoint", rule->same_endpoint);
    key_bool(j, "budget", pool != NULL && pool->budget != NULL);
    key_u64(j, "hedge_percent", pool != NULL ? pool->hedge : 0);
    json_key(j, "hedge_after_ms");
    if (p->hedge_us > 0)
        json_ms(j, p->hedge_us);
    else
        json_null(j);
    json_object_end(j);
}

/* ---- the pick ---- */

static void write_endpoint_name(struct json *j, const struct pool_spec *pool, int32_t i)
{
    char name[ENDPOINT_NAME];
    if (pool != NULL && i >= 0)
        json_cstring(j, endpoint_name(&pool->endpoints[i], name));
    else
        json_null(j);
}

static void write_answer(struct json *j, const struct explanation *e,
                         const struct explain_answer *a)
{
    const struct explain_plan *p = &a->plan;
    enum explain_end end = explain_end_of(e->question, p);
    enum reason reason = explain_reason_of(e->question, p, end);
    const struct pool_spec *pool = p->pool >= 0 ? p->snap->pools[p->pool] : NULL;
    char text[EXPLAIN_TEXT];
    json_object_begin(j);
    if (e->live)
        key_u64(j, "worker", a->worker);
    key_string(j, "end", explain_end_name(end));
    json_key(j, "status");
    if (reason != REASON_NONE)
        json_u64(j, reason_row(reason)->status);
    else if (end == EXPLAIN_REDIRECT)
        json_u64(j, 308);
    else
        json_null(j);
    json_key(j, "reason");
    if (reason != REASON_NONE)
        json_cstring(j, reason_row(reason)->name);
    else
        json_null(j);
    json_key(j, "pool");
    if (pool != NULL)
        json_cstring(j, pool->name);
    else
        json_null(j);
    json_key(j, "endpoint");
    write_endpoint_name(j, pool, end == EXPLAIN_ENDPOINT ? p->look.index : LB_NONE);
    key_string(j, "why", explain_end_text(e, a, text));
    json_object_end(j);
}

static void write_next(struct json *j, const struct explanation *e)
{
    json_key(j, "next");
    json_array_begin(j);
    for (unsigned i = 0; i < e->n_answers; i++)
        if (e->answers[i].answered)
            write_answer(j, e, &e->answers[i]);
    json_array_end(j);
}

static void write_key(struct json *j, const struct pool_spec *pool, const struct explain_plan *p)
{
    char text[EXPLAIN_TEXT];
    json_key(j, "key");
    json_object_begin(j);
    key_string(j, "of", explain_key_text(pool, text));
    key_bool(j, "found", p->key != 0);
    json_key(j, "session");
    write_endpoint_name(j, pool, p->stuck);
    json_object_end(j);
}

static void write_limit(struct json *j, const struct pool_spec *pool, const struct explain_plan *p)
{
    json_key(j, "limit");
    if (!p->gated) {
        json_null(j);
        return;
    }
    json_object_begin(j);
    key_u64(j, "requests", p->gate.limit);
    key_u64(j, "in_flight", p->gate.in_flight);
    key_u64(j, "waiting", p->gate.queued);
    key_u64(j, "may_wait", pool->limits.queue);
    key_u64(j, "wait_ms", pool->limits.wait_ms);
    json_object_end(j);
}

static void write_pool(struct json *j, const struct explanation *e, const struct explain_plan *p)
{
    const struct pool_spec *pool = p->snap->pools[p->pool];
    struct pool_state state;
    pool_state_init(&state, pool, e->now_us);
    json_object_begin(j);
    json_key(j, "pool");
    pool_state_write(j, &state, &p->look);
    pool_state_fini(&state);
    write_limit(j, pool, p);
    write_key(j, pool, p);
    json_object_end(j);
}

/* Of a running weir that of the first answer; nobody has drawn for the others: all. */
static void write_pools(struct json *j, const struct explanation *e, const struct explain_answer *a)
{
    json_key(j, "pools");
    json_array_begin(j);
    for (; a < e->answers + e->n_answers; a++) {
        if (a->answered && a->plan.pool >= 0)
            write_pool(j, e, &a->plan);
        if (e->live)
            break;
    }
    json_array_end(j);
}

void explanation_write(struct json *j, const void *explanation)
{
    const struct explanation *e = explanation;
    const struct explain_answer *a = explain_first(e);
    json_object_begin(j);
    write_request(j, e->question);
    write_listener(j, e->question);
    if (a->plan.route != NULL || explain_end_of(e->question, &a->plan) == EXPLAIN_NO_ROUTE)
        write_routes(j, e, &a->plan);
    if (a->plan.route != NULL) {
        write_split(j, &a->plan);
        write_sent(j, e);
        write_timeouts(j, e, &a->plan);
        write_retry(j, e, &a->plan);
    }
    write_pools(j, e, a);
    write_next(j, e);
    json_object_end(j);
    json_raw(j, "\n", 1);
}
