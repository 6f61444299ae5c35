/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn to an upstream whose protocol its TLS handshake will tell (ALPN), and the requests that
 * wait for that. Reactor's thread.
 */
#ifndef WEIR_UPSTREAM_PROBE_H
#define WEIR_UPSTREAM_PROBE_H

#include "proxy/base/list.h"
#include "proxy/base/reason.h"
#include "proxy/net/addr.h"
#include "proxy/net/conn.h"

struct probe;

struct probe_owner {
    /* It is up: conn_hand_over takes the conn. waiting: of struct pool_request, by link; they are
     * the owner's now, and so they are below. */
    void (*up)(void *ctx, struct conn *from, bool h2, struct list_node *waiting);
    /* It will not come up; it ends by itself. reached_us: when its handshake began, by reactor_us;
     * 0: it did not. closed follows. */
    void (*failed)(void *ctx, enum reason reason, uint64_t reached_us, struct list_node *waiting);
    /* It is no more, and was not handed over. */
    void (*closed)(void *ctx, enum reason reason);
};

/* How long connecting and the handshake may take together, and what conns are made with. */
struct probe_options {
    uint32_t connect_ms, write_stall_ms;
    struct tls_client_ctx *tls; /* NULL: it is up once it is connected */
    uint32_t endpoint;          /* for TLS sessions */
};

/* Begins to connect. NULL with *err set to a libuv error if that fails at once. */
struct probe *probe_dial(struct reactor *r, const struct probe_options *options,
                         const struct net_addr *to, const struct probe_owner *owner, void *ctx,
                         int *err);

/* Nobody waits for it any more. closed follows. */
void probe_give_up(struct probe *p);

/* The list of those who wait, and the probe's place in its owner's list; both are left alone. */
struct list_node *probe_waiting(struct probe *p);
struct list_node *probe_link(struct probe *p);
struct probe *probe_at(struct list_node *node);

#endif
