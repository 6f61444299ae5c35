/* SPDX-License-Identifier: Apache-2.0 */
/*
 * round_robin: smooth weighted round robin in nginx's order. By its definition, each pick adds to
 * every endpoint its weight, takes the largest value (the first of equal ones) and lowers that one
 * by the sum of the weights. Doing so is linear in the endpoints; this yields the same picks
 * without touching the others:
 *
 * - At turn t the value of endpoint i is t * weight + credit, where credit changes only when i is
 *   picked. So values are straight lines over t, and a pick lowers one of them.
 * - Lines of equal weight are parallel and never cross: such a group is a queue, whose head is
 *   served and goes to the end. Only heads compete.
 * - Between the heads stands a kinetic tournament tree (Basch, Guibas and Hershberger, "Data
 *   structures for mobile data", 1999): each node keeps the winner of its two children and the
 *   turn at which the loser will overtake. A pick replays one path and the nodes that are due.
 *
 * A pick costs O(log groups) in the usual case, and O(1) if all weights are equal. When weights or
 * usable bits change, credits stay, in units of one pick: nobody loses its place in the cycle, and
 * changes that come faster than the cycle turns starve nobody. (nginx keeps the plain numbers,
 * which count for too much once the sum has shrunk.)
 *
 * Memory is the caller's; never allocates. One worker's thread.
 */
#include "balancer/gcd.h"
#include "balancer/policy.h"
#include "balancer/rng.h"

#include <math.h>
#include <string.h>

#ifndef RR_TURN_MAX                     /* a test has a smaller one */
#define RR_TURN_MAX (UINT64_C(1) << 40) /* times LB_WEIGHT_MAX it is still far from overflow */
#endif
#define PHASE_MAX 16384 /* picks that a start skips at most: about a millisecond */
#define NEVER     UINT64_MAX

__extension__ typedef __int128 i128;

/* Endpoints of one weight: a ring buffer, always full, best first. */
struct rr_group {
    uint32_t weight;
    uint32_t size;
    uint32_t head; /* 0..size-1 */
    uint32_t *ring;
};

/* A match: between the winners of nodes 2n and 2n+1. Leaves are the groups. What there is to know
   of the winner is copied in, so that a match touches one cache line and not six. */
struct rr_node {
    uint64_t due;   /* the first turn at which something here or below has changed hands */
    int64_t credit; /* of its head */
    uint32_t head;  /* the endpoint */
    uint32_t weight;
    uint32_t group;
};

struct rr {
    uint64_t phase; /* seed of the start, spent once there is anybody to pick */
    bool started;
    uint64_t turn;     /* of the next pick, from 1 */
    int64_t total;     /* sum of the shares that credits are relative to */
    uint32_t n_groups; /* 0: nobody to pick */
    uint32_t n_members;
    struct rr_group *groups; /* these point behind the struct; [count] each but nodes */
    struct rr_node *nodes;   /* [2 * count]; the root is 1, the leaves n_groups.. */
    int64_t *credit;
    uint32_t *members; /* of all groups, one after the other: what their rings point into */
    uint32_t *scratch;
};

static size_t rr_local_size(uint32_t count)
{
    return sizeof(struct rr) + count * (sizeof(struct rr_group) + 2 * sizeof(struct rr_node) +
                                        sizeof(int64_t) + 2 * sizeof(uint32_t));
}

static uint32_t at(const struct rr_group *g, uint32_t pos)
{
    uint32_t i = g->head + pos;
    return g->ring[i < g->size ? i : i - g->size];
}

static uint32_t *slot(struct rr_group *g, uint32_t pos)
{
    uint32_t i = g->head + pos;
    return &g->ring[i < g->size ? i : i - g->size];
}

static int64_t value_at(uint64_t turn, uint32_t weight, int64_t credit)
{
    return (int64_t)(turn * weight) + credit;
}

static bool beats(int64_t value_a, uint32_t a, int64_t value_b, uint32_t b)
{
    return value_a != value_b ? value_a > value_b : a < b;
}

