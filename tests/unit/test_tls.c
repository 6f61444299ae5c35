/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS transport: bytes go both ways, whatever the wire does to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/pipe.h"
#include "tests/unit/tls_rig.h"

static void both_sides_know_what_was_agreed_on(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
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
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_say(&f->e, &f->e.client, "question", 8, 8);
    tls_end_say(&f->e, &f->e.server, "answer", 6, 6);
    tls_rig_got(&f->e.server, "question", 8);
    tls_rig_got(&f->e.client, "answer", 6);
    assert_int_equal(f->e.client.flushed, 8);
    assert_int_equal(conn_unsent(&f->e.client.conn), 0);
}

/* What is said before the handshake is done waits for it. */
static void what_is_queued_early_is_sent_once_it_is_up(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_serve(&f->e, f->server);
    tls_ends_dial(&f->e, f->client, 0, NULL);
    tls_end_say(&f->e, &f->e.client, "early", 5, 5);
    tls_rig_got(&f->e.server, "early", 5);
}

static void it_does_not_matter_where_bytes_are_split(void **state)
{
    struct tls_rig *f = *state;
    static const size_t limits[] = {1, 2, 3, 4, 5, 6, 7, 21, 22, 23, 100, 1000, 16384, 16406};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        tls_rig_again(f, TLS_RIG_CAPACITY);
        tls_ends_serve(&f->e, f->server);
        tls_ends_dial(&f->e, f->client, 0, NULL);
        pair_limit(f->e.pair, 0, limits[i]);
        pair_limit(f->e.pair, 1, limits[i]);
        size_t n = limits[i] < 100 ? 3000 : TLS_RIG_BIG;
        tls_end_say(&f->e, &f->e.client, f->big, n, 700);
        tls_end_say(&f->e, &f->e.server, f->big, n, 70000);
        tls_rig_got(&f->e.server, f->big, n);
        tls_rig_got(&f->e.client, f->big, n);
    }
}

static void a_wire_of_few_bytes_is_enough(void **state)
{
    struct tls_rig *f = *state;
    static const size_t capacities[] = {1, 2, 7, 100, 5000};
    for (size_t i = 0; i < ARRAY_LEN(capacities); i++) {
        tls_rig_again(f, capacities[i]);
        tls_ends_meet(&f->e, f->server, f->client);
        size_t n = capacities[i] < 100 ? 3000 : TLS_RIG_BIG;
        tls_end_say(&f->e, &f->e.client, f->big, n, 700);
        tls_end_say(&f->e, &f->e.server, f->big, n, 70000);
        tls_rig_got(&f->e.server, f->big, n);
        tls_rig_got(&f->e.client, f->big, n);
        assert_int_equal(f->e.client.flushed, n);
        assert_int_equal(f->e.server.flushed, n);
    }
}

/* A slow reader: what is taken is what has left, and little waits as ciphertext. */
static void backpressure_goes_through(void **state)
{
    struct tls_rig *f = *state;
    tls_rig_again(f, 1000);
    tls_ends_meet(&f->e, f->server, f->client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 16000);
    assert_true(f->e.server.flushed <= 1000);
    assert_int_equal(conn_unsent(&f->e.server.conn), TLS_RIG_BIG - f->e.server.flushed);
    assert_int_equal(f->e.client.got_len, 0);
    /* Of the 19 with what was said those that are encrypted are not kept: their ciphertext is. */
    assert_true(atomic_load(&f->e.r.bufs.blocks) < 19);
    tls_end_say(&f->e, &f->e.server, "more", 4, 4);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_int_equal(f->e.server.flushed, TLS_RIG_BIG + 4);
    assert_int_equal(f->e.client.got_len, TLS_RIG_BIG + 4);
    assert_memory_equal(f->e.client.got, f->big, TLS_RIG_BIG);
}

