/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed-size object recycling. Owns its chunks; must never be shared between threads. */
#include "proxy/base/slab.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define CHUNK_HEADER 16

void slab_init(struct slab *slab, size_t size, uint32_t per_chunk)
{
    CHECK(size > 0 && size < UINT32_MAX / 16 && per_chunk > 0);
    slab->free = slab->chunks = NULL;
    slab->size = ((uint32_t)size + 15) & ~15u;
    slab->per_chunk = per_chunk;
    atomic_store_explicit(&slab->in_use, 0, memory_order_relaxed); /* they may be read already */
    atomic_store_explicit(&slab->held, 0, memory_order_relaxed);
}

void slab_fini(struct slab *slab)
{
    CHECK(slab->in_use == 0);
    for (void *chunk = slab->chunks; chunk != NULL;) {
        void *next = *(void **)chunk;
        free(chunk);
        chunk = next;
    }
    slab->chunks = slab->free = NULL;
    atomic_store_explicit(&slab->held, 0, memory_order_relaxed);
}

#if !MEM_KEEPS

void *slab_get(struct slab *slab)
{
    void *obj = mem_alloc(slab->fund, slab->size);
    if (obj != NULL) {
        slab_used_add(&slab->in_use, 1);
        slab_used_add(&slab->held, slab->size / 16);
        memset(obj, 0xa5, slab->size);
    }
    return obj;
}

void slab_put(struct slab *slab, void *obj)
{
    if (obj == NULL)
        return;
    CHECK(slab->in_use > 0);
    slab_used_add(&slab->in_use, UINT32_MAX);
    slab_used_add(&slab->held, -(slab->size / 16));
    free(obj);
}

#else

/* Out of the way of slab_get. */
__attribute__((noinline, cold)) static bool slab_grow(struct slab *slab)
{
    size_t bytes = CHUNK_HEADER + (size_t)slab->size * slab->per_chunk;
    char *chunk = mem_alloc(slab->fund, bytes);
    if (chunk == NULL)
        return false;
    slab_used_add(&slab->held, (uint32_t)(bytes / 16));
    *(void **)(void *)chunk = slab->chunks;
    slab->chunks = chunk;
    for (uint32_t i = slab->per_chunk; i-- > 0;) {
        void *obj = chunk + CHUNK_HEADER + (size_t)i * slab->size;
        *(void **)obj = slab->free;
        slab->free = obj;
    }
    return true;
}

void *slab_get(struct slab *slab)
{
    if (slab->free == NULL && !slab_grow(slab))
        return NULL;
    void *obj = slab->free;
    CHECK(obj != NULL); /* a chunk has at least one */
    slab->free = *(void **)obj;
    slab_used_add(&slab->in_use, 1);
    return obj;
}

void slab_put(struct slab *slab, void *obj)
{
    if (obj == NULL)
        return;
    CHECK(slab->in_use > 0);
    slab_used_add(&slab->in_use, UINT32_MAX);
    *(void **)obj = slab->free;
    slab->free = obj;
}

#endif
