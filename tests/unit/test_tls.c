/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS transport: two conns over the in-memory pair, every split, every end, every error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/pipe.h"
#include "proxy/net/tls_ssl.h"
#include "tests/unit/cert_maker.h"
#include "tests/unit/tls_ends.h"

#define CAPACITY 65536

static struct cert_maker maker;
static struct tls_certs *certs;
static struct tls_trust *trust;
static struct tls_server_ctx *server;
static struct tls_client_ctx *client;

struct fixture {
    struct tls_ends e;
    char *big;
};
#define BIG 300000

static int setup_all(void **state)
{
    char *error = NULL;
    (void)state;
    cert_maker_init(&maker);
    cert_make(&maker, &(struct cert_spec){.file = "ca", .cn = "Test CA", .ca = true});
    cert_make(&maker, &(struct cert_spec){.file = "a", .issuer = "ca", .san = "DNS:a.example"});
    char path[CERT_PATH];
    snprintf(path, sizeof(path), "%s", cert_path(&maker, "a.crt"));
    const char *paths[] = {path};
    certs = tls_certs_load(paths, 1, &error);
    trust = tls_trust_load(cert_path(&maker, "ca.crt"), &error);
    struct tls_server_options so = {.alpn = TLS_ALPN_H1 | TLS_ALPN_H2};
    struct tls_client_options co = {.ca = trust, .server_name = "a.example", .alpn = TLS_ALPN_H2};
    server = tls_server_ctx_new(&so, certs, &error);
    client = tls_client_ctx_new(&co, &error);
    assert_null(error);
    assert_non_null(server);
    assert_non_null(client);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    tls_server_ctx_free(server);
    tls_client_ctx_free(client);
    tls_certs_unref(certs);
    tls_trust_free(trust);
    cert_maker_fini(&maker);
    return 0;
}

static void begin(struct fixture *f, size_t capacity)
{
    tls_ends_init(&f->e, capacity);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        f->big[i] = (char)(i * 7 + i / 251);
    begin(f, CAPACITY);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tls_ends_fini(&f->e);
    free(f->big);
    free(f);
    return 0;
}

static void again(struct fixture *f, size_t capacity)
{
    tls_ends_fini(&f->e);
    begin(f, capacity);
}

static void got_is(const struct tls_end *end, const char *bytes, size_t n)
{
    assert_int_equal(end->got_len, n);
    assert_memory_equal(end->got, bytes, n);
}

static void both_sides_know_what_was_agreed_on(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    assert_true(tls_end_up(&f->e.server));
    assert_true(tls_end_up(&f->e.client));
    const struct tls_info *s = conn_tls(&f->e.server.conn), *c = conn_tls(&f->e.client.conn);
    assert_string_equal(s->protocol, "TLSv1.3");
    assert_string_equal(s->cipher, "TLS_AES_128_GCM_SHA256");
    assert_true(span_eq(s->alpn, SPAN_LIT("h2")));
    assert_true(span_eq(c->alpn, SPAN_LIT("h2")));
    assert_true(span_eq(s->sni, SPAN_LIT("a.example")));
    assert_true(s->done && c->done && c->verified && !s->verified);
    assert_int_equal(s->subject.len, 0);
    assert_null(s->error);
}

static void bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_say(&f->e, &f->e.client, "question", 8, 8);
    tls_end_say(&f->e, &f->e.server, "answer", 6, 6);
    got_is(&f->e.server, "question", 8);
    got_is(&f->e.client, "answer", 6);
    assert_int_equal(f->e.client.flushed, 8);
    assert_int_equal(conn_unsent(&f->e.client.conn), 0);
}

/* What is said before the handshake is done waits for it. */
static void what_is_queued_early_is_sent_once_it_is_up(void **state)
{
    struct fixture *f = *state;
    tls_ends_serve(&f->e, server);
    tls_ends_dial(&f->e, client, 0, NULL);
    tls_end_say(&f->e, &f->e.client, "early", 5, 5);
    got_is(&f->e.server, "early", 5);
}

