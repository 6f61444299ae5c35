/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place that turns what is known of endpoints (configured weight, marks, slow start,
 * priority, zone, backup) into effective weights, so that policies need not know of any of it.
 * Pure but for reading the endpoints' atomics; never allocates. Any thread.
 */
#ifndef WEIR_BALANCER_SHARES_H
#define WEIR_BALANCER_SHARES_H

#include "balancer/group.h"

#define LB_PANIC_PERCENT 50  /* fewer usable than that, and outlier verdicts are ignored */
#define LB_OVERPROVISION 1.4 /* so many times its part a level can carry before it spills */
#define LB_WARM_LEAST    0.1 /* of its weight, at the start of slow start */
#define LB_WARM_OVERLOAD 2.0 /* times its part, at most, for those that are warm */
#define LB_WARM_STEPS    32  /* in which a slow start goes up */

struct lb_shares {
    uint64_t total;    /* of the weights */
    uint32_t eligible; /* how many are above 0 */
    uint32_t reserve;  /* how many others are usable: of other levels or zones, or backups */
    uint32_t ejected;  /* how many would be, but for outlier detection */
    uint64_t due_us;   /* when the same call would give something else; LB_NEVER */
    bool changed;      /* against what stood in weights */
    bool backups;      /* no other is usable */
    bool panic;        /* outlier verdicts are being ignored */
};

/*
 * Writes the effective weight of each endpoint as of now_us into weights[0..count). They are the
 * configured ones as long as those will do, else in the same proportions as the exact ones, with
 * LB_WEIGHT_MAX for the largest:
 *
 * - Of marks, a panic overrules LB_EJECTED and no other.
 * - Backups count only when no other endpoint is usable.
 * - A priority level can carry LB_OVERPROVISION times the part of its weight that is usable; what
 *   is more goes to the next. If all together cannot carry everything, each gets its part.
 * - Within a level, requests stay in the process's own zone as far as that can carry them, taking
 *   it that each zone with endpoints has as many; what is more goes where there is room.
 * - One in its slow start has max(10%, elapsed / window) of its weight, but more if so many are
 *   that the others would get more than twice their part.
 */
void lb_shares_of(const struct lb_group *group, uint64_t now_us, uint32_t *weights,
                  struct lb_shares *out);

#endif
