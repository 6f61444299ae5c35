/* SPDX-License-Identifier: Apache-2.0 */
/* What of a request's head decides which endpoint it goes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "balancer/hash.h"
#include "proxy/base/check.h"
#include "proxy/net/addr.h"
#include "proxy/upstream/balance_key.h"

struct request {
    struct http_head head;
    struct http_peer peer;
};

static void setup(struct request *r, bool trusted)
{
    struct net_addr addr;
    http_head_init(&r->head);
    assert_true(net_addr_ip(&addr, "192.0.2.1", 4711));
    http_peer_init(&r->peer, &addr, NULL, trusted);
}

static void add(struct request *r, const char *name, const char *value)
{
    struct span n = span_str(name);
    http_head_add(&r->head, field_lookup(n), n, span_str(value));
}

/* Fails unless the key's value is that; NULL: there is none. */
static void expect(const struct request *r, enum balance_key_kind kind, const char *name,
                   const char *value)
{
    const struct balance_key key = {kind, span_str(name)};
    uint64_t hash = balance_key_hash(&key, &r->head, &r->peer);
    assert_true(hash == (value != NULL ? lb_hash(value, strlen(value)) : 0));
}

static void test_no_key(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    expect(&r, BALANCE_KEY_NONE, NULL, NULL);
}

static void test_client_ip_is_without_the_port(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    expect(&r, BALANCE_KEY_CLIENT_IP, NULL, "192.0.2.1");
}

static void test_client_ip_is_what_a_trusted_peer_said_last(void **state)
{
    struct request r;
    (void)state;
    setup(&r, true);
    expect(&r, BALANCE_KEY_CLIENT_IP, NULL, "192.0.2.1");
    add(&r, "X-Forwarded-For", "198.51.100.1, 203.0.113.7");
    expect(&r, BALANCE_KEY_CLIENT_IP, NULL, "203.0.113.7");
    add(&r, "x-forwarded-for", " 203.0.113.8 , ");
    expect(&r, BALANCE_KEY_CLIENT_IP, NULL, "203.0.113.8");
}

static void test_client_ip_is_not_what_anybody_says(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    add(&r, "X-Forwarded-For", "203.0.113.7");
    expect(&r, BALANCE_KEY_CLIENT_IP, NULL, "192.0.2.1");
}

static void test_path_is_without_the_query(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    r.head.path = SPAN_LIT("/a/b");
    r.head.query = SPAN_LIT("c=d");
    expect(&r, BALANCE_KEY_PATH, NULL, "/a/b");
}

static void test_header_in_any_case_and_the_first_of_several(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    expect(&r, BALANCE_KEY_HEADER, "x-user", NULL);
    add(&r, "X-User", "one");
    add(&r, "x-user", "two");
    expect(&r, BALANCE_KEY_HEADER, "x-user", "one");
    expect(&r, BALANCE_KEY_HEADER, "x-use", NULL);
}

static void test_an_empty_value_is_no_key(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    add(&r, "X-User", "");
    add(&r, "Cookie", "s=; t");
    r.head.query = SPAN_LIT("q=&r");
    expect(&r, BALANCE_KEY_HEADER, "x-user", NULL);
    expect(&r, BALANCE_KEY_COOKIE, "s", NULL);
    expect(&r, BALANCE_KEY_COOKIE, "t", NULL);
    expect(&r, BALANCE_KEY_QUERY, "q", NULL);
    expect(&r, BALANCE_KEY_QUERY, "r", NULL);
}

static void test_cookie_among_others_and_in_fields_of_its_own(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    add(&r, "Cookie", "a=1; session=x=y;b=2; SESSION=z");
    add(&r, "cookie", "c=3");
    expect(&r, BALANCE_KEY_COOKIE, "session", "x=y");
    expect(&r, BALANCE_KEY_COOKIE, "SESSION", "z");
    expect(&r, BALANCE_KEY_COOKIE, "a", "1");
    expect(&r, BALANCE_KEY_COOKIE, "b", "2");
    expect(&r, BALANCE_KEY_COOKIE, "c", "3");
    expect(&r, BALANCE_KEY_COOKIE, "ession", NULL);
    expect(&r, BALANCE_KEY_COOKIE, "d", NULL);
}

static void test_query_parameter(void **state)
{
    struct request r;
    (void)state;
    setup(&r, false);
    expect(&r, BALANCE_KEY_QUERY, "user", NULL);
    r.head.query = SPAN_LIT("&super=no&user=%41b&user=c");
    expect(&r, BALANCE_KEY_QUERY, "user", "%41b");
    expect(&r, BALANCE_KEY_QUERY, "super", "no");
    expect(&r, BALANCE_KEY_QUERY, "per", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_key),
        cmocka_unit_test(test_client_ip_is_without_the_port),
        cmocka_unit_test(test_client_ip_is_what_a_trusted_peer_said_last),
        cmocka_unit_test(test_client_ip_is_not_what_anybody_says),
        cmocka_unit_test(test_path_is_without_the_query),
        cmocka_unit_test(test_header_in_any_case_and_the_first_of_several),
        cmocka_unit_test(test_an_empty_value_is_no_key),
        cmocka_unit_test(test_cookie_among_others_and_in_fields_of_its_own),
        cmocka_unit_test(test_query_parameter),
    };
    return cmocka_run_group_tests_name("balancing keys", tests, NULL, NULL);
}
