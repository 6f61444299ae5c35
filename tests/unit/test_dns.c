/* SPDX-License-Identifier: Apache-2.0 */
/* Reading DNS messages, and what hosts' records come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/discovery/dns_hosts.h"
#include "proxy/discovery/dns_message.h"

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

/* One question, and so many records in the three sections. */
#define HEAD(answers, authority, additional) \
    0x12, 0x34, 0x81, 0x80, 0, 1, 0, answers, 0, authority, 0, additional
/* "a.b", type A, class IN: the name is at 12. */
#define ASKED 1, 'a', 1, 'b', 0, 0, 1, 0, 1
#define NAME  0xc0, 12
/* Type, class IN, a TTL of seconds, length. */
#define RR(type, seconds, len) 0, type, 0, 1, 0, 0, 0, seconds, 0, len

struct notes {
    struct dns_record records[8];
    size_t count;
};

static void note(void *ctx, const struct dns_record *record)
{
    struct notes *n = ctx;
    assert_true(n->count < ARRAY_LEN(n->records));
    n->records[n->count++] = *record;
}

static struct notes read_good(const uint8_t *bytes, size_t len)
{
    struct notes n = {.count = 0};
    uint8_t *copy = malloc(len); /* so that a sanitizer sees its end */
    memcpy(copy, bytes, len);
    assert_true(dns_message_read(copy, len, note, &n));
    free(copy);
    return n;
}

static void expect_malformed(const uint8_t *bytes, size_t len)
{
    struct notes n = {.count = 0};
    uint8_t *copy = malloc(len + 1);
    memcpy(copy, bytes, len);
    assert_false(dns_message_read(copy, len, note, &n));
    free(copy);
}

static void test_addresses(void **state)
{
    (void)state;
    struct notes n =
        read_good(BYTES(HEAD(2, 0, 0), ASKED, NAME, RR(1, 30, 4), 10, 0, 0, 1, NAME, RR(28, 20, 16),
                        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9));
    assert_int_equal(n.count, 2);
    assert_string_equal(n.records[0].name, "a.b");
    assert_int_equal(n.records[0].type, DNS_A);
    assert_int_equal(n.records[0].section, DNS_ANSWER);
    assert_int_equal(n.records[0].ttl, 30);
    assert_memory_equal(n.records[0].addr, "\x0a\0\0\1", 4);
    assert_int_equal(n.records[1].type, DNS_AAAA);
    assert_int_equal(n.records[1].addr[15], 9);
}

static void test_services_and_what_stands_beside_them(void **state)
{
    (void)state;
    struct notes n = read_good(BYTES(HEAD(1, 0, 1), ASKED, NAME, RR(33, 9, 10), 0, 1, 0, 2, 0, 80,
                                     1, 'T', NAME, 1, 't', NAME, RR(1, 5, 4), 10, 0, 0, 7));
    assert_int_equal(n.count, 2);
    assert_int_equal(n.records[0].priority, 1);
    assert_int_equal(n.records[0].weight, 2);
    assert_int_equal(n.records[0].port, 80);
    assert_string_equal(n.records[0].target, "t.a.b");
    assert_int_equal(n.records[1].section, DNS_ADDITIONAL);
    assert_string_equal(n.records[1].name, "t.a.b");
}

/* How long it stays away: the lesser of the record's TTL and the last field (RFC 2308). */
static void test_what_is_not_there(void **state)
{
    (void)state;
    struct notes n = read_good(BYTES(HEAD(0, 1, 0), ASKED, NAME, RR(6, 60, 22), 0, 0, 0, 0, 0, 1, 0,
                                     0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 7));
    assert_int_equal(n.count, 1);
    assert_int_equal(n.records[0].type, DNS_SOA);
    assert_int_equal(n.records[0].ttl, 7);
}

static void test_what_is_of_no_use_is_left_out(void **state)
{
    (void)state;
    /* TXT; A of class CH; OPT, whose TTL is none. */
    struct notes n =
        read_good(BYTES(HEAD(2, 0, 1), ASKED, NAME, RR(16, 1, 2), 1, 'x', NAME, 0, 1, 0, 3, 0, 0, 0,
                        1, 0, 4, 1, 2, 3, 4, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0));
    assert_int_equal(n.count, 0);
}

static void test_a_ttl_beyond_its_range_is_none(void **state)
{
    (void)state;
    struct notes n =
        read_good(BYTES(HEAD(1, 0, 0), ASKED, NAME, 0, 1, 0, 1, 0x80, 0, 0, 1, 0, 4, 10, 0, 0, 1));
    assert_int_equal(n.records[0].ttl, 0);
}

