/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weighted random draws from a view in constant time: Walker's alias method, built as Vose does
 * (IEEE Trans. Softw. Eng. 17(9), 1991), in integers. For policies; not an interface of the
 * balancer. Lives in a policy's local memory, owns nothing. One thread.
 */
#ifndef WEIR_BALANCER_DRAW_H
#define WEIR_BALANCER_DRAW_H

#include "balancer/policy.h"
#include "balancer/rng.h"

/* One of n equal parts of the number line: its lower end belongs to index, the rest to other. */
struct lb_draw_slot {
    uint32_t index, other;
    uint32_t split; /* of 2^32 */
};

struct lb_draw {
    struct lb_rng rng;
    uint32_t n;                 /* slots in use: one for each eligible endpoint */
    struct lb_draw_slot *slots; /* these three point behind the struct */
    uint64_t *scaled;           /* scratch */
    uint64_t *before;           /* [count + 1]: shares of all endpoints of lower index */
};

/* Bytes that a struct lb_draw over count endpoints takes, arrays included. */
size_t lb_draw_size(uint32_t count);

/* d: zeroed memory of that size. */
void lb_draw_init(struct lb_draw *d, const struct lb_view *v, uint64_t seed);

/* Rebuilds for the view's present shares. O(count). */
void lb_draw_changed(struct lb_draw *d, const struct lb_view *v);

/* An eligible index with a probability of exactly its share; LB_NONE if none is eligible. O(1). */
int32_t lb_draw_any(struct lb_draw *d);

/*
 * The same among those that are neither in tried nor `but` (eligible; LB_NONE: no such exception),
 * with their shares' proportions kept; LB_NONE if there are none. O(1) in the usual case, O(log
 * count) if `but` has most of the weight, O(count) if those tried have.
 */
int32_t lb_draw_other(struct lb_draw *d, const struct lb_view *v, const struct lb_tried *tried,
                      int32_t but);

#endif
