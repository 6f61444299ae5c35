/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of bytes between one producer and one consumer that hands out contiguous room only, so
 * that text is formatted in place: what does not fit before the end of the memory goes to its
 * start, and the gap is remembered. Lock-free, no system call. One thread on each side.
 *
 * head and tail are offsets; head >= tail: the bytes [tail, head) are full; head < tail: the bytes
 * [tail, wrap) and then [0, head) are. Equal means empty.
 */
#ifndef WEIR_PROXY_ACCESS_RING_H
#define WEIR_PROXY_ACCESS_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

struct access_ring {
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
bool access_ring_init(struct access_ring *ring, size_t cap);
void access_ring_fini(struct access_ring *ring);

/* Producer: the room after the bytes written last; *room may be 0. */
char *access_ring_room(const struct access_ring *ring, size_t *room);

/* Producer: the room at the start of the memory, if that is another one, else NULL. */
char *access_ring_room_at_start(const struct access_ring *ring, size_t *room);

/* Producer: learns what the consumer has freed since. */
void access_ring_refresh(struct access_ring *ring);

/* Producer: publishes len bytes that were written at place, which one of the two above returned.
 * The publication and loads after it are sequentially consistent. */
void access_ring_publish(struct access_ring *ring, const char *place, size_t len);

/* Producer: bytes not consumed, as far as it has learnt; never less than there are. */
size_t access_ring_used(const struct access_ring *ring);

/* Consumer: what is there, in one or two pieces, oldest first; returns the number of pieces. */
int access_ring_peek(const struct access_ring *ring, struct iovec pieces[2]);

/* Consumer: frees len bytes of what access_ring_peek showed. */
void access_ring_consume(struct access_ring *ring, size_t len);

/* Consumer: nothing there? Sequentially consistent. */
bool access_ring_empty(const struct access_ring *ring);

#endif
