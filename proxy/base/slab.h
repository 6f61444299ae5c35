/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one size, recycled through a free list so that steady state calls no malloc. Objects
 * are carved from chunks that are kept until slab_fini. Under AddressSanitizer every object is a
 * malloc of its own, so that a use after slab_put is found. One thread owns a slab.
 */
#ifndef WEIR_BASE_SLAB_H
#define WEIR_BASE_SLAB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/mem.h"

struct slab {
    void *free;    /* free list, linked through the first word */
    void *chunks;  /* all chunks, linked through the first word */
    uint32_t size; /* of one object, bytes, rounded up to 16 */
    uint32_t per_chunk;
    _Atomic uint32_t in_use; /* changed by slab_used_add alone; any thread may read it */
    _Atomic uint32_t held;   /* of malloc's, used or not, in units of 16 bytes; as in_use */
    struct mem_fund *fund;   /* for when malloc fails; the owner's, NULL for none */
};

/* For a number that only one thread changes: no locked instruction. */
static inline void slab_used_add(_Atomic uint32_t *used, uint32_t n)
{
    uint32_t was = atomic_load_explicit(used, memory_order_relaxed);
    atomic_store_explicit(used, was + n, memory_order_relaxed);
}

/* Bytes that it has of malloc's. Any thread. */
static inline uint64_t slab_bytes(const struct slab *slab)
{
    struct slab *s = (struct slab *)(uintptr_t)slab;
    return 16 * (uint64_t)atomic_load_explicit(&s->held, memory_order_relaxed);
}

/* size: bytes of one object. per_chunk: how many are carved from one malloc, at least 1. */
void slab_init(struct slab *slab, size_t size, uint32_t per_chunk);

/* Frees all chunks. Every object must have been put back (checked). */
void slab_fini(struct slab *slab);

/* An object with undefined content; NULL only if malloc fails. */
void *slab_get(struct slab *slab);

/* Gives an object back; NULL is fine. */
void slab_put(struct slab *slab, void *obj);

#endif