static void it_does_not_matter_where_bytes_are_split(void **state)
{
    struct fixture *f = *state;
    static const size_t limits[] = {1, 2, 3, 4, 5, 6, 7, 21, 22, 23, 100, 1000, 16384, 16406};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        again(f, CAPACITY);
        tls_ends_serve(&f->e, server);
        tls_ends_dial(&f->e, client, 0, NULL);
        pair_limit(f->e.pair, 0, limits[i]);
        pair_limit(f->e.pair, 1, limits[i]);
        size_t n = limits[i] < 100 ? 3000 : BIG;
        tls_end_say(&f->e, &f->e.client, f->big, n, 700);
        tls_end_say(&f->e, &f->e.server, f->big, n, 70000);
        got_is(&f->e.server, f->big, n);
        got_is(&f->e.client, f->big, n);
    }
}

static void a_wire_of_few_bytes_is_enough(void **state)
{
    struct fixture *f = *state;
    static const size_t capacities[] = {1, 2, 7, 100, 5000};
    for (size_t i = 0; i < ARRAY_LEN(capacities); i++) {
        again(f, capacities[i]);
        tls_ends_meet(&f->e, server, client);
        size_t n = capacities[i] < 100 ? 3000 : BIG;
        tls_end_say(&f->e, &f->e.client, f->big, n, 700);
        tls_end_say(&f->e, &f->e.server, f->big, n, 70000);
        got_is(&f->e.server, f->big, n);
        got_is(&f->e.client, f->big, n);
        assert_int_equal(f->e.client.flushed, n);
        assert_int_equal(f->e.server.flushed, n);
    }
}

/* A slow reader: what is taken is what has left, and little waits as ciphertext. */
static void backpressure_goes_through(void **state)
{
    struct fixture *f = *state;
    again(f, 1000);
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 16000);
    assert_true(f->e.server.flushed <= 1000);
    assert_int_equal(conn_unsent(&f->e.server.conn), BIG - f->e.server.flushed);
    assert_int_equal(f->e.client.got_len, 0);
    /* Of the 19 with what was said those that are encrypted are not kept: their ciphertext is. */
    assert_true(atomic_load(&f->e.r.bufs.blocks) < 19);
    tls_end_say(&f->e, &f->e.server, "more", 4, 4);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_int_equal(f->e.server.flushed, BIG + 4);
    assert_int_equal(f->e.client.got_len, BIG + 4);
    assert_memory_equal(f->e.client.got, f->big, BIG);
}

/* Both write much before either reads: neither waits for the other for ever. */
static void two_that_write_at_once_do_not_wait_for_one_another(void **state)
{
    struct fixture *f = *state;
    again(f, 1000);
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 16000);
    tls_end_say(&f->e, &f->e.client, f->big, BIG, 16000);
    got_is(&f->e.server, f->big, BIG);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    got_is(&f->e.client, f->big, BIG);
}

