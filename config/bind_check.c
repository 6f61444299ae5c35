/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong between values that are each right: references to pools that are missing, addresses
 * taken twice, and rules that can never win. Works on what could be bound, so it must expect NULL
 * where something was wrong. Cost grows with n log n. Control thread.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "config/bind.h"
#include "config/errors.h"
#include "config/mem.h"
#include "config/suggest.h"
#include "proxy/base/check.h"

/* A text and what it belongs to, to be sorted. */
struct named {
    const char *text;
    size_t index;
    struct config_pos pos;
};

static int named_compare(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int named_find(const void *text, const void *item)
{
    return strcmp(text, ((const struct named *)item)->text);
}

static void *scratch_array(struct bind *b, size_t count, size_t size)
{
    return config_mem_alloc(b->scratch, count + 1, size);
}

void bind_check_route(struct bind *b, const struct tree_node *node, void *obj)
{
    struct config_route *route = obj;
    (void)node;
    if (route->name == NULL)
        route->name = config_mem_printf(b->mem, "route-%zu", b->index + 1);
}

/* Runs with the path "routes[index].key" or "pools.name", for messages. */
struct scope {
    struct bind_path steps[3];
};

static void scope_enter(struct bind *b, struct scope *s, const char *list, const char *name,
                        size_t index, const char *key)
{
    s->steps[0] = (struct bind_path){NULL, list, 0};
    s->steps[1] = (struct bind_path){&s->steps[0], name, index};
    s->steps[2] = (struct bind_path){&s->steps[1], key, 0};
    b->path = key ? &s->steps[2] : &s->steps[1];
}

static void scope_leave(struct bind *b)
{
    b->path = NULL;
}

/* Pools. */

struct pools {
    struct named *sorted;
    size_t count;
    bool *used;
};

static void pools_index(struct bind *b, struct pools *p)
{
    const struct config *cfg = b->cfg;
    p->sorted = scratch_array(b, cfg->pool_count, sizeof(*p->sorted));
    p->used = scratch_array(b, cfg->pool_count, sizeof(*p->used));
    for (size_t i = 0; i < cfg->pool_count; i++)
        if (cfg->pools[i].name != NULL)
            p->sorted[p->count++] = (struct named){cfg->pools[i].name, i, cfg->pools[i].pos};
    qsort(p->sorted, p->count, sizeof(*p->sorted), named_compare);
}

static void no_such_pool(struct bind *b, const struct pools *p, const struct config_target *t)
{
    struct suggest s;
    suggest_init(&s, t->name);
    /* Not once for each of a great many mistakes that nobody will read. */
    for (size_t i = 0; i < p->count && !config_errors_full(b->errs); i++)
        suggest_offer(&s, p->sorted[i].text);
    bind_error(b, t->pos, "no pool named %s%s", bind_quote(b, t->name), bind_suggestion(b, &s));
}

static void resolve_target(struct bind *b, struct pools *p, struct config_target *t)
{
    if (t->name == NULL)
        return;
    const struct named *found =
        bsearch(t->name, p->sorted, p->count, sizeof(*p->sorted), named_find);
    if (found == NULL) {
        no_such_pool(b, p, t);
        return;
    }
    t->pool = (uint32_t)found->index;
    p->used[found->index] = true;
}

static void check_listener(struct bind *b, const struct config_match *m)
{
    const struct config *cfg = b->cfg;
    struct suggest s;
    if (m->listener == NULL)
        return;
    suggest_init(&s, m->listener);
    for (size_t i = 0; i < cfg->listener_count; i++) {
        if (cfg->listeners[i].name == NULL)
            continue;
        if (strcmp(cfg->listeners[i].name, m->listener) == 0)
            return;
        suggest_offer(&s, cfg->listeners[i].name);
    }
    bind_error(b, m->pos, "no listener named %s%s", bind_quote(b, m->listener),
               bind_suggestion(b, &s));
}

static void resolve_routes(struct bind *b, struct pools *p)
{
    struct config *cfg = b->cfg;
    for (size_t i = 0; i < cfg->route_count; i++) {
        struct scope scope;
        scope_enter(b, &scope, "routes", NULL, i, "to");
        for (size_t k = 0; k < cfg->routes[i].to_count; k++)
            resolve_target(b, p, &cfg->routes[i].to[k]);
        scope_enter(b, &scope, "routes", NULL, i, "match");
        check_listener(b, &cfg->routes[i].match);
        scope_leave(b);
    }
}

static void warn_unused(struct bind *b, const struct pools *p)
{
    for (size_t i = 0; i < b->cfg->pool_count; i++) {
        const struct config_pool *pool = &b->cfg->pools[i];
        struct scope scope;
        scope_enter(b, &scope, "pools", pool->name, 0, NULL);
        if (!p->used[i])
            bind_warn(b, pool->pos, "no route leads to this pool");
        scope_leave(b);
    }
}

/* Who is to register has to find weir, and weir to find them again. */
static void check_registries(struct bind *b)
{
    const struct config *cfg = b->cfg;
    struct scope scope;
    for (size_t i = 0; i < cfg->pool_count; i++) {
        const struct config_registry *registry = &cfg->pools[i].registry;
        if (!registry->enabled || registry->pos.line == 0) /* or it is no mapping: told already */
            continue;
        scope_enter(b, &scope, "pools", cfg->pools[i].name, 0, "registry");
        if (!cfg->admin.enabled)
            bind_error(b, registry->pos,
                       "endpoints register at the admin listener, and there is none: say admin: "
                       "{}, or where it is to listen");
        else if (cfg->registry_state.text == NULL)
            bind_warn(b, registry->pos,
                      "who is registered is forgotten when weir ends, also in a binary upgrade; "
                      "registry: { state: FILE } keeps it");
        scope_leave(b);
    }
}

/* Weights. */

/* Nobody means a pool of weights 0. Who drains all of it means that, and may have no other pool. */
static void check_pool_serves(struct bind *b, const struct config_pool *pool)
{
    bool drained = false;
    for (size_t i = 0; i < pool->endpoint_count; i++) {
        const struct config_endpoint *e = &pool->endpoints[i];
        if (e->weight > 0 && !e->drain)
            return;
        drained |= e->drain;
    }
    if (drained)
        bind_warn(b, pool->pos, "every endpoint is drained, so new requests are answered 503");
    else
        bind_error(b, pool->pos,
                   "every endpoint has weight 0, so none would ever get a request; give one a "
                   "weight, or say drain: true if they are only to finish what they have");
}

static bool route_has_weight(const struct config_route *route)
{
    for (size_t i = 0; i < route->to_count; i++)
        if (route->to[i].weight > 0)
            return true;
    return false;
}

static void warn_weightless(struct bind *b)
{
    const struct config *cfg = b->cfg;
    struct scope scope;
    for (size_t i = 0; i < cfg->pool_count; i++) {
        scope_enter(b, &scope, "pools", cfg->pools[i].name, 0, NULL);
        if (cfg->pools[i].endpoint_count > 0)
            check_pool_serves(b, &cfg->pools[i]);
    }
    for (size_t i = 0; i < cfg->route_count; i++) {
        scope_enter(b, &scope, "routes", NULL, i, "to");
        if (!route_has_weight(&cfg->routes[i]))
            bind_warn(b, cfg->routes[i].to[0].pos,
                      "every pool has weight 0, so all requests are answered 503");
    }
    scope_leave(b);
}

/* Listeners. */

/* The same for two addresses that bind to the same; NULL: there is no conflict to be had. */
static const char *bind_key(struct bind *b, const struct config_addr *a)
{
    struct in6_addr v6;
    char canonical[INET6_ADDRSTRLEN];
    if (a->text == NULL || (a->kind == CONFIG_ADDR_TCP && a->port == 0))
        return NULL;
    if (a->kind == CONFIG_ADDR_UNIX)
        return a->path;
    if (inet_pton(AF_INET6, a->host, &v6) != 1)
        return config_mem_printf(b->scratch, "%s:%u", a->host, a->port);
    inet_ntop(AF_INET6, &v6, canonical, sizeof(canonical));
    return config_mem_printf(b->scratch, "[%s]:%u", canonical, a->port);
}

static void address_twice(struct bind *b, const struct named *first, const struct named *again)
{
    struct scope scope;
    const struct config_listener *listeners = b->cfg->listeners;
    size_t admin =
        b->cfg->listener_count; /* the index of the admin listener is behind the others */
    if (again->index == admin)
        scope_enter(b, &scope, "admin", "listen", 0, NULL);
    else
        scope_enter(b, &scope, "listeners", listeners[again->index].name, 0, NULL);
    bind_error(b, again->pos, "%s is the address of listeners.%s already (line %u)",
               bind_quote(b, again->text), listeners[first->index].name, first->pos.line);
    scope_leave(b);
}

/* SO_REUSEPORT would let two listeners have one address, and spread clients over them. */
static void check_addresses(struct bind *b)
{
    const struct config *cfg = b->cfg;
    size_t count = 0;
    struct named *all = scratch_array(b, cfg->listener_count + 1, sizeof(*all));
    for (size_t i = 0; i <= cfg->listener_count; i++) {
        const struct config_addr *a =
            i < cfg->listener_count ? &cfg->listeners[i].bind : &cfg->admin.listen;
        const char *key = bind_key(b, a);
        if (key != NULL)
            all[count++] = (struct named){key, i, a->pos};
    }
    qsort(all, count, sizeof(*all), named_compare);
    for (size_t i = 1; i < count; i++)
        if (strcmp(all[i - 1].text, all[i].text) == 0)
            address_twice(b, &all[i - 1], &all[i]);
}

/*
 * Shadowed routes. Between two routes that both match a request the more specific wins, host first,
 * then path, method, number of fields; so a route loses every request only to routes that are just
 * as specific and stand before it: the same host, path and set of fields, and methods that include
 * its own. A route with several hosts is looked at host by host.
 */
struct claim {
    const char *host; /* "" for every host */
    const char *rest; /* path and fields, in one spelling */
    size_t route;
    uint64_t methods; /* a bit each; all for every method, which is another rest */
};

struct shadows {
    struct bind *b;
    struct claim *claims;
    size_t count;
    const char *methods[64];
    size_t method_count;
};

static int field_compare(const void *a, const void *b)
{
    const struct config_header_match *x = *(const struct config_header_match *const *)a;
    const struct config_header_match *y = *(const struct config_header_match *const *)b;
    return strcmp(x->name, y->name);
}

/* All that has to be equal but the host, as one text; a line break is in none of its parts. */
static const char *route_rest(struct bind *b, const struct config_match *m)
{
    const char *path = m->path.exact ? m->path.exact : m->path.prefix ? m->path.prefix : "";
    size_t len = strlen(path);
    if (m->path.exact == NULL && len > 0 && path[len - 1] == '/')
        len--; /* by element, /a/ is /a */
    const struct config_header_match **sorted = scratch_array(b, m->header_count, sizeof(*sorted));
    for (size_t i = 0; i < m->header_count; i++)
        sorted[i] = &m->headers[i];
    qsort(sorted, m->header_count, sizeof(*sorted), field_compare);
    struct config_text rest;
    config_text_open(&rest, b->scratch);
    fprintf(rest.out, "%s %s %.*s", m->method_count ? "some" : "all",
            m->path.exact ? "exact" : "prefix", (int)len, path);
    if (m->listener != NULL)
        fprintf(rest.out, "\nby %s", m->listener);
    for (size_t i = 0; i < m->header_count; i++)
        fprintf(rest.out, "\n%s: %s", sorted[i]->name, sorted[i]->value);
    return config_text_close(&rest);
}

static uint64_t method_bit(struct shadows *s, const char *method)
{
    size_t i = 0;
    while (i < s->method_count && strcmp(s->methods[i], method) != 0)
        i++;
    CHECK(i < ARRAY_LEN(s->methods)); /* the schema knows fewer */
    if (i == s->method_count)
        s->methods[s->method_count++] = method;
    return UINT64_C(1) << i;
}

static void claim_route(struct shadows *s, size_t route)
{
    const struct config_match *m = &s->b->cfg->routes[route].match;
    struct claim claim = {"", route_rest(s->b, m), route, 0};
    for (size_t i = 0; i < m->method_count; i++)
        claim.methods |= method_bit(s, m->methods[i].text);
    if (m->method_count == 0)
        claim.methods = UINT64_MAX;
    if (m->host_count == 0)
        s->claims[s->count++] = claim;
    for (size_t i = 0; i < m->host_count; i++) {
        claim.host = m->hosts[i].text;
        s->claims[s->count++] = claim;
    }
}

static bool claim_alike(const struct claim *a, const struct claim *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->rest, b->rest) == 0;
}

