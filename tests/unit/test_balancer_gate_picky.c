/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of a pool in which not everybody has a use of each endpoint: sessions that wait for
 * theirs keep nobody else out, and nobody is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "balancer/gate.h"

static void test_sessions_that_wait_keep_nobody_out(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(2, 2);
    uint32_t seen;
    bool wake;
    assert_true(lb_gate_enter(g, &seen));
    assert_true(lb_gate_queue_session(g, 0, g));
    assert_true(lb_gate_queue_session(g, 1, g));
    assert_false(lb_gate_queue_session(g, 1, g));
    assert_false(lb_gate_queue(g, 2, g, &wake)); /* the bound is for both kinds */
    assert_int_equal(lb_gate_counts(g).queued, 2);
    assert_true(lb_gate_enter(g, &seen));
    assert_false(lb_gate_freed(g)); /* the pool is full */
    assert_true(lb_gate_leave(g));
    assert_true(lb_gate_take(g, &seen));
    lb_gate_unqueue_session(g, 0, true);
    assert_true(lb_gate_queue(g, 2, g, &wake));
    assert_false(wake);
    assert_true(lb_gate_leave(g));
    lb_gate_unqueue_session(g, 1, true);
    lb_gate_unqueue(g, 2, true);
    assert_false(lb_gate_leave(g));
    lb_gate_free(g);
}

static void test_all_that_have_somebody_waiting_are_told(void **state)
{
    (void)state;
    struct lb_gate *g = lb_gate_new(1, 9);
    uint32_t who[LB_GATE_MEMBERS], from = 0;
    bool wake;
    assert_null(lb_gate_waiting(g, &from));
    assert_true(lb_gate_queue(g, 255, &who[255], &wake));
    assert_true(lb_gate_queue_session(g, 0, &who[0]));
    assert_true(lb_gate_queue_session(g, 63, &who[63]));
    assert_true(lb_gate_queue(g, 64, &who[64], &wake));
    from = 0;
    assert_ptr_equal(lb_gate_waiting(g, &from), &who[0]);
    assert_ptr_equal(lb_gate_waiting(g, &from), &who[63]);
    assert_ptr_equal(lb_gate_waiting(g, &from), &who[64]);
    assert_ptr_equal(lb_gate_waiting(g, &from), &who[255]);
    assert_null(lb_gate_waiting(g, &from));
    assert_null(lb_gate_waiting(g, &from));
    lb_gate_unqueue(g, 255, true);
    lb_gate_unqueue(g, 64, true);
    lb_gate_unqueue_session(g, 0, true);
    lb_gate_unqueue_session(g, 63, true);
    lb_gate_free(g);
}

/* ---- threads ---- */

#define WORKERS   4
#define ENDPOINTS 3
#define MOST      2 /* requests that one takes */
#define LIMIT     4
#define REQUESTS  20000 /* of each worker */
#define ANY       (-1)

/* A worker as exchange_admit.c makes one. */
struct worker {
    struct crowd *crowd;
    uint32_t index, left, plain, sessions[ENDPOINTS], in[ENDPOINTS];
    _Atomic bool woken;
};

struct crowd {
    struct lb_gate *gate;
    struct worker workers[WORKERS];
    _Atomic uint32_t in_flight[ENDPOINTS], waiting[ENDPOINTS];
};

static void wake(struct crowd *c)
{
    struct worker *w;
    uint32_t from = 0;
    while ((w = lb_gate_waiting(c->gate, &from)) != NULL)
        atomic_store(&w->woken, true);
}

static bool nobody_waits(const struct worker *w)
{
    uint32_t n = w->plain;
    for (unsigned e = 0; e < ENDPOINTS; e++)
        n += w->sessions[e];
    return n == 0;
}

