/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks, slices and chains: what is referred to, by how many, and that all of it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/base/check.h"

static int setup(void **state)
{
    struct buf_pool *pool = malloc(sizeof(*pool));
    assert_non_null(pool);
    buf_pool_init(pool);
    *state = pool;
    return 0;
}

/* buf_pool_fini checks that every block and every slice is back. */
static int teardown(void **state)
{
    buf_pool_fini(*state);
    free(*state);
    return 0;
}

/* A block that is filled with a pattern, so that every byte tells where it stood. */
static struct block *pattern(struct buf_pool *pool, size_t len)
{
    struct block *b = block_get(pool, len > BLOCK_BYTES - sizeof(struct block));
    assert_true(len <= b->cap);
    for (size_t i = 0; i < len; i++)
        b->data[i] = (char)('a' + i % 26);
    b->used = (uint32_t)len;
    return b;
}

static void assert_bytes(const struct chain *chain, const char *want)
{
    char got[512];
    size_t n = 0;
    const struct slice *last = NULL;
    for (const struct slice *s = chain->head; s != NULL; last = s, s = s->next) {
        assert_true(s->len > 0 && n + s->len < sizeof(got));
        memcpy(got + n, s->ptr, s->len);
        n += s->len;
    }
    got[n] = '\0';
    assert_string_equal(got, want);
    assert_int_equal(chain->bytes, n);
    assert_ptr_equal(chain->tail, last);
    assert_int_equal(chain_empty(chain), n == 0);
}

static size_t slices(const struct chain *chain)
{
    size_t n = 0;
    for (const struct slice *s = chain->head; s != NULL; s = s->next)
        n++;
    return n;
}

static void a_block_has_the_size_it_was_asked_for(void **state)
{
    struct buf_pool *pool = *state;
    struct block *small = block_get(pool, false), *big = block_get(pool, true);
    assert_int_equal(small->cap + sizeof(struct block), BLOCK_BYTES);
    assert_int_equal(big->cap + sizeof(struct block), BLOCK_BIG_BYTES);
    assert_int_equal(small->refs, 1);
    assert_int_equal(block_room(small), small->cap);
    assert_int_equal(pool->blocks, 2);
    memset(small->data, 1, small->cap);
    memset(big->data, 2, big->cap);
    block_drop(small);
    block_drop(big);
    block_drop(NULL);
    assert_int_equal(pool->blocks, 0);
}

static void a_block_lives_as_long_as_its_last_reference(void **state)
{
    struct buf_pool *pool = *state;
    struct block *b = block_get(pool, false);
    assert_ptr_equal(block_ref(b), b);
    block_drop(b);
    assert_int_equal(pool->blocks, 1);
    b->data[0] = 'x';
    block_drop(b);
    assert_int_equal(pool->blocks, 0);
}

static struct block *get_rest(struct buf_pool *pool)
{
    return block_get_rest(pool);
}

static struct block *get_small(struct buf_pool *pool)
{
    return block_get(pool, false);
}

static struct block *get_big(struct buf_pool *pool)
{
    return block_get(pool, true);
}

static const struct {
    struct block *(*get)(struct buf_pool *);
    uint32_t bytes, keep;
} sizes[BLOCK_SIZES] = {
    {get_rest, BLOCK_REST_BYTES, BLOCK_KEEP},
    {get_small, BLOCK_BYTES, BLOCK_KEEP},
    {get_big, BLOCK_BIG_BYTES, BLOCK_KEEP_BIG},
};

static void a_recycled_block_is_as_good_as_new(void **state)
{
    struct buf_pool *pool = *state;
    for (int size = 0; size < BLOCK_SIZES; size++) {
        for (int round = 0; round < 3; round++) {
            struct block *b = sizes[size].get(pool);
            assert_int_equal(b->refs, 1);
            assert_int_equal(b->used, 0);
            assert_int_equal(b->cap, sizes[size].bytes - sizeof(*b));
            b->used = 100;
            block_drop(b);
        }
    }
}

