/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of a pool. Owns the word and the list of who waits where; no lock, no I/O, no clock. Any
 * thread.
 *
 * What happens to the word is in one order for all, and each change of it acquires and releases:
 * who finds in it that somebody waits also sees the member's bit, which is set before. What makes
 * room and the number of sessions that wait are in one order, too: either who makes room sees that
 * one waits, or that one, which looks again, sees the room.
 */
#include "balancer/gate.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "balancer/endpoint.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

/* in flight: 24 bits, waiting: 20, endpoints freed: 20, which wrap. */
#define FLIGHT UINT64_C(1)
#define QUEUED (UINT64_C(1) << 24)
#define FREED  (UINT64_C(1) << 44)

struct lb_gate {
    alignas(LB_CACHE_LINE) _Atomic uint64_t word;
    _Atomic uint32_t sessions; /* that wait for an endpoint of their own */
    _Atomic uint32_t limit;
    uint32_t queue;
    _Atomic uint32_t turn; /* the member that was woken last */
    _Atomic uint64_t waiting[LB_GATE_MEMBERS / 64];
    void *_Atomic members[LB_GATE_MEMBERS];
};

static uint32_t in_flight_of(uint64_t word)
{
    return (uint32_t)(word & LB_GATE_MAX);
}

static uint32_t queued_of(uint64_t word)
{
    return (uint32_t)(word / QUEUED & LB_GATE_QUEUE_MAX);
}

static uint32_t freed_of(uint64_t word)
{
    return (uint32_t)(word / FREED);
}

static uint32_t limit_of(const struct lb_gate *g)
{
    return atomic_load_explicit(&g->limit, memory_order_relaxed);
}

static uint64_t word_of(const struct lb_gate *g)
{
    return atomic_load_explicit(&g->word, memory_order_acquire);
}

static bool change(struct lb_gate *g, uint64_t *from, uint64_t to)
{
    return atomic_compare_exchange_weak_explicit(&g->word, from, to, memory_order_acq_rel,
                                                 memory_order_acquire);
}

static bool has_room(const struct lb_gate *g, uint64_t word)
{
    return in_flight_of(word) < limit_of(g);
}

static uint32_t sessions_of(const struct lb_gate *g)
{
    return atomic_load_explicit(&g->sessions, memory_order_seq_cst);
}

static bool wants_wake(const struct lb_gate *g, uint64_t word)
{
    return (queued_of(word) > 0 || sessions_of(g) > 0) && has_room(g, word);
}

struct lb_gate *lb_gate_new(uint32_t limit, uint32_t queue)
{
    CHECK(limit >= 1 && limit <= LB_GATE_MAX && queue <= LB_GATE_QUEUE_MAX);
    struct lb_gate *g = mem_need(aligned_alloc(LB_CACHE_LINE, sizeof(*g)));
    *g = (struct lb_gate){.queue = queue};
    atomic_init(&g->limit, limit);
    return g;
}

void lb_gate_free(struct lb_gate *gate)
{
    free(gate);
}

bool lb_gate_enter(struct lb_gate *gate, uint32_t *seen)
{
    uint64_t word = word_of(gate);
    do {
        if (queued_of(word) > 0 || !has_room(gate, word))
            return false;
    } while (!change(gate, &word, word + FLIGHT));
    *seen = freed_of(word);
    return true;
}

bool lb_gate_take(struct lb_gate *gate, uint32_t *seen)
{
    uint64_t word = word_of(gate);
    do {
        CHECK(queued_of(word) > 0 || sessions_of(gate) > 0);
        if (!has_room(gate, word))
            return false;
    } while (!change(gate, &word, word + FLIGHT));
    *seen = freed_of(word);
    return true;
}

bool lb_gate_back(struct lb_gate *gate, uint32_t *seen)
{
    uint64_t word = word_of(gate);
    do {
        CHECK(in_flight_of(word) > 0);
        if (freed_of(word) != *seen) {
            *seen = freed_of(word);
            return false;
        }
    } while (!change(gate, &word, word - FLIGHT));
    return true;
}

bool lb_gate_leave(struct lb_gate *gate)
{
    uint64_t before = atomic_fetch_sub_explicit(&gate->word, FLIGHT, memory_order_seq_cst);
    CHECK(in_flight_of(before) > 0);
    return wants_wake(gate, before - FLIGHT);
}

bool lb_gate_freed(struct lb_gate *gate)
{
    return wants_wake(gate, atomic_fetch_add_explicit(&gate->word, FREED, memory_order_seq_cst));
}

static _Atomic uint64_t *bits_of(struct lb_gate *g, uint32_t member)
{
    CHECK(member < LB_GATE_MEMBERS);
    return &g->waiting[member / 64];
}

