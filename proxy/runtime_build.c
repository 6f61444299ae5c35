/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns the configuration's structs into a snapshot, and names into addresses. Owns the snapshot
 * until it is whole; must never change a part that another snapshot has. Control thread.
 */
#include "proxy/runtime_build.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "balancer/hash.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/log.h"
#include "proxy/base/names.h"
#include "proxy/discovery/discovery.h"
#include "proxy/runtime_balance.h"
#include "proxy/runtime_health.h"
#include "proxy/runtime_retry.h"
#include "proxy/runtime_sticky.h"
#include "proxy/runtime_tls.h"
#include "proxy/runtime_trace.h"
#include "proxy/trace/target.h"

#define H2_STREAMS      100 /* on one conn to an endpoint */
#define H2_CONN_BUFFERS 16  /* of such a conn, of limits.buffer each: 1 MiB by default */
#define H2_PONG_MS      10000

struct build {
    const struct config *cfg;
    struct config_errors *errs;
    struct snapshot *snap;
    const struct snapshot *before; /* or NULL */
    const struct discovery *found; /* what has been found since; NULL: nothing else than before */
    struct names listeners, pools; /* its */
    uint64_t common;
    uint64_t now_us;
    unsigned n_workers;
};

/* ---- addresses ---- */

static uint32_t clamp_ms(uint64_t ms)
{
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* 0: no bound. */
static uint32_t optional_ms(uint64_t ms)
{
    return ms == CONFIG_NONE ? 0 : clamp_ms(ms);
}

static const struct addrinfo *first_of(const struct addrinfo *list, int family)
{
    while (list != NULL && list->ai_family != family)
        list = list->ai_next;
    return list;
}

/* Names are resolved once, here. Of several addresses the first IPv4 one is taken, else the first:
 * "localhost" is ::1 first nearly everywhere, and what listens there is on 127.0.0.1 nearly always.
 * also: NULL, or the first IPv6 one beside that; of length 0, if there is none.
 */
static bool resolve(const struct config_addr *from, struct net_addr *to, struct net_addr *also,
                    struct config_errors *errs)
{
    if (from->kind == CONFIG_ADDR_UNIX)
        return net_addr_unix(to, from->path);
    if (net_addr_ip(to, from->host, from->port))
        return true;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", from->port);
    int err = getaddrinfo(from->host, port, &hints, &list);
    if (err != 0) {
        config_errors_add(
            errs, CONFIG_ERROR, from->pos, NULL,
            "cannot resolve \"%s\": %s; use an address, or see whether this machine's "
            "resolver knows the name",
            from->host, gai_strerror(err));
        return false;
    }
    CHECK(list != NULL); /* without an error there is at least one */
    const struct addrinfo *v4 = first_of(list, AF_INET), *v6 = first_of(list, AF_INET6);
    const struct addrinfo *best = v4 != NULL ? v4 : list;
    net_addr_from(to, best->ai_addr, best->ai_addrlen);
    if (also != NULL && v4 != NULL && v6 != NULL)
        net_addr_from(also, v6->ai_addr, v6->ai_addrlen);
    freeaddrinfo(list);
    return true;
}

bool runtime_resolve(const struct config_addr *from, struct net_addr *to,
                     struct config_errors *errs)
{
    return resolve(from, to, NULL, errs);
}

/* A host that has an address of each family is dialled at both; and so is who says that there are
 * two: also, or text NULL. */
static bool resolve_endpoint(const struct build *b, const struct config_addr *from,
                             const struct config_addr *also, struct pool_spec *to,
                             struct endpoint_spec *at)
{
    char text[NET_ADDR_TEXT];
    if (!resolve(from, &at->addr, &at->also, b->errs) ||
        (also->text != NULL && !resolve(also, &at->also, NULL, b->errs)))
        return false;
    net_addr_print(&at->addr, at->text);
    to->identity = lb_hash_pair(to->identity, lb_hash(at->text, strlen(at->text)));
    if (at->also.len == 0)
        return true;
    at->addr.also = &at->also;
    struct span other = net_addr_print(&at->also, text);
    to->identity = lb_hash_pair(to->identity, lb_hash(other.ptr, other.len));
    return true;
}

/* ---- the snapshot ---- */

static char *copy(const char *s)
{
    return mem_need(strdup(s));
}

static void *array(size_t n, size_t size)
{
    return mem_need(calloc(n > 0 ? n : 1, size));
}

static void add_networks(struct cidr_set *set, bool *is_unix, const struct config_cidr *from,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cidr cidr;
        if (from[i].kind == CONFIG_CIDR_UNIX) {
            *is_unix = true;
            continue;
        }
        CHECK(cidr_parse(span_str(from[i].text), &cidr) != CIDR_ERR_ADDRESS);
        cidr_set_add(set, &cidr);
    }
}

