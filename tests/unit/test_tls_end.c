/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS transport: every way to end, in order or not, and what leaves before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/tls_rig.h"

static void an_orderly_end_is_read_as_one(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    conn_send_end(&f->e.client.conn);
    tls_end_say(&f->e, &f->e.client, "last", 4, 4);
    tls_rig_got(&f->e.server, "last", 4);
    assert_true(f->e.server.conn.flags & CONN_EOF);
    assert_false(f->e.server.conn.flags & CONN_ERROR);
    /* and the other direction is open */
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 16000);
    tls_rig_got(&f->e.client, f->big, TLS_RIG_BIG);
    conn_send_end(&f->e.server.conn);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.conn.flags & CONN_EOF);
}

static void an_end_follows_what_is_still_queued(void **state)
{
    struct tls_rig *f = *state;
    for (size_t capacity = 1; capacity < 40; capacity++) {
        tls_rig_again(f, capacity);
        tls_ends_meet(&f->e, f->server, f->client);
        conn_pause(&f->e.client.conn, PAUSE_CREDIT);
        tls_end_say(&f->e, &f->e.server, f->big, 200, 200);
        conn_send_end(&f->e.server.conn);
        tls_ends_settle(&f->e);
        conn_resume(&f->e.client.conn, PAUSE_CREDIT);
        tls_ends_settle(&f->e);
        tls_rig_got(&f->e.client, f->big, 200);
        assert_true(f->e.client.conn.flags & CONN_EOF);
    }
}

static void an_end_without_a_word_is_a_reset(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_say(&f->e, &f->e.client, "part", 4, 4);
    f->e.client.conn.transport->ops->read(f->e.client.conn.transport, false);
    pair_fail_write(f->e.pair, TLS_ENDS_CLIENT, UV_EPIPE); /* close_notify does not get through */
    tls_end_close(&f->e, &f->e.client, false);
    tls_rig_got(&f->e.server, "part", 4);
    assert_true(f->e.server.conn.flags & CONN_ERROR);
    assert_false(f->e.server.conn.flags & CONN_EOF);
    assert_int_equal(f->e.server.conn.error, UV_ECONNRESET);
}

static void a_close_says_goodbye(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_close(&f->e, &f->e.server, false);
    assert_true(f->e.client.conn.flags & CONN_EOF);
}

/* The server's bytes wait for a client that does not read. */
static void begin_stuck(struct tls_rig *f)
{
    tls_rig_again(f, 10);
    tls_ends_meet(&f->e, f->server, f->client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, 200, 200);
    assert_true(f->e.server.flushed < 200);
}

static void what_was_encrypted_leaves_after_a_close(void **state)
{
    struct tls_rig *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    assert_false(f->e.server.freed);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    tls_rig_got(&f->e.client, f->big, 200);
    assert_true(f->e.client.conn.flags & CONN_EOF);
    assert_false(f->e.client.conn.flags & CONN_ERROR);
    assert_true(f->e.server.freed);
}

static void it_has_a_second_to_leave(void **state)
{
    struct tls_rig *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    tls_ends_pass(&f->e, 900);
    assert_false(f->e.server.freed);
    tls_ends_pass(&f->e, 200);
    assert_true(f->e.server.freed);
}

static void a_peer_that_is_gone_is_not_waited_for(void **state)
{
    struct tls_rig *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, false);
    tls_end_close(&f->e, &f->e.client, true);
    assert_true(f->e.server.freed);
}

static void a_reset_does_not_wait(void **state)
{
    struct tls_rig *f = *state;
    begin_stuck(f);
    tls_end_close(&f->e, &f->e.server, true);
    assert_true(f->e.server.freed);
}

/* The conn has more that was never encrypted: the client must not take it for the end. */
static void what_is_cut_ends_without_a_goodbye(void **state)
{
    struct tls_rig *f = *state;
    tls_rig_again(f, 1000);
    tls_ends_meet(&f->e, f->server, f->client);
    conn_pause(&f->e.client.conn, PAUSE_CREDIT);
    tls_end_say(&f->e, &f->e.server, f->big, TLS_RIG_BIG, 16000);
    tls_end_close(&f->e, &f->e.server, false);
    conn_resume(&f->e.client.conn, PAUSE_CREDIT);
    tls_ends_settle(&f->e);
    assert_true(f->e.client.got_len < TLS_RIG_BIG);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_true(f->e.server.freed);
}

static void a_reset_is_an_error(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    tls_end_close(&f->e, &f->e.server, true);
    assert_true(f->e.client.conn.flags & CONN_ERROR);
    assert_int_equal(f->e.client.conn.error, UV_ECONNRESET);
}

static void what_came_before_an_error_is_read_first(void **state)
{
    struct tls_rig *f = *state;
    tls_ends_meet(&f->e, f->server, f->client);
    f->e.server.conn.read_cap = 5;
    tls_end_say(&f->e, &f->e.client, f->big, 5000, 5000);
    tls_end_close(&f->e, &f->e.client, false);
    assert_int_equal(f->e.server.got_len, 5000);
    assert_true(f->e.server.conn.flags & CONN_EOF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, tls_rig_setup, tls_rig_teardown)
        T(an_orderly_end_is_read_as_one),           T(an_end_follows_what_is_still_queued),
        T(an_end_without_a_word_is_a_reset),        T(a_close_says_goodbye),
        T(what_was_encrypted_leaves_after_a_close), T(it_has_a_second_to_leave),
        T(a_peer_that_is_gone_is_not_waited_for),   T(a_reset_does_not_wait),
        T(what_is_cut_ends_without_a_goodbye),      T(a_reset_is_an_error),
        T(what_came_before_an_error_is_read_first),
#undef T
    };
    return cmocka_run_group_tests(tests, tls_rig_setup_all, tls_rig_teardown_all);
}
