/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses from text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/stream.h"
#include "proxy/net/addr.h"

static void assert_text(struct span got, const char *want)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("got %.*s, want %s", (int)got.len, got.ptr, want);
}

static void ip_addresses_print_as_they_are_written(void **state)
{
    (void)state;
    static const struct {
        const char *host, *text, *printed_host;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1:80", "127.0.0.1"},
        {"255.255.255.255", "255.255.255.255:80", "255.255.255.255"},
        {"::1", "[::1]:80", "::1"},
        {"2001:DB8:0:0::1", "[2001:db8::1]:80", "2001:db8::1"},
        {"::ffff:192.0.2.1", "192.0.2.1:80", "192.0.2.1"}, /* a dual-stack socket's IPv4 peer */
        {"", "[::]:80", "::"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_addr addr;
        char text[NET_ADDR_TEXT];
        assert_true(net_addr_ip(&addr, rows[i].host, 80));
        assert_text(net_addr_print(&addr, text), rows[i].text);
        assert_text(net_addr_print_host(&addr, text), rows[i].printed_host);
        assert_int_equal(net_addr_port(&addr), 80);
        assert_false(net_addr_is_unix(&addr));
    }
}

static void what_is_not_numeric_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {"localhost", "1.2.3",    "1.2.3.4.5", "1.2.3.256", "[::1]",
                                       "::1%lo",    " 1.2.3.4", "1.2.3.4 ",  ":::",       "*"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_addr addr;
        assert_false(net_addr_ip(&addr, rows[i], 80));
    }
}

static void unix_paths_have_the_kernels_length(void **state)
{
    (void)state;
    struct net_addr addr;
    char path[200], text[NET_ADDR_TEXT];
    size_t max = sizeof(addr.u.un.sun_path) - 1;
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[max] = '\0';
    assert_true(net_addr_unix(&addr, path));
    assert_true(net_addr_is_unix(&addr));
    struct span got = net_addr_print(&addr, text);
    assert_int_equal(got.len, max + 5);
    assert_memory_equal(got.ptr, "unix:/xxx", 9);
    assert_text(net_addr_print_host(&addr, text), "unix:");
    assert_int_equal(net_addr_port(&addr), 0);
    path[max] = 'x';
    path[max + 1] = '\0';
    assert_false(net_addr_unix(&addr, path));
    assert_false(net_addr_unix(&addr, ""));
}

/* accept(2) fills in nothing but the family for a client of a Unix socket. */
static void an_unnamed_unix_peer_has_a_text(void **state)
{
    (void)state;
    struct net_addr addr;
    char text[NET_ADDR_TEXT];
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    net_addr_from(&addr, (struct sockaddr *)&un, sizeof(sa_family_t));
    assert_true(net_addr_is_unix(&addr));
    assert_text(net_addr_print(&addr, text), "unix:");
}

static void a_peer_is_its_address_in_text(void **state)
{
    (void)state;
    static const struct {
        const char *host, *text, *printed;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1:65535", "192.0.2.1"},
        {"::1", "[::1]:65535", "::1"},
        {"1111:2222:3333:4444:5555:6666:7777:8888",
         "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
         "1111:2222:3333:4444:5555:6666:7777:8888"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct net_addr addr;
        struct http_peer peer;
        assert_true(net_addr_ip(&addr, rows[i].host, 65535));
        http_peer_init(&peer, &addr, rows, true);
        assert_text(span_of(peer.text, peer.text_len), rows[i].text);
        assert_text(http_peer_host(&peer), rows[i].printed);
        assert_true(peer.trusted);
        assert_ptr_equal(peer.listener, rows);
    }
    struct net_addr addr;
    struct http_peer peer;
    assert_true(
        net_addr_unix(&addr, "/a/long/path/that/is/not/the/business/of/any/upstream/at/all"));
    http_peer_init(&peer, &addr, NULL, false);
    assert_text(span_of(peer.text, peer.text_len), "unix:");
    assert_text(http_peer_host(&peer), "unix:");
}

static void assert_ends(const char *from, const char *to, const char *want_from,
                        const char *want_to)
{
    struct net_addr a, b;
    char text[NET_ADDR_TEXT];
    struct http_peer peer;
    assert_true(net_addr_ip(&a, from, 65535) && net_addr_ip(&b, to, 80));
    http_peer_init(&peer, &a, NULL, false);
    http_peer_ends(&peer, &a, &b);
    assert_int_equal(a.u.sa.sa_family, AF_UNSPEC);
    assert_int_equal(b.u.sa.sa_family, AF_UNSPEC);
    assert_true(net_addr_ip(&b, to, 80));
    http_peer_reached(&peer, &b);
    http_peer_ends(&peer, &a, &b);
    assert_text(net_addr_print(&a, text), want_from);
    assert_text(net_addr_print(&b, text), want_to);
}

static void a_peer_knows_its_ends(void **state)
{
    (void)state;
    assert_ends("192.0.2.1", "10.0.0.1", "192.0.2.1:65535", "10.0.0.1:80");
    assert_ends("::ffff:192.0.2.1", "::ffff:10.0.0.1", "192.0.2.1:65535", "10.0.0.1:80");
    assert_ends("::1", "2001:db8::2", "[::1]:65535", "[2001:db8::2]:80");
    assert_ends("1111:2222:3333:4444:5555:6666:7777:8888", "::1",
                "[1111:2222:3333:4444:5555:6666:7777:8888]:65535", "[::1]:80");
}

static void a_unix_peer_has_no_ends(void **state)
{
    struct net_addr path, from, to;
    struct http_peer peer;
    (void)state;
    assert_true(net_addr_unix(&path, "/run/x") && net_addr_ip(&to, "10.0.0.1", 80));
    http_peer_init(&peer, &path, NULL, false);
    http_peer_reached(&peer, &path);
    http_peer_ends(&peer, &from, &to);
    assert_int_equal(from.u.sa.sa_family, AF_UNSPEC);
    assert_int_equal(to.u.sa.sa_family, AF_UNSPEC);
    assert_true(net_addr_ip(&to, "10.0.0.1", 80));
    http_peer_reached(&peer, &to);
    http_peer_ends(&peer, &from, &to);
    assert_int_equal(from.u.sa.sa_family, AF_UNSPEC);
    assert_int_equal(to.u.sa.sa_family, AF_UNSPEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ip_addresses_print_as_they_are_written),
        cmocka_unit_test(what_is_not_numeric_is_refused),
        cmocka_unit_test(unix_paths_have_the_kernels_length),
        cmocka_unit_test(an_unnamed_unix_peer_has_a_text),
        cmocka_unit_test(a_peer_is_its_address_in_text),
        cmocka_unit_test(a_peer_knows_its_ends),
        cmocka_unit_test(a_unix_peer_has_no_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
