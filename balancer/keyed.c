/* SPDX-License-Identifier: Apache-2.0 */
/* What policies that hash keys share. Owns nothing; never allocates. One worker's thread. */
#include "balancer/keyed.h"

#include <math.h>

#include "balancer/hash.h"

__extension__ typedef unsigned __int128 u128;

size_t keyed_local_size(uint32_t count)
{
    return sizeof(struct keyed) + count * sizeof(uint32_t);
}

/* The weights that the table was made with are those at the head of it. */
static const uint32_t *table_weights(const struct lb_view *v)
{
    return v->group->table;
}

void keyed_changed(void *local, const struct lb_view *v)
{
    struct keyed *keyed = local;
    const uint32_t *weights = table_weights(v);
    double most = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        double ratio = (double)v->weights[i] / weights[i];
        most = ratio > most ? ratio : most;
    }
    for (uint32_t i = 0; i < v->count; i++) {
        double ratio = (double)v->weights[i] / weights[i];
        keyed->part[i] = ratio > 0 ? (uint32_t)(ratio / most * UINT32_MAX) : 0;
    }
}

void keyed_init(void *local, const struct lb_view *v, uint64_t seed)
{
    struct keyed *keyed = local;
    lb_rng_seed(&keyed->rng, seed);
    keyed->part = (uint32_t *)(keyed + 1);
    keyed_changed(keyed, v);
}

void keyed_begin(struct keyed_ask *ask, struct keyed *keyed, const struct lb_view *v, uint64_t key,
                 const struct lb_tried *tried)
{
    *ask = (struct keyed_ask){
        .keyed = keyed,
        .view = v,
        .tried = tried,
        .key = key != 0 ? key : lb_rng_next(&keyed->rng),
    };
    if (v->group->options.bound > 0)
        ask->in_flight = atomic_load_explicit(&v->group->in_flight, memory_order_relaxed) + 1;
}

/* Whether i has less in flight than ceil(bound * all in flight * its part of the weight). */
static bool within_bound(const struct keyed_ask *ask, uint32_t i)
{
    const struct lb_view *v = ask->view;
    uint32_t bound = v->group->options.bound;
    return bound == 0 || (u128)lb_view_in_flight(v, i) * 100 * v->total_weight <
                             (u128)ask->in_flight * bound * v->weights[i];
}

/* A number that the key and the endpoint have in common. */
static uint64_t in_common(const struct keyed_ask *ask, uint32_t i)
{
    return lb_hash_mix(ask->key ^ lb_hash_mix(ask->view->endpoints[i]->id));
}

bool keyed_takes(const struct keyed_ask *ask, uint32_t i)
{
    uint32_t part = ask->keyed->part[i];
    if (part == 0 || (part < UINT32_MAX && (uint32_t)(in_common(ask, i) >> 32) >= part))
        return false;
    return !lb_tried_has(ask->tried, i) && within_bound(ask, i);
}

int32_t keyed_anyone(const struct keyed_ask *ask)
{
    const struct lb_view *v = ask->view;
    int32_t best = LB_NONE;
    bool best_within = false;
    double best_score = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->weights[i] == 0 || lb_tried_has(ask->tried, i))
            continue;
        bool within = within_bound(ask, i);
        double u = ((double)(in_common(ask, i) >> 11) + 0.5) / (double)(UINT64_C(1) << 53);
        double score = -log(u) / v->weights[i]; /* exponential: the least is by weight */
        if (best == LB_NONE || within > best_within ||
            (within == best_within && score < best_score)) {
            best = (int32_t)i;
            best_within = within;
            best_score = score;
        }
    }
    return best;
}

uint64_t keyed_next_key(const struct keyed *keyed, uint64_t key)
{
    struct lb_rng rng = keyed->rng;
    return key != 0 ? key : lb_rng_next(&rng);
}

void keyed_places_init(const struct lb_view *v, double *scores)
{
    for (uint32_t i = 0; i < v->count; i++)
        scores[i] = NAN;
}

void keyed_place(double *scores, uint32_t i, uint32_t *places)
{
    if (isnan(scores[i]))
        scores[i] = ++*places;
}