static void test_malformed_messages(void **state)
{
    (void)state;
    expect_malformed(BYTES(0));
    expect_malformed(BYTES(HEAD(0, 0, 0)));                                    /* no question */
    expect_malformed(BYTES(HEAD(1, 0, 0), ASKED));                             /* no answer */
    expect_malformed(BYTES(HEAD(0, 0, 0), 0xc0, 12, 0, 1, 0, 1));              /* leads to itself */
    expect_malformed(BYTES(HEAD(0, 0, 0), 0xc0, 14, 0xc0, 12, 0));             /* leads on */
    expect_malformed(BYTES(HEAD(0, 0, 0), 1, 'a', 0xc0, 12, 0, 1, 0, 1));      /* in a circle */
    expect_malformed(BYTES(HEAD(0, 0, 0), 0x40, 1, 0, 0, 1, 0, 1));            /* no such label */
    expect_malformed(BYTES(HEAD(0, 0, 0), 9, 'a', 0, 0, 1, 0, 1));             /* cut short */
    expect_malformed(BYTES(HEAD(1, 0, 0), ASKED, NAME, RR(1, 1, 4), 1));       /* cut short */
    expect_malformed(BYTES(HEAD(1, 0, 0), ASKED, NAME, RR(1, 1, 3), 1, 2, 3)); /* no address */
    expect_malformed(BYTES(HEAD(1, 0, 0), ASKED, NAME, RR(1, 1, 5), 1, 2, 3, 4, 5));
    expect_malformed(BYTES(HEAD(1, 0, 0), ASKED, NAME, RR(33, 1, 4), 0, 0, 0, 0));
}

/* 127 labels of one byte are the longest there may be; 128 are not. */
static void test_a_name_has_an_end(void **state)
{
    uint8_t bytes[12 + 2 * 128 + 5] = {HEAD(0, 0, 0)};
    (void)state;
    for (size_t i = 0; i < 128; i++) {
        bytes[12 + 2 * i] = 1;
        bytes[13 + 2 * i] = 'a';
    }
    expect_malformed(bytes, sizeof(bytes) - 4 + 4);
    bytes[12 + 2 * 127] = 0;
    struct notes n = {.count = 0};
    assert_true(dns_message_read(bytes, 12 + 2 * 127 + 5, note, &n));
}

/* ---- hosts ---- */

static struct dns_record record(enum dns_section section, uint16_t type, const char *name,
                                uint32_t ttl, uint8_t last)
{
    struct dns_record r = {.section = section, .type = type, .ttl = ttl};
    snprintf(r.name, sizeof(r.name), "%s", name);
    if (type == DNS_A)
        r.addr[0] = 10;
    r.addr[type == DNS_A ? 3 : 15] = last;
    return r;
}

static void service(struct dns_hosts *hosts, const char *target, uint16_t priority, uint16_t weight,
                    uint16_t port)
{
    struct dns_record r = record(DNS_ANSWER, DNS_SRV, "s", 60, 0);
    snprintf(r.target, sizeof(r.target), "%s", target);
    r.priority = priority;
    r.weight = weight;
    r.port = port;
    dns_hosts_service(hosts, &r);
}

static void beside(struct dns_hosts *hosts, const char *name, uint16_t type, uint8_t last)
{
    struct dns_record r = record(DNS_ADDITIONAL, type, name, 30, last);
    dns_hosts_service(hosts, &r);
}

/* As "address [also] weight priority" lines. */
static void expect_endpoints(struct dns_hosts *hosts, const char *expected)
{
    char text[512] = "";
    struct config_endpoints *set = dns_hosts_endpoints(hosts);
    for (size_t i = 0; i < set->count; i++) {
        const struct config_endpoint *e = &set->items[i];
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s%s%s %u %u\n", e->address.text,
                 e->also.text != NULL ? " " : "", e->also.text != NULL ? e->also.text : "",
                 e->weight, e->priority);
    }
    assert_string_equal(text, expected);
    config_endpoints_unref(set);
    dns_hosts_fini(hosts);
}

static void address(struct dns_hosts *hosts, uint16_t type, uint32_t ttl, uint8_t last)
{
    struct dns_record r = record(DNS_ANSWER, type, "a", ttl, last);
    dns_hosts_address(hosts, &hosts->items[0], &r);
}

static void test_addresses_of_a_name_in_order_and_once(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    dns_hosts_add(&hosts, "a", 0, 1, 80);
    address(&hosts, DNS_A, 30, 9);
    address(&hosts, DNS_A, 20, 2);
    address(&hosts, DNS_A, 60, 9);
    assert_int_equal(hosts.ttl, 20);
    expect_endpoints(&hosts, "10.0.0.2:80 1 0\n10.0.0.9:80 1 0\n");
}

