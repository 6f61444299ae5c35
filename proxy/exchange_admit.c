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

/* There is room, and somebody waits: here, or with another worker. */
static void wake_next(struct admission *a)
{
    struct worker *w = lb_gate_next(a->gate);
    if (w == a->worker)
        admission_wake(a);
    else if (w != NULL)
        worker_order(w, WORKER_WAKE);
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
    uint64_t due_us = lb_queue_due_us(&a->queue);
    if (due_us == LB_QUEUE_NEVER)
        wheel_cancel(&a->timer);
    else
        wheel_set(&a->worker->reactor.wheel, &a->timer, due_us / 1000 + 1);
}

static void stop_waiting(struct admission *a, struct exchange *x)
{
    lb_queue_remove(&a->queue, &x->waiter);
    lb_gate_unqueue(a->gate, a->worker->index, a->queue.count == 0);
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
    bool wake;
    while (!lb_gate_queue(a->gate, a->worker->index, a->worker, &wake))
        if (!drop_other(a, x)) {
            exchange_fail(x, a->limits->queue == 0 ? REASON_REQUEST_LIMIT : REASON_QUEUE_FULL);
            return;
        }
    lb_queue_push(&a->queue, &x->waiter, x->turn_key, now_of(a));
    set_timer(a);
    if (wake)
        wake_next(a);
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
    if (!lb_gate_enter(a->gate, &seen) || !begin(a, x, seen))
        wait_turn(a, x);
}

/* One that has come in goes on counting as one that waits until it has found an endpoint, so that
 * whoever frees one wakes somebody. */
static void serve(struct admission *a)
{
    struct lb_waiter *waiter;
    uint32_t seen;
    while ((waiter = lb_queue_first(&a->queue, now_of(a))) != NULL &&
           lb_gate_take(a->gate, &seen)) {
        struct exchange *x = exchange_of_waiter(waiter);
        if (!begin(a, x, seen))
            return;
        if (!lb_waiter_waits(waiter)) /* it has ended at once */
            continue;
        lb_queue_serve(&a->queue, waiter);
        lb_gate_unqueue(a->gate, a->worker->index, a->queue.count == 0);
    }
}

static void refuse(struct admission *a)
{
    struct list_node *node;
    struct lb_waiter *waiter;
    while ((node = list_pop_front(&a->dropped)) != NULL)
        exchange_fail(exchange_of_waiter(CONTAINER_OF(node, lb_waiter, same)), REASON_QUEUE_FULL);
    while ((waiter = lb_queue_expired(&a->queue, now_of(a))) != NULL)
        exchange_fail(exchange_of_waiter(waiter), REASON_QUEUE_TIMEOUT);
}

static void admission_run(struct ready *ready)
{
    struct admission *a = CONTAINER_OF(ready, admission, ready);
    refuse(a);
    serve(a);
    set_timer(a);
    if (a->queue.count == 0 && lb_gate_idle_room(a->gate))
        wake_next(a);
}

/* ---- going ---- */

void exchange_endpoint_freed(struct exchange *x)
{
    if (lb_gate_freed(x->admission->gate))
        wake_next(x->admission);
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
        wake_next(a);
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
        wake_next(a);
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
    list_init(&a->dropped);
    list_init(&a->ready.link);
    wheel_timer_init(&a->timer, on_timer);
    return a;
}

void admission_free(struct admission *a)
{
    if (a == NULL)
        return;
    wheel_remove(&a->worker->reactor.wheel, &a->timer);
    CHECK(!list_linked(&a->ready.link));
    lb_queue_fini(&a->queue);
    free(a);
}
