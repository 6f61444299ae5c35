/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY protocol headers: what is taken and refused, cut anywhere, and what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/proxy_header.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

/* "MORE", "BAD", or "DONE source>destination", each from memory that ends where the text does. */
static const char *read_all(struct span in, struct proxy_header *h)
{
    static char out[2 * NET_ADDR_TEXT + 8];
    char from[NET_ADDR_TEXT], to[NET_ADDR_TEXT];
    char *copy = malloc(in.len + !in.len);
    assert_non_null(copy);
    memcpy(copy, in.ptr, in.len);
    enum proxy_header_verdict verdict = proxy_header_read(span_of(copy, in.len), h);
    free(copy);
    if (verdict != PROXY_HEADER_DONE)
        return verdict == PROXY_HEADER_MORE ? "MORE" : "BAD";
    if (!h->told)
        return "DONE";
    net_addr_print(&h->source, from);
    net_addr_print(&h->destination, to);
    snprintf(out, sizeof(out), "DONE %s>%s", from, to);
    return out;
}

/* The verdict of the whole must not depend on what was there before, and comes with its last byte
 * if it is good. */
static void expect(struct span in, size_t length, const char *verdict)
{
    struct proxy_header h;
    for (size_t n = 0; n < length; n++) {
        const char *early = read_all(span_of(in.ptr, n), &h);
        if (strcmp(verdict, "BAD") != 0 || strcmp(early, "BAD") != 0)
            assert_string_equal(early, "MORE");
    }
    assert_string_equal(read_all(in, &h), verdict);
    if (strncmp(verdict, "DONE", 4) == 0)
        assert_int_equal(h.length, length);
}

