/* SPDX-License-Identifier: Apache-2.0 */
/* What an explanation says. Owns the verdicts it is asked for. The question's thread. */
#include "proxy/explain_facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/http/grpc.h"
#include "proxy/pool_state.h"
#include "proxy/request_route.h"

const struct explain_answer *explain_first(const struct explanation *e)
{
    for (unsigned i = 0; i < e->n_answers; i++)
        if (e->answers[i].answered)
            return &e->answers[i];
    return NULL;
}

void explain_routes_init(struct explain_routes *routes, const struct explain_question *q,
                         const struct explain_plan *plan, size_t most)
{
    routes->query = request_query(q->head, q->listener->name);
    routes->n = route_table_count(plan->snap->table);
    routes->told = routes->n < most ? routes->n : most;
    routes->verdicts = route_judge_all(plan->snap->table, &routes->query, plan->route);
}

void explain_routes_fini(struct explain_routes *routes)
{
    free(TAKE(routes->verdicts));
}

/* ---- times ---- */

/* The route's, or what a gRPC caller gives it. */
static uint64_t request_ms(const struct explain_question *q, const struct explain_plan *plan)
{
    uint64_t ms = plan->snap->routes[plan->route->index].request_ms, caller;
    return grpc_timeout(q->head, &caller) && (ms == 0 || caller < ms) ? caller : ms;
}

unsigned explain_times(const struct explain_question *q, const struct explain_plan *plan,
                       struct explain_time times[EXPLAIN_TIMES])
{
    const struct snapshot *snap = plan->snap;
    const struct pool_spec *pool = plan->pool >= 0 ? snap->pools[plan->pool] : NULL;
    unsigned n = 0;
    times[n++] = (struct explain_time){"request_body", snap->server.body_ms};
    times[n++] = (struct explain_time){"request", request_ms(q, plan)};
    if (pool != NULL && plan->gated)
        times[n++] = (struct explain_time){"queue", pool->limits.wait_ms};
    if (pool != NULL)
        times[n++] = (struct explain_time){"connect", pool->options.connect_ms};
    times[n++] = (struct explain_time){"response_head", snap->routes[plan->route->index].try_ms};
    if (pool != NULL)
        times[n++] = (struct explain_time){"response_idle", pool->options.response_idle_ms};
    times[n++] = (struct explain_time){"write_stall", snap->server.write_stall_ms};
    if (q->head->upgrade.len > 0)
        times[n++] = (struct explain_time){"upgraded", snap->upgraded_ms};
    return n;
}

/* ---- texts ---- */

struct text {
    char *out;
    size_t n, room;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->out + t->n, t->room - t->n, format, args);
    va_end(args);
    size_t room = t->room - t->n;
    t->n += (size_t)n < room ? (size_t)n : room - 1;
}

const char *explain_retry_when(const struct retry_rule *rule, char text[RETRY_WHEN_TEXT])
{
    static const struct {
        uint32_t on;
        const char *name;
    } names[] = {{RETRY_ON_CONNECT, "connect"},
                 {RETRY_ON_RESET, "reset"},
                 {RETRY_ON_TIMEOUT, "timeout"},
                 {RETRY_ON_UNAVAILABLE, "unavailable"}};
    struct text t = {text, 0, RETRY_WHEN_TEXT};
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (rule->on & names[i].on)
            put(&t, "%s%s", t.n > 0 ? ", " : "", names[i].name);
    for (unsigned status = RETRY_STATUS_MIN; status <= RETRY_STATUS_MAX; status++)
        if (retry_has_status(rule, status))
            put(&t, "%s%u", t.n > 0 ? ", " : "", status);
    return text;
}

bool explain_repeatable(const struct explain_question *q, const struct retry_rule *rule)
{
    return q->head->idempotent || retry_repeatable(rule, q->head->method);
}

