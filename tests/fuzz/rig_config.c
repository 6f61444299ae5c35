/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration that a script's settings ask for: two pools and three routes. Owns nothing; one
 * thread.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/budget.h"
#include "balancer/gate.h"
#include "balancer/sticky.h"
#include "proxy/base/check.h"
#include "tests/fuzz/rig.h"

static char *copy(const char *text)
{
    char *c = strdup(text);
    CHECK(c != NULL);
    return c;
}

/* Places for few: some wait, sessions for their endpoint. */
static void limit_pool(struct pool_spec *spec)
{
    spec->limits = (struct pool_limits){.gate = lb_gate_new(3, 3),
                                        .queue = 3,
                                        .wait_ms = 2000,
                                        .picky = spec->sticky.cookie.len > 0};
}

/* Endpoint i has the token iii...i. */
static void stick_pool(struct pool_spec *spec)
{
    char tokens[RIG_ENDPOINTS][LB_TOKEN_LEN];
    for (uint32_t i = 0; i < spec->n_endpoints; i++)
        memset(tokens[i], '0' + (int)i, LB_TOKEN_LEN);
    spec->sticky.cookie = span_str(copy("s"));
    spec->sticky.attributes = span_str(copy("; Path=/"));
    lb_sticky_attach(spec->balance, tokens);
}

/* What its balancing has beside a policy. */
static void resilient_pool(struct pool_spec *spec, const uint8_t *set)
{
    static const struct lb_budget_rule few = {
        .percent = 20, .min_rate = 1, .window_us = LB_BUDGET_WINDOW_US};
    if (set[2] & RIG_HEDGES)
        spec->hedge = 95;
    if (set[1] & RIG_STATUSES)
        spec->budget = lb_budget_new(&few, 1);
    if (set[2] & RIG_STICKY)
        stick_pool(spec);
    if (set[1] & RIG_LIMITS)
        limit_pool(spec);
}

static struct pool_spec *build_pool(const char *name, unsigned n, const uint8_t *set)
{
    static const char *const policies[] = {"round_robin", "least_conn", "random", "p2c"};
    struct pool_spec *spec = malloc(sizeof(*spec));
    CHECK(spec != NULL);
    *spec = (struct pool_spec){
        .refs = 1,
        .name = copy(name),
        .endpoints = aligned_alloc(LB_CACHE_LINE, n * sizeof(spec->endpoints[0])),
        .n_endpoints = n,
        .idle_ms = 20000,
        .max_idle = set[1] & 4 ? 1 : 8,
        .options = {.limits = {.body_bytes = UINT64_MAX,
                               .header_bytes = 2048,
                               .target_bytes = 1024,
                               .headers = 20},
                    .connect_ms = 5000,
                    .response_idle_ms = 30000,
                    .write_stall_ms = 25000,
                    .buffer = set[0] & 4 ? 4096 : 65536},
        .protocol = set[0] & RIG_H2_UPSTREAMS ? POOL_H2 : POOL_AUTO,
        .h2 = {.connect_ms = 5000,
               .response_idle_ms = 30000,
               .write_stall_ms = 25000,
               .idle_ms = 20000,
               .ping_ms = 7000,
               .pong_ms = 4000,
               .max_streams = 100,
               .buffer = set[0] & 4 ? 4096 : 65536,
               .conn_buffer = set[0] & 4 ? 65535 : 1 << 20},
    };
    spec->h2.limits = spec->options.limits;
    CHECK(spec->endpoints != NULL);
    memset(spec->endpoints, 0, n * sizeof(spec->endpoints[0]));
    for (unsigned i = 0; i < n; i++) {
        struct endpoint_spec *ep = &spec->endpoints[i];
        CHECK(net_addr_ip(&ep->addr, "127.0.0.1", (uint16_t)(i + 1)));
        net_addr_print(&ep->addr, ep->text);
        lb_endpoint_init(&ep->lb, i, i, 1);
        ep->lb.most = set[1] & RIG_LIMITS ? 1 : LB_ANY;
    }
    spec->balance = pool_balance(lb_policy_find(policies[set[1] & 3]), NULL, spec->endpoints,
                                 spec->n_endpoints);
    resilient_pool(spec, set);
    return spec;
}

static struct retry_rule retries(const uint8_t *set)
{
    struct retry_rule rule = {.attempts = set[2] >> 4 & 3,
                              .on = RETRY_ON_DEFAULT,
                              .backoff_ms = set[2] & 64 ? 25 : 0,
                              .max_backoff_ms = 250,
                              .retry_after_ms = 1000};
    if (set[1] & RIG_STATUSES) {
        rule.on |= RETRY_ON_UNAVAILABLE;
        rule.statuses[(500 - RETRY_STATUS_MIN) / 64] = UINT64_C(0xff)
                                                       << (500 - RETRY_STATUS_MIN) % 64;
    }
    return rule;
}

/* "/a" has three endpoints, "/b" one and a clock for the whole; "/n" has no pool; others no route.
 */
static void build_routes(struct snapshot *snap, const uint8_t *set)
{
    static const struct route_target to_a = {0, 1}, to_b = {1, 1}, to_none = {ROUTE_NO_POOL, 1};
    const struct route_rule rules[] = {
        {.name = SPAN_LIT("a"), .path = SPAN_LIT("/a"), .targets = &to_a, .n_targets = 1},
        {.name = SPAN_LIT("b"), .path = SPAN_LIT("/b"), .targets = &to_b, .n_targets = 1},
        {.name = SPAN_LIT("n"), .path = SPAN_LIT("/n"), .targets = &to_none, .n_targets = 1},
    };
    snap->table = route_table_new();
    snap->routes = calloc(ARRAY_LEN(rules), sizeof(snap->routes[0]));
    CHECK(snap->routes != NULL);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        CHECK(route_table_add(snap->table, &rules[i]) >= 0);
        snap->routes[i] = (struct route_spec){.request_ms = i == 1 ? 40000 : 0,
                                              .try_ms = 10000,
                                              .retry = retries(set),
                                              .row = (uint32_t)(1 + 2 * i)};
    }
    route_table_compile(snap->table);
    snap->n_rows = 1 + 2 * ARRAY_LEN(rules);
}

struct snapshot *rig_snapshot(const uint8_t *set)
{
    struct snapshot *snap = calloc(1, sizeof(*snap));
    CHECK(snap != NULL);
    snap->refs = 1;
    snap->pools = calloc(2, sizeof(snap->pools[0]));
    snap->tls = calloc(2, sizeof(snap->tls[0]));
    CHECK(snap->pools != NULL && snap->tls != NULL);
    snap->n_pools = 2;
    snap->pools[0] = build_pool("a", RIG_ENDPOINTS, set);
    snap->pools[1] = build_pool("b", 1, set);
    build_routes(snap, set);
    snap->server = (struct h1_server_options){
        .limits = {.body_bytes = 200000, .header_bytes = 2048, .target_bytes = 1024, .headers = 20},
        .head_ms = 10000,
        .idle_ms = 30000,
        .body_ms = 15000,
        .write_stall_ms = 20000,
        .buffer = set[0] & 4 ? 4096 : 65536,
    };
    snap->upgraded_ms = 60000;
    snap->slow_us = 1000000;
    return snap;
}
