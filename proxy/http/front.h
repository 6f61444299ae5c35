/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start of every client conn, before it is known what it speaks: the header of the PROXY
 * protocol, if one is to come; the TLS handshake, if its listener has TLS; then what ALPN said, or
 * the first bytes, which decide between HTTP/2 with prior knowledge (RFC 9113 section 3.3) and
 * HTTP/1. The conn then goes over to the session of the protocol, which reads those bytes again.
 * Reactor's thread.
 */
#ifndef WEIR_HTTP_FRONT_H
#define WEIR_HTTP_FRONT_H

#include "proxy/http/h1_server.h"
#include "proxy/http/h2_server.h"
#include "proxy/net/tls_stats.h"

struct front;
struct net_addr;

/* Shared by all conns of a worker; must outlive them. */
struct front_options {
    const struct h1_server_options *h1; /* its service and ctx are told of a conn that ends here */
    const struct h2_server_options *h2; /* with the same service and ctx */
    uint32_t handshake_ms;              /* for the PROXY header, and again for the handshake */
    struct tls_stats *tls_stats;
    /* The context for a conn of the listener that wants TLS, now; ctx: of h1. */
    struct tls_server_ctx *(*tls)(void *ctx, const void *listener);
    /* Whether X-Forwarded-* of a client of the listener is believed: asked again when the PROXY
     * protocol tells who it is. */
    bool (*trusts)(const void *listener, const struct net_addr *client);
};

/* What a listener wants of one conn. */
struct front_wants {
    bool proxy_header; /* it begins with one; nothing else is taken */
    bool tls;          /* then comes a handshake; nothing else is taken */
};

/* Takes over an accepted socket and begins to read. conns: the list that the conn is kept in while
 * it lives, whoever has it. False: the descriptor is closed and service->closed is not called. */
bool front_accept(struct reactor *r, const struct front_options *options, struct front_wants wants,
                  int fd, bool is_unix, const struct http_peer *peer, struct list_node *conns);

/* For tests: over a transport that front_conn's conn is attached to by the caller. */
struct front *front_new(struct reactor *r, const struct front_options *options,
                        struct front_wants wants, const struct http_peer *peer,
                        struct list_node *conns);
struct conn *front_conn(struct front *f);

#endif
