/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chunked body, in both directions: behind the head of a request and of a response it must read
 * the same, and as a second reader reads it. The first two bytes say where it is cut.
 */
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "tests/fuzz/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_behind(const char *head, const uint8_t *data, size_t size, bool response,
                        struct reading *r)
{
    size_t n = strlen(head), len = n + size - 2;
    char *wire = malloc(len);
    CHECK(wire != NULL);
    memcpy(wire, head, n);
    memcpy(wire + n, data + 2, size - 2);
    size_t cut = n + (data[0] | (size_t)data[1] << 8) % (size - 2);
    reading_compare(wire, len, (struct reading_options){.response = response, .cut = cut}, r);
    CHECK(r->head);
    r->used -= n;
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reading up, down;
    if (size < 3 || size > 8192)
        return 0;
    read_behind("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", data, size,
                false, &up);
    read_behind("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", data, size, true, &down);
    /* llhttp judges a Transfer-Encoding among the trailers, but only of a request. */
    size_t n = up.body_len < down.body_len ? up.body_len : down.body_len;
    CHECK(memcmp(up.body, down.body, n) == 0);
    CHECK(!up.done || !down.done || (up.used == down.used && up.body_len == down.body_len));
    free(up.body);
    free(down.body);
    return 0;
}
