/* SPDX-License-Identifier: Apache-2.0 */
/* What a reload would change. Owns the list of it; must never touch what serves. Control thread. */
#include "proxy/runtime_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/names.h"

struct making {
    struct plan *plan;
    const struct config *now, *next;
    const struct plan_live *live;
};

static struct plan_change *add(const struct making *m, enum plan_how how, enum plan_kind kind,
                               const char *name)
{
    struct plan *plan = m->plan;
    if (plan->n == plan->room) {
        plan->room = plan->room > 0 ? 2 * plan->room : 32;
        plan->changes = mem_need(realloc(plan->changes, plan->room * sizeof(plan->changes[0])));
    }
    struct plan_change *change = &plan->changes[plan->n++];
    *change = (struct plan_change){.how = how, .kind = kind, .name = name};
    return change;
}

/* ---- things that have names ---- */

/* A list of them in a configuration. */
struct named_things {
    enum plan_kind kind;
    size_t (*count)(const struct config *);
    const char *(*name)(const struct config *, size_t);
    uint64_t (*hash)(const struct config *, size_t);
    /* What becomes of the one at now, which is changed to that at next, or removed: -1. */
    void (*touched)(const struct making *, struct plan_change *, size_t now, int32_t next);
};

static void compare(const struct making *m, const struct named_things *t)
{
    struct names now = {0}, next = {0};
    for (size_t i = 0; i < t->count(m->now); i++)
        names_add(&now, t->name(m->now, i), (int32_t)i);
    for (size_t i = 0; i < t->count(m->next); i++)
        names_add(&next, t->name(m->next, i), (int32_t)i);
    names_sort(&now);
    names_sort(&next);
    for (size_t i = 0; i < t->count(m->next); i++)
        if (names_find(&now, t->name(m->next, i)) < 0)
            add(m, PLAN_ADDED, t->kind, t->name(m->next, i));
    for (size_t i = 0; i < t->count(m->now); i++) {
        const char *name = t->name(m->now, i);
        int32_t at = names_find(&next, name);
        if (at >= 0 && t->hash(m->now, i) == t->hash(m->next, (size_t)at))
            continue;
        t->touched(m, add(m, at >= 0 ? PLAN_CHANGED : PLAN_REMOVED, t->kind, name), i, at);
    }
    names_fini(&now);
    names_fini(&next);
}

/* ---- listeners ---- */

static size_t listener_count(const struct config *c)
{
    return c->listener_count;
}

static const char *listener_name(const struct config *c, size_t i)
{
    return c->listeners[i].name;
}

/* One that stays at its address keeps its socket and all who came by it, under whatever name. */
static void listener_touched(const struct making *m, struct plan_change *change, size_t now,
                             int32_t next)
{
    const char *bind = m->now->listeners[now].bind.text;
    (void)next;
    for (size_t i = 0; i < m->next->listener_count; i++)
        if (strcmp(m->next->listeners[i].bind.text, bind) == 0)
            return;
    change->clients = m->live->listener_conns(m->live->ctx, now);
}

/* ---- routes ---- */

static size_t route_count(const struct config *c)
{
    return c->route_count;
}

static const char *route_name(const struct config *c, size_t i)
{
    return c->routes[i].name;
}

static void route_touched(const struct making *m, struct plan_change *change, size_t now,
                          int32_t next)
{
    (void)next;
    change->in_flight = m->live->route_requests(m->live->ctx, now);
}

/* ---- pools and endpoints ---- */

static size_t pool_count(const struct config *c)
{
    return c->pool_count;
}

static const char *pool_name(const struct config *c, size_t i)
{
    return c->pools[i].name;
}

static void add_endpoint(const struct making *m, enum plan_how how, size_t now, size_t at,
                         const struct config_pool *pool, const struct config_endpoint *e)
{
    struct plan_change *change = add(m, how, PLAN_ENDPOINT, e->address.text);
    change->pool = pool->name;
    if (how != PLAN_ADDED)
        change->in_flight = m->live->endpoint_requests(m->live->ctx, now, at);
}

/* By address. */
static const struct config_endpoint *find_endpoint(const struct config_pool *in,
                                                   const struct names *names,
                                                   const struct config_endpoint *e)
{
    int32_t at = names_find(names, e->address.text);
    CHECK(at < 0 || in->endpoints != NULL);
    return at >= 0 ? &in->endpoints[at] : NULL;
}

static void learn_endpoints(struct names *names, const struct config_pool *pool)
{
    for (size_t i = 0; i < pool->endpoint_count; i++)
        names_add(names, pool->endpoints[i].address.text, (int32_t)i);
    names_sort(names);
}

/* With the endpoints that the running pool has, if it is to find its own: it begins with those,
 * wherever they came from, until its source has answered. */
static struct config_pool with_found(const struct making *m, size_t now,
                                     const struct config_pool *pool)
{
    return config_pool_discovers(pool) ? config_pool_with(pool, m->live->found(m->live->ctx, now))
                                       : *pool;
}

