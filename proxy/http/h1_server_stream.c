/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request of an HTTP/1 client conn is answered: the verbs of its stream and the framing of
 * the response. Owns the stream; must never call up. Reactor's thread.
 */
#include "proxy/http/h1_server_stream.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_server_end.h"
#include "proxy/http/h1_write.h"
#include "proxy/http/websocket.h"

static const struct stream_ops server_stream_ops;

static struct h1_stream *stream_of(struct stream *s)
{
    CHECK(s->magic == STREAM_MAGIC && s->ops == &server_stream_ops);
    return CONTAINER_OF(s, h1_stream, base);
}

struct h1_stream *h1_stream_open(struct h1_server *srv)
{
    struct h1_stream *s = reactor_alloc(srv->conn.reactor, SLAB_H1_STREAM, sizeof(*s));
    memset(s, 0, sizeof(*s));
    s->base = (struct stream){
        .magic = STREAM_MAGIC, .ops = &server_stream_ops, .splices = conn_splices(&srv->conn)};
    s->srv = srv;
    s->head = TAKE(srv->parser->head);
    s->block = srv->conn.in != NULL ? block_ref(srv->conn.in) : NULL;
    body_flow_init(&s->flow, srv->options->buffer);
    s->expects = s->head->expect_continue;
    s->keep = !s->head->close;
    srv->stream = s;
    return s;
}

static void stream_free(struct h1_stream *s)
{
    struct h1_server *srv = s->srv;
    struct reactor *r = srv->conn.reactor;
    CHECK(srv->stream == s);
    srv->stream = NULL;
    reactor_free(r, SLAB_HEAD, s->head);
    block_drop(s->block);
    s->base.magic = 0;
    reactor_free(r, SLAB_H1_STREAM, s);
}

/* More of the request's body may be to come than server_check_drain would read. What has come of
 * chunks tells nothing of what is to come. */
static bool stream_may_outlast_drain(const struct h1_stream *s)
{
    const struct h1_server *srv = s->srv;
    if (s->rx_done || srv->parser->done)
        return false;
    return s->head->body != BODY_LENGTH ||
           s->head->content_length - srv->parser->body_bytes > srv->options->buffer;
}

/* A 1xx. What the client cannot read, or has no time for, is left out. */
static void send_interim(struct h1_stream *s, const struct http_head *head)
{
    struct h1_server *srv = s->srv;
    if (s->head->minor == 0) /* HTTP/1.0 knows no interim responses */
        return;
    if (head->status == 100 && s->expects) {
        s->expects = false;
        if (!s->rx_done && body_flow_open(&s->flow))
            conn_expect(&srv->conn, srv->options->body_ms);
    } else if (conn_unsent(&srv->conn) > srv->options->buffer) {
        return;
    }
    h1_write_response(&srv->conn, head, &(struct h1_framing){0});
}

/* From now on both directions are bytes. */
static void send_upgrade(struct h1_stream *s, const struct http_head *head)
{
    struct h1_server *srv = s->srv;
    struct h1_framing framing = {.upgrade = head->upgrade};
    struct span key;
    char accept[WEBSOCKET_ACCEPT];
    if (websocket_needs_accept(s->head, head, &key)) {
        websocket_accept(key, accept);
        framing.websocket = span_of(accept, sizeof(accept));
    }
    h1_write_response(&srv->conn, head, &framing);
    s->tx = TX_TUNNEL;
    s->rx_done = s->keep = false;
    h1_parser_tunnel(srv->parser);
    conn_expect(&srv->conn, NEVER);
    conn_wake(&srv->conn);
}

/* May the conn serve another request after this response? */
static bool stream_keeps(const struct h1_stream *s, const struct http_head *head)
{
    const struct h1_server_options *options = s->srv->options;
    if (!s->keep || s->to_close || s->rx_dead)
        return false;
    /* A client that waits for a 100 in vain may send its body or not: only a new conn is clear. */
    if (s->expects && !s->rx_done)
        return false;
    if (head->status >= 400 && stream_may_outlast_drain(s))
        return false;
    return options->service->keep_alive(options->ctx, &s->srv->client.peer, false);
}

