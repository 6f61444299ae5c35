/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the arena's chunks. Must never hand out memory that outlives config_mem_free. Control
 * thread.
 */
#include "config/mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define CHUNK_BYTES ((size_t)8 << 10)

struct chunk {
    struct chunk *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

struct config_mem {
    struct chunk *chunks; /* the first is the one to allocate from */
};

struct config_mem *config_mem_new(void)
{
    struct config_mem *mem = calloc(1, sizeof(*mem));
    CHECK(mem != NULL);
    return mem;
}

void config_mem_free(struct config_mem *mem)
{
    if (mem == NULL)
        return;
    for (struct chunk *c = mem->chunks, *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
    free(mem);
}

static struct chunk *chunk_add(struct config_mem *mem, size_t need)
{
    size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
    struct chunk *c = calloc(1, sizeof(*c) + size);
    CHECK(c != NULL);
    c->size = size;
    if (need > CHUNK_BYTES && mem->chunks != NULL) {
        /* A large object has a chunk of its own; what is left of the current one stays in use. */
        c->next = mem->chunks->next;
        mem->chunks->next = c;
    } else {
        c->next = mem->chunks;
        mem->chunks = c;
    }
    return c;
}

void *config_mem_alloc(struct config_mem *mem, size_t count, size_t size)
{
    const size_t align = alignof(max_align_t);
    CHECK(size == 0 || count <= (SIZE_MAX / 2) / size);
    size_t need = (count * size + align - 1) / align * align;
    struct chunk *c = mem->chunks;
    if (c == NULL || c->size - c->used < need)
        c = chunk_add(mem, need);
    void *p = c->bytes + c->used;
    c->used += need;
    return p;
}

char *config_mem_dup(struct config_mem *mem, const char *bytes, size_t len)
{
    char *copy = config_mem_alloc(mem, len + 1, 1);
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

char *config_mem_vprintf(struct config_mem *mem, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    CHECK(len >= 0);
    char *text = config_mem_alloc(mem, (size_t)len + 1, 1);
    vsnprintf(text, (size_t)len + 1, fmt, args);
    return text;
}

char *config_mem_printf(struct config_mem *mem, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = config_mem_vprintf(mem, fmt, args);
    va_end(args);
    return text;
}