static void test_ipv6_if_there_is_no_ipv4(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    dns_hosts_add(&hosts, "a", 0, 1, 80);
    struct dns_host *host = &hosts.items[0];
    assert_int_equal(dns_host_wants(host, CONFIG_DNS_AUTO), DNS_A);
    assert_int_equal(dns_host_wants(host, CONFIG_DNS_AAAA), DNS_AAAA);
    host->known[DNS_IPV4] = true;
    assert_int_equal(dns_host_wants(host, CONFIG_DNS_AUTO), DNS_AAAA);
    assert_int_equal(dns_host_wants(host, CONFIG_DNS_A), 0);
    address(&hosts, DNS_AAAA, 30, 1);
    assert_int_equal(dns_host_wants(host, CONFIG_DNS_AUTO), 0);
    expect_endpoints(&hosts, "[::1]:80 1 0\n");
}

static void address_of(struct dns_hosts *hosts, const char *owner, uint16_t type, uint8_t last)
{
    struct dns_record r = record(DNS_ANSWER, type, owner, 30, last);
    dns_hosts_address(hosts, &hosts->items[0], &r);
}

static void test_one_address_of_each_family_is_one_endpoint(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    dns_hosts_add(&hosts, "a", 0, 1, 80);
    address(&hosts, DNS_AAAA, 30, 1);
    address(&hosts, DNS_A, 30, 9);
    expect_endpoints(&hosts, "10.0.0.9:80 [::1]:80 1 0\n");
    dns_hosts_add(&hosts, "a", 0, 1, 80); /* two domains of the search list */
    address_of(&hosts, "a.one", DNS_A, 9);
    address_of(&hosts, "a.two", DNS_AAAA, 1);
    expect_endpoints(&hosts, "10.0.0.9:80 1 0\n");
}

/* Nobody says which belong together. */
static void test_several_addresses_of_each_family_are_those_of_ipv4(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    dns_hosts_add(&hosts, "a", 0, 1, 80);
    for (uint8_t i = 1; i <= 2; i++) {
        address(&hosts, DNS_A, 30, i);
        address(&hosts, DNS_AAAA, 30, i);
    }
    expect_endpoints(&hosts, "10.0.0.1:80 1 0\n10.0.0.2:80 1 0\n");
    dns_hosts_add(&hosts, "a", 0, 1, 80);
    address(&hosts, DNS_A, 30, 1);
    address(&hosts, DNS_AAAA, 30, 1);
    address(&hosts, DNS_AAAA, 30, 2);
    expect_endpoints(&hosts, "10.0.0.1:80 1 0\n");
}

static void test_targets_of_services_have_both(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    service(&hosts, "x", 0, 1, 81);
    service(&hosts, "x", 0, 1, 82);
    service(&hosts, "y", 0, 1, 81);
    beside(&hosts, "x", DNS_A, 1);
    beside(&hosts, "x", DNS_AAAA, 1);
    beside(&hosts, "y", DNS_AAAA, 2);
    dns_hosts_services_end(&hosts);
    assert_int_equal(dns_host_wants(&hosts.items[0], CONFIG_DNS_SRV), 0);
    assert_int_equal(dns_host_wants(&hosts.items[2], CONFIG_DNS_SRV), DNS_A);
    expect_endpoints(&hosts, "10.0.0.1:81 [::1]:81 1 0\n10.0.0.1:82 [::1]:82 1 0\n[::2]:81 1 0\n");
}

static void test_services_have_ports_weights_and_priorities(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    service(&hosts, "x", 10, 3, 81);
    service(&hosts, "y", 700, 5, 82);
    service(&hosts, "", 0, 0, 83); /* no service */
    service(&hosts, "z", 0, 0, 0); /* no port */
    beside(&hosts, "x", DNS_A, 1);
    beside(&hosts, "y", DNS_A, 2);
    beside(&hosts, "q", DNS_A, 3);
    assert_int_equal(hosts.count, 2);
    assert_int_equal(hosts.ttl, 30);
    expect_endpoints(&hosts, "10.0.0.1:81 3 0\n10.0.0.2:82 5 1\n");
}

