/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools with TLS, whose upstream speaks what the handshake says: which requests share a conn, which
 * wait for a handshake, and what becomes of those.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/pool_rig.h"

/* ---- TLS ---- */

static void tls_to_h1(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_H1, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = pool_rig_ask(f, false);
    assert_false(a->waited);
    pool_rig_answer(f, &f->conns[0]);
    assert_false(f->conns[0].h2);
    pool_rig_finish(f, a);
    assert_true(a->ended);
    assert_true(pool_rig_ask(f, false)->stream->reused);
}

static void tls_to_h2(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_H2, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    assert_false(a->waited);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    pool_rig_finish(f, b);
    assert_true(a->ended && b->ended);
    assert_int_equal(counter_get(&f->stats.opened), 1);
}

static void an_upstream_that_does_not_agree_on_h2(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_H2, 0);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_finish(f, a);
    assert_int_equal(a->reason, REASON_UPSTREAM_WRONG_PROTOCOL);
}

static void the_wrong_name(void **state)
{
    struct pool_rig *f = *state;
    static const uint8_t protocols[] = {POOL_H1, POOL_H2, POOL_AUTO};
    f->tls_options.server_name = "b.example";
    pool_rig_tls(f, POOL_H1, TLS_ALPN_H1 | TLS_ALPN_H2);
    for (unsigned i = 0; i < ARRAY_LEN(protocols); i++) {
        pool_close_idle(f->view);
        while (counter_get(&f->stats.conns) > 0)
            pool_rig_turn(f);
        pool_view_free(f->view);
        pool_rig_speak(f, (enum pool_protocol)protocols[i]);
        struct ask *a = pool_rig_ask(f, false);
        pool_rig_finish(f, a);
        assert_int_equal(a->reason, REASON_UPSTREAM_TLS_FAILED);
    }
}

/* ---- what the handshake says ---- */

static void all_wait_for_the_first_handshake_and_share(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    assert_true(a->waited && b->waited);
    while (f->n_conns == 0)
        pool_rig_turn(f);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    pool_rig_finish(f, b);
    assert_true(a->ended && b->ended && f->conns[0].h2);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    assert_false(pool_rig_ask(f, false)->waited);
}

/* It has room for two. */
static void those_it_has_no_room_for_wait_for_another(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1 | TLS_ALPN_H2);
    for (int i = 0; i < 3; i++)
        assert_true(pool_rig_ask(f, false)->waited);
    while (f->n_conns < 2)
        pool_rig_turn(f);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[1]);
    for (int i = 0; i < 3; i++)
        pool_rig_finish(f, &f->asks[i]);
    assert_int_equal(counter_get(&f->stats.opened), 2);
}

static void as_many_wait_for_a_handshake_as_the_conn_takes(void **state)
{
    struct pool_rig *f = *state;
    f->takes = 1;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    pool_rig_failed(f, b, REASON_UPSTREAM_FULL);
    assert_true(pool_rig_ask(f, true)->waited && pool_rig_ask(f, true)->waited);
    assert_int_equal(counter_get(&f->stats.opened), 3);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
}

static void an_upstream_of_http1_gets_a_conn_for_each(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1);
    for (int i = 0; i < 3; i++)
        assert_true(pool_rig_ask(f, false)->waited);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    while (f->n_conns < 3)
        pool_rig_turn(f);
    for (int i = 0; i < 3; i++)
        pool_rig_answer(f, &f->conns[i]);
    for (int i = 0; i < 3; i++)
        pool_rig_finish(f, &f->asks[i]);
    assert_int_equal(counter_get(&f->stats.opened), 3);
    assert_false(pool_rig_ask(f, false)->waited);
    assert_int_equal(counter_get(&f->stats.reused), 1);
}

static void who_waits_may_give_up(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    pool_cancel(&a->wish);
    while (f->n_conns == 0)
        pool_rig_turn(f);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, b);
    assert_true(b->ended && !a->ended);
    assert_int_equal(counter_get(&f->stats.opened), 1);
}

static void waiting_takes_too_long(void **state)
{
    struct pool_rig *f = *state;
    f->deaf = true; /* the kernel accepts, and nobody shakes hands */
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    f->r.now_ms += 60100; /* until the loop looks at the clock again */
    wheel_advance(&f->r.wheel, reactor_now(&f->r));
    reactor_dispatch(&f->r);
    assert_int_equal(a->reason, REASON_CONNECT_TIMEOUT);
    assert_int_equal(b->reason, REASON_CONNECT_TIMEOUT);
}

static void a_conn_that_nobody_waits_for_ends_with_the_pool(void **state)
{
    struct pool_rig *f = *state;
    f->deaf = true;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false);
    pool_close_idle(f->view);
    assert_int_equal(counter_get(&f->stats.conns), 1);
    pool_cancel(&a->wish);
    pool_close_idle(f->view);
    reactor_dispatch(&f->r);
    pool_rig_turn(f);
    assert_int_equal(counter_get(&f->stats.conns), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pool_rig_setup, pool_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tls_to_h1),
        TEST(tls_to_h2),
        TEST(an_upstream_that_does_not_agree_on_h2),
        TEST(the_wrong_name),
        TEST(all_wait_for_the_first_handshake_and_share),
        TEST(those_it_has_no_room_for_wait_for_another),
        TEST(as_many_wait_for_a_handshake_as_the_conn_takes),
        TEST(an_upstream_of_http1_gets_a_conn_for_each),
        TEST(who_waits_may_give_up),
        TEST(waiting_takes_too_long),
        TEST(a_conn_that_nobody_waits_for_ends_with_the_pool),
    };
    return cmocka_run_group_tests(tests, pool_rig_setup_all, pool_rig_teardown_all);
}
