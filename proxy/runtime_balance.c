/* SPDX-License-Identifier: Apache-2.0 */
/* From a pool's configuration to its group of endpoints. Owns nothing. Control thread. */
#include "proxy/runtime_balance.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/gate.h"
#include "balancer/hash.h"
#include "balancer/limit.h"
#include "balancer/outlier.h"
#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/upstream/pool.h"

static struct span copy(const char *text)
{
    return span_str(mem_need(strdup(text)));
}

static struct balance_key key_of(const struct config_key *key)
{
    if (!key->enabled)
        return (struct balance_key){0};
    if (key->header != NULL)
        return (struct balance_key){BALANCE_KEY_HEADER, copy(key->header)};
    if (key->cookie != NULL)
        return (struct balance_key){BALANCE_KEY_COOKIE, copy(key->cookie)};
    if (key->query != NULL)
        return (struct balance_key){BALANCE_KEY_QUERY, copy(key->query)};
    bool path = strcmp(key->part, "path") == 0;
    return (struct balance_key){.kind = path ? BALANCE_KEY_PATH : BALANCE_KEY_CLIENT_IP};
}

/* The names of a pool's zones, which are numbers from 1 to the balancer. */
struct zones {
    const char *names[LB_ZONES];
    uint8_t n;
};

static uint8_t zone_find(const struct zones *zones, const char *name)
{
    for (uint8_t z = 0; name != NULL && z < zones->n; z++)
        if (strcmp(zones->names[z], name) == 0)
            return (uint8_t)(z + 1);
    return 0;
}

static uint8_t zone_number(struct zones *zones, const char *name)
{
    uint8_t number = zone_find(zones, name);
    if (name == NULL || number > 0)
        return number;
    CHECK(zones->n < LB_ZONES - 1); /* config has refused more */
    zones->names[zones->n++] = name;
    return zones->n;
}

/* Over HTTP/1 a connection in use is a request in flight. LB_ANY: there is no limit. */
static uint32_t most_of(uint32_t max_requests, uint32_t max_connections)
{
    uint32_t requests = max_requests != 0 ? max_requests : LB_ANY;
    uint32_t conns = max_connections != 0 ? max_connections : LB_ANY;
    return requests < conns ? requests : conns;
}

static void endpoint_set(struct endpoint_spec *to, const struct config_endpoint *from,
                         uint32_t index, struct zones *zones)
{
    const char *text = from->address.text;
    struct lb_endpoint *ep = &to->lb;
    to->weight = from->weight;
    to->drain = from->drain;
    lb_endpoint_init(ep, lb_hash(text, strlen(text)), index, from->weight);
    ep->zone = zone_number(zones, from->zone);
    ep->priority = (uint8_t)from->priority;
    ep->backup = from->backup;
    ep->most = most_of(from->max_requests, from->max_connections);
    if (from->drain)
        atomic_init(&ep->marks, LB_DRAINED);
}

static enum lb_rule_mode mode_of(enum config_outlier_mode mode)
{
    static const enum lb_rule_mode modes[] = {
        [CONFIG_OUTLIER_NONE] = LB_RULE_NONE,
        [CONFIG_OUTLIER_OBSERVE] = LB_RULE_OBSERVE,
        [CONFIG_OUTLIER_ENFORCE] = LB_RULE_ENFORCE,
    };
    return modes[mode];
}

static struct lb_outlier_rule rule_of(const struct config_outlier_rule *from)
{
    return (struct lb_outlier_rule){
        .mode = mode_of(from->mode),
        .factor = from->factor,
        .endpoints = from->endpoints,
        .requests = from->requests,
        .least_us = from->least_ms * 1000,
    };
}

static void detect_outliers(const struct config_outlier *from, struct pool_spec *to)
{
    struct lb_outlier_options options = {
        .mode = mode_of(from->mode),
        .errors = from->errors,
        .max = from->max,
        .eject_us = from->eject_ms * 1000,
        .max_eject_us = from->max_eject_ms * 1000,
        .success_rate = rule_of(&from->success_rate),
        .latency = rule_of(&from->latency),
    };
    to->outlier_ms = (uint32_t)from->interval_ms;
    lb_outlier_attach(to->balance, &options);
}

static uint32_t clamp(uint32_t n, uint32_t min, uint32_t max)
{
    return n < min ? min : n > max ? max : n;
}

/* Returns where it starts. */
static uint32_t learn_limit(const struct config_limit *from, uint32_t most, struct pool_limits *to)
{
    struct lb_limit_rule rule = {.min = clamp(from->min, 1, most),
                                 .max = most,
                                 .start = clamp(from->start, from->min, most)};
    to->limit = mem_need(malloc(sizeof(*to->limit)));
    lb_limit_init(to->limit, &rule);
    return rule.start;
}

static void limit_requests(const struct config_pool *from, struct pool_limits *to)
{
    uint32_t most = clamp(most_of(from->max_requests, from->max_connections), 1, LB_GATE_MAX);
    if (!from->queue.enabled) /* there is no limit, not of an endpoint either */
        return;
    uint32_t start =
        from->limit.mode == CONFIG_LIMIT_ADAPTIVE ? learn_limit(&from->limit, most, to) : most;
    to->gate = lb_gate_new(start, from->queue.max);
    to->queue = from->queue.max;
    to->wait_ms = (uint32_t)from->queue.wait_ms;
    to->fifo = from->queue.order == CONFIG_ORDER_FIFO;
    to->key = key_of(&from->queue.key);
}

/* Workers are counted through all instances. One without a number has the place in the row that its
 * host's name gives it. */
static uint64_t first_client(const struct config *cfg, unsigned n_workers)
{
    char host[256] = "";
    uint64_t instance = cfg->instance;
    if (instance == CONFIG_NO_INSTANCE) {
        gethostname(host, sizeof(host) - 1);
        instance = lb_hash(host, strlen(host)) & UINT32_MAX;
    }
    return instance * n_workers;
}

void runtime_balance(const struct config *cfg, unsigned n_workers, const struct config_pool *from,
                     struct pool_spec *to)
{
    const struct lb_policy *policy = lb_policy_find(from->balance.policy);
    struct zones zones = {.n = 0};
    CHECK(policy != NULL); /* config has checked the name against the same list */
    for (uint32_t i = 0; i < to->n_endpoints; i++)
        endpoint_set(&to->endpoints[i], &from->endpoints[i], i, &zones);
    pool_sort(to);
    struct lb_options options = {
        .bound = from->balance.bound,
        .subset = from->balance.subset,
        .slow_start_us = from->slow_start_ms * 1000,
        .zone = zone_find(&zones, cfg->zone),
    };
    to->first_client = first_client(cfg, n_workers);
    to->balance = pool_balance(policy, &options, to->endpoints, to->n_endpoints);
    detect_outliers(&from->outlier, to);
    to->key = key_of(&from->balance.key);
    limit_requests(from, &to->limits);
    to->limits.picky = to->balance->bounded && (from->sticky.enabled || from->balance.subset > 0);
    CHECK(to->limits.gate != NULL || !to->balance->bounded); /* or nobody would wait for a place */
}