/* The one of the snapshot before, if it is the same in all. */
static struct listener_spec *same_listener(const struct build *b, const char *name,
                                           uint64_t identity)
{
    int32_t at = names_find(&b->listeners, name);
    struct listener_spec *spec = at >= 0 ? b->before->listeners[at] : NULL;
    return spec != NULL && spec->identity == identity ? listener_spec_ref(spec) : NULL;
}

static bool build_listener(const struct build *b, const struct config_listener *from,
                           struct listener_spec *to)
{
    to->name = copy(from->name);
    to->mode = from->mode;
    to->forward = (struct forward_options){.forwarded = from->forwarded, .via = from->via};
    to->redirect_https = from->redirect_https.enabled ? from->redirect_https.port : 0;
    add_networks(&to->trusted, &to->trust_unix, from->trusted, from->trusted_count);
    add_networks(&to->proxy_from, &to->proxy_from_unix, from->proxy_protocol.from,
                 from->proxy_protocol.from_count);
    bool ok = runtime_resolve(&from->bind, &to->asked, b->errs);
    to->addr = to->asked;
    return runtime_listener_tls(from, &to->tls, true, b->errs) && ok;
}

static bool build_listeners(struct build *b)
{
    struct snapshot *snap = b->snap;
    bool ok = true;
    snap->listeners = array(snap->n_listeners, sizeof(snap->listeners[0]));
    for (size_t i = 0; i < snap->n_listeners; i++) {
        const struct config_listener *from = &b->cfg->listeners[i];
        uint64_t identity = config_listener_hash(b->cfg, i);
        snap->listeners[i] = same_listener(b, from->name, identity);
        if (snap->listeners[i] != NULL)
            continue;
        struct listener_spec *to = snap->listeners[i] = array(1, sizeof(*to));
        to->refs = 1;
        to->identity = identity;
        ok &= build_listener(b, from, to);
    }
    return ok;
}

static struct endpoint_spec *new_endpoints(uint32_t n)
{
    size_t size = n * sizeof(struct endpoint_spec);
    return memset(mem_need(aligned_alloc(LB_CACHE_LINE, size)), 0, size);
}

static void pool_options(const struct config *cfg, const struct config_pool *from,
                         struct pool_spec *to)
{
    to->idle_ms = clamp_ms(from->idle_ms);
    to->max_idle = from->max_idle;
    to->options = (struct h1_client_options){
        .limits =
            {
                .body_bytes = UINT64_MAX,
                .header_bytes = (uint32_t)cfg->limits.header_bytes,
                .target_bytes = (uint32_t)cfg->limits.target_bytes,
                .headers = cfg->limits.headers,
            },
        .connect_ms = clamp_ms(from->connect_ms),
        .response_idle_ms = clamp_ms(cfg->timeouts.response_idle),
        .write_stall_ms = clamp_ms(cfg->timeouts.write_stall),
        .buffer = (size_t)cfg->limits.buffer,
        .once = from->proxy_protocol != CONFIG_PROXY_NONE,
    };
    to->h2 = (struct h2_client_options){
        .limits = to->options.limits,
        .connect_ms = to->options.connect_ms,
        .response_idle_ms = to->options.response_idle_ms,
        .write_stall_ms = to->options.write_stall_ms,
        .idle_ms = to->idle_ms,
        .ping_ms = clamp_ms(from->ping_ms),
        .pong_ms = H2_PONG_MS,
        .max_streams = H2_STREAMS,
        .buffer = to->options.buffer,
        .conn_buffer = H2_CONN_BUFFERS * to->options.buffer,
    };
}

/* Where checks go, if that is elsewhere. */
static bool resolve_checks(const struct build *b, const struct config_pool *from,
                           struct pool_spec *to)
{
    bool ok = true;
    for (uint32_t i = 0; i < to->n_endpoints; i++) {
        struct endpoint_spec *at = &to->health->endpoints[i];
        struct config_addr addr = from->endpoints[i].address, also = from->endpoints[i].also;
        if (from->endpoints[i].health.text != NULL) {
            addr = from->endpoints[i].health;
            also.text = NULL;
        } else if (from->health.port != 0) {
            addr.port = also.port = (uint16_t)from->health.port;
        }
        ok &= resolve_endpoint(b, &addr, &also, to, at);
    }
    return ok;
}