/* How many turns on the loser overtakes, being gap behind and gaining slope > 0 each turn. */
static uint64_t turns_until(int64_t gap, uint32_t slope, bool wins_ties)
{
    uint64_t g = (uint64_t)gap;
    return wins_ties ? (g + slope - 1) / slope : g / slope + 1;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Plays the match of a node between its children as they stand at this turn. */
static void play(struct rr *rr, uint32_t node)
{
    const struct rr_node *win = &rr->nodes[2 * node], *lose = win + 1;
    uint64_t due = min_u64(win->due, lose->due);
    int64_t ahead = value_at(rr->turn, win->weight, win->credit) -
                    value_at(rr->turn, lose->weight, lose->credit);

    if (!beats(ahead, win->head, 0, lose->head)) {
        const struct rr_node *other = win;
        win = lose;
        lose = other;
        ahead = -ahead;
    }
    if (lose->weight > win->weight)
        due = min_u64(
            due, rr->turn + turns_until(ahead, lose->weight - win->weight, lose->head < win->head));
    rr->nodes[node] = *win;
    rr->nodes[node].due = due;
}

/* Enters a group's head into the tournament. */
static void enter(struct rr *rr, uint32_t group)
{
    const struct rr_group *g = &rr->groups[group];
    uint32_t i = at(g, 0);
    rr->nodes[rr->n_groups + group] = (struct rr_node){
        .due = NEVER, .credit = rr->credit[i], .head = i, .weight = g->weight, .group = group};
}

/* Replays what is due below and at node. The depth is that of the tree, at most 20. */
static void replay_due(struct rr *rr, uint32_t node)
{
    if (node >= rr->n_groups || rr->nodes[node].due > rr->turn)
        return;
    replay_due(rr, 2 * node);
    replay_due(rr, 2 * node + 1);
    play(rr, node);
}

static void play_all(struct rr *rr)
{
    for (uint32_t g = 0; g < rr->n_groups; g++)
        enter(rr, g);
    for (uint32_t node = rr->n_groups; node-- > 1;)
        play(rr, node);
}

/*
 * Serves the one at pos in its group: it pays and goes to the back. That is its place, since
 * members of a group are at most one pick apart, but for equals (lower index first) and for
 * credits from before a change: hence the last loop.
 */
static uint32_t serve(struct rr *rr, struct rr_group *g, uint32_t pos)
{
    uint32_t i = at(g, pos);
    rr->credit[i] -= rr->total;
    for (; pos > 0; pos--)
        *slot(g, pos) = at(g, pos - 1);
    g->head = g->head + 1 < g->size ? g->head + 1 : 0;
    pos = g->size - 1;
    for (; pos > 0 && beats(rr->credit[i], i, rr->credit[at(g, pos - 1)], at(g, pos - 1)); pos--)
        *slot(g, pos) = at(g, pos - 1);
    *slot(g, pos) = i;
    return i;
}

static void next_turn(struct rr *rr, uint32_t served_group)
{
    rr->turn++;
    enter(rr, served_group);
    for (uint32_t node = (rr->n_groups + served_group) / 2; node >= 1; node /= 2)
        play(rr, node);
    replay_due(rr, 1);
}

/* Orders members by weight, then as they are to be served. */
static bool precedes(const struct rr *rr, const struct lb_view *v, uint32_t a, uint32_t b)
{
    if (v->weights[a] != v->weights[b])
        return v->weights[a] > v->weights[b];
    return beats(rr->credit[a], a, rr->credit[b], b);
}

/* Bottom-up merge sort; runs that are in order already, most of them after a change, are kept. */
static void sort_members(struct rr *rr, const struct lb_view *v)
{
    uint32_t n = rr->n_members, *m = rr->members;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t lo = 0; lo + width < n; lo += 2 * width) {
            uint32_t mid = lo + width, hi = mid + width < n ? mid + width : n;
            if (precedes(rr, v, m[mid - 1], m[mid]))
                continue;
            memcpy(rr->scratch, m + lo, width * sizeof(*m));
            for (uint32_t a = 0, b = mid, out = lo; a < width; out++) {
                bool right = b < hi && precedes(rr, v, m[b], rr->scratch[a]);
                m[out] = right ? m[b++] : rr->scratch[a++];
            }
        }
    }
}

/* Credits as of now instead of turn 0, and the members in the order of their queues. */
static void dissolve_groups(struct rr *rr)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < rr->n_groups; k++) {
        const struct rr_group *g = &rr->groups[k];
        for (uint32_t pos = 0; pos < g->size; pos++) {
            uint32_t i = at(g, pos);
            rr->credit[i] += (int64_t)((rr->turn - 1) * g->weight);
            rr->scratch[n++] = i;
        }
    }
    memcpy(rr->members, rr->scratch, n * sizeof(*rr->members));
    rr->n_members = n;
    rr->n_groups = 0;
    rr->turn = 1;
}

/* A credit is in units of 1/total of a pick; total changes, the part of a pick stays. */
static void rescale(struct rr *rr, const struct lb_view *v)
{
    int64_t total = (int64_t)v->total_weight;
    if (total == 0 || total == rr->total)
        return;
    for (uint32_t i = 0; i < v->count && rr->total > 0; i++)
        rr->credit[i] = (int64_t)((i128)rr->credit[i] * total / rr->total);
    rr->total = total;
}

/* Those that stay, in their old order, so that sorting has little to do; then those who come. */
static void elect_members(struct rr *rr, const struct lb_view *v)
{
    uint32_t n = 0;
    memset(rr->scratch, 0, v->count * sizeof(*rr->scratch));
    for (uint32_t k = 0; k < rr->n_members; k++) {
        uint32_t i = rr->members[k];
        if (lb_view_share(v, i) == 0)
            continue;
        rr->scratch[i] = 1;
        rr->members[n++] = i;
    }
    for (uint32_t i = 0; i < v->count; i++)
        if (!rr->scratch[i] && lb_view_share(v, i) > 0)
            rr->members[n++] = i;
    rr->n_members = n;
}

