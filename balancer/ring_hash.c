/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_hash: Karger et al., "Consistent Hashing and Random Trees" (STOC 1997). Each endpoint stands
 * at 160 points of a ring for each unit of its weight; a key belongs to the next point clockwise
 * whose endpoint takes it. A coarse index of the ring, one entry for a few points, stands for
 * the binary search, and for the upper bits of their places: a point is four bytes, its place
 * within its entry and its endpoint. As places are evenly spread, an entry's points begin close to
 * where they would if these were equidistant, so that two bytes say where; and within the entry the
 * key's own place says where to begin to look. So a look-up in a ring that is in no near cache
 * waits for one line of it. The ring is read by all workers. One worker's thread.
 */
#include <stdlib.h>
#include <string.h>

#include "balancer/gcd.h"
#include "balancer/hash.h"
#include "balancer/keyed.h"
#include "proxy/base/mem.h"

#define POINTS     160        /* of an endpoint, for each unit of weight */
#define POINTS_MAX (1u << 22) /* of a ring: 16 MiB; beyond that each endpoint has fewer */

#define PER_ENTRY 16 /* points, about: a line of them; so that the index stays in the cache */

/* Behind the table's weights. */
struct ring {
    uint32_t n;
    uint32_t shift;   /* of a place, to its entry in the index */
    uint32_t bits;    /* of an endpoint in a point */
    uint32_t *points; /* place within its entry << bits | endpoint, in order */
    int16_t *index;   /* by entry: its first point is so many behind where it is expected */
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
            starts[(points[k] >> shift & 255) + 1]++; /* NOLINT: place_points filled all n */
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

static uint32_t entries_of(const struct ring *ring)
{
    return UINT32_C(1) << (32 - ring->shift);
}

/* Of a part of the ring's places, in 1/2^bits: so many points, if they were equidistant. */
static uint32_t expected(uint32_t n, uint32_t part, uint32_t bits)
{
    return (uint32_t)((uint64_t)n * part >> bits);
}

/* The first point at or behind the places of an entry; n behind the last. */
static uint32_t first_of(const struct ring *ring, uint32_t entry)
{
    return expected(ring->n, entry, 32 - ring->shift) + (uint32_t)ring->index[entry];
}

static void fill_index(struct ring *ring, const uint64_t *points)
{
    uint32_t at = 0;
    for (uint32_t e = 0; e <= entries_of(ring); e++) {
        while (at < ring->n && points[at] >> 32 < (uint64_t)e << ring->shift)
            at++;
        int64_t behind = (int64_t)at - expected(ring->n, e, 32 - ring->shift);
        CHECK(behind == (int16_t)behind); /* of 4 Mi points of a hash, 2,000 or so at most */
        ring->index[e] = (int16_t)behind;
    }
}

static uint32_t within(const struct ring *ring, uint32_t place)
{
    return place & ((UINT32_C(1) << ring->shift) - 1);
}

static void fill_points(struct ring *ring, const uint64_t *points)
{
    for (uint32_t k = 0; k < ring->n; k++)
        ring->points[k] =
            within(ring, (uint32_t)(points[k] >> 32)) << ring->bits | (uint32_t)points[k];
}

/* All points in the order of their places: place << 32 | endpoint. malloc's. */
static uint64_t *sorted_points(const struct lb_group *group, const uint32_t *weights, double per,
                               uint32_t n)
{
    uint64_t *points = mem_need(malloc(n * sizeof(*points)));
    uint64_t *scratch = mem_need(malloc(n * sizeof(*scratch)));
    place_points(group, weights, per, points);
    sort_points(points, scratch, n);
    free(scratch);
    return points;
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

/* So many values need so many bits. */
static uint32_t bits_for(uint32_t count)
{
    return count > 1 ? 32 - (uint32_t)__builtin_clz(count - 1) : 0;
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
    while (bits < bits_for(count) || (uint64_t)PER_ENTRY << bits < n)
        bits++;
    size_t entries = (size_t)1 << bits;
    char *table = mem_table_new(weights_size(count) + sizeof(struct ring) + n * sizeof(uint32_t) +
                                (entries + 1) * sizeof(int16_t));
    struct ring *ring = ring_of(table, count);
    memcpy(table, weights, count * sizeof(*weights));
    *ring = (struct ring){.n = n, .shift = 32 - bits, .bits = bits_for(count)};
    ring->points = (uint32_t *)(void *)(ring + 1);
    ring->index = (int16_t *)(void *)(ring->points + n);
    uint64_t *points = sorted_points(group, weights, per, n);
    fill_index(ring, points);
    fill_points(ring, points);
    free(points);
    free(weights);
    return table;
}

/* The first point at or behind a place; n behind the last. */
static uint32_t find(const struct ring *ring, uint32_t place)
{
    uint32_t entry = place >> ring->shift, low = within(ring, place);
    uint32_t first = first_of(ring, entry), end = first_of(ring, entry + 1);
    uint32_t at = first + expected(end - first, low, ring->shift);
    while (at > first && ring->points[at - 1] >> ring->bits >= low)
        at--;
    while (at < end && ring->points[at] >> ring->bits < low)
        at++;
    return at;
}

static uint32_t owner_of(const struct ring *ring, uint32_t at)
{
    return ring->points[at] & (uint32_t)((UINT64_C(1) << ring->bits) - 1);
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
        uint32_t i = owner_of(ring, at);
        if (keyed_takes(&ask, i))
            return (int32_t)i;
    }
    return keyed_anyone(&ask);
}

static void ring_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                        double *scores)
{
    const struct ring *ring = ring_of(v->group->table, v->count);
    uint32_t at = find(ring, (uint32_t)(keyed_next_key(local, key) >> 32)), places = 0;
    (void)now_us;
    keyed_places_init(v, scores);
    for (uint32_t k = 0; k < KEYED_TRIES && places < v->count; k++, at++) {
        at = at < ring->n ? at : 0;
        keyed_place(scores, owner_of(ring, at), &places);
    }
}

const struct lb_policy lb_ring_hash = {
    .name = "ring_hash",
    .score_is = KEYED_SCORE_IS,
    .uses_key = true,
    .table_new = ring_table_new,
    .local_size = keyed_local_size,
    .init = keyed_init,
    .changed = keyed_changed,
    .pick = ring_pick,
    .scores = ring_scores,
};
