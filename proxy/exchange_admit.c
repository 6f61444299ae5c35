/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Admission of exchanges to pools that take only so many. Owns a worker's queues; must never begin
 * an attempt without a place, nor leave somebody waiting while there is one (gate.h has the rule).
 * Worker's thread; whoever waits is only served from the dispatch loop.
 */
#include "proxy/exchange_admit.h"

#include <stdlib.h>

#include "balancer/gate.h"
#include "balancer/limit.h"
#include "proxy/base/mem.h"
#include "proxy/exchange_attempt.h"
#include "proxy/exchange_end.h"

struct admission {
    struct worker *worker;
    const struct pool_limits *limits;
    struct lb_gate *gate;
    struct lb_queue queue;
    struct lb_queue sessions; /* those that wait for the endpoint of theirs: by that */
    struct list_node dropped; /* those that had to make room: their waiter's `same` */
    struct ready ready;
    struct wheel_timer timer; /* the next that will have waited too long */
};

static uint64_t now_of(const struct admission *a)
{
    return reactor_us(&a->worker->reactor);
}

static struct exchange *exchange_of_waiter(struct lb_waiter *waiter)
{
    struct exchange *x = CONTAINER_OF(waiter, exchange, waiter);
    CHECK(x->magic == EXCHANGE_MAGIC);
    return x;
}

/* ---- waking ---- */

static void wake_one(struct admission *a, struct worker *w)
{
    if (w == a->worker)
        admission_wake(a);
    else if (w != NULL)
        worker_order(w, WORKER_WAKE);
}

/* There is room, and somebody waits: here, or with another worker. */
static void wake(struct admission *a)
{
    struct worker *w;
    uint32_t from = 0;
    if (!a->limits->picky)
        wake_one(a, lb_gate_next(a->gate));
    else
        while ((w = lb_gate_waiting(a->gate, &from)) != NULL)
            wake_one(a, w);
}

void admission_wake(struct admission *a)
{
    if (a != NULL)
        reactor_ready(&a->worker->reactor, &a->ready);
}

static void on_timer(struct wheel_timer *timer)
{
    admission_wake(CONTAINER_OF(timer, admission, timer));
}

/* ---- waiting ---- */

/* The next to be late; the timer may still be set for one that has gone. */
static void set_timer(struct admission *a)
{
    uint64_t due_us = lb_queue_due_us(&a->queue), session_us = lb_queue_due_us(&a->sessions);
    due_us = session_us < due_us ? session_us : due_us;
    if (due_us == LB_QUEUE_NEVER)
        wheel_cancel(&a->timer);
    else
        wheel_set(&a->worker->reactor.wheel, &a->timer, due_us / 1000 + 1);
}

static bool nobody_waits(const struct admission *a)
{
    return a->queue.count == 0 && a->sessions.count == 0;
}

/* It is in no queue any more. If it was the last that waited for its endpoint, others may have let
 * that be for its sake. */
static void waited(struct admission *a, struct exchange *x)
{
    if (!x->stays) {
        lb_gate_unqueue(a->gate, a->worker->index, nobody_waits(a));
        return;
    }
    x->stays = false;
    bool last = lb_wait_over(pool_lb(x->pool), x->stuck);
    lb_gate_unqueue_session(a->gate, a->worker->index, nobody_waits(a));
    if (last && lb_gate_freed(a->gate))
        wake(a);
}

static void stop_waiting(struct admission *a, struct exchange *x)
{
    lb_queue_remove(x->stays ? &a->sessions : &a->queue, &x->waiter);
    waited(a, x);
}

/* Somebody who waits makes room for x. False: nobody does. */
static bool drop_other(struct admission *a, const struct exchange *x)
{
    struct lb_waiter *victim = lb_queue_victim(&a->queue, x->turn_key, now_of(a));
    if (victim == NULL)
        return false;
    stop_waiting(a, exchange_of_waiter(victim));
    list_push_back(&a->dropped, &victim->same);
    admission_wake(a);
    return true;
}

