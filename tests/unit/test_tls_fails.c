/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS transport: what peers, the wire and the dial can do wrong, at every step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/net/tls_ssl.h"
#include "tests/unit/tls_rig.h"

static void a_write_that_fails_breaks_the_conn(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    pair_fail_write(f->e.pair, TLS_ENDS_SERVER, UV_EPIPE);
    tls_end_say(&f->e, &f->e.server, "x", 1, 1);
    assert_true(f->e.server.conn.flags & CONN_BROKEN);
    assert_int_equal(f->e.server.conn.error, UV_EPIPE);
    tls_end_say(&f->e, &f->e.client, "still read", 10, 10);
    tls_rig_got(&f->e.server, "still read", 10);
}

static void a_write_that_fails_later_does_too(void **state)
{
    struct tls_rig *f = *state;
    tls_rig_again(f, 1000);
    tls_ends_meet(&f->e, f->server, f->client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 16000);
    pair_fail_write(f->e.pair, TLS_ENDS_SERVER, UV_ETIMEDOUT);
    tls_ends_settle(&f->e);
    assert_true(f->e.server.conn.flags & CONN_BROKEN);
    assert_int_equal(f->e.server.conn.error, UV_ETIMEDOUT);
}

static void garbage_is_a_protocol_error(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    tls_end_say(&f->e, &f->e.client, "GET / HTTP/1.1\r\n\r\n", 18, 18);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(conn_tls(&f->e.server.conn)->error, "http request");
}

static void a_handshake_that_makes_no_sense_gets_an_alert(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    tls_end_say(&f->e, &f->e.client, "\x16\x03\x01\x00\x04\xff\x00\x00\x00", 9, 9);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_true(f->e.client.got_len > 0);
    assert_int_equal(f->e.client.got[0], 0x15);
}

static void an_alert_leaves_after_a_close(void **state)
{
    struct tls_rig *f = *state;
    tls_rig_again(f, 3);
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.client, "\x16\x03\x01\x00\x04\xff\x00\x00\x00", 9, 9);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    tls_end_close(&f->e, &f->e.server, false);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_int_equal(f->e.client.got_len, 7);
    assert_int_equal(f->e.client.got[0], 0x15);
    assert_true(f->e.client.conn.flags & CONN_EOF);
    assert_false(f->e.server.freed); /* until the client has ended */
    tls_end_close(&f->e, &f->e.client, false);
    assert_true(f->e.server.freed);
}

/* More than nine bytes were said, and nine read: a close would be a reset. */
static void begin_alert(struct tls_rig *f, size_t more)
{
    tls_rig_again(f, TLS_RIG_CAPACITY);
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    pair_limit(f->e.pair, TLS_ENDS_SERVER, 9);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.client, "\x16\x03\x01\x00\x04\xff\x00\x00\x00 and so on", 19, 19);
    tls_end_say(&f->e, &f->e.client, f->big, more, more);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    pair_limit(f->e.pair, TLS_ENDS_SERVER, 0);
    tls_end_close(&f->e, &f->e.server, false);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
}

static void an_alert_is_not_taken_away_by_a_reset(void **state)
{
    struct tls_rig *f = *state;
    begin_alert(f, 60000);
    assert_int_equal(f->e.client.got_len, 7);
    assert_int_equal(f->e.client.got[0], 0x15);
    assert_true(f->e.client.conn.flags & CONN_EOF);
    tls_end_say(&f->e, &f->e.client, f->big, 60000, 60000);
    assert_false(f->e.client.conn.flags & (CONN_ERROR | CONN_BROKEN));
    assert_false(f->e.server.freed);
    tls_end_close(&f->e, &f->e.client, false);
    assert_true(f->e.server.freed);
}

/* A second, or 256 KiB: who says more is not waited for. */
static void a_peer_that_does_not_heed_an_alert_is_cut(void **state)
{
    struct tls_rig *f = *state;
    begin_alert(f, 10);
    tls_ends_pass(&f->e, 900);
    assert_false(f->e.server.freed);
    tls_ends_pass(&f->e, 200);
    assert_true(f->e.server.freed);
    begin_alert(f, 10);
    tls_end_say(&f->e, &f->e.client, f->big, 262144 - 20, 262144);
    assert_false(f->e.server.freed);
    tls_end_say(&f->e, &f->e.client, f->big, 1, 1);
    assert_true(f->e.server.freed);
}

/* A record that was not made by the peer; what came before it is fine. */
static void a_forged_record_is_an_error(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_say(&f->e, &f->e.client, "fine", 4, 4);
    struct chain forged;
    char record[5 + 30] = {0x17, 3, 3, 0, 30};
    chain_init(&forged);
    chain_copy_in(&forged, &f->e.r.bufs, record, sizeof(record));
    f->e.client.below->ops->write(f->e.client.below, &forged, false);
    tls_ends_settle(&f->e);
    tls_rig_got(&f->e.server, "fine", 4);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(conn_tls(&f->e.server.conn)->error, "decryption failed or bad record mac");
    tls_end_say(&f->e, &f->e.server, "x", 1, 1); /* goes nowhere */
    assert_true(f->e.client.conn.flags & CONN_ERROR);
}

