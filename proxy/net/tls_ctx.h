/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TLS conns of one listener or one pool have in common on one worker: certificates by name,
 * rules, sessions. A context may be made on any thread (it takes some ms for many certificates, and
 * touches no file); from then on it is one worker's alone, so that no lock of OpenSSL's is ever
 * waited for. It never changes: for new certificates make another and drop this one; conns keep
 * theirs as long as they live.
 *
 * TLS 1.2 and 1.3 by Mozilla's intermediate list: TLS 1.2 with ECDHE and an AEAD only; X25519,
 * P-256, P-384; no compression, no renegotiation, no early data; ChaCha20 for clients that prefer
 * it.
 */
#ifndef WEIR_NET_TLS_CTX_H
#define WEIR_NET_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/net/tls_cert.h"

/* The version of OpenSSL that runs. Any thread. */
const char *tls_library_version(void);

/* Which protocols are offered (client) or taken (server) by ALPN. A server prefers h2,
 * and takes http/1.0 as it takes http/1.1. */
enum tls_alpn {
    TLS_ALPN_H1 = 1 << 0,
    TLS_ALPN_H2 = 1 << 1,
};

/*
 * The keys of session tickets, shared by the workers of a listener, so that a ticket of one is good
 * for all. They are made up at the start and change every TLS_TICKET_ROTATE_S seconds, by
 * themselves; tickets of the key before are still taken. Each key is derived from the one before
 * it, which is then wiped: old traffic stays closed to who reads our memory. Counted by an atomic;
 * any thread.
 */
#define TLS_TICKET_ROTATE_S (12 * 3600)
struct tls_tickets;
/* NULL: no randomness to be had. */
struct tls_tickets *tls_tickets_new(void);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *tickets);
/* NULL is fine. */
void tls_tickets_unref(struct tls_tickets *tickets);
/* Changes the key now. */
void tls_tickets_rotate(struct tls_tickets *tickets);

/* The keys as they are, for another process of the same trust, where what was made here is then
 * resumed; the bytes are as secret as they. NULL: the system has no randomness to give. */
#define TLS_TICKETS_SAVED 200
void tls_tickets_save(struct tls_tickets *tickets, unsigned char out[TLS_TICKETS_SAVED]);
struct tls_tickets *tls_tickets_restore(const unsigned char in[TLS_TICKETS_SAVED]);

struct tls_server_options {
    struct tls_trust *client_ca; /* NULL: no client is asked for a certificate */
    bool client_optional;        /* a client may come without; one that it shows must be good */
    bool tls13_only;
    uint8_t alpn;                /* enum tls_alpn; 0: a client's list is not answered */
    struct tls_tickets *tickets; /* NULL: no tickets, only the worker's own cache */
    int keylog_fd;               /* NSS key log lines are written there, by a descriptor of the
                                    context's own; 0: none */
};

struct tls_server_ctx;

/* The context holds references to whatever it needs of options and certs. NULL with *error set to
 * malloc'd text: OpenSSL refuses a certificate (too weak a key, say), or memory is out. */
struct tls_server_ctx *tls_server_ctx_new(const struct tls_server_options *options,
                                          struct tls_certs *certs, char **error);

/* enum tls_alpn, as its options say. */
uint8_t tls_server_ctx_alpn(const struct tls_server_ctx *ctx);

/* The maker's reference ends; conns have their own. NULL is fine. On its worker. */
void tls_server_ctx_free(struct tls_server_ctx *ctx);

struct tls_info;
struct tls_client_options {
    struct tls_trust *ca; /* NULL only without verify */
    bool no_verify;       /* the server's certificate is taken as it is */
    /* Sent as SNI, and what the certificate must be for; an address is checked but not sent. NULL:
     * nothing is sent, and the certificate must be for the address that is dialled. Copied. */
    const char *server_name;
    struct tls_certs *cert; /* of weir's own, for servers that ask; NULL: none */
    bool tls13_only;
    uint8_t alpn;   /* enum tls_alpn; 0: nothing is offered */
    int keylog_fd;  /* as above */
    uint64_t files; /* a number for what files held; 0: like no other */
    /* Told when a handshake has ended, one way or the other, to count it and to log why it failed:
     * it may do no more. NULL: nobody is. */
    void (*ended)(void *ctx, uint32_t endpoint, const struct tls_info *info);
    void *ctx;
};

struct tls_client_ctx;

/* As tls_server_ctx_new. Sessions are kept by endpoint, one each, and tried again. */
struct tls_client_ctx *tls_client_ctx_new(const struct tls_client_options *options, char **error);
void tls_client_ctx_free(struct tls_client_ctx *ctx);

/* Whether both were made of the same files. NULL: was not. */
bool tls_client_ctx_alike(const struct tls_client_ctx *a, const struct tls_client_ctx *b);

/* Either of them, for who only passes it on; NULL is passed through. The other way round it must be
 * what is asked for. */
struct tls_ctx;
struct tls_ctx *tls_server_ctx_base(struct tls_server_ctx *ctx);
struct tls_ctx *tls_client_ctx_base(struct tls_client_ctx *ctx);
struct tls_server_ctx *tls_server_ctx_of(struct tls_ctx *ctx);
struct tls_client_ctx *tls_client_ctx_of(struct tls_ctx *ctx);
/* As tls_server_ctx_free or tls_client_ctx_free. */
void tls_ctx_unref(struct tls_ctx *ctx);

#endif