static bool build_health(const struct build *b, const struct config_pool *from,
                         struct pool_spec *to)
{
    if (!from->health.enabled)
        return true;
    to->health = runtime_health(from);
    if (!runtime_health_elsewhere(from))
        return true;
    to->health->endpoints = new_endpoints(to->n_endpoints);
    return resolve_checks(b, from, to);
}

static bool build_endpoints(const struct build *b, const struct config_pool *from,
                            struct pool_spec *to)
{
    bool ok = true;
    to->n_endpoints = (uint32_t)from->endpoint_count;
    to->endpoints = new_endpoints(to->n_endpoints);
    for (uint32_t i = 0; i < to->n_endpoints; i++) {
        struct endpoint_spec *ep = &to->endpoints[i];
        ok &= resolve_endpoint(b, &from->endpoints[i].address, &from->endpoints[i].also, to, ep);
    }
    return ok;
}

static bool build_pool(const struct build *b, const struct config_pool *from, struct pool_spec *to,
                       const struct pool_spec *was)
{
    /* Other endpoints are no reason to read its files: they are watched. */
    struct tls_source *known = b->found != NULL ? was->source : NULL;
    runtime_balance(b->cfg, b->n_workers, from, to);
    to->hedge = from->hedge;
    to->budget = runtime_retry_budget(&from->retry_budget, b->n_workers);
    pool_options(b->cfg, from, to);
    bool ok = runtime_sticky(from, to, b->errs);
    ok &= runtime_pool_tls(from, to, known, b->errs);
    if (to->tls != NULL && to->tls->server_name != NULL) /* which may be that of its endpoints */
        to->conns =
            lb_hash_pair(to->conns, lb_hash(to->tls->server_name, strlen(to->tls->server_name)));
    return ok;
}

/* Of the snapshot before; NULL: there is none of that name. */
static struct pool_spec *pool_before(const struct build *b, const char *name)
{
    int32_t at = names_find(&b->pools, name);
    return at >= 0 ? b->before->pools[at] : NULL;
}

/* ---- endpoints that are found ---- */

/* A pool has what it had before, wherever that came from, until its source has answered. */
static void keep_found(struct pool_spec *to, const struct pool_spec *was)
{
    bool same = was != NULL && was->from != NULL && was->from->identity == to->from->identity;
    struct config_endpoints *found = was != NULL ? was->found : NULL;
    if (found != NULL && (same || found->count > 0))
        to->found = config_endpoints_ref(found);
    if (same && was->why_none != NULL)
        to->why_none = copy(was->why_none);
    if (!same && to->found == NULL) {
        char why[DISCOVERY_WHY];
        discovery_tell(to->from, NULL, why);
        to->why_none = copy(why);
    }
}

static void take_found(const struct discovery *found, struct pool_spec *to)
{
    char why[DISCOVERY_WHY];
    struct config_endpoints *set = discovery_endpoints(found, to->name, to->from);
    if (set != NULL)
        to->found = config_endpoints_ref(set);
    if (discovery_why_none(found, to->name, why))
        to->why_none = copy(why);
}

static uint64_t found_hash(const struct pool_spec *pool)
{
    const char *why = pool->why_none != NULL ? pool->why_none : "";
    return lb_hash_pair(pool->found != NULL ? pool->found->hash : 0, lb_hash(why, strlen(why)));
}

/* The pool as it is with them. */
static const struct config_pool *with_found(const struct build *b, const struct config_pool *from,
                                            struct pool_spec *to, const struct pool_spec *was,
                                            struct config_pool *with)
{
    to->from = source_spec_new(from, b->cfg->zone);
    if (to->from == NULL) {
        to->found = config_endpoints_copy(from->endpoints, from->endpoint_count);
        return from;
    }
    if (b->found != NULL)
        take_found(b->found, to);
    else
        keep_found(to, was);
    to->identity = lb_hash_pair(to->identity, found_hash(to));
    *with = config_pool_with(from, to->found);
    return with;
}

