/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to say of endpoints. Owns nothing; changes nothing. Any thread. */
#include "balancer/state.h"

#include "balancer/latency.h"

static void state_of(const struct lb_group *group, uint32_t i, uint64_t now_us,
                     struct lb_state *out)
{
    struct lb_endpoint *ep = group->endpoints[i];
    *out = (struct lb_state){
        .marks = lb_group_marks(group, i),
        .in_flight = lb_endpoint_in_flight(ep),
        .weight = lb_group_weight(group, i),
    };
    for (int m = 0; m < LB_MARKS; m++)
        out->since_us[m] = lb_group_since(group, i, (enum lb_mark)(1 << m));
    lb_outlier_read(group, i, now_us, &out->ejection);
    if (atomic_load_explicit(&ep->latency, memory_order_relaxed) != 0) /* asking would begin it */
        out->ewma_us = (double)lb_latency(ep, now_us);
}

void lb_states(const struct lb_group *group, uint64_t now_us, struct lb_state *states,
               uint32_t *weights, struct lb_shares *pool)
{
    lb_shares_of(group, now_us, weights, pool);
    for (uint32_t i = 0; i < group->count; i++) {
        state_of(group, i, now_us, &states[i]);
        states[i].share = weights[i] > 0 ? weights[i] / (double)pool->total : 0;
    }
}

const char *lb_mark_name(enum lb_mark mark)
{
    switch (mark) {
    case LB_DRAINED:
        return "drained";
    case LB_UNPROVEN:
        return "unproven";
    case LB_DOWN:
        return "down";
    case LB_EJECTED:
        return "ejected";
    }
    return "?";
}
