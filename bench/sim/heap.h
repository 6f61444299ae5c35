/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A priority queue whose members are embedded in what they stand for and know their place, so that
 * one can be moved or taken out. Equal keys leave in the order in which they were set: a simulation
 * repeats exactly. Owns an array of pointers, not the nodes. One thread.
 */
#ifndef BENCH_SIM_HEAP_H
#define BENCH_SIM_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct sim_node {
    uint32_t place; /* 0: in no heap; else its index plus one */
};

struct sim_heap_slot;

struct sim_heap {
    struct sim_heap_slot *slots;
    uint32_t count, room;
    uint64_t set; /* so many were set: the order of equal keys */
};

/* All zero is an empty heap. */
void sim_heap_fini(struct sim_heap *heap);

/* Puts a node in, or moves one that is in it. */
void sim_heap_set(struct sim_heap *heap, struct sim_node *node, uint64_t key);

/* Nothing happens to one that is not in. */
void sim_heap_remove(struct sim_heap *heap, struct sim_node *node);

/* The node of the smallest key, or NULL; *key is that key. */
struct sim_node *sim_heap_top(const struct sim_heap *heap, uint64_t *key);

static inline bool sim_node_in(const struct sim_node *node)
{
    return node->place > 0;
}

#endif