static bool hold(struct worker *w, int e, bool claim)
{
    struct crowd *c = w->crowd;
    uint32_t n = atomic_load_explicit(&c->in_flight[e], memory_order_relaxed);
    if (!claim && atomic_load_explicit(&c->waiting[e], memory_order_relaxed) > 0)
        return false;
    do {
        if (n >= MOST)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&c->in_flight[e], &n, n + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    w->in[e]++;
    return true;
}

static bool hold_any(struct worker *w)
{
    for (int e = 0; e < ENDPOINTS; e++)
        if (hold(w, e, false))
            return true;
    return false;
}

static bool begin(struct worker *w, int e, bool waited, uint32_t seen)
{
    do {
        if (e == ANY ? hold_any(w) : hold(w, e, waited))
            return true;
    } while (!lb_gate_back(w->crowd->gate, &seen));
    return false;
}

static void come(struct worker *w, int e)
{
    struct crowd *c = w->crowd;
    uint32_t seen;
    bool room, in = lb_gate_enter(c->gate, &seen);
    w->left--;
    if (in && begin(w, e, false, seen))
        return;
    if (in && e != ANY) {
        assert_true(lb_gate_queue_session(c->gate, w->index, w));
        w->sessions[e]++;
        atomic_fetch_add_explicit(&c->waiting[e], 1, memory_order_relaxed);
        atomic_store(&w->woken, true);
        return;
    }
    assert_true(lb_gate_queue(c->gate, w->index, w, &room));
    w->plain++;
    if (room)
        wake(c);
}

static void serve_sessions(struct worker *w, int e)
{
    struct crowd *c = w->crowd;
    uint32_t seen;
    while (w->sessions[e] > 0 && lb_gate_take(c->gate, &seen) && begin(w, e, true, seen)) {
        w->sessions[e]--;
        bool last = atomic_fetch_sub_explicit(&c->waiting[e], 1, memory_order_relaxed) == 1;
        lb_gate_unqueue_session(c->gate, w->index, nobody_waits(w));
        if (last && lb_gate_freed(c->gate))
            wake(c);
    }
}

static void serve(struct worker *w)
{
    uint32_t seen;
    if (!atomic_exchange(&w->woken, false))
        return;
    for (int e = 0; e < ENDPOINTS; e++)
        serve_sessions(w, e);
    while (w->plain > 0 && lb_gate_take(w->crowd->gate, &seen) && begin(w, ANY, false, seen)) {
        w->plain--;
        lb_gate_unqueue(w->crowd->gate, w->index, nobody_waits(w));
    }
}

/* Whether there was one. */
static bool end_one(struct worker *w)
{
    struct crowd *c = w->crowd;
    for (int e = 0; e < ENDPOINTS; e++) {
        if (w->in[e] == 0)
            continue;
        w->in[e]--;
        atomic_fetch_sub_explicit(&c->in_flight[e], 1, memory_order_relaxed);
        if (lb_gate_freed(c->gate))
            wake(c);
        if (lb_gate_leave(c->gate))
            wake(c);
        return true;
    }
    return false;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    uint32_t turn = 0;
    bool busy = true;
    while (w->left > 0 || busy || !nobody_waits(w)) {
        turn++;
        serve(w);
        if (w->left > 0 && turn % 3 != w->index % 3) {
            come(w, (int)(turn % (ENDPOINTS + 1)) - 1);
            busy = true;
        } else if (!(busy = end_one(w))) {
            sched_yield(); /* one that nobody wakes any more stays here for good */
        }
    }
    return NULL;
}

static void test_nobody_is_forgotten_whatever_the_threads_do(void **state)
{
    (void)state;
    static struct crowd crowd;
    pthread_t threads[WORKERS];
    crowd.gate = lb_gate_new(LIMIT, LB_GATE_QUEUE_MAX);
    for (uint32_t i = 0; i < WORKERS; i++)
        crowd.workers[i] = (struct worker){.crowd = &crowd, .index = i, .left = REQUESTS};
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &crowd.workers[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(lb_gate_counts(crowd.gate).in_flight, 0);
    assert_int_equal(lb_gate_counts(crowd.gate).queued, 0);
    lb_gate_free(crowd.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_that_wait_keep_nobody_out),
        cmocka_unit_test(test_all_that_have_somebody_waiting_are_told),
        cmocka_unit_test(test_nobody_is_forgotten_whatever_the_threads_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
