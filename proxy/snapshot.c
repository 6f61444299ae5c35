/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a snapshot and of its parts. Owns nothing else. Control thread. */
#include "proxy/snapshot.h"

#include <stdlib.h>

#include "balancer/gate.h"
#include "proxy/base/check.h"
#include "proxy/base/names.h"
#include "proxy/discovery/source.h"
#include "proxy/trace/target.h"
#include "proxy/upstream/health.h"

/* Whether it was the last. */
static bool drop(uint32_t *refs)
{
    CHECK(*refs > 0);
    return --*refs == 0;
}

static void free_text(const char *text)
{
    free((char *)(uintptr_t)text);
}

struct listener_spec *listener_spec_ref(struct listener_spec *spec)
{
    spec->refs++;
    return spec;
}

void listener_spec_unref(struct listener_spec *spec)
{
    if (spec == NULL || !drop(&spec->refs))
        return;
    free_text(spec->name);
    cidr_set_fini(&spec->trusted);
    cidr_set_fini(&spec->proxy_from);
    tls_source_unref(spec->tls);
    free(spec);
}

struct pool_spec *pool_spec_ref(struct pool_spec *spec)
{
    spec->refs++;
    return spec;
}

void pool_spec_unref(struct pool_spec *spec)
{
    if (spec == NULL || !drop(&spec->refs))
        return;
    free_text(spec->name);
    free_text(spec->key.name.ptr);
    free_text(spec->limits.key.name.ptr);
    lb_gate_free(spec->limits.gate);
    free(spec->limits.limit);
    free_text(spec->sticky.cookie.ptr);
    free_text(spec->sticky.attributes.ptr);
    lb_group_free(spec->balance);
    lb_budget_free(spec->budget);
    free(spec->endpoints);
    source_spec_unref(spec->from);
    config_endpoints_unref(spec->found);
    free_text(spec->why_none);
    free(spec->sorted);
    health_spec_free(spec->health);
    tls_source_unref(spec->source);
    free(spec);
}

struct snapshot *snapshot_ref(struct snapshot *snap)
{
    snap->refs++;
    return snap;
}

void snapshot_unref(struct snapshot *snap)
{
    if (snap == NULL || !drop(&snap->refs))
        return;
    for (size_t i = 0; i < snap->n_listeners; i++)
        listener_spec_unref(snap->listeners[i]);
    for (size_t i = 0; i < snap->n_pools; i++)
        pool_spec_unref(snap->pools[i]);
    route_table_free(snap->table);
    trace_target_unref(snap->traces_to);
    free(snap->tls);
    free(snap->listeners);
    free(snap->routes);
    free(snap->pools);
    free(snap);
}

void snapshot_follow_orders(const struct snapshot *snap, const struct snapshot *before)
{
    struct names names = {0};
    for (size_t i = 0; i < before->n_pools; i++)
        names_add(&names, before->pools[i]->name, (int32_t)i);
    names_sort(&names);
    for (size_t i = 0; i < snap->n_pools; i++) {
        int32_t at = names_find(&names, snap->pools[i]->name);
        if (at >= 0 && before->pools[at] != snap->pools[i])
            pool_follow_orders(snap->pools[i], before->pools[at]);
    }
    names_fini(&names);
}

bool listener_spec_trusts(const struct listener_spec *spec, const struct net_addr *addr)
{
    return net_addr_is_unix(addr) ? spec->trust_unix
                                  : cidr_set_contains_sockaddr(&spec->trusted, &addr->u.sa);
}
