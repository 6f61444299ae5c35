/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the access log, to the byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/access_format.h"
#include "proxy/base/check.h"

static struct access_record sample(void)
{
    return (struct access_record){
        .time_us = UINT64_C(1795341600123456), /* 2026-11-22T10:00:00.123Z */
        .id = SPAN_LIT("0199"),
        .client = SPAN_LIT("127.0.0.1:5123"),
        .listener = SPAN_LIT("web"),
        .method = SPAN_LIT("GET"),
        .host = SPAN_LIT("shop.example"),
        .path = SPAN_LIT("/x?y"),
        .protocol = SPAN_LIT("HTTP/1.1"),
        .route = SPAN_LIT("checkout"),
        .pool = SPAN_LIT("app"),
        .endpoint = SPAN_LIT("127.0.0.1:8080"),
        .referer = SPAN_LIT("http://r/"),
        .user_agent = SPAN_LIT("curl/8"),
        .attempts = 1,
        .status = 200,
        .bytes_in = 0,
        .bytes_out = 13,
        .queue_us = 0,
        .connect_us = 100,
        .first_byte_us = 400,
        .total_us = 512,
    };
}

static void assert_line(const char *format_text, const struct access_record *r, const char *want)
{
    char err[512] = "", buf[4096];
    struct access_clock clock = {0};
    struct json out;
    struct access_format *format = access_format_new(format_text, err, sizeof err);
    if (!format)
        fail_msg("%s: %s", format_text, err);
    json_init(&out, buf, sizeof buf);
    access_format_line(format, r, &clock, &out);
    access_format_free(format);
    if (!span_eq(json_text(&out), span_str(want)))
        fail_msg("got  %.*swant %s", (int)out.len, out.buf, want);
}

static void json_has_every_field(void **state)
{
    (void)state;
    struct access_record r = sample();
    assert_line("json", &r,
                "{\"time\":\"2026-11-22T10:00:00.123Z\",\"id\":\"0199\",\"client\":\"127.0.0.1:"
                "5123\",\"listener\":\"web\",\"method\":\"GET\",\"host\":\"shop.example\","
                "\"path\":\"/x?y\",\"protocol\":\"HTTP/1.1\",\"route\":\"checkout\",\"pool\":"
                "\"app\",\"endpoint\":\"127.0.0.1:8080\",\"attempts\":1,\"status\":200,"
                "\"bytes_in\":0,\"bytes_out\":13,\"queue_ms\":0.0,\"connect_ms\":0.1,"
                "\"first_byte_ms\":0.4,\"total_ms\":0.512,\"reason\":\"\",\"trail\":[]}\n");
}

static void json_of_an_empty_record_is_valid(void **state)
{
    (void)state;
    struct access_record r = {0};
    assert_line("json", &r,
                "{\"time\":\"1970-01-01T00:00:00.000Z\",\"id\":\"\",\"client\":\"\",\"listener\":"
                "\"\",\"method\":\"\",\"host\":\"\",\"path\":\"\",\"protocol\":\"\",\"route\":\"\","
                "\"pool\":\"\",\"endpoint\":\"\",\"attempts\":0,\"status\":0,\"bytes_in\":0,"
                "\"bytes_out\":0,\"queue_ms\":0.0,\"connect_ms\":0.0,\"first_byte_ms\":0.0,"
                "\"total_ms\":0.0,\"reason\":\"\",\"trail\":[]}\n");
}

static void clf_is_what_apache_calls_combined(void **state)
{
    (void)state;
    struct access_record r = sample();
    assert_line("clf", &r,
                "127.0.0.1 - - [22/Nov/2026:10:00:00 +0000] \"GET /x?y HTTP/1.1\" 200 13 "
                "\"http://r/\" \"curl/8\"\n");
    r.client = SPAN_LIT("[2001:db8::1]:5123");
    r.bytes_out = 0;
    r.referer = r.user_agent = span_of(NULL, 0);
    assert_line("clf", &r,
                "2001:db8::1 - - [22/Nov/2026:10:00:00 +0000] \"GET /x?y HTTP/1.1\" 200 - \"-\" "
                "\"-\"\n");
    r.client = SPAN_LIT("unix:");
    r.method = r.path = r.protocol = span_of(NULL, 0);
    r.status = 400;
    assert_line("clf", &r, "unix: - - [22/Nov/2026:10:00:00 +0000] \"- - -\" 400 - \"-\" \"-\"\n");
}

