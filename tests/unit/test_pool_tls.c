/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools with TLS, whose upstream speaks what the handshake says: which requests share a conn, which
 * wait for a handshake, and what becomes of those.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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

/* ---- certificates change ---- */

static uint64_t changed(const struct pool_rig *f)
{
    return counter_get(&f->stats.reasons[REASON_UPSTREAM_TLS_CHANGED]);
}

static void wait_changed(struct pool_rig *f, uint64_t n)
{
    while (changed(f) < n)
        pool_rig_turn(f);
    assert_int_equal(changed(f), n);
}

static void begin_counted(struct pool_rig *f, enum pool_protocol protocol, uint8_t alpn)
{
    static struct counter reasons[REASON_COUNT];
    memset(reasons, 0, sizeof(reasons));
    f->stats.reasons = reasons;
    pool_rig_tls(f, protocol, alpn);
}

static void idle_is_closed(struct pool_rig *f, enum pool_protocol protocol)
{
    begin_counted(f, protocol, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    assert_int_equal(counter_get(&f->stats.conns), 1);
    pool_rig_secure(f);
    struct ask *b = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[1]);
    pool_rig_finish(f, b);
    wait_changed(f, 1);
    assert_int_equal(counter_get(&f->stats.conns), 1);
    assert_int_equal(counter_get(&f->stats.reused), 0);
    assert_true(pool_rig_ask(f, false)->stream->reused);
}

static void an_idle_conn_of_http1_is_closed(void **state)
{
    idle_is_closed(*state, POOL_H1);
}

static void an_idle_conn_of_http2_is_closed(void **state)
{
    idle_is_closed(*state, POOL_H2);
}

static void a_busy_conn_of_http1_serves_whom_it_serves(void **state)
{
    struct pool_rig *f = *state;
    begin_counted(f, POOL_H1, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false);
    while (f->n_conns == 0 || f->conns[0].n_ids == 0)
        pool_rig_turn(f);
    pool_rig_secure(f);
    struct ask *b = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    wait_changed(f, 1);
    pool_rig_answer(f, &f->conns[1]);
    pool_rig_finish(f, b);
    assert_true(a->ended && b->ended);
    assert_int_equal(counter_get(&f->stats.conns), 1);
}

/* It takes two: one conn has room when they change, the other none, and so is in no list. */
static void busy_conns_of_http2_serve_whom_they_serve(void **state)
{
    struct pool_rig *f = *state;
    begin_counted(f, POOL_H2, TLS_ALPN_H2);
    struct ask *first[3];
    for (unsigned i = 0; i < ARRAY_LEN(first); i++)
        first[i] = pool_rig_ask(f, false);
    while (f->n_conns < 2 || f->conns[0].n_ids + f->conns[1].n_ids < 3)
        pool_rig_turn(f);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    pool_rig_secure(f);
    struct ask *b = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[2]);
    pool_rig_finish(f, b);
    assert_int_equal(changed(f), 0);
    struct upstream *full = &f->conns[f->conns[0].n_ids == 2 ? 0 : 1];
    pool_rig_answer(f, full);
    struct ask *c = pool_rig_ask(f, false); /* though the full one has room again */
    pool_rig_answer(f, &f->conns[2]);
    pool_rig_finish(f, c);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[1]);
    for (unsigned i = 0; i < ARRAY_LEN(first); i++) {
        pool_rig_finish(f, first[i]);
        assert_true(first[i]->ended);
    }
    wait_changed(f, 2);
    assert_int_equal(counter_get(&f->stats.conns), 1);
    assert_int_equal(counter_get(&f->stats.opened), 3);
}

/* Its handshake has begun: who waits for it is served, who comes now is not. */
static void handshake_serves_who_waited(struct pool_rig *f, uint8_t alpn)
{
    begin_counted(f, POOL_AUTO, alpn);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_secure(f);
    struct ask *b = pool_rig_ask(f, false);
    assert_true(a->waited && b->waited);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[1]);
    pool_rig_finish(f, a);
    pool_rig_finish(f, b);
    assert_true(a->ended && b->ended);
    wait_changed(f, 1);
    assert_int_equal(counter_get(&f->stats.conns), 1);
}

static void a_handshake_of_before_serves_who_waited_by_http1(void **state)
{
    handshake_serves_who_waited(*state, TLS_ALPN_H1);
}

static void a_handshake_of_before_serves_who_waited_by_http2(void **state)
{
    handshake_serves_who_waited(*state, TLS_ALPN_H2);
}

/* Nobody waits any more: the conn is not kept. */
static void a_handshake_of_before_that_nobody_waits_for(void **state)
{
    struct pool_rig *f = *state;
    begin_counted(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_secure(f);
    pool_cancel(&a->wish);
    wait_changed(f, 1);
    assert_int_equal(counter_get(&f->stats.conns), 0);
}

static void a_conn_that_nobody_waits_for_ends_with_the_pool(void **state)
{
    struct pool_rig *f = *state;
    f->deaf = true;
    pool_rig_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = pool_rig_ask(f, false);
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
        TEST(an_idle_conn_of_http1_is_closed),
        TEST(an_idle_conn_of_http2_is_closed),
        TEST(a_busy_conn_of_http1_serves_whom_it_serves),
        TEST(busy_conns_of_http2_serve_whom_they_serve),
        TEST(a_handshake_of_before_serves_who_waited_by_http1),
        TEST(a_handshake_of_before_serves_who_waited_by_http2),
        TEST(a_handshake_of_before_that_nobody_waits_for),
    };
    return cmocka_run_group_tests(tests, pool_rig_setup_all, pool_rig_teardown_all);
}