static bool make_pool(const struct build *b, size_t i, struct pool_spec **made)
{
    const struct config_pool *from = &b->cfg->pools[i];
    struct config_pool with;
    struct pool_spec *to = *made = array(1, sizeof(*to)), *was = pool_before(b, from->name);
    to->refs = 1;
    to->name = copy(from->name);
    to->identity = lb_hash_pair(b->common, config_pool_hash(b->cfg, i));
    to->conns = config_conns_hash(b->cfg, i);
    from = with_found(b, from, to, was, &with);
    bool found = build_endpoints(b, from, to);
    found &= build_health(b, from, to);
    if (found && was != NULL && was->identity == to->identity) {
        pool_spec_unref(to);
        *made = pool_spec_ref(was);
        return true;
    }
    bool ok = build_pool(b, from, to, was) && found;
    if (found && was != NULL)
        pool_follow(to, was, b->now_us);
    return ok;
}

static bool build_pools(struct build *b)
{
    struct snapshot *snap = b->snap;
    bool ok = true;
    snap->pools = array(snap->n_pools, sizeof(snap->pools[0]));
    for (size_t i = 0; i < snap->n_pools; i++)
        ok &= make_pool(b, i, &snap->pools[i]);
    return ok;
}

static struct span *spans_of(const struct config_str *strings, size_t n)
{
    struct span *spans = array(n, sizeof(spans[0]));
    for (size_t i = 0; i < n; i++)
        spans[i] = span_str(strings[i].text);
    return spans;
}

static void add_rule(struct snapshot *snap, const struct config_route *from)
{
    const struct config_match *match = &from->match;
    struct span *hosts = spans_of(match->hosts, match->host_count);
    struct span *methods = spans_of(match->methods, match->method_count);
    struct route_field_match *fields = array(match->header_count + 1, sizeof(fields[0]));
    size_t n_fields = match->header_count;
    struct route_target *targets = array(from->to_count, sizeof(targets[0]));
    for (size_t i = 0; i < match->header_count; i++)
        fields[i] = (struct route_field_match){span_str(match->headers[i].name),
                                               span_str(match->headers[i].value)};
    if (match->listener != NULL)
        fields[n_fields++] =
            (struct route_field_match){SPAN_LIT(ROUTE_LISTENER), span_str(match->listener)};
    for (size_t i = 0; i < from->to_count; i++)
        targets[i] = (struct route_target){(int32_t)from->to[i].pool, from->to[i].weight};
    bool exact = match->path.exact != NULL;
    struct route_rule rule = {
        .name = span_str(from->name),
        .hosts = hosts,
        .n_hosts = match->host_count,
        .path_kind = exact ? ROUTE_EXACT : ROUTE_PREFIX,
        .path = span_str(exact ? match->path.exact : match->path.prefix),
        .methods = methods,
        .n_methods = match->method_count,
        .fields = fields,
        .n_fields = n_fields,
        .targets = targets,
        .n_targets = from->to_count,
    };
    CHECK(route_table_add(snap->table, &rule) >= 0); /* config has refused what this refuses */
    free(hosts);
    free(methods);
    free(fields);
    free(targets);
}

static void build_routes(struct build *b)
{
    struct snapshot *snap = b->snap;
    size_t n = b->cfg->route_count;
    snap->table = route_table_new();
    snap->routes = array(n, sizeof(snap->routes[0]));
    snap->n_rows = 1;
    for (size_t i = 0; i < n; i++) {
        const struct config_route *from = &b->cfg->routes[i];
        add_rule(snap, from);
        snap->routes[i] = (struct route_spec){
            .request_ms = optional_ms(from->request_ms),
            .try_ms = clamp_ms(from->try_ms),
            .row = (uint32_t)snap->n_rows,
        };
        runtime_retry(&from->retry, &snap->routes[i].retry);
        snap->n_rows += 1 + from->to_count;
    }
    route_table_compile(snap->table);
}

static void build_server(struct build *b)
{
    const struct config *cfg = b->cfg;
    struct snapshot *snap = b->snap;
    snap->server = (struct h1_server_options){
        .limits =
            {
                .body_bytes = cfg->limits.body_bytes,
                .header_bytes = (uint32_t)cfg->limits.header_bytes,
                .target_bytes = (uint32_t)cfg->limits.target_bytes,
                .headers = cfg->limits.headers,
            },
        .head_ms = clamp_ms(cfg->timeouts.request_head),
        .idle_ms = clamp_ms(cfg->timeouts.client_idle),
        .body_ms = clamp_ms(cfg->timeouts.request_body),
        .write_stall_ms = clamp_ms(cfg->timeouts.write_stall),
        .buffer = (size_t)cfg->limits.buffer,
    };
    snap->upgraded_ms = clamp_ms(cfg->timeouts.upgraded);
    snap->slow_us = cfg->flight.slow_ms == CONFIG_NONE ? UINT64_MAX : cfg->flight.slow_ms * 1000;
    snap->handshake_ms = clamp_ms(cfg->timeouts.tls_handshake);
    snap->max_connections = cfg->limits.connections;
}

