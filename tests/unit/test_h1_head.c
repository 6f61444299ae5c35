/* SPDX-License-Identifier: Apache-2.0 */
/* The pure functions over first lines and finished heads, called as the parser calls them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_head.h"

static int setup(void **state)
{
    *state = malloc(sizeof(struct http_head));
    assert_non_null(*state);
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static enum reason line(struct http_head *h, const char *text, size_t len, size_t max)
{
    http_head_init(h);
    return h1_check_request_line(span_of(text, len), len > 0 && text[len - 1] == '\n', max, h);
}

/* The first verdict that is not NONE is the one on the whole line, at whatever length it comes. */
static void a_beginning_never_says_more_than_the_line(void **state)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n",
        "GET /0123456789012345678901234567890123456789 HTTP/1.1\r\n",
        "GET /0123456789012345678901234567890123456789\n",
        "GET /012345678901234567\r\n",
        "0123456789012345678901234567890123456789 / HTTP/1.1\n",
        "0123456789012345678901234567890\r\n",
        "GET / HTTP/9.9\r\n",
        "BAD\r\n",
        "\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        size_t len = strlen(lines[i]);
        enum reason whole = line(*state, lines[i], len, 20), first = REASON_NONE;
        for (size_t n = 0; n <= len && first == REASON_NONE; n++)
            first = line(*state, lines[i], n, 20);
        assert_string_equal(reason_row(first)->name, reason_row(whole)->name);
    }
}

static void methods_have_their_properties(void **state)
{
    static const struct {
        const char *text;
        bool head, connect, idempotent;
    } rows[] = {
        {"GET / HTTP/1.1\r\n", false, false, true},
        {"HEAD / HTTP/1.1\r\n", true, false, true},
        {"PUT / HTTP/1.1\r\n", false, false, true},
        {"DELETE / HTTP/1.1\r\n", false, false, true},
        {"OPTIONS * HTTP/1.1\r\n", false, false, true},
        {"TRACE / HTTP/1.1\r\n", false, false, true},
        {"POST / HTTP/1.1\r\n", false, false, false},
        {"PATCH / HTTP/1.1\r\n", false, false, false},
        {"CONNECT h:1 HTTP/1.1\r\n", false, true, false},
        {"get / HTTP/1.1\r\n", false, false, false}, /* methods have a case */
        {"GETX / HTTP/1.1\r\n", false, false, false},
    };
    struct http_head *h = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(line(h, rows[i].text, strlen(rows[i].text), 100), REASON_NONE);
        assert_int_equal(h->is_head, rows[i].head);
        assert_int_equal(h->is_connect, rows[i].connect);
        assert_int_equal(h->idempotent, rows[i].idempotent);
        assert_int_equal(h->minor, 1);
    }
}

static enum reason status_line(struct http_head *h, const char *text)
{
    http_head_init(h);
    return h1_check_status_line(span_str(text), h);
}

static void a_status_line_is_read(void **state)
{
    struct http_head *h = *state;
    assert_int_equal(status_line(h, "HTTP/1.0 404 Not Found"), REASON_NONE);
    assert_int_equal(h->status, 404);
    assert_int_equal(h->minor, 0);
    assert_true(span_eq(h->phrase, SPAN_LIT("Not Found")));
    assert_int_equal(status_line(h, "HTTP/1.1 200"), REASON_NONE);
    assert_int_equal(h->phrase.len, 0);
    for (unsigned status = 0; status < 1000; status++) {
        char text[] = "HTTP/1.1 000 x";
        text[9] = (char)('0' + status / 100);
        text[10] = (char)('0' + status / 10 % 10);
        text[11] = (char)('0' + status % 10);
        bool valid = status >= 100 && status < 600;
        assert_int_equal(status_line(h, text), valid ? REASON_NONE : REASON_BAD_RESPONSE);
    }
}

static void a_phrase_has_no_control_characters(void **state)
{
    struct http_head *h = *state;
    for (int c = 0; c < 256; c++) {
        char text[] = "HTTP/1.1 200 a?b";
        text[14] = (char)c;
        http_head_init(h);
        bool valid = c == '\t' || (c >= ' ' && c != 0x7f);
        assert_int_equal(h1_check_status_line(span_of(text, 16), h),
                         valid ? REASON_NONE : REASON_BAD_RESPONSE);
    }
}

static void add(struct http_head *h, const char *name, const char *value)
{
    http_head_add(h, field_lookup(span_str(name)), span_str(name), span_str(value));
}

static void keep_alive_parameters_are_read(void **state)
{
    static const struct {
        const char *value;
        uint32_t want;
    } rows[] = {
        {"timeout=5", 5},       {"max=100, timeout=15", 15},
        {"TIMEOUT=7,max=1", 7}, {"timeout=", 0},
        {"timeout=x", 0},       {"timeout", 0},
        {"xtimeout=5", 0},      {"", 0},
        {"timeout=0", 0},
    };
    struct http_head *h = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(status_line(h, "HTTP/1.1 200 OK"), REASON_NONE);
        add(h, "Keep-Alive", rows[i].value);
        assert_int_equal(h1_check_response(h, false, false), REASON_NONE);
        assert_int_equal(h->keep_alive_s, rows[i].want);
    }
    assert_int_equal(status_line(h, "HTTP/1.1 200 OK"), REASON_NONE);
    add(h, "Keep-Alive", "timeout=99999999999999999999"); /* bounded, whatever it says */
    assert_int_equal(h1_check_response(h, false, false), REASON_NONE);
    assert_in_range(h->keep_alive_s, 100000, 1000000);
}

static void a_content_length_has_at_most_18_digits(void **state)
{
    struct http_head *h = *state;
    assert_int_equal(status_line(h, "HTTP/1.1 200 OK"), REASON_NONE);
    add(h, "Content-Length", "999999999999999999");
    assert_int_equal(h1_check_response(h, false, false), REASON_NONE);
    assert_true(h->content_length == UINT64_C(999999999999999999));
    assert_int_equal(status_line(h, "HTTP/1.1 200 OK"), REASON_NONE);
    add(h, "Content-Length", "1000000000000000000");
    assert_int_equal(h1_check_response(h, false, false), REASON_BAD_RESPONSE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_beginning_never_says_more_than_the_line),
        TEST(methods_have_their_properties),
        TEST(a_status_line_is_read),
        TEST(a_phrase_has_no_control_characters),
        TEST(keep_alive_parameters_are_read),
        TEST(a_content_length_has_at_most_18_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
