/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of one client conn. Owns the conn, the parser and the stream of the request in progress;
 * must never start a request before the one before it is answered. Up-calls are made from
 * server_process and server_flushed only, and after each of them the stream may be gone.
 */
#include "proxy/http/h1_server.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/http/body_flow.h"
#include "proxy/http/h1_input.h"
#include "proxy/http/h1_write.h"
#include "proxy/http/websocket.h"

#define H1_SERVER_MAGIC MAGIC('h', '1', 's', 'v')
/* Unparsed bytes behind a request in progress; then reading pauses. */
#define PIPELINE_BYTES 16384
/* How long, and for how many bytes, a closing conn still reads, so that no RST eats our answer. */
#define LINGER_MS        2000
#define LINGER_BYTES     (256 * 1024)
#define FIRST_REQUEST_MS 1000 /* that a conn without a request has once the worker is closing */

enum server_state {
    SERVER_OPEN,   /* a request is awaited, read or answered */
    SERVER_DRAIN,  /* answered; the rest of the request is thrown away */
    SERVER_FLUSH,  /* closes once all is written */
    SERVER_LINGER, /* our end is sent; reads until the client's end */
};

enum tx_state { TX_HEAD, TX_BODY, TX_TUNNEL, TX_DONE };

struct h1_stream {
    struct stream base;
    struct h1_server *srv;
    struct http_head *head;
    struct block *block; /* that the head's spans point into */
    struct body_flow flow;
    uint8_t tx;    /* enum tx_state */
    bool rx_done;  /* the request was delivered whole */
    bool rx_dead;  /* it never will be */
    bool chunked;  /* the response is */
    bool no_body;  /* the response has none */
    bool to_close; /* the response ends with the conn */
    bool keep;     /* the conn serves another request afterwards */
    bool expects;  /* the client waits for a 100 before it sends the body */
};

struct h1_server {
    struct conn conn;
    uint32_t magic;
    uint8_t state; /* enum server_state */
    bool served;   /* a request was answered: now the idle timeout counts */
    bool reset;    /* at the end of SERVER_FLUSH */
    uint16_t reason;
    uint32_t discarded; /* bytes thrown away in SERVER_DRAIN and SERVER_LINGER */
    const struct h1_server_options *options;
    struct h1_stream *stream;
    struct client_conn client;
    struct h1_parser *parser; /* NULL while no byte of a request is there */
};

static const struct stream_ops server_stream_ops;
static const struct conn_ops server_conn_ops;
static const struct client_conn_ops server_client_ops;

/* Which states may follow which; the trace is what `log: debug` shows. */
static void server_set_state(struct h1_server *srv, enum server_state state)
{
    static const char *const names[] = {"open", "drain", "flush", "linger"};
    static const uint8_t after[] = {
        [SERVER_OPEN] =
            1 << SERVER_OPEN | 1 << SERVER_DRAIN | 1 << SERVER_FLUSH | 1 << SERVER_LINGER,
        [SERVER_DRAIN] = 1 << SERVER_OPEN | 1 << SERVER_FLUSH | 1 << SERVER_LINGER,
        [SERVER_FLUSH] = 1 << SERVER_FLUSH,
        [SERVER_LINGER] = 0,
    };
    CHECK(after[srv->state] & 1 << state);
    if (srv->state != state)
        log_debug("client conn %p: %s -> %s", (void *)&srv->conn, names[srv->state], names[state]);
    srv->state = (uint8_t)state;
}

static struct h1_server *server_of(struct conn *c)
{
    struct h1_server *srv = CONTAINER_OF(c, h1_server, conn);
    CHECK(srv->magic == H1_SERVER_MAGIC);
    return srv;
}

