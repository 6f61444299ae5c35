/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's balancer over one pool: the view, the policy and the policy's memory in one object,
 * and the lease that keeps each endpoint's in-flight count paired. Owns all but the endpoints.
 * Never blocks, does I/O or reads a clock; picking and leasing never allocate. Belongs to one
 * thread; only the endpoints it points at are shared.
 */
#ifndef WEIR_BALANCER_LB_H
#define WEIR_BALANCER_LB_H

#include "balancer/policy.h"

struct lb;

/*
 * One attempt's claim on an endpoint. Embed it zeroed (or call lb_lease_init) in the attempt;
 * lb_started fills it, lb_finished empties it. An aborted process is what comes of starting one
 * twice, of finishing one that is not started, and of freeing an lb that still has some out.
 */
struct lb_lease {
    struct lb *lb; /* NULL: not started */
    uint32_t index;
};

static inline void lb_lease_init(struct lb_lease *lease)
{
    *lease = (struct lb_lease){0};
}

static inline bool lb_lease_started(const struct lb_lease *lease)
{
    return lease->lb != NULL;
}

/*
 * A balancer over endpoints[0..count), 1 <= count <= LB_ENDPOINTS_MAX. The pointers are copied;
 * the endpoints are borrowed and must outlive it. Every endpoint starts usable, with its configured
 * weight. seed: give each worker another one. Never NULL.
 */
struct lb *lb_new(const struct lb_policy *policy, struct lb_endpoint *const *endpoints,
                  uint32_t count, uint64_t seed);

/* NULL is fine. No lease may be out. */
void lb_free(struct lb *lb);

/*
 * What health checks, draining, slow start, priority levels and the like say of endpoint index.
 * They cost next to nothing until the next pick, which then lets the policy rearrange itself once.
 * weight: 0..LB_WEIGHT_MAX, 0 = no new picks. Leases that are out are not touched.
 */
void lb_set_usable(struct lb *lb, uint32_t index, bool usable);
void lb_set_weight(struct lb *lb, uint32_t index, uint32_t weight);

/*
 * Chooses an endpoint for a new attempt: an index of one that is usable, has a weight above 0 and
 * is not in tried; LB_NONE if there is none, and then it is the caller who decides whether to
 * clear tried or to give up. key and tried as in lb_policy.pick. Counts nothing: call lb_started.
 */
int32_t lb_pick(struct lb *lb, uint64_t key, const struct lb_tried *tried, uint64_t now_us);

/* The attempt at index begins: counts it in flight and fills the lease. */
void lb_started(struct lb *lb, struct lb_lease *lease, uint32_t index, uint64_t now_us);

/*
 * The attempt has ended, however. latency_us: from its start to the response's head, or to the
 * failure. The lease is empty afterwards and may be used again.
 */
void lb_finished(struct lb_lease *lease, enum lb_outcome outcome, uint64_t latency_us,
                 uint64_t now_us);

/* lb_finished if it is started, else nothing: for clean-up paths. */
static inline void lb_lease_drop(struct lb_lease *lease, uint64_t now_us)
{
    if (lb_lease_started(lease))
        lb_finished(lease, LB_CANCELLED, 0, now_us);
}

/* The view, to look at: how many are usable, who has which weight. Valid as long as lb. */
const struct lb_view *lb_view_of(const struct lb *lb);

const struct lb_policy *lb_policy_of(const struct lb *lb);

#endif
