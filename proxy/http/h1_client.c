/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of one upstream conn. Owns the conn and the parser; its one stream is embedded. Must
 * never reuse a conn on which anything is unclear. Up-calls are made from client_process and
 * client_flushed only, and after each of them the stream may be released.
 */
#include "proxy/http/h1_client.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/http/body_flow.h"
#include "proxy/http/h1_input.h"
#include "proxy/http/h1_write.h"
#include "proxy/http/websocket.h"

#define H1_CLIENT_MAGIC MAGIC('h', '1', 'c', 'l')
#define INTERIMS_MAX    32 /* 1xx responses to one request; an upstream that goes on is broken */

enum client_state {
    CLIENT_IDLE,  /* no stream; also before the first */
    CLIENT_BUSY,  /* a stream is open */
    CLIENT_FLUSH, /* a finished tunnel: closes once all is written */
};

struct h1_client {
    struct conn conn;
    uint32_t magic;
    uint8_t state;    /* enum client_state */
    bool connected;   /* the deadline has moved on from connecting */
    bool tx_done;     /* the request was queued whole */
    bool rx_head;     /* the final head was delivered */
    bool rx_done;     /* the response was delivered whole */
    bool tunnel;      /* 101 */
    bool chunked;     /* the request is */
    bool last;        /* the upstream will not take another request */
    bool until_close; /* the response ends with the conn */
    bool broken;      /* CONN_BROKEN was seen to */
    bool expects;     /* the client waits for our 100: the clock of the response runs already */
    uint8_t interims; /* 1xx responses to this request */
    uint32_t response_head_ms;
    uint32_t served; /* requests before this one */
    struct body_flow flow;
    union {
        uint64_t idle_since; /* idle: ms */
        char *accept;        /* busy: NULL, or the answer that a 101 has to have to our key */
    };
    const struct h1_client_options *options;
    const struct h1_client_owner *owner;
    void *ctx;
    struct list_node link;
    struct h1_parser parser;
    struct stream stream;
};

static const struct stream_ops client_stream_ops;
static const struct conn_ops client_conn_ops;

/* Which states may follow which; the trace is what `log: debug` shows. */
static void client_set_state(struct h1_client *cl, enum client_state state)
{
    static const char *const names[] = {"idle", "busy", "flush"};
    static const uint8_t after[] = {
        [CLIENT_IDLE] = 1 << CLIENT_BUSY,
        [CLIENT_BUSY] = 1 << CLIENT_IDLE | 1 << CLIENT_FLUSH,
        [CLIENT_FLUSH] = 1 << CLIENT_IDLE,
    };
    CHECK(after[cl->state] & 1 << state);
    log_debug("upstream conn %p: %s -> %s", (void *)&cl->conn, names[cl->state], names[state]);
    cl->state = (uint8_t)state;
}

static struct h1_client *client_of(struct conn *c)
{
    struct h1_client *cl = CONTAINER_OF(c, h1_client, conn);
    CHECK(cl->magic == H1_CLIENT_MAGIC);
    return cl;
}

static struct h1_client *client_of_stream(const struct stream *s)
{
    CHECK(s->magic == STREAM_MAGIC && s->ops == &client_stream_ops);
    return CONTAINER_OF(s, h1_client, stream);
}

/* ---- life and death ---- */

struct h1_client *h1_client_new(struct reactor *r, const struct h1_client_options *options,
                                const struct h1_client_owner *owner, void *ctx)
{
    struct h1_client *cl = reactor_alloc(r, SLAB_H1_CLIENT, sizeof(*cl));
    memset(cl, 0, sizeof(*cl));
    conn_init(&cl->conn, r, &client_conn_ops, options->write_stall_ms);
    cl->magic = H1_CLIENT_MAGIC;
    cl->options = options;
    cl->owner = owner;
    cl->ctx = ctx;
    cl->idle_since = reactor_now(r);
    list_init(&cl->link);
    h1_parser_init(&cl->parser, true, &options->limits,
                   reactor_slab(r, SLAB_HEAD, sizeof(struct http_head)));
    return cl;
}

struct h1_client *h1_client_dial(struct reactor *r, const struct h1_client_options *options,
                                 const struct net_addr *to, const struct h1_client_owner *owner,
                                 void *ctx, int *err)
{
    struct h1_client *cl = h1_client_new(r, options, owner, ctx);
    *err = conn_dial(&cl->conn, to, options->connect_ms);
    if (*err == 0) {
        conn_expect(&cl->conn, options->connect_ms);
        return cl;
    }
    reactor_free(r, SLAB_H1_CLIENT, cl);
    return NULL;
}

