/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts of TLS: sessions and tickets, and what they are good for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ssl.h>

#include "proxy/base/check.h"
#include "proxy/net/tls_ssl.h"
#include "tests/unit/tls_meet.h"

/* ---- sessions ---- */

static void a_session_is_resumed(void **state)
{
    struct tls_meeting *f = *state;
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        for (int tickets = 0; tickets < 2; tickets++) {
            tls_meet_drop(f);
            f->so.tickets = tickets ? tls_tickets_new() : NULL;
            tls_meet_client(f);
            SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, versions[i]);
            tls_meet_both(f, "a.crt");
            tls_meet_up(f);
            assert_false(tls_at_client(f)->resumed);
            tls_meet(f);
            tls_meet_up(f);
            assert_true(tls_at_client(f)->resumed && tls_at_server(f)->resumed);
            assert_true(tls_at_client(f)->verified);
            assert_true(span_eq(tls_at_server(f)->sni, SPAN_LIT("a.example")));
            tls_meet_at(f, 7, NULL); /* another endpoint has sessions of its own */
            assert_false(tls_at_client(f)->resumed);
            tls_meet_at(f, 7, NULL);
            assert_true(tls_at_client(f)->resumed);
            tls_tickets_unref(f->so.tickets);
        }
    }
}

/* A client of at most this version, which asks for this name. */
static void make_client_for(struct tls_meeting *f, const char *name, int version)
{
    f->co.server_name = name;
    tls_meet_client(f);
    SSL_CTX_set_max_proto_version(tls_client_ctx_base(f->client)->ssl, version);
}

/* The client has the session of the one before it. */
static void meet_as(struct tls_meeting *f, const char *name, int version)
{
    SSL_SESSION *session = SSL_get1_session(tls_ssl_of(f->e.client.conn.transport));
    tls_part(f);
    make_client_for(f, name, version);
    tls_ends_init(&f->e, 65536);
    f->met = true;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, f->client, 0, NULL);
    assert_int_equal(SSL_set_session(tls_ssl_of(f->e.client.conn.transport), session), 1);
    SSL_SESSION_free(session);
    tls_ends_settle(&f->e);
    tls_meet_up(f);
}