/* Each change of keys costs the server more than the client. */
static void keys_may_not_change_all_the_time(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    SSL *ssl = tls_ssl_of(f->e.client.conn.transport);
    for (int i = 0; i < 900; i++) {
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        tls_end_say(&f->e, &f->e.client, "x", 1, 1);
    }
    assert_int_equal(f->e.server.got_len, 900);
    tls_end_say(&f->e, &f->e.server, "y", 1, 1);
    assert_int_equal(f->e.client.got_len, 1);
    for (int i = 0; i < 900 && !(f->e.server.conn.flags & CONN_ERROR); i++) {
        SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        tls_end_say(&f->e, &f->e.client, "x", 1, 1);
    }
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_true(conn_tls(&f->e.server.conn)->rekey_flood);
    assert_string_equal(conn_tls(&f->e.server.conn)->error,
                        "the peer changes keys or renegotiates too often");
}

static void a_peer_that_goes_during_the_handshake_is_an_error(void **state)
{
    struct tls_rig *f = *state;
    for (int steps = 0; steps < 6; steps++) {
        for (int how = 0; how < 4; how++) {
            tls_rig_again(f, 100);
            tls_ends_serve(&f->e, f->server);
            tls_ends_dial(&f->e, f->client, 0, NULL);
            reactor_dispatch(&f->e.r);
            for (int i = 0; i < steps; i++)
                pair_step(f->e.pair);
            if (how == 0)
                pair_fail_read(f->e.pair, TLS_ENDS_SERVER, UV_ETIMEDOUT);
            else if (how == 1)
                tls_end_close(&f->e, &f->e.client, false);
            else if (how == 2)
                tls_end_close(&f->e, &f->e.client, true);
            else
                pair_fail_write(f->e.pair, TLS_ENDS_SERVER, UV_EPIPE);
            tls_ends_settle(&f->e);
            assert_true(f->e.server.conn.flags & CONN_ERROR);
            assert_false(f->e.server.conn.flags & CONN_CONNECTED);
            assert_true(f->e.server.conn.error < 0);
            assert_non_null(conn_tls(&f->e.server.conn)->error);
        }
    }
}

static void it_may_be_closed_at_any_step(void **state)
{
    struct tls_rig *f = *state;
    for (int steps = 0; steps < 40; steps++) {
        for (int how = 0; how < 8; how++) {
            tls_rig_again(f, 700);
            tls_ends_serve(&f->e, f->server);
            tls_ends_dial(&f->e, f->client, 0, NULL);
            struct tls_end *first = how & 1 ? &f->e.server : &f->e.client;
            struct chain chain;
            chain_init(&chain);
            chain_copy_in(&chain, &f->e.r.bufs, f->big, 5000);
            if (how & 4)
                conn_send(&f->e.client.conn, &chain);
            else
                conn_send(&f->e.server.conn, &chain);
            reactor_dispatch(&f->e.r);
            for (int i = 0; i < steps; i++)
                pair_step(f->e.pair);
            tls_end_close(&f->e, first, how & 2);
            assert_true(first->freed);
        }
    }
}

static void a_dial_that_fails_is_told(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_dial(&f->e, f->client, 0, NULL);
    pair_connect(f->e.pair, TLS_ENDS_CLIENT, UV_ECONNREFUSED);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.client.conn.error, UV_ECONNREFUSED);
}

static void a_conn_that_has_ended_cannot_be_secured(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, NULL, NULL);
    conn_send_end(&f->e.client.conn);
    tls_ends_settle(&f->e);
    conn_secure_server(&f->e.server.conn, f->server);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_null(conn_tls(&f->e.server.conn));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, tls_rig_setup, tls_rig_teardown)
        T(a_write_that_fails_breaks_the_conn),
        T(a_write_that_fails_later_does_too),
        T(garbage_is_a_protocol_error),
        T(a_handshake_that_makes_no_sense_gets_an_alert),
        T(an_alert_leaves_after_a_close),
        T(an_alert_is_not_taken_away_by_a_reset),
        T(a_peer_that_does_not_heed_an_alert_is_cut),
        T(a_forged_record_is_an_error),
        T(keys_may_not_change_all_the_time),
        T(a_peer_that_goes_during_the_handshake_is_an_error),
        T(it_may_be_closed_at_any_step),
        T(a_dial_that_fails_is_told),
        T(a_conn_that_has_ended_cannot_be_secured),
#undef T
    };
    return cmocka_run_group_tests(tests, tls_rig_setup_all, tls_rig_teardown_all);
}