static void wait_turn(struct admission *a, struct exchange *x)
{
    bool room;
    while (!lb_gate_queue(a->gate, a->worker->index, a->worker, &room))
        if (!drop_other(a, x)) {
            exchange_fail(x, a->limits->queue == 0 ? REASON_REQUEST_LIMIT : REASON_QUEUE_FULL);
            return;
        }
    lb_queue_push(&a->queue, &x->waiter, x->turn_key, now_of(a));
    set_timer(a);
    if (room)
        wake(a);
}

/* The session's endpoint has no room: it waits for that, as with HAProxy, for being full is not
 * being gone. again: it has waited among the others. False: it belongs to none, or too many wait.
 */
static bool wait_home(struct admission *a, struct exchange *x, bool again)
{
    if (!lb_keeps_session(pool_lb(x->pool), x->stuck, now_of(a)) ||
        !lb_gate_queue_session(a->gate, a->worker->index, a->worker))
        return false;
    x->stays = true;
    lb_wait(pool_lb(x->pool), x->stuck);
    (again ? lb_queue_rejoin : lb_queue_push)(&a->sessions, &x->waiter, (uint64_t)x->stuck,
                                              now_of(a));
    admission_wake(a); /* it may have got room just now */
    return true;
}

/* ---- coming in ---- */

/* The exchange is in. False: no endpoint has room, and it is out again. */
static bool begin(struct admission *a, struct exchange *x, uint32_t seen)
{
    x->admitted = true;
    x->admitted_us = now_of(a);
    do {
        if (attempt_first(x))
            return true;
    } while (!lb_gate_back(a->gate, &seen));
    x->admitted = false;
    x->admitted_us = 0;
    return false;
}

void exchange_queue_up(struct exchange *x, struct admission *a)
{
    x->admission = a;
    lb_waiter_init(&x->waiter);
    x->turn_key = a->limits->key.kind != BALANCE_KEY_NONE
                      ? balance_key_hash(&a->limits->key, x->request, x->peer)
                      : x->key;
}

void exchange_admit(struct exchange *x)
{
    struct admission *a = x->admission;
    uint32_t seen;
    bool in = lb_gate_enter(a->gate, &seen);
    if (in && begin(a, x, seen))
        return;
    if (in && x->stuck != LB_NONE) {
        if (wait_home(a, x, false))
            return;
        x->stuck = LB_NONE; /* it cannot wait for its endpoint: it moves to another */
        in = lb_gate_enter(a->gate, &seen);
        if (in && begin(a, x, seen))
            return;
    }
    wait_turn(a, x);
}

/* The first in the queue has found no endpoint. Those behind it may, if it was one of a session. */
static bool step_aside(struct admission *a, struct exchange *x)
{
    if (x->stuck == LB_NONE)
        return false;
    if (!lb_keeps_session(pool_lb(x->pool), x->stuck, now_of(a))) {
        x->stuck = LB_NONE;
        return true;
    }
    stop_waiting(a, x);
    if (!wait_home(a, x, true)) {
        x->stuck = LB_NONE;
        wait_turn(a, x);
    }
    return true;
}

/* One that has come in goes on counting as one that waits until it has found an endpoint, so that
 * whoever frees one wakes somebody. */
static bool serve(struct admission *a, struct lb_queue *q, struct lb_waiter *waiter, uint32_t seen)
{
    struct exchange *x = exchange_of_waiter(waiter);
    if (!begin(a, x, seen))
        return false;
    if (lb_waiter_waits(waiter)) { /* else it has ended at once */
        lb_queue_serve(q, waiter);
        waited(a, x);
    }
    return true;
}

static void serve_queue(struct admission *a)
{
    struct lb_waiter *waiter;
    uint32_t seen;
    while ((waiter = lb_queue_first(&a->queue, now_of(a))) != NULL && lb_gate_take(a->gate, &seen))
        if (!serve(a, &a->queue, waiter, seen) && !step_aside(a, exchange_of_waiter(waiter)))
            return;
}

