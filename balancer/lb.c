/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's balancer over a group. Owns the view, the policy's memory and the count of leases
 * that are out; borrows the group. Must never allocate after lb_new, but for lb_look_ahead. One
 * thread.
 */
#include "balancer/lb.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/look.h"
#include "balancer/outlier.h"
#include "balancer/shares.h"
#include "balancer/subset.h"
#include "proxy/base/mem.h"

#define LB_MAGIC MAGIC('l', 'b', '_', '_')

struct lb {
    uint32_t magic;
    uint32_t epoch;  /* of the group, as of which the view is */
    uint64_t due_us; /* when the view is out of date anyway */
    struct lb_group *group;
    const struct lb_policy *policy;
    struct lb_view view;
    uint32_t *order;       /* in which endpoints come into the subset, or NULL: there is none */
    uint32_t *shares;      /* before that is cut out of them */
    uint32_t reserve;      /* usable ones that have no weight now */
    uint32_t ejected;      /* those that would be, but for outlier detection */
    uint32_t reserve_next; /* where to look for one */
    uint32_t leases;       /* out */
    int32_t probe;         /* what was picked last is a probe of this one, or LB_NONE */
    int32_t held;          /* what was picked last and is counted there already, or LB_NONE */
    bool looking;          /* only to see what would be picked: nobody else may notice */
    void *local;
};

static void *alloc_zeroed(size_t n, size_t size)
{
    return mem_need(calloc(n ? n : 1, size));
}

/* Keeps the first so many in the worker's own order; the others are a reserve. */
static void cut_out(struct lb *lb, struct lb_shares *shares)
{
    uint32_t left = lb->group->options.subset;
    shares->changed = false;
    shares->eligible = 0;
    shares->total = 0;
    for (uint32_t k = 0; k < lb->view.count; k++) {
        uint32_t i = lb->order[k], share = lb->shares[i];
        uint32_t weight = left > 0 ? share : 0;
        left -= weight > 0;
        shares->reserve += share > 0 && weight == 0;
        shares->changed |= lb->view.weights[i] != weight;
        shares->eligible += weight > 0;
        shares->total += weight;
        lb->view.weights[i] = weight;
    }
}

/* Looks at the endpoints again. Whether anybody's weight has changed. */
static bool look(struct lb *lb, uint64_t now_us)
{
    struct lb_view *v = &lb->view;
    struct lb_shares shares;
    lb->epoch = atomic_load_explicit(&lb->group->epoch, memory_order_acquire);
    lb_shares_of(lb->group, now_us, lb->order != NULL ? lb->shares : v->weights, &shares);
    if (lb->order != NULL)
        cut_out(lb, &shares);
    v->eligible = shares.eligible;
    v->total_weight = shares.total;
    lb->reserve = shares.reserve;
    lb->ejected = shares.ejected;
    lb->due_us = shares.due_us;
    return shares.changed;
}

struct lb *lb_new(struct lb_group *group, uint64_t seed)
{
    struct lb *lb = alloc_zeroed(1, sizeof(*lb));
    lb->magic = LB_MAGIC;
    lb->group = group;
    lb->policy = group->policy;
    lb->probe = lb->held = LB_NONE;
    lb->view = (struct lb_view){
        .group = group,
        .endpoints = group->endpoints,
        .count = group->count,
        .weights = alloc_zeroed(group->count, sizeof(uint32_t)),
    };
    look(lb, 0);
    lb->local = alloc_zeroed(lb->policy->local_size(group->count), 1);
    if (group->count > 0) /* else nobody asks it */
        lb->policy->init(lb->local, &lb->view, seed);
    return lb;
}

void lb_narrow(struct lb *lb, uint64_t client)
{
    CHECK(lb->order == NULL && lb->leases == 0);
    if (lb->group->options.subset == 0 || lb->group->options.subset >= lb->group->count)
        return;
    lb->order = lb_subset_order(lb->group, client);
    lb->shares = alloc_zeroed(lb->group->count, sizeof(uint32_t));
    if (look(lb, 0))
        lb->policy->changed(lb->local, &lb->view);
}

void lb_free(struct lb *lb)
{
    if (lb == NULL)
        return;
    CHECK(lb->magic == LB_MAGIC && lb->leases == 0);
    lb_unpicked(lb, 0);
    lb->magic = 0;
    free(lb->local);
    free(lb->order);
    free(lb->shares);
    free(lb->view.weights);
    free(lb);
}

