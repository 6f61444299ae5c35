/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the ring's memory; each index is written by one side only. Never blocks. One producer
 * thread, one consumer thread.
 */
#include "proxy/base/byte_ring.h"

#include <stdlib.h>

#include "proxy/base/check.h"

bool byte_ring_init(struct byte_ring *ring, size_t cap)
{
    *ring = (struct byte_ring){.cap = cap};
    ring->data = malloc(cap);
    return ring->data != NULL;
}

void byte_ring_fini(struct byte_ring *ring)
{
    free(TAKE(ring->data));
}

/* The producer's own index needs no ordering. */
static size_t own_head(const struct byte_ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_relaxed);
}

char *byte_ring_room(const struct byte_ring *ring, size_t *room)
{
    size_t head = own_head(ring);
    /* Behind the consumer one byte stays free, since meeting it would mean empty. */
    *room = head >= ring->seen_tail ? ring->cap - head : ring->seen_tail - head - 1;
    return ring->data + head;
}

char *byte_ring_room_at_start(const struct byte_ring *ring, size_t *room)
{
    if (own_head(ring) < ring->seen_tail || ring->seen_tail == 0)
        return NULL;
    *room = ring->seen_tail - 1;
    return ring->data;
}

void byte_ring_refresh(struct byte_ring *ring)
{
    ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
}

void byte_ring_publish(struct byte_ring *ring, const char *place, size_t len)
{
    size_t head = own_head(ring), at = (size_t)(place - ring->data);
    DCHECK(at == head || at == 0);
    DCHECK(at + len <= ring->cap);
    if (at != head)
        atomic_store_explicit(&ring->wrap, head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, at + len, memory_order_seq_cst);
}

size_t byte_ring_used(const struct byte_ring *ring)
{
    size_t head = own_head(ring);
    return head >= ring->seen_tail ? head - ring->seen_tail : ring->cap - ring->seen_tail + head;
}

int byte_ring_peek(const struct byte_ring *ring, struct iovec pieces[2])
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t wrap = atomic_load_explicit(&ring->wrap, memory_order_relaxed);
    size_t end = head >= tail ? head : wrap;
    int n = 0;
    if (end > tail)
        pieces[n++] = (struct iovec){ring->data + tail, end - tail};
    if (head < tail && head > 0)
        pieces[n++] = (struct iovec){ring->data, head};
    return n;
}

/* The producer may have wrapped since the peek; the bytes shown then are in front all the same. */
void byte_ring_consume(struct byte_ring *ring, size_t len)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t wrap = atomic_load_explicit(&ring->wrap, memory_order_relaxed);
    if (head < tail && len >= wrap - tail)
        tail = len - (wrap - tail);
    else
        tail += len;
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
}

bool byte_ring_empty(const struct byte_ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_seq_cst) ==
           atomic_load_explicit(&ring->tail, memory_order_relaxed);
}