/* Before the others, who may go to any endpoint. */
static void serve_sessions(struct admission *a)
{
    struct lb_waiter *waiter;
    uint32_t seen, full = 0; /* endpoints, in a row */
    while (full < a->sessions.keys && (waiter = lb_queue_first(&a->sessions, now_of(a))) != NULL &&
           lb_gate_take(a->gate, &seen)) {
        if (serve(a, &a->sessions, waiter, seen)) {
            full = 0;
        } else {
            lb_queue_pass(&a->sessions);
            full++;
        }
    }
}

static void refuse(struct admission *a)
{
    struct list_node *node;
    struct lb_waiter *waiter;
    while ((node = list_pop_front(&a->dropped)) != NULL)
        exchange_fail(exchange_of_waiter(CONTAINER_OF(node, lb_waiter, same)), REASON_QUEUE_FULL);
    while ((waiter = lb_queue_expired(&a->queue, now_of(a))) != NULL ||
           (waiter = lb_queue_expired(&a->sessions, now_of(a))) != NULL)
        exchange_fail(exchange_of_waiter(waiter), REASON_QUEUE_TIMEOUT);
}

static void admission_run(struct ready *ready)
{
    struct admission *a = CONTAINER_OF(ready, admission, ready);
    refuse(a);
    serve_sessions(a);
    serve_queue(a);
    set_timer(a);
    if (!a->limits->picky && a->queue.count == 0 && lb_gate_idle_room(a->gate))
        wake(a);
}

/* ---- going ---- */

void exchange_endpoint_freed(struct exchange *x)
{
    if (lb_gate_freed(x->admission->gate))
        wake(x->admission);
}

void exchange_unpick(struct exchange *x)
{
    if (lb_unpicked(pool_lb(x->pool), reactor_us(&x->worker->reactor)) && x->admission != NULL)
        exchange_endpoint_freed(x);
}

/* What it tells of how much the pool can take. Nothing, if the client has gone or the endpoint has
 * failed fast. */
static void learn(struct admission *a, const struct exchange *x, enum reason reason)
{
    bool answered = x->committed && x->attempt->head_us != 0;
    bool late = !answered && reason_row(reason)->status == 504;
    bool overloaded = late || x->status == 429 || x->status == 503;
    uint64_t now = now_of(a);
    if (!late && (!answered || (x->status >= 500 && !overloaded)))
        return;
    uint64_t end = answered ? x->attempt->head_us : now;
    uint32_t limit = lb_limit_sample(a->limits->limit, end - x->attempt->start_us,
                                     lb_gate_counts(a->gate).in_flight, overloaded, now);
    if (limit > 0 && lb_gate_set_limit(a->gate, limit))
        wake(a);
}

void exchange_leave(struct exchange *x, enum reason reason)
{
    struct admission *a = x->admission;
    if (lb_waiter_waits(&x->waiter))
        stop_waiting(a, x);
    list_unlink(&x->waiter.same); /* it may have been told to go */
    if (!x->admitted)
        return;
    if (a->limits->limit != NULL && x->attempts > 0)
        learn(a, x, reason);
    x->admitted = false;
    if (lb_gate_leave(a->gate))
        wake(a);
}

/* ---- life ---- */

struct admission *admission_new(struct worker *w, const struct pool_limits *limits)
{
    if (limits->gate == NULL)
        return NULL;
    struct admission *a = mem_need(calloc(1, sizeof(*a)));
    struct lb_queue_rule rule = {
        .wait_us = limits->wait_ms * UINT64_C(1000),
        .adaptive = !limits->fifo,
        .keyed = true,
    };
    a->worker = w;
    a->limits = limits;
    a->gate = limits->gate;
    a->ready.run = admission_run;
    lb_queue_init(&a->queue, &rule, limits->queue);
    lb_queue_init(&a->sessions, &rule, limits->picky ? limits->queue : 0);
    list_init(&a->dropped);
    list_init(&a->ready.link);
    wheel_timer_init(&a->timer, on_timer);
    return a;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    if (lb_gate_idle_room(
            a->gate)) /* it may have been woken instead of those that wait elsewhere */
        wake(a);
    wheel_remove(&a->worker->reactor.wheel, &a->timer);
    list_unlink(&a->ready.link);
    lb_queue_fini(&a->queue);
    lb_queue_fini(&a->sessions);
    free(a);
}
