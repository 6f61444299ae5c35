/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a TLS conn says has left: a request of which it says that it has not may be sent to another
 * endpoint, so that must be true to the byte. The wire takes exactly n bytes, for every n.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_client.h"
#include "tests/unit/h1_owner.h"
#include "tests/unit/tls_rig.h"

#define OVERHEAD 22 /* of a record of TLS 1.3 with AES-GCM */
#define WIDE     1000000

static struct tls_peers peers;

static int setup_all(void **state)
{
    (void)state;
    tls_peers_init(&peers, TLS_ALPN_H1, TLS_ALPN_H1);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    tls_peers_fini(&peers);
    return 0;
}

/* ---- the transport ---- */

/* Three records: what is large is never gathered with its neighbours. */
static const size_t pieces[] = {10, 8193, 20};

static size_t in_whole_records(size_t taken)
{
    size_t bytes = 0, end = 0;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        end += pieces[i] + OVERHEAD;
        if (end <= taken)
            bytes += pieces[i];
    }
    return bytes;
}

static void say_pieces(struct tls_ends *e, struct tls_end *end, const char *bytes)
{
    struct chain chain;
    chain_init(&chain);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct block *block = block_get(&e->r.bufs, true);
        memcpy(block->data, bytes, pieces[i]);
        chain_append(&chain, block, block->data, pieces[i]);
        block_drop(block);
        bytes += pieces[i];
    }
    conn_send(&end->conn, &chain);
    tls_ends_settle(e);
}

static void what_has_left_are_whole_records(void **state)
{
    size_t all = in_whole_records(SIZE_MAX), wire = all + ARRAY_LEN(pieces) * OVERHEAD;
    char *bytes = calloc(1, all);
    struct tls_ends e;
    (void)state;
    tls_ends_init(&e, WIDE);
    tls_ends_meet(&e, peers.server, peers.client);
    for (size_t n = 1; n <= wire + 1; n++) {
        e.client.flushed = e.server.got_len = 0;
        conn_pause(&e.server.conn, PAUSE_CREDIT);
        pair_capacity(e.pair, TLS_ENDS_CLIENT, n);
        say_pieces(&e, &e.client, bytes);
        assert_int_equal(e.client.flushed, in_whole_records(n));
        assert_int_equal(conn_unsent(&e.client.conn), all - in_whole_records(n));
        pair_capacity(e.pair, TLS_ENDS_CLIENT, WIDE);
        conn_resume(&e.server.conn, PAUSE_CREDIT);
        tls_ends_settle(&e);
        assert_int_equal(e.client.flushed, all);
        assert_int_equal(e.server.got_len, all);
    }
    tls_ends_fini(&e);
    free(bytes);
}

/* Somebody was told that it has not left. */
static void what_has_not_left_does_not_leave_after_a_close(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 40; n++) {
        struct tls_ends e;
        tls_ends_init(&e, WIDE);
        tls_ends_meet(&e, peers.server, peers.client);
        conn_pause(&e.server.conn, PAUSE_CREDIT);
        pair_capacity(e.pair, TLS_ENDS_CLIENT, n);
        tls_end_say(&e, &e.client, "0123456789", 10, 10);
        assert_int_equal(e.client.flushed, n < 10 + OVERHEAD ? 0 : 10);
        tls_end_close(&e, &e.client, false);
        pair_capacity(e.pair, TLS_ENDS_CLIENT, WIDE);
        conn_resume(&e.server.conn, PAUSE_CREDIT);
        tls_ends_settle(&e);
        assert_int_equal(e.server.got_len, e.client.flushed);
        tls_ends_fini(&e);
    }
}

/* The first records leave, and then nothing more: both are told. */
static void what_has_left_before_an_error_is_told(void **state)
{
    struct tls_ends e;
    char *bytes = calloc(1, in_whole_records(SIZE_MAX));
    (void)state;
    tls_ends_init(&e, WIDE);
    tls_ends_meet(&e, peers.server, peers.client);
    conn_pause(&e.server.conn, PAUSE_CREDIT);
    pair_capacity(e.pair, TLS_ENDS_CLIENT, 10 + OVERHEAD - 1);
    say_pieces(&e, &e.client, bytes);
    assert_int_equal(e.client.flushed, 0);
    pair_capacity(e.pair, TLS_ENDS_CLIENT, 10 + OVERHEAD);
    tls_ends_settle(&e);
    assert_int_equal(e.client.flushed, 10);
    pair_fail_write(e.pair, TLS_ENDS_CLIENT, UV_EPIPE);
    tls_ends_settle(&e);
    assert_int_equal(e.client.flushed, 10);
    assert_true(e.client.conn.flags & CONN_BROKEN);
    tls_ends_fini(&e);
    free(bytes);
}

/* ---- a request ---- */

#define HEAD "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
#define BODY "5\r\nhello\r\n0\r\n\r\n"

/* A POST to an upstream that ends the conn when its kernel has taken n bytes of it, and reads them
 * only then. */
static void post(struct owner *f, size_t n)
{
    owner_rewire(f, WIDE);
    wire_secure(&f->w, peers.server);
    conn_secure_client(h1_client_conn(f->client), peers.client, 0, NULL);
    owner_connect_up(f);
    wire_settle(&f->w);
    wire_read(&f->w, false);
    pair_capacity(f->w.pair, 0, n);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_send_bytes(f, "hello", 5);
    f->stream->ops->send_end(f->stream, NULL);
    owner_run(f);
    wire_end(&f->w);
    pair_capacity(f->w.pair, 0, WIDE);
    wire_read(&f->w, true);
}

static void a_post_is_unsent_only_if_it_never_arrives(void **state)
{
    struct owner *f = *state;
    const size_t wire = strlen(HEAD BODY) + OVERHEAD;
    for (size_t n = 1; n <= wire + 1; n++) {
        post(f, n);
        const char *notes = owner_notes(f);
        bool unsent = strstr(notes, "aborted upstream_unsent") != NULL;
        const char *got = wire_take(&f->w);
        assert_int_equal(unsent, n < wire);
        assert_string_equal(got, unsent ? "" : HEAD BODY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_left_are_whole_records),
        cmocka_unit_test(what_has_not_left_does_not_leave_after_a_close),
        cmocka_unit_test(what_has_left_before_an_error_is_told),
        cmocka_unit_test_setup_teardown(a_post_is_unsent_only_if_it_never_arrives, owner_setup,
                                        owner_teardown),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
