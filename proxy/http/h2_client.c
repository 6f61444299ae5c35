/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One upstream conn that speaks HTTP/2. Owns it and the session on it; says what its end means for
 * the requests on it (h2_client_stream.c), and how long it lives. Must never put a stream on a conn
 * that the upstream is about to leave. Reactor's thread.
 */
#include "proxy/http/h2_client.h"

#include <string.h>

#include "proxy/base/log.h"
#include "proxy/http/h1_client.h"
#include "proxy/http/h2_client_state.h"
#include "proxy/http/h2_request.h"
#include "proxy/net/tls.h"

#define BYE_MS 1000 /* for the last frames to leave */
/* Between PINGs, while nothing but their answers and the like comes: gRPC's servers end the conn
 * for more than two that come earlier, and begin to count anew with what they send of an answer. */
#define PING_AGAIN_MS 300000
#define CLOGGED       4096 /* bytes of a conn's window */

static const struct conn_ops client_conn_ops;

static void client_set_state(struct h2_client *cl, enum client_state state)
{
    static const char *const names[] = {"open", "retiring", "bye"};
    CHECK(state >= cl->state);
    if (state == cl->state)
        return;
    log_debug("upstream conn %p: %s -> %s", (void *)&cl->conn, names[cl->state], names[state]);
    cl->state = (uint8_t)state;
    list_unlink(&cl->link);
}

/* ---- life and death ---- */

struct h2_client *h2_client_new(struct reactor *r, const struct h2_client_options *options,
                                uint32_t takes, const struct h2_client_owner *owner, void *ctx)
{
    struct h2_client *cl = reactor_alloc(r, SLAB_H2_CLIENT, sizeof(*cl));
    memset(cl, 0, sizeof(*cl));
    conn_init(&cl->conn, r, &client_conn_ops, options->write_stall_ms);
    cl->magic = H2_CLIENT_MAGIC;
    cl->options = options;
    cl->owner = owner;
    cl->ctx = ctx;
    cl->idle = true;
    cl->takes = takes != 0 ? takes : options->max_streams;
    list_init(&cl->link);
    cl->config = (struct h2_config){
        .limits = options->limits,
        .max_streams =
            takes != 0 ? takes : 1, /* a stream cannot be taken back; one is taken by any */
        .stream_window = (uint32_t)options->buffer,
        .first_window = (uint32_t)options->buffer,
        .conn_window = (uint32_t)options->conn_buffer,
        .body_ms = options->response_idle_ms,
        .stall_ms = options->write_stall_ms,
    };
    const nghttp2_settings_entry no_push = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    CHECK(
        h2_session_init(&cl->session, &cl->conn, &h2_client_session_ops, &cl->config, &no_push, 1));
    return cl;
}

struct h2_client *h2_client_dial(struct reactor *r, const struct h2_client_options *options,
                                 uint32_t takes, const struct net_addr *to,
                                 const struct h2_client_owner *owner, void *ctx, int *err)
{
    struct h2_client *cl = h2_client_new(r, options, takes, owner, ctx);
    *err = conn_dial(&cl->conn, to, options->connect_ms);
    if (*err == 0) {
        conn_expect(&cl->conn, options->connect_ms);
        return cl;
    }
    h2_session_fini(&cl->session);
    reactor_free(r, SLAB_H2_CLIENT, cl);
    return NULL;
}

static void client_free(struct conn *c)
{
    struct h2_client *cl = h2_client_of(c);
    cl->owner->closed(cl->ctx, cl, (enum reason)c->close_reason);
    list_unlink(&cl->link);
    h2_session_fini(&cl->session);
    cl->magic = 0;
    reactor_free(c->reactor, SLAB_H2_CLIENT, cl);
}

struct conn *h2_client_conn(struct h2_client *cl)
{
    return &cl->conn;
}

struct list_node *h2_client_link(struct h2_client *cl)
{
    return &cl->link;
}

struct h2_client *h2_client_at(struct list_node *node)
{
    return CONTAINER_OF(node, h2_client, link);
}

uint32_t h2_client_streams(const struct h2_client *cl)
{
    return cl->session.n_streams;
}

bool h2_client_served(const struct h2_client *cl)
{
    return cl->served > 0;
}

