/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What workers share of a pool. Owns the list of endpoints and the policy's table; borrows the
 * endpoints. Must never free while a balancer points at it. Any thread.
 */
#include "balancer/group.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/hash.h"
#include "balancer/outlier.h"
#include "balancer/sticky.h"
#include "proxy/base/mem.h"

struct named {
    uint64_t id;
    uint32_t index;
};

static int by_id(const void *a, const void *b)
{
    const struct named *na = a, *nb = b;
    if (na->id != nb->id)
        return na->id < nb->id ? -1 : 1;
    return na->index < nb->index ? -1 : 1;
}

static struct named *sort_by_id(const struct lb_group *group)
{
    struct named *sorted = mem_need(malloc(group->count * sizeof(*sorted)));
    for (uint32_t i = 0; i < group->count; i++)
        sorted[i] = (struct named){group->endpoints[i]->id, i};
    qsort(sorted, group->count, sizeof(*sorted), by_id);
    return sorted;
}

/* An address may be listed twice. The second one takes part under another name. */
static void tell_apart(const struct lb_group *group)
{
    struct named *sorted = sort_by_id(group);
    for (uint32_t k = 1, nth = 0; k < group->count; k++) {
        nth = sorted[k].id == sorted[k - 1].id ? nth + 1 : 0;
        if (nth > 0)
            group->endpoints[sorted[k].index]->id = lb_hash_pair(sorted[k].id, nth);
    }
    free(sorted);
}

uint32_t *lb_group_order(const struct lb_group *group)
{
    struct named *sorted = sort_by_id(group);
    uint32_t *order = mem_need(malloc(group->count * sizeof(*order)));
    for (uint32_t k = 0; k < group->count; k++)
        order[k] = sorted[k].index;
    free(sorted);
    return order;
}

struct lb_group *lb_group_new(const struct lb_policy *policy, const struct lb_options *options,
                              struct lb_endpoint *const *endpoints, uint32_t count)
{
    CHECK(count <= LB_ENDPOINTS_MAX);
    size_t size = count * sizeof(struct lb_endpoint *);
    struct lb_group *group = mem_need(aligned_alloc(LB_CACHE_LINE, sizeof(*group)));
    *group = (struct lb_group){.policy = policy, .count = count};
    atomic_init(&group->probe_us, LB_NEVER);
    group->since = mem_need(calloc((size_t)count * LB_MARKS, sizeof(group->since[0])));
    if (options != NULL)
        group->options = *options;
    CHECK(group->options.bound == 0 || group->options.bound > 100);
    CHECK(group->options.zone < LB_ZONES);
    group->endpoints = mem_need(malloc(size));
    if (count > 0)
        memcpy(group->endpoints, endpoints, size);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(endpoints[i]->zone < LB_ZONES && endpoints[i]->priority < LB_LEVELS);
        group->bounded |= endpoints[i]->most != LB_ANY;
    }
    if (policy->table_new != NULL && count > 0) {
        tell_apart(group);
        group->table = policy->table_new(group);
    }
    return group;
}

void lb_group_free(struct lb_group *group)
{
    if (group == NULL)
        return;
    lb_outlier_free(group->outlier);
    lb_sticky_free(group->sticky);
    free(group->since);
    free(group->table);
    free(group->endpoints);
    free(group);
}

/* Whoever sees the new epoch sees what was stored before it. */
static void tell_workers(struct lb_group *group)
{
    atomic_fetch_add_explicit(&group->epoch, 1, memory_order_release);
}

void lb_group_mark(struct lb_group *group, uint32_t index, enum lb_mark mark, bool on,
                   uint64_t now_us)
{
    CHECK(index < group->count);
    struct lb_endpoint *ep = group->endpoints[index];
    uint32_t before =
        on ? atomic_fetch_or_explicit(&ep->marks, mark, memory_order_relaxed)
           : atomic_fetch_and_explicit(&ep->marks, ~(uint32_t)mark, memory_order_relaxed);
    if (((before & mark) != 0) == on)
        return;
    _Atomic uint64_t *since = &group->since[(size_t)index * LB_MARKS + __builtin_ctz(mark)];
    atomic_store_explicit(since, now_us, memory_order_relaxed);
    if (before == mark)
        atomic_store_explicit(&ep->warm_us, now_us, memory_order_relaxed);
    tell_workers(group);
}

void lb_group_set_weight(struct lb_group *group, uint32_t index, uint32_t weight)
{
    CHECK(index < group->count && weight <= LB_WEIGHT_MAX);
    struct lb_endpoint *ep = group->endpoints[index];
    if (atomic_exchange_explicit(&ep->weight, weight, memory_order_relaxed) != weight)
        tell_workers(group);
}

void lb_group_warm(struct lb_group *group, uint32_t index, uint64_t now_us)
{
    CHECK(index < group->count);
    atomic_store_explicit(&group->endpoints[index]->warm_us, now_us, memory_order_relaxed);
    tell_workers(group);
}
