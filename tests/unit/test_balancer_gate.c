/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a pool: exact numbers over all workers, and nobody who waits is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "balancer/gate.h"
#include "proxy/base/check.h"

static void assert_counts(const struct lb_gate *g, uint32_t in_flight, uint32_t queued)
{
    struct lb_gate_counts counts = lb_gate_counts(g);
    assert_int_equal(counts.in_flight, in_flight);
    assert_int_equal(counts.queued, queued);
}

static void test_so_many_and_no_more(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(2, 0);
    uint32_t seen;
    assert_true(lb_gate_enter(g, &seen) && lb_gate_enter(g, &seen));
    assert_false(lb_gate_enter(g, &seen));
    assert_counts(g, 2, 0);
    assert_false(lb_gate_leave(g)); /* nobody is to be woken */
    assert_true(lb_gate_enter(g, &seen));
    assert_false(lb_gate_leave(g) || lb_gate_leave(g));
    assert_counts(g, 0, 0);
    lb_gate_free(g);
}

static void test_who_waits_comes_before_who_comes(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(1, 2);
    int who = 0;
    uint32_t seen;
    bool wake = true;
    assert_true(lb_gate_enter(g, &seen));
    assert_true(lb_gate_queue(g, 3, &who, &wake));
    assert_false(wake);
    assert_true(lb_gate_leave(g));
    assert_ptr_equal(lb_gate_next(g), &who);
    assert_false(lb_gate_enter(g, &seen));
    assert_true(lb_gate_take(g, &seen));
    assert_counts(g, 1, 1);
    lb_gate_unqueue(g, 3, true);
    assert_counts(g, 1, 0);
    assert_null(lb_gate_next(g));
    assert_false(lb_gate_leave(g));
    lb_gate_free(g);
}

static void test_only_so_many_wait(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(1, 2);
    uint32_t seen;
    bool wake;
    assert_true(lb_gate_enter(g, &seen));
    assert_true(lb_gate_queue(g, 0, g, &wake) && lb_gate_queue(g, 1, g, &wake));
    assert_false(lb_gate_queue(g, 2, g, &wake));
    assert_counts(g, 1, 2);
    lb_gate_unqueue(g, 0, true);
    assert_true(lb_gate_queue(g, 2, g, &wake));
    lb_gate_unqueue(g, 1, true);
    lb_gate_unqueue(g, 2, true);
    lb_gate_free(g);
}

static void test_members_are_woken_in_turn(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(1, 9);
    uint32_t at[] = {255, 0, 64, 63}, in_turn[] = {63, 64, 255, 0, 63, 64};
    uint32_t who[LB_GATE_MEMBERS], seen;
    bool wake;
    assert_true(lb_gate_enter(g, &seen));
    for (unsigned i = 0; i < ARRAY_LEN(at); i++)
        assert_true(lb_gate_queue(g, at[i], &who[at[i]], &wake));
    for (unsigned i = 0; i < ARRAY_LEN(in_turn); i++)
        assert_ptr_equal(lb_gate_next(g), &who[in_turn[i]]);
    for (unsigned i = 0; i < ARRAY_LEN(at); i++)
        lb_gate_unqueue(g, at[i], true);
    assert_null(lb_gate_next(g));
    lb_gate_free(g);
}

static void test_who_found_every_endpoint_full_is_told_of_one_that_was_freed_meanwhile(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(5, 5);
    uint32_t seen;
    bool wake;
    assert_true(lb_gate_enter(g, &seen));
    assert_false(lb_gate_freed(g)); /* nobody waits yet */
    assert_false(lb_gate_back(g, &seen));
    assert_true(lb_gate_back(g, &seen));
    assert_counts(g, 0, 0);
    assert_true(lb_gate_queue(g, 0, g, &wake));
    assert_true(wake); /* there is room: it has to look once more, now that it is seen to wait */
    assert_true(lb_gate_take(g, &seen));
    assert_true(lb_gate_back(g, &seen));
    assert_true(lb_gate_freed(g));
    lb_gate_unqueue(g, 0, true);
    lb_gate_free(g);
}

