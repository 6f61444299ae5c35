/* SPDX-License-Identifier: Apache-2.0 */
/*
 * least_conn: the endpoint with the fewest requests in flight over its weight, counted over all
 * workers; among equals in turn, and as often as their weights say.
 *
 * The shared counters are the truth, but reading all of a large pool's for each pick would cost a
 * cache miss each. So a worker remembers what it last saw of each counter, with a tournament tree
 * on top that knows the best in O(1) and learns a change in O(log count). It sees its own requests
 * at once, looks again at SWEEP counters before each pick, and looks at the winner's again before
 * it believes it. So a pick is exact in a pool of up to SWEEP endpoints, and with one worker in any
 * pool; in a larger pool nobody is picked for being less busy than it is, but that another worker's
 * request ended may go unnoticed for the time of count / SWEEP picks.
 *
 * The turn among equals is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a pick
 * moves an endpoint's pass on by mean weight / weight, the lowest pass is next, and no pass lags
 * behind the last one served, so that an idle time cannot be saved up for a burst.
 *
 * Memory is the caller's; never allocates. One worker's thread.
 */
#include "balancer/policy.h"
#include "balancer/rng.h"

#define SWEEP     128
#define LOOKS     8                   /* at winners that had changed, before one is believed */
#define PASS_UNIT (UINT64_C(1) << 32) /* what a pick costs at the mean weight */

#ifndef LC_CLOCK_MAX                     /* a test has a smaller one */
#define LC_CLOCK_MAX (UINT64_C(1) << 62) /* of a pass, before all are counted from 0 again */
#endif

struct lc_seat {
    uint64_t pass;
    uint32_t in_flight; /* as last seen */
    uint32_t share;     /* 0: out of the game */
};

struct lc {
    uint32_t count;
    uint32_t sweep;  /* the next counter to look at */
    uint64_t served; /* the pass at which the last pick was made */
    uint64_t cost;   /* of a pick at weight 1: passes mean the same, however weights are scaled */
    struct lc_seat *seats;
    uint32_t *winner; /* [count]: of node 1.., whose children are 2n and 2n+1; leaves: count.. */
};

static size_t lc_local_size(uint32_t count)
{
    return sizeof(struct lc) + count * (sizeof(struct lc_seat) + sizeof(uint32_t));
}

/* Whether a is to be picked before b. */
static bool better(const struct lc *lc, uint32_t a, uint32_t b)
{
    const struct lc_seat *sa = &lc->seats[a], *sb = &lc->seats[b];
    if (sa->share == 0 || sb->share == 0)
        return sa->share > sb->share;
    uint64_t load_a = (uint64_t)sa->in_flight * sb->share;
    uint64_t load_b = (uint64_t)sb->in_flight * sa->share;
    if (load_a != load_b)
        return load_a < load_b;
    return sa->pass != sb->pass ? sa->pass < sb->pass : a < b;
}

static uint32_t winner_at(const struct lc *lc, uint32_t node)
{
    return node >= lc->count ? node - lc->count : lc->winner[node];
}

static uint32_t play(const struct lc *lc, uint32_t node)
{
    uint32_t l = winner_at(lc, 2 * node), r = winner_at(lc, 2 * node + 1);
    return better(lc, r, l) ? r : l;
}

/* Replays the path of a seat that changed, up to where it no longer matters. */
static void replay(struct lc *lc, uint32_t i)
{
    for (uint32_t node = (lc->count + i) / 2; node >= 1; node /= 2) {
        uint32_t before = lc->winner[node];
        lc->winner[node] = play(lc, node);
        if (lc->winner[node] == before && before != i)
            return;
    }
}

static void saw(struct lc *lc, uint32_t i, uint32_t in_flight)
{
    if (lc->seats[i].in_flight == in_flight)
        return;
    lc->seats[i].in_flight = in_flight;
    replay(lc, i);
}

static void sweep(struct lc *lc, const struct lb_view *v)
{
    uint32_t n = lc->count < SWEEP ? lc->count : SWEEP;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = lc->sweep;
        saw(lc, i, lb_view_in_flight(v, i));
        lc->sweep = i + 1 < lc->count ? i + 1 : 0;
    }
}

