/* SPDX-License-Identifier: Apache-2.0 */
/* The list of policies, and names. Owns nothing; any thread. */
#include "balancer/policy.h"

#include <math.h>
#include <string.h>

/* The default first. */
static const struct lb_policy *const policies[] = {
    &lb_p2c, &lb_round_robin, &lb_least_conn, &lb_random, &lb_peak_ewma, &lb_ring_hash, &lb_maglev,
};

const struct lb_policy *lb_policy_at(size_t i)
{
    return i < ARRAY_LEN(policies) ? policies[i] : NULL;
}

const struct lb_policy *lb_policy_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(policies); i++)
        if (strcmp(policies[i]->name, name) == 0)
            return policies[i];
    return NULL;
}

const char *lb_outcome_name(enum lb_outcome outcome)
{
    switch (outcome) {
    case LB_OK:
        return "ok";
    case LB_OVERLOADED:
        return "overloaded";
    case LB_UNAVAILABLE:
        return "unavailable";
    case LB_ERROR:
        return "error";
    case LB_CONNECT_FAILED:
        return "connect_failed";
    case LB_FAILED:
        return "failed";
    case LB_TIMED_OUT:
        return "timed_out";
    case LB_CANCELLED:
        return "cancelled";
    }
    return "?";
}

void lb_scores_busy(const struct lb_view *v, double *scores)
{
    for (uint32_t i = 0; i < v->count; i++)
        scores[i] = v->weights[i] > 0 ? lb_view_in_flight(v, i) / (double)v->weights[i] : NAN;
}