static void test_weights_of_services(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    service(&hosts, "x", 0, 0, 80); /* all 0: alike */
    service(&hosts, "y", 0, 0, 80);
    beside(&hosts, "x", DNS_A, 1);
    beside(&hosts, "y", DNS_A, 2);
    expect_endpoints(&hosts, "10.0.0.1:80 1 0\n10.0.0.2:80 1 0\n");
    service(&hosts, "x", 0, 0, 80); /* beside others: nearly never */
    service(&hosts, "y", 0, 10, 80);
    beside(&hosts, "x", DNS_A, 1);
    beside(&hosts, "y", DNS_A, 2);
    expect_endpoints(&hosts, "10.0.0.1:80 1 0\n10.0.0.2:80 160 0\n");
    service(&hosts, "x", 0, 2, 80); /* a host's addresses share what it gets */
    service(&hosts, "y", 0, 2, 80);
    beside(&hosts, "x", DNS_A, 1);
    beside(&hosts, "y", DNS_A, 2);
    beside(&hosts, "y", DNS_A, 3);
    expect_endpoints(&hosts, "10.0.0.1:80 32 0\n10.0.0.2:80 16 0\n10.0.0.3:80 16 0\n");
}

static void test_what_is_there_twice_does_not_depend_on_the_order(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) {
        service(&hosts, "x", 0, turn == 0 ? 3 : 5, 80);
        service(&hosts, "y", 0, turn == 0 ? 5 : 3, 80);
        beside(&hosts, "x", DNS_A, 1);
        beside(&hosts, "y", DNS_A, 1);
        expect_endpoints(&hosts, "10.0.0.1:80 5 0\n");
    }
}

/* One answer can name a host thousands of times, and give it thousands of addresses. */
static void test_addresses_have_a_bound(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    size_t n = 0;
    (void)state;
    for (uint16_t port = 1; port <= 400; port++)
        service(&hosts, "x", 0, 1, port);
    for (unsigned i = 0; i < 200; i++)
        beside(&hosts, "x", DNS_A, (uint8_t)i);
    for (size_t i = 0; i < hosts.count; i++)
        n += hosts.items[i].counts[DNS_IPV4];
    assert_int_equal(n, 65536);
    dns_hosts_copy(&hosts, &hosts.items[0], DNS_IPV4, &hosts.items[1]);
    assert_int_equal(hosts.addresses, 65536);
    dns_hosts_fini(&hosts);
}

static void test_more_priorities_than_levels(void **state)
{
    struct dns_hosts hosts = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    for (uint8_t i = 0; i < 10; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        service(&hosts, name, (uint16_t)(i * 10), 1, 80);
        beside(&hosts, name, DNS_A, i);
    }
    expect_endpoints(&hosts, "10.0.0.0:80 1 0\n10.0.0.1:80 1 1\n10.0.0.2:80 1 2\n10.0.0.3:80 1 3\n"
                             "10.0.0.4:80 1 4\n10.0.0.5:80 1 5\n10.0.0.6:80 1 6\n10.0.0.7:80 1 7\n"
                             "10.0.0.8:80 1 7\n10.0.0.9:80 1 7\n");
}

static void test_a_host_keeps_what_it_had(void **state)
{
    struct dns_hosts before = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX},
                     now = {.ttl = UINT32_MAX, .none_ttl = UINT32_MAX};
    (void)state;
    service(&before, "x", 0, 1, 80);
    beside(&before, "x", DNS_A, 1);
    beside(&before, "x", DNS_A, 2);
    service(&now, "x", 0, 1, 81);
    assert_null(dns_hosts_find(&before, "y"));
    dns_hosts_copy(&now, &now.items[0], DNS_IPV4, dns_hosts_find(&before, "x"));
    assert_int_equal(dns_host_wants(&now.items[0], CONFIG_DNS_SRV), DNS_AAAA);
    dns_hosts_fini(&before);
    expect_endpoints(&now, "10.0.0.1:81 1 0\n10.0.0.2:81 1 0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_services_and_what_stands_beside_them),
        cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_what_is_of_no_use_is_left_out),
        cmocka_unit_test(test_a_ttl_beyond_its_range_is_none),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_a_name_has_an_end),
        cmocka_unit_test(test_addresses_of_a_name_in_order_and_once),
        cmocka_unit_test(test_ipv6_if_there_is_no_ipv4),
        cmocka_unit_test(test_one_address_of_each_family_is_one_endpoint),
        cmocka_unit_test(test_several_addresses_of_each_family_are_those_of_ipv4),
        cmocka_unit_test(test_targets_of_services_have_both),
        cmocka_unit_test(test_services_have_ports_weights_and_priorities),
        cmocka_unit_test(test_weights_of_services),
        cmocka_unit_test(test_what_is_there_twice_does_not_depend_on_the_order),
        cmocka_unit_test(test_addresses_have_a_bound),
        cmocka_unit_test(test_more_priorities_than_levels),
        cmocka_unit_test(test_a_host_keeps_what_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