bool h2_client_room(const struct h2_client *cl)
{
    const struct h2_session *h = &cl->session;
    if (cl->state != CLIENT_OPEN || cl->doubtful || conn_closed(&cl->conn) || h->goaway_got ||
        h->dead || h->error != REASON_NONE ||
        cl->conn.flags & (CONN_EOF | CONN_ERROR | CONN_BROKEN))
        return false;
    return h->n_streams < cl->takes && h->n_streams < cl->options->max_streams;
}

bool h2_client_clogged(const struct h2_client *cl)
{
    return nghttp2_session_get_remote_window_size(cl->session.ng) < CLOGGED;
}

/* Says goodbye, and closes once that has left. */
static void client_bye(struct h2_client *cl)
{
    client_set_state(cl, CLIENT_BYE);
    if (!cl->connected) {
        conn_close(&cl->conn, (enum reason)cl->bye, false);
        return;
    }
    h2_session_fail(&cl->session, REASON_DONE, NGHTTP2_NO_ERROR);
    conn_expect(&cl->conn, BYE_MS);
    conn_wake(&cl->conn);
}

void h2_client_retire(struct h2_client *cl, enum reason reason)
{
    if (cl->state != CLIENT_OPEN || conn_closed(&cl->conn))
        return;
    cl->bye = (uint16_t)reason;
    client_set_state(cl, CLIENT_RETIRING);
    if (cl->session.n_streams == 0)
        client_bye(cl);
}

void h2_client_adopt(struct h2_client *cl, const struct h2_client_options *options, void *ctx)
{
    CHECK(!list_linked(&cl->link));
    cl->options = options;
    cl->ctx = ctx;
    cl->config.body_ms = options->response_idle_ms;
    cl->config.stall_ms = cl->conn.write_stall_ms = options->write_stall_ms;
}

void h2_client_close(struct h2_client *cl, enum reason reason)
{
    CHECK(cl->session.n_streams == 0);
    list_unlink(&cl->link);
    conn_close(&cl->conn, reason, false);
}

/* ---- requests and PINGs ---- */

/* How long a conn that has streams may be silent. */
static uint64_t ping_wait(const struct h2_client *cl)
{
    uint32_t ms = cl->options->ping_ms;
    if (ms == 0)
        return NEVER;
    return cl->asked && ms < PING_AGAIN_MS ? PING_AGAIN_MS : ms;
}

struct stream *h2_client_open(struct h2_client *cl, const struct stream_events *events, void *owner,
                              uint32_t response_head_ms)
{
    CHECK(h2_client_room(cl));
    struct h2_stream *s = h2_stream_new(&cl->session, 0);
    s->owned = true;
    s->asked.head_ms = response_head_ms;
    s->asked.head_at = cl->sent + conn_unsent(&cl->conn);
    s->asked.since_ms = reactor_now(cl->conn.reactor);
    s->base = (struct stream){
        .magic = STREAM_MAGIC,
        .ops = &h2_client_stream_ops,
        .events = events,
        .owner = owner,
        .reused = cl->served > 0,
        .also = conn_also(&cl->conn),
    };
    if (!h2_client_room(cl))
        list_unlink(&cl->link);
    if (cl->idle && cl->connected)
        conn_expect(&cl->conn, ping_wait(cl));
    cl->idle = false;
    return &s->base;
}

static void client_ping(struct h2_client *cl, uint32_t within_ms)
{
    cl->pinged = cl->asked = true;
    nghttp2_submit_ping(cl->session.ng, NGHTTP2_FLAG_NONE, NULL);
    conn_expect(&cl->conn, within_ms);
}

/* A request ended for want of an answer, and nothing else has come meanwhile. Is the endpoint slow,
 * or is it gone? Its TCP would not say so for many minutes, and ping_wait is long if it was asked
 * before. New requests go elsewhere until it is known. Those that are there may have more patience
 * than this one, for a server that only pauses: the conn ends after no less than pong_ms. */
void h2_client_doubt(struct h2_client *cl, uint64_t since)
{
    const struct h2_client_options *o = cl->options;
    uint64_t waited = reactor_now(cl->conn.reactor) - since;
    uint32_t least = o->connect_ms < o->pong_ms ? o->connect_ms : o->pong_ms;
    if (cl->heard > since || !cl->connected || cl->state == CLIENT_BYE || cl->session.dead ||
        cl->pinged || cl->doubted || cl->broken || o->ping_ms == 0)
        return;
    cl->doubted = cl->doubtful = true;
    list_unlink(&cl->link);
    client_ping(cl, waited + least < o->pong_ms ? o->pong_ms - (uint32_t)waited : least);
}