static uint64_t bit_of(uint32_t member)
{
    return UINT64_C(1) << member % 64;
}

/* The member has somebody waiting. False: it had already. */
static bool show(struct lb_gate *g, uint32_t member, void *who)
{
    if (atomic_load_explicit(bits_of(g, member), memory_order_relaxed) & bit_of(member))
        return false;
    atomic_store_explicit(&g->members[member], who, memory_order_relaxed);
    atomic_fetch_or_explicit(bits_of(g, member), bit_of(member), memory_order_release);
    return true;
}

static void hide(struct lb_gate *g, uint32_t member)
{
    atomic_fetch_and_explicit(bits_of(g, member), ~bit_of(member), memory_order_relaxed);
}

bool lb_gate_queue(struct lb_gate *gate, uint32_t member, void *who, bool *wake)
{
    uint64_t word = word_of(gate);
    bool first = show(gate, member, who);
    do {
        if (queued_of(word) + sessions_of(gate) >= gate->queue) {
            if (first)
                hide(gate, member);
            return false;
        }
    } while (!change(gate, &word, word + QUEUED));
    *wake = has_room(gate, word);
    return true;
}

void lb_gate_unqueue(struct lb_gate *gate, uint32_t member, bool last)
{
    uint64_t before = atomic_fetch_sub_explicit(&gate->word, QUEUED, memory_order_acq_rel);
    CHECK(queued_of(before) > 0);
    if (last)
        hide(gate, member);
}

bool lb_gate_queue_session(struct lb_gate *gate, uint32_t member, void *who)
{
    bool first = show(gate, member, who);
    uint32_t others = atomic_fetch_add_explicit(&gate->sessions, 1, memory_order_seq_cst);
    uint64_t word = atomic_load_explicit(&gate->word, memory_order_seq_cst);
    if (queued_of(word) + others < gate->queue)
        return true;
    atomic_fetch_sub_explicit(&gate->sessions, 1, memory_order_seq_cst);
    if (first)
        hide(gate, member);
    return false;
}

void lb_gate_unqueue_session(struct lb_gate *gate, uint32_t member, bool last)
{
    uint32_t before = atomic_fetch_sub_explicit(&gate->sessions, 1, memory_order_seq_cst);
    CHECK(before > 0);
    if (last)
        hide(gate, member);
}

bool lb_gate_idle_room(const struct lb_gate *gate)
{
    return wants_wake(gate, word_of(gate));
}

/* The first member from `from` on that has somebody waiting; LB_GATE_MEMBERS: none. */
static uint32_t find(struct lb_gate *g, uint32_t from)
{
    for (uint32_t i = from / 64; i < LB_GATE_MEMBERS / 64; i++) {
        uint64_t bits = atomic_load_explicit(&g->waiting[i], memory_order_acquire);
        if (i == from / 64)
            bits &= ~UINT64_C(0) << from % 64;
        if (bits != 0)
            return i * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return LB_GATE_MEMBERS;
}

void *lb_gate_next(struct lb_gate *gate)
{
    uint32_t last = atomic_load_explicit(&gate->turn, memory_order_relaxed);
    uint32_t next = last + 1 < LB_GATE_MEMBERS ? find(gate, last + 1) : LB_GATE_MEMBERS;
    if (next == LB_GATE_MEMBERS)
        next = find(gate, 0);
    if (next == LB_GATE_MEMBERS)
        return NULL;
    atomic_store_explicit(&gate->turn, next, memory_order_relaxed);
    return atomic_load_explicit(&gate->members[next], memory_order_relaxed);
}

void *lb_gate_waiting(struct lb_gate *gate, uint32_t *from)
{
    uint32_t member = *from < LB_GATE_MEMBERS ? find(gate, *from) : LB_GATE_MEMBERS;
    *from = member + 1;
    return member < LB_GATE_MEMBERS
               ? atomic_load_explicit(&gate->members[member], memory_order_relaxed)
               : NULL;
}

bool lb_gate_set_limit(struct lb_gate *gate, uint32_t limit)
{
    CHECK(limit >= 1 && limit <= LB_GATE_MAX);
    atomic_store_explicit(&gate->limit, limit, memory_order_relaxed);
    /* Who goes by the old one changes the word before this or after; then it is seen here. */
    return wants_wake(gate, atomic_fetch_add_explicit(&gate->word, 0, memory_order_seq_cst));
}

struct lb_gate_counts lb_gate_counts(const struct lb_gate *gate)
{
    uint64_t word = word_of(gate);
    return (struct lb_gate_counts){limit_of(gate), in_flight_of(word),
                                   queued_of(word) + sessions_of(gate)};
}