/* An answer over HTTP/2 may end with its head and say no length: here the client would wait for the
 * end of the conn. */
static bool ends_with_head(const struct h1_stream *s, const struct http_head *head)
{
    return head->body == BODY_NONE && !s->head->is_head && head->status != 204 &&
           head->status != 304;
}

static void op_send_head(struct stream *base, const struct http_head *head)
{
    struct h1_stream *s = stream_of(base);
    CHECK(s->tx == TX_HEAD);
    if (head->status < 200 && head->status != 101) {
        send_interim(s, head);
        return;
    }
    if (head->body == BODY_TUNNEL) {
        send_upgrade(s, head);
        return;
    }
    s->tx = TX_BODY;
    conn_expect(&s->srv->conn, NEVER);
    s->no_body = s->head->is_head || head->body == BODY_NONE;
    bool unbounded = !s->no_body && head->body != BODY_LENGTH;
    s->chunked = unbounded && s->head->minor >= 1;
    s->to_close = unbounded && !s->chunked;
    s->keep = stream_keeps(s, head);
    struct h1_framing framing = {
        .chunked = s->chunked,
        .empty = ends_with_head(s, head),
        .close = !s->keep,
        .keep_alive = s->keep && s->head->minor == 0,
    };
    h1_write_response(&s->srv->conn, head, &framing);
}

static void op_send_body(struct stream *base, struct chain *body)
{
    struct h1_stream *s = stream_of(base);
    CHECK(s->tx == TX_BODY || s->tx == TX_TUNNEL);
    if (s->no_body) {
        chain_clear(body);
        return;
    }
    s->flow.queued += body->bytes;
    h1_write_body(&s->srv->conn, body, s->chunked);
}

static void op_send_end(struct stream *base, const struct http_head *trailers)
{
    struct h1_stream *s = stream_of(base);
    CHECK(s->tx == TX_BODY || s->tx == TX_TUNNEL);
    if (s->tx == TX_TUNNEL)
        conn_send_end(&s->srv->conn);
    else if (s->chunked)
        h1_write_last_chunk(&s->srv->conn, trailers);
    s->tx = TX_DONE;
}

static void op_credit(struct stream *base, size_t n)
{
    struct h1_stream *s = stream_of(base);
    struct conn *c = &s->srv->conn;
    if (body_flow_credit(&s->flow, c, n) && !s->srv->parser->raw && !s->rx_done &&
        h1_server_awaits_body(s->srv))
        conn_expect(c, s->srv->options->body_ms);
}

static void op_release(struct stream *base, enum reason reason)
{
    struct h1_stream *s = stream_of(base);
    struct h1_server *srv = s->srv;
    bool rx_done = s->rx_done, rx_dead = s->rx_dead, keep = s->keep, to_close = s->to_close;
    bool whole = s->tx == TX_DONE, expects = s->expects, asked = s->head->close;
    stream_free(s);
    if (conn_closed(&srv->conn)) {
        conn_unhold(&srv->conn);
        return;
    }
    if (!whole) { /* cut: no last chunk is forged, and a body that ends with the conn is reset */
        if (reason_row(reason)->side == SIDE_GONE)
            conn_close(&srv->conn, reason, false);
        else if (to_close)
            h1_server_close_flushed(srv, reason, true);
        else /* what was answered before is not to be lost by a reset */
            h1_server_linger(srv, reason);
    } else if (rx_done) {
        h1_server_next(srv, keep, asked);
    } else if (rx_dead || expects || !keep) {
        h1_server_linger(srv, REASON_DONE);
    } else {
        h1_server_drain(srv);
    }
}

static const struct stream_ops server_stream_ops = {
    .send_head = op_send_head,
    .send_body = op_send_body,
    .send_end = op_send_end,
    .credit = op_credit,
    .release = op_release,
};