/* Both write much before either reads: neither waits for the other for ever. */
static void two_that_write_at_once_do_not_wait_for_one_another(void **state)
{
    struct tls_rig *f = *state;
    tls_rig_again(f, 1000);
    tls_ends_meet(&f->e, f->server, f->client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 16000);
    tls_end_say(&f->e, &f->e.client, f->big, TLS_RIG_BIG, 16000);
    tls_rig_got(&f->e.server, f->big, TLS_RIG_BIG);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    tls_rig_got(&f->e.client, f->big, TLS_RIG_BIG);
}

static void what_waits_decrypted_is_told_when_reading_goes_on(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
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
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    f->e.server.lazy = true;
    tls_end_say(&f->e, &f->e.client, f->big, 120000, 120000);
    size_t some = conn_input(&f->e.server.conn).len;
    assert_true(some > 0 && some < 120000);
    assert_true(f->e.server.conn.pause & PAUSE_FULL);
    f->e.server.lazy = false;
    conn_wake(&f->e.server.conn);
    tls_ends_settle(&f->e);
    tls_rig_got(&f->e.server, f->big, 120000);
}

static void small_pieces_share_a_record(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
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
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_say(&f->e, &f->e.client, f->big, TLS_RIG_BIG, 16000);
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 100);
    assert_int_equal(atomic_load(&f->e.r.bufs.blocks), 0);
    tls_ends_pass(&f->e, 5000); /* OpenSSL's go too, and come back */
    tls_end_say(&f->e, &f->e.client, f->big, 10, 10);
    tls_end_say(&f->e, &f->e.server, f->big, 10, 10);
    assert_int_equal(f->e.server.got_len, TLS_RIG_BIG + 10);
    assert_int_equal(f->e.client.got_len, TLS_RIG_BIG + 10);
}

/* Quiet in the middle of a record: its buffers must stay. */
static void quiet_within_a_record_loses_nothing(void **state)
{
    struct tls_rig *f = *state;
    for (size_t capacity = 1; capacity < 60; capacity++) {
        tls_rig_again(f, capacity);
        tls_ends_meet(&f->e, f->server, f->client);
        tls_end_say(&f->e, &f->e.client, "first", 5, 5);
        conn_pause(&f->e.server.conn, PAUSE_CREDIT);
        tls_end_say(&f->e, &f->e.client, "second", 6, 6);
        conn_resume(&f->e.server.conn, PAUSE_CREDIT);
        reactor_dispatch(&f->e.r);
        pair_step(f->e.pair);
        f->e.r.now_ms += 5000;
        wheel_advance(&f->e.r.wheel, reactor_now(&f->e.r));
        tls_ends_settle(&f->e);
        tls_rig_got(&f->e.server, "firstsecond", 11);
    }
}

/* A body that came through a pipe goes through memory again. */
static void what_is_in_a_pipe_is_read_from_it(void **state)
{
    struct tls_rig *f = *state;
    int fds[2];
    struct chain chain;
    tls_ends_meet(&f->e, f->server, f->client);
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

/* The first bytes were read before it was known that they are TLS. */
static void bytes_that_were_read_before_are_the_first(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_serve(&f->e, NULL);
    f->e.server.lazy = true;
    tls_ends_dial(&f->e, f->client, 0, NULL);
    tls_ends_settle(&f->e);
    assert_true(conn_input(&f->e.server.conn).len > 100);
    conn_secure_server(&f->e.server.conn, f->server);
    assert_int_equal(conn_input(&f->e.server.conn).len, 0);
    f->e.server.lazy = false;
    tls_end_say(&f->e, &f->e.client, "hello", 5, 5);
    tls_rig_got(&f->e.server, "hello", 5);
}

static void another_session_may_take_over(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
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
    tls_rig_got(&next, "bc", 2);
    tls_rig_got(&f->e.client, "d", 1);
    assert_true(conn_tls(&next.conn)->done);
    tls_end_close(&f->e, &next, false);
    free(next.got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, tls_rig_setup, tls_rig_teardown)
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
        T(what_is_in_a_pipe_is_read_from_it),
        T(bytes_that_were_read_before_are_the_first),
        T(another_session_may_take_over),
#undef T
    };
    return cmocka_run_group_tests(tests, tls_rig_setup_all, tls_rig_teardown_all);
}
