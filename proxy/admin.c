/* SPDX-License-Identifier: Apache-2.0 */
/* The admin's pages. Owns its listener and conns; must never make a worker wait. Control thread. */
#include "proxy/admin.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/admin_pools.h"
#include "proxy/metrics.h"
#include "proxy/reply.h"

#define ADMIN_CONNS 256

struct admin {
    struct reactor *reactor;
    const struct admin_view *view;
    struct listener listener;
    struct conn_budget budget;
    struct h1_server_options server;
    struct list_node conns;
    bool is_unix, closing;
};

static const struct stream_events no_events; /* nothing comes after the release */

static void answer(struct admin *a, struct stream *s, unsigned status, struct span type,
                   const char *text)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &a->reactor->bufs, text, strlen(text));
    reply_send(a->reactor, s, status, type, &body);
}

static void page(struct admin *a, struct stream *s, const struct http_head *request)
{
    struct span text = SPAN_LIT("text/plain; charset=utf-8");
    if (span_eq(request->path, SPAN_LIT("/livez"))) {
        answer(a, s, 200, text, "ok\n");
    } else if (span_eq(request->path, SPAN_LIT("/readyz"))) {
        if (a->view->ready)
            answer(a, s, 200, text, "ready\n");
        else
            answer(a, s, 503, text, "not ready: shutting down\n");
    } else if (span_eq(request->path, SPAN_LIT("/metrics"))) {
        struct chain body;
        chain_init(&body);
        metrics_write(a->view, &a->reactor->bufs, &body);
        reply_send(a->reactor, s, 200, SPAN_LIT("text/plain; version=0.0.4; charset=utf-8"), &body);
    } else if (span_eq(request->path, SPAN_LIT("/"))) {
        answer(a, s, 200, text, "weir " WEIR_VERSION "\n/livez\n/readyz\n/metrics\n/pools\n");
    } else {
        answer(a, s, 404, text, "no such page; / lists them\n");
    }
}

static void on_request(void *ctx, struct stream *s, struct http_head *request,
                       const struct http_peer *peer, enum reason reason)
{
    struct admin *a = ctx;
    (void)peer;
    s->events = &no_events;
    bool reads = span_eq(request->method, SPAN_LIT("GET")) || request->is_head;
    if (reason != REASON_NONE)
        reply_error(a->reactor, s, request, reason, span_of(NULL, 0));
    else if (admin_pools_path(request->path))
        admin_pools(a->reactor, a->view->snapshot, s, request);
    else if (!reads)
        reply_not_allowed(a->reactor, s, SPAN_LIT("GET, HEAD"));
    else
        page(a, s, request);
    s->ops->release(s, REASON_DONE);
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer)
{
    (void)peer;
    const struct admin *a = ctx;
    return !a->closing;
}

static void on_conn_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct admin *a = ctx;
    (void)peer;
    (void)reason;
    listener_budget_freed(&a->budget);
}

static const struct http_service admin_service = {
    .request = on_request,
    .keep_alive = on_keep_alive,
    .closed = on_conn_closed,
};

static bool on_accepted(struct listener *l, int fd, const struct net_addr *addr, bool over)
{
    (void)over; /* what is over the bound is still answered, up to a further bound */
    struct admin *a = l->owner;
    struct http_peer peer;
    http_peer_init(&peer, addr, a, false);
    return h1_server_accept(a->reactor, &a->server, fd, a->is_unix, &peer, &a->conns);
}

static void on_pausing(struct listener *l, int error)
{
    (void)l;
    (void)error;
}

struct admin *admin_new(struct reactor *r, const struct admin_view *view, int fd, bool is_unix,
                        int *err)
{
    struct admin *a = mem_need(calloc(1, sizeof(*a)));
    a->reactor = r;
    a->view = view;
    a->is_unix = is_unix;
    a->budget.max = ADMIN_CONNS;
    list_init(&a->conns);
    a->server = (struct h1_server_options){
        .limits = {.body_bytes = 65536,
                   .header_bytes = 16384,
                   .target_bytes = 8192,
                   .headers = 100},
        .head_ms = 10000,
        .idle_ms = 75000,
        .body_ms = 10000,
        .write_stall_ms = 10000,
        .buffer = 16384,
        .service = &admin_service,
        .ctx = a,
    };
    a->listener.accepted = on_accepted;
    a->listener.pausing = on_pausing;
    a->listener.owner = a;
    *err = listener_start(&a->listener, r, fd, &a->budget);
    if (*err == 0)
        return a;
    free(a);
    return NULL;
}

void admin_close(struct admin *a)
{
    a->closing = true;
    listener_close(&a->listener);
    list_for_each_safe (node, &a->conns)
        client_conn_abort(client_conn_at(node), REASON_SHUTDOWN);
    reactor_dispatch(a->reactor);
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    CHECK(list_empty(&a->conns));
    free(a);
}
