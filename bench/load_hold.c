/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idle: conns that had one answer and are held until stdin ends, to be there beside other load.
 * Prints a line when they are, and at the end how many are still open. One thread.
 */
#include "bench/load_modes.h"

#include <stdio.h>

#include "bench/load_report.h"

struct idle {
    struct requests requests;
    unsigned open, closed, failed; /* closed: by the peer, after it had been open */
    bool ready;
};

/* conn.number: whether it counts as open. */
static void on_up(struct net *n, struct conn *c)
{
    struct idle *l = n->owner;

    c->number = 0;
    net_send(n, c, requests_at(&l->requests, (uint64_t)(c - n->conns)), n->now_ns);
}

static void on_answered(struct net *n, struct conn *c)
{
    (void)n;
    (void)c;
}

static void on_ready(struct net *n, struct conn *c)
{
    struct idle *l = n->owner;

    c->number = 1;
    l->open++;
}

static bool on_lost(struct net *n, struct conn *c, enum load_error why, bool in_request)
{
    struct idle *l = n->owner;

    (void)in_request;
    if (why == ERROR_CONNECT && !l->ready)
        return true; /* a short backlog, say */
    if (c->number) {
        l->open--;
        l->closed++;
    } else {
        l->failed++;
    }
    c->number = 0;
    return false;
}

void mode_idle(const struct load_options *o)
{
    static const struct net_mode mode = {
        .up = on_up, .answered = on_answered, .ready = on_ready, .lost = on_lost};
    struct idle l = {0};
    struct net n;

    requests_init(&l.requests, o);
    net_init(&n, o, &mode, &l);
    net_open_all(&n);
    for (uint64_t until = n.now_ns + o->timeout_ns;
         l.open + l.closed + l.failed < o->connections && n.now_ns < until && !net_stopped();)
        net_turn(&n, until);
    l.ready = true;
    printf("{\"ready\":true,\"open\":%u}", l.open);
    report_line_end();

    uint64_t from = n.now_ns;
    for (net_watch_stdin(&n); !n.stdin_ended && !net_stopped();)
        net_turn(&n, UINT64_MAX);
    while (net_turn(&n, n.now_ns) > 0) { /* what has happened until now */
    }
    printf("{\"mode\":\"idle\",\"connections\":%u,\"seconds\":%.6f,\"open\":%u,\"closed\":%u,"
           "\"failed\":%u,",
           o->connections, (double)(n.now_ns - from) / 1e9, l.open, l.closed, l.failed);
    report_errors(&n);
    putchar(',');
    report_statuses(&n);
    putchar('}');
    report_line_end();
    net_fini(&n);
    requests_fini(&l.requests);
}
