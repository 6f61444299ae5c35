/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of one client conn as they come in. How they are answered is in h1_server_stream.c,
 * what becomes of the conn then in h1_server_end.c. Owns the conn, the parser and the stream of the
 * request in progress; must never start a request before the one before it is answered. Up-calls
 * are made from server_process, server_flushed and server_abort only, and after each of them the
 * stream may be gone. Reactor's thread.
 */
#include "proxy/http/h1_server.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_input.h"
#include "proxy/http/h1_server_end.h"
#include "proxy/http/h1_server_stream.h"

#define H1_SERVER_MAGIC MAGIC('h', '1', 's', 'v')
/* Unparsed bytes behind a request in progress; then reading pauses. */
#define PIPELINE_BYTES   16384
#define FIRST_REQUEST_MS 1000 /* that a conn without a request has once the worker is closing */

static const struct conn_ops server_conn_ops;
static const struct client_conn_ops server_client_ops;

static struct h1_server *server_of(struct conn *c)
{
    struct h1_server *srv = CONTAINER_OF(c, h1_server, conn);
    CHECK(srv->magic == H1_SERVER_MAGIC);
    return srv;
}

/* ---- the parser: an idle conn has none ---- */

static struct h1_parser *parser_need(struct h1_server *srv)
{
    struct reactor *r = srv->conn.reactor;
    if (srv->parser == NULL) {
        srv->parser = reactor_alloc(r, SLAB_H1_PARSER, sizeof(*srv->parser));
        h1_parser_init(srv->parser, false, &srv->options->limits,
                       reactor_slab(r, SLAB_HEAD, sizeof(struct http_head)));
    }
    return srv->parser;
}

static enum reason parser_error(const struct h1_server *srv)
{
    return srv->parser != NULL ? (enum reason)srv->parser->error : REASON_NONE;
}

static bool parser_done(const struct h1_server *srv)
{
    return srv->parser != NULL && srv->parser->done;
}

/* ---- life and death of the conn ---- */

struct h1_server *h1_server_new(struct reactor *r, const struct h1_server_options *options,
                                const struct http_peer *peer, struct list_node *conns)
{
    struct h1_server *srv = reactor_alloc(r, SLAB_H1_SERVER, sizeof(*srv));
    memset(srv, 0, sizeof(*srv));
    conn_init(&srv->conn, r, &server_conn_ops, options->write_stall_ms);
    srv->magic = H1_SERVER_MAGIC;
    srv->options = options;
    client_conn_init(&srv->client, &server_client_ops, peer, conns);
    conn_expect(&srv->conn, options->head_ms);
    return srv;
}

bool h1_server_accept(struct reactor *r, const struct h1_server_options *options, int fd,
                      bool is_unix, const struct http_peer *peer, struct list_node *conns)
{
    struct h1_server *srv = h1_server_new(r, options, peer, conns);
    if (conn_adopt(&srv->conn, fd, is_unix))
        return true;
    wheel_remove(&r->wheel, &srv->conn.timer);
    list_unlink(&srv->client.link);
    reactor_free(r, SLAB_H1_SERVER, srv);
    return false;
}

struct conn *h1_server_conn(struct h1_server *srv)
{
    return &srv->conn;
}

static void server_free(struct conn *c)
{
    struct h1_server *srv = server_of(c);
    CHECK(srv->stream == NULL);
    h1_server_drop_parser(srv);
    list_unlink(&srv->client.link);
    srv->magic = 0;
    srv->options->service->closed(srv->options->ctx, &srv->client.peer,
                                  (enum reason)srv->conn.close_reason);
    reactor_free(c->reactor, SLAB_H1_SERVER, srv);
}

/* ---- what came in ---- */

/* The client cannot be answered any more. It may still read: a body that ends with the conn must
 * not look whole. */
static void server_gone(struct h1_server *srv, enum reason reason)
{
    struct h1_stream *s = srv->stream;
    if (s != NULL) {
        conn_hold(&srv->conn);
        conn_close(&srv->conn, reason, s->to_close);
        s->base.events->aborted(&s->base, reason);
        return;
    }
    conn_close(&srv->conn, reason, false);
}

/* The request is malformed, too large or too slow: it still gets an answer. */
static void server_refuse(struct h1_server *srv, enum reason reason)
{
    struct h1_stream *s = srv->stream;
    conn_expect(&srv->conn, NEVER);
    conn_opaque(&srv->conn, 0);
    if (s == NULL) {
        s = h1_stream_open(srv);
        s->keep = false;
        s->rx_dead = true;
        srv->options->service->request(srv->options->ctx, &s->base, s->head, &srv->client.peer,
                                       reason);
        return;
    }
    s->keep = false;
    s->rx_dead = true;
    s->base.events->aborted(&s->base, reason);
}

