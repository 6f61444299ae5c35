/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool that comes in the place of another: what was known of the pool and of the endpoints that
 * both have goes on. Owns nothing. Control thread, before anybody else sees the new one.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/gate.h"
#include "balancer/latency.h"
#include "balancer/limit.h"
#include "balancer/outlier.h"
#include "proxy/base/mem.h"
#include "proxy/upstream/pool.h"

/* By text, and of several of one text by their place. */
static int by_text(const void *a, const void *b)
{
    const struct endpoint_spec *ea = *(struct endpoint_spec *const *)a;
    const struct endpoint_spec *eb = *(struct endpoint_spec *const *)b;
    int order = strcmp(ea->text, eb->text);
    return order != 0 ? order : ea->lb.index < eb->lb.index ? -1 : 1;
}

void pool_sort(struct pool_spec *spec)
{
    uint32_t n = spec->n_endpoints;
    struct endpoint_spec **sorted = mem_need(malloc(n * sizeof(struct endpoint_spec *)));
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &spec->endpoints[i];
    qsort(sorted, n, sizeof(struct endpoint_spec *), by_text);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(sorted[i]->text, sorted[i - 1]->text) == 0)
            sorted[i]->twin = sorted[i - 1]->twin + 1;
    spec->sorted = sorted;
}

int32_t pool_find(const struct pool_spec *spec, const struct endpoint_spec *wanted)
{
    uint32_t from = 0, to = spec->sorted != NULL ? spec->n_endpoints : 0;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        const struct endpoint_spec *at = spec->sorted[mid];
        int order = strcmp(at->text, wanted->text);
        if (order == 0 && at->twin == wanted->twin)
            return (int32_t)(at - spec->endpoints);
        if (order < 0 || (order == 0 && at->twin < wanted->twin))
            from = mid + 1;
        else
            to = mid;
    }
    return -1;
}

static void orders_follow(const struct pool_spec *spec, uint32_t i, const struct pool_spec *before,
                          uint32_t was)
{
    const struct endpoint_spec *to = &spec->endpoints[i], *from = &before->endpoints[was];
    if (to->weight == from->weight)
        lb_group_set_weight(spec->balance, i, lb_group_weight(before->balance, was));
    if (to->drain == from->drain)
        lb_group_mark(spec->balance, i, LB_DRAINED,
                      (lb_group_marks(before->balance, was) & LB_DRAINED) != 0,
                      lb_group_since(before->balance, was, LB_DRAINED));
}

static void endpoint_follow(struct pool_spec *spec, uint32_t i, const struct pool_spec *before,
                            uint32_t was, uint64_t now_us)
{
    orders_follow(spec, i, before, was);
    lb_group_warm(spec->balance, i, lb_group_warm_since(before->balance, was));
    lb_latency_follow(&spec->endpoints[i].lb, &before->endpoints[was].lb);
    lb_outlier_follow(spec->balance, i, before->balance, was, now_us);
}

void pool_follow_orders(struct pool_spec *spec, const struct pool_spec *before)
{
    for (uint32_t i = 0; i < spec->n_endpoints; i++) {
        int32_t was = pool_find(before, &spec->endpoints[i]);
        if (was >= 0)
            orders_follow(spec, i, before, (uint32_t)was);
    }
}

void pool_follow(struct pool_spec *spec, const struct pool_spec *before, uint64_t now_us)
{
    for (uint32_t i = 0; i < spec->n_endpoints; i++) {
        int32_t was = pool_find(before, &spec->endpoints[i]);
        if (was >= 0)
            endpoint_follow(spec, i, before, (uint32_t)was, now_us);
        else
            lb_group_warm(spec->balance, i, now_us);
    }
    if (spec->budget != NULL && before->budget != NULL)
        lb_budget_follow(spec->budget, before->budget);
    if (spec->limits.limit != NULL && before->limits.limit != NULL)
        lb_gate_set_limit(spec->limits.gate,
                          lb_limit_follow(spec->limits.limit, before->limits.limit));
}
