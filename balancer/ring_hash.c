/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_hash: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997). Each endpoint stands
 * at 160 points of a ring for each unit of its weight; a key belongs to the next point clockwise
 * whose endpoint takes it. A point is eight bytes; a coarse index of the ring, one entry for about
 * four points, stands for the binary search. The ring is read by all workers. One worker's thread.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/gcd.h"
#include "balancer/hash.h"
#include "balancer/keyed.h"
#include "proxy/base/mem.h"

#define POINTS     160        /* of an endpoint, for each unit of weight */
#define POINTS_MAX (1u << 22) /* of a ring: 32 MiB; beyond that each endpoint has fewer */

/* Behind the table's weights. */
struct ring {
    uint32_t n;
    uint32_t shift;   /* of a place, to its entry in the index */
    uint64_t *points; /* place << 32 | endpoint, in order */
    uint32_t *index;  /* the first point at or behind the places of an entry */
};

/* So many points for one unit of weight, where the weights are in their lowest terms. */
static double points_per_weight(const uint32_t *weights, uint32_t count)
{
    uint64_t unit = 0, total = 0;
    for (uint32_t i = 0; i < count; i++) {
        unit = lb_gcd(unit, weights[i]);
        total += weights[i];
    }
    double per = (double)POINTS / (double)unit;
    return per * (double)total > POINTS_MAX ? (double)POINTS_MAX / (double)total : per;
}

static uint32_t points_of(uint32_t weight, double per)
{
    double points = weight * per + 0.5;
    return points > 1 ? (uint32_t)points : 1;
}

/* Stable, by place only: at one place, who comes first in the points' order stays first. */
static void sort_points(uint64_t *points, uint64_t *scratch, uint32_t n)
{
    for (int shift = 32; shift < 64; shift += 8) {
        uint32_t starts[257] = {0};
        for (uint32_t k = 0; k < n; k++)
            starts[(points[k] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            starts[b + 1] += starts[b];
        for (uint32_t k = 0; k < n; k++)
            scratch[starts[points[k] >> shift & 255]++] = points[k];
        uint64_t *sorted = scratch;
        scratch = points;
        points = sorted;
    } /* four times: the last is back where the first began */
}

static void place_points(const struct lb_group *group, const uint32_t *weights, double per,
                         uint64_t *points)
{
    uint32_t *order = lb_group_order(group);
    for (uint32_t k = 0; k < group->count; k++) {
        uint32_t i = order[k], n = points_of(weights[i], per);
        for (uint32_t nth = 0; nth < n; nth++) {
            uint64_t hash = lb_hash_pair(group->endpoints[i]->id, nth);
            *points++ = (hash & ~UINT64_C(0xffffffff)) | i;
        }
    }
    free(order);
}

static void fill_index(struct ring *ring)
{
    uint32_t entries = UINT32_C(1) << (32 - ring->shift), at = 0;
    for (uint32_t e = 0; e < entries; e++) {
        while (at < ring->n && ring->points[at] >> 32 < (uint64_t)e << ring->shift)
            at++;
        ring->index[e] = at;
    }
}

/* Bytes of the weights, so that what follows is aligned. */
static size_t weights_size(uint32_t count)
{
    return (count * sizeof(uint32_t) + 7) & ~(size_t)7;
}

static struct ring *ring_of(void *table, uint32_t count)
{
    return (struct ring *)(void *)((char *)table + weights_size(count));
}

static void *ring_table_new(const struct lb_group *group)
{
    uint32_t count = group->count, n = 0, bits = 1;
    uint32_t *weights = mem_need(malloc(count * sizeof(*weights)));
    for (uint32_t i = 0; i < count; i++)
        weights[i] = keyed_table_weight(group, i);
    double per = points_per_weight(weights, count);
    for (uint32_t i = 0; i < count; i++)
        n += points_of(weights[i], per);
    while (UINT32_C(4) << bits < n)
        bits++;
    char *table = mem_need(malloc(weights_size(count) + sizeof(struct ring) + n * sizeof(uint64_t) +
                                  (sizeof(uint32_t) << bits)));
    struct ring *ring = ring_of(table, count);
    memcpy(table, weights, count * sizeof(*weights));
    *ring = (struct ring){.n = n, .shift = 32 - bits, .points = (uint64_t *)(void *)(ring + 1)};
    ring->index = (uint32_t *)(void *)(ring->points + n);
    uint64_t *scratch = mem_need(malloc(n * sizeof(*scratch)));
    place_points(group, weights, per, ring->points);
    sort_points(ring->points, scratch, n);
    fill_index(ring);
    free(scratch);
    free(weights);
    return table;
}

/* The first point at or behind a place; n behind the last. */
static uint32_t find(const struct ring *ring, uint32_t place)
{
    uint32_t at = ring->index[place >> ring->shift];
    while (at < ring->n && ring->points[at] >> 32 < place)
        at++;
    return at;
}

static int32_t ring_pick(void *local, const struct lb_view *v, uint64_t key,
                         const struct lb_tried *tried, uint64_t now_us)
{
    const struct ring *ring = ring_of(v->group->table, v->count);
    struct keyed_ask ask;
    (void)now_us;
    keyed_begin(&ask, local, v, key, tried);
    uint32_t at = find(ring, (uint32_t)(ask.key >> 32));
    for (uint32_t k = 0; k < KEYED_TRIES; k++, at++) {
        at = at < ring->n ? at : 0;
        if (keyed_takes(&ask, (uint32_t)ring->points[at]))
            return (int32_t)(uint32_t)ring->points[at];
    }
    return keyed_anyone(&ask);
}

const struct lb_policy lb_ring_hash = {
    .name = "ring_hash",
    .uses_key = true,
    .table_new = ring_table_new,
    .local_size = keyed_local_size,
    .init = keyed_init,
    .changed = keyed_changed,
    .pick = ring_pick,
};
