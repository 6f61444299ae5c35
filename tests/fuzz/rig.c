/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world around one worker: the configuration, the dials, the clock and the script. Owns the
 * worker and all peers; the worker must be empty by itself before it is taken apart. One thread.
 */
#include "tests/fuzz/rig_h2.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/gate.h"
#include "balancer/quantile.h"
#include "proxy/base/check.h"

#define START_MS UINT64_C(1000000)
#define NO_END   200000 /* steps or clocks after which something goes round in circles */
#define BULK_MAX 300000 /* bytes that one peer says */

enum dial {
    DIAL_UP,
    DIAL_LATER, /* comes up when its upstream is selected */
    DIAL_NEVER,
    DIAL_REFUSED,
    DIAL_UNREACHABLE,
    DIAL_NO_DESCRIPTOR, /* fails before it begins */
    DIAL_NO_ADDRESS,
    DIAL_RESET_SOON, /* comes up and is reset */
};

/* ---- telling ---- */

void rig_tell(const struct rig *rig, const char *format, ...)
{
    if (rig->trace == NULL)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(rig->trace, format, args);
    va_end(args);
    fputc('\n', rig->trace);
    fflush(rig->trace);
}

void rig_fail(const struct rig *rig, const char *format, ...)
{
    va_list args;
    (void)rig;
    va_start(args, format);
    fputs("rig: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* ---- the clock and the dials ---- */

static uint64_t clock_us; /* of the one rig there is */

static uint64_t fake_hrtime(void)
{
    return clock_us * 1000;
}

static struct rig *rig_of(struct reactor *r)
{
    return CONTAINER_OF(CONTAINER_OF(r, worker, reactor), rig, w);
}

static void dial_done(struct rig_peer *p, int status)
{
    p->dialled = true;
    p->up = status == 0;
    pair_connect(p->pair, 0, status);
}

static struct transport *fake_dial(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                                   const struct transport_events *events, void *owner, int *err)
{
    struct rig *rig = rig_of(r);
    unsigned how = rig->dials > 0 ? rig->dial : DIAL_UP;
    (void)within_ms;
    rig->dials -= rig->dials > 0;
    rig_tell(rig, "  dials %u: %u", net_addr_port(to), how);
    *err = how == DIAL_NO_DESCRIPTOR || rig->n_upstreams == RIG_PEERS ? UV_EMFILE
           : how == DIAL_NO_ADDRESS                                   ? UV_EADDRNOTAVAIL
                                                                      : 0;
    if (*err != 0)
        return NULL;
    struct rig_peer *p = rig->upstreams[rig->n_upstreams++] = peer_new(rig, false);
    struct transport *t = pair_end(p->pair, 0, events, owner);
    if (how == DIAL_UP || how == DIAL_RESET_SOON)
        dial_done(p, 0);
    else if (how == DIAL_REFUSED || how == DIAL_UNREACHABLE)
        dial_done(p, how == DIAL_REFUSED ? UV_ECONNREFUSED : UV_EHOSTUNREACH);
    if (how == DIAL_RESET_SOON)
        peer_close(p, true);
    return t;
}

/* One step of every pair. False: nothing was left to do. */
static bool rig_step(struct rig *rig)
{
    bool any = false;
    for (unsigned i = 0; i < rig->n_clients + rig->n_upstreams; i++) {
        struct rig_peer *p =
            i < rig->n_clients ? rig->clients[i] : rig->upstreams[i - rig->n_clients];
        if (pair_step(p->pair))
            any = true;
        if (peer_go_on(p))
            any = true;
    }
    return any;
}

static void rig_settle(struct rig *rig)
{
    unsigned n = 0;
    while (rig_step(rig))
        if (++n > NO_END)
            rig_fail(rig, "it does not come to rest");
}

static void set_clock(struct rig *rig, uint64_t us)
{
    clock_us = us;
    rig->w.reactor.now_ms = us / 1000;
    wheel_advance(&rig->w.reactor.wheel, us / 1000);
    reactor_dispatch(&rig->w.reactor);
}

/* Every clock that is due on the way is told at its time. */
static void rig_pass(struct rig *rig, uint64_t ms)
{
    uint64_t until = clock_us + ms * 1000;
    for (;;) {
        uint64_t next = wheel_next_ms(&rig->w.reactor.wheel);
        if (next == WHEEL_NEVER || next * 1000 > until)
            break;
        set_clock(rig, next * 1000 > clock_us ? next * 1000 : clock_us + 1000);
    }
    if (until > clock_us)
        set_clock(rig, until);
}

/* ---- begin and end ---- */

#define LEARNT 40 /* answers, so that it is known what is slow */

static const size_t capacities[] = {65536, 4096, 1000, 100, 17, 1 << 20, 300, 16384};

/* The worker's view of the snapshot. */
static void rig_view(struct rig *rig)
{
    struct worker *w = &rig->w;
    struct snapshot_match match;
    snapshot_match_init(&match, rig->snapshot, NULL);
    worker_change(w, snapshot_view_new(w, rig->snapshot, NULL, &match, NULL, &w->rng), TRIAL_ALL);
    snapshot_match_fini(&match);
    CHECK(worker_take(w) == 0);
    for (size_t i = 0; i < rig->snapshot->n_pools; i++)
        for (unsigned n = 0; n < LEARNT && rig->snapshot->pools[i]->hedge != 0; n++)
            lb_quantile_add(pool_latencies(w->latest->pools[i]), 100000);
}

static void rig_init(struct rig *rig, const uint8_t *set)
{
    struct worker *w = &rig->w;
    rig->budget.max = set[1] & 32 ? 2 : 100;
    rig->shared = (struct worker_shared){.budget = &rig->budget, .flights = 4};
    rig->snapshot = rig_snapshot(set);
    rig->listener_spec = (struct listener_spec){
        .name = "rig", .forward = {.forwarded = set[1] & 8, .via = set[1] & 16}};
    rig->listener = (struct worker_listener){.spec = &rig->listener_spec, .open = true};
    rig->capacity = capacities[set[0] & 3];
    rig->h2_clients = set[0] & RIG_H2_CLIENTS;
    rig->h2_upstreams = set[0] & RIG_H2_UPSTREAMS;
    rig->h2_acks = !(set[0] & RIG_H2_NO_ACKS);
    rig->h2_windows = !(set[0] & RIG_H2_NO_WINDOWS);
    rig->h2_mute = set[0] & RIG_H2_MUTE;
    CHECK(worker_init(w, 0, &rig->shared) == 0);
    w->reactor.hrtime = fake_hrtime;
    w->reactor.dial = fake_dial;
    clock_us = START_MS * 1000;
    w->reactor.now_ms = START_MS;
    wheel_init(&w->reactor.wheel, START_MS);
    /* What chance there is, is the same every time. */
    lb_rng_seed(&w->rng, set[3]);
    for (int i = 0; i < 4; i++)
        w->ids.state[i] = 1u + (unsigned)i + set[3];
    rig_view(rig);
    w->server.service = w->server2.service = &rig_service;
    w->server2.stream_window = set[0] & 4 ? 4096 : H2_STREAM_WINDOW;
}

static void rig_order(struct rig *rig, enum worker_order order)
{
    atomic_fetch_or(&rig->w.orders, order);
    rig->aborted |= order == WORKER_ABORT;
    worker_obey(&rig->w);
}

static unsigned upstream_conns(const struct rig *rig)
{
    struct pool_stats *const *pools = rig->w.latest->pool_stats;
    return (unsigned)(counter_get(&pools[0]->conns) + counter_get(&pools[1]->conns));
}

static bool rig_empty(const struct rig *rig)
{
    return counter_get(&rig->w.stats.conns) == 0 && upstream_conns(rig) == 0;
}

/* Nobody says anything any more. Its own clocks must make the worker end everything. */
static void rig_wind_down(struct rig *rig, const uint8_t *set)
{
    bool reads = set[2] & 4;
    for (unsigned i = 0; i < rig->n_clients; i++)
        peer_read(rig->clients[i], reads || rig->clients[i]->reading);
    for (unsigned i = 0; i < rig->n_upstreams; i++)
        peer_read(rig->upstreams[i], reads || rig->upstreams[i]->reading);
    if (set[2] & 1)
        rig_order(rig, set[2] & 2 ? WORKER_CLOSE : WORKER_DRAIN);
    rig_settle(rig);
    for (unsigned n = 0; !rig_empty(rig); n++) {
        uint64_t next = wheel_next_ms(&rig->w.reactor.wheel);
        if (next == WHEEL_NEVER || n > NO_END)
            rig_fail(rig, "%u client conns and %u upstream conns are left, and %s",
                     (unsigned)counter_get(&rig->w.stats.conns), upstream_conns(rig),
                     next == WHEEL_NEVER ? "no clock will end them" : "time does not end them");
        set_clock(rig, next * 1000 > clock_us ? next * 1000 : clock_us + 1000);
        rig_settle(rig);
    }
}

static void check_gate(const struct rig *rig, const struct lb_gate *gate)
{
    if (gate == NULL)
        return;
    struct lb_gate_counts counts = lb_gate_counts(gate);
    if (counts.in_flight != 0 || counts.queued != 0)
        rig_fail(rig, "%u requests keep a place and %u wait, and there is none", counts.in_flight,
                 counts.queued);
}

static void rig_fini(struct rig *rig)
{
    struct worker *w = &rig->w;
    rig_order(rig, WORKER_CLOSE);
    for (unsigned i = 0; i < rig->n_clients; i++)
        peer_close(rig->clients[i], false);
    for (unsigned i = 0; i < rig->n_upstreams; i++)
        peer_close(rig->upstreams[i], false);
    rig_settle(rig);
    if (atomic_load(&rig->budget.open) != 0 || counter_get(&w->stats.in_flight) != 0)
        rig_fail(rig, "%u conns and %llu exchanges are counted, and there is none",
                 atomic_load(&rig->budget.open),
                 (unsigned long long)counter_get(&w->stats.in_flight));
    for (size_t i = 0; i < rig->snapshot->n_pools; i++)
        for (uint32_t j = 0; j < rig->snapshot->pools[i]->n_endpoints; j++)
            if (lb_endpoint_in_flight(&rig->snapshot->pools[i]->endpoints[j].lb) != 0)
                rig_fail(rig, "a lease was not given back");
    for (size_t i = 0; i < rig->snapshot->n_pools; i++)
        check_gate(rig, rig->snapshot->pools[i]->limits.gate);
    for (unsigned i = 0; i < rig->n_clients; i++)
        peer_free(rig->clients[i]);
    for (unsigned i = 0; i < rig->n_upstreams; i++)
        peer_free(rig->upstreams[i]);
    worker_fini(w); /* every block, slice and object must be back */
    wheel_fini(&w->reactor.wheel);
    snapshot_view_free(w->latest);
    CHECK(rig->snapshot->refs == 1);
    snapshot_unref(rig->snapshot);
    for (size_t i = 0; i < rig->n_xs; i++)
        rig_x_free(rig->xs[i]);
    free(rig->xs);
}

/* ---- events ---- */

static struct rig_peer *accept_client(struct rig *rig)
{
    struct worker *w = &rig->w;
    if (rig->n_clients == RIG_PEERS || w->closing)
        return NULL;
    struct rig_peer *p = rig->clients[rig->n_clients++] = peer_new(rig, true);
    struct net_addr addr;
    struct http_peer peer;
    CHECK(net_addr_ip(&addr, "10.0.0.1", (uint16_t)rig->n_clients));
    http_peer_init(&peer, &addr, &rig->listener, false);
    counter_inc(&rig->listener.conns);
    peer.over_limit = atomic_fetch_add(&rig->budget.open, 1) >= rig->budget.max;
    struct front_wants wants = {.proxy_header = false};
    struct conn *c = front_conn(front_new(&w->reactor, &w->front, wants, &peer, &w->conns));
    conn_attach(c, pair_end(p->pair, 0, &conn_transport_events, c));
    counter_inc(&w->stats.conns_total);
    counter_inc(&w->stats.conns);
    return p;
}

static void do_client(struct rig *rig, unsigned n)
{
    struct rig_peer **p = &rig->client[n % RIG_CLIENTS];
    if (*p == NULL || (*p)->closing || (n & 128 && (*p)->got_end))
        *p = accept_client(rig);
    rig->selected = *p;
}

static void do_upstream(struct rig *rig, unsigned n)
{
    rig->selected = NULL;
    if (rig->n_upstreams == 0)
        return;
    rig->selected = rig->upstreams[rig->n_upstreams - 1 - n % rig->n_upstreams];
    if (!rig->selected->dialled && n & 128)
        dial_done(rig->selected, 0);
}

static void do_fail(struct rig *rig, unsigned n)
{
    struct rig_peer *p = rig->selected;
    static const int errors[] = {UV_ECONNRESET, UV_ETIMEDOUT, UV_EPIPE, UV_EHOSTUNREACH};
    (void)rig;
    p->harmed = true;
    if (n & 1)
        pair_fail_read(p->pair, 0, errors[n >> 2 & 3]);
    if (n & 2)
        pair_fail_write(p->pair, 0, errors[n >> 2 & 3]);
}

const char *const rig_requests[] = {
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "PUT /a?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n",
    "HEAD /a/./x/../y HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /b HTTP/1.0\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "PUT /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET http://other/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "8\r\n12345678\r\n",
    "0\r\n\r\n",
    "0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n",
    "GET /none HTTP/1.1\r\nHost: h\r\n\r\n",
    "DELETE /n HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
    "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "x",
    "GET /a HTTP/1.1\r\nHost: h\r\nCookie: s=11111111111111111111111111111111\r\n\r\n",
    NULL,
};

const char *const rig_answers[] = {
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n",
    "8\r\n12345678\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    "0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n",
    "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1",
    "x",
    NULL,
};

static void say_from(struct rig_peer *p, const char *const *shelf, unsigned n)
{
    unsigned count = 0;
    while (shelf[count] != NULL)
        count++;
    peer_say(p, shelf[n % count], strlen(shelf[n % count]));
}

static void do_bulk(struct rig *rig, unsigned n)
{
    char piece[512];
    pair_limit(rig->selected->pair, 0, 0);
    if (rig->selected->talk != NULL) {
        talk_bulk(rig->selected, 512 * (n + 1));
        return;
    }
    for (unsigned i = 0; i <= n && rig->selected->saying.len < BULK_MAX; i++) {
        memset(piece, 'A' + (int)(i % 26), sizeof(piece));
        peer_say(rig->selected, piece, sizeof(piece));
    }
}

static void do_order(struct rig *rig, unsigned n)
{
    static const enum worker_order orders[] = {WORKER_DRAIN, WORKER_CLOSE, WORKER_ABORT,
                                               WORKER_CLOSE};
    rig_order(rig, orders[n & 3]);
}

static void do_peer(struct rig *rig, uint8_t op, unsigned n)
{
    struct rig_peer *p = rig->selected;
    if (p == NULL)
        return;
    switch (op) {
    case RIG_END:
        peer_end(p);
        break;
    case RIG_CLOSE:
        peer_close(p, n & 1);
        break;
    case RIG_READ:
        peer_read(p, n & 1);
        break;
    case RIG_LIMIT:
        if (p->saying.len - p->spoken < BULK_MAX / 100) /* else it takes all day */
            pair_limit(p->pair, 0, n);
        break;
    case RIG_FAIL:
        do_fail(rig, n);
        break;
    case RIG_BULK:
        do_bulk(rig, n);
        break;
    case RIG_REQUEST:
        if (p->talk != NULL)
            talk_request(p, n);
        else
            say_from(p, rig_requests, n);
        break;
    default:
        if (p->talk != NULL)
            talk_answer(p, n);
        else
            say_from(p, rig_answers, n);
        break;
    }
}

static void do_op(struct rig *rig, uint8_t op, unsigned n)
{
    static const uint32_t times[] = {1, 20, 100, 1000, 2500, 6000, 16000, 61000};
    static const char *const names[] = {"client", "upstream", "step", "end",   "close",
                                        "pass",   "read",     "dial", "limit", "order",
                                        "answer", "request",  "bulk", "fail",  "capacity"};
    rig_tell(rig, "%s %u", names[op - RIG_CLIENT], n);
    switch (op) {
    case RIG_CLIENT:
        do_client(rig, n);
        break;
    case RIG_UPSTREAM:
        do_upstream(rig, n);
        break;
    case RIG_STEP:
        if (n == 0)
            rig_settle(rig);
        for (; n > 0 && rig_step(rig); n--)
            ;
        break;
    case RIG_PASS:
        rig_pass(rig, times[n % ARRAY_LEN(times)]);
        break;
    case RIG_DIAL:
        rig->dial = n & 7;
        rig->dials = 1 + (n >> 3 & 3);
        break;
    case RIG_ORDER:
        do_order(rig, n);
        break;
    case RIG_CAPACITY:
        rig->capacity = capacities[n % ARRAY_LEN(capacities)];
        break;
    default:
        do_peer(rig, op, n);
        break;
    }
}

size_t rig_op_size(const uint8_t *at, size_t size)
{
    size_t n = 0;
    if (at[0] >= RIG_CLIENT && at[0] != RIG_LITERAL)
        return size < 2 ? 1 : 2;
    while (n < size && (at[n] < RIG_CLIENT || at[n] == RIG_LITERAL))
        n += at[n] == RIG_LITERAL && n + 1 < size ? 2 : 1;
    return n;
}

static void do_say(struct rig *rig, const uint8_t *at, size_t size)
{
    struct bytes b = {0};
    for (size_t i = 0; i < size; i++) {
        if (at[i] == RIG_LITERAL && i + 1 < size)
            i++;
        bytes_add(&b, &at[i], 1);
    }
    rig_tell(rig, "say %zu: %.*s", b.len, (int)b.len, b.at);
    if (rig->selected != NULL && rig->selected->talk != NULL)
        talk_frame(rig->selected, b.at, b.len);
    else if (rig->selected != NULL)
        peer_say(rig->selected, b.at, b.len);
    free(b.at);
}

void rig_run(const uint8_t *script, size_t size, unsigned also, FILE *trace)
{
    if (size < RIG_SETTINGS)
        return;
    uint8_t set[RIG_SETTINGS];
    memcpy(set, script, sizeof(set));
    set[0] |= (uint8_t)also;
    struct rig *rig = calloc(1, sizeof(*rig));
    CHECK(rig != NULL);
    rig->trace = trace;
    rig_init(rig, set);
    for (size_t at = RIG_SETTINGS, n; at < size; at += n) {
        n = rig_op_size(script + at, size - at);
        if (script[at] < RIG_CLIENT || script[at] == RIG_LITERAL)
            do_say(rig, script + at, n);
        else
            do_op(rig, script[at], n > 1 ? script[at + 1] : 0);
    }
    rig_tell(rig, "the script is over");
    rig_wind_down(rig, set);
    rig_check(rig);
    rig_fini(rig);
    free(rig);
}

int rig_fuzz(const uint8_t *script, size_t size, unsigned also)
{
    rig_run(script, size, also, getenv("RIG_TRACE") != NULL ? stderr : NULL);
    return 0;
}
