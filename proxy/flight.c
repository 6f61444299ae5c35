/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight recorder's records and rings. Owns the rings' memory; must never wait or allocate when
 * a record is put in.
 *
 * A slot is guarded by a number: odd while its n-th record is written, even when it is there. A
 * record is copied word by word; each store of a word is a release and each load an acquire, so
 * that whoever has seen a word of the next record sees the odd number as well (and no fence is
 * needed, which ThreadSanitizer does not follow).
 */
#include "proxy/flight.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proxy/base/check.h"

#define WORDS (sizeof(struct flight) / sizeof(uint64_t))

_Static_assert(sizeof(struct flight) % sizeof(uint64_t) == 0, "a record is a number of words");

struct slot {
    _Atomic uint64_t turn;
    _Atomic uint64_t words[WORDS];
};

struct flight_ring {
    uint32_t size;
    _Atomic uint64_t counts[FLIGHT_KINDS];
    struct slot slots[]; /* kind after kind */
};

/* ---- records ---- */

const char *flight_kind_name(enum flight_kind kind)
{
    static const char *const names[FLIGHT_KINDS] = {
        [FLIGHT_FAILED] = "failed",
        [FLIGHT_CLIENT] = "client",
        [FLIGHT_RETRIED] = "retried",
        [FLIGHT_SLOW] = "slow",
    };
    CHECK((unsigned)kind < FLIGHT_KINDS);
    return names[kind];
}

void flight_init(struct flight *f)
{
    memset(f, 0, offsetof(struct flight, legs));
}

static struct flight_place keep(struct flight *f, struct span text, size_t most)
{
    size_t room = FLIGHT_BYTES - (size_t)f->used;
    size_t len = text.len < most ? text.len : most;
    len = len < room ? len : room;
    struct flight_place place = {f->used, (uint16_t)len};
    f->short_texts |= len < text.len;
    if (len > 0)
        memcpy(f->bytes + f->used, text.ptr, len);
    f->used = (uint16_t)(f->used + len);
    return place;
}

void flight_set_text(struct flight *f, enum flight_text which, struct span text)
{
    static const uint16_t most[FLIGHT_TEXTS] = {
        [FLIGHT_ID] = 128,   [FLIGHT_PEER] = 47,  [FLIGHT_LISTENER] = 63, [FLIGHT_METHOD] = 16,
        [FLIGHT_HOST] = 100, [FLIGHT_PATH] = 256, [FLIGHT_ROUTE] = 63,    [FLIGHT_POOL] = 63,
    };
    f->texts[which] = keep(f, text, most[which]);
}

void flight_add_leg(struct flight *f, const struct flight_leg *leg, struct span endpoint)
{
    if (f->n_legs == FLIGHT_LEGS) {
        f->legs_lost++;
        f->used = f->endpoints[--f->n_legs].at;
    }
    unsigned i = f->n_legs++;
    f->endpoints[i] = keep(f, endpoint, 110);
    f->legs[i] = *leg;
    f->legs[i].endpoint = i;
}

struct span flight_text(const struct flight *f, enum flight_text which)
{
    return span_of(f->bytes + f->texts[which].at, f->texts[which].len);
}

/* The part of its text before the mark, or behind it; without one it is all the same. */
static struct span part(const struct flight *f, const struct flight_leg *leg, bool behind)
{
    const struct flight_place *place = &f->endpoints[leg->endpoint];
    struct span text = span_of(f->bytes + place->at, place->len);
    const char *mark =
        leg->also && text.len > 0 ? memchr(text.ptr, FLIGHT_ALSO[0], text.len) : NULL;
    if (mark == NULL)
        return text;
    size_t before = (size_t)(mark - text.ptr);
    return behind ? span_of(mark + 1, text.len - before - 1) : span_of(text.ptr, before);
}

struct span flight_endpoint(const struct flight *f, const struct flight_leg *leg)
{
    return part(f, leg, false);
}

struct span flight_address(const struct flight *f, const struct flight_leg *leg)
{
    return part(f, leg, true);
}

/* ---- rings ---- */

struct flight_ring *flight_ring_new(uint32_t size)
{
    struct flight_ring *ring = NULL;
    if (size > 0)
        ring = calloc(1, sizeof(*ring) + (size_t)size * FLIGHT_KINDS * sizeof(ring->slots[0]));
    if (ring != NULL)
        ring->size = size;
    return ring;
}

void flight_ring_free(struct flight_ring *ring)
{
    free(ring);
}

static struct slot *slot_of(const struct flight_ring *ring, enum flight_kind kind, uint64_t n)
{
    size_t at = (size_t)kind * ring->size + (size_t)(n % ring->size);
    return (struct slot *)(uintptr_t)&ring->slots[at];
}

static uint64_t turn_of(uint64_t n)
{
    return 2 * n + 2;
}

void flight_ring_put(struct flight_ring *ring, const struct flight *f)
{
    uint64_t n = atomic_load_explicit(&ring->counts[f->kind], memory_order_relaxed);
    struct slot *slot = slot_of(ring, (enum flight_kind)f->kind, n);
    size_t words = (offsetof(struct flight, bytes) + f->used + 7u) / sizeof(uint64_t);
    const char *from = (const char *)f;
    atomic_store_explicit(&slot->turn, turn_of(n) - 1, memory_order_relaxed);
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, from + i * sizeof(word), sizeof(word));
        atomic_store_explicit(&slot->words[i], word, memory_order_release);
    }
    atomic_store_explicit(&slot->turn, turn_of(n), memory_order_release);
    atomic_store_explicit(&ring->counts[f->kind], n + 1, memory_order_release);
}

bool flight_ring_read(const struct flight_ring *ring, enum flight_kind kind, uint32_t later,
                      struct flight *out)
{
    uint64_t count = flight_ring_count(ring, kind);
    if (ring == NULL || later >= ring->size || later >= count)
        return false;
    uint64_t n = count - 1 - later;
    struct slot *slot = slot_of(ring, kind, n);
    char *to = (char *)out;
    if (atomic_load_explicit(&slot->turn, memory_order_acquire) != turn_of(n))
        return false;
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t word = atomic_load_explicit(&slot->words[i], memory_order_acquire);
        memcpy(to + i * sizeof(word), &word, sizeof(word));
    }
    return atomic_load_explicit(&slot->turn, memory_order_relaxed) == turn_of(n);
}

uint64_t flight_ring_count(const struct flight_ring *ring, enum flight_kind kind)
{
    return ring != NULL ? atomic_load_explicit(&ring->counts[kind], memory_order_acquire) : 0;
}

uint32_t flight_ring_size(const struct flight_ring *ring)
{
    return ring != NULL ? ring->size : 0;
}

uint64_t flight_ring_bytes(const struct flight_ring *ring)
{
    return ring != NULL ? sizeof(*ring) + (uint64_t)ring->size * FLIGHT_KINDS * sizeof(struct slot)
                        : 0;
}
