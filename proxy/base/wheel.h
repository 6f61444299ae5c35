/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchical timing wheel: all deadlines of one thread behind one system timer.
 *
 * Most deadlines of a proxy are pushed back or dropped long before they pass, so both of these are
 * a store: moving a deadline later and cancelling it leave the timer where it is linked, and the
 * wheel looks at the deadline again when that slot comes up. Only an earlier deadline is relinked.
 *
 * Resolution is one tick: a timer never fires before its deadline, and is due at the first tick at
 * or after it, so at most WHEEL_TICK_MS - 1 ms late. Four levels of 64 slots reach 2^24 ticks
 * (74 hours); what lies beyond waits in one list that is looked at again at the end of that span.
 * Every operation is O(1) and touches no memory but the timer, its neighbours and the slot.
 *
 * Time is 64-bit milliseconds of one monotonic clock, always an argument. Owns no timer and frees
 * nothing. One thread.
 */
#ifndef WEIR_BASE_WHEEL_H
#define WEIR_BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/list.h"

#define WHEEL_TICK_SHIFT 4 /* one tick is 16 ms */
#define WHEEL_TICK_MS    (UINT64_C(1) << WHEEL_TICK_SHIFT)
#define WHEEL_NEVER      UINT64_MAX

enum {
    WHEEL_LEVELS = 4,
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_FAR = WHEEL_LEVELS * WHEEL_SLOTS, /* slot of everything beyond the last level */
    WHEEL_DUE,                              /* what wheel_advance fires next */
    WHEEL_LISTS
};

/* Embedded in whatever has a deadline; 40 bytes. Only the wheel writes its members. */
struct wheel_timer {
    struct list_node link;
    uint64_t deadline_ms; /* WHEEL_NEVER: not armed */
    uint64_t linked_ms;   /* the tick it is linked for; WHEEL_NEVER: not linked */
    void (*fire)(struct wheel_timer *t);
};

struct wheel {
    uint64_t tick;               /* of the last wheel_advance */
    uint64_t used[WHEEL_LEVELS]; /* one bit a slot that is not empty */
    struct list_node lists[WHEEL_LISTS];
    bool advancing;
};

/* An empty wheel that stands at now_ms. */
void wheel_init(struct wheel *w, uint64_t now_ms);

/* CHECKs that no timer is linked any more; there is nothing to free. */
void wheel_fini(struct wheel *w);

/* An unarmed timer. fire runs inside wheel_advance with the timer unlinked and unarmed; it may set,
 * cancel or remove any timer (its own too), and free the memory of any timer it has removed, its
 * own included. */
static inline void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t))
{
    list_init(&t->link);
    t->deadline_ms = WHEEL_NEVER;
    t->linked_ms = WHEEL_NEVER;
    t->fire = fire;
}

/* Links t, from wherever it is, for its deadline. wheel_set's slow half. */
void wheel_relink(struct wheel *w, struct wheel_timer *t);

/* Arms t, or moves its deadline. A deadline that has passed fires within one tick, but never inside
 * the wheel_advance that is running. Deadlines are best taken from the time of the last
 * wheel_advance; a wheel that lags behind stays correct but may ask for a wake-up more. */
static inline void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t deadline_ms)
{
    t->deadline_ms = deadline_ms;
    /* linked_ms is a whole tick and at least one, so that this cannot wrap. */
    if (deadline_ms <= t->linked_ms - WHEEL_TICK_MS)
        wheel_relink(w, t);
}

/* Disarms t; it may stay linked until its slot comes up, so its memory must stay. */
static inline void wheel_cancel(struct wheel_timer *t)
{
    t->deadline_ms = WHEEL_NEVER;
}

static inline bool wheel_armed(const struct wheel_timer *t)
{
    return t->deadline_ms != WHEEL_NEVER;
}

/* Disarms and unlinks t: required before its memory goes. Harmless on an unlinked timer. */
void wheel_remove(struct wheel *w, struct wheel_timer *t);

/* When to call wheel_advance next, in ms: the start of the earliest slot that is not empty (never
 * after the first due time; before it only to spread a coarse slot or to find a deadline that has
 * moved). WHEEL_NEVER: nothing is linked, no need to wake. */
uint64_t wheel_next_ms(const struct wheel *w);

/* Brings the wheel to now_ms (which may not go back: an earlier time is taken for the last one) and
 * fires what is due, in order of ticks. Costs a few ns when nothing is: call it once a turn. */
void wheel_advance(struct wheel *w, uint64_t now_ms);

/* The same, but fires max at the most; the others are due at once by wheel_next_ms. */
void wheel_advance_some(struct wheel *w, uint64_t now_ms, unsigned max);

#endif
