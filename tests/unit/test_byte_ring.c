/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of bytes, against the sequence of bytes that went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/byte_ring.h"

static void a_ring_keeps_the_order_of_its_bytes(void **state)
{
    (void)state;
    struct byte_ring ring;
    unsigned char in = 0, out = 0;
    uint64_t rng = 88172645463325252u, put = 0, taken = 0;
    assert_true(byte_ring_init(&ring, 64));
    assert_true(byte_ring_empty(&ring));
    for (unsigned i = 0; i < 100000; i++) {
        rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
        size_t len = rng % 31 + 1, room;
        byte_ring_refresh(&ring);
        char *place = byte_ring_room(&ring, &room);
        if (room < len)
            place = byte_ring_room_at_start(&ring, &room);
        if (rng >> 32 & 1 && place && room >= len) {
            for (size_t b = 0; b < len; b++)
                place[b] = (char)in++;
            byte_ring_publish(&ring, place, len);
            put += len;
            assert_true(byte_ring_used(&ring) >= put - taken);
            assert_false(byte_ring_empty(&ring));
            continue;
        }
        struct iovec pieces[2];
        int n = byte_ring_peek(&ring, pieces);
        size_t total = 0;
        for (int p = 0; p < n; p++)
            total += pieces[p].iov_len;
        assert_int_equal(total, put - taken);
        len = total ? rng % (total + 1) : 0;
        for (size_t b = 0; b < len; b++) {
            bool first = b < pieces[0].iov_len;
            const struct iovec *from = &pieces[!first];
            size_t at = first ? b : b - pieces[0].iov_len;
            assert_int_equal(((unsigned char *)from->iov_base)[at], out++);
        }
        byte_ring_consume(&ring, len);
        taken += len;
    }
    assert_true(taken > 100000);
    byte_ring_fini(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_ring_keeps_the_order_of_its_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
