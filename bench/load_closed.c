/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The closed loop: each conn sends its next request when it has its answer. It finds a server's
 * peak; its latencies are those of a load that waits for the server (see load_open.c). One thread.
 */
#include "bench/load_modes.h"

#include "bench/load_stretch.h"

struct closed_loop {
    const struct load_options *options;
    struct requests requests;
    uint64_t sent;
    struct list_node free; /* up before the start */
    unsigned busy;
    struct stretch stretch;
    struct result result;
};

static void send_next(struct net *n, struct conn *c)
{
    struct closed_loop *l = n->owner;

    if (!l->stretch.running)
        return;
    l->busy++;
    net_send(n, c, requests_at(&l->requests, l->sent++), n->now_ns);
}

static void on_up(struct net *n, struct conn *c)
{
    struct closed_loop *l = n->owner;

    if (l->stretch.running)
        send_next(n, c);
    else
        list_push_back(&l->free, &c->node);
}

static void on_answered(struct net *n, struct conn *c)
{
    struct closed_loop *l = n->owner;

    l->busy--;
    if (!stretch_counts(&l->stretch, n))
        return;
    l->result.requests++;
    if (c->answer.status / 100 == 2)
        hist_add(&l->result.latency, n->now_ns - c->since_ns);
}

static bool on_lost(struct net *n, struct conn *c, enum load_error why, bool in_request)
{
    struct closed_loop *l = n->owner;

    (void)c;
    (void)why;
    if (in_request)
        l->busy--;
    return l->stretch.running;
}

static void start(struct net *n, struct closed_loop *l)
{
    struct list_node *node;

    stretch_begin(&l->stretch, n);
    while ((node = list_pop_front(&l->free)))
        send_next(n, CONTAINER_OF(node, conn, node));
}

static void drain(struct net *n, const struct closed_loop *l)
{
    for (uint64_t end = n->now_ns + l->options->drain_ns;
         l->busy && n->now_ns < end && !net_stopped();)
        net_turn(n, end);
}

static void count_unfinished(const struct net *n, struct result *r)
{
    for (unsigned i = 0; i < n->options->connections; i++) {
        const struct conn *c = &n->conns[i];
        if (c->state != CONN_BUSY)
            continue;
        r->unfinished++;
        if (n->now_ns - c->since_ns > r->oldest_ns)
            r->oldest_ns = n->now_ns - c->since_ns;
    }
}

void mode_closed(const struct load_options *o)
{
    static const struct net_mode mode = {
        .up = on_up, .answered = on_answered, .ready = send_next, .lost = on_lost};
    static struct closed_loop l;
    struct net n, counted;

    l.options = o;
    hist_init(&l.result.latency);
    hist_init(&l.result.late);
    list_init(&l.free);
    requests_init(&l.requests, o);
    net_init(&n, o, &mode, &l);
    net_open_all(&n);
    start(&n, &l);
    stretch_run(&l.stretch, &n, &l.result);
    counted = n;
    drain(&n, &l);
    counted.total = n.total;
    l.result.in_time = l.result.requests;
    count_unfinished(&n, &l.result);
    report(&counted, &l.result);
    net_fini(&n);
    requests_fini(&l.requests);
}