/* One that has no weight now, with just these marks. */
static int32_t pick_weightless(struct lb *lb, const struct lb_tried *tried, uint32_t marks)
{
    for (uint32_t k = 0; k < lb->view.count; k++) {
        uint32_t i = lb->reserve_next;
        lb->reserve_next = i + 1 < lb->view.count ? i + 1 : 0;
        if (lb_group_weight(lb->group, i) > 0 && lb_group_marks(lb->group, i) == marks &&
            !lb_tried_has(tried, i))
            return (int32_t)i;
    }
    return LB_NONE;
}

/* For another attempt, when all that have a weight were tried: a usable one that has none, or an
 * ejected one, which may well answer, rather than giving up. */
static int32_t pick_reserve(struct lb *lb, const struct lb_tried *tried)
{
    int32_t i = lb->reserve > 0 ? pick_weightless(lb, tried, 0) : LB_NONE;
    return i == LB_NONE && lb->ejected > 0 ? pick_weightless(lb, tried, LB_EJECTED) : i;
}

/* A request that was tried already is not put at stake. */
static int32_t pick_probe(struct lb *lb, const struct lb_tried *tried, uint64_t now_us)
{
    uint64_t due = atomic_load_explicit(&lb->group->probe_us, memory_order_relaxed);
    if (now_us < due || !lb_tried_empty(tried))
        return LB_NONE;
    return lb->looking ? lb_outlier_next_probe(lb->group, now_us)
                       : lb_outlier_probe(lb->group, now_us);
}

/* What was picked last is no probe after all: the next may be. */
static void unprobe(struct lb *lb, uint64_t now_us)
{
    if (lb->probe != LB_NONE && !lb->looking)
        lb_outlier_probed(lb->group, (uint32_t)lb->probe, LB_CANCELLED, now_us);
    lb->probe = LB_NONE;
}

/* What was told to the group, and what has become due. Inline, as pick_for: every request is picked
 * for, and explaining must not make that a call more. */
static inline void catch_up(struct lb *lb, uint64_t now_us)
{
    uint32_t epoch = atomic_load_explicit(&lb->group->epoch, memory_order_relaxed);
    if ((epoch != lb->epoch || now_us >= lb->due_us) && look(lb, now_us))
        lb->policy->changed(lb->local, &lb->view);
}

/* Whatever is in flight there. reserve: rather one of those than nobody. */
static int32_t pick_any(struct lb *lb, uint64_t key, const struct lb_tried *tried, bool reserve,
                        uint64_t now_us)
{
    lb->probe = pick_probe(lb, tried, now_us);
    if (lb->probe != LB_NONE || lb->view.eligible == 0)
        return lb->probe;
    if (lb_tried_empty(tried))
        tried = NULL;
    int32_t i = lb->policy->pick(lb->local, &lb->view, key, tried, now_us);
    DCHECK(i == LB_NONE ||
           (lb_view_share(&lb->view, (uint32_t)i) > 0 && !lb_tried_has(tried, (uint32_t)i)));
    return i == LB_NONE && reserve ? pick_reserve(lb, tried) : i;
}

/* Counts a request at i, if that may have one more. Whoever has a claim goes before its sessions.
 */
