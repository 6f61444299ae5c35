/* SPDX-License-Identifier: Apache-2.0 */
/* Weighted draws by the alias method. Owns nothing; never allocates. One thread. */
#include "balancer/draw.h"

#define REDRAWS 4 /* before the exact ways to leave somebody out */

__extension__ typedef unsigned __int128 u128;

size_t lb_draw_size(uint32_t count)
{
    return sizeof(struct lb_draw) + count * sizeof(uint64_t) + (count + 1) * sizeof(uint64_t) +
           count * sizeof(struct lb_draw_slot);
}

void lb_draw_init(struct lb_draw *d, const struct lb_view *v, uint64_t seed)
{
    lb_rng_seed(&d->rng, seed);
    d->scaled = (uint64_t *)(void *)(d + 1);
    d->before = d->scaled + v->count;
    d->slots = (struct lb_draw_slot *)(void *)(d->before + v->count + 1);
    lb_draw_changed(d, v);
}

/* Slots for the eligible, each scaled so that the mean is the total weight; sums by index. */
static void lay_out(struct lb_draw *d, const struct lb_view *v)
{
    uint64_t sum = 0;
    d->n = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        uint32_t share = lb_view_share(v, i);
        d->before[i] = sum;
        sum += share;
        if (share == 0)
            continue;
        d->slots[d->n].index = d->slots[d->n].other = i;
        d->scaled[d->n++] = (uint64_t)share * v->eligible;
    }
    d->before[v->count] = sum;
    CHECK(d->n == v->eligible && sum == v->total_weight);
}

/* The first slot from `from` on that holds less than the mean (want), or not less (!want). */
static uint32_t next_slot(const struct lb_draw *d, uint32_t from, uint64_t mean, bool want)
{
    while (from < d->n && (d->scaled[from] < mean) != want)
        from++;
    return from;
}

/*
 * Fills up each slot below the mean from one above it. Two cursors pass over the slots, one from
 * small to small, one from large to large; a large one that falls below the mean behind the first
 * cursor is the next to fill, so that no work lists are needed. Integers make the books balance:
 * while a slot is short, another has more than its part.
 */
static void pair_up(struct lb_draw *d, uint64_t mean)
{
    uint32_t large = next_slot(d, 0, mean, false);
    uint32_t cursor = next_slot(d, 0, mean, true);

    for (uint32_t small = cursor; small < d->n;) {
        CHECK(large < d->n);
        d->slots[small].other = d->slots[large].index;
        d->slots[small].split = (uint32_t)(((u128)d->scaled[small] << 32) / mean);
        d->scaled[large] -= mean - d->scaled[small];
        uint32_t giver = large;
        large = next_slot(d, large, mean, false);
        if (giver != large && giver < cursor)
            small = giver;
        else
            small = cursor = next_slot(d, cursor + 1, mean, true);
    }
}

void lb_draw_changed(struct lb_draw *d, const struct lb_view *v)
{
    lay_out(d, v);
    if (d->n > 0)
        pair_up(d, v->total_weight);
}

int32_t lb_draw_any(struct lb_draw *d)
{
    if (d->n == 0)
        return LB_NONE;
    /* The whole part of a uniform number in [0, n) chooses the slot, its fraction the end. */
    u128 at = (u128)lb_rng_next(&d->rng) * d->n;
    const struct lb_draw_slot *slot = &d->slots[(size_t)(at >> 64)];
    return (int32_t)((uint32_t)((uint64_t)at >> 32) < slot->split ? slot->index : slot->other);
}

/* All but one, exactly: a point on the line of shares with that one's stretch cut out. */
static int32_t draw_all_but(struct lb_draw *d, const struct lb_view *v, uint32_t but)
{
    uint64_t cut = d->before[but + 1] - d->before[but];
    uint64_t rest = d->before[v->count] - cut;
    if (rest == 0)
        return LB_NONE;
    uint64_t at = lb_rng_below(&d->rng, rest);
    if (at >= d->before[but])
        at += cut;
    uint32_t lo = 0, hi = v->count; /* before[lo] <= at < before[hi] */
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (d->before[mid] <= at)
            lo = mid;
        else
            hi = mid;
    }
    return (int32_t)lo;
}

static uint32_t share_left(const struct lb_view *v, uint32_t i, const struct lb_tried *tried,
                           int32_t but)
{
    return (int32_t)i == but || lb_tried_has(tried, i) ? 0 : lb_view_share(v, i);
}

static int32_t draw_by_scan(struct lb_draw *d, const struct lb_view *v,
                            const struct lb_tried *tried, int32_t but)
{
    uint64_t rest = 0;
    for (uint32_t i = 0; i < v->count; i++)
        rest += share_left(v, i, tried, but);
    if (rest == 0)
        return LB_NONE;
    uint64_t at = lb_rng_below(&d->rng, rest);
    uint32_t i = 0;
    for (uint32_t share; at >= (share = share_left(v, i, tried, but)); i++)
        at -= share;
    return (int32_t)i;
}

int32_t lb_draw_other(struct lb_draw *d, const struct lb_view *v, const struct lb_tried *tried,
                      int32_t but)
{
    if (but != LB_NONE && d->n == 1) /* there is nobody else */
        return LB_NONE;
    for (int k = 0; k < REDRAWS; k++) {
        int32_t i = lb_draw_any(d);
        if (i == LB_NONE || (i != but && !lb_tried_has(tried, (uint32_t)i)))
            return i;
    }
    if (tried == NULL && but != LB_NONE)
        return draw_all_but(d, v, (uint32_t)but);
    return draw_by_scan(d, v, tried, but);
}
