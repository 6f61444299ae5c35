/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timing wheel. A timer for tick x stands at the level of the highest 6-bit digit in which x
 * differs from the wheel's tick, in the slot of that digit. It follows that every occupied slot is
 * ahead of the wheel in the wheel's current turn of that level, that everything on a lower level
 * comes before everything on a higher one, and that moving the wheel forward to just before the
 * earliest occupied slot keeps all placements right: finding the next event is a count of trailing
 * zeros, and skipping empty time is free.
 *
 * Owns no timer, reads no clock. Runs on the thread of its wheel.
 */
#include "proxy/base/wheel.h"

#include <limits.h>

#define LAST_TICK ((WHEEL_NEVER >> WHEEL_TICK_SHIFT) - 1)

/* The first tick that is not before ms. */
static uint64_t tick_of(uint64_t ms)
{
    uint64_t tick = (ms >> WHEEL_TICK_SHIFT) + ((ms & (WHEEL_TICK_MS - 1)) != 0);
    return tick < LAST_TICK ? tick : LAST_TICK;
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
    *w = (struct wheel){.tick = now_ms >> WHEEL_TICK_SHIFT};
    for (unsigned i = 0; i < WHEEL_LISTS; i++)
        list_init(&w->lists[i]);
}

void wheel_fini(struct wheel *w)
{
    CHECK(!w->advancing);
    for (unsigned i = 0; i < WHEEL_LISTS; i++)
        CHECK(list_empty(&w->lists[i]));
}

static void link_at(struct wheel *w, struct wheel_timer *t, uint64_t tick)
{
    if (tick <= w->tick)
        tick = w->tick + 1;
    t->linked_ms = tick << WHEEL_TICK_SHIFT;
    unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ w->tick)) / WHEEL_BITS;
    unsigned list = WHEEL_FAR;
    if (level < WHEEL_LEVELS) {
        unsigned slot = (unsigned)(tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
        w->used[level] |= UINT64_C(1) << slot;
        list = level * WHEEL_SLOTS + slot;
    }
    list_push_back(&w->lists[list], &t->link);
}

static void unlink_timer(struct wheel *w, struct wheel_timer *t)
{
    struct list_node *next = t->link.next;
    list_unlink(&t->link);
    t->linked_ms = WHEEL_NEVER;
    if (!list_empty(next))
        return;
    /* It was the last one, so what is left is the head of its list. */
    unsigned list = (unsigned)(next - w->lists);
    DCHECK(list < WHEEL_LISTS);
    if (list < WHEEL_FAR)
        w->used[list / WHEEL_SLOTS] &= ~(UINT64_C(1) << list % WHEEL_SLOTS);
}

void wheel_relink(struct wheel *w, struct wheel_timer *t)
{
    if (t->linked_ms != WHEEL_NEVER)
        unlink_timer(w, t);
    link_at(w, t, tick_of(t->deadline_ms));
}

void wheel_remove(struct wheel *w, struct wheel_timer *t)
{
    t->deadline_ms = WHEEL_NEVER;
    if (t->linked_ms != WHEEL_NEVER)
        unlink_timer(w, t);
}

/* The tick at which the earliest occupied list begins, and which list that is. */
static uint64_t next_tick(const struct wheel *w, unsigned *list)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (w->used[level] == 0)
            continue;
        unsigned slot = (unsigned)__builtin_ctzll(w->used[level]);
        unsigned shift = WHEEL_BITS * level;
        *list = level * WHEEL_SLOTS + slot;
        return (w->tick >> shift >> WHEEL_BITS << WHEEL_BITS | slot) << shift;
    }
    *list = WHEEL_FAR;
    unsigned span = WHEEL_BITS * WHEEL_LEVELS;
    return list_empty(&w->lists[WHEEL_FAR]) ? WHEEL_NEVER : ((w->tick >> span) + 1) << span;
}

uint64_t wheel_next_ms(const struct wheel *w)
{
    unsigned list;
    if (!list_empty(&w->lists[WHEEL_DUE]))
        return w->tick << WHEEL_TICK_SHIFT;
    uint64_t tick = next_tick(w, &list);
    return tick == WHEEL_NEVER ? WHEEL_NEVER : tick << WHEEL_TICK_SHIFT;
}

/* Puts a timer that is in no list where its deadline belongs: nowhere, due, or a later slot. */
static void place(struct wheel *w, struct wheel_timer *t)
{
    if (t->deadline_ms == WHEEL_NEVER) {
        t->linked_ms = WHEEL_NEVER;
        return;
    }
    uint64_t tick = tick_of(t->deadline_ms);
    if (tick > w->tick)
        link_at(w, t, tick);
    else
        list_push_back(&w->lists[WHEEL_DUE], &t->link);
}

static void spread(struct wheel *w, unsigned list)
{
    struct list_node waiting, *n;
    list_init(&waiting);
    list_splice_back(&waiting, &w->lists[list]);
    if (list < WHEEL_FAR)
        w->used[list / WHEEL_SLOTS] &= ~(UINT64_C(1) << list % WHEEL_SLOTS);
    while ((n = list_pop_front(&waiting)))
        place(w, CONTAINER_OF(n, wheel_timer, link));
}

/*
 * The wheel already stands at its new time here, so what a callback sets lands in a later tick and
 * the loop ends. A callback may have moved or removed any timer that is still in the list.
 */
static void fire_due(struct wheel *w, unsigned max)
{
    struct list_node *n;
    w->advancing = true;
    while (max > 0 && (n = list_pop_front(&w->lists[WHEEL_DUE]))) {
        struct wheel_timer *t = CONTAINER_OF(n, wheel_timer, link);
        uint64_t deadline = t->deadline_ms;
        t->linked_ms = WHEEL_NEVER;
        if (deadline == WHEEL_NEVER)
            continue;
        uint64_t tick = tick_of(deadline);
        if (tick > w->tick) {
            link_at(w, t, tick);
            continue;
        }
        t->deadline_ms = WHEEL_NEVER;
        max--;
        t->fire(t);
    }
    w->advancing = false;
}

void wheel_advance_some(struct wheel *w, uint64_t now_ms, unsigned max)
{
    uint64_t now = now_ms >> WHEEL_TICK_SHIFT, tick;
    unsigned list;
    CHECK(!w->advancing);
    while ((tick = next_tick(w, &list)) <= now) {
        w->tick = tick;
        spread(w, list);
    }
    if (now > w->tick)
        w->tick = now;
    if (!list_empty(&w->lists[WHEEL_DUE]))
        fire_due(w, max);
}

void wheel_advance(struct wheel *w, uint64_t now_ms)
{
    wheel_advance_some(w, now_ms, UINT_MAX);
}