/* ---- the conn ---- */

/* What the end of the conn means for one of its streams. */
static enum reason stream_end_reason(const struct h2_client *cl, const struct h2_stream *s,
                                     enum reason reason)
{
    bool unsent = cl->connected && (cl->sent <= s->asked.head_at || h2_stream_unsent(s));
    if (unsent && reason_row(reason)->retry != RETRY_UNSENT)
        return REASON_UPSTREAM_UNSENT;
    if (reason == REASON_UPSTREAM_CLOSED && s->rx_final)
        return REASON_RESPONSE_INCOMPLETE;
    return reason;
}

/* The conn is no more, and its streams are told. */
static void client_end(struct h2_client *cl, enum reason reason)
{
    struct list_node *it = cl->session.streams.next;
    list_unlink(&cl->link);
    for (; it != &cl->session.streams; it = it->next) {
        struct h2_stream *s = CONTAINER_OF(it, h2_stream, link);
        h2_stream_fail(s, stream_end_reason(cl, s, reason), true);
    }
    h2_session_close(&cl->session, reason, false);
}

static void client_connected(struct h2_client *cl)
{
    const struct tls_info *tls = conn_tls(&cl->conn);
    struct list_node *it = cl->session.streams.next;
    cl->connected = true;
    if (tls != NULL && !span_eq(tls->alpn, SPAN_LIT("h2"))) {
        client_end(cl, REASON_UPSTREAM_WRONG_PROTOCOL);
        return;
    }
    for (; it != &cl->session.streams; it = it->next) {
        struct h2_stream *s = CONTAINER_OF(it, h2_stream, link);
        s->base.connected_us = reactor_us(cl->conn.reactor);
        s->base.also = conn_also(&cl->conn);
        if (s->asked.whole || s->asked.expects)
            h2_client_expect_head(s);
    }
    cl->idle = false; /* client_settle begins the clock that is right */
    conn_expect(&cl->conn, ping_wait(cl));
}

/* Bytes have come: the upstream is there. */
static void client_heard(struct h2_client *cl)
{
    cl->heard = reactor_now(cl->conn.reactor);
    cl->asked &= !cl->session.news;
    cl->doubted &= !cl->session.news;
    cl->doubtful = false;
    cl->session.news = false;
    if (cl->idle || !cl->connected || cl->state == CLIENT_BYE || cl->options->ping_ms == 0)
        return;
    cl->pinged = false;
    conn_expect(&cl->conn, ping_wait(cl));
}

static void client_late(struct h2_client *cl)
{
    struct conn *c = &cl->conn;
    if (c->flags & CONN_WRITE_LATE) {
        client_end(cl, REASON_UPSTREAM_WRITE_STALL);
    } else if (!cl->connected) {
        client_end(cl, REASON_CONNECT_TIMEOUT);
    } else if (cl->broken) {
        client_end(cl, REASON_UPSTREAM_RESET);
    } else if (cl->pinged) {
        client_end(cl, REASON_UPSTREAM_SILENT);
    } else if (cl->session.n_streams == 0) {
        h2_client_retire(cl, REASON_UPSTREAM_IDLE_TIMEOUT);
    } else {
        client_ping(cl, cl->options->pong_ms);
        h2_session_turn(&cl->session);
    }
}

static enum reason client_end_reason(const struct h2_client *cl)
{
    const struct conn *c = &cl->conn;
    if (!cl->connected && c->flags & CONN_ERROR)
        return h1_client_connect_reason(c->error);
    if (cl->session.n_streams == 0)
        return REASON_UPSTREAM_IDLE_CLOSED;
    return c->flags & CONN_ERROR ? REASON_UPSTREAM_RESET : REASON_UPSTREAM_CLOSED;
}

/* What the peer's settings say of streams. */
static void client_learn(struct h2_client *cl)
{
    const struct h2_session *h = &cl->session;
    if (!h->told || h->dead)
        return;
    uint32_t takes =
        nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (takes == cl->takes)
        return;
    cl->takes = takes;
    cl->owner->takes(cl->ctx, cl, takes);
}

/* The peer takes fewer streams than were meant for it: the latest that have not left go elsewhere.
 * It costs them no try, as each conn that takes a stream at all takes some of a burst, and the rest
 * gets smaller. Those that have left anyway the peer must refuse (RFC 9113 section 5.1.2); until it
 * does, nobody knows that it has not begun to serve them. */
