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

enum front_state {
    FRONT_PROXY, /* the header of the PROXY protocol is awaited */
    FRONT_BYTES, /* the first bytes of the protocol are */
};

struct front {
    struct conn conn;
    uint32_t magic;
    uint8_t state; /* enum front_state */
    bool began;    /* a byte of the protocol is there */
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
    f->client.peer = *peer;
    f->client.ops = &front_client_ops;
    list_init(&f->client.link);
    list_push_back(conns, &f->client.link);
    f->state = wants.proxy_header ? FRONT_PROXY : FRONT_BYTES;
    front_expect(f, wants.proxy_header ? options->proxy_header_ms : options->h1->head_ms);
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
    if (!f->handed_over)
        h1->service->closed(h1->ctx, &f->client.peer, (enum reason)c->close_reason);
    reactor_free(c->reactor, SLAB_FRONT, f);
}

static void front_to_h1(struct front *f)
{
    struct h1_server *srv =
        h1_server_new(f->conn.reactor, f->options->h1, &f->client.peer, f->conns);
    f->handed_over = true;
    list_unlink(&f->client.link);
    conn_hand_over(&f->conn, h1_server_conn(srv));
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
        f->state = FRONT_BYTES;
        front_expect(f, f->options->h1->head_ms);
        break;
    }
}

/* Nobody has said anything. */
static void front_silent(struct front *f)
{
    struct conn *c = &f->conn;
    if (c->flags & CONN_EOF)
        conn_close(c, REASON_CLIENT_CLOSED, false);
    else if (c->flags & CONN_READ_LATE)
        conn_close(c, REASON_IDLE_TIMEOUT, false);
}

static void front_read_bytes(struct front *f)
{
    struct span in = conn_input(&f->conn);
    if (in.len == 0)
        front_silent(f);
    else
        front_to_h1(f);
}

static void front_process(struct conn *c)
{
    struct front *f = front_of(c);
    if (c->flags & (CONN_ERROR | CONN_BROKEN)) {
        conn_close(c, REASON_CLIENT_RESET, false);
        return;
    }
    if (f->state == FRONT_PROXY)
        front_read_proxy(f);
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
