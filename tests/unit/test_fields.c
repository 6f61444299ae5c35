/* SPDX-License-Identifier: Apache-2.0 */
/* Known field names are found in any case, nothing else is, and each is treated as RFC 9110 says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/fields.h"

static const struct {
    enum field_id id;
    const char *name;
    bool hop;
} known[] = {
#define X(id, name, hop) {FIELD_##id, name, hop},
    HTTP_FIELDS(X)
#undef X
};

static void every_listed_name_is_found_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char name[40];
        size_t len = strlen(known[i].name);
        for (unsigned how = 0; how < 3; how++) { /* lower, upper, Mixed */
            for (size_t k = 0; k < len; k++) {
                char c = known[i].name[k];
                bool up = how == 1 || (how == 2 && (k == 0 || known[i].name[k - 1] == '-'));
                name[k] = up && c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
            }
            assert_int_equal(field_lookup(span_of(name, len)), known[i].id);
        }
    }
}

/* One byte off anywhere, in either direction of the alphabet, is another name. */
static void nothing_else_of_the_same_length_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char name[40];
        size_t len = strlen(known[i].name);
        for (size_t k = 0; k < len; k++) {
            for (int c = 0; c < 256; c++) {
                memcpy(name, known[i].name, len);
                if (ascii_lower((char)c) == name[k])
                    continue;
                name[k] = (char)c;
                assert_int_equal(field_lookup(span_of(name, len)), FIELD_OTHER);
            }
        }
    }
}

static void nothing_of_another_length_is_found(void **state)
{
    (void)state;
    char name[64];
    assert_int_equal(field_lookup(span_of(name, 0)), FIELD_OTHER);
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t len = strlen(known[i].name);
        memcpy(name, known[i].name, len);
        name[len] = 's';
        assert_int_equal(field_lookup(span_of(name, len + 1)), FIELD_OTHER);
        assert_int_equal(field_lookup(span_of(name, len - 1)), FIELD_OTHER);
    }
    for (size_t len = 0; len < sizeof(name); len++) {
        memset(name, 'x', sizeof(name));
        assert_int_equal(field_lookup(span_of(name, len)), FIELD_OTHER);
    }
}

static void hop_by_hop_is_what_the_list_says(void **state)
{
    (void)state;
    static const enum field_id hop[] = {FIELD_CONNECTION,         FIELD_KEEP_ALIVE,
                                        FIELD_PROXY_CONNECTION,   FIELD_TE,
                                        FIELD_TRANSFER_ENCODING,  FIELD_UPGRADE,
                                        FIELD_PROXY_AUTHENTICATE, FIELD_PROXY_AUTHORIZATION,
                                        FIELD_HTTP2_SETTINGS};
    for (int id = 0; id < FIELD_ID_COUNT; id++) {
        bool want = false;
        for (size_t i = 0; i < ARRAY_LEN(hop); i++)
            want |= (int)hop[i] == id;
        assert_int_equal(field_hop_by_hop((enum field_id)id), want);
    }
}

/* Connection may not take away what every recipient needs. */
static void end_to_end_fields_are_not_removable(void **state)
{
    (void)state;
    static const char *const kept[] = {
        "Host",
        "host",
        "HOST",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Length",
        "content-encoding",
        "Accept",
        "Accept-Charset",
        "If-None-Match",
        "Range",
        "Location",
        "Cache-Control",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-Request-Id",
        "Date",
        "Vary",
        "Sec-WebSocket-Key",
        "Proxy-Status",
        "traceparent",
        "Expect",
        "Trailer",
        "Max-Forwards",
        "Origin",
        "Strict-Transport-Security",
        "Access-Control-Allow-Origin",
    };
    static const char *const removable[] = {
        "x-a",   "Foo", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "X-Internal",
        "hosts", "hos", "x-host",     "x-forwarded",      "",   "vary2",
    };
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        assert_false(field_removable(span_str(kept[i])));
    for (size_t i = 0; i < ARRAY_LEN(removable); i++)
        assert_true(field_removable(span_str(removable[i])));
}

static void trailers_carry_no_framing_and_no_routing(void **state)
{
    (void)state;
    static const enum field_id banned[] = {FIELD_HOST,
                                           FIELD_CONTENT_LENGTH,
                                           FIELD_TRANSFER_ENCODING,
                                           FIELD_CONNECTION,
                                           FIELD_TRAILER,
                                           FIELD_EXPECT,
                                           FIELD_TE,
                                           FIELD_UPGRADE,
                                           FIELD_X_FORWARDED_FOR,
                                           FIELD_X_FORWARDED_PROTO,
                                           FIELD_X_FORWARDED_HOST,
                                           FIELD_FORWARDED};
    for (size_t i = 0; i < ARRAY_LEN(banned); i++)
        assert_false(field_in_trailers(banned[i]));
    assert_true(field_in_trailers(FIELD_OTHER));
    assert_true(field_in_trailers(FIELD_DATE));
    for (int id = 0; id < FIELD_ID_COUNT; id++)
        if (field_hop_by_hop((enum field_id)id))
            assert_false(field_in_trailers((enum field_id)id));
}

/* RFC 9110 section 5.6.2, byte by byte. */
static void a_token_is_made_of_tchar(void **state)
{
    (void)state;
    static const char tchar[] = "!#$%&'*+-.^_`|~0123456789"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int c = 0; c < 256; c++) {
        char text[3] = {'a', (char)c, 'b'};
        bool want = c != 0 && c < 128 && strchr(tchar, c) != NULL;
        assert_int_equal(token_valid(span_of(text, 3)), want);
        assert_int_equal(token_valid(span_of(text + 1, 1)), want);
    }
    assert_false(token_valid(span_of("", 0)));
    assert_false(token_valid(span_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_listed_name_is_found_in_any_case),
        cmocka_unit_test(nothing_else_of_the_same_length_is_found),
        cmocka_unit_test(nothing_of_another_length_is_found),
        cmocka_unit_test(hop_by_hop_is_what_the_list_says),
        cmocka_unit_test(end_to_end_fields_are_not_removable),
        cmocka_unit_test(trailers_carry_no_framing_and_no_routing),
        cmocka_unit_test(a_token_is_made_of_tchar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