static void what_waits_decrypted_is_told_when_reading_goes_on(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    f->e.server.conn.read_cap = 10;
    f->e.server.lazy = true;
    tls_end_say(&f->e, &f->e.client, "0123456789abcdefghij", 20, 20);
    conn_pause(&f->e.server.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.client, "0123456789abcdefghij", 20, 20);
    assert_int_equal(conn_input(&f->e.server.conn).len, 20);
    conn_resume(&f->e.server.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_int_equal(conn_input(&f->e.server.conn).len, 40);
}

/* A pause in the middle of a record: its rest comes without another byte from below. */
static void a_pause_in_the_middle_of_a_record_holds(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    f->e.server.lazy = true;
    tls_end_say(&f->e, &f->e.client, f->big, 120000, 120000);
    size_t some = conn_input(&f->e.server.conn).len;
    assert_true(some > 0 && some < 120000);
    assert_true(f->e.server.conn.pause & PAUSE_FULL);
    f->e.server.lazy = false;
    conn_wake(&f->e.server.conn);
    tls_ends_settle(&f->e);
    got_is(&f->e.server, f->big, 120000);
}

static void small_pieces_share_a_record(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    size_t before = pair_room(f->e.pair, TLS_ENDS_SERVER);
    tls_end_say(&f->e, &f->e.server, f->big, 4000, 100);
    assert_int_equal(before - pair_room(f->e.pair, TLS_ENDS_SERVER), 4000 + 22);
    before = pair_room(f->e.pair, TLS_ENDS_SERVER);
    tls_end_say(&f->e, &f->e.server, f->big, 32000, 16000);
    assert_int_equal(before - pair_room(f->e.pair, TLS_ENDS_SERVER), 32000 + 2 * 22);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_int_equal(f->e.client.got_len, 36000);
}

static void an_idle_conn_owns_no_block(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_say(&f->e, &f->e.client, f->big, BIG, 16000);
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 100);
    assert_int_equal(atomic_load(&f->e.r.bufs.blocks), 0);
    tls_ends_pass(&f->e, 5000); /* OpenSSL's go too, and come back */
    tls_end_say(&f->e, &f->e.client, f->big, 10, 10);
    tls_end_say(&f->e, &f->e.server, f->big, 10, 10);
    assert_int_equal(f->e.server.got_len, BIG + 10);
    assert_int_equal(f->e.client.got_len, BIG + 10);
}

/* Quiet in the middle of a record: its buffers must stay. */
static void quiet_within_a_record_loses_nothing(void **state)
{
    struct fixture *f = *state;
    for (size_t capacity = 1; capacity < 60; capacity++) {
        again(f, capacity);
        tls_ends_meet(&f->e, server, client);
        tls_end_say(&f->e, &f->e.client, "first", 5, 5);
        conn_pause(&f->e.server.conn, PAUSE_CREDIT);
        tls_end_say(&f->e, &f->e.client, "second", 6, 6);
        conn_resume(&f->e.server.conn, PAUSE_CREDIT);
        reactor_dispatch(&f->e.r);
        pair_step(f->e.pair);
        f->e.r.now_ms += 5000;
        wheel_advance(&f->e.r.wheel, reactor_now(&f->e.r));
        tls_ends_settle(&f->e);
        got_is(&f->e.server, "firstsecond", 11);
    }
}

/* ---- ends ---- */

static void an_orderly_end_is_read_as_one(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    conn_send_end(&f->e.client.conn);
    tls_end_say(&f->e, &f->e.client, "last", 4, 4);
    got_is(&f->e.server, "last", 4);
    assert_true(f->e.server.conn.flags & CONN_EOF);
    assert_false(f->e.server.conn.flags & CONN_ERROR);
    /* and the other direction is open */
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 16000);
    got_is(&f->e.client, f->big, BIG);
    conn_send_end(&f->e.server.conn);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.conn.flags & CONN_EOF);
}

static void an_end_follows_what_is_still_queued(void **state)
{
    struct fixture *f = *state;
    for (size_t capacity = 1; capacity < 40; capacity++) {
        again(f, capacity);
        tls_ends_meet(&f->e, server, client);
        conn_pause(&f->e.client.conn, PAUSE_CREDIT);
        tls_end_say(&f->e, &f->e.server, f->big, 200, 200);
        conn_send_end(&f->e.server.conn);
        tls_ends_settle(&f->e);
        conn_resume(&f->e.client.conn, PAUSE_CREDIT);
        tls_ends_settle(&f->e);
        got_is(&f->e.client, f->big, 200);
        assert_true(f->e.client.conn.flags & CONN_EOF);
    }
}

