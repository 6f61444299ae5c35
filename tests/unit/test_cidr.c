/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and blocks: the texts that are taken and refused, and what contains what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "proxy/base/check.h"
#include "proxy/base/cidr.h"

static void blocks_contain_what_they_should(void **state)
{
    (void)state;
    static const struct {
        const char *block, *addr;
        bool in;
    } rows[] = {
        {"10.0.0.0/8", "10.0.0.0", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.168.4.0/23", "192.168.5.255", true},
        {"192.168.4.0/23", "192.168.6.0", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"0.0.0.0/0", "::ffff:1.2.3.4", true},
        {"128.0.0.0/1", "127.255.255.255", false},
        {"128.0.0.0/1", "128.0.0.0", true},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1/32", "::ffff:127.0.0.1", true},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"10.0.0.0/8", "::10.1.2.3", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "11.0.0.0", false},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"::ffff:0:0/96", "8.8.8.8", true},
        {"::ffff:0:0/96", "::8.8.8.8", false},
        {"::/0", "::1", true},
        {"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
        {"::/0", "1.2.3.4", false},
        {"::/0", "::ffff:1.2.3.4", false},
        {"::1", "::1", true},
        {"::1", "::2", false},
        {"[::1]", "::1", true},
        {"[2001:db8::]/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
        {"2001:db8:1:2::/64", "2001:db8:1:2:ffff::", true},
        {"2001:db8:1:2::/64", "2001:db8:1:3::", false},
        {"2001:db8:1:2:8000::/65", "2001:db8:1:2:8000::1", true},
        {"2001:db8:1:2:8000::/65", "2001:db8:1:2:7fff::1", false},
        {"2001:db8::4/127", "2001:db8::5", true},
        {"2001:db8::4/127", "2001:db8::6", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr c;
        struct cidr_addr a;
        assert_int_equal(cidr_parse(span_str(rows[i].block), &c), CIDR_OK);
        assert_true(cidr_addr_parse(span_str(rows[i].addr), &a));
        if (cidr_contains(&c, a) != rows[i].in)
            fail_msg("%s %s %s", rows[i].block, rows[i].in ? "lacks" : "contains", rows[i].addr);
    }
}

static void what_is_no_block_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum cidr_error error;
    } rows[] = {
        {"", CIDR_ERR_ADDRESS},
        {"/8", CIDR_ERR_ADDRESS},
        {"x", CIDR_ERR_ADDRESS},
        {"localhost", CIDR_ERR_ADDRESS},
        {"10", CIDR_ERR_ADDRESS},
        {"10/8", CIDR_ERR_ADDRESS},
        {"10.0.0/8", CIDR_ERR_ADDRESS},
        {"10.0.0.256", CIDR_ERR_ADDRESS},
        {"010.0.0.1", CIDR_ERR_ADDRESS},
        {"10.0.0.1:80", CIDR_ERR_ADDRESS},
        {" 10.0.0.1", CIDR_ERR_ADDRESS},
        {"10.0.0.1 ", CIDR_ERR_ADDRESS},
        {"[10.0.0.1]", CIDR_ERR_ADDRESS},
        {"[::1", CIDR_ERR_ADDRESS},
        {"::1]", CIDR_ERR_ADDRESS},
        {"[]", CIDR_ERR_ADDRESS},
        {"[", CIDR_ERR_ADDRESS},
        {"[::1/64]", CIDR_ERR_ADDRESS},
        {":", CIDR_ERR_ADDRESS},
        {"fe80::1%eth0", CIDR_ERR_ADDRESS},
        {"1:2:3:4:5:6:7:8:9", CIDR_ERR_ADDRESS},
        {"0000:0000:0000:0000:0000:0000:0000:0000:0000", CIDR_ERR_ADDRESS},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", CIDR_ERR_ADDRESS},
        {"10.0.0.0/", CIDR_ERR_PREFIX},
        {"10.0.0.0/33", CIDR_ERR_PREFIX},
        {"10.0.0.0/-1", CIDR_ERR_PREFIX},
        {"10.0.0.0/+8", CIDR_ERR_PREFIX},
        {"10.0.0.0/08", CIDR_ERR_PREFIX},
        {"10.0.0.0/8x", CIDR_ERR_PREFIX},
        {"10.0.0.0/8/8", CIDR_ERR_PREFIX},
        {"10.0.0.0/255.0.0.0", CIDR_ERR_PREFIX},
        {"10.0.0.0/4294967304", CIDR_ERR_PREFIX},
        {"::/129", CIDR_ERR_PREFIX},
        {"::ffff:10.0.0.0/129", CIDR_ERR_PREFIX},
        {"10.0.0.1/8", CIDR_ERR_HOST_BITS},
        {"10.0.0.1/0", CIDR_ERR_HOST_BITS},
        {"2001:db8::1/32", CIDR_ERR_HOST_BITS},
        {"2001:db8:0:0:1::/64", CIDR_ERR_HOST_BITS},
        {"::ffff:0:0/64", CIDR_ERR_HOST_BITS},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr c;
        if (cidr_parse(span_str(rows[i].text), &c) != rows[i].error)
            fail_msg("\"%s\" should not be %s", rows[i].text, cidr_error_text(rows[i].error));
    }
    struct cidr c;
    assert_int_equal(cidr_parse(SPAN_LIT("::1\0"), &c), CIDR_ERR_ADDRESS);
    assert_int_equal(cidr_parse(span_of(NULL, 0), &c), CIDR_ERR_ADDRESS);
}

static void host_bits_are_masked_all_the_same(void **state)
{
    (void)state;
    struct cidr c, want;
    assert_int_equal(cidr_parse(SPAN_LIT("10.1.2.3/8"), &c), CIDR_ERR_HOST_BITS);
    assert_int_equal(cidr_parse(SPAN_LIT("10.0.0.0/8"), &want), CIDR_OK);
    assert_int_equal(c.addr.lo, want.addr.lo);
    assert_int_equal(c.mask.lo, want.mask.lo);
    assert_true(c.v4);
    assert_int_equal(cidr_parse(SPAN_LIT("::ffff:0:0/95"), &c), CIDR_ERR_HOST_BITS);
    assert_false(c.v4);
}

static void a_set_holds_many_and_knows_socket_addresses(void **state)
{
    (void)state;
    struct cidr_set set = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    for (unsigned i = 0; i < 100; i++) {
        struct cidr c;
        char text[32];
        snprintf(text, sizeof text, "10.%u.0.0/16", 2 * i);
        assert_int_equal(cidr_parse(span_str(text), &c), CIDR_OK);
        cidr_set_add(&set, &c);
    }
    for (unsigned i = 0; i < 200; i++) {
        in.sin_addr.s_addr = htonl(10u << 24 | i << 16 | 77);
        assert_int_equal(cidr_set_contains_sockaddr(&set, (struct sockaddr *)&in), i % 2 == 0);
    }
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.4.0.1", &in6.sin6_addr), 1);
    assert_true(cidr_set_contains_sockaddr(&set, (struct sockaddr *)&in6));
    assert_int_equal(inet_pton(AF_INET6, "::10.4.0.1", &in6.sin6_addr), 1);
    assert_false(cidr_set_contains_sockaddr(&set, (struct sockaddr *)&in6));
    assert_false(cidr_set_contains_sockaddr(&set, (struct sockaddr *)&un));
    cidr_set_fini(&set);
    in.sin_addr.s_addr = htonl(10u << 24);
    assert_false(cidr_set_contains_sockaddr(&set, (struct sockaddr *)&in));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_contain_what_they_should),
        cmocka_unit_test(what_is_no_block_is_refused),
        cmocka_unit_test(host_bits_are_masked_all_the_same),
        cmocka_unit_test(a_set_holds_many_and_knows_socket_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
