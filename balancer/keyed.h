/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ring_hash and maglev share. Their tables are made once for a group, of the configured
 * weights and all endpoints, and are read by all workers; a key then asks a row of candidates, the
 * same each time, until one takes it. An endpoint takes
 *
 * - no key while it may not be picked, so that only its keys move, and come back to it;
 * - a part of its keys, the same each time, while it has less than the weight that the table gives
 *   it compared to others (slow start, a zone, a level): as it rises, keys move to it and between
 *   no others;
 * - none that would bring it above the bound: Mirrokni, Thorup and Zadimoghaddam, "Consistent
 *   Hashing with Bounded Loads" (SODA 2018, arXiv 1608.01350).
 *
 * To build the table anew for each of these would move other keys (Maglev's), take tens of
 * milliseconds at 10,000 endpoints, and need a table for each worker.
 *
 * For those policies; not an interface of the balancer. Lives in a policy's local memory. One
 * worker's thread.
 */
#ifndef WEIR_BALANCER_KEYED_H
#define WEIR_BALANCER_KEYED_H

#include "balancer/policy.h"
#include "balancer/rng.h"

#define KEYED_TRIES 4096 /* candidates that a key asks, before it asks everybody */

struct keyed {
    struct lb_rng rng; /* for requests without a key */
    uint32_t *part;    /* [count], behind the struct: of its keys, of UINT32_MAX */
};

/* One key's look for an endpoint. */
struct keyed_ask {
    const struct keyed *keyed;
    const struct lb_view *view;
    const struct lb_tried *tried;
    uint64_t key;
    uint64_t in_flight; /* of all, with this one; only with a bound */
};

/* For lb_policy, as they are. */
size_t keyed_local_size(uint32_t count);
void keyed_init(void *local, const struct lb_view *v, uint64_t seed);
void keyed_changed(void *local, const struct lb_view *v);

/* Begins a look. Whoever has no key (0) gets one by lot. */
void keyed_begin(struct keyed_ask *ask, struct keyed *keyed, const struct lb_view *v, uint64_t key,
                 const struct lb_tried *tried);

/* Whether candidate i takes the key. */
bool keyed_takes(const struct keyed_ask *ask, uint32_t i);

/* The key's best of all endpoints that are within the bound, else of all; LB_NONE if all were
 * tried. By rendezvous, so that it moves as few keys. O(count). */
int32_t keyed_anyone(const struct keyed_ask *ask);

#define KEYED_SCORE_IS "the place in the row that the key asks: the first that takes it wins"

/* The key of the next look, drawn if it is 0; nothing is spent. */
uint64_t keyed_next_key(const struct keyed *keyed, uint64_t key);

/* For scores: nobody has a place yet; candidate i is asked next. */
void keyed_places_init(const struct lb_view *v, double *scores);
void keyed_place(double *scores, uint32_t i, uint32_t *places);

/* The weight that a table is made with: even who has none now may get some later. */
static inline uint32_t keyed_table_weight(const struct lb_group *group, uint32_t i)
{
    uint32_t weight = lb_group_weight(group, i);
    return weight > 0 ? weight : 1;
}

#endif