static void server_deliver_body(struct h1_server *srv, struct h1_stream *s)
{
    struct chain body;
    chain_init(&body);
    chain_move(&body, &srv->parser->body);
    if (!body_flow_take(&s->flow, &srv->conn, body.bytes))
        conn_expect(&srv->conn, NEVER); /* it is not the client who is slow */
    s->base.events->body(&s->base, &body);
    chain_clear(&body);
}

static void server_deliver_end(struct h1_server *srv, struct h1_stream *s)
{
    struct http_head *trailers = TAKE(srv->parser->trailers);
    s->rx_done = true;
    conn_expect(&srv->conn, NEVER);
    srv->conn.read_cap = 0;
    s->base.events->end(&s->base, trailers);
    reactor_free(srv->conn.reactor, SLAB_HEAD, trailers);
}

/* Hands up what the parser recorded. Every call up may release the stream. */
static void server_deliver(struct h1_server *srv)
{
    struct h1_parser *p = srv->parser;
    if (srv->stream == NULL && p->head_done && srv->state == SERVER_OPEN &&
        p->error == REASON_NONE) {
        struct h1_stream *s = h1_stream_open(srv);
        /* A client that waits for a 100 is not slow, the upstream is; but bytes don't wait. */
        bool waits = s->expects && p->body.bytes == 0;
        conn_expect(&srv->conn, p->done || waits ? NEVER : srv->options->body_ms);
        srv->options->service->request(srv->options->ctx, &s->base, s->head, &srv->client.peer,
                                       REASON_NONE);
    }
    if (srv->stream != NULL && p->body.bytes > 0)
        server_deliver_body(srv, srv->stream);
    if (srv->stream != NULL && p->done && !srv->stream->rx_done && srv->stream->tx != TX_TUNNEL)
        server_deliver_end(srv, srv->stream);
}

/* Is there anything that the parser may take now? */
static bool server_may_parse(const struct h1_server *srv)
{
    const struct h1_stream *s = srv->stream;
    if (parser_error(srv) != REASON_NONE || parser_done(srv) || conn_closed(&srv->conn))
        return false;
    if (s == NULL) /* the next request waits while the client does not read the last answer */
        return srv->state == SERVER_DRAIN ||
               (srv->state == SERVER_OPEN && conn_unsent(&srv->conn) <= srv->options->buffer);
    return body_flow_open(&s->flow) && !s->rx_dead;
}

/* Parses and delivers until the bytes, or the permission to take them, run out. */
static void server_read(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    while (server_may_parse(srv)) {
        if (conn_input(c).len == 0 && conn_piped(c) == 0)
            break;
        struct h1_parser *p = parser_need(srv);
        size_t used = 0;
        h1_input_parse(c, p, &used);
        if (p->body.bytes > 0 && !p->raw && !p->done && h1_server_awaits_body(srv))
            conn_expect(c, srv->options->body_ms);
        if (srv->state == SERVER_DRAIN) {
            srv->discarded += (uint32_t)p->body.bytes;
            chain_clear(&p->body);
        } else {
            server_deliver(srv);
        }
        if (conn_closed(c))
            return;
        if (used == 0 && parser_error(srv) == REASON_NONE)
            break;
    }
    if (srv->stream != NULL && srv->parser != NULL)
        h1_input_opaque(c, srv->parser, &srv->stream->base);
    else if (srv->stream == NULL && parser_error(srv) == REASON_NONE)
        conn_rest_input(c); /* what is wrong is still told, where it is */
}

static void server_check_drain(struct h1_server *srv)
{
    if (parser_done(srv))
        h1_server_next(srv, true, false);
    else if (parser_error(srv) != REASON_NONE || srv->discarded > srv->options->buffer)
        h1_server_linger(srv, REASON_DONE);
    else /* as in server_discard() */
        conn_resume(&srv->conn, PAUSE_FULL);
}

/* Bytes that nobody may parse yet pile up to a bound. */
static void server_check_pipeline(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    if (!server_may_parse(srv) && conn_input(c).len >= PIPELINE_BYTES)
        conn_pause(c, PAUSE_FULL);
    else
        conn_resume(c, PAUSE_FULL);
}

static void server_end_of_input(struct h1_server *srv)
{
    struct h1_stream *s = srv->stream;
    if (s == NULL) {
        if (srv->state == SERVER_OPEN || srv->state == SERVER_DRAIN)
            h1_server_close_flushed(srv, REASON_CLIENT_CLOSED, false);
    } else if (s->tx == TX_TUNNEL || (s->tx == TX_DONE && srv->parser->raw)) {
        if (!s->rx_done && body_flow_open(&s->flow))
            server_deliver_end(srv, s);
    } else {
        server_gone(srv, REASON_CLIENT_CLOSED);
    }
}