static void an_end_without_a_word_is_a_reset(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_say(&f->e, &f->e.client, "part", 4, 4);
    f->e.client.conn.transport->ops->read(f->e.client.conn.transport, false);
    pair_fail_write(f->e.pair, TLS_ENDS_CLIENT, UV_EPIPE); /* close_notify does not get through */
    tls_end_close(&f->e, &f->e.client, false);
    got_is(&f->e.server, "part", 4);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_false(f->e.server.conn.flags & CONN_EOF);
    assert_int_equal(f->e.server.conn.error, UV_ECONNRESET);
}

static void a_close_says_goodbye(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_close(&f->e, &f->e.server, false);
    assert_true(f->e.client.conn.flags & CONN_EOF);
}

/* The server's bytes wait for a client that does not read. */
static void begin_stuck(struct fixture *f)
{
    again(f, 10);
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, 200, 200);
    assert_true(f->e.server.flushed < 200);
}

static void what_was_encrypted_leaves_after_a_close(void **state)
{
    struct fixture *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    assert_false(f->e.server.freed);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    got_is(&f->e.client, f->big, 200);
    assert_true(f->e.client.conn.flags & CONN_EOF);
    assert_false(f->e.client.conn.flags & CONN_ERROR);
    assert_true(f->e.server.freed);
}

static void it_has_a_second_to_leave(void **state)
{
    struct fixture *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    tls_ends_pass(&f->e, 900);
    assert_false(f->e.server.freed);
    tls_ends_pass(&f->e, 200);
    assert_true(f->e.server.freed);
}

static void a_peer_that_is_gone_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    tls_end_close(&f->e, &f->e.client, true);
    assert_true(f->e.server.freed);
}

static void a_reset_does_not_wait(void **state)
{
    struct fixture *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, true);
    assert_true(f->e.server.freed);
}

/* The conn has more that was never encrypted: the client must not take it for the end. */
static void what_is_cut_ends_without_a_goodbye(void **state)
{
    struct fixture *f = *state;
    again(f, 1000);
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 16000);
    tls_end_close(&f->e, &f->e.server, false);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.got_len < BIG);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_true(f->e.server.freed);
}

static void a_reset_is_an_error(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_close(&f->e, &f->e.server, true);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.client.conn.error, UV_ECONNRESET);
}

static void what_came_before_an_error_is_read_first(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    f->e.server.conn.read_cap = 5;
    tls_end_say(&f->e, &f->e.client, f->big, 5000, 5000);
    tls_end_close(&f->e, &f->e.client, false);
    assert_int_equal(f->e.server.got_len, 5000);
    assert_true(f->e.server.conn.flags & CONN_EOF);
}

/* ---- errors ---- */

static void a_write_that_fails_breaks_the_conn(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    pair_fail_write(f->e.pair, TLS_ENDS_SERVER, UV_EPIPE);
    tls_end_say(&f->e, &f->e.server, "x", 1, 1);
    assert_true(f->e.server.conn.flags & CONN_BROKEN);
    assert_int_equal(f->e.server.conn.error, UV_EPIPE);
    tls_end_say(&f->e, &f->e.client, "still read", 10, 10);
    got_is(&f->e.server, "still read", 10);
}

static void a_write_that_fails_later_does_too(void **state)
{
    struct fixture *f = *state;
    again(f, 1000);
    tls_ends_meet(&f->e, server, client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, BIG, 16000);
    pair_fail_write(f->e.pair, TLS_ENDS_SERVER, UV_ETIMEDOUT);
    tls_ends_settle(&f->e);
    assert_true(f->e.server.conn.flags & CONN_BROKEN);
    assert_int_equal(f->e.server.conn.error, UV_ETIMEDOUT);
}