static void client_free(struct conn *c)
{
    struct h1_client *cl = client_of(c);
    CHECK(cl->state != CLIENT_BUSY);
    cl->owner->closed(cl->ctx, cl, (enum reason)c->close_reason);
    list_unlink(&cl->link);
    h1_parser_fini(&cl->parser);
    cl->magic = 0;
    reactor_free(c->reactor, SLAB_H1_CLIENT, cl);
}

struct conn *h1_client_conn(struct h1_client *cl)
{
    return &cl->conn;
}

struct list_node *h1_client_link(struct h1_client *cl)
{
    return &cl->link;
}

struct h1_client *h1_client_at(struct list_node *node)
{
    return CONTAINER_OF(node, h1_client, link);
}

void h1_client_keep(struct h1_client *cl, uint64_t ms)
{
    CHECK(cl->state == CLIENT_IDLE);
    uint64_t so_far = reactor_now(cl->conn.reactor) - cl->idle_since;
    conn_expect(&cl->conn, ms > so_far ? ms - so_far : 0);
}

void h1_client_adopt(struct h1_client *cl, const struct h1_client_options *options, void *ctx)
{
    CHECK(cl->state == CLIENT_IDLE && !list_linked(&cl->link));
    cl->options = options;
    cl->ctx = ctx;
    cl->parser.limits = &options->limits;
    cl->conn.write_stall_ms = options->write_stall_ms;
}

void h1_client_close(struct h1_client *cl, enum reason reason)
{
    CHECK(cl->state == CLIENT_IDLE);
    list_unlink(&cl->link);
    conn_close(&cl->conn, reason, false);
}

/* ---- verbs ---- */

struct stream *h1_client_open(struct h1_client *cl, const struct stream_events *events, void *owner,
                              uint32_t response_head_ms)
{
    CHECK(cl->state == CLIENT_IDLE && !conn_closed(&cl->conn) && !list_linked(&cl->link));
    h1_parser_reset(&cl->parser);
    client_set_state(cl, CLIENT_BUSY);
    cl->interims = 0;
    cl->accept = NULL;
    cl->broken = cl->expects = false;
    cl->tx_done = cl->rx_head = cl->rx_done = cl->tunnel = cl->last = cl->until_close = false;
    cl->response_head_ms = response_head_ms;
    body_flow_init(&cl->flow, cl->options->buffer);
    cl->conn.flags &= (uint16_t)~CONN_TOUCHED;
    cl->stream = (struct stream){
        .magic = STREAM_MAGIC,
        .splices = conn_splices(&cl->conn),
        .ops = &client_stream_ops,
        .events = events,
        .owner = owner,
        .reused = cl->served > 0,
        .also = conn_also(&cl->conn),
    };
    if (cl->connected)
        conn_expect(&cl->conn, NEVER);
    return &cl->stream;
}

static void op_send_head(struct stream *s, const struct http_head *head)
{
    struct h1_client *cl = client_of_stream(s);
    struct h1_framing framing = {.chunked = head->body == BODY_CHUNKED,
                                 .close = cl->options->once,
                                 .upgrade = head->upgrade};
    char key[WEBSOCKET_KEY];
    if (head->upgrade.len > 0 && websocket_needs_key(head) && websocket_key(key)) {
        framing.websocket = span_of(key, sizeof(key));
        cl->accept = mem_need(recycle_get(&cl->conn.reactor->pieces, WEBSOCKET_ACCEPT));
        websocket_accept(framing.websocket, cl->accept);
    }
    cl->chunked = framing.chunked;
    cl->parser.to_head = head->is_head;
    cl->parser.to_upgrade = head->upgrade.len > 0;
    cl->expects = head->expect_continue;
    if (cl->expects && cl->connected)
        conn_expect(&cl->conn, cl->response_head_ms);
    h1_write_request(&cl->conn, head, &framing);
}

static void op_send_body(struct stream *s, struct chain *body)
{
    struct h1_client *cl = client_of_stream(s);
    if (cl->expects) { /* it did not wait */
        cl->expects = false;
        if (cl->connected && !cl->rx_head && !cl->broken)
            conn_expect(&cl->conn, NEVER);
    }
    cl->flow.queued += body->bytes;
    h1_write_body(&cl->conn, body, cl->chunked && !cl->tunnel);
}

