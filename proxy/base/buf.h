/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in flight. A block is a refcounted piece of memory; a slice is a reference to a part of
 * one; a chain is an ordered list of slices. Bodies travel from one conn to the other as slices of
 * the block they were read into, so they are never copied.
 *
 *   pool -> blocks, slices          a slice holds one reference to its block and belongs to
 *   chain -> slices                 exactly one chain; dropping the last slice frees the block
 *
 * The bytes of a piped block are in a pipe of the kernel's (proxy/net/pipe.h): they have a number,
 * can be passed on once, and cannot be looked at. A slice of one is never shared (chain_share).
 *
 * Everything here belongs to one thread.
 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proxy/base/slab.h"
#include "proxy/base/stats.h"

#define BLOCK_REST_BYTES 1024  /* what a block for the rest of something costs, with its header */
#define BLOCK_BYTES      16384 /* the same for a small one */
#define BLOCK_BIG_BYTES  69632 /* and for a big one: any head that the limits let through */
#define BLOCK_KEEP       512 /* free small blocks that a pool keeps for reuse; as many for rests */
#define BLOCK_KEEP_BIG   16

enum block_size {
    BLOCK_REST,
    BLOCK_SMALL,
    BLOCK_BIG,
    BLOCK_SIZES,
};

struct buf_pool;

struct block {
    struct buf_pool *pool;
    struct block *next_free;
    uint32_t refs;
    uint32_t cap;   /* bytes in data */
    uint32_t used;  /* bytes filled from the start; only the writer of the block moves it */
    uint32_t piped; /* a flag: used counts the bytes in the pipe, and data is the pipe's own */
    char data[];
};

struct slice {
    struct slice *next;
    struct block *block;
    char *ptr;
    size_t len;
};

struct chain {
    struct slice *head, *tail;
    size_t bytes;
};

struct buf_pool {
    struct slab slices;
    struct block *free[BLOCK_SIZES];
    uint32_t n_free[BLOCK_SIZES];
    _Atomic uint32_t blocks; /* handed out; any thread may read it */
    struct counter held;     /* bytes of blocks of malloc's, handed out or kept; any thread */
    struct mem_fund fund;
    /* A piped block is done with: whoever made it takes it back. */
    void (*unpipe)(struct block *);
};

void buf_pool_init(struct buf_pool *pool);
/* All blocks and slices must have been given back (checked). */
void buf_pool_fini(struct buf_pool *pool);

/* A block with one reference, for the caller. big: BLOCK_BIG_BYTES instead of BLOCK_BYTES.
 * Never NULL: see mem.h for what happens when memory is out. */
struct block *block_get(struct buf_pool *pool, bool big);

/* The same of BLOCK_REST_BYTES, for what lies still: nothing is read into it. */
struct block *block_get_rest(struct buf_pool *pool);

static inline struct block *block_ref(struct block *block)
{
    block->refs++;
    return block;
}

void block_recycle(struct block *block); /* internal to block_drop */

/* Drops a reference; NULL is fine. */
static inline void block_drop(struct block *block)
{
    if (block != NULL && --block->refs == 0)
        block_recycle(block);
}

static inline uint32_t block_room(const struct block *block)
{
    return block->cap - block->used;
}

static inline void chain_init(struct chain *chain)
{
    *chain = (struct chain){NULL, NULL, 0};
}

static inline bool chain_empty(const struct chain *chain)
{
    return chain->head == NULL;
}

/* Appends a reference to len bytes at ptr inside block (extends the last slice where it ends just
 * there). len 0 does nothing. */
void chain_append(struct chain *chain, struct block *block, const char *ptr, size_t len);

/* Moves all of from to the end of to. */
void chain_move(struct chain *to, struct chain *from);

/* Appends references to all of from to the end of to; from keeps its own. */
void chain_share(struct chain *to, const struct chain *from);

/* Moves the first n bytes (at most all) of from to the end of to, splitting a slice if needed. */
void chain_move_bytes(struct chain *to, struct chain *from, size_t n);

/* Drops the first n bytes. n must not be more than there is. */
void chain_drop(struct chain *chain, size_t n);

/* Drops everything. */
void chain_clear(struct chain *chain);

/* Copies bytes into blocks from the pool and appends them. */
void chain_copy_in(struct chain *chain, struct buf_pool *pool, const void *bytes, size_t len);

/* Fills at most max vectors with the front of the chain, up to what is in a pipe; returns how many.
 * *bytes is what they hold together. */
int chain_vectors(const struct chain *chain, struct iovec *vectors, int max, size_t *bytes);

#endif
