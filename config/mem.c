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
#include "proxy/base/mem.h"

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
    return mem_need(calloc(1, sizeof(struct config_mem)));
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
    struct chunk *c = mem_need(calloc(1, sizeof(*c) + size));
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

static ssize_t text_write(void *cookie, const char *bytes, size_t n)
{
    struct config_text *t = cookie;
    if (t->size - t->len <= n) {
        t->size = 2 * (t->len + n + 1);
        char *bigger = config_mem_alloc(t->mem, t->size, 1);
        memcpy(bigger, t->text, t->len);
        t->text = bigger;
    }
    memcpy(t->text + t->len, bytes, n);
    t->len += n;
    return (ssize_t)n;
}

void config_text_open(struct config_text *text, struct config_mem *mem)
{
    *text = (struct config_text){.mem = mem, .text = config_mem_alloc(mem, 256, 1), .size = 256};
    text->out = mem_need(fopencookie(text, "w", (cookie_io_functions_t){.write = text_write}));
}

char *config_text_close(struct config_text *text)
{
    CHECK(fclose(text->out) == 0); /* text_write never fails */
    text->text[text->len] = '\0';
    return text->text;
}
