/* SPDX-License-Identifier: Apache-2.0 */
/* Recycled objects of one size: distinct, aligned, wholly the caller's, and counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/slab.h"

static void objects_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 8, 15, 16, 17, 100, 4096};
    enum { N = 33 }; /* more than four chunks */
    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        struct slab slab;
        unsigned char *objects[N];
        slab_init(&slab, sizes[k], 8);
        assert_int_equal(slab.size % 16, 0);
        assert_true(slab.size >= sizes[k] && slab.size < sizes[k] + 16);
        for (unsigned i = 0; i < N; i++) {
            objects[i] = slab_get(&slab);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % 16, 0);
            memset(objects[i], (int)i + 1, sizes[k]);
            assert_int_equal(slab.in_use, i + 1);
        }
        for (unsigned i = 0; i < N; i++) {
            for (size_t b = 0; b < sizes[k]; b++)
                assert_int_equal(objects[i][b], i + 1);
            slab_put(&slab, objects[i]);
        }
        assert_int_equal(slab.in_use, 0);
        slab_fini(&slab);
    }
}

static void putting_back_nothing_is_fine(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 32, 1);
    slab_put(&slab, NULL);
    assert_int_equal(slab.in_use, 0);
    slab_fini(&slab);
}

static void steady_state_takes_no_new_chunk(void **state)
{
    (void)state;
    struct slab slab;
    void *objects[4];
    slab_init(&slab, 64, 4);
    for (int round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 4; i++)
            objects[i] = slab_get(&slab);
        for (unsigned i = 4; i-- > 0;)
            slab_put(&slab, objects[i]);
    }
    if (slab.chunks != NULL) /* under AddressSanitizer there are none */
        assert_null(*(void **)slab.chunks);
    slab_fini(&slab);
}

/* Under AddressSanitizer each object is a malloc of its own. */
static void what_it_holds_is_counted(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 60, 4);
    assert_int_equal(slab_bytes(&slab), 0);
    void *objects[5];
    for (unsigned i = 0; i < 5; i++)
        objects[i] = slab_get(&slab);
    assert_int_equal(slab_bytes(&slab), MEM_KEEPS ? 2 * (16 + 4 * 64) : 5 * 64);
    for (unsigned i = 0; i < 5; i++)
        slab_put(&slab, objects[i]);
    assert_int_equal(slab_bytes(&slab), MEM_KEEPS ? 2 * (16 + 4 * 64) : 0);
    slab_fini(&slab);
    assert_int_equal(slab_bytes(&slab), 0);
}

static void a_slab_may_be_used_again_after_fini(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 48, 2);
    slab_put(&slab, slab_get(&slab));
    slab_fini(&slab);
    slab_init(&slab, 16, 2);
    void *obj = slab_get(&slab);
    assert_non_null(obj);
    slab_put(&slab, obj);
    slab_fini(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_aligned_and_do_not_overlap),
        cmocka_unit_test(putting_back_nothing_is_fine),
        cmocka_unit_test(steady_state_takes_no_new_chunk),
        cmocka_unit_test(what_it_holds_is_counted),
        cmocka_unit_test(a_slab_may_be_used_again_after_fini),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
