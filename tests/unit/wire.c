/* SPDX-License-Identifier: Apache-2.0 */
/* The peer on the in-memory wire. Owns the reactor, the pair and what was got; one thread. */
#include "tests/unit/wire.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/net/tls.h"

static struct span on_buffer(void *owner, struct block **pipe)
{
    struct wire *w = owner;
    (void)pipe;
    return span_of(w->room, sizeof(w->room));
}

static void on_read(void *owner, ssize_t n)
{
    struct wire *w = owner;
    if (n == UV_EOF) {
        w->got_end = true;
    } else if (n < 0) {
        w->got_error = (int)n;
    } else {
        w->got = realloc(w->got, w->got_len + (size_t)n + 1);
        CHECK(w->got != NULL);
        memcpy(w->got + w->got_len, w->room, (size_t)n);
        w->got_len += (size_t)n;
        w->got[w->got_len] = '\0';
    }
}

static void say_on(struct wire *w)
{
    if (w->peer_closed || chain_empty(&w->saying))
        return;
    if (w->peer->ops->write(w->peer, &w->saying, false) < 0)
        chain_clear(&w->saying);
}

static void on_writable(void *owner)
{
    say_on(owner);
}

static void on_connected(void *owner, int status)
{
    (void)owner;
    CHECK(status == 0); /* the peer never dials: it has shaken hands */
}

static void on_closed(void *owner)
{
    struct wire *w = owner;
    w->peer_closed = true;
}

static const struct transport_events peer_events = {
    .buffer = on_buffer,
    .read = on_read,
    .writable = on_writable,
    .connected = on_connected,
    .closed = on_closed,
};

void wire_init(struct wire *w, size_t capacity)
{
    memset(w, 0, offsetof(struct wire, room));
    CHECK(reactor_init(&w->r) == 0);
    w->pair = pair_new(&w->r, capacity);
    w->peer = pair_end(w->pair, WIRE_PEER, &peer_events, w);
    w->peer->ops->read(w->peer, true);
    chain_init(&w->saying);
}

void wire_secure(struct wire *w, struct tls_server_ctx *ctx)
{
    w->peer = tls_wrap_server(w->peer, ctx, span_of("", 0), &peer_events, w);
    CHECK(w->peer != NULL);
    w->peer->ops->read(w->peer, true);
}

void wire_fini(struct wire *w)
{
    wire_close(w, false);
    pair_free(w->pair);
    reactor_fini(&w->r);
    free(w->got);
}

void wire_attach(struct wire *w, struct conn *c, bool dialled)
{
    struct transport *t = pair_end(w->pair, 0, &conn_transport_events, c);
    if (dialled)
        c->flags |= CONN_CONNECTING;
    conn_attach(c, t);
}

void wire_settle(struct wire *w)
{
    pair_settle(w->pair);
}

void wire_say_bytes(struct wire *w, const void *bytes, size_t n)
{
    chain_copy_in(&w->saying, &w->r.bufs, bytes, n);
    say_on(w);
    wire_settle(w);
}

void wire_say(struct wire *w, const char *text)
{
    wire_say_bytes(w, text, strlen(text));
}

void wire_end(struct wire *w)
{
    CHECK(chain_empty(&w->saying));
    w->peer->ops->shutdown(w->peer);
    wire_settle(w);
}

void wire_close(struct wire *w, bool reset)
{
    chain_clear(&w->saying);
    if (!w->peer_closed)
        w->peer->ops->close(w->peer, reset);
    wire_settle(w);
}

void wire_read(struct wire *w, bool on)
{
    w->peer->ops->read(w->peer, on);
    wire_settle(w);
}

void wire_pass(struct wire *w, uint64_t ms)
{
    w->r.now_ms += ms;
    wheel_advance(&w->r.wheel, reactor_now(&w->r));
    reactor_dispatch(&w->r);
    wire_settle(w);
}

const char *wire_take(struct wire *w)
{
    w->got_len = 0;
    return w->got != NULL ? w->got : "";
}
