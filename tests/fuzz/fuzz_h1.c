/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the HTTP/1 parser. The first byte picks request or response and what a response answers,
 * the next two a place to cut, the rest is the wire. Read whole, in two pieces, in two pieces with
 * what is kept moved to another block, and in small pieces, the record must be the same: the same
 * heads, body bytes, trailers and verdict.
 *
 * One difference is allowed: which of two faults is named, when one of them is a limit. A piece may
 * end, and be counted, before the byte is seen that is wrong.
 */
#include <string.h>

#include "proxy/base/check.h"
#include "tests/unit/h1_feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small ones, so that they are met. */
static const struct h1_limits limits = {
    .body_bytes = 200, .header_bytes = 1024, .target_bytes = 100, .headers = 12};

struct cut {
    size_t first, then; /* bytes in the first piece, and in all further ones */
    bool move;
};

static void feed(struct h1_feed *f, unsigned how, const char *wire, size_t len, struct cut cut)
{
    h1_feed_init(f, how & 1, &limits);
    f->to_head = how & 2;
    f->to_upgrade = f->tunnel = how & 4;
    for (size_t at = 0, n = cut.first; at < len; at += n, n = cut.then) {
        n = n < len - at ? n : len - at;
        h1_feed_bytes(f, wire + at, n, cut.move && at > 0);
    }
}

static bool is_limit(unsigned reason)
{
    return reason == REASON_HEAD_TOO_LARGE || reason == REASON_TOO_MANY_FIELDS ||
           reason == REASON_RESPONSE_HEAD_TOO_LARGE || reason == REASON_TARGET_TOO_LONG;
}

/* Without the last word. */
static size_t up_to_verdict(const char *text)
{
    const char *bang = strrchr(text, '!');
    return bang != NULL ? (size_t)(bang - text) : strlen(text);
}

static void compare(struct h1_feed *a, struct h1_feed *b)
{
    unsigned ea = a->parser.error, eb = b->parser.error;
    const char *ta = h1_feed_text(a), *tb = h1_feed_text(b);
    CHECK((ea != REASON_NONE) == (eb != REASON_NONE));
    if (ea != eb) {
        CHECK(is_limit(ea) || is_limit(eb));
        CHECK(up_to_verdict(ta) == up_to_verdict(tb));
        CHECK(memcmp(ta, tb, up_to_verdict(ta)) == 0);
    } else {
        CHECK(a->text.len == b->text.len && memcmp(ta, tb, a->text.len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4 || size > 4096)
        return 0;
    const char *wire = (const char *)data + 3;
    size_t len = size - 3, at = 1 + (data[1] | (size_t)data[2] << 8) % len;
    const struct cut cuts[] = {
        {at, len, false}, {at, len, true}, {1, 1, false}, {1 + at % 7, 1 + at % 5, true}};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct h1_feed whole, pieces;
        feed(&whole, data[0], wire, len, (struct cut){len, len, false});
        feed(&pieces, data[0], wire, len, cuts[i]);
        compare(&whole, &pieces);
        h1_feed_fini(&pieces);
        h1_feed_fini(&whole);
    }
    return 0;
}
