/* SPDX-License-Identifier: Apache-2.0 */
/* Recycled pieces of any size: aligned, the caller's alone, reused, and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(a_piece_grows_and_shrinks_with_its_content),
        cmocka_unit_test(a_size_that_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