static void op_send_end(struct stream *s, const struct http_head *trailers)
{
    struct h1_client *cl = client_of_stream(s);
    cl->tx_done = true;
    if (cl->tunnel) {
        conn_send_end(&cl->conn);
        return;
    }
    if (cl->chunked)
        h1_write_last_chunk(&cl->conn, trailers);
    if (cl->connected && !cl->rx_head)
        conn_expect(&cl->conn, cl->response_head_ms);
}

static void op_credit(struct stream *s, size_t n)
{
    struct h1_client *cl = client_of_stream(s);
    if (body_flow_credit(&cl->flow, &cl->conn, n) && !cl->tunnel)
        conn_expect(&cl->conn, cl->options->response_idle_ms);
}

static bool client_reusable(const struct h1_client *cl)
{
    return !cl->options->once && cl->tx_done && cl->rx_done && !cl->last && !cl->tunnel &&
           !cl->until_close &&
           !(cl->conn.flags & (CONN_EOF | CONN_ERROR | CONN_BROKEN | CONN_SHUT)) &&
           conn_unsent(&cl->conn) == 0 && conn_input(&cl->conn).len == 0 &&
           conn_piped(&cl->conn) == 0;
}

static void op_release(struct stream *s, enum reason reason)
{
    struct h1_client *cl = client_of_stream(s);
    struct conn *c = &cl->conn;
    bool flush = !conn_closed(c) && cl->tunnel && cl->tx_done && cl->rx_done && conn_unsent(c) > 0;
    s->magic = 0;
    conn_opaque(c, 0);
    recycle_put(&c->reactor->pieces, TAKE(cl->accept));
    client_set_state(cl, flush ? CLIENT_FLUSH : CLIENT_IDLE);
    if (flush)
        return;
    if (conn_closed(c)) {
        conn_unhold(c);
        return;
    }
    if (reason != REASON_DONE || !client_reusable(cl)) {
        conn_close(c, reason, false);
        return;
    }
    cl->served++;
    cl->idle_since = reactor_now(c->reactor);
    h1_parser_reset(&cl->parser);
    conn_release_input(c);
    body_flow_end(c);
    c->flags &=
        (uint16_t)~CONN_BULK; /* the less of a body is in memory with its head, the better */
    cl->owner->idle(cl->ctx, cl);
}

static const struct tls_info *op_tls(const struct stream *s)
{
    return conn_tls(&client_of_stream(s)->conn);
}

static const struct stream_ops client_stream_ops = {
    .send_head = op_send_head,
    .send_body = op_send_body,
    .send_end = op_send_end,
    .credit = op_credit,
    .release = op_release,
    .tls = op_tls,
};

/* ---- events ---- */

static void client_abort(struct h1_client *cl, enum reason reason)
{
    conn_hold(&cl->conn);
    conn_close(&cl->conn, reason, false);
    cl->stream.events->aborted(&cl->stream, reason);
}

static void client_deliver_head(struct h1_client *cl)
{
    struct http_head *head = TAKE(cl->parser.head);
    bool interim = head->status < 200 && head->status != 101;
    cl->stream.answered = true;
    if (head->body == BODY_TUNNEL && cl->accept != NULL &&
        !websocket_take_accept(head, cl->accept)) {
        reactor_free(cl->conn.reactor, SLAB_HEAD, head);
        client_abort(cl, REASON_BAD_RESPONSE);
        return;
    }
    if (!interim) {
        cl->rx_head = true;
        cl->tunnel = head->body == BODY_TUNNEL;
        if (cl->tunnel)
            cl->tx_done = false; /* our direction is open again */
        cl->last = head->close;
        cl->until_close = head->body == BODY_CLOSE;
        if (head->keep_alive_s > 0)
            cl->owner->closes_after(cl->ctx, (uint64_t)head->keep_alive_s * 1000);
        conn_expect(&cl->conn, cl->tunnel ? NEVER : cl->options->response_idle_ms);
    } else if (++cl->interims > INTERIMS_MAX) {
        reactor_free(cl->conn.reactor, SLAB_HEAD, head);
        client_abort(cl, REASON_BAD_RESPONSE);
        return;
    } else {
        bool to_head = cl->parser.to_head, to_upgrade = cl->parser.to_upgrade;
        h1_parser_reset(&cl->parser);
        cl->parser.to_head = to_head;
        cl->parser.to_upgrade = to_upgrade;
        if (head->status == 100 && cl->expects) {
            cl->expects = false;
            if (!cl->tx_done) /* the upstream has said its word; the client's body is awaited */
                conn_expect(&cl->conn, NEVER);
        }
    }
    cl->stream.events->head(&cl->stream, head);
    reactor_free(cl->conn.reactor, SLAB_HEAD, head);
}

