/* SPDX-License-Identifier: Apache-2.0 */
/* Fields on their way to HPACK: what it may remember, and whose name is ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/h2_head.h"

static struct http_head head;
static nghttp2_nv nv[H2_NV_MAX];

static void add(const char *name, const char *value, uint8_t flags)
{
    http_head_add(&head, field_lookup(span_str(name)), span_str(name), span_str(value));
    head.fields[head.n_fields - 1].flags = flags;
}

static void what_differs_in_every_message_is_not_indexed(void **state)
{
    (void)state;
    http_head_init(&head);
    add("X-Request-Id", "1", 0);
    add("traceparent", "2", 0);
    add("x-forwarded-proto", "https", 0);
    add("x-other", "3", 0);
    assert_int_equal(h2_write_fields(&head, nv), 4);
    assert_int_equal(nv[0].flags, NGHTTP2_NV_FLAG_NO_INDEX | NGHTTP2_NV_FLAG_NO_COPY_NAME);
    assert_memory_equal(nv[0].name, "x-request-id", 12);
    assert_int_equal(nv[1].flags, NGHTTP2_NV_FLAG_NO_INDEX | NGHTTP2_NV_FLAG_NO_COPY_NAME);
    assert_int_equal(nv[2].flags, NGHTTP2_NV_FLAG_NO_COPY_NAME);
    assert_int_equal(nv[3].flags, NGHTTP2_NV_FLAG_NONE);
}

static void a_secret_stays_one(void **state)
{
    (void)state;
    http_head_init(&head);
    add("authorization", "x", FIELD_SECRET);
    assert_int_equal(h2_write_fields(&head, nv), 1);
    assert_int_equal(nv[0].flags, NGHTTP2_NV_FLAG_NO_INDEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_in_every_message_is_not_indexed),
        cmocka_unit_test(a_secret_stays_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
