/* SPDX-License-Identifier: Apache-2.0 */
/* Effective weights: a few passes over the endpoints. Owns nothing; never allocates. Any thread. */
#include "balancer/shares.h"

#include <string.h>

struct sums {
    uint32_t open, usable;  /* endpoints that could serve, and those that no mark bars */
    double capacity;        /* weight of the open ones */
    double healthy;         /* weight of the usable ones */
    double cold, warmed;    /* of those that will serve and are in slow start: their weight, */
    double zone[LB_ZONES];  /* and as much of it as has warmed up; all that will serve, by zone */
    double scale[LB_ZONES]; /* effective over warmed weight */
    double blend;           /* how much of a cold one's missing weight it is given after all */
    double load;            /* the part of all requests that the level gets */
};

struct tally {
    const struct lb_group *group;
    uint64_t now_us;
    uint32_t barring; /* marks that keep an endpoint from serving */
    bool backups;
    bool plain; /* configured weights will do */
    struct sums level[LB_LEVELS];
};

static uint32_t weight_of(const struct lb_endpoint *ep)
{
    return atomic_load_explicit(&ep->weight, memory_order_relaxed);
}

static uint32_t marks_of(const struct lb_endpoint *ep)
{
    return atomic_load_explicit(&ep->marks, memory_order_relaxed);
}

static bool is_open(const struct lb_endpoint *ep)
{
    return weight_of(ep) > 0 && !(marks_of(ep) & (LB_DRAINED | LB_UNPROVEN));
}

/* How far its slow start has come, 0.1 to 1. */
static double warmth(const struct tally *t, const struct lb_endpoint *ep)
{
    uint64_t since = atomic_load_explicit(&ep->warm_us, memory_order_relaxed);
    uint64_t window = t->group->options.slow_start_us;
    if (since == 0 || window == 0 || (t->now_us > since && t->now_us - since >= window))
        return 1;
    double part = t->now_us > since ? (double)(t->now_us - since) / (double)window : 0;
    return part > LB_WARM_LEAST ? part : LB_WARM_LEAST;
}

static bool serves(const struct tally *t, const struct lb_endpoint *ep)
{
    return ep->backup == t->backups && weight_of(ep) > 0 && !(marks_of(ep) & t->barring);
}

/* ---- who serves ---- */

static void count_health(struct tally *t)
{
    memset(t->level, 0, sizeof(t->level));
    for (uint32_t i = 0; i < t->group->count; i++) {
        const struct lb_endpoint *ep = t->group->endpoints[i];
        if (ep->backup != t->backups || !is_open(ep))
            continue;
        struct sums *s = &t->level[ep->priority];
        s->open++;
        s->capacity += weight_of(ep);
        if (marks_of(ep) != 0)
            continue;
        s->usable++;
        s->healthy += weight_of(ep);
    }
}

static double health(const struct sums *s)
{
    double h = s->capacity > 0 ? LB_OVERPROVISION * s->healthy / s->capacity : 0;
    return h < 1 ? h : 1;
}

/* Fewer than half are usable, and levels cannot make up for one another. */
static bool is_panic(const struct tally *t)
{
    uint32_t open = 0, usable = 0;
    double carried = 0;
    for (int p = 0; p < LB_LEVELS; p++) {
        open += t->level[p].open;
        usable += t->level[p].usable;
        carried += health(&t->level[p]);
    }
    return carried < 1 && (uint64_t)usable * 100 < (uint64_t)open * LB_PANIC_PERCENT;
}

static bool any_usable(const struct tally *t)
{
    for (int p = 0; p < LB_LEVELS; p++)
        if (t->level[p].usable > 0)
            return true;
    return false;
}

/* The others if one of them is usable, else the backups, else the others in a panic. */
static void choose_side(struct tally *t, struct lb_shares *out)
{
    t->backups = false;
    count_health(t);
    if (!any_usable(t)) {
        t->backups = true;
        count_health(t);
        if (!any_usable(t)) {
            t->backups = false;
            count_health(t);
        }
    }
    t->barring = LB_DRAINED | LB_UNPROVEN | LB_DOWN | LB_EJECTED;
    out->backups = t->backups;
    out->panic = is_panic(t);
    if (out->panic)
        t->barring &= ~(uint32_t)LB_EJECTED;
}

/* ---- how much ---- */

/* What each level and zone can do, now that it is known who serves. */
static void count_servers(struct tally *t, struct lb_shares *out)
{
    uint64_t window = t->group->options.slow_start_us;
    for (int p = 0; p < LB_LEVELS; p++)
        t->level[p].healthy = 0;
    for (uint32_t i = 0; i < t->group->count; i++) {
        const struct lb_endpoint *ep = t->group->endpoints[i];
        if (!serves(t, ep)) {
            out->reserve += is_open(ep) && marks_of(ep) == 0;
            out->ejected += is_open(ep) && marks_of(ep) == LB_EJECTED;
            continue;
        }
        struct sums *s = &t->level[ep->priority];
        double weight = weight_of(ep), part = warmth(t, ep);
        s->healthy += weight;
        s->zone[ep->zone] += weight;
        if (part == 1)
            continue;
        s->cold += weight;
        s->warmed += weight * part;
        t->plain = false;
        out->due_us = t->now_us + window / LB_WARM_STEPS + 1;
    }
}

