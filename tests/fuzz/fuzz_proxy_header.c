/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes PROXY protocol headers. The verdict must not depend on how the bytes were cut; a header
 * that is whole ends inside of what was given; what it tells, written again, is read as the same.
 */
#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_addresses(const struct proxy_header *a, const struct proxy_header *b)
{
    char one[NET_ADDR_TEXT], other[NET_ADDR_TEXT];
    CHECK(span_eq(net_addr_print(&a->source, one), net_addr_print(&b->source, other)));
    CHECK(span_eq(net_addr_print(&a->destination, one), net_addr_print(&b->destination, other)));
}

static void check_again(const struct proxy_header *h)
{
    char out[PROXY_HEADER_WRITE_MAX];
    struct proxy_header again;
    for (unsigned v = PROXY_HEADER_V1; v <= PROXY_HEADER_V2; v++) {
        size_t n = proxy_header_write(v, &h->source, &h->destination, out);
        CHECK(proxy_header_read(span_of(out, n), &again) == PROXY_HEADER_DONE);
        CHECK(again.told && again.length == n);
        check_addresses(h, &again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole, part;
    char *copy = malloc(size + !size);
    CHECK(copy);
    memcpy(copy, data, size);
    enum proxy_header_verdict verdict = proxy_header_read(span_of(copy, size), &whole);
    CHECK(verdict != PROXY_HEADER_DONE || whole.length <= size);
    for (size_t n = 0; n < size && n <= PROXY_HEADER_BYTES; n++) {
        char *cut = malloc(n + !n); /* so that the sanitizer sees a read behind its end */
        CHECK(cut);
        memcpy(cut, data, n);
        enum proxy_header_verdict early = proxy_header_read(span_of(cut, n), &part);
        if (verdict == PROXY_HEADER_DONE)
            CHECK(early == (n < whole.length ? PROXY_HEADER_MORE : PROXY_HEADER_DONE));
        else
            CHECK(early == PROXY_HEADER_MORE || verdict == PROXY_HEADER_BAD);
        free(cut);
    }
    if (verdict == PROXY_HEADER_DONE && whole.told)
        check_again(&whole);
    free(copy);
    return 0;
}
