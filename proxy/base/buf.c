/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, slices and chains. Owns the pool's free lists; one thread; never blocks. */
#include "proxy/base/buf.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

static const struct {
    uint32_t bytes, keep;
} sizes[BLOCK_SIZES] = {
    [BLOCK_REST] = {BLOCK_REST_BYTES, BLOCK_KEEP},
    [BLOCK_SMALL] = {BLOCK_BYTES, BLOCK_KEEP},
    [BLOCK_BIG] = {BLOCK_BIG_BYTES, BLOCK_KEEP_BIG},
};

void buf_pool_init(struct buf_pool *pool)
{
    *pool = (struct buf_pool){0};
    slab_init(&pool->slices, sizeof(struct slice), 256);
    mem_fund_init(&pool->fund);
    pool->slices.fund = &pool->fund;
}

static void free_list_clear(struct block **list)
{
    while (*list != NULL) {
        struct block *block = *list;
        *list = block->next_free;
        free(block);
    }
}

void buf_pool_fini(struct buf_pool *pool)
{
    CHECK(pool->blocks == 0);
    for (int i = 0; i < BLOCK_SIZES; i++)
        free_list_clear(&pool->free[i]);
    slab_fini(&pool->slices);
    mem_fund_fini(&pool->fund);
}

static struct block *block_of_size(struct buf_pool *pool, enum block_size size)
{
    struct block *block = pool->free[size];
    if (block != NULL) {
        pool->free[size] = block->next_free;
        pool->n_free[size]--;
    } else {
        block = mem_need(mem_alloc(&pool->fund, sizes[size].bytes));
        block->pool = pool;
        block->cap = sizes[size].bytes - (uint32_t)sizeof(*block);
        block->piped = 0;
        counter_add(&pool->held, sizes[size].bytes);
    }
    block->refs = 1;
    block->used = 0;
    slab_used_add(&pool->blocks, 1);
    return block;
}

struct block *block_get(struct buf_pool *pool, bool big)
{
    return block_of_size(pool, big ? BLOCK_BIG : BLOCK_SMALL);
}

struct block *block_get_rest(struct buf_pool *pool)
{
    return block_of_size(pool, BLOCK_REST);
}

void block_recycle(struct block *block)
{
    struct buf_pool *pool = block->pool;
    if (block->piped) {
        pool->unpipe(block);
        return;
    }
    CHECK(pool->blocks > 0);
    slab_used_add(&pool->blocks, UINT32_MAX);
#if MEM_KEEPS
    enum block_size size = block->cap < BLOCK_REST_BYTES ? BLOCK_REST
                           : block->cap < BLOCK_BYTES    ? BLOCK_SMALL
                                                         : BLOCK_BIG;
    if (pool->n_free[size] < sizes[size].keep) {
        block->next_free = pool->free[size];
        pool->free[size] = block;
        pool->n_free[size]++;
        return;
    }
#endif
    counter_add(&pool->held, -(uint64_t)(block->cap + sizeof(*block)));
    free(block);
}

static void slice_push(struct chain *chain, struct slice *slice)
{
    slice->next = NULL;
    if (chain->tail != NULL)
        chain->tail->next = slice;
    else
        chain->head = slice;
    chain->tail = slice;
    chain->bytes += slice->len;
}

static struct slice *slice_new(struct block *block, const char *ptr, size_t len)
{
    struct slice *slice = mem_need(slab_get(&block->pool->slices));
    slice->block = block_ref(block);
    slice->ptr = (char *)ptr;
    slice->len = len;
    return slice;
}

/* Takes the first slice off. */
static struct slice *slice_shift(struct chain *chain)
{
    struct slice *slice = chain->head;
    chain->head = slice->next;
    if (chain->head == NULL)
        chain->tail = NULL;
    chain->bytes -= slice->len;
    return slice;
}

static void slice_free(struct slice *slice)
{
    struct buf_pool *pool = slice->block->pool;
    block_drop(slice->block);
    slab_put(&pool->slices, slice);
}

void chain_append(struct chain *chain, struct block *block, const char *ptr, size_t len)
{
    if (len == 0)
        return;
    struct slice *last = chain->tail;
    if (last != NULL && last->block == block && last->ptr + last->len == ptr) {
        last->len += len;
        chain->bytes += len;
        return;
    }
    slice_push(chain, slice_new(block, ptr, len));
}

void chain_move(struct chain *to, struct chain *from)
{
    if (from->head == NULL)
        return;
    struct slice *last = to->tail, *first = from->head;
    if (last != NULL && last->block == first->block && last->ptr + last->len == first->ptr) {
        last->len += first->len; /* one run of bytes again, however small the pieces it came in */
        to->bytes += first->len;
        slice_free(slice_shift(from));
        if (from->head == NULL)
            return;
    }
    if (to->tail != NULL)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->bytes += from->bytes;
    chain_init(from);
}

void chain_share(struct chain *to, const struct chain *from)
{
    for (const struct slice *s = from->head; s != NULL; s = s->next) {
        CHECK(!s->block->piped);
        chain_append(to, s->block, s->ptr, s->len);
    }
}

void chain_move_bytes(struct chain *to, struct chain *from, size_t n)
{
    while (n > 0 && from->head != NULL) {
        struct slice *first = from->head;
        if (first->len > n) {
            slice_push(to, slice_new(first->block, first->ptr, n));
            first->ptr += n;
            first->len -= n;
            from->bytes -= n;
            return;
        }
        n -= first->len;
        slice_push(to, slice_shift(from));
    }
}

void chain_drop(struct chain *chain, size_t n)
{
    CHECK(n <= chain->bytes);
    while (n > 0) {
        struct slice *first = chain->head;
        if (first->len > n) {
            first->ptr += n;
            first->len -= n;
            chain->bytes -= n;
            return;
        }
        n -= first->len;
        slice_free(slice_shift(chain));
    }
}

void chain_clear(struct chain *chain)
{
    while (chain->head != NULL)
        slice_free(slice_shift(chain));
}

void chain_copy_in(struct chain *chain, struct buf_pool *pool, const void *bytes, size_t len)
{
    const char *from = bytes;
    while (len > 0) {
        struct block *block = block_get(pool, false);
        size_t n = len < block->cap ? len : block->cap;
        memcpy(block->data, from, n);
        block->used = (uint32_t)n;
        chain_append(chain, block, block->data, n);
        block_drop(block);
        from += n;
        len -= n;
    }
}

int chain_vectors(const struct chain *chain, struct iovec *vectors, int max, size_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (const struct slice *s = chain->head; s != NULL && n < max && !s->block->piped;
         s = s->next) {
        vectors[n++] = (struct iovec){s->ptr, s->len};
        *bytes += s->len;
    }
    return n;
}
