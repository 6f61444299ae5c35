/* SPDX-License-Identifier: Apache-2.0 */
/* The admin's pages. Owns its listener and conns; must never make a worker wait. Control thread. */
#include "proxy/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/admin_drain.h"
#include "proxy/admin_assets.h"
#include "proxy/admin_guard.h"
#include "proxy/admin_page.h"
#include "proxy/admin_history.h"
#include "proxy/admin_plan.h"
#include "proxy/admin_pools.h"
#include "proxy/admin_registry.h"
#include "proxy/admin_reload.h"
#include "proxy/admin_requests.h"
#include "proxy/admin_status.h"
#include "proxy/admin_tls.h"
#include "proxy/explain_live.h"
#include "proxy/metrics/metrics.h"
#include "proxy/reply.h"

#define ADMIN_CONNS 256
#define ADMIN_BODY  ((uint64_t)16 << 20) /* as large as a configuration may be */

struct admin {
    struct reactor *reactor;
    const struct admin_view *view;
    struct listener listener;
    struct conn_budget budget;
    struct h1_server_options server;
    struct admin_tls *tls; /* NULL: plain text */
    struct front_options front;
    struct tls_stats handshakes;
    struct list_node conns;
    struct list_node waiting; /* who asked for a reload */
    struct explain_live *explain;
    struct admin_history *history;
    struct span policy; /* of the dashboard, once it has been asked for */
    char policy_text[ADMIN_POLICY];
    bool is_unix, closing;
};

static const struct stream_events no_events; /* nothing comes after the release */

static const struct span plain = {"text/plain; charset=utf-8", 25};

void admin_reloaded(struct admin *a, uint64_t reload, bool done, const char *said)
{
    if (a != NULL)
        admin_reload_over(a->reactor, a->view, &a->waiting, reload, done, said);
}

/* ---- pages ---- */

static bool page_generations(const struct admin_ask *ask)
{
    admin_generations(ask);
    return true;
}

static bool page_livez(const struct admin_ask *ask)
{
    admin_say(ask, 200, "ok\n");
    return true;
}

static bool page_readyz(const struct admin_ask *ask)
{
    if (ask->view->starting)
        admin_say(ask, 503, "not ready: looking for endpoints\n");
    else if (!ask->view->ready)
        admin_say(ask, 503, "not ready: shutting down\n");
    else if (ask->view->draining_us != 0)
        admin_say(ask, 503, "not ready: draining\n");
    else
        admin_say(ask, 200, "ready\n");
    return true;
}

static bool page_metrics(const struct admin_ask *ask)
{
    struct chain body;
    chain_init(&body);
    metrics_write(ask->view, &ask->reactor->bufs, &body);
    reply_send(ask->reactor, ask->stream, 200, SPAN_LIT("text/plain; version=0.0.4; charset=utf-8"),
               &body);
    return true;
}

static bool page_pools(const struct admin_ask *ask)
{
    admin_pools(ask);
    return true;
}

static bool page_registry(const struct admin_ask *ask)
{
    return admin_registry(ask);
}

static bool page_status(const struct admin_ask *ask)
{
    admin_status(ask);
    return true;
}

static bool page_history(const struct admin_ask *ask)
{
    admin_history(ask, ask->admin->history);
    return true;
}

static bool page_top(const struct admin_ask *ask)
{
    admin_top(ask, ask->admin->history);
    return true;
}

static bool page_requests(const struct admin_ask *ask)
{
    admin_requests(ask);
    return true;
}

static bool page_explain(const struct admin_ask *ask)
{
    return explain_live_page(ask->admin->explain, ask);
}

static bool page_drain(const struct admin_ask *ask)
{
    admin_drain(ask);
    return true;
}

static bool page_openapi(const struct admin_ask *ask)
{
    admin_text(ask, 200, SPAN_LIT("application/json"), admin_openapi());
    return true;
}

