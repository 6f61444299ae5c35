/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The open loop: requests come at a fixed rate, as from many users who don't know of one another,
 * and a server that stalls does not make them wait.
 *
 * A closed loop sends the next request when the last was answered, so a stall of a second over ten
 * conns is ten slow samples: the load generator omits just those requests that would have shown it,
 * in step with the server (Gil Tene's "coordinated omission"). Here every request has a time at
 * which it is due, on a schedule fixed beforehand; if no conn is free by then it waits for one in
 * the order of the schedule, and its latency counts from when it was due. So the same stall at 1000
 * requests a second is a thousand samples. A request that has no answer at the end counts with
 * the age that it has reached; one that failed is an error and, but for a timeout, no sample.
 *
 * What this program itself adds is shown as generator_late_us: the time from when a request was
 * both due and had a free conn until it was sent. One thread.
 */
#include "bench/load_modes.h"

#include <math.h>
#include <stdlib.h>

#include "bench/load_report.h"
#include "bench/load_schedule.h"

struct open_loop {
    const struct load_options *options;
    struct requests requests;
    struct schedule schedule;
    uint64_t first, last; /* the requests that are measured: first <= i < last */
    uint64_t next;        /* the next to be sent; those before have been */
    uint64_t from_ns, to_ns;
    struct list_node free; /* the conn that has been free the longest is used first */
    unsigned busy;
    bool started, measuring;
    double cpu_before;
    struct result result;
};

static void on_up(struct net *n, struct conn *c)
{
    struct open_loop *l = n->owner;

    list_push_back(&l->free, &c->node);
}

static bool is_measured(const struct open_loop *l, uint64_t number)
{
    return number >= l->first && number < l->last;
}

static void on_answered(struct net *n, struct conn *c)
{
    struct open_loop *l = n->owner;
    struct result *r = &l->result;

    l->busy--;
    if (!is_measured(l, c->number))
        return;
    r->requests++;
    r->in_time += n->now_ns <= l->to_ns;
    if (c->answer.status / 100 == 2)
        hist_add(&r->latency, n->now_ns - c->since_ns);
}

static void send_next(struct net *n, struct conn *c, struct open_loop *l)
{
    uint64_t due = schedule_due(&l->schedule, l->next);
    uint64_t could = due > c->free_ns ? due : c->free_ns;

    if (is_measured(l, l->next))
        hist_add(&l->result.late, n->now_ns - could);
    c->number = l->next;
    l->busy++;
    net_send(n, c, requests_at(&l->requests, l->next++), due);
}

static bool is_due(const struct net *n, const struct open_loop *l)
{
    return l->started && l->next < l->last && schedule_due(&l->schedule, l->next) <= n->now_ns;
}

static void send_due(struct net *n, struct open_loop *l)
{
    while (!list_empty(&l->free) && is_due(n, l))
        send_next(n, CONTAINER_OF(list_pop_front(&l->free), conn, node), l);
}

/* Takes its turn behind the other free ones; if there are any, nothing else is waiting. */
static void on_ready(struct net *n, struct conn *c)
{
    struct open_loop *l = n->owner;

    list_push_back(&l->free, &c->node);
    send_due(n, l);
}

static bool on_lost(struct net *n, struct conn *c, enum load_error why, bool in_request)
{
    struct open_loop *l = n->owner;

    if (in_request) {
        l->busy--;
        if (why == ERROR_TIMEOUT && is_measured(l, c->number))
            hist_add(&l->result.latency, n->now_ns - c->since_ns);
    }
    return true;
}

static void begin_measuring(struct net *n, struct open_loop *l)
{
    l->measuring = true;
    l->cpu_before = report_cpu();
    net_begin_measuring(n);
}

/* Those on a conn, and those that waited for one until now. */
static void count_unfinished(struct net *n, struct open_loop *l)
{
    struct result *r = &l->result;

    for (unsigned i = 0; i < n->options->connections; i++) {
        const struct conn *c = &n->conns[i];
        if (c->state != CONN_BUSY || !is_measured(l, c->number))
            continue;
        uint64_t age = n->now_ns - c->since_ns;
        hist_add(&r->latency, age);
        r->unfinished++;
        if (age > r->oldest_ns)
            r->oldest_ns = age;
    }
    for (uint64_t i = l->next > l->first ? l->next : l->first; i < l->last; i++) {
        uint64_t due = schedule_due(&l->schedule, i);
        if (due > n->now_ns)
            return; /* ended by a signal: this was not due yet */
        hist_add(&r->latency, n->now_ns - due);
        r->unfinished++;
        if (n->now_ns - due > r->oldest_ns)
            r->oldest_ns = n->now_ns - due;
    }
}

static void start(struct net *n, struct open_loop *l)
{
    const struct load_options *o = l->options;

    n->now_ns = net_clock();
    l->schedule = schedule_at(n->now_ns, o->rate);
    l->from_ns = n->now_ns + o->warmup_ns;
    l->to_ns = l->from_ns + o->measured_ns;
    l->first = schedule_count(&l->schedule, o->warmup_ns);
    l->last = l->first + schedule_count(&l->schedule, o->measured_ns);
    l->started = true;
}

static void run(struct net *n, struct open_loop *l)
{
    uint64_t end = l->to_ns + l->options->drain_ns;

    while (n->now_ns < end && !net_stopped()) {
        if (!l->measuring && n->now_ns >= l->from_ns)
            begin_measuring(n, l);
        send_due(n, l);
        if (l->next == l->last && l->busy == 0 && n->now_ns >= l->to_ns)
            break;
        uint64_t wake = l->measuring ? end : l->from_ns;
        if (n->now_ns < l->to_ns && wake > l->to_ns)
            wake = l->to_ns;
        if (l->next < l->last && !list_empty(&l->free)) {
            uint64_t due = schedule_due(&l->schedule, l->next);
            wake = due < wake ? due : wake;
        }
        net_turn(n, wake);
    }
}

void mode_open(const struct load_options *o)
{
    static const struct net_mode mode = {
        .up = on_up, .answered = on_answered, .ready = on_ready, .lost = on_lost};
    static struct open_loop l; /* its histograms are large for a stack */
    struct net n;

    l.options = o;
    hist_init(&l.result.latency);
    hist_init(&l.result.late);
    list_init(&l.free);
    requests_init(&l.requests, o);
    net_init(&n, o, &mode, &l);
    net_open_all(&n);
    start(&n, &l);
    run(&n, &l);
    l.result.cpu_seconds = report_cpu() - l.cpu_before;
    if (l.measuring) /* else it was ended before */
        l.result.seconds = (double)((n.now_ns < l.to_ns ? n.now_ns : l.to_ns) - l.from_ns) / 1e9;
    count_unfinished(&n, &l);
    report(&n, &l.result);
    net_fini(&n);
    requests_fini(&l.requests);
}
