/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes request targets. The first byte picks the method, the rest is the target. What is accepted
 * must be inside raw or scratch, free of dot segments and of bytes that would end a request line,
 * and normalising it again must change nothing.
 */
#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct span s, const char *buf, size_t len)
{
    return s.ptr >= buf && s.ptr + s.len <= buf + len;
}

static void check_path(struct span path)
{
    CHECK(path.len > 0 && path.ptr[0] == '/');
    for (size_t i = 0, start = 1; i <= path.len; i++) {
        CHECK(i == path.len || (path.ptr[i] > ' ' && path.ptr[i] < 0x7f && path.ptr[i] != '?'));
        if (i == 0 || (i < path.len && path.ptr[i] != '/'))
            continue;
        struct span segment = span_of(path.ptr + start, i - start);
        CHECK(!span_eq(segment, SPAN_LIT(".")) && !span_eq(segment, SPAN_LIT("..")));
        start = i + 1;
    }
}

static void check_again(struct span path)
{
    struct target again;
    CHECK(target_parse(path, false, false, NULL, 0, &again) == TARGET_OK);
    CHECK(again.form == TARGET_ORIGIN && !again.has_query);
    CHECK(again.path.ptr == path.ptr && again.path.len == path.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target t;
    if (size < 1)
        return 0;
    unsigned method = data[0] % 4;
    size_t len = size - 1;
    char *raw = malloc(len + !len), *scratch = malloc(len + !len);
    CHECK(raw && scratch);
    memcpy(raw, data + 1, len);
    if (!target_parse(span_of(raw, len), method == 1, method == 2, scratch, len, &t)) {
        if (t.form == TARGET_ORIGIN || t.form == TARGET_ABSOLUTE) {
            check_path(t.path);
            check_again(t.path);
            CHECK(t.form == TARGET_ABSOLUTE || inside(t.path, raw, len) ||
                  inside(t.path, scratch, len));
        }
        CHECK(!t.has_query || inside(t.query, raw, len));
        CHECK(t.authority.len == 0 || host_valid(t.authority, false));
        CHECK((t.form == TARGET_ABSOLUTE) <= (t.authority.len > 0 && t.scheme.len > 0));
        CHECK(t.authority.len == 0 || host_name(t.authority).len > 0);
    }
    if (host_valid(span_of(raw, len), true))
        CHECK(len == 0 || host_valid(host_name(span_of(raw, len)), false));
    free(raw);
    free(scratch);
    return 0;
}