static int claim_compare(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int order = strcmp(x->host, y->host);
    if (order == 0)
        order = strcmp(x->rest, y->rest);
    return order != 0 ? order : (x->route > y->route) - (x->route < y->route);
}

/* Fills in, for each route, of how many claims nothing is left, and who took the last of them. */
static void count_lost(const struct shadows *s, size_t *lost, size_t *taker)
{
    uint64_t taken = 0;
    size_t first = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct claim *c = &s->claims[i];
        if (i == 0 || !claim_alike(c, &s->claims[first])) {
            first = i;
            taken = 0;
        }
        if ((c->methods & ~taken) == 0) {
            lost[c->route]++;
            taker[c->route] = s->claims[first].route;
        }
        taken |= c->methods;
    }
}

static void warn_shadowed(struct bind *b)
{
    const struct config *cfg = b->cfg;
    struct shadows s = {.b = b};
    size_t claims = 0;
    for (size_t i = 0; i < cfg->route_count; i++)
        claims += cfg->routes[i].match.host_count + 1;
    s.claims = scratch_array(b, claims, sizeof(*s.claims));
    for (size_t i = 0; i < cfg->route_count; i++)
        claim_route(&s, i);
    qsort(s.claims, s.count, sizeof(*s.claims), claim_compare);
    size_t *lost = scratch_array(b, cfg->route_count, sizeof(*lost));
    size_t *taker = scratch_array(b, cfg->route_count, sizeof(*taker));
    count_lost(&s, lost, taker);
    for (size_t i = 0; i < cfg->route_count; i++) {
        const struct config_route *route = &cfg->routes[i], *winner = &cfg->routes[taker[i]];
        size_t hosts = route->match.host_count ? route->match.host_count : 1;
        struct scope scope;
        scope_enter(b, &scope, "routes", NULL, i, NULL);
        if (lost[i] == hosts)
            bind_warn(b, route->pos,
                      "never wins: all that it matches is taken by earlier routes, such as \"%s\" "
                      "at line %u",
                      winner->name, winner->pos.line);
        scope_leave(b);
    }
}

void bind_check(struct bind *b)
{
    struct pools pools = {0};
    b->path = NULL;
    check_addresses(b);
    pools_index(b, &pools);
    /* Without any pool, that is the one thing to say. */
    if (pools.count > 0)
        resolve_routes(b, &pools);
    check_registries(b);
    if (b->errs->errors > 0)
        return; /* what a mistake left out would be warned about in vain */
    warn_unused(b, &pools);
    warn_weightless(b);
    warn_shadowed(b);
}
