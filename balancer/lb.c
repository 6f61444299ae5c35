/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's balancer over one pool. Owns the view, the policy's memory and the count of leases
 * that are out; borrows the endpoints. Must never allocate after lb_new. One thread.
 */
#include "balancer/lb.h"

#include "proxy/base/mem.h"
#include <stdlib.h>
#include <string.h>

#define LB_MAGIC MAGIC('l', 'b', '_', '_')

struct lb {
    uint32_t magic;
    bool dirty; /* the view changed and the policy has not been told */
    const struct lb_policy *policy;
    struct lb_view view;
    uint32_t leases; /* out */
    void *local;
};

static void *alloc_zeroed(size_t n, size_t size)
{
    return mem_need(calloc(n ? n : 1, size));
}

struct lb *lb_new(const struct lb_policy *policy, struct lb_endpoint *const *endpoints,
                  uint32_t count, uint64_t seed)
{
    CHECK(count >= 1 && count <= LB_ENDPOINTS_MAX);
    struct lb *lb = alloc_zeroed(1, sizeof(*lb));
    struct lb_endpoint **copy = alloc_zeroed(count, sizeof(struct lb_endpoint *));
    struct lb_view *v = &lb->view;

    lb->magic = LB_MAGIC;
    lb->policy = policy;
    memcpy(copy, endpoints, count * sizeof(struct lb_endpoint *));
    v->endpoints = copy;
    v->count = count;
    v->weights = alloc_zeroed(count, sizeof(*v->weights));
    v->usable = alloc_zeroed((count + 63) / 64, sizeof(*v->usable));
    for (uint32_t i = 0; i < count; i++) {
        v->weights[i] = endpoints[i]->weight;
        v->usable[i / 64] |= UINT64_C(1) << (i % 64);
        v->eligible += v->weights[i] > 0;
        v->total_weight += v->weights[i];
    }
    lb->local = alloc_zeroed(policy->local_size(count), 1);
    policy->init(lb->local, v, seed);
    return lb;
}

void lb_free(struct lb *lb)
{
    if (lb == NULL)
        return;
    CHECK(lb->magic == LB_MAGIC && lb->leases == 0);
    lb->magic = 0;
    free(lb->local);
    free(lb->view.usable);
    free(lb->view.weights);
    free((void *)lb->view.endpoints);
    free(lb);
}

/* The one place where a share changes, so that the sums in the view always hold. */
static void set_share(struct lb *lb, uint32_t i, bool usable, uint32_t weight)
{
    struct lb_view *v = &lb->view;
    CHECK(weight <= LB_WEIGHT_MAX);
    uint32_t before = lb_view_share(v, i);
    uint64_t bit = UINT64_C(1) << (i % 64);

    v->weights[i] = weight;
    v->usable[i / 64] = usable ? v->usable[i / 64] | bit : v->usable[i / 64] & ~bit;
    uint32_t after = lb_view_share(v, i);
    if (after == before)
        return;
    v->total_weight += (uint64_t)after - before;
    v->eligible = v->eligible + (after > 0) - (before > 0);
    lb->dirty = true;
}

void lb_set_usable(struct lb *lb, uint32_t index, bool usable)
{
    CHECK(index < lb->view.count);
    set_share(lb, index, usable, lb->view.weights[index]);
}

void lb_set_weight(struct lb *lb, uint32_t index, uint32_t weight)
{
    CHECK(index < lb->view.count);
    set_share(lb, index, lb_view_usable(&lb->view, index), weight);
}

int32_t lb_pick(struct lb *lb, uint64_t key, const struct lb_tried *tried, uint64_t now_us)
{
    if (lb->view.eligible == 0)
        return LB_NONE;
    if (lb->dirty) {
        lb->policy->changed(lb->local, &lb->view);
        lb->dirty = false;
    }
    int32_t i =
        lb->policy->pick(lb->local, &lb->view, key, lb_tried_empty(tried) ? NULL : tried, now_us);
    DCHECK(i == LB_NONE ||
           (lb_view_share(&lb->view, (uint32_t)i) > 0 && !lb_tried_has(tried, (uint32_t)i)));
    return i;
}

void lb_started(struct lb *lb, struct lb_lease *lease, uint32_t index, uint64_t now_us)
{
    CHECK(lease->lb == NULL && index < lb->view.count);
    _Atomic uint32_t *shared = &lb->view.endpoints[index]->in_flight;
    uint32_t now = atomic_fetch_add_explicit(shared, 1, memory_order_relaxed) + 1;

    lease->lb = lb;
    lease->index = index;
    lb->leases++;
    if (lb->policy->started)
        lb->policy->started(lb->local, &lb->view, index, now, now_us);
}

void lb_finished(struct lb_lease *lease, enum lb_outcome outcome, uint64_t latency_us,
                 uint64_t now_us)
{
    struct lb *lb = TAKE(lease->lb);
    CHECK(lb != NULL && lb->magic == LB_MAGIC && lb->leases > 0);
    uint32_t i = lease->index;
    _Atomic uint32_t *shared = &lb->view.endpoints[i]->in_flight;
    uint32_t before = atomic_fetch_sub_explicit(shared, 1, memory_order_relaxed);

    CHECK(before > 0);
    lb->leases--;
    if (lb->policy->finished)
        lb->policy->finished(lb->local, &lb->view, i, before - 1, outcome, latency_us, now_us);
}

const struct lb_view *lb_view_of(const struct lb *lb)
{
    return &lb->view;
}

const struct lb_policy *lb_policy_of(const struct lb *lb)
{
    return lb->policy;
}