static void garbage_is_a_protocol_error(void **state)
{
    struct fixture *f = *state;
    tls_ends_serve(&f->e, server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    tls_end_say(&f->e, &f->e.client, "GET / HTTP/1.1\r\n\r\n", 18, 18);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(conn_tls(&f->e.server.conn)->error, "http request");
}

static void a_handshake_that_makes_no_sense_gets_an_alert(void **state)
{
    struct fixture *f = *state;
    tls_ends_serve(&f->e, server);
    tls_ends_dial(&f->e, NULL, 0, NULL);
    tls_ends_settle(&f->e);
    tls_end_say(&f->e, &f->e.client, "\x16\x03\x01\x00\x04\xff\x00\x00\x00", 9, 9);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_true(f->e.client.got_len > 0);
    assert_int_equal(f->e.client.got[0], 0x15);
}

static void an_alert_leaves_after_a_close(void **state)
{
    struct fixture *f = *state;
    again(f, 3);
    tls_ends_serve(&f->e, server);
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
static void begin_alert(struct fixture *f, size_t more)
{
    again(f, CAPACITY);
    tls_ends_serve(&f->e, server);
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_say(&f->e, &f->e.client, "fine", 4, 4);
    struct chain forged;
    char record[5 + 30] = {0x17, 3, 3, 0, 30};
    chain_init(&forged);
    chain_copy_in(&forged, &f->e.r.bufs, record, sizeof(record));
    f->e.client.below->ops->write(f->e.client.below, &forged, false);
    tls_ends_settle(&f->e);
    got_is(&f->e.server, "fine", 4);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.server.conn.error, UV_EPROTO);
    assert_string_equal(conn_tls(&f->e.server.conn)->error, "decryption failed or bad record mac");
    tls_end_say(&f->e, &f->e.server, "x", 1, 1); /* goes nowhere */
    assert_true(f->e.client.conn.flags & CONN_ERROR);
}

/* Each change of keys costs the server more than the client. */
static void keys_may_not_change_all_the_time(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
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
    assert_string_equal(conn_tls(&f->e.server.conn)->error,
                        "the peer changes keys or renegotiates too often");
}

/* A body that came through a pipe goes through memory again. */
static void what_is_in_a_pipe_is_read_from_it(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    struct chain chain;
    tls_ends_meet(&f->e, server, client);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[1], f->big, 50000), 50000);
    struct block *pipe = pipe_get(&f->e.r);
    assert_non_null(pipe);
    pipe->cap = 50000;
    assert_int_equal(pipe_fill(pipe, fds[0]), 50000);
    chain_init(&chain);
    chain_copy_in(&chain, &f->e.r.bufs, "head", 4);
    chain_append(&chain, pipe, pipe->data, 50000);
    block_drop(pipe);
    chain_copy_in(&chain, &f->e.r.bufs, "tail", 4);
    conn_send(&f->e.server.conn, &chain);
    tls_ends_settle(&f->e);
    assert_int_equal(f->e.client.got_len, 50008);
    assert_memory_equal(f->e.client.got, "head", 4);
    assert_memory_equal(f->e.client.got + 4, f->big, 50000);
    assert_memory_equal(f->e.client.got + 50004, "tail", 4);
    close(fds[0]);
    close(fds[1]);
}

