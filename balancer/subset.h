/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which endpoints of a very large pool a worker uses, so that not every worker of every instance
 * holds conns to all of them. Deterministic subsetting after "Site Reliability Engineering" (2016),
 * chapter 20, without its remainder that a round leaves unused: clients (workers, counted through
 * all instances) cut their parts one after the other out of a circle of all endpoints, until they
 * are back at its beginning; then the circle is shuffled anew. So of consecutive clients each
 * endpoint has as many as any other, and each client has the same ones whenever it starts. That
 * there are several circles spreads the load of one that goes out of use.
 *
 * Pure; allocates only its result. Any thread.
 */
#ifndef WEIR_BALANCER_SUBSET_H
#define WEIR_BALANCER_SUBSET_H

#include "balancer/group.h"

#define LB_CLIENTS (UINT64_C(1) << 40) /* that can be counted */

/*
 * All indices of the group, in the order in which that client wants them: its subset is the first
 * options.subset of those that get requests. When one goes out of use, the next takes its place,
 * and nothing else changes. client < LB_CLIENTS. malloc's; never NULL.
 */
uint32_t *lb_subset_order(const struct lb_group *group, uint64_t client);

#endif