static void a_pool_keeps_no_more_free_blocks_than_its_bounds(void **state)
{
    struct buf_pool *pool = *state;
    enum { N = BLOCK_KEEP + 3 };
    static struct block *blocks[N];
    for (int size = 0; size < BLOCK_SIZES; size++) {
        for (size_t i = 0; i < N; i++)
            blocks[i] = sizes[size].get(pool);
        assert_int_equal(pool->blocks, N);
        for (size_t i = 0; i < N; i++)
            block_drop(blocks[i]);
        assert_int_equal(pool->blocks, 0);
        assert_true(pool->n_free[size] <= sizes[size].keep);
    }
}

static void appending_holds_the_block(void **state)
{
    struct chain c;
    struct block *b = pattern(*state, 10);
    chain_init(&c);
    chain_append(&c, b, b->data + 2, 3);
    assert_int_equal(b->refs, 2);
    block_drop(b);
    assert_bytes(&c, "cde");
    chain_clear(&c);
    assert_bytes(&c, "");
}

static void appending_nothing_does_nothing(void **state)
{
    struct chain c;
    struct block *b = pattern(*state, 1);
    chain_init(&c);
    chain_append(&c, b, b->data, 0);
    assert_true(chain_empty(&c));
    assert_int_equal(b->refs, 1);
    block_drop(b);
}

static void adjacent_bytes_share_a_slice(void **state)
{
    struct chain c;
    struct block *b = pattern(*state, 20), *other = pattern(*state, 20);
    chain_init(&c);
    chain_append(&c, b, b->data, 3);
    chain_append(&c, b, b->data + 3, 2);
    assert_int_equal(slices(&c), 1);
    assert_int_equal(b->refs, 2);
    chain_append(&c, b, b->data + 6, 1);         /* a gap */
    chain_append(&c, other, other->data + 7, 1); /* another block */
    chain_append(&c, b, b->data + 8, 1);
    assert_int_equal(slices(&c), 4);
    assert_bytes(&c, "abcdeghi");
    chain_clear(&c);
    assert_int_equal(b->refs, 1);
    block_drop(b);
    block_drop(other);
}

static void moving_a_chain_empties_its_source(void **state)
{
    struct chain a, b;
    struct block *x = pattern(*state, 10);
    chain_init(&a);
    chain_init(&b);
    chain_move(&a, &b); /* nothing to nothing */
    assert_bytes(&a, "");
    chain_append(&b, x, x->data, 3);
    chain_move(&a, &b);
    assert_bytes(&a, "abc");
    assert_bytes(&b, "");
    chain_move(&a, &b); /* nothing to something */
    assert_bytes(&a, "abc");
    chain_append(&b, x, x->data + 4, 2);
    chain_move(&a, &b);
    assert_bytes(&a, "abcef");
    assert_int_equal(x->refs, 3); /* two slices and ours */
    chain_clear(&a);
    block_drop(x);
}

static void sharing_a_chain_leaves_its_source(void **state)
{
    struct chain a, b;
    struct block *x = pattern(*state, 10);
    chain_init(&a);
    chain_init(&b);
    chain_append(&a, x, x->data, 2);
    chain_append(&a, x, x->data + 5, 2);
    chain_share(&b, &a);
    assert_int_equal(x->refs, 5);
    assert_bytes(&a, "abfg");
    assert_bytes(&b, "abfg");
    chain_drop(&a, 3); /* the other does not notice */
    assert_bytes(&a, "g");
    assert_bytes(&b, "abfg");
    chain_clear(&b);
    assert_bytes(&a, "g");
    chain_clear(&a);
    assert_int_equal(x->refs, 1);
    block_drop(x);
}

/* abc efg ijk, cut at every place. */
static void three_slices(struct chain *c, struct block *x)
{
    chain_init(c);
    for (size_t at = 0; at < 12; at += 4)
        chain_append(c, x, x->data + at, 3);
}

static void moving_bytes_cuts_anywhere(void **state)
{
    static const char all[] = "abcefgijk";
    struct block *x = pattern(*state, 12);
    for (size_t n = 0; n <= 11; n++) {
        struct chain from, to;
        size_t cut = n < 9 ? n : 9; /* asking for more than there is moves all */
        char left[10], right[10];
        three_slices(&from, x);
        chain_init(&to);
        chain_move_bytes(&to, &from, n);
        memcpy(left, all, cut);
        left[cut] = '\0';
        strcpy(right, all + cut);
        assert_bytes(&to, left);
        assert_bytes(&from, right);
        assert_int_equal(x->refs, 1 + slices(&from) + slices(&to));
        chain_move(&to, &from);
        assert_bytes(&to, all);
        chain_clear(&to);
        assert_int_equal(x->refs, 1);
    }
    block_drop(x);
}

