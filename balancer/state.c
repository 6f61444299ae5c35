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
    if (atomic_load_explicit(&ep->latency, memory_order_relaxed) != 0)
        out->ewma_us = (double)lb_latency_expected(ep, now_us);
}

/* Marks in the order in which they are told. */
static enum lb_exclusion excluded_by_mark(uint32_t marks, bool gets)
{
    if (marks & LB_DRAINED)
        return LB_OUT_DRAINED;
    if (marks & LB_DOWN)
        return LB_OUT_DOWN;
    if (marks & LB_UNPROVEN)
        return LB_OUT_UNPROVEN;
    return marks & LB_EJECTED && !gets ? LB_OUT_EJECTED : LB_IN;
}

/* levels: a bit for each that gets requests. */
static enum lb_exclusion exclusion_of(const struct lb_endpoint *ep, const struct lb_state *s,
                                      const struct lb_shares *pool, uint32_t levels)
{
    enum lb_exclusion by_mark = excluded_by_mark(s->marks, s->share > 0);
    if (by_mark != LB_IN)
        return by_mark;
    if (s->weight == 0)
        return LB_OUT_WEIGHT;
    if (s->share == 0 && ep->backup && !pool->backups)
        return LB_OUT_BACKUP;
    if (s->share == 0)
        return levels >> ep->priority & 1 ? LB_OUT_ZONE : LB_OUT_LEVEL;
    return s->in_flight >= ep->most ? LB_OUT_FULL : LB_IN;
}

void lb_states(const struct lb_group *group, uint64_t now_us, struct lb_state *states,
               uint32_t *weights, struct lb_shares *pool)
{
    uint32_t levels = 0;
    lb_shares_of(group, now_us, weights, pool);
    for (uint32_t i = 0; i < group->count; i++) {
        state_of(group, i, now_us, &states[i]);
        states[i].share = weights[i] > 0 ? weights[i] / (double)pool->total : 0;
        levels |= (uint32_t)(weights[i] > 0) << group->endpoints[i]->priority;
    }
    for (uint32_t i = 0; i < group->count; i++)
        states[i].exclusion = exclusion_of(group->endpoints[i], &states[i], pool, levels);
}

const char *lb_exclusion_name(enum lb_exclusion exclusion)
{
    static const char *const names[LB_EXCLUSIONS] = {"",        "drained", "down",   "unproven",
                                                     "ejected", "weight",  "backup", "level",
                                                     "zone",    "subset",  "full"};
    return names[exclusion];
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