static void lines_are_read(void **state)
{
    static const struct {
        const char *text, *verdict;
    } rows[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
         "DONE 192.0.2.1:56324>198.51.100.2:443"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
         "DONE 255.255.255.255:65535>255.255.255.255:65535"},
        {"PROXY TCP6 2001:db8::1 ::1 1 0\r\n", "DONE [2001:db8::1]:1>[::1]:0"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "DONE 192.0.2.1:1>[::1]:2"},
        {"PROXY UNKNOWN\r\n", "DONE"},
        {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "DONE"},
        {"PROXY UNKNOWN \r\n", "DONE"},
        {"PROXY \r\n", "BAD"},
        {"PROXY\r\n", "BAD"},
        {"PROXY TCP4\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 \r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n", "BAD"},
        {"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", "BAD"},
        {"PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY TCP4 ::1 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY TCP6 ::1 ::1%lo 1 443\r\n", "BAD"},
        {"PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\r\n", "BAD"},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\rX", "BAD"},
        {"PROXY UNKNOWN a\nb\r\n", "BAD"},
        {"proxy UNKNOWN\r\n", "BAD"},
        {"GET / HTTP/1.1\r\n", "BAD"},
        {"POST / HTTP/1.1\r\n", "BAD"},
        {"PRI * HTTP/2.0\r\n\r\n", "BAD"},
        {"\r\n\r\nGET", "BAD"},
        {"\x16\x03\x01", "BAD"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(span_str(rows[i].text), strlen(rows[i].text), rows[i].verdict);
}

static void what_follows_the_header_is_left(void **state)
{
    (void)state;
    expect(SPAN_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET / HTTP/1.1\r\n\r\n"), 33,
           "DONE 1.2.3.4:9>5.6.7.8:10");
    expect(SPAN_LIT(V2 "\x20\x00\x00\x00GET"), 16, "DONE");
}

static void a_line_has_107_bytes_at_most(void **state)
{
    char line[128];
    struct proxy_header h;
    (void)state;
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_string_equal(read_all(span_of(line, 106), &h), "MORE");
    assert_string_equal(read_all(span_of(line, 107), &h), "BAD");
    memcpy(line + 105, "\r\n", 2);
    assert_string_equal(read_all(span_of(line, 107), &h), "DONE");
    line[105] = 'x';
    memcpy(line + 106, "\r\n", 2);
    assert_string_equal(read_all(span_of(line, 108), &h), "BAD");
    assert_string_equal(read_all(span_of(line, 107), &h), "BAD");
}

#define ADDRS4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"
#define ADDRS6                                   \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"         \
    "\x00\x01\x00\x02"
#define TOLD4 "DONE 192.0.2.1:56324>198.51.100.2:443"

static void binary_headers_are_read(void **state)
{
    static const struct {
        struct span text;
        const char *verdict;
    } rows[] = {
        {SPAN_LIT(V2 "\x21\x11\x00\x0c" ADDRS4), TOLD4},
        {SPAN_LIT(V2 "\x21\x21\x00\x24" ADDRS6), "DONE [2001:db8::1]:1>[::1]:2"},
        {SPAN_LIT(V2 "\x21\x12\x00\x0c" ADDRS4), "DONE"}, /* UDP is not what we have */
        {SPAN_LIT(V2 "\x21\x10\x00\x0c" ADDRS4), "DONE"},
        {SPAN_LIT(V2 "\x20\x11\x00\x0c" ADDRS4), "DONE"}, /* LOCAL */
        {SPAN_LIT(V2 "\x20\x11\x00\x02xx"), "DONE"},
        {SPAN_LIT(V2 "\x21\x00\x00\x00"), "DONE"}, /* UNSPEC */
        {SPAN_LIT(V2 "\x21\x00\x00\x02xx"), "DONE"},
        {SPAN_LIT(V2 "\x21\x01\x00\x00"), "DONE"},
        {SPAN_LIT(V2 "\x21\x11\x00\x0f" ADDRS4 "\x04\x00\x00"), TOLD4},   /* NOOP */
        {SPAN_LIT(V2 "\x21\x11\x00\x11" ADDRS4 "\x01\x00\x02h2"), TOLD4}, /* ALPN */
        {SPAN_LIT(V2 "\x21\x11\x00\x10" ADDRS4 "\x01\x00\x02h"), "BAD"},  /* cut short */
        {SPAN_LIT(V2 "\x21\x11\x00\x0e" ADDRS4 "\x01\x00"), "BAD"},
        {SPAN_LIT(V2 "\x21\x11\x00\x0b"
                     "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01"),
         "BAD"},
        {SPAN_LIT(V2 "\x21\x21\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x21\x31\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x21\x41\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x21\x13\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x22\x11\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x11\x11\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT(V2 "\x31\x11\x00\x0c" ADDRS4), "BAD"},
        {SPAN_LIT("\r\n\r\n\0\r\nQUIX\n\x21\x11\x00\x0c" ADDRS4), "BAD"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(rows[i].text, rows[i].text.len, rows[i].verdict);
}

static void unix_addresses_are_skipped(void **state)
{
    char in[16 + 216] = V2 "\x21\x31\x00\xd8/run/a.sock";
    (void)state;
    expect(span_of(in, sizeof(in)), sizeof(in), "DONE");
}

static void a_header_of_more_than_4_kib_is_refused(void **state)
{
    struct proxy_header h;
    (void)state;
    assert_string_equal(read_all(SPAN_LIT(V2 "\x20\x00\x0f\xf0"), &h), "MORE");
    assert_string_equal(read_all(SPAN_LIT(V2 "\x20\x00\x0f\xf1"), &h), "BAD");
}

/* The sum was made by another program, one that finds e3069283 for "123456789". */
static void a_checksum_must_be_right(void **state)
{
    char in[] = V2 "\x21\x11\x00\x13" ADDRS4 "\x03\x00\x04"
                   "\x20\xec\x95\x49";
    (void)state;
    expect(span_of(in, sizeof(in) - 1), sizeof(in) - 1, TOLD4);
    in[20] ^= 1;
    struct proxy_header h;
    assert_string_equal(read_all(span_of(in, sizeof(in) - 1), &h), "BAD");
    expect(SPAN_LIT(V2 "\x21\x11\x00\x12" ADDRS4 "\x03\x00\x03xxx"), 34, "BAD");
}

/* ---- writing ---- */

static struct net_addr ip(const char *host, uint16_t port)
{
    struct net_addr addr;
    assert_true(net_addr_ip(&addr, host, port));
    return addr;
}

static void what_is_written_is_read_again(void **state)
{
    static const struct {
        const char *from, *to, *verdict;
    } rows[] = {
        {"192.0.2.1", "198.51.100.2", "DONE 192.0.2.1:65535>198.51.100.2:443"},
        {"::ffff:192.0.2.1", "198.51.100.2", "DONE 192.0.2.1:65535>198.51.100.2:443"},
        {"2001:db8::1", "198.51.100.2", "DONE [2001:db8::1]:65535>198.51.100.2:443"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         "DONE [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535>"
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:443"},
    };
    char out[PROXY_HEADER_WRITE_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_addr from = ip(rows[i].from, 65535), to = ip(rows[i].to, 443);
        for (unsigned v = PROXY_HEADER_V1; v <= PROXY_HEADER_V2; v++) {
            size_t n = proxy_header_write(v, &from, &to, out);
            expect(span_of(out, n), n, rows[i].verdict);
        }
    }
}

static void the_bytes_are_those_of_the_specification(void **state)
{
    char out[PROXY_HEADER_WRITE_MAX];
    struct net_addr from = ip("192.0.2.1", 56324), to = ip("198.51.100.2", 443), local;
    struct span v2 = SPAN_LIT(V2 "\x21\x11\x00\x0c" ADDRS4);
    (void)state;
    size_t n = proxy_header_write(PROXY_HEADER_V1, &from, &to, out);
    assert_string_equal(out, "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    assert_int_equal(n, strlen(out));
    n = proxy_header_write(PROXY_HEADER_V2, &from, &to, out);
    assert_true(span_eq(span_of(out, n), v2));
    assert_true(net_addr_unix(&local, "/run/a.sock"));
    n = proxy_header_write(PROXY_HEADER_V1, &local, &to, out);
    assert_true(span_eq(span_of(out, n), SPAN_LIT("PROXY UNKNOWN\r\n")));
    n = proxy_header_write(PROXY_HEADER_V2, &local, &to, out);
    assert_true(span_eq(span_of(out, n), SPAN_LIT(V2 "\x20\x00\x00\x00")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_read),
        cmocka_unit_test(what_follows_the_header_is_left),
        cmocka_unit_test(a_line_has_107_bytes_at_most),
        cmocka_unit_test(binary_headers_are_read),
        cmocka_unit_test(unix_addresses_are_skipped),
        cmocka_unit_test(a_header_of_more_than_4_kib_is_refused),
        cmocka_unit_test(a_checksum_must_be_right),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(the_bytes_are_those_of_the_specification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
