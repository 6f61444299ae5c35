/* SPDX-License-Identifier: Apache-2.0 */
/* Recycled pieces of any size: aligned, the caller's alone, reused, and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/recycle.h"

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    struct recycle r;
    unsigned char *pieces[200];
    (void)state;
    recycle_init(&r, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
        pieces[i] = recycle_get(&r, i * i);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        memset(pieces[i], (int)i, (size_t)i * i);
    }
    assert_int_equal(r.in_use, ARRAY_LEN(pieces));
    for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
        for (unsigned k = 0; k < i * i; k++)
            assert_int_equal(pieces[i][k], i);
        recycle_put(&r, pieces[i]);
    }
    recycle_put(&r, NULL);
    recycle_fini(&r);
}

static void a_piece_grows_and_shrinks_with_its_content(void **state)
{
    struct recycle r;
    (void)state;
    recycle_init(&r, NULL);
    char *p = recycle_resize(&r, NULL, 10);
    memcpy(p, "0123456789", 10);
    for (size_t n = 20; n < 100000; n *= 2) {
        p = recycle_resize(&r, p, n);
        assert_memory_equal(p, "0123456789", 10);
        memset(p + 10, 'x', n - 10);
    }
    p = recycle_resize(&r, p, 10);
    assert_memory_equal(p, "0123456789", 10);
    assert_int_equal(r.in_use, 1);
    recycle_put(&r, p);
    recycle_fini(&r);
}

static void a_size_that_cannot_be_is_refused(void **state)
{
    struct recycle r;
    (void)state;
    recycle_init(&r, NULL);
    assert_null(recycle_get(&r, SIZE_MAX));
    assert_int_equal(r.in_use, 0);
    recycle_fini(&r);
}

static void what_it_holds_is_counted(void **state)
{
    struct recycle r;
    (void)state;
    recycle_init(&r, NULL);
    void *small = recycle_get(&r, 100), *large = recycle_get(&r, 100000);
    uint64_t both = counter_get(&r.held);
    assert_in_range(both, 100100, 100300);
    recycle_put(&r, large); /* is not kept */
    assert_int_equal(counter_get(&r.held), both - (100000 + 16));
    recycle_put(&r, small);
    assert_int_equal(counter_get(&r.held), MEM_KEEPS ? 128 + 16 : 0);
    recycle_fini(&r);
    assert_int_equal(counter_get(&r.held), 0);
}

#if MEM_KEEPS
static size_t pages_of(const void *at, size_t size)
{
    unsigned char in[8];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)at & ~(page - 1), n = 0;
    size_t count = ((uintptr_t)at + size - from + page - 1) / page;
    assert_true(count <= sizeof(in));
    assert_int_equal(mincore((void *)from, count * page, in), 0);
    for (size_t i = 0; i < count; i++)
        n += in[i] & 1;
    return n;
}

static void what_is_not_written_to_costs_nothing(void **state)
{
    enum { SIZE = 16394, N = 200 };
    struct recycle r;
    char *pieces[N];
    (void)state;
    recycle_init(&r, NULL);
    for (unsigned i = 0; i < N; i++) {
        pieces[i] = recycle_get(&r, SIZE);
        memset(pieces[i], 'x', 500);
        assert_int_equal(pages_of(pieces[i], SIZE), 1);
    }
    memset(pieces[0], 'y', SIZE);
    assert_true(pages_of(pieces[0], SIZE) >= 4);
    recycle_put(&r, pieces[0]);
    assert_ptr_equal(recycle_get(&r, SIZE), pieces[0]); /* again, and lean again */
    assert_int_equal(pages_of(pieces[0], SIZE), 1);
    for (unsigned i = 0; i < N; i++)
        recycle_put(&r, pieces[i]);
    recycle_fini(&r);
}

static void small_pieces_share_the_page_of_a_sparse_one(void **state)
{
    struct recycle r;
    (void)state;
    recycle_init(&r, NULL);
    char *sparse = recycle_get(&r, 16394), *small[2];
    for (unsigned i = 0; i < 2; i++) {
        small[i] = recycle_get(&r, 1024);
        assert_int_equal((uintptr_t)small[i] / 4096, (uintptr_t)sparse / 4096);
        memset(small[i], 'a', 1024);
    }
    memset(sparse, 'b', 16394);
    assert_int_equal(small[1][1023], 'a');
    char *other = recycle_get(&r, 1024); /* there is no room for a third one */
    assert_int_not_equal((uintptr_t)other / 4096, (uintptr_t)sparse / 4096);
    recycle_put(&r, other);
    recycle_put(&r, small[0]);
    recycle_put(&r, small[1]);
    recycle_put(&r, sparse);
    recycle_fini(&r);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_piece_grows_and_shrinks_with_its_content),
        cmocka_unit_test(a_size_that_cannot_be_is_refused),
        cmocka_unit_test(what_it_holds_is_counted),
#if MEM_KEEPS
        cmocka_unit_test(what_is_not_written_to_costs_nothing),
        cmocka_unit_test(small_pieces_share_the_page_of_a_sparse_one),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
