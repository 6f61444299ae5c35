/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools whose upstream speaks HTTP/2 by prior knowledge: which requests share a conn, and how many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/pool_rig.h"

static void requests_share_a_conn(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    pool_rig_finish(f, b);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    pool_rig_finish(f, a);
    struct ask *c = pool_rig_ask(f, false);
    assert_true(c->stream->reused);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, c);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    assert_int_equal(counter_get(&f->stats.reused), 1);
}

static void a_full_conn_is_joined_by_another(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false),
               *c = pool_rig_ask(f, false);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_answer(f, &f->conns[1]);
    pool_rig_finish(f, a);
    pool_rig_finish(f, b);
    pool_rig_finish(f, c);
    assert_true(a->ended && b->ended && c->ended);
}

/* The next conns are dialled at once, as many as it takes, and not one after another's word. */
static void how_many_a_conn_takes_is_remembered(void **state)
{
    struct pool_rig *f = *state;
    f->takes = 1;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false), *b = pool_rig_ask(f, false);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    pool_rig_failed(f, b, REASON_UPSTREAM_FULL);
    struct ask *c = pool_rig_ask(f, true), *d = pool_rig_ask(f, true);
    assert_int_equal(counter_get(&f->stats.opened), 3);
    for (int i = 0; i < 3; i++) {
        while (f->n_conns <= (unsigned)i)
            pool_rig_turn(f);
        pool_rig_answer(f, &f->conns[i]);
    }
    pool_rig_finish(f, a);
    pool_rig_finish(f, c);
    pool_rig_finish(f, d);
    assert_true(a->ended && c->ended && d->ended);
}

static void a_fresh_one_has_not_served(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    assert_false(pool_rig_ask(f, true)->stream->reused);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    assert_false(
        pool_rig_ask(f, true)->stream->reused); /* nor has the one that was dialled for the other */
    assert_int_equal(counter_get(&f->stats.opened), 2);
}

static void an_idle_conn_is_shed(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false);
    assert_false(pool_shed_idle(f->view));
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    while (!pool_shed_idle(f->view))
        pool_rig_turn(f);
    while (counter_get(&f->stats.conns) > 0)
        pool_rig_turn(f);
}

static void none_are_kept_when_none_may_be(void **state)
{
    struct pool_rig *f = *state;
    f->spec.max_idle = 0;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    while (counter_get(&f->stats.conns) > 0)
        pool_rig_turn(f);
}

static void nobody_listens(void **state)
{
    struct pool_rig *f = *state;
    close(f->listener);
    f->listener = -1;
    pool_rig_speak(f, POOL_H2);
    struct ask *a = pool_rig_ask(f, false);
    pool_rig_finish(f, a);
    assert_int_equal(a->reason, REASON_CONNECT_REFUSED);
}

static void plain_auto_is_http1(void **state)
{
    struct pool_rig *f = *state;
    pool_rig_speak(f, POOL_AUTO);
    struct ask *a = pool_rig_ask(f, false);
    assert_false(a->waited);
    pool_rig_answer(f, &f->conns[0]);
    pool_rig_finish(f, a);
    assert_true(a->ended);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pool_rig_setup, pool_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_share_a_conn),
        TEST(a_full_conn_is_joined_by_another),
        TEST(how_many_a_conn_takes_is_remembered),
        TEST(a_fresh_one_has_not_served),
        TEST(an_idle_conn_is_shed),
        TEST(none_are_kept_when_none_may_be),
        TEST(nobody_listens),
        TEST(plain_auto_is_http1),
    };
    return cmocka_run_group_tests(tests, pool_rig_setup_all, pool_rig_teardown_all);
}
