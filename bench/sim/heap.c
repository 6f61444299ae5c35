/* SPDX-License-Identifier: Apache-2.0 */
/* A 4-ary heap. Owns its array; no I/O, no clock. One thread. */
#include "bench/sim/heap.h"

#include <stdlib.h>

#include "proxy/base/mem.h"

#define ARITY 4

struct sim_heap_slot {
    uint64_t key, order;
    struct sim_node *node;
};

void sim_heap_fini(struct sim_heap *heap)
{
    free(heap->slots);
    *heap = (struct sim_heap){0};
}

static bool before(const struct sim_heap_slot *a, const struct sim_heap_slot *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void put(struct sim_heap *heap, uint32_t i, struct sim_heap_slot slot)
{
    heap->slots[i] = slot;
    slot.node->place = i + 1;
}

static void sift_up(struct sim_heap *heap, uint32_t i, struct sim_heap_slot slot)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(&slot, &heap->slots[parent]))
            break;
        put(heap, i, heap->slots[parent]);
        i = parent;
    }
    put(heap, i, slot);
}

static void sift_down(struct sim_heap *heap, uint32_t i, struct sim_heap_slot slot)
{
    for (;;) {
        uint32_t first = i * ARITY + 1, least = first;
        if (first >= heap->count)
            break;
        uint32_t end = first + ARITY < heap->count ? first + ARITY : heap->count;
        for (uint32_t c = first + 1; c < end; c++)
            if (before(&heap->slots[c], &heap->slots[least]))
                least = c;
        if (!before(&heap->slots[least], &slot))
            break;
        put(heap, i, heap->slots[least]);
        i = least;
    }
    put(heap, i, slot);
}

static void settle(struct sim_heap *heap, uint32_t i, struct sim_heap_slot slot)
{
    if (i > 0 && before(&slot, &heap->slots[(i - 1) / ARITY]))
        sift_up(heap, i, slot);
    else
        sift_down(heap, i, slot);
}

void sim_heap_set(struct sim_heap *heap, struct sim_node *node, uint64_t key)
{
    struct sim_heap_slot slot = {key, heap->set++, node};
    if (sim_node_in(node)) {
        settle(heap, node->place - 1, slot);
        return;
    }
    if (heap->count == heap->room) {
        heap->room = heap->room ? heap->room * 2 : 8;
        heap->slots = mem_need(realloc(heap->slots, heap->room * sizeof(*heap->slots)));
    }
    sift_up(heap, heap->count++, slot);
}

void sim_heap_remove(struct sim_heap *heap, struct sim_node *node)
{
    if (!sim_node_in(node))
        return;
    uint32_t i = node->place - 1;
    node->place = 0;
    struct sim_heap_slot last = heap->slots[--heap->count];
    if (i < heap->count)
        settle(heap, i, last);
}

struct sim_node *sim_heap_top(const struct sim_heap *heap, uint64_t *key)
{
    if (heap->count == 0)
        return NULL;
    *key = heap->slots[0].key;
    return heap->slots[0].node;
}
