/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of bytes between one producer and one consumer that hands out contiguous room only, so
 * that text is formatted in place: what does not fit before the end of the memory goes to its
 * start, and the gap is remembered. Lock-free, no system call. One thread on each side.
 *
 * head and tail are offsets; head >= tail: the bytes [tail, head) are full; head < tail: the bytes
 * [tail, wrap) and then [0, head) are. Equal means empty.
 */
#ifndef WEIR_BASE_BYTE_RING_H
#define WEIR_BASE_BYTE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct byte_ring {
    /* The producer's line: tail is only looked up when the room seen last is used up. */
    _Alignas(64) atomic_size_t head;
    atomic_size_t wrap;
    size_t seen_tail;
    char *data;
    size_t cap;
    /* The consumer's line. */
    _Alignas(64) atomic_size_t tail;
};

/* False if out of memory. Memory that is never used is never touched. */
bool byte_ring_init(struct byte_ring *ring, size_t cap);
void byte_ring_fini(struct byte_ring *ring);

/* Producer: the room after the bytes written last; *room may be 0. */
char *byte_ring_room(const struct byte_ring *ring, size_t *room);

/* Producer: the room at the start of the memory, if that is another one, else NULL. */
char *byte_ring_room_at_start(const struct byte_ring *ring, size_t *room);

/* Producer: learns what the consumer has freed since. */
void byte_ring_refresh(struct byte_ring *ring);

/* Producer: publishes len bytes that were written at place, which one of the two above returned.
 * The publication and loads after it are sequentially consistent. */
void byte_ring_publish(struct byte_ring *ring, const char *place, size_t len);

/* Producer: bytes not consumed, as far as it has learnt; never less than there are. */
size_t byte_ring_used(const struct byte_ring *ring);

/* Consumer: what is there, in one or two pieces, oldest first; returns the number of pieces. */
int byte_ring_peek(const struct byte_ring *ring, struct iovec pieces[2]);

/* Consumer: frees len bytes of what byte_ring_peek showed. */
void byte_ring_consume(struct byte_ring *ring, size_t len);

/* Consumer: nothing there? Sequentially consistent. */
bool byte_ring_empty(const struct byte_ring *ring);

#endif