static void server_late(struct h1_server *srv)
{
    srv->conn.flags &= (uint16_t)~CONN_READ_LATE;
    if (srv->state == SERVER_DRAIN)
        h1_server_linger(srv, REASON_BODY_TIMEOUT);
    else if (srv->state != SERVER_OPEN)
        conn_close(&srv->conn, (enum reason)srv->reason, false);
    else if (srv->stream != NULL)
        server_refuse(srv, REASON_BODY_TIMEOUT);
    else if (h1_server_began(srv))
        server_refuse(srv, REASON_HEAD_TIMEOUT);
    else
        conn_close(&srv->conn, REASON_IDLE_TIMEOUT, false);
}

static void server_discard(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    srv->discarded += (uint32_t)conn_discard(c);
    if (!(c->flags & CONN_EOF) && srv->discarded <= CLIENT_LINGER_BYTES)
        conn_resume(c, PAUSE_FULL); /* TLS may have filled the block before this turn */
    else if (conn_unsent(c) == 0)
        conn_close(c, (enum reason)srv->reason, false);
    else
        conn_pause(c, PAUSE_FULL); /* the answer first */
}

static void server_process(struct conn *c)
{
    struct h1_server *srv = server_of(c);
    bool began = h1_server_began(srv);
    if (c->flags & (CONN_ERROR | CONN_BROKEN)) {
        server_gone(srv, client_conn_error(c));
        return;
    }
    if (c->flags & CONN_WRITE_LATE) {
        server_gone(srv, REASON_CLIENT_WRITE_STALL);
        return;
    }
    if (srv->state == SERVER_LINGER) {
        server_discard(srv);
    } else if (srv->state == SERVER_FLUSH) {
        conn_discard(c);
        if (conn_unsent(c) == 0)
            conn_close(c, (enum reason)srv->reason, srv->reset);
    } else {
        server_read(srv);
        if (srv->state == SERVER_DRAIN)
            server_check_drain(srv);
    }
    if (conn_closed(c))
        return;
    if (parser_error(srv) != REASON_NONE && srv->state == SERVER_OPEN &&
        (srv->stream == NULL || !srv->stream->rx_dead))
        server_refuse(srv, parser_error(srv));
    if (!conn_closed(c) && c->flags & CONN_EOF && srv->state != SERVER_LINGER)
        server_end_of_input(srv);
    if (!conn_closed(c) && c->flags & CONN_READ_LATE)
        server_late(srv);
    if (conn_closed(c) || srv->state != SERVER_OPEN)
        return;
    if (!began && h1_server_began(srv) && srv->stream == NULL && !srv->parser->head_done)
        conn_expect(c, srv->options->head_ms); /* counts from the first byte of the head */
    server_check_pipeline(srv);
}

static void server_flushed(struct conn *c, size_t n)
{
    (void)n;
    struct h1_server *srv = server_of(c);
    struct h1_stream *s = srv->stream;
    if (s == NULL) {
        if (conn_unsent(c) == 0)
            h1_server_arm(srv);
        if (srv->state != SERVER_OPEN || conn_input(c).len > 0)
            conn_wake(c);
        return;
    }
    size_t drained = body_flow_drained(&s->flow, c);
    if (drained > 0)
        s->base.events->drained(&s->base, drained);
}

static void server_moved(struct conn *c, ptrdiff_t delta)
{
    if (server_of(c)->parser != NULL)
        h1_parser_moved(server_of(c)->parser, delta);
}

static const struct conn_ops server_conn_ops = {
    .name = "client",
    .process = server_process,
    .flushed = server_flushed,
    .moved = server_moved,
    .free = server_free,
};

static void server_close_idle(struct client_conn *client)
{
    struct h1_server *srv = CONTAINER_OF(client, h1_server, client);
    if (srv->stream != NULL || h1_server_began(srv) || srv->state != SERVER_OPEN ||
        conn_input(&srv->conn).len > 0)
        return;
    if (srv->served)
        h1_server_close_flushed(srv, REASON_DRAINING, false);
    else /* accepted, and its request may be on the way */
        conn_expect(&srv->conn, FIRST_REQUEST_MS);
}

static void server_abort(struct client_conn *client, enum reason reason)
{
    struct h1_server *srv = CONTAINER_OF(client, h1_server, client);
    if (!conn_closed(&srv->conn))
        server_gone(srv, reason);
}

static const struct client_conn_ops server_client_ops = {
    .close_idle = server_close_idle,
    .abort = server_abort,
};

struct client_conn *h1_server_client(struct h1_server *srv)
{
    return &srv->client;
}
