/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start of a client conn. Owns the conn until the session that is to have it is known; must
 * never write, nor consume a byte of what that session has to read. Conn's thread.
 */
#include "proxy/http/front.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/net/proxy_header.h"

#define FRONT_MAGIC      MAGIC('f', 'r', 'n', 't')
#define FIRST_REQUEST_MS 1000 /* that a conn without a request has once the worker is closing */

static const struct span preface = {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24};

enum front_state {
    FRONT_PROXY, /* the header of the PROXY protocol is awaited */
    FRONT_HELLO, /* the first bytes of a TLS handshake are */
    FRONT_SHAKE, /* it goes on */
    FRONT_BYTES, /* the first bytes of the protocol are awaited */
};

struct front {
    struct conn conn;
    uint32_t magic;
    uint8_t state; /* enum front_state */
    bool tls;      /* a handshake is to come, or came */
    bool no_h2;    /* the listener does not speak it: its preface is a bad request */
    bool no_h1;    /* nor that: a request is no preface */
    bool began;    /* a byte of the preface is there */
    bool closing;  /* the worker is: the deadline does not move any more */
    bool handed_over;
    const struct front_options *options;
    struct list_node *conns;
    struct client_conn client;
};

static const struct conn_ops front_conn_ops;
static const struct client_conn_ops front_client_ops;

static struct front *front_of(struct conn *c)
{
    struct front *f = CONTAINER_OF(c, front, conn);
    CHECK(f->magic == FRONT_MAGIC);
    return f;
}

/* ---- life and death ---- */

static void front_expect(struct front *f, uint64_t ms)
{
    if (!f->closing)
        conn_expect(&f->conn, ms);
}

/* On to what comes behind the PROXY header. */
static void front_next(struct front *f)
{
    f->state = f->tls ? FRONT_HELLO : FRONT_BYTES;
    front_expect(f, f->tls ? f->options->handshake_ms : f->options->h1->head_ms);
}

struct front *front_new(struct reactor *r, const struct front_options *options,
                        struct front_wants wants, const struct http_peer *peer,
                        struct list_node *conns)
{
    struct front *f = reactor_alloc(r, SLAB_FRONT, sizeof(*f));
    memset(f, 0, sizeof(*f));
    conn_init(&f->conn, r, &front_conn_ops, options->h1->write_stall_ms);
    f->magic = FRONT_MAGIC;
    f->options = options;
    f->conns = conns;
    client_conn_init(&f->client, &front_client_ops, peer, conns);
    f->tls = wants.tls;
    if (wants.proxy_header) {
        f->state = FRONT_PROXY;
        front_expect(f, options->handshake_ms);
    } else {
        front_next(f);
    }
    return f;
}

bool front_accept(struct reactor *r, const struct front_options *options, struct front_wants wants,
                  int fd, bool is_unix, const struct http_peer *peer, struct list_node *conns)
{
    struct front *f = front_new(r, options, wants, peer, conns);
    if (conn_adopt(&f->conn, fd, is_unix))
        return true;
    wheel_remove(&r->wheel, &f->conn.timer);
    list_unlink(&f->client.link);
    reactor_free(r, SLAB_FRONT, f);
    return false;
}

struct conn *front_conn(struct front *f)
{
    return &f->conn;
}

static void front_free(struct conn *c)
{
    struct front *f = front_of(c);
    const struct h1_server_options *h1 = f->options->h1;
    list_unlink(&f->client.link);
    f->magic = 0;
    f->client.peer.tls = NULL; /* went with the transport */
    if (!f->handed_over)
        h1->service->closed(h1->ctx, &f->client.peer, (enum reason)c->close_reason);
    reactor_free(c->reactor, SLAB_FRONT, f);
}

static void front_hand_over(struct front *f, struct conn *to, struct client_conn *client)
{
    f->handed_over = true;
    list_unlink(&f->client.link);
    conn_hand_over(&f->conn, to);
    if (f->closing)
        client_conn_close_idle(client);
}

static void front_to_h1(struct front *f)
{
    struct h1_server *srv =
        h1_server_new(f->conn.reactor, f->options->h1, &f->client.peer, f->conns);
    front_hand_over(f, h1_server_conn(srv), h1_server_client(srv));
}

static void front_to_h2(struct front *f)
{
    struct h2_server *srv =
        h2_server_new(f->conn.reactor, f->options->h2, &f->client.peer, f->conns);
    front_hand_over(f, h2_server_conn(srv), h2_server_client(srv));
}

/* ---- what came in ---- */

/* Who is behind the proxy counts from now on, for everything that is told of the client. */
static void front_learn_peer(struct front *f, const struct proxy_header *header)
{
    struct http_peer *peer = &f->client.peer;
    bool over_limit = peer->over_limit;
    if (!header->told)
        return;
    http_peer_init(peer, &header->source, peer->listener,
                   f->options->trusts(peer->listener, &header->source));
    peer->over_limit = over_limit;
    http_peer_reached(peer, &header->destination);
}

static void front_read_proxy(struct front *f)
{
    struct conn *c = &f->conn;
    struct proxy_header header;
    switch (proxy_header_read(conn_input(c), &header)) {
    case PROXY_HEADER_MORE:
        if (c->flags & CONN_EOF)
            conn_close(c, conn_input(c).len > 0 ? REASON_BAD_PROXY_HEADER : REASON_CLIENT_CLOSED,
                       false);
        else if (c->flags & CONN_READ_LATE)
            conn_close(c, REASON_PROXY_HEADER_TIMEOUT, false);
        break;
    case PROXY_HEADER_BAD:
        conn_close(c, REASON_BAD_PROXY_HEADER, false);
        break;
    case PROXY_HEADER_DONE:
        front_learn_peer(f, &header);
        conn_consume(c, header.length, NULL);
        conn_release_input(c);
        front_next(f);
        break;
    }
}