static void dropping_bytes_cuts_anywhere(void **state)
{
    static const char all[] = "abcefgijk";
    struct block *x = pattern(*state, 12);
    for (size_t n = 0; n <= 9; n++) {
        struct chain c;
        three_slices(&c, x);
        chain_drop(&c, n);
        assert_bytes(&c, all + n);
        assert_int_equal(x->refs, 1 + slices(&c));
        chain_clear(&c);
    }
    block_drop(x);
}

static void a_slice_appended_after_a_drop_is_in_order(void **state)
{
    struct chain c;
    struct block *x = pattern(*state, 12);
    three_slices(&c, x);
    chain_drop(&c, 9); /* the tail must not dangle */
    chain_append(&c, x, x->data, 1);
    assert_bytes(&c, "a");
    chain_move_bytes(&c, &(struct chain){NULL, NULL, 0}, 5);
    assert_bytes(&c, "a");
    chain_clear(&c);
    block_drop(x);
}

static void copying_in_spans_blocks(void **state)
{
    enum { N = 3 * BLOCK_BYTES };
    struct buf_pool *pool = *state;
    struct chain c;
    char *bytes = malloc(N);
    assert_non_null(bytes);
    for (size_t i = 0; i < N; i++)
        bytes[i] = (char)(i * 7 % 251);
    chain_init(&c);
    chain_copy_in(&c, pool, bytes, 0);
    assert_true(chain_empty(&c));
    chain_copy_in(&c, pool, bytes, N);
    assert_int_equal(c.bytes, N);
    assert_int_equal(pool->blocks, 4); /* the headers take room too */
    size_t at = 0;
    for (struct slice *s = c.head; s != NULL; s = s->next) {
        assert_memory_equal(s->ptr, bytes + at, s->len);
        assert_int_equal(s->block->refs, 1);
        assert_int_equal(s->block->used, s->len);
        at += s->len;
    }
    assert_int_equal(at, N);
    chain_clear(&c);
    assert_int_equal(pool->blocks, 0);
    free(bytes);
}