/* Whether its certificate is another or the same. */
static void check_names_of_sessions(struct tls_meeting *f, int version)
{
    static const char *const names[] = {"a.crt", "exact.crt"};
    static const struct {
        const char *first, *then;
        bool resumed;
    } rows[] = {
        {"a.example", "x.b.example", false},
        {"a.example", "www.a.example", false},
        {"x.b.example", "a.example", false},
        {"a.example", NULL, false},
        {NULL, "a.example", false},
        {"a.example", "A.Example", true},
        {"unknown.example", "u.example", false},
        {"unknown.example", "unknown.example", true},
        {NULL, NULL, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        tls_meet_drop(f);
        tls_meet_server(f, names, ARRAY_LEN(names));
        make_client_for(f, rows[i].first, version);
        tls_meet(f);
        tls_meet_up(f);
        meet_as(f, rows[i].then, version);
        if (tls_at_server(f)->resumed != rows[i].resumed)
            fail_msg("%s, then %s", rows[i].first, rows[i].then);
    }
}

static void a_session_is_good_for_the_name_it_was_made_for(void **state)
{
    struct tls_meeting *f = *state;
    f->co.no_verify = true;
    for (int tickets = 0; tickets < 2; tickets++) {
        f->so.tickets = tickets ? tls_tickets_new() : NULL;
        check_names_of_sessions(f, TLS1_3_VERSION);
        check_names_of_sessions(f, TLS1_2_VERSION);
        tls_tickets_unref(f->so.tickets);
    }
}

/* As another worker, and as after a reload. */
static void a_ticket_is_good_in_another_context_with_the_same_keys(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt"};
    struct tls_tickets *tickets = tls_tickets_new();
    f->so.tickets = tickets;
    tls_meet_both(f, "a.crt");
    tls_meet_server(f, names, 1);
    tls_meet(f);
    assert_true(tls_at_client(f)->resumed);
    f->so.tickets = tls_tickets_new();
    tls_meet_server(f, names, 1);
    tls_meet(f);
    tls_meet_up(f);
    assert_false(tls_at_client(f)->resumed);
    tls_tickets_unref(tickets);
    tls_tickets_unref(f->so.tickets);
}

static void tickets_outlive_one_change_of_keys(void **state)
{
    struct tls_meeting *f = *state;
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    tls_meet_both(f, "a.crt");
    tls_tickets_rotate(tickets);
    tls_meet(f);
    assert_true(tls_at_client(f)->resumed); /* and a new ticket came along */
    tls_tickets_rotate(tickets);
    tls_meet(f);
    assert_true(tls_at_client(f)->resumed);
    tls_tickets_rotate(tickets);
    tls_tickets_rotate(tickets);
    tls_meet(f);
    tls_meet_up(f);
    assert_false(tls_at_client(f)->resumed);
    tls_tickets_unref(tickets);
}

static void saved_keys_are_the_same_keys(void **state)
{
    unsigned char saved[TLS_TICKETS_SAVED];
    struct tls_tickets *tickets = tls_tickets_new();
    (void)state;
    tls_tickets_rotate(tickets);
    tls_tickets_save(tickets, saved);
    struct tls_tickets *other = tls_tickets_restore(saved);
    int64_t s = time(NULL);
    for (int64_t at = s; at < s + 3 * TLS_TICKET_ROTATE_S; at += TLS_TICKET_ROTATE_S) {
        struct tls_ticket_keys a = {0}, b = {0};
        tls_tickets_get(tickets, at, &a);
        tls_tickets_get(other, at, &b);
        assert_memory_equal(&a.now, &b.now, sizeof(a.now));
        assert_memory_equal(&a.before, &b.before, sizeof(a.before));
    }
    tls_tickets_unref(tickets);
    tls_tickets_unref(other);
}

static void keys_change_by_themselves(void **state)
{
    struct tls_tickets *tickets = tls_tickets_new();
    struct tls_ticket_keys now = {0}, later;
    int64_t s = time(NULL);
    (void)state;
    tls_tickets_get(tickets, s, &now);
    later = now;
    tls_tickets_get(tickets, s + TLS_TICKET_ROTATE_S - 10, &later);
    assert_memory_equal(&now, &later, sizeof(now));
    tls_tickets_get(tickets, s + TLS_TICKET_ROTATE_S + 10, &later);
    assert_memory_equal(&later.before, &now.now, sizeof(now.now));
    assert_memory_not_equal(&later.now, &now.now, sizeof(now.now));
    tls_tickets_unref(tickets);
}

/* A session that was made without a certificate is not good where one is asked for. */
static void a_session_does_not_get_around_the_client_ca(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const names[] = {"a.crt"};
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    tls_meet_both(f, "a.crt");
    f->so.client_ca = f->ca;
    tls_meet_server(f, names, 1);
    tls_meet(f);
    assert_false(tls_end_up(&f->e.server));
    assert_false(tls_at_server(f)->resumed);
    tls_tickets_unref(tickets);
}

static void a_resumed_client_is_still_who_it_was(void **state)
{
    struct tls_meeting *f = *state;
    static const char *const alice[] = {"alice.crt"};
    struct tls_tickets *tickets = f->so.tickets = tls_tickets_new();
    f->so.client_ca = f->ca;
    f->co.cert = tls_meet_certs(alice, 1);
    tls_meet_both(f, "a.crt");
    tls_meet(f);
    tls_meet_up(f);
    assert_true(tls_at_server(f)->resumed && tls_at_server(f)->verified);
    assert_memory_equal(tls_at_server(f)->subject.ptr, "CN=alice", 8);
    tls_certs_unref(f->co.cert);
    tls_tickets_unref(tickets);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, tls_meet_setup, tls_meet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_resumed),
        TEST(a_session_is_good_for_the_name_it_was_made_for),
        TEST(a_ticket_is_good_in_another_context_with_the_same_keys),
        TEST(tickets_outlive_one_change_of_keys),
        TEST(saved_keys_are_the_same_keys),
        TEST(keys_change_by_themselves),
        TEST(a_session_does_not_get_around_the_client_ca),
        TEST(a_resumed_client_is_still_who_it_was),
    };
    return cmocka_run_group_tests(tests, tls_meet_setup_all, tls_meet_teardown_all);
}