static struct h1_stream *stream_of(struct stream *s)
{
    CHECK(s->magic == STREAM_MAGIC && s->ops == &server_stream_ops);
    return CONTAINER_OF(s, h1_stream, base);
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

static void parser_drop(struct h1_server *srv)
{
    struct h1_parser *p = TAKE(srv->parser);
    if (p != NULL)
        h1_parser_fini(p);
    reactor_free(srv->conn.reactor, SLAB_H1_PARSER, p);
}

static bool parser_began(const struct h1_server *srv)
{
    return srv->parser != NULL && srv->parser->began;
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
    srv->client.peer = *peer;
    srv->client.ops = &server_client_ops;
    list_init(&srv->client.link);
    list_push_back(conns, &srv->client.link);
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
    parser_drop(srv);
    list_unlink(&srv->client.link);
    srv->magic = 0;
    srv->options->service->closed(srv->options->ctx, &srv->client.peer,
                                  (enum reason)srv->conn.close_reason);
    reactor_free(c->reactor, SLAB_H1_SERVER, srv);
}

/* While an answer is on its way only the write stall may end it: the clocks of what comes after it
 * begin when it has left. */
static void server_arm(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    if (conn_unsent(c) > 0 || conn_closed(c))
        conn_expect(c, NEVER);
    else if (srv->state == SERVER_LINGER)
        conn_expect(c, LINGER_MS);
    else if (srv->state == SERVER_OPEN && srv->stream == NULL && !parser_began(srv))
        conn_expect(c, srv->served ? srv->options->idle_ms : srv->options->head_ms);
}

/* Everything queued goes out first. reset: the client is to see that something is missing. */
static void server_close_flushed(struct h1_server *srv, enum reason reason, bool reset)
{
    server_set_state(srv, SERVER_FLUSH);
    srv->reason = (uint16_t)reason;
    srv->reset = reset;
    if (!reset && conn_unsent(&srv->conn) > 0)
        conn_send_end(&srv->conn); /* with the last bytes: what is closed with input loses them */
    conn_expect(&srv->conn, NEVER);
    conn_wake(&srv->conn);
}

/* Sends our end, then reads on for a while: closing a socket with unread bytes in it sends an RST,
 * which can take our answer away from the client (RFC 9112 section 9.6). */
static void server_linger(struct h1_server *srv, enum reason reason)
{
    server_set_state(srv, SERVER_LINGER);
    srv->reason = (uint16_t)reason;
    srv->discarded = 0;
    conn_send_end(&srv->conn);
    body_flow_end(&srv->conn);
    conn_resume(&srv->conn, PAUSE_FULL);
    server_arm(srv);
    conn_wake(&srv->conn);
}

/* ---- streams ---- */

static struct h1_stream *stream_open(struct h1_server *srv)
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

static void op_send_head(struct stream *base, const struct http_head *head)
{
    struct h1_stream *s = stream_of(base);
    struct h1_framing framing = {0};
    struct h1_server *srv = s->srv;
    CHECK(s->tx == TX_HEAD);
    if (head->status < 200 && head->status != 101) {
        if (s->head->minor == 0) /* HTTP/1.0 knows no interim responses */
            return;
        if (head->status == 100 && s->expects) {
            s->expects = false;
            if (!s->rx_done && body_flow_open(&s->flow))
                conn_expect(&srv->conn, srv->options->body_ms);
        } else if (conn_unsent(&srv->conn) > srv->options->buffer) {
            return; /* a hint that the client has no time for is none */
        }
        h1_write_response(&srv->conn, head, &framing);
        return;
    }
    if (head->body == BODY_TUNNEL) {
        struct span key;
        char accept[WEBSOCKET_ACCEPT];
        framing.upgrade = head->upgrade;
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
        return;
    }
    s->tx = TX_BODY;
    s->no_body = s->head->is_head || head->body == BODY_NONE;
    bool unbounded = !s->no_body && head->body != BODY_LENGTH;
    s->chunked = unbounded && s->head->minor >= 1;
    s->to_close = unbounded && !s->chunked;
    /* A client that waits for a 100 in vain may send its body or not: only a new conn is clear. */
    s->keep = s->keep && !s->to_close && !(s->expects && !s->rx_done) && !s->rx_dead &&
              !(head->status >= 400 && stream_may_outlast_drain(s)) &&
              srv->options->service->keep_alive(srv->options->ctx, &srv->client.peer);
    framing.chunked = s->chunked;
    framing.close = !s->keep;
    framing.keep_alive = s->keep && s->head->minor == 0;
    h1_write_response(&srv->conn, head, &framing);
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
    if (body_flow_credit(&s->flow, c, n) && !s->srv->parser->raw && !s->rx_done)
        conn_expect(c, s->srv->options->body_ms);
}

/* The request is answered and read: on to the next, or the end. asked: it was the client who wanted
 * the end, so that nothing more of its is on the way. */
static void server_next(struct h1_server *srv, bool keep, bool asked)
{
    struct conn *c = &srv->conn;
    parser_drop(srv);
    srv->served = true;
    /* Asked again: the worker may have begun to close since the head promised another request. */
    keep = keep && srv->options->service->keep_alive(srv->options->ctx, &srv->client.peer);
    body_flow_end(c);
    if (!keep && (c->flags & CONN_EOF || (asked && conn_input(c).len == 0))) {
        server_close_flushed(srv, REASON_DONE, false);
        return;
    }
    if (!keep) {
        server_linger(srv, REASON_DONE);
        return;
    }
    server_set_state(srv, SERVER_OPEN);
    conn_release_input(c);
    server_arm(srv);
    if (conn_input(c).len > 0 || c->flags & CONN_EOF)
        conn_wake(c);
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
            server_close_flushed(srv, reason, true);
        else /* what was answered before is not to be lost by a reset */
            server_linger(srv, reason);
    } else if (rx_done) {
        server_next(srv, keep, asked);
    } else if (rx_dead || expects || !keep) {
        server_linger(srv, REASON_DONE);
    } else {
        server_set_state(srv, SERVER_DRAIN);
        srv->discarded = 0;
        body_flow_end(&srv->conn);
        conn_resume(&srv->conn, PAUSE_FULL);
        conn_expect(&srv->conn, srv->options->body_ms);
        conn_wake(&srv->conn);
    }
}