static void vectors_are_the_front_of_the_chain(void **state)
{
    struct chain c;
    struct iovec v[4];
    size_t bytes = 1;
    struct block *x = pattern(*state, 12);
    chain_init(&c);
    assert_int_equal(chain_vectors(&c, v, 4, &bytes), 0);
    assert_int_equal(bytes, 0);
    three_slices(&c, x);
    assert_int_equal(chain_vectors(&c, v, 0, &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(chain_vectors(&c, v, 2, &bytes), 2);
    assert_int_equal(bytes, 6);
    assert_ptr_equal(v[0].iov_base, x->data);
    assert_int_equal(v[0].iov_len, 3);
    assert_ptr_equal(v[1].iov_base, x->data + 4);
    assert_int_equal(chain_vectors(&c, v, 4, &bytes), 3);
    assert_int_equal(bytes, 9);
    assert_ptr_equal(v[2].iov_base, x->data + 8);
    assert_int_equal(v[2].iov_len, 3);
    chain_clear(&c);
    block_drop(x);
}

/* What is in a pipe has no address. */
static void vectors_end_before_what_is_in_a_pipe(void **state)
{
    struct chain c;
    struct iovec v[4];
    size_t bytes;
    struct block *x = pattern(*state, 12), *pipe = pattern(*state, 5);
    chain_init(&c);
    chain_append(&c, x, x->data, 4);
    chain_append(&c, pipe, pipe->data, 5);
    chain_append(&c, x, x->data + 8, 4);
    pipe->piped = 1;
    assert_int_equal(chain_vectors(&c, v, 4, &bytes), 1);
    assert_int_equal(bytes, 4);
    chain_drop(&c, 4);
    assert_int_equal(chain_vectors(&c, v, 4, &bytes), 0);
    pipe->piped = 0;
    assert_int_equal(chain_vectors(&c, v, 4, &bytes), 2);
    assert_int_equal(bytes, 9);
    chain_clear(&c);
    block_drop(x);
    block_drop(pipe);
}

/* A thousand random operations on a few chains against a model of bytes in arrays. */
enum { CHAINS = 3, MODEL_MAX = 400 };

static struct model {
    struct chain chain;
    char bytes[MODEL_MAX + 1];
    size_t len;
} models[CHAINS];

static void model_shift(struct model *m, size_t n)
{
    memmove(m->bytes, m->bytes + n, m->len - n);
    m->len -= n;
}

static void model_add(struct model *m, const char *bytes, size_t n)
{
    memcpy(m->bytes + m->len, bytes, n);
    m->len += n;
}

static void model_op(struct buf_pool *pool, struct model *to, struct model *from, unsigned op,
                     size_t n, struct block *x)
{
    switch (op) {
    case 0: {
        size_t at = n % (x->used - 8);
        chain_append(&to->chain, x, x->data + at, n % 8);
        model_add(to, x->data + at, n % 8);
        break;
    }
    case 1:
        chain_copy_in(&to->chain, pool, "0123456", n % 8);
        model_add(to, "0123456", n % 8);
        break;
    case 2:
        chain_share(&to->chain, &from->chain);
        model_add(to, from->bytes, from->len);
        break;
    case 3:
        chain_move_bytes(&to->chain, &from->chain, n);
        n = n < from->len ? n : from->len;
        model_add(to, from->bytes, n);
        model_shift(from, n);
        break;
    default:
        n = n < to->len ? n : to->len;
        chain_drop(&to->chain, n);
        model_shift(to, n);
    }
}

static void random_operations_match_the_model(void **state)
{
    struct buf_pool *pool = *state;
    struct block *x = pattern(pool, 100);
    uint32_t seed = 1;
    for (int i = 0; i < CHAINS; i++)
        models[i] = (struct model){.len = 0};
    for (int round = 0; round < 3000; round++) {
        seed = seed * 1664525u + 1013904223u;
        struct model *to = &models[(seed >> 8) % CHAINS], *from = &models[(seed >> 12) % CHAINS];
        if (to == from || to->len + from->len + 8 > MODEL_MAX)
            model_op(pool, to, from, 4, seed >> 24, x);
        else
            model_op(pool, to, from, (seed >> 16) % 5, seed >> 24 & 31, x);
        for (int i = 0; i < CHAINS; i++) {
            models[i].bytes[models[i].len] = '\0';
            assert_bytes(&models[i].chain, models[i].bytes);
        }
    }
    for (int i = 0; i < CHAINS; i++)
        chain_clear(&models[i].chain);
    assert_int_equal(x->refs, 1);
    block_drop(x);
    assert_int_equal(pool->blocks, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Under AddressSanitizer nothing is kept. */
static void what_a_pool_holds_is_counted(void **state)
{
    (void)state;
    struct buf_pool pool;
    buf_pool_init(&pool);
    assert_int_equal(counter_get(&pool.held), 0);
    struct block *small = block_get(&pool, false), *big = block_get(&pool, true);
    struct block *rest = block_get_rest(&pool);
    uint64_t all = BLOCK_BYTES + BLOCK_BIG_BYTES + BLOCK_REST_BYTES;
    assert_int_equal(counter_get(&pool.held), all);
    block_drop(small);
    block_drop(big);
    block_drop(rest);
    assert_int_equal(counter_get(&pool.held), MEM_KEEPS ? all : 0);
    buf_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_block_has_the_size_it_was_asked_for),
        TEST(a_block_lives_as_long_as_its_last_reference),
        TEST(a_recycled_block_is_as_good_as_new),
        TEST(a_pool_keeps_no_more_free_blocks_than_its_bounds),
        TEST(what_a_pool_holds_is_counted),
        TEST(appending_holds_the_block),
        TEST(appending_nothing_does_nothing),
        TEST(adjacent_bytes_share_a_slice),
        TEST(moving_a_chain_empties_its_source),
        TEST(sharing_a_chain_leaves_its_source),
        TEST(moving_bytes_cuts_anywhere),
        TEST(dropping_bytes_cuts_anywhere),
        TEST(a_slice_appended_after_a_drop_is_in_order),
        TEST(copying_in_spans_blocks),
        TEST(vectors_are_the_front_of_the_chain),
        TEST(vectors_end_before_what_is_in_a_pipe),
        TEST(random_operations_match_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