/* Fills levels from the first on; in proportion if they cannot carry everything. */
static void load_levels(struct tally *t)
{
    double left = 1, carried = 0;
    for (int p = 0; p < LB_LEVELS; p++) {
        struct sums *s = &t->level[p];
        double can = health(s);
        s->load = can < left ? can : left;
        left -= s->load;
        carried += s->load;
    }
    int loaded = 0;
    for (int p = 0; p < LB_LEVELS; p++) {
        if (carried > 0)
            t->level[p].load /= carried;
        loaded += t->level[p].load > 0;
    }
    t->plain &= loaded <= 1;
}

/* So much that those that are warm get no more than twice their part. */
static void set_blend(struct sums *s)
{
    double now = s->healthy - s->cold + s->warmed, least = s->healthy / LB_WARM_OVERLOAD;
    s->blend = now < least ? (least - now) / (s->healthy - now) : 0;
}

/* Everybody's requests go everywhere, by weight. */
static void scale_evenly(struct sums *s)
{
    for (int z = 0; z < LB_ZONES; z++)
        s->scale[z] = s->load / s->healthy;
}

/* The process's zone has 1 / zones of all requests; what it cannot carry goes where room is. */
static void scale_by_zone(struct sums *s, unsigned own, unsigned zones)
{
    double part = s->healthy / zones, room = 0;
    double kept = s->zone[own] < part ? s->zone[own] / part : 1;
    for (unsigned z = 0; z < LB_ZONES; z++)
        room += z != own && s->zone[z] > part ? s->zone[z] - part : 0;
    for (unsigned z = 0; z < LB_ZONES; z++) {
        double spare = s->zone[z] > part ? s->zone[z] - part : 0;
        s->scale[z] = s->zone[z] > 0 && room > 0 ? (1 - kept) * spare / room / s->zone[z] : 0;
    }
    s->scale[own] = kept / s->zone[own];
    for (int z = 0; z < LB_ZONES; z++)
        s->scale[z] *= s->load;
}

static void scale_level(struct tally *t, struct sums *s)
{
    unsigned own = t->group->options.zone, zones = 0;
    set_blend(s);
    for (int z = 0; z < LB_ZONES; z++)
        zones += s->zone[z] > 0;
    if (own == 0 || s->zone[own] == 0 || zones < 2) {
        scale_evenly(s);
        return;
    }
    scale_by_zone(s, own, zones);
    t->plain = false;
}

/* In requests: all of them are 1. */
static double exact_weight(const struct tally *t, const struct lb_endpoint *ep)
{
    const struct sums *s = &t->level[ep->priority];
    double part = warmth(t, ep);
    return weight_of(ep) * (part + (1 - part) * s->blend) * s->scale[ep->zone];
}

static uint32_t plain_weight(const struct tally *t, const struct lb_endpoint *ep)
{
    return t->level[ep->priority].load > 0 ? weight_of(ep) : 0;
}

static uint32_t rounded(double exact, double largest)
{
    if (exact <= 0)
        return 0;
    double w = exact / largest * LB_WEIGHT_MAX;
    return w > 1 ? (uint32_t)w : 1;
}

static void write_weights(const struct tally *t, uint32_t *weights, struct lb_shares *out)
{
    const struct lb_group *group = t->group;
    double largest = 0;
    for (uint32_t i = 0; i < group->count && !t->plain; i++) {
        double w = serves(t, group->endpoints[i]) ? exact_weight(t, group->endpoints[i]) : 0;
        largest = w > largest ? w : largest;
    }
    for (uint32_t i = 0; i < group->count; i++) {
        const struct lb_endpoint *ep = group->endpoints[i];
        uint32_t w = 0;
        if (serves(t, ep))
            w = t->plain ? plain_weight(t, ep) : rounded(exact_weight(t, ep), largest);
        out->reserve += w == 0 && serves(t, ep);
        out->changed |= weights[i] != w;
        out->eligible += w > 0;
        out->total += w;
        weights[i] = w;
    }
}

void lb_shares_of(const struct lb_group *group, uint64_t now_us, uint32_t *weights,
                  struct lb_shares *out)
{
    struct tally t = {.group = group, .now_us = now_us, .plain = true};
    *out = (struct lb_shares){.due_us = LB_NEVER};
    choose_side(&t, out);
    count_servers(&t, out);
    load_levels(&t);
    for (int p = 0; p < LB_LEVELS; p++)
        if (t.level[p].load > 0)
            scale_level(&t, &t.level[p]);
    write_weights(&t, weights, out);
}