static void client_deliver_body(struct h1_client *cl)
{
    struct chain body;
    chain_init(&body);
    chain_move(&body, &cl->parser.body);
    if (!body_flow_take(&cl->flow, &cl->conn, body.bytes))
        conn_expect(&cl->conn, NEVER); /* it is not the upstream who is slow */
    else if (!cl->tunnel)
        conn_expect(&cl->conn, cl->options->response_idle_ms);
    cl->stream.events->body(&cl->stream, &body);
    chain_clear(&body);
}

static void client_deliver_end(struct h1_client *cl)
{
    struct http_head *trailers = TAKE(cl->parser.trailers);
    cl->rx_done = true;
    conn_expect(&cl->conn, NEVER);
    cl->stream.events->end(&cl->stream, trailers);
    reactor_free(cl->conn.reactor, SLAB_HEAD, trailers);
}

/* Hands up what the parser recorded; every call up may release the stream. False: it did. */
static bool client_deliver(struct h1_client *cl)
{
    struct h1_parser *p = &cl->parser;
    if (p->head_done && p->head != NULL)
        client_deliver_head(cl);
    if (cl->state == CLIENT_BUSY && p->body.bytes > 0)
        client_deliver_body(cl);
    if (cl->state == CLIENT_BUSY && p->done && !cl->rx_done)
        client_deliver_end(cl);
    return cl->state == CLIENT_BUSY && !conn_closed(&cl->conn);
}

/* False: the stream is released or the conn closed. */
static bool client_read(struct h1_client *cl)
{
    struct conn *c = &cl->conn;
    struct h1_parser *p = &cl->parser;
    while (body_flow_open(&cl->flow) && !p->done && p->error == REASON_NONE) {
        if (!h1_input_parse(c, p, NULL))
            break;
        cl->stream.answered = true;
        if (p->error != REASON_NONE && !p->head_done) {
            client_abort(cl, (enum reason)p->error);
            return false;
        }
        if (!client_deliver(cl))
            return false;
    }
    if (p->error != REASON_NONE) {
        client_abort(cl, (enum reason)p->error);
        return false;
    }
    h1_input_opaque(c, p, &cl->stream);
    return true;
}

enum reason h1_client_connect_reason(int error)
{
    switch (error) {
    case UV_EMFILE:
    case UV_ENFILE:
        return REASON_NO_DESCRIPTORS;
    case UV_ECONNREFUSED:
        return REASON_CONNECT_REFUSED;
    case UV_ETIMEDOUT:
        return REASON_CONNECT_TIMEOUT;
    case UV_EPROTO:
        return REASON_UPSTREAM_TLS_FAILED;
    default:
        return REASON_CONNECT_FAILED;
    }
}

/* Why the stream ends now that the conn has. */
static enum reason client_end_reason(const struct h1_client *cl)
{
    const struct conn *c = &cl->conn;
    if (!(c->flags & CONN_CONNECTED) && c->flags & CONN_ERROR && !cl->connected)
        return h1_client_connect_reason(c->error);
    if (!cl->stream.answered && !(c->flags & CONN_TOUCHED))
        return REASON_UPSTREAM_UNSENT;
    if (c->flags & CONN_ERROR)
        return REASON_UPSTREAM_RESET;
    return cl->rx_head ? REASON_RESPONSE_INCOMPLETE : REASON_UPSTREAM_CLOSED;
}

static void client_end_of_input(struct h1_client *cl)
{
    struct conn *c = &cl->conn;
    bool clean = c->flags & CONN_EOF && !(c->flags & CONN_ERROR);
    if (!body_flow_open(&cl->flow) || cl->rx_done) /* what was read is to be delivered first */
        return;
    if (clean && (cl->tunnel || cl->until_close) && cl->rx_head)
        client_deliver_end(cl);
    else
        client_abort(cl, client_end_reason(cl));
}