static void lc_changed(void *local, const struct lb_view *v)
{
    struct lc *lc = local;
    lc->cost = PASS_UNIT * (v->eligible > 0 ? v->total_weight / v->eligible : 1);
    for (uint32_t i = 0; i < v->count; i++) {
        struct lc_seat *s = &lc->seats[i];
        s->share = lb_view_share(v, i);
        s->in_flight = lb_view_in_flight(v, i);
        s->pass = s->pass > lc->served ? s->pass - lc->served : 0;
    }
    lc->served = 0;
    for (uint32_t node = lc->count; node-- > 1;)
        lc->winner[node] = play(lc, node);
}

static void lc_init(void *local, const struct lb_view *v, uint64_t seed)
{
    struct lc *lc = local;
    struct lb_rng rng;
    lc->count = v->count;
    lc->seats = (struct lc_seat *)(void *)(lc + 1);
    lc->winner = (uint32_t *)(void *)(lc->seats + v->count);
    lb_rng_seed(&rng, seed);
    lc_changed(lc, v);
    /* As if those before a random one had had their turn. */
    uint32_t first = (uint32_t)lb_rng_below(&rng, v->count);
    for (uint32_t i = 0; i < first; i++)
        lc->seats[i].pass = v->weights[i] ? lc->cost / v->weights[i] : 0;
    lc_changed(lc, v);
}

/* The best as far as is known, after another look at its counter. */
static uint32_t choose(struct lc *lc, const struct lb_view *v)
{
    uint32_t i = winner_at(lc, 1);
    for (int k = 0; k < LOOKS; k++) {
        saw(lc, i, lb_view_in_flight(v, i));
        uint32_t now = winner_at(lc, 1);
        if (now == i)
            break;
        i = now;
    }
    return i;
}

static void pay(struct lc *lc, uint32_t i)
{
    struct lc_seat *s = &lc->seats[i];
    uint64_t start = s->pass > lc->served ? s->pass : lc->served;
    s->pass = start + lc->cost / s->share;
    lc->served = start;
    replay(lc, i);
}

/* Takes one that was tried out of the game, or puts it back. */
static void set_share(struct lc *lc, uint32_t i, uint32_t share)
{
    lc->seats[i].share = share;
    replay(lc, i);
}

static void set_tried(struct lc *lc, const struct lb_view *v, const struct lb_tried *tried,
                      bool out)
{
    for (uint64_t bits = tried->few; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        if (i < lc->count)
            set_share(lc, i, out ? 0 : lb_view_share(v, i));
    }
    for (uint32_t k = 0; k < lb_tried_many(tried); k++)
        if (tried->many[k] < lc->count)
            set_share(lc, tried->many[k], out ? 0 : lb_view_share(v, tried->many[k]));
}

static int32_t lc_pick(void *local, const struct lb_view *v, uint64_t key,
                       const struct lb_tried *tried, uint64_t now_us)
{
    struct lc *lc = local;
    (void)key, (void)now_us;
    if (lc->served >= LC_CLOCK_MAX)
        lc_changed(lc, v);
    sweep(lc, v);
    if (tried)
        set_tried(lc, v, tried, true);
    uint32_t i = choose(lc, v);
    bool found = lc->seats[i].share > 0;
    if (found)
        pay(lc, i);
    if (tried)
        set_tried(lc, v, tried, false);
    return found ? (int32_t)i : LB_NONE;
}

static void lc_started(void *local, const struct lb_view *v, uint32_t i, uint32_t in_flight,
                       uint64_t now_us)
{
    (void)v, (void)now_us;
    saw(local, i, in_flight);
}

static void lc_finished(void *local, const struct lb_view *v, uint32_t i, uint32_t in_flight,
                        enum lb_outcome outcome, uint64_t latency_us, uint64_t now_us)
{
    (void)v, (void)outcome, (void)latency_us, (void)now_us;
    saw(local, i, in_flight);
}

static void lc_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                      double *scores)
{
    (void)local, (void)key, (void)now_us;
    lb_scores_busy(v, scores);
}

const struct lb_policy lb_least_conn = {
    .name = "least_conn",
    .score_is = "requests in flight over weight: the lowest wins, and equals take turns",
    .local_size = lc_local_size,
    .init = lc_init,
    .changed = lc_changed,
    .pick = lc_pick,
    .started = lc_started,
    .finished = lc_finished,
    .scores = lc_scores,
};