static void client_shed(struct h2_client *cl)
{
    struct h2_session *h = &cl->session;
    struct list_node *it = h->streams.prev;
    if (!h->told || h->dead || h->n_streams <= cl->takes)
        return;
    enum reason reason = cl->takes > 0 ? REASON_UPSTREAM_FULL : REASON_UPSTREAM_REFUSED;
    for (uint32_t n = h->n_streams - cl->takes; n > 0 && it != &h->streams; it = it->prev) {
        struct h2_stream *s = CONTAINER_OF(it, h2_stream, link);
        bool unsent = !s->closed && h2_stream_unsent(s);
        n -= s->closed || unsent;
        if (!unsent)
            continue;
        h2_stream_fail(s, reason, true);
        h2_stream_withdraw(s);
    }
}

/* Who keeps the conn learns what it is good for now. */
static void client_settle(struct h2_client *cl)
{
    const struct h2_session *h = &cl->session;
    bool idle = h->n_streams == 0 && cl->connected && !cl->doubtful;
    if (h->goaway_got)
        h2_client_retire(cl, REASON_UPSTREAM_IDLE_CLOSED);
    else if (h2_session_over(h))
        h2_client_retire(cl, REASON_BAD_RESPONSE);
    else if (h->no_window)
        h2_client_retire(cl, REASON_UPSTREAM_WRITE_STALL);
    if (cl->state == CLIENT_RETIRING && h->n_streams == 0)
        client_bye(cl);
    if (cl->state != CLIENT_OPEN || conn_closed(&cl->conn))
        return;
    if (!h2_client_room(cl) && !idle) /* its keeper has to be able to end an idle one */
        list_unlink(&cl->link);
    if (idle && !cl->idle) {
        cl->idle = true;
        cl->pinged = false;
        conn_expect(&cl->conn, cl->options->idle_ms);
        conn_release_input(&cl->conn);
        cl->owner->room(cl->ctx, cl);
    } else if (!list_linked(&cl->link) && h2_client_room(cl)) {
        cl->owner->room(cl->ctx, cl);
    }
}

static void client_last_words(struct h2_client *cl)
{
    struct conn *c = &cl->conn;
    const unsigned ended = CONN_EOF | CONN_ERROR | CONN_BROKEN | CONN_READ_LATE | CONN_WRITE_LATE;
    if (c->flags & ended || (h2_session_over(&cl->session) && conn_unsent(c) == 0))
        conn_close(c, (enum reason)cl->bye, false);
}

/* The upstream takes no more; what it has said already may still come. */
static void client_broken(struct h2_client *cl)
{
    cl->broken = true;
    list_unlink(&cl->link);
    conn_expect(&cl->conn, BYE_MS);
}

static void client_process(struct conn *c)
{
    struct h2_client *cl = h2_client_of(c);
    if (!cl->connected && c->flags & CONN_CONNECTED)
        client_connected(cl);
    if (conn_closed(c))
        return;
    bool heard = conn_input(c).len > 0;
    h2_session_turn(&cl->session);
    if (!conn_closed(c) && heard)
        client_heard(cl);
    if (!conn_closed(c))
        client_learn(cl);
    if (!conn_closed(c))
        client_shed(cl);
    if (!conn_closed(c))
        h2_request_unhold(&cl->session);
    if (!conn_closed(c) && cl->state == CLIENT_BYE)
        client_last_words(cl);
    if (!conn_closed(c) && c->flags & (CONN_EOF | CONN_ERROR))
        client_end(cl, client_end_reason(cl));
    if (!conn_closed(c) && c->flags & CONN_BROKEN && !cl->broken)
        client_broken(cl);
    if (!conn_closed(c) && c->flags & (CONN_READ_LATE | CONN_WRITE_LATE))
        client_late(cl);
    if (!conn_closed(c))
        client_settle(cl);
}

static void client_flushed(struct conn *c, size_t n)
{
    struct h2_client *cl = h2_client_of(c);
    cl->sent += n;
    if (cl->state != CLIENT_OPEN || h2_session_waits(&cl->session))
        conn_wake(c);
}

static void client_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c;
    (void)delta;
}

static const struct conn_ops client_conn_ops = {
    .name = "h2 upstream",
    .process = client_process,
    .flushed = client_flushed,
    .moved = client_moved,
    .free = client_free,
};