static void test_a_limit_that_is_raised_makes_room_and_one_that_is_lowered_waits(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(2, 5);
    uint32_t seen;
    bool wake;
    assert_true(lb_gate_enter(g, &seen) && lb_gate_enter(g, &seen));
    assert_true(lb_gate_queue(g, 0, g, &wake));
    assert_false(lb_gate_set_limit(g, 1));
    assert_false(lb_gate_leave(g));
    assert_false(lb_gate_take(g, &seen));
    assert_true(lb_gate_set_limit(g, 2));
    assert_true(lb_gate_idle_room(g));
    assert_true(lb_gate_take(g, &seen));
    lb_gate_unqueue(g, 0, true);
    lb_gate_free(g);
}

/* ---- threads ---- */

#define WORKERS  4
#define LIMIT    3
#define REQUESTS 20000 /* of each */

/* A worker as exchange_admit.c makes one, with one endpoint that takes fewer than the pool. */
struct worker {
    struct crowd *crowd;
    uint32_t index, waiting, in, left;
    _Atomic bool woken;
};

struct crowd {
    struct lb_gate *gate;
    struct worker workers[WORKERS];
    _Atomic uint32_t inside, endpoint, most;
};

#define ENDPOINT_MOST 2

static void wake_next(struct crowd *c)
{
    struct worker *w = lb_gate_next(c->gate);
    if (w != NULL)
        atomic_store(&w->woken, true);
}

static bool begin(struct worker *w, uint32_t seen)
{
    struct crowd *c = w->crowd;
    do {
        uint32_t n = atomic_load_explicit(&c->endpoint, memory_order_relaxed);
        while (n < ENDPOINT_MOST)
            if (atomic_compare_exchange_weak_explicit(&c->endpoint, &n, n + 1, memory_order_relaxed,
                                                      memory_order_relaxed)) {
                w->in++;
                return true;
            }
    } while (!lb_gate_back(c->gate, &seen));
    return false;
}

static void come(struct worker *w)
{
    uint32_t seen;
    bool wake;
    w->left--;
    if (lb_gate_enter(w->crowd->gate, &seen) && begin(w, seen))
        return;
    assert_true(lb_gate_queue(w->crowd->gate, w->index, w, &wake));
    w->waiting++;
    if (wake)
        wake_next(w->crowd);
}

static void serve(struct worker *w)
{
    struct lb_gate *g = w->crowd->gate;
    uint32_t seen;
    if (!atomic_exchange(&w->woken, false))
        return;
    while (w->waiting > 0 && lb_gate_take(g, &seen)) {
        if (!begin(w, seen))
            return;
        w->waiting--;
        lb_gate_unqueue(g, w->index, w->waiting == 0);
    }
    if (w->waiting == 0 && lb_gate_idle_room(g))
        wake_next(w->crowd);
}

static void end_one(struct worker *w)
{
    struct crowd *c = w->crowd;
    uint32_t n = lb_gate_counts(c->gate).in_flight;
    if (n > atomic_load(&c->most))
        atomic_store(&c->most, n);
    w->in--;
    atomic_fetch_sub_explicit(&c->endpoint, 1, memory_order_relaxed);
    if (lb_gate_freed(c->gate))
        wake_next(c);
    if (lb_gate_leave(c->gate))
        wake_next(c);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    uint32_t turn = 0;
    while (w->left > 0 || w->waiting > 0 || w->in > 0) {
        turn++;
        serve(w);
        if (w->left > 0 && w->waiting < 8 && turn % 3 != w->index % 3)
            come(w);
        else if (w->in > 0)
            end_one(w);
        else
            sched_yield(); /* one that nobody wakes any more stays here for good */
    }
    return NULL;
}

static void test_nobody_is_forgotten_whatever_the_threads_do(void **state)
{
    (void)state;
    struct crowd crowd = {.gate = lb_gate_new(LIMIT, WORKERS * 8)};
    pthread_t threads[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++)
        crowd.workers[i] = (struct worker){.crowd = &crowd, .index = i, .left = REQUESTS};
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &crowd.workers[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_in_range(atomic_load(&crowd.most), 1, LIMIT);
    assert_counts(crowd.gate, 0, 0);
    lb_gate_free(crowd.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_so_many_and_no_more),
        cmocka_unit_test(test_who_waits_comes_before_who_comes),
        cmocka_unit_test(test_only_so_many_wait),
        cmocka_unit_test(test_members_are_woken_in_turn),
        cmocka_unit_test(
            test_who_found_every_endpoint_full_is_told_of_one_that_was_freed_meanwhile),
        cmocka_unit_test(test_a_limit_that_is_raised_makes_room_and_one_that_is_lowered_waits),
        cmocka_unit_test(test_nobody_is_forgotten_whatever_the_threads_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