static void a_peer_that_goes_during_the_handshake_is_an_error(void **state)
{
    struct fixture *f = *state;
    for (int steps = 0; steps < 6; steps++) {
        for (int how = 0; how < 4; how++) {
            again(f, 100);
            tls_ends_serve(&f->e, server);
            tls_ends_dial(&f->e, client, 0, NULL);
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
    struct fixture *f = *state;
    for (int steps = 0; steps < 40; steps++) {
        for (int how = 0; how < 8; how++) {
            again(f, 700);
            tls_ends_serve(&f->e, server);
            tls_ends_dial(&f->e, client, 0, NULL);
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
    struct fixture *f = *state;
    tls_ends_dial(&f->e, client, 0, NULL);
    pair_connect(f->e.pair, TLS_ENDS_CLIENT, UV_ECONNREFUSED);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.client.conn.error, UV_ECONNREFUSED);
}

/* The first bytes were read before it was known that they are TLS. */
static void bytes_that_were_read_before_are_the_first(void **state)
{
    struct fixture *f = *state;
    tls_ends_serve(&f->e, NULL);
    f->e.server.lazy = true;
    tls_ends_dial(&f->e, client, 0, NULL);
    tls_ends_settle(&f->e);
    assert_true(conn_input(&f->e.server.conn).len > 100);
    conn_secure_server(&f->e.server.conn, server);
    assert_int_equal(conn_input(&f->e.server.conn).len, 0);
    f->e.server.lazy = false;
    tls_end_say(&f->e, &f->e.client, "hello", 5, 5);
    got_is(&f->e.server, "hello", 5);
}

static void a_conn_that_has_ended_cannot_be_secured(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, NULL, NULL);
    conn_send_end(&f->e.client.conn);
    tls_ends_settle(&f->e);
    conn_secure_server(&f->e.server.conn, server);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_null(conn_tls(&f->e.server.conn));
}

static void another_session_may_take_over(void **state)
{
    struct fixture *f = *state;
    tls_ends_meet(&f->e, server, client);
    tls_end_say(&f->e, &f->e.client, "a", 1, 1);
    struct tls_end next = {.attached = true};
    conn_init(&next.conn, &f->e.r, f->e.server.conn.ops, 0);
    f->e.server.lazy = true;
    tls_end_say(&f->e, &f->e.client, "b", 1, 1);
    conn_hand_over(&f->e.server.conn, &next.conn);
    tls_ends_settle(&f->e);
    assert_true(f->e.server.freed);
    tls_end_say(&f->e, &f->e.client, "c", 1, 1);
    tls_end_say(&f->e, &next, "d", 1, 1);
    got_is(&next, "bc", 2);
    got_is(&f->e.client, "d", 1);
    assert_true(conn_tls(&next.conn)->done);
    tls_end_close(&f->e, &next, false);
    free(next.got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(both_sides_know_what_was_agreed_on),
        T(bytes_go_both_ways),
        T(what_is_queued_early_is_sent_once_it_is_up),
        T(it_does_not_matter_where_bytes_are_split),
        T(a_wire_of_few_bytes_is_enough),
        T(backpressure_goes_through),
        T(two_that_write_at_once_do_not_wait_for_one_another),
        T(what_waits_decrypted_is_told_when_reading_goes_on),
        T(a_pause_in_the_middle_of_a_record_holds),
        T(small_pieces_share_a_record),
        T(an_idle_conn_owns_no_block),
        T(quiet_within_a_record_loses_nothing),
        T(an_orderly_end_is_read_as_one),
        T(an_end_follows_what_is_still_queued),
        T(an_end_without_a_word_is_a_reset),
        T(a_close_says_goodbye),
        T(what_was_encrypted_leaves_after_a_close),
        T(it_has_a_second_to_leave),
        T(a_peer_that_is_gone_is_not_waited_for),
        T(a_reset_does_not_wait),
        T(what_is_cut_ends_without_a_goodbye),
        T(a_reset_is_an_error),
        T(what_came_before_an_error_is_read_first),
        T(a_write_that_fails_breaks_the_conn),
        T(a_write_that_fails_later_does_too),
        T(garbage_is_a_protocol_error),
        T(a_handshake_that_makes_no_sense_gets_an_alert),
        T(an_alert_leaves_after_a_close),
        T(an_alert_is_not_taken_away_by_a_reset),
        T(a_peer_that_does_not_heed_an_alert_is_cut),
        T(a_forged_record_is_an_error),
        T(keys_may_not_change_all_the_time),
        T(what_is_in_a_pipe_is_read_from_it),
        T(a_peer_that_goes_during_the_handshake_is_an_error),
        T(it_may_be_closed_at_any_step),
        T(a_dial_that_fails_is_told),
        T(bytes_that_were_read_before_are_the_first),
        T(a_conn_that_has_ended_cannot_be_secured),
        T(another_session_may_take_over),
#undef T
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