static const struct stream_ops server_stream_ops = {
    .send_head = op_send_head,
    .send_body = op_send_body,
    .send_end = op_send_end,
    .credit = op_credit,
    .release = op_release,
};

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
        s = stream_open(srv);
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
        struct h1_stream *s = stream_open(srv);
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
        if (p->body.bytes > 0 && !p->raw && !p->done)
            conn_expect(c, srv->options->body_ms);
        if (srv->state == SERVER_DRAIN) {
            srv->discarded += (uint32_t)p->body.bytes;
            chain_clear(&p->body);
        } else {
            server_deliver(srv);
        }
        if (conn_closed(c) || (used == 0 && parser_error(srv) == REASON_NONE))
            return;
    }
    if (srv->stream != NULL && srv->parser != NULL)
        h1_input_opaque(c, srv->parser, &srv->stream->base);
}

static void server_check_drain(struct h1_server *srv)
{
    if (parser_done(srv))
        server_next(srv, true, false);
    else if (parser_error(srv) != REASON_NONE || srv->discarded > srv->options->buffer)
        server_linger(srv, REASON_DONE);
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
            server_close_flushed(srv, REASON_CLIENT_CLOSED, false);
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
        server_linger(srv, REASON_BODY_TIMEOUT);
    else if (srv->state != SERVER_OPEN)
        conn_close(&srv->conn, (enum reason)srv->reason, false);
    else if (srv->stream != NULL)
        server_refuse(srv, REASON_BODY_TIMEOUT);
    else if (parser_began(srv))
        server_refuse(srv, REASON_HEAD_TIMEOUT);
    else
        conn_close(&srv->conn, REASON_IDLE_TIMEOUT, false);
}

static void server_discard(struct h1_server *srv)
{
    struct conn *c = &srv->conn;
    srv->discarded += (uint32_t)conn_discard(c);
    if (!(c->flags & CONN_EOF) && srv->discarded <= LINGER_BYTES)
        conn_resume(c, PAUSE_FULL); /* TLS may have filled the block before this turn */
    else if (conn_unsent(c) == 0)
        conn_close(c, (enum reason)srv->reason, false);
    else
        conn_pause(c, PAUSE_FULL); /* the answer first */
}

static void server_process(struct conn *c)
{
    struct h1_server *srv = server_of(c);
    bool began = parser_began(srv);
    if (c->flags & (CONN_ERROR | CONN_BROKEN)) {
        server_gone(srv, REASON_CLIENT_RESET);
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
    if (!began && parser_began(srv) && srv->stream == NULL && !srv->parser->head_done)
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
            server_arm(srv);
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
    if (srv->stream != NULL || parser_began(srv) || srv->state != SERVER_OPEN ||
        conn_input(&srv->conn).len > 0)
        return;
    if (srv->served)
        server_close_flushed(srv, REASON_DRAINING, false);
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