static void compare_endpoints(const struct making *m, size_t now, size_t next)
{
    const struct config_pool was = with_found(m, now, &m->now->pools[now]);
    const struct config_pool becomes = with_found(m, now, &m->next->pools[next]);
    const struct config_pool *a = &was, *b = &becomes;
    struct names before = {0}, after = {0};
    learn_endpoints(&before, a);
    learn_endpoints(&after, b);
    for (size_t i = 0; i < b->endpoint_count; i++)
        if (find_endpoint(a, &before, &b->endpoints[i]) == NULL)
            add_endpoint(m, PLAN_ADDED, now, i, b, &b->endpoints[i]);
    for (size_t i = 0; i < a->endpoint_count; i++) {
        const struct config_endpoint *e = &a->endpoints[i], *to = find_endpoint(b, &after, e);
        if (to == NULL)
            add_endpoint(m, PLAN_REMOVED, now, i, a, e);
        else if (config_endpoint_hash(e) != config_endpoint_hash(to))
            add_endpoint(m, PLAN_CHANGED, now, i, a, e);
    }
    names_fini(&before);
    names_fini(&after);
}

/* A pool that changes keeps its conns, unless they are made in another way. */
static void pool_touched(const struct making *m, struct plan_change *change, size_t now,
                         int32_t next)
{
    size_t index = (size_t)(change - m->plan->changes);
    bool closes = next < 0;
    size_t n = with_found(m, now, &m->now->pools[now]).endpoint_count;
    for (size_t i = 0; i < n; i++)
        change->in_flight += m->live->endpoint_requests(m->live->ctx, now, i);
    if (next >= 0) {
        closes = config_conns_hash(m->now, now) != config_conns_hash(m->next, (size_t)next);
        compare_endpoints(m, now, (size_t)next); /* which may move the list */
    }
    if (closes)
        m->plan->changes[index].upstreams = m->live->pool_conns(m->live->ctx, now);
}

static const struct named_things things[] = {
    {PLAN_LISTENER, listener_count, listener_name, config_listener_hash, listener_touched},
    {PLAN_ROUTE, route_count, route_name, config_route_hash, route_touched},
    {PLAN_POOL, pool_count, pool_name, config_pool_hash, pool_touched},
};

/* ---- all else ---- */

static void setting_changed(void *ctx, const char *key, bool restart)
{
    add(ctx, PLAN_CHANGED, PLAN_SETTING, key)->restart = restart;
}

void plan_make(struct plan *plan, const struct config *now, const struct config *next,
               const struct plan_live *live)
{
    struct making m = {plan, now, next, live};
    *plan = (struct plan){.n = 0};
    for (size_t i = 0; i < ARRAY_LEN(things); i++)
        compare(&m, &things[i]);
    config_settings_differ(now, next, setting_changed, &m);
}

void plan_fini(struct plan *plan)
{
    free(TAKE(plan->changes));
}

/* ---- telling ---- */

static const char *const kinds[] = {"listener", "route", "pool", "endpoint", "setting"};
static const char *const hows[] = {"added", "changed", "removed"};

static void tell_count(FILE *out, uint64_t n, const char *what, const char *more)
{
    if (n > 0)
        fprintf(out, "; %llu %s%s %s", (unsigned long long)n, what, n == 1 ? "" : "s", more);
}

static void tell_change(FILE *out, const struct plan_change *c)
{
    fprintf(out, "%c %s %s", "+~-"[c->how], kinds[c->kind], c -> name);
    if (c->pool != NULL)
        fprintf(out, " of pool %s", c->pool);
    if (c->restart)
        fputs("; takes effect when weir starts again", out);
    tell_count(out, c->in_flight, "request", "in flight, which end as they began");
    tell_count(out, c->clients, "client connection", "to be closed once idle");
    tell_count(out, c->upstreams, "connection", "to endpoints to be closed once idle");
    fputc('\n', out);
}

static uint64_t sum_clients(const struct plan *plan)
{
    uint64_t n = 0;
    for (size_t i = 0; i < plan->n; i++)
        n += plan->changes[i].clients;
    return n;
}

char *plan_text(const struct plan *plan, size_t *len)
{
    size_t counts[3] = {0};
    char *text = NULL;
    FILE *out = mem_need(open_memstream(&text, len));
    for (size_t i = 0; i < plan->n; i++) {
        tell_change(out, &plan->changes[i]);
        counts[plan->changes[i].how]++;
    }
    if (plan->n == 0)
        fputs("nothing would change\n", out);
    else
        fprintf(out, "%zu added, %zu changed, %zu removed; %llu client connections to be closed\n",
                counts[PLAN_ADDED], counts[PLAN_CHANGED], counts[PLAN_REMOVED],
                (unsigned long long)sum_clients(plan));
    return mem_need(fclose(out) == 0 ? text : NULL);
}

static void write_change(struct json *j, const struct plan_change *c)
{
    json_object_begin(j);
    json_key(j, "change");
    json_cstring(j, hows[c->how]);
    json_key(j, "kind");
    json_cstring(j, kinds[c->kind]);
    json_key(j, "name");
    json_cstring(j, c->name);
    if (c->pool != NULL) {
        json_key(j, "pool");
        json_cstring(j, c->pool);
    }
    json_key(j, "restart");
    json_bool(j, c->restart);
    json_key(j, "in_flight");
    json_u64(j, c->in_flight);
    json_key(j, "client_connections_closed");
    json_u64(j, c->clients);
    json_key(j, "upstream_connections_closed");
    json_u64(j, c->upstreams);
    json_object_end(j);
}

void plan_json(struct json *j, const void *ctx)
{
    const struct plan *plan = ctx;
    json_object_begin(j);
    json_key(j, "changes");
    json_array_begin(j);
    for (size_t i = 0; i < plan->n; i++)
        write_change(j, &plan->changes[i]);
    json_array_end(j);
    json_key(j, "client_connections_closed");
    json_u64(j, sum_clients(plan));
    json_object_end(j);
}