/* ---- TLS ---- */

static void front_shake_failed(struct front *f, enum reason reason)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    struct http_peer *peer = &f->client.peer;
    const struct tls_info *info = conn_tls(&f->conn);
    if (info != NULL)
        tls_stats_count(f->options->tls_stats, info);
    else
        counter_inc(&f->options->tls_stats->failed);
    log_limited(&limit, LOG_INFO, "TLS handshake with %.*s: %s", peer->text_len, peer->text,
                info != NULL && info->error != NULL ? info->error : reason_row(reason)->text);
    conn_close(&f->conn, reason, false);
}

/* The conn gets a TLS of its own with the first byte: who only connects costs no more than in clear
 * text. */
static void front_read_hello(struct front *f)
{
    struct conn *c = &f->conn;
    const struct h1_server_options *h1 = f->options->h1;
    if (conn_input(c).len > 0) {
        struct tls_server_ctx *ctx = f->options->tls(h1->ctx, f->client.peer.listener);
        f->state = FRONT_SHAKE;
        f->no_h2 = tls_server_ctx_alpn(ctx) == TLS_ALPN_H1;
        f->no_h1 = tls_server_ctx_alpn(ctx) == TLS_ALPN_H2;
        conn_secure_server(c, ctx);
    } else if (c->flags & CONN_EOF) {
        conn_close(c, REASON_CLIENT_CLOSED, false);
    } else if (c->flags & CONN_READ_LATE) {
        conn_close(c, REASON_TLS_HANDSHAKE_TIMEOUT, false);
    }
}

static void front_shaken(struct front *f)
{
    const struct tls_info *info = conn_tls(&f->conn);
    tls_stats_count(f->options->tls_stats, info);
    f->client.peer.tls = info;
    f->state = FRONT_BYTES;
    front_expect(f, f->options->h1->head_ms);
    if (span_eq(info->alpn, SPAN_LIT("h2")))
        front_to_h2(f);
    else if (span_eq(info->alpn, SPAN_LIT("http/1.1")))
        front_to_h1(f);
}

static void front_shake(struct front *f)
{
    struct conn *c = &f->conn;
    if (c->flags & CONN_ERROR)
        front_shake_failed(f, REASON_TLS_HANDSHAKE_FAILED);
    else if (c->flags & CONN_CONNECTED)
        front_shaken(f);
    else if (c->flags & CONN_READ_LATE)
        front_shake_failed(f, REASON_TLS_HANDSHAKE_TIMEOUT);
}

/* ---- the protocol ---- */

/* Nobody has said anything. */
static void front_silent(struct front *f)
{
    struct conn *c = &f->conn;
    if (c->flags & CONN_EOF)
        conn_close(c, REASON_CLIENT_CLOSED, false);
    else if (c->flags & CONN_READ_LATE)
        conn_close(c, REASON_IDLE_TIMEOUT, false);
}

/* A preface that is cut short, or that nothing follows, is malformed HTTP/1, and gets an answer. */
static void front_read_bytes(struct front *f)
{
    struct conn *c = &f->conn;
    struct span in = conn_input(c);
    size_t n = in.len < preface.len ? in.len : preface.len;
    if (n == 0) {
        front_silent(f);
        return;
    }
    bool same = memcmp(in.ptr, preface.ptr, n) == 0;
    bool cut_short = c->flags & (CONN_EOF | CONN_READ_LATE);
    if (f->no_h1 || (!f->no_h2 && same && n == preface.len)) {
        front_to_h2(f);
    } else if (f->no_h2 || !same || cut_short) {
        front_to_h1(f);
    } else if (!f->began) {
        f->began = true;
        front_expect(f, f->options->h1->head_ms); /* counts from the first byte */
    }
}

static void front_process(struct conn *c)
{
    struct front *f = front_of(c);
    if (c->flags & (CONN_ERROR | CONN_BROKEN) && f->state != FRONT_SHAKE) {
        conn_close(c, client_conn_error(c), false);
        return;
    }
    if (f->state == FRONT_PROXY)
        front_read_proxy(f);
    if (!conn_closed(c) && f->state == FRONT_HELLO)
        front_read_hello(f);
    if (!conn_closed(c) && f->state == FRONT_SHAKE)
        front_shake(f);
    if (!conn_closed(c) && f->state == FRONT_BYTES)
        front_read_bytes(f);
}

/* Nothing is written, and no span into the bytes is kept. */
static void front_flushed(struct conn *c, size_t n)
{
    (void)c;
    (void)n;
}

static void front_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c;
    (void)delta;
}

static const struct conn_ops front_conn_ops = {
    .name = "client",
    .process = front_process,
    .flushed = front_flushed,
    .moved = front_moved,
    .free = front_free,
};

/* ---- the worker ---- */

/* It was accepted, and its request may be on the way. */
static void front_close_idle(struct client_conn *client)
{
    struct front *f = CONTAINER_OF(client, front, client);
    front_expect(f, FIRST_REQUEST_MS);
    f->closing = true;
}

static void front_abort(struct client_conn *client, enum reason reason)
{
    conn_close(&CONTAINER_OF(client, front, client)->conn, reason, false);
}

static const struct client_conn_ops front_client_ops = {
    .close_idle = front_close_idle,
    .abort = front_abort,
};