static void a_template_is_filled_in(void **state)
{
    (void)state;
    struct access_record r = sample();
    static const struct {
        const char *format, *line;
    } rows[] = {
        {"{status}", "200\n"},
        {"{method} {path}", "GET /x?y\n"},
        {"a{status}b", "a200b\n"},
        {"{status}{status}", "200200\n"},
        {"{{{status}}", "{200}\n"},
        {"{{{{{status}", "{{200\n"},
        {"} {status} }", "} 200 }\n"},
        {"\t{status}\xc3\xa9", "\t200\xc3\xa9\n"},
        {"{time}|{id}|{client}|{listener}|{host}|{protocol}|{route}|{pool}|{endpoint}",
         "2026-11-22T10:00:00.123Z|0199|127.0.0.1:5123|web|shop.example|HTTP/1.1|checkout|app|"
         "127.0.0.1:8080\n"},
        {"{attempts}|{bytes_in}|{bytes_out}|{queue_ms}|{connect_ms}|{first_byte_ms}|{total_ms}",
         "1|0|13|0.0|0.1|0.4|0.512\n"},
        {"{reason}|{trail}|{referer}|{user_agent}", "-|-|http://r/|curl/8\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_line(rows[i].format, &r, rows[i].line);
}

static void a_trail_is_a_list(void **state)
{
    (void)state;
    struct access_record r = sample();
    r.trail = SPAN_LIT("connect_refused 127.0.0.1:8081\nupstream_reset unix:/run/\"a\"");
    assert_line("{trail}", &r,
                "connect_refused 127.0.0.1:8081, upstream_reset unix:/run/\\\"a\\\"\n");
    char err[256], buf[1024];
    struct access_clock clock = {0};
    struct json out;
    struct access_format *format = access_format_new("json", err, sizeof err);
    json_init(&out, buf, sizeof buf);
    access_format_line(format, &r, &clock, &out);
    access_format_line(format, &r, &clock, &out);
    buf[out.len] = 0;
    const char *trail = "\"trail\":[\"connect_refused 127.0.0.1:8081\",\"upstream_reset "
                        "unix:/run/\\\"a\\\"\"]}\n";
    const char *first = strstr(buf, trail);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, trail));
    access_format_free(format);
}

static void what_a_client_sends_stays_in_its_field(void **state)
{
    (void)state;
    struct access_record r = sample();
    r.method = SPAN_LIT("G\"E\\T");
    r.path = SPAN_LIT("/\r\n127.0.0.1 - - forged\t\x1b[2J\x01\x7f\xc3\xa9\xff");
    r.user_agent = SPAN_LIT("a\" 200 \"b");
    assert_line("clf", &r,
                "127.0.0.1 - - [22/Nov/2026:10:00:00 +0000] \"G\\\"E\\\\T /\\r\\n127.0.0.1 - - "
                "forged\\t\\x1b[2J\\x01\\x7f\\xc3\\xa9\\xff HTTP/1.1\" 200 13 \"http://r/\" "
                "\"a\\\" 200 \\\"b\"\n");
    assert_line("{method} {path}", &r,
                "G\\\"E\\\\T /\\r\\n127.0.0.1 - - forged\\t\\x1b[2J\\x01\\x7f\\xc3\\xa9\\xff\n");
    char err[256], buf[1024];
    struct access_clock clock = {0};
    struct json out;
    struct access_format *format = access_format_new("json", err, sizeof err);
    json_init(&out, buf, sizeof buf);
    access_format_line(format, &r, &clock, &out);
    access_format_free(format);
    buf[out.len] = 0;
    assert_non_null(strstr(buf, "\"method\":\"G\\\"E\\\\T\""));
    assert_non_null(strstr(buf, "\"path\":\"/\\r\\n127.0.0.1 - - forged\\t\\u001b[2J\\u0001\\u007f"
                                "\xc3\xa9\\ufffd\""));
    assert_ptr_equal(strchr(buf, '\n'), buf + out.len - 1);
}

/* No byte in any field that a peer chooses may end a line or a quoted field. */
static void every_byte_is_harmless_in_every_format(void **state)
{
    (void)state;
    static const char *const formats[] = {"json", "clf", "{method}\"{path}"};
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        char err[256];
        struct access_format *format = access_format_new(formats[f], err, sizeof err);
        assert_non_null(format);
        unsigned quotes[256] = {0};
        for (unsigned b = 0; b < 256; b++) {
            char value[11], buf[1024];
            struct access_record r = sample();
            struct access_clock clock = {0};
            struct json out;
            memset(value, 'x', sizeof value);
            value[5] = (char)b;
            r.path = span_of(value, sizeof value);
            json_init(&out, buf, sizeof buf);
            access_format_line(format, &r, &clock, &out);
            assert_ptr_equal(memchr(buf, '\n', out.len), buf + out.len - 1);
            for (size_t i = 0; i < out.len; i++) {
                assert_true(i == out.len - 1 || (unsigned char)buf[i] >= 0x20);
                quotes[b] += buf[i] == '"' && buf[i - 1] != '\\';
            }
            assert_int_equal(quotes[b], quotes[0]);
        }
        access_format_free(format);
    }
}