static void form_groups(struct rr *rr, const struct lb_view *v)
{
    for (uint32_t k = 0; k < rr->n_members; k++) {
        uint32_t weight = v->weights[rr->members[k]];
        if (rr->n_groups == 0 || rr->groups[rr->n_groups - 1].weight != weight)
            rr->groups[rr->n_groups++] =
                (struct rr_group){.weight = weight, .ring = &rr->members[k]};
        rr->groups[rr->n_groups - 1].size++;
    }
}

static uint32_t serve_next(struct rr *rr)
{
    uint32_t group = rr->nodes[1].group;
    uint32_t i = serve(rr, &rr->groups[group], 0);
    next_turn(rr, group);
    return i;
}

/* Begins somewhere in the cycle, which is total / gcd picks long, instead of at its head. */
static void skip_phase(struct rr *rr)
{
    uint64_t unit = 0;
    for (uint32_t k = 0; k < rr->n_groups; k++)
        unit = lb_gcd(unit, rr->groups[k].weight);
    CHECK(unit > 0); /* there is a group, and its weight is not 0 */
    struct lb_rng rng;
    lb_rng_seed(&rng, rr->phase);
    uint64_t skip = lb_rng_below(&rng, min_u64((uint64_t)rr->total / unit, PHASE_MAX));
    while (skip-- > 0)
        serve_next(rr);
}

static void rr_changed(void *local, const struct lb_view *v)
{
    struct rr *rr = local;
    dissolve_groups(rr);
    rescale(rr, v);
    elect_members(rr, v);
    sort_members(rr, v);
    form_groups(rr, v);
    if (rr->n_groups == 0)
        return;
    play_all(rr);
    if (!rr->started) {
        rr->started = true;
        skip_phase(rr);
    }
}

static void rr_init(void *local, const struct lb_view *v, uint64_t seed)
{
    struct rr *rr = local;
    rr->phase = seed;
    rr->turn = 1;
    rr->groups = (struct rr_group *)(void *)(rr + 1);
    rr->nodes = (struct rr_node *)(void *)(rr->groups + v->count);
    rr->credit = (int64_t *)(void *)(rr->nodes + 2 * (size_t)v->count);
    rr->members = (uint32_t *)(void *)(rr->credit + v->count);
    rr->scratch = rr->members + v->count;
    rr_changed(rr, v);
}

/*
 * The best one that was not tried; the turn is spent as always, so that in the long run everyone
 * gets its share. Looks at each group's first untried one: O(groups + tried).
 */
static int32_t pick_untried(struct rr *rr, const struct lb_tried *tried)
{
    int32_t best = LB_NONE;
    int64_t best_value = 0;
    uint32_t best_group = 0, best_pos = 0;
    for (uint32_t k = 0; k < rr->n_groups; k++) {
        struct rr_group *g = &rr->groups[k];
        uint32_t pos = 0;
        while (pos < g->size && lb_tried_has(tried, at(g, pos)))
            pos++;
        if (pos == g->size)
            continue;
        int64_t val = value_at(rr->turn, g->weight, rr->credit[at(g, pos)]);
        if (best == LB_NONE || beats(val, at(g, pos), best_value, (uint32_t)best)) {
            best = (int32_t)at(g, pos);
            best_value = val;
            best_group = k;
            best_pos = pos;
        }
    }
    if (best == LB_NONE)
        return LB_NONE;
    serve(rr, &rr->groups[best_group], best_pos);
    next_turn(rr, best_group);
    return best;
}

static int32_t rr_pick(void *local, const struct lb_view *v, uint64_t key,
                       const struct lb_tried *tried, uint64_t now_us)
{
    struct rr *rr = local;
    (void)key, (void)now_us;
    if (rr->turn >= RR_TURN_MAX)
        rr_changed(rr, v);
    return tried == NULL ? (int32_t)serve_next(rr) : pick_untried(rr, tried);
}

static void rr_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                      double *scores)
{
    const struct rr *rr = local;
    (void)key, (void)now_us;
    for (uint32_t i = 0; i < v->count; i++)
        scores[i] = v->weights[i] > 0 ? (double)value_at(rr->turn, v->weights[i], rr->credit[i]) /
                                            (double)rr->total
                                      : NAN;
}

const struct lb_policy lb_round_robin = {
    .name = "round_robin",
    .score_is = "picks that are due: the highest wins",
    .local_size = rr_local_size,
    .init = rr_init,
    .changed = rr_changed,
    .pick = rr_pick,
    .scores = rr_scores,
};
