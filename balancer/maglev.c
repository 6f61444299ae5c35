/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maglev: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI
 * 2016), section 3.4, with weights. Each endpoint has an order of the table's slots of its own; in
 * turn, as often as their weights say, endpoints take the first free slot of their order. So slots
 * are shared out evenly to within one, and most stay where they were when an endpoint leaves. A key
 * is one look into the table; if that endpoint does not take it, another slot is drawn from the
 * key. The table is read by all workers. One worker's thread.
 */
#include <stdlib.h>

#include "balancer/hash.h"
#include "balancer/keyed.h"
#include "proxy/base/mem.h"

#define SLOTS 65537 /* a prime, so that every order reaches every slot */
#define FREE  UINT32_MAX

/* An endpoint's order is offset, offset + skip, offset + 2 * skip, ... */
struct turn {
    uint32_t slot; /* the next of it */
    uint32_t skip;
    double due; /* turns that it has saved up */
};

static void orders_init(struct turn *turns, const struct lb_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        uint64_t id = group->endpoints[i]->id;
        turns[i] = (struct turn){
            .slot = lb_hash_below(lb_hash_pair(id, 1), SLOTS),
            .skip = 1 + lb_hash_below(lb_hash_pair(id, 2), SLOTS - 1),
        };
    }
}

static void take_slot(struct turn *turn, uint32_t *slots, uint32_t i)
{
    while (slots[turn->slot] != FREE) {
        turn->slot += turn->skip;
        turn->slot -= turn->slot >= SLOTS ? SLOTS : 0;
    }
    slots[turn->slot] = i;
}

/* In each round an endpoint's turns grow by its weight over the largest. */
static void fill(struct turn *turns, const uint32_t *weights, const uint32_t *order, uint32_t count,
                 uint32_t *slots)
{
    uint32_t largest = 1, left = SLOTS;
    for (uint32_t i = 0; i < count; i++)
        largest = weights[i] > largest ? weights[i] : largest;
    while (left > 0) {
        for (uint32_t k = 0; k < count && left > 0; k++) {
            uint32_t i = order[k];
            turns[i].due += (double)weights[i] / largest;
            if (turns[i].due < 1)
                continue;
            turns[i].due -= 1;
            take_slot(&turns[i], slots, i);
            left--;
        }
    }
}

/* The weights, then the slots. */
static void *maglev_table_new(const struct lb_group *group)
{
    uint32_t *weights = mem_need(malloc((group->count + SLOTS) * sizeof(*weights)));
    struct turn *turns = mem_need(malloc(group->count * sizeof(*turns)));
    uint32_t *slots = weights + group->count, *order = lb_group_order(group);
    for (uint32_t i = 0; i < group->count; i++)
        weights[i] = keyed_table_weight(group, i);
    for (uint32_t k = 0; k < SLOTS; k++)
        slots[k] = FREE;
    orders_init(turns, group);
    fill(turns, weights, order, group->count, slots);
    free(order);
    free(turns);
    return weights;
}

static int32_t maglev_pick(void *local, const struct lb_view *v, uint64_t key,
                           const struct lb_tried *tried, uint64_t now_us)
{
    const uint32_t *slots = (const uint32_t *)v->group->table + v->count;
    struct keyed_ask ask;
    (void)now_us;
    keyed_begin(&ask, local, v, key, tried);
    struct lb_rng row;
    lb_rng_seed(&row, ask.key);
    for (uint32_t k = 0; k < KEYED_TRIES; k++) {
        uint32_t i = slots[lb_rng_below(&row, SLOTS)];
        if (keyed_takes(&ask, i))
            return (int32_t)i;
    }
    return keyed_anyone(&ask);
}

static void maglev_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                          double *scores)
{
    const uint32_t *slots = (const uint32_t *)v->group->table + v->count;
    uint32_t places = 0;
    struct lb_rng row;
    (void)now_us;
    lb_rng_seed(&row, keyed_next_key(local, key));
    keyed_places_init(v, scores);
    for (uint32_t k = 0; k < KEYED_TRIES && places < v->count; k++)
        keyed_place(scores, slots[lb_rng_below(&row, SLOTS)], &places);
}

const struct lb_policy lb_maglev = {
    .name = "maglev",
    .score_is = KEYED_SCORE_IS,
    .uses_key = true,
    .table_new = maglev_table_new,
    .local_size = keyed_local_size,
    .init = keyed_init,
    .changed = keyed_changed,
    .pick = maglev_pick,
    .scores = maglev_scores,
};
