/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the next pick would be, and why: for explaining. It is the pick itself, played on the
 * balancer as it is, which is then put back; what workers share is read and not changed. The
 * balancer's thread; a look is anybody's.
 */
#ifndef WEIR_BALANCER_LOOK_H
#define WEIR_BALANCER_LOOK_H

#include "balancer/lb.h"

struct lb_look {
    int32_t index; /* as lb_pick_stuck would return it */
    bool probe;    /* it is ejected, and the request would decide about it */
    uint32_t count, eligible;
    uint32_t *weights; /* that the endpoints have here; 0: not to be picked */
    double *scores;    /* as lb_policy.scores */
};

/* What lb_pick_stuck with the same arguments would give. Allocates. */
void lb_look_ahead(struct lb *lb, int32_t stuck, uint64_t key, const struct lb_tried *tried,
                   uint64_t now_us, struct lb_look *out);

/* One that is zeroed is fine. */
void lb_look_fini(struct lb_look *look);

#endif
