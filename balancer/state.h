/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to say of each endpoint of a group: whether it gets requests, why not, since when
 * and until when, and how much. For pages, metrics and logs: everybody who explains asks here.
 */
#ifndef WEIR_BALANCER_STATE_H
#define WEIR_BALANCER_STATE_H

#include "balancer/outlier.h"
#include "balancer/shares.h"

/* Why an endpoint gets no new requests; the first cause that holds. */
enum lb_exclusion {
    LB_IN,          /* it gets some */
    LB_OUT_DRAINED, /* its marks; ejected: unless there is a panic */
    LB_OUT_DOWN,
    LB_OUT_UNPROVEN,
    LB_OUT_EJECTED,
    LB_OUT_WEIGHT, /* it has none */
    LB_OUT_BACKUP, /* others are usable */
    LB_OUT_LEVEL,  /* others of better priority carry everything */
    LB_OUT_ZONE,   /* the process's own zone does */
    LB_OUT_SUBSET, /* it is none of those that this worker uses: only lb_look knows */
    LB_OUT_FULL,   /* it has as many requests in flight as it may */
    LB_EXCLUSIONS,
};

struct lb_state {
    enum lb_exclusion exclusion;
    uint32_t marks; /* enum lb_mark; 0 = healthy */
    uint64_t
        since_us[LB_MARKS]; /* when each was set, or taken away; 0 = as it was in the beginning */
    struct lb_ejection ejection; /* the last, or all zero; it holds while LB_EJECTED is set */
    uint32_t in_flight;
    uint32_t weight; /* as set */
    double share;    /* of the pool's new requests, by effective weights: 0..1 */
    double ewma_us;  /* of its latency; 0: nothing known (only peak_ewma looks at it) */
};

/* Writes states[0..count) and effective weights[0..count) of the group as of now_us, and what goes
 * for all of them into *pool. Takes time in proportion to count: not for a worker. */
void lb_states(const struct lb_group *group, uint64_t now_us, struct lb_state *states,
               uint32_t *weights, struct lb_shares *pool);

/* A name: "drained", "weight", ...; "" of LB_IN. */
const char *lb_exclusion_name(enum lb_exclusion exclusion);

/* A name for labels and logs: "drained", "unproven", "down", "ejected". */
const char *lb_mark_name(enum lb_mark mark);

#endif
