/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: escaping, numbers, and never a byte past the buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/json.h"

static void assert_text(const struct json *j, const char *want)
{
    if (!span_eq(json_text(j), span_str(want)))
        fail_msg("got  %.*s\nwant %s", (int)j->len, j->buf, want);
}

/* One of everything; at the end j is whole or truncated. */
static void write_document(struct json *j)
{
    json_object_begin(j);
    json_key(j, "s");
    json_cstring(j, "a\"b\\c\n\x01\xc3\xa9\xff");
    json_key(j, "empty");
    json_string(j, span_of(NULL, 0));
    json_key(j, "list");
    json_array_begin(j);
    json_u64(j, 0);
    json_u64(j, UINT64_MAX);
    json_i64(j, INT64_MIN);
    json_i64(j, -1);
    json_i64(j, 7);
    json_array_begin(j);
    json_array_end(j);
    json_object_begin(j);
    json_object_end(j);
    json_bool(j, true);
    json_bool(j, false);
    json_null(j);
    json_array_end(j);
    json_key(j, "ms");
    json_ms(j, 1500);
    json_object_end(j);
}

static const char document[] =
    "{\"s\":\"a\\\"b\\\\c\\n\\u0001\xc3\xa9\\ufffd\",\"empty\":\"\",\"list\":[0,"
    "18446744073709551615,-9223372036854775808,-1,7,[],{},true,false,null],\"ms\":1.5}";

static void a_document_has_its_commas(void **state)
{
    (void)state;
    char buf[512];
    struct json j;
    json_init(&j, buf, sizeof buf);
    write_document(&j);
    assert_false(json_truncated(&j));
    assert_text(&j, document);
}

static void any_smaller_buffer_is_truncated_and_never_exceeded(void **state)
{
    (void)state;
    for (size_t cap = 0; cap <= sizeof document - 1; cap++) {
        char *buf = malloc(cap + !cap); /* exact: ASan sees one byte more */
        struct json j;
        assert_non_null(buf);
        json_init(&j, buf, cap);
        write_document(&j);
        assert_int_equal(json_truncated(&j), cap < sizeof document - 1);
        /* What was written is a prefix that ends where a token does. */
        assert_true(j.len <= cap);
        assert_memory_equal(buf, document, j.len);
        static const char starters[] = "{}[],\":";
        if (j.len > 0 && j.len < sizeof document - 1)
            assert_true(strchr(starters, document[j.len]) || strchr(starters, document[j.len - 1]));
        size_t len = j.len;
        json_u64(&j, 1);
        json_key(&j, "k");
        assert_int_equal(j.len, len);
        free(buf);
    }
}

static void nothing_fits_after_the_first_that_did_not(void **state)
{
    (void)state;
    char buf[8];
    struct json j;
    json_init(&j, buf, sizeof buf);
    json_array_begin(&j);
    json_cstring(&j, "too long for it");
    json_u64(&j, 1);
    json_array_end(&j);
    assert_true(json_truncated(&j));
    assert_text(&j, "[");
}

static void strings_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"exactly8", "exactly8"},
        {"0123456789abcdef", "0123456789abcdef"},
        {"0123456\"", "0123456\\\""},
        {"\"0123456789", "\\\"0123456789"},
        {"01234567\\9", "01234567\\\\9"},
        {"a/b", "a/b"},
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t"},
        {"\x01\x1f\x7f", "\\u0001\\u001f\\u007f"},
        {"\x1b[31mred", "\\u001b[31mred"},
        {"12345678\x7f", "12345678\\u007f"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
        {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"},
        {"\xc2\x80\xc2\x9f\xc2\xa0", "\\u0080\\u009f\xc2\xa0"}, /* C1 moves terminals too */
        {"\x80", "\\ufffd"},
        {"\xff\xfe", "\\ufffd\\ufffd"},
        {"\xc0\xaf", "\\ufffd\\ufffd"},            /* overlong '/' */
        {"\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"}, /* overlong '/' */
        {"\xf0\x80\x80\xaf", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"}, /* surrogate */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xf5\x80", "\\ufffd\\ufffd"},
        {"\xc3", "\\ufffd"},
        {"\xc3\"", "\\ufffd\\\""},
        {"\xe2\x82", "\\ufffd\\ufffd"},
        {"\xe2\x82x", "\\ufffd\\ufffdx"},
        {"\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd"},
        {"\xf0\x9f\x98\"", "\\ufffd\\ufffd\\ufffd\\\""},
        {"\",\"admin\":true,\"x\":\"", "\\\",\\\"admin\\\":true,\\\"x\\\":\\\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[128];
        struct json j;
        size_t len = strlen(rows[i].in);
        char *in = malloc(len + !len);
        assert_non_null(in);
        memcpy(in, rows[i].in, len);
        json_init(&j, buf, sizeof buf);
        json_raw_escaped(&j, span_of(in, len));
        assert_text(&j, rows[i].out);
        free(in);
    }
}

/* Words of eight, halves of four and single bytes are looked at in different ways. */
static void every_byte_is_escaped_wherever_it_stands(void **state)
{
    (void)state;
    for (unsigned b = 0; b < 256; b++) {
        bool plain = b >= 0x20 && b < 0x7f && b != '"' && b != '\\';
        for (size_t len = 1; len < 20; len++)
            for (size_t at = 0; at < len; at++) {
                char in[20], buf[64];
                struct json j;
                memset(in, 'x', len);
                in[at] = (char)b;
                json_init(&j, buf, sizeof buf);
                json_raw_escaped(&j, span_of(in, len));
                assert_int_equal(j.len == len, plain);
                assert_int_equal(buf[at], plain ? (char)b : '\\');
                for (size_t i = 0; i < j.len; i++)
                    assert_in_range(buf[i], 0x20, 0x7e);
                for (size_t i = 0; i < len; i++)
                    assert_true(i == at || buf[i < at ? i : j.len - len + i] == 'x');
            }
    }
}

static void durations_have_one_to_three_decimals(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *out;
    } rows[] = {{0, "0.0"},          {1, "0.001"},          {10, "0.01"},
                {100, "0.1"},        {110, "0.11"},         {101, "0.101"},
                {999, "0.999"},      {1000, "1.0"},         {1010, "1.01"},
                {123456, "123.456"}, {60000000, "60000.0"}, {UINT64_MAX, "18446744073709551.615"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[32];
        struct json j;
        json_init(&j, buf, sizeof buf);
        json_ms(&j, rows[i].us);
        assert_text(&j, rows[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_has_its_commas),
        cmocka_unit_test(any_smaller_buffer_is_truncated_and_never_exceeded),
        cmocka_unit_test(nothing_fits_after_the_first_that_did_not),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(every_byte_is_escaped_wherever_it_stands),
        cmocka_unit_test(durations_have_one_to_three_decimals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