static void build_tls(struct snapshot *snap)
{
    snap->tls = array(snapshot_n_tls(snap), sizeof(snap->tls[0]));
    for (size_t i = 0; i < snap->n_listeners; i++)
        snap->tls[i] = snap->listeners[i]->tls;
    for (size_t i = 0; i < snap->n_pools; i++)
        snap->tls[snap->n_listeners + i] = snap->pools[i]->source;
}

static void learn_names(struct build *b)
{
    for (size_t i = 0; b->before != NULL && i < b->before->n_listeners; i++)
        names_add(&b->listeners, b->before->listeners[i]->name, (int32_t)i);
    for (size_t i = 0; b->before != NULL && i < b->before->n_pools; i++)
        names_add(&b->pools, b->before->pools[i]->name, (int32_t)i);
    names_sort(&b->listeners);
    names_sort(&b->pools);
}

static void begin(struct build *b)
{
    b->now_us = uv_hrtime() / 1000;
    b->common = config_common_hash(b->cfg);
    learn_names(b);
    b->snap = array(1, sizeof(*b->snap));
    b->snap->refs = 1;
    b->snap->n_listeners = b->cfg->listener_count;
    b->snap->n_pools = b->cfg->pool_count;
}

static struct snapshot *end(struct build *b, bool ok)
{
    build_tls(b->snap);
    build_routes(b);
    build_server(b);
    names_fini(&b->listeners);
    names_fini(&b->pools);
    if (!ok)
        snapshot_unref(TAKE(b->snap));
    return b->snap;
}

struct snapshot *runtime_build(const struct config *cfg, unsigned n_workers,
                               const struct snapshot *before, struct config_errors *errs)
{
    struct build b = {.cfg = cfg, .n_workers = n_workers, .before = before, .errs = errs};
    begin(&b);
    bool ok = build_listeners(&b);
    ok &= build_pools(&b);
    ok &= runtime_trace(cfg, b.snap, errs);
    return end(&b, ok);
}

/* ---- other endpoints ---- */

static bool is_news(const struct pool_spec *pool, const struct discovery *found)
{
    struct pool_spec now = {.name = pool->name, .from = pool->from};
    if (pool->from == NULL)
        return false;
    take_found(found, &now);
    bool news = found_hash(&now) != found_hash(pool);
    config_endpoints_unref(now.found);
    free((char *)(uintptr_t)now.why_none);
    return news;
}

/* Why there are none is not told here, and may be all that has changed. */
static void log_found(const struct pool_spec *pool, const struct pool_spec *was)
{
    if (pool->n_endpoints == 0 && was->n_endpoints == 0)
        return;
    log_info("pool %s: %u endpoint%s, before %u; from %s", pool->name, pool->n_endpoints,
             pool->n_endpoints == 1 ? "" : "s", was->n_endpoints, pool->from->text);
}

/* Their index is the same in both. */
static bool rebuild_pools(struct build *b, bool *news)
{
    struct snapshot *snap = b->snap;
    bool ok = true;
    snap->pools = array(snap->n_pools, sizeof(snap->pools[0]));
    for (size_t i = 0; i < snap->n_pools; i++) {
        struct pool_spec *was = b->before->pools[i];
        if (!is_news(was, b->found)) {
            snap->pools[i] = pool_spec_ref(was);
            continue;
        }
        ok &= make_pool(b, i, &snap->pools[i]);
        *news = true;
        log_found(snap->pools[i], was);
    }
    return ok;
}

struct snapshot *runtime_rebuild(const struct config *cfg, unsigned n_workers,
                                 const struct snapshot *before, const struct discovery *found,
                                 struct config_errors *errs)
{
    struct build b = {
        .cfg = cfg, .n_workers = n_workers, .before = before, .found = found, .errs = errs};
    bool news = false;
    begin(&b);
    b.snap->listeners = array(b.snap->n_listeners, sizeof(b.snap->listeners[0]));
    for (size_t i = 0; i < b.snap->n_listeners; i++)
        b.snap->listeners[i] = listener_spec_ref(before->listeners[i]);
    b.snap->traces = before->traces;
    b.snap->sampler = before->sampler;
    b.snap->traces_to = trace_target_ref(before->traces_to);
    bool ok = rebuild_pools(&b, &news);
    return end(&b, ok && news);
}
