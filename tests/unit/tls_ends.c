/* SPDX-License-Identifier: Apache-2.0 */
/* Two conns with TLS. Owns the reactor, the pair and what was got; one thread. */
#include "tests/unit/tls_ends.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

static struct tls_end *end_of(struct conn *c)
{
    return CONTAINER_OF(c, tls_end, conn);
}

static void on_process(struct conn *c)
{
    struct tls_end *end = end_of(c);
    struct span in = conn_input(c);
    if (end->lazy || in.len == 0)
        return;
    end->got = realloc(end->got, end->got_len + in.len);
    CHECK(end->got != NULL);
    memcpy(end->got + end->got_len, in.ptr, in.len);
    end->got_len += in.len;
    conn_consume(c, in.len, NULL);
    conn_release_input(c);
    conn_resume(c, PAUSE_FULL);
}

static void on_flushed(struct conn *c, size_t n)
{
    end_of(c)->flushed += n;
}

static void on_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c, (void)delta;
}

static void on_free(struct conn *c)
{
    end_of(c)->freed = true;
}

static const struct conn_ops ops = {.name = "end",
                                    .process = on_process,
                                    .flushed = on_flushed,
                                    .moved = on_moved,
                                    .free = on_free};

void tls_ends_init(struct tls_ends *e, size_t capacity)
{
    memset(e, 0, sizeof(*e));
    CHECK(reactor_init(&e->r) == 0);
    e->pair = pair_new(&e->r, capacity);
}

static void attach(struct tls_ends *e, struct tls_end *end, unsigned side, bool dialled)
{
    conn_init(&end->conn, &e->r, &ops, 0);
    if (dialled)
        end->conn.flags |= CONN_CONNECTING;
    end->below = pair_end(e->pair, side, &conn_transport_events, &end->conn);
    conn_attach(&end->conn, end->below);
    end->attached = true;
}

void tls_ends_serve(struct tls_ends *e, struct tls_server_ctx *ctx)
{
    attach(e, &e->server, TLS_ENDS_SERVER, false);
    if (ctx != NULL)
        conn_secure_server(&e->server.conn, ctx);
}

void tls_ends_dial(struct tls_ends *e, struct tls_client_ctx *ctx, uint32_t endpoint,
                   const struct net_addr *to)
{
    attach(e, &e->client, TLS_ENDS_CLIENT, true);
    if (ctx != NULL)
        conn_secure_client(&e->client.conn, ctx, endpoint, to);
    pair_connect(e->pair, TLS_ENDS_CLIENT, 0);
}

void tls_ends_settle(struct tls_ends *e)
{
    reactor_dispatch(&e->r);
    pair_settle(e->pair);
}

void tls_ends_pass(struct tls_ends *e, uint64_t ms)
{
    e->r.now_ms += ms;
    wheel_advance(&e->r.wheel, reactor_now(&e->r));
    tls_ends_settle(e);
}

void tls_ends_meet(struct tls_ends *e, struct tls_server_ctx *server, struct tls_client_ctx *client)
{
    tls_ends_serve(e, server);
    tls_ends_dial(e, client, 0, NULL);
    tls_ends_settle(e);
}

bool tls_end_up(const struct tls_end *end)
{
    return (end->conn.flags & (CONN_CONNECTED | CONN_ERROR | CONN_CONNECTING)) == CONN_CONNECTED;
}

void tls_end_say(struct tls_ends *e, struct tls_end *end, const char *bytes, size_t n, size_t piece)
{
    while (n > 0) {
        struct chain chain;
        size_t part = n < piece ? n : piece;
        chain_init(&chain);
        chain_copy_in(&chain, &e->r.bufs, bytes, part);
        conn_send(&end->conn, &chain);
        bytes += part;
        n -= part;
    }
    tls_ends_settle(e);
}

void tls_end_close(struct tls_ends *e, struct tls_end *end, bool reset)
{
    if (end->attached && !end->freed)
        conn_close(&end->conn, REASON_DONE, reset);
    tls_ends_settle(e);
}

void tls_ends_fini(struct tls_ends *e)
{
    tls_end_close(e, &e->client, false);
    tls_end_close(e, &e->server, false);
    tls_ends_pass(e, 1100); /* what was encrypted has a second to leave */
    CHECK(!e->client.attached || e->client.freed);
    CHECK(!e->server.attached || e->server.freed);
    pair_free(e->pair);
    reactor_fini(&e->r);
    free(e->client.got);
    free(e->server.got);
}
