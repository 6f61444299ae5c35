/* SPDX-License-Identifier: Apache-2.0 */
/* Recycling by classes of size. Owns what it keeps; must never be shared between threads. */
#include "proxy/base/recycle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proxy/base/check.h"

/* Before every piece; keeps malloc's alignment. */
struct piece {
    _Alignas(max_align_t) union {
        size_t room;
        struct piece *next; /* while it is kept */
    };
    uint16_t class;
    bool carved; /* of a region, which goes as a whole; else malloc's */
    uint32_t magic;
};

#define PIECE_MAGIC  MAGIC('p', 'i', 'e', 'c')
#define CLASS_SPARSE (RECYCLE_CLASSES - 2)
#define CLASS_LARGE  (RECYCLE_CLASSES - 1) /* is not kept */

/* A sparse piece has a slot of whole pages, and those that nobody writes to cost nothing. What lies
 * before it in its first page is carved up for small ones. A region is many slots. */
#define PAGE         4096
#define SLOT_BYTES   (5 * PAGE)
#define SLOT_SMALL   3072
#define REGION_SLOTS 64

struct region {
    struct region *next;
    char *slots;
};

_Static_assert(SLOT_SMALL + sizeof(struct piece) + RECYCLE_SPARSE <= SLOT_BYTES, "they fit");

/* Two classes a doubling: 32, 48, 64, 96, ... */
static size_t class_room(uint32_t class)
{
    if (class == CLASS_SPARSE)
        return RECYCLE_SPARSE;
    return (class % 2 == 0 ? (size_t)32 : (size_t)48) << class / 2;
}

static uint32_t class_of(size_t size)
{
    if (size <= 32)
        return 0;
    if (size > RECYCLE_SPARSE)
        return CLASS_LARGE;
    uint32_t last = (uint32_t)size - 1, log2 = 31 - (uint32_t)__builtin_clz(last);
    uint32_t class = 2 * (log2 - 5) + (last >> (log2 - 1) & 1) + 1;
    return class < CLASS_SPARSE ? class : CLASS_SPARSE;
}

static struct piece *piece_of(void *at)
{
    struct piece *p = (struct piece *)at - 1;
    CHECK(p->magic == PIECE_MAGIC);
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
        for (struct piece *p = r->free[i], *next; p != NULL; p = next) {
            next = p->next;
            if (!p->carved)
                free(p);
        }
    }
    while (r->regions != NULL) {
        struct region *region = r->regions;
        r->regions = region->next;
        munmap(region->slots, (size_t)REGION_SLOTS * SLOT_BYTES);
        free(region);
    }
    recycle_init(r, r->fund);
}

/* ---- regions ---- */

static void *map_slots(struct recycle *r)
{
    size_t size = (size_t)REGION_SLOTS * SLOT_BYTES;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED && r->fund != NULL && mem_fund_spend(r->fund))
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    (void)madvise(at, size, MADV_NOHUGEPAGE); /* one of which would be written to as a whole */
    return at;
}

static bool region_new(struct recycle *r)
{
    struct region *region = mem_alloc(r->fund, sizeof(*region));
    if (region == NULL)
        return false;
    region->slots = map_slots(r);
    if (region->slots == NULL) {
        free(region);
        return false;
    }
    region->next = r->regions;
    r->regions = region;
    r->slots_left = REGION_SLOTS;
    return true;
}

static struct piece *carve_sparse(struct recycle *r)
{
    if (r->slots_left == 0 && !region_new(r))
        return NULL;
    struct region *region = r->regions;
    char *slot = region->slots + (size_t)--r->slots_left * SLOT_BYTES;
    counter_add(&r->held, PAGE);
    r->small = slot; /* what was left of the slot before is too little */
    r->small_left = SLOT_SMALL;
    struct piece *p = (struct piece *)(void *)(slot + SLOT_SMALL);
    p->carved = true;
    return p;
}

static struct piece *carve_small(struct recycle *r, size_t size)
{
    struct piece *p = (struct piece *)(void *)r->small;
    r->small += size;
    r->small_left -= size;
    p->carved = true;
    return p;
}

/* Only its first page stays with it. */
static void forget_pages(struct piece *p)
{
    char *slot = (char *)p - SLOT_SMALL;
    (void)madvise(slot + PAGE, SLOT_BYTES - PAGE, MADV_DONTNEED);
}

/* ---- pieces ---- */

/* With its head, as malloc was asked for it. */
static size_t whole_of(size_t size)
{
    return (sizeof(struct piece) + size + 15) & ~(size_t)15;
}

static struct piece *piece_new(struct recycle *r, uint32_t class, size_t size)
{
    size_t whole = whole_of(size);
    struct piece *p = r->free[class];
    if (p != NULL) {
        r->free[class] = p->next;
        r->n_free[class]--;
        return p;
    }
    if (MEM_KEEPS && class == CLASS_SPARSE)
        return carve_sparse(r);
    if (whole <= r->small_left)
        return carve_small(r, whole);
    p = mem_alloc(r->fund, whole);
    if (p != NULL) {
        p->carved = false;
        counter_add(&r->held, whole);
    }
    return p;
}

void *recycle_get(struct recycle *r, size_t size)
{
    uint32_t class = class_of(size);
    if (MEM_KEEPS && class != CLASS_LARGE)
        size = class_room(class);
    if (size > PTRDIFF_MAX)
        return NULL;
    struct piece *p = piece_new(r, class, size);
    if (p == NULL)
        return NULL;
    p->room = size;
    p->class = (uint16_t) class;
    p->magic = PIECE_MAGIC;
    r->in_use++;
    return p + 1;
}

/* Is another piece of its class worth keeping? */
static bool worth(const struct recycle *r, const struct piece *p)
{
    if (!MEM_KEEPS || p->class == CLASS_LARGE)
        return false;
    return p->carved || r->n_free[p->class] * class_room(p->class) < RECYCLE_KEEP;
}

void recycle_put(struct recycle *r, void *piece)
{
    if (piece == NULL)
        return;
    struct piece *p = piece_of(piece);
    CHECK(r->in_use > 0);
    r->in_use--;
    p->magic = 0;
    if (!worth(r, p)) {
        counter_add(&r->held, -(uint64_t)whole_of(p->room));
        free(p);
        return;
    }
    if (p->class == CLASS_SPARSE)
        forget_pages(p);
    p->next = r->free[p->class];
    r->free[p->class] = p;
    r->n_free[p->class]++;
}

void *recycle_resize(struct recycle *r, void *piece, size_t size)
{
    if (piece == NULL)
        return recycle_get(r, size);
    size_t room = piece_of(piece)->room;
    if (size <= room && size > room / 4)
        return piece;
    void *fresh = recycle_get(r, size);
    if (fresh == NULL)
        return NULL;
    memcpy(fresh, piece, room < size ? room : size);
    recycle_put(r, piece);
    return fresh;
}
