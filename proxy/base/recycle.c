/* SPDX-License-Identifier: Apache-2.0 */
/* Recycling by classes of size. Owns what it keeps; must never be shared between threads. */
#include "proxy/base/recycle.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define RECYCLE_PASS_THROUGH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RECYCLE_PASS_THROUGH 1
#endif
#endif

/* Before every piece; keeps malloc's alignment. */
union piece {
    struct {
        size_t room;
        uint32_t class;
        uint32_t magic;
    } head;
    union piece *next; /* while it is kept */
    max_align_t align;
};

#define PIECE_MAGIC MAGIC('p', 'i', 'e', 'c')
#define CLASS_LARGE (RECYCLE_CLASSES - 1) /* is not kept */

/* Two classes a doubling: 32, 48, 64, 96, ... */
static size_t class_room(uint32_t class)
{
    return (class % 2 == 0 ? (size_t)32 : (size_t)48) << class / 2;
}

static uint32_t class_of(size_t size)
{
    uint32_t class = 0;
    while (class < CLASS_LARGE && class_room(class) < size)
        class ++;
    return class;
}

static union piece *piece_of(void *at)
{
    union piece *p = (union piece *)at - 1;
    CHECK(p->head.magic == PIECE_MAGIC);
    return p;
}

void recycle_init(struct recycle *r, struct mem_fund *fund)
{
    *r = (struct recycle){.fund = fund};
}

void recycle_fini(struct recycle *r)
{
    CHECK(r->in_use == 0);
    for (uint32_t i = 0; i < RECYCLE_CLASSES; i++) {
        while (r->free[i] != NULL) {
            union piece *p = r->free[i];
            r->free[i] = p->next;
            free(p);
        }
        r->n_free[i] = 0;
    }
}

static union piece *piece_new(struct recycle *r, uint32_t class, size_t size)
{
    if (r->free[class] != NULL) {
        union piece *p = r->free[class];
        r->free[class] = p->next;
        r->n_free[class]--;
        return p;
    }
    return mem_alloc(r->fund, sizeof(union piece) + size);
}

void *recycle_get(struct recycle *r, size_t size)
{
    uint32_t class = class_of(size);
#ifndef RECYCLE_PASS_THROUGH
    if (class != CLASS_LARGE)
        size = class_room(class);
#endif
    if (size > SIZE_MAX - sizeof(union piece))
        return NULL;
    union piece *p = piece_new(r, class, size);
    if (p == NULL)
        return NULL;
    p->head.room = size;
    p->head.class = class;
    p->head.magic = PIECE_MAGIC;
    r->in_use++;
    return p + 1;
}

void recycle_put(struct recycle *r, void *piece)
{
    if (piece == NULL)
        return;
    union piece *p = piece_of(piece);
    uint32_t class = p->head.class;
    CHECK(r->in_use > 0);
    r->in_use--;
    p->head.magic = 0;
#ifndef RECYCLE_PASS_THROUGH
    if (class != CLASS_LARGE && r->n_free[class] * class_room(class) < RECYCLE_KEEP) {
        p->next = r->free[class];
        r->free[class] = p;
        r->n_free[class]++;
        return;
    }
#endif
    (void)class;
    free(p);
}

void *recycle_resize(struct recycle *r, void *piece, size_t size)
{
    if (piece == NULL)
        return recycle_get(r, size);
    size_t room = piece_of(piece)->head.room;
    if (size <= room && size > room / 4)
        return piece;
    void *fresh = recycle_get(r, size);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, piece, room < size ? room : size);
    recycle_put(r, piece);
    return fresh;
}
