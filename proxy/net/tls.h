/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS as a transport over a transport: bytes of the conn above are encrypted into records, which
 * are written to the transport below, and the other way round. It looks to its conn as one that is
 * being dialled, on both sides: events->connected tells when the handshake is done (0), or that it
 * failed: UV_EPROTO when TLS itself says no (tls_info has the words), else what happened below.
 * There is no deadline of its own: that is the session's (conn_expect).
 *
 * Ends. shutdown and an orderly close send close_notify. A peer's close_notify is read as UV_EOF;
 * an end of the transport below without one as UV_ECONNRESET, so that a body which ends with the
 * conn cannot be cut unnoticed; a record that is wrong as UV_EPROTO. What is encrypted when the
 * conn closes, an alert say, still leaves, for which the transport below stays open a second at
 * most, and after an alert until the peer has ended; so `closed` may come that late. A reset drops
 * it; and so does the close of a client's conn whose bytes were not all taken, for they may have
 * been called unsent.
 *
 * Bytes count as taken by write once the transport below has taken all of the record that carries
 * them, and not sooner, for the peer can't read them sooner; until then they stay at the front of
 * the chain, as a number of bytes that nobody may look at. At most some 68 KiB of ciphertext wait.
 * A record is never made of less than what write is given, up to 16 KiB: small slices are gathered.
 *
 * Reactor's thread.
 */
#ifndef WEIR_NET_TLS_H
#define WEIR_NET_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"
#include "proxy/net/tls_ctx.h"
#include "proxy/net/transport.h"

struct net_addr;

/* What the handshake came to; empty strings, never NULL, before it has. Valid as long as the
 * transport. */
struct tls_info {
    const char *protocol; /* "TLSv1.3" */
    const char *cipher;   /* "TLS_AES_128_GCM_SHA256" */
    struct span alpn;     /* "h2", "http/1.1", "http/1.0", or empty: none was agreed on */
    struct span sni;      /* as the client said it (server), or as we did (client) */
    bool done;            /* the handshake is */
    bool resumed;
    bool verified; /* the peer showed a certificate, and it was checked and found good */
    /* Of the peer's certificate if verified, else empty. Printable ASCII: what else is in them is
     * escaped. RFC 4514: "CN=alice,O=Example". */
    struct span subject;
    /* "DNS:a.example,URI:spiffe://x/y,email:a@b.example,IP:10.0.0.1"; a comma, a backslash and what
     * is not printable within a name is escaped as \2C. */
    struct span san;
    bool rekey_flood;  /* the end came for what the peer said besides bytes: see ASIDES_MAX */
    const char *error; /* why it failed, one line for logs; NULL: it did not */
    uint64_t below_us; /* by reactor_us: when the transport below came up that was being dialled; 0:
                          it has not, or had before */
    struct tls_client_ctx *client; /* what it was made with; NULL: we are the server */
};

/* Once in a process, before anything else of TLS: where OpenSSL's memory comes from. Without it all
 * works, but takes malloc for each record. */
void tls_setup(void);

/* Puts TLS over a transport that is connected; it reads and writes below at once. first: bytes that
 * were already read from it. NULL: no memory, and below is as it was. The transport below is owned
 * by what is returned, and dies with it. */
struct transport *tls_wrap_server(struct transport *below, struct tls_server_ctx *ctx,
                                  struct span first, const struct transport_events *events,
                                  void *owner);

/* The same towards a server. connecting: below is being dialled, and its `connected` is still to
 * come. endpoint: a small number, under which the session is kept for the next conn. to: for the
 * check of the address if the context has no server name; may be NULL if it has one. first: goes
 * before the handshake, as it is; empty afterwards, and left alone if NULL is returned. */
struct transport *tls_wrap_client(struct transport *below, struct tls_client_ctx *ctx,
                                  uint32_t endpoint, const struct net_addr *to, bool connecting,
                                  struct chain *first, const struct transport_events *events,
                                  void *owner);

/* NULL if it is not TLS; t may be NULL. */
const struct tls_info *tls_info(const struct transport *t);

#endif