static bool hold(struct lb *lb, uint32_t i, bool claim)
{
    struct lb_endpoint *ep = lb->view.endpoints[i];
    if (!claim && atomic_load_explicit(&ep->waiting, memory_order_relaxed) > 0)
        return false;
    uint32_t n = lb_endpoint_in_flight(ep);
    if (lb->looking) /* the next pick lets go of what is held now */
        return n - (lb->held == (int32_t)i) < ep->most;
    do {
        if (n >= ep->most)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&ep->in_flight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    lb->held = (int32_t)i;
    return true;
}

/* Any that takes part and has room, though it was tried perhaps: more than can be remembered have
 * none. */
static int32_t hold_any(struct lb *lb)
{
    for (uint32_t k = 0; k < lb->view.count; k++) {
        uint32_t i = lb->reserve_next;
        lb->reserve_next = i + 1 < lb->view.count ? i + 1 : 0;
        if (lb_view_share(&lb->view, i) > 0 && hold(lb, i, false))
            return (int32_t)i;
    }
    return LB_FULL;
}

/* Those that have no room count as tried; but that is no reason to go to an ejected one. */
static int32_t pick_with_room(struct lb *lb, uint64_t key, const struct lb_tried *tried,
                              uint64_t now_us)
{
    struct lb_tried full = {0};
    bool again = !lb_tried_empty(tried);
    if (again)
        full = *tried;
    for (unsigned n = 0; n < LB_TRIED_FEW + LB_TRIED_MAX; n++) {
        int32_t i = pick_any(lb, key, &full, again || n == 0, now_us);
        if (i == LB_NONE)
            return n > 0 ? LB_FULL : LB_NONE;
        if (hold(lb, (uint32_t)i, false))
            return i;
        unprobe(lb, now_us);
        lb_tried_add(&full, (uint32_t)i);
    }
    return hold_any(lb);
}

static bool let_go(struct lb *lb)
{
    if (lb->held == LB_NONE)
        return false;
    struct lb_endpoint *ep = lb->view.endpoints[lb->held];
    atomic_fetch_sub_explicit(&ep->in_flight, 1, memory_order_relaxed);
    lb->held = LB_NONE;
    return true;
}

bool lb_claim(struct lb *lb, uint32_t index)
{
    if (!lb->group->bounded || lb->held == (int32_t)index)
        return true;
    let_go(lb);
    return hold(lb, index, true);
}

bool lb_unpicked(struct lb *lb, uint64_t now_us)
{
    unprobe(lb, now_us);
    return let_go(lb);
}

static int32_t pick(struct lb *lb, uint64_t key, const struct lb_tried *tried, uint64_t now_us)
{
    return lb->group->bounded ? pick_with_room(lb, key, tried, now_us)
                              : pick_any(lb, key, tried, true, now_us);
}

static bool keeps(const struct lb *lb, uint32_t i)
{
    return lb_view_share(&lb->view, i) > 0 ||
           (!lb->view.endpoints[i]->backup && !(lb_group_marks(lb->group, i) & ~LB_DRAINED));
}

static bool keeps_session(const struct lb *lb, int32_t stuck)
{
    return stuck != LB_NONE && keeps(lb, (uint32_t)stuck);
}

bool lb_keeps_session(struct lb *lb, int32_t stuck, uint64_t now_us)
{
    catch_up(lb, now_us);
    return keeps_session(lb, stuck);
}

static inline int32_t pick_for(struct lb *lb, int32_t stuck, bool waited, uint64_t key,
                               const struct lb_tried *tried, uint64_t now_us)
{
    if (!keeps_session(lb, stuck) || lb_tried_has(tried, (uint32_t)stuck))
        return pick(lb, key, tried, now_us);
    if (!lb->group->bounded || hold(lb, (uint32_t)stuck, waited))
        return stuck;
    return lb_tried_empty(tried) ? LB_FULL : pick(lb, key, tried, now_us);
}

int32_t lb_pick_stuck(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                      uint64_t now_us)
{
    lb_unpicked(lb, now_us);
    catch_up(lb, now_us);
    return pick_for(lb, stuck, false, key, tried, now_us);
}

int32_t lb_pick_waited(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                       uint64_t now_us)
{
    lb_unpicked(lb, now_us);
    catch_up(lb, now_us);
    return pick_for(lb, stuck, true, key, tried, now_us);
}

void lb_wait(struct lb *lb, int32_t stuck)
{
    CHECK(stuck >= 0 && (uint32_t)stuck < lb->view.count);
    atomic_fetch_add_explicit(&lb->view.endpoints[stuck]->waiting, 1, memory_order_relaxed);
}

bool lb_wait_over(struct lb *lb, int32_t stuck)
{
    CHECK(stuck >= 0 && (uint32_t)stuck < lb->view.count);
    _Atomic uint32_t *waiting = &lb->view.endpoints[stuck]->waiting;
    uint32_t before = atomic_fetch_sub_explicit(waiting, 1, memory_order_relaxed);
    CHECK(before > 0);
    return before == 1;
}

/* Whatever picking changes of the balancer is put back. */
static int32_t pick_and_forget(struct lb *lb, int32_t stuck, uint64_t key,
                               const struct lb_tried *tried, uint64_t now_us, bool *probe)
{
    size_t size = lb->policy->local_size(lb->view.count);
    void *local = mem_need(malloc(size));
    const struct lb before = *lb;
    memcpy(local, lb->local, size);
    lb->looking = true;
    int32_t index = pick_for(lb, stuck, false, key, tried, now_us);
    *probe = lb->probe != LB_NONE;
    memcpy(lb->local, local, size);
    *lb = before;
    free(local);
    return index;
}

void lb_look_ahead(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                   uint64_t now_us, struct lb_look *out)
{
    uint32_t n = lb->view.count;
    catch_up(lb, now_us);
    *out = (struct lb_look){.count = n,
                            .eligible = lb->view.eligible,
                            .weights = alloc_zeroed(n, sizeof(out->weights[0])),
                            .scores = alloc_zeroed(n, sizeof(out->scores[0]))};
    memcpy(out->weights, lb->view.weights, n * sizeof(out->weights[0]));
    if (n > 0)
        lb->policy->scores(lb->local, &lb->view, key, now_us, out->scores);
    out->index = pick_and_forget(lb, stuck, key, tried, now_us, &out->probe);
}

void lb_look_fini(struct lb_look *look)
{
    free(TAKE(look->weights));
    free(TAKE(look->scores));
}

int32_t lb_pick(struct lb *lb, uint64_t key, const struct lb_tried *tried, uint64_t now_us)
{
    return lb_pick_stuck(lb, LB_NONE, key, tried, now_us);
}

void lb_started(struct lb *lb, struct lb_lease *lease, uint32_t index, uint64_t now_us)
{
    CHECK(lease->lb == NULL && index < lb->view.count);
    _Atomic uint32_t *shared = &lb->view.endpoints[index]->in_flight;
    uint32_t now;

    if (lb->held != (int32_t)index) {
        let_go(lb);
        now = atomic_fetch_add_explicit(shared, 1, memory_order_relaxed) + 1;
    } else {
        lb->held = LB_NONE; /* it counts already */
        now = atomic_load_explicit(shared, memory_order_relaxed);
    }
    lease->lb = lb;
    lease->index = index;
    lease->probe = lb->probe == (int32_t)index;
    if (!lease->probe)
        unprobe(lb, now_us);
    lb->probe = LB_NONE;
    lb->leases++;
    if (lb->group->options.bound > 0)
        atomic_fetch_add_explicit(&lb->group->in_flight, 1, memory_order_relaxed);
    if (lb->policy->started)
        lb->policy->started(lb->local, &lb->view, index, now, now_us);
}

void lb_restart(struct lb_lease *lease, uint64_t now_us)
{
    struct lb *lb = lease->lb;
    CHECK(lb != NULL);
    lb_unpicked(lb, now_us);
    atomic_fetch_add_explicit(&lb->view.endpoints[lease->index]->in_flight, 1,
                              memory_order_relaxed);
    lb->held = (int32_t)lease->index;
    lb_lease_drop(lease, now_us);
}

bool lb_answered(struct lb_lease *lease, enum lb_outcome outcome, uint64_t now_us)
{
    CHECK(lease->lb != NULL);
    if (!lease->probe)
        return false;
    lease->probe = false;
    return lb_outlier_probed(lease->lb->group, lease->index, outcome, now_us);
}

/* For outlier detection; returns as lb_finished. */
static bool note(struct lb *lb, uint32_t i, enum lb_outcome outcome, uint64_t latency_us,
                 uint64_t now_us)
{
    if (lb->group->outlier == NULL || outcome == LB_CANCELLED)
        return false;
    if (lb_outcome_fails(outcome))
        return lb_outlier_failed(lb->group, i, outcome, now_us);
    lb_outlier_answered(lb->view.endpoints[i], latency_us);
    return false;
}

bool lb_finished(struct lb_lease *lease, enum lb_outcome outcome, uint64_t latency_us,
                 uint64_t now_us)
{
    bool news = lb_answered(lease, outcome, now_us);
    struct lb *lb = TAKE(lease->lb);
    CHECK(lb != NULL && lb->magic == LB_MAGIC && lb->leases > 0);
    uint32_t i = lease->index;
    _Atomic uint32_t *shared = &lb->view.endpoints[i]->in_flight;
    uint32_t before = atomic_fetch_sub_explicit(shared, 1, memory_order_relaxed);

    CHECK(before > 0);
    lb->leases--;
    if (lb->group->options.bound > 0)
        atomic_fetch_sub_explicit(&lb->group->in_flight, 1, memory_order_relaxed);
    if (lb->policy->finished)
        lb->policy->finished(lb->local, &lb->view, i, before - 1, outcome, latency_us, now_us);
    return note(lb, i, outcome, latency_us, now_us) || news;
}

const struct lb_view *lb_view_of(const struct lb *lb)
{
    return &lb->view;
}

const struct lb_policy *lb_policy_of(const struct lb *lb)
{
    return lb->policy;
}