static bool page_reload(const struct admin_ask *ask)
{
    return admin_reload(ask, &ask->admin->waiting);
}

static bool page_plan(const struct admin_ask *ask)
{
    return admin_plan(ask);
}

static bool page_index(const struct admin_ask *ask);

/* All there is. A POST has shown that no other site's page sends it. */
static const struct admin_page {
    const char *path;
    bool below; /* and whatever begins with it and a "/" */
    enum admin_open open;
    const char *allow; /* "GET, HEAD", "POST"; NULL: that depends on what is asked */
    bool (*serve)(const struct admin_ask *); /* false: it is answered later */
} pages[] = {
    {"/", false, ADMIN_CLOSED, "GET, HEAD", page_index},
    {"/livez", false, ADMIN_OPEN, "GET, HEAD", page_livez},
    {"/readyz", false, ADMIN_OPEN, "GET, HEAD", page_readyz},
    {"/metrics", false, ADMIN_PROBES, "GET, HEAD", page_metrics},
    {"/pools", true, ADMIN_CLOSED, NULL, page_pools},
    {"/requests", true, ADMIN_CLOSED, "GET, HEAD", page_requests},
    {"/registry", true, ADMIN_REGISTRY, NULL, page_registry},
    {"/generations", false, ADMIN_CLOSED, "GET, HEAD", page_generations},
    {"/status", false, ADMIN_CLOSED, "GET, HEAD", page_status},
    {"/history", false, ADMIN_CLOSED, "GET, HEAD", page_history},
    {"/top", false, ADMIN_CLOSED, "GET, HEAD", page_top},
    {"/openapi.json", false, ADMIN_CLOSED, "GET, HEAD", page_openapi},
    {"/explain", false, ADMIN_CLOSED, "GET, HEAD", page_explain},
    {"/drain", false, ADMIN_CLOSED, NULL, page_drain},
    {"/reload", false, ADMIN_CLOSED, "POST", page_reload},
    {"/plan", false, ADMIN_CLOSED, "POST", page_plan},
};

static void send_list(const struct admin_ask *ask)
{
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof(text), "weir " WEIR_VERSION "\n");
    for (size_t i = 1; i < ARRAY_LEN(pages); i++) {
        bool writes = pages[i].allow != NULL && strcmp(pages[i].allow, "POST") == 0;
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s\n", writes ? "POST " : "",
                              pages[i].path);
        CHECK(n < sizeof(text));
    }
    admin_text(ask, 200, plain, span_of(text, n));
}

/* Its policy is made by OpenSSL, which a weir without TLS and without viewers does not load. */
static void send_dashboard(const struct admin_ask *ask)
{
    struct admin *a = ask->admin;
    if (a->policy.len == 0)
        a->policy = admin_policy(admin_dashboard(), a->policy_text);
    admin_document(ask, SPAN_LIT("text/html; charset=utf-8"), admin_dashboard(), a->policy);
}

/* For a browser the dashboard, for others what there is. */
static bool page_index(const struct admin_ask *ask)
{
    struct http_field *accept = http_head_find(ask->request, FIELD_ACCEPT);
    struct span value = accept != NULL ? field_value(accept) : span_of(NULL, 0), type;
    bool html = false;
    while (!html && span_next_element(&value, &type))
        html = span_starts(type, SPAN_LIT("text/html"));
    if (html)
        send_dashboard(ask);
    else
        send_list(ask);
    return true;
}

static const struct admin_page *find_page(struct span path)
{
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        struct span page = span_str(pages[i].path);
        if (span_eq(path, page) ||
            (pages[i].below && span_starts(path, page) && path.ptr[page.len] == '/'))
            return &pages[i];
    }
    return NULL;
}

static bool may(const struct admin_page *page, const struct http_head *request)
{
    if (page->allow == NULL)
        return true;
    bool reads = page->allow[0] == 'G';
    return reads ? span_eq(request->method, SPAN_LIT("GET")) || request->is_head
                 : span_eq(request->method, span_str(page->allow));
}