static void a_bad_format_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *format, *message;
    } rows[] = {
        {"", "expected json, clf, or a template with at least one {field}"},
        {"JSON", "expected json, clf, or a template with at least one {field}"},
        {"{{status}", "expected json, clf, or a template with at least one {field}"},
        {"{status", "'{' at position 1 has no '}' ('{{' is a plain one)"},
        {"ok {status} {", "'{' at position 13 has no '}' ('{{' is a plain one)"},
        {"{status}\n{path}", "control character at position 9"},
        {"{status}\x1b", "control character at position 9"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char err[512] = "";
        assert_null(access_format_new(rows[i].format, err, sizeof err));
        assert_string_equal(err, rows[i].message);
    }
    static const char *const unknown[] = {"{}",          "{Status}",   "{ status}",   "{bytes}",
                                          "{client_ip}", "{clf_time}", "{clf_bytes}", "{total_us}"};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        char text[64], err[512] = "", want[64];
        snprintf(text, sizeof text, "{status} %s", unknown[i]);
        snprintf(want, sizeof want, "unknown field %s at position 10; the fields are time, id, ",
                 unknown[i]);
        assert_null(access_format_new(text, err, sizeof err));
        assert_memory_equal(err, want, strlen(want));
        assert_non_null(strstr(err, ", trail, referer, user_agent, trace_id, span_id, parent_id"));
        assert_null(strstr(err, ", clf_"));
    }
    char small[8];
    assert_null(access_format_new("{x}", small, sizeof small));
    assert_string_equal(small, "unknown");
}

static void a_line_that_does_not_fit_is_said_to_be_truncated(void **state)
{
    (void)state;
    static const char *const formats[] = {"json", "clf", "{path}{trail}"};
    for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
        char err[256], big[2048];
        struct access_record r = sample();
        r.path = SPAN_LIT("/a\"b\xff\xc3\xa9");
        r.trail = SPAN_LIT("a\nb\x01");
        struct access_clock clock = {0};
        struct json whole;
        struct access_format *format = access_format_new(formats[f], err, sizeof err);
        assert_non_null(format);
        json_init(&whole, big, sizeof big);
        access_format_line(format, &r, &clock, &whole);
        for (size_t cap = 0; cap <= whole.len; cap++) {
            char *buf = malloc(cap + !cap);
            struct json out;
            assert_non_null(buf);
            json_init(&out, buf, cap);
            access_format_line(format, &r, &clock, &out);
            assert_int_equal(json_truncated(&out), cap < whole.len);
            assert_memory_equal(buf, big, out.len);
            free(buf);
        }
        access_format_free(format);
    }
}

static void the_clock_follows_the_records(void **state)
{
    (void)state;
    static const struct {
        uint64_t time_us;
        const char *line;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z\n"},
        {999999, "1970-01-01T00:00:00.999Z\n"},
        {1000000, "1970-01-01T00:00:01.000Z\n"},
        {UINT64_C(1709251199999000), "2024-02-29T23:59:59.999Z\n"},
        {UINT64_C(1709251200000000), "2024-03-01T00:00:00.000Z\n"},
        {UINT64_C(1709251199007000), "2024-02-29T23:59:59.007Z\n"},
        {UINT64_MAX, "9999-12-31T23:59:59.551Z\n"},
    };
    char err[256];
    struct access_clock clock = {0};
    struct access_format *format = access_format_new("{time}", err, sizeof err);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[64];
        struct json out;
        struct access_record r = {.time_us = rows[i].time_us};
        json_init(&out, buf, sizeof buf);
        access_format_line(format, &r, &clock, &out);
        assert_true(span_eq(json_text(&out), span_str(rows[i].line)));
    }
    access_format_free(format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_every_field),
        cmocka_unit_test(json_of_an_empty_record_is_valid),
        cmocka_unit_test(clf_is_what_apache_calls_combined),
        cmocka_unit_test(a_template_is_filled_in),
        cmocka_unit_test(a_trail_is_a_list),
        cmocka_unit_test(what_a_client_sends_stays_in_its_field),
        cmocka_unit_test(every_byte_is_harmless_in_every_format),
        cmocka_unit_test(a_bad_format_is_refused_with_its_place),
        cmocka_unit_test(a_line_that_does_not_fit_is_said_to_be_truncated),
        cmocka_unit_test(the_clock_follows_the_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
