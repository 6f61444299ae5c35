/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of TLS: whom a client trusts, and whom a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/net/addr.h"
#include "tests/unit/tls_meet.h"

/* ---- whom a client trusts ---- */

static void a_chain_leads_to_an_authority(void **state)
{
    struct tls_meeting *f = *state;
    tls_meet_both(f, "chain.crt");
    tls_meet_up(f);
    assert_true(tls_at_client(f)->verified);
}

static void an_unknown_authority_is_refused(void **state)
{
    struct tls_meeting *f = *state;
    f->co.ca = f->other_ca;
    tls_meet_both(f, "a.crt");
    tls_meet_refused(f, "unable to get local issuer certificate");
    assert_string_equal(tls_at_server(f)->error, "tlsv1 alert unknown ca");
    f->co.no_verify = true;
    tls_meet_client(f);
    tls_meet(f);
    tls_meet_up(f);
    assert_false(tls_at_client(f)->verified);
}

static void a_missing_link_is_refused(void **state)
{
    struct tls_meeting *f = *state;
    tls_meet_both(f, "leaf.crt");
    tls_meet_refused(f, "unable to get local issuer certificate");
}

static void what_has_expired_is_refused(void **state)
{
    struct tls_meeting *f = *state;
    tls_meet_both(f, "oldchain.crt");
    tls_meet_refused(f, "certificate has expired");
}

static void another_name_is_refused(void **state)
{
    struct tls_meeting *f = *state;
    f->co.server_name = "b.example";
    tls_meet_both(f, "a.crt");
    tls_meet_refused(f, "hostname mismatch");
}

static void an_address_is_checked_where_there_is_no_name(void **state)
{
    struct tls_meeting *f = *state;
    struct net_addr here, there, path;
    assert_true(net_addr_ip(&here, "127.0.0.1", 443));
    assert_true(net_addr_ip(&there, "127.0.0.2", 443));
    assert_true(net_addr_unix(&path, "/tmp/x.sock"));
    f->co.server_name = NULL;
    tls_meet_both(f, "ip.crt");
    assert_string_equal(tls_at_client(f)->error,
                        "it is not known which name the server's certificate should have");
    tls_meet_at(f, 0, &path);
    assert_int_equal(f->e.client.conn.error, UV_EPROTO);
    tls_meet_at(f, 0, &there);
    tls_meet_refused(f, "IP address mismatch");
    tls_meet_at(f, 0, &here);
    tls_meet_up(f);
    assert_int_equal(tls_at_server(f)->sni.len, 0);
    f->co.server_name = "127.0.0.1";
    tls_meet_client(f);
    tls_meet_at(f, 0, &there);
    tls_meet_up(f);
    assert_int_equal(tls_at_server(f)->sni.len, 0);
}

/* ---- client certificates ---- */

static void a_client_shows_who_it_is(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const alice[] = {"alice.crt"};
    f->so.client_ca = f->ca;
    f->co.cert = tls_meet_certs(alice, 1);
    tls_meet_both(f, "a.crt");
    tls_certs_unref(f->co.cert);
    tls_meet_up(f);
    const struct tls_info *info = tls_at_server(f);
    assert_true(info->verified);
    assert_memory_equal(info->subject.ptr, "CN=alice\\, \\\"x\\\"\\0D\\0A,O=Weir Tests",
                        info->subject.len);
    assert_string_equal(info->san.ptr, "email:alice@a.example,URI:spiffe://a/b\\20c,"
                                       "DNS:alice.example,IP:10.0.0.1");
}

static void a_client_without_one_is_refused_unless_it_is_optional(void **state)
{
    struct tls_meeting *f = *state;
    f->so.client_ca = f->ca;
    tls_meet_both(f, "a.crt");
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(tls_at_server(f)->error, "peer did not return a certificate");
    assert_true(f->e.client.conn.flags & CONN_ERROR); /* in TLS 1.3 after its own handshake */
    assert_string_equal(tls_at_client(f)->error, "tlsv13 alert certificate required");
    f->so.client_optional = true;
    tls_meet_drop(f);
    tls_meet_both(f, "a.crt");
    tls_meet_up(f);
    assert_false(tls_at_server(f)->verified);
    assert_int_equal(tls_at_server(f)->subject.len, 0);
}

static void a_client_of_another_authority_is_refused_even_then(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const eve[] = {"eve.crt"};
    f->so.client_ca = f->ca;
    f->co.cert = tls_meet_certs(eve, 1);
    for (int i = 0; i < 2; i++) {
        f->so.client_optional = i;
        tls_meet_drop(f);
        tls_meet_both(f, "a.crt");
        assert_int_equal(f->e.server.conn.error, UV_EPROTO);
        assert_string_equal(tls_at_server(f)->error, "unable to get local issuer certificate");
        assert_false(tls_at_server(f)->verified);
    }
    tls_certs_unref(f->co.cert);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, tls_meet_setup, tls_meet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chain_leads_to_an_authority),
        TEST(an_unknown_authority_is_refused),
        TEST(a_missing_link_is_refused),
        TEST(what_has_expired_is_refused),
        TEST(another_name_is_refused),
        TEST(an_address_is_checked_where_there_is_no_name),
        TEST(a_client_shows_who_it_is),
        TEST(a_client_without_one_is_refused_unless_it_is_optional),
        TEST(a_client_of_another_authority_is_refused_even_then),
    };
    return cmocka_run_group_tests(tests, tls_meet_setup_all, tls_meet_teardown_all);
}