/* True: it is answered; else somebody waits for it. */
static bool serve(const struct admin_ask *ask)
{
    const struct admin_page *page = find_page(ask->request->path);
    if (!admin_guard(ask, page != NULL ? page->open : ADMIN_CLOSED))
        return true;
    if (page == NULL) {
        admin_say(ask, 404, "no such page; / lists them\n");
        return true;
    }
    if (!may(page, ask->request)) {
        reply_not_allowed(ask->reactor, ask->stream, span_str(page->allow));
        return true;
    }
    bool reads = span_eq(ask->request->method, SPAN_LIT("GET")) || ask->request->is_head;
    return reads || page->allow == NULL || admin_guard_write(ask) ? page->serve(ask) : true;
}

static void on_request(void *ctx, struct stream *s, struct http_head *request,
                       const struct http_peer *peer, enum reason reason)
{
    struct admin *a = ctx;
    const struct admin_ask ask = {a, a->reactor, a->view, s, request, peer};
    s->events = &no_events;
    if (reason != REASON_NONE)
        reply_error(a->reactor, s, request, reason, NULL, span_of(NULL, 0));
    else if (!serve(&ask))
        return;
    s->ops->release(s, REASON_DONE);
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    (void)peer;
    const struct admin *a = ctx;
    return promised || !a->closing;
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
    if (a->tls == NULL)
        return h1_server_accept(a->reactor, &a->server, fd, a->is_unix, &peer, &a->conns);
    return front_accept(a->reactor, &a->front, (struct front_wants){.tls = true}, fd, a->is_unix,
                        &peer, &a->conns);
}

static struct tls_server_ctx *tls_of(void *ctx, const void *listener)
{
    (void)listener;
    return admin_tls_ctx(((struct admin *)ctx)->tls);
}

static void on_pausing(struct listener *l, int error)
{
    (void)l;
    (void)error;
}

static void admin_discard(struct admin *a)
{
    explain_live_free(a->explain);
    admin_history_free(a->history);
    admin_tls_free(a->tls);
    free(a);
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
    list_init(&a->waiting);
    a->explain = explain_live_new(view);
    a->server = (struct h1_server_options){
        .limits = {.body_bytes = ADMIN_BODY,
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
    a->front = (struct front_options){
        .h1 = &a->server, /* no h2: ALPN does not offer it */
        .handshake_ms = 10000,
        .tls_stats = &a->handshakes,
        .tls = tls_of,
    };
    if (view->tls != NULL && (a->tls = admin_tls_new(&r->loop, view->tls)) == NULL) {
        *err = UV_EINVAL;
        admin_discard(a);
        return NULL;
    }
    a->listener.accepted = on_accepted;
    a->listener.pausing = on_pausing;
    a->listener.owner = a;
    *err = listener_start(&a->listener, r, fd, &a->budget);
    if (*err == 0) {
        a->history = admin_history_new(&r->loop, view);
        return a;
    }
    admin_tls_close(a->tls);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    admin_discard(a);
    return NULL;
}

const struct admin_tls *admin_own_tls(const struct admin *a)
{
    return a->tls;
}

void admin_told(struct admin *a)
{
    if (a == NULL)
        return;
    explain_live_told(a->explain);
    reactor_dispatch(a->reactor);
}

void admin_leave(struct admin *a)
{
    a->closing = true;
    listener_leave(&a->listener);
}

void admin_close(struct admin *a)
{
    a->closing = true;
    listener_close(&a->listener);
    admin_history_close(a->history);
    admin_tls_close(a->tls);
    list_for_each_safe (node, &a->conns)
        client_conn_abort(client_conn_at(node), REASON_SHUTDOWN);
    reactor_dispatch(a->reactor);
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    CHECK(list_empty(&a->conns) && list_empty(&a->waiting));
    admin_discard(a);
}