const char *explain_key_text(const struct pool_spec *pool, char text[EXPLAIN_TEXT])
{
    const struct balance_key *key = &pool->key;
    const char *what = "nothing";
    switch (key->kind) {
    case BALANCE_KEY_NONE:
        break;
    case BALANCE_KEY_CLIENT_IP:
        what = "the client's address";
        break;
    case BALANCE_KEY_PATH:
        what = "the path";
        break;
    case BALANCE_KEY_HEADER:
        what = "the field ";
        break;
    case BALANCE_KEY_COOKIE:
        what = "the cookie ";
        break;
    case BALANCE_KEY_QUERY:
        what = "the parameter ";
        break;
    }
    snprintf(text, EXPLAIN_TEXT, "%s%.*s", what, (int)key->name.len, key->name.ptr);
    return text;
}

/* ---- why it ends so ---- */

static const char *name_at(const struct pool_spec *pool, int32_t i, char name[ENDPOINT_NAME])
{
    return endpoint_name(&pool->endpoints[i], name);
}

static void put_pick(struct text *t, const struct pool_spec *pool, const struct explain_plan *p)
{
    const struct lb_look *look = &p->look;
    double score = look->scores[look->index];
    if (p->stuck == look->index)
        put(t, "its session is kept there");
    else if (look->probe)
        put(t, "it was ejected, its time is over, and this request would decide about it");
    else if (look->eligible == 1)
        put(t, "it is the only one that gets requests");
    else
        put(t, "%s says so; its score is %.6g (%s)", pool->balance->policy->name, score,
            pool->balance->policy->score_is);
    if (pool->balance->policy->uses_key && p->key == 0)
        put(t, "; the request has no key, and one is drawn for it");
}

/* Of each cause how many are out. */
static void put_excluded(struct text *t, const struct pool_spec *pool, const struct explanation *e,
                         const struct lb_look *look)
{
    uint32_t counts[LB_EXCLUSIONS] = {0};
    struct pool_state state;
    bool any = false;
    pool_state_init(&state, pool, e->now_us);
    for (uint32_t i = 0; i < pool->n_endpoints; i++)
        counts[pool_state_excluded(&state, i, look)]++;
    pool_state_fini(&state);
    for (int why = LB_IN + 1; why < LB_EXCLUSIONS; why++) {
        if (counts[why] == 0)
            continue;
        put(t, "%s%u %s", any ? ", " : ": ", counts[why],
            lb_exclusion_name((enum lb_exclusion)why));
        any = true;
    }
}

const char *explain_end_text(const struct explanation *e, const struct explain_answer *a,
                             char text[EXPLAIN_TEXT])
{
    const struct explain_plan *p = &a->plan;
    const struct pool_spec *pool = p->pool >= 0 ? p->snap->pools[p->pool] : NULL;
    enum explain_end end = explain_end_of(e->question, p);
    enum reason reason = explain_reason_of(e->question, p, end);
    struct text t = {text, 0, EXPLAIN_TEXT};
    char name[ENDPOINT_NAME];
    text[0] = '\0';
    switch (end) {
    case EXPLAIN_REFUSED:
    case EXPLAIN_NO_ROUTE:
    case EXPLAIN_NO_POOL:
    case EXPLAIN_ENDS:
        put(&t, "%s", reason_row(reason)->text);
        break;
    case EXPLAIN_REDIRECT:
        put(&t, "the listener sends everybody to https, port %u",
            e->question->listener->redirect_https);
        break;
    case EXPLAIN_NO_ENDPOINT:
    case EXPLAIN_FULL:
        CHECK(pool != NULL);
        put(&t, "%s", reason_row(reason)->text);
        put_excluded(&t, pool, e, &p->look);
        break;
    case EXPLAIN_WAITS:
        CHECK(pool != NULL);
        put(&t, "%u requests are in flight and %u wait already: it waits for at most %u ms",
            p->gate.in_flight, p->gate.queued, pool->limits.wait_ms);
        break;
    case EXPLAIN_ENDPOINT:
        CHECK(pool != NULL);
        if (!e->live && p->look.eligible > 1 && p->stuck != p->look.index && p->key == 0) {
            put(&t, "one of %u, by %s", p->look.eligible, pool->balance->policy->name);
            break;
        }
        put(&t, "%s: ", name_at(pool, p->look.index, name));
        put_pick(&t, pool, p);
        break;
    }
    return text;
}