/* The upstream takes no more of the request. Its answer may be on the way still, but not for ever;
 * a tunnel has no answer to wait for. */
static void client_broken(struct h1_client *cl)
{
    struct conn *c = &cl->conn;
    if (cl->tunnel) {
        client_abort(cl, REASON_UPSTREAM_RESET);
    } else if (!cl->broken) {
        cl->broken = true;
        if (!cl->rx_head && body_flow_open(&cl->flow))
            conn_expect(c, cl->response_head_ms);
    }
}

static void client_late(struct h1_client *cl)
{
    struct conn *c = &cl->conn;
    if (c->flags & CONN_WRITE_LATE)
        client_abort(cl, REASON_UPSTREAM_WRITE_STALL);
    else if (c->flags & CONN_CONNECTING)
        client_abort(cl, REASON_CONNECT_TIMEOUT);
    else
        client_abort(cl, cl->rx_head ? REASON_RESPONSE_IDLE_TIMEOUT : REASON_RESPONSE_HEAD_TIMEOUT);
}

/* An idle conn has nothing to say; whatever it says, it is not fit for another request. */
static void client_idle_event(struct h1_client *cl)
{
    struct conn *c = &cl->conn;
    enum reason reason = REASON_UPSTREAM_UNSOLICITED;
    const unsigned ended = CONN_EOF | CONN_ERROR | CONN_BROKEN | CONN_WRITE_LATE;
    if (conn_input(c).len == 0 && !(c->flags & (ended | CONN_READ_LATE)))
        return;
    if (conn_input(c).len == 0 && c->flags & ended) {
        reason = REASON_UPSTREAM_IDLE_CLOSED;
        if (cl->served > 0)
            cl->owner->closes_after(cl->ctx, reactor_now(c->reactor) - cl->idle_since);
    } else if (c->flags & CONN_READ_LATE) {
        reason = REASON_UPSTREAM_IDLE_TIMEOUT;
        cl->owner->outlived(cl->ctx);
    }
    if (list_linked(&cl->link))
        cl->owner->unlisted(cl->ctx);
    h1_client_close(cl, reason);
}

static void client_process(struct conn *c)
{
    struct h1_client *cl = client_of(c);
    if (cl->state == CLIENT_IDLE) {
        client_idle_event(cl);
        return;
    }
    if (cl->state == CLIENT_FLUSH) {
        if (conn_unsent(c) == 0 || c->flags & (CONN_ERROR | CONN_BROKEN | CONN_WRITE_LATE)) {
            client_set_state(cl, CLIENT_IDLE);
            conn_close(c, REASON_DONE, false);
        }
        return;
    }
    if (!cl->connected && c->flags & CONN_CONNECTED) {
        cl->connected = true;
        cl->stream.connected_us = reactor_us(c->reactor);
        cl->stream.also = conn_also(c);
        conn_expect(c, cl->tx_done || cl->expects ? cl->response_head_ms : NEVER);
    }
    if (!client_read(cl))
        return;
    if (c->flags & CONN_BROKEN)
        client_broken(cl);
    if (cl->state == CLIENT_BUSY && !conn_closed(c) && c->flags & (CONN_EOF | CONN_ERROR))
        client_end_of_input(cl);
    if (cl->state == CLIENT_BUSY && !conn_closed(c) &&
        c->flags & (CONN_READ_LATE | CONN_WRITE_LATE))
        client_late(cl);
}

/* What is sent while the response is awaited is no silence: one clock counts for both directions.
 */
static void client_wind(struct h1_client *cl)
{
    if (cl->rx_head && cl->conn.read_deadline != NEVER)
        conn_expect(&cl->conn, cl->options->response_idle_ms);
}

static void client_flushed(struct conn *c, size_t n)
{
    (void)n;
    struct h1_client *cl = client_of(c);
    if (cl->state == CLIENT_FLUSH) {
        conn_wake(c);
    } else if (cl->state == CLIENT_BUSY) {
        client_wind(cl);
        size_t drained = body_flow_drained(&cl->flow, c);
        if (drained > 0)
            cl->stream.events->drained(&cl->stream, drained);
    }
}

static void client_moved(struct conn *c, ptrdiff_t delta)
{
    h1_parser_moved(&client_of(c)->parser, delta);
}

static const struct conn_ops client_conn_ops = {
    .name = "upstream",
    .process = client_process,
    .flushed = client_flushed,
    .moved = client_moved,
    .free = client_free,
};
