/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of TLS share among themselves, in OpenSSL's words. Only tls*.c may include it.
 *
 * Certificates and keys are kept as DER, and each context parses its own: so threads share no
 * object of OpenSSL's, with its lock, its counter or its cache.
 */
#ifndef WEIR_NET_TLS_SSL_H
#define WEIR_NET_TLS_SSL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "proxy/base/span.h"
#include "proxy/net/tls_cert.h"
#include "proxy/net/tls_ctx.h"

struct net_addr;

struct tls_der {
    unsigned char *bytes;
    size_t len;
};

struct tls_pair {
    struct tls_cert_info info;
    struct tls_der *chain; /* the certificate itself first */
    size_t n_chain;
    struct tls_der key;
    struct tls_der staple; /* an OCSP response, or nothing */
    int64_t staple_until;  /* Unix seconds */
};

const struct tls_pair *tls_certs_pair(const struct tls_certs *certs, size_t i);

/* The authorities in a store of the caller's, and their names; either may be NULL. False: no
 * memory. */
bool tls_trust_fill(const struct tls_trust *trust, X509_STORE *store, STACK_OF(X509_NAME) * names);

#define TLS_DIGEST_BYTES 32
/* Equal for equal authorities. */
const unsigned char *tls_trust_digest(const struct tls_trust *trust);

X509 *tls_der_x509(const struct tls_der *der);
EVP_PKEY *tls_der_key(const struct tls_der *der);

/* The printf-like words, with OpenSSL's last error behind them if with_ssl, malloc'd, in *error.
 * Empties OpenSSL's queue of errors. */
void tls_fail(char **error, bool with_ssl, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* OpenSSL's last error in words; empties its queue. Valid until the next on this thread. */
const char *tls_last_error(void);

/* What a ticket is encrypted with: copied out under the lock when it has changed. */
struct tls_ticket_key {
    unsigned char name[16], aes[32], hmac[32];
};
struct tls_ticket_keys {
    uint64_t generation; /* of now; 0: nothing was copied yet */
    struct tls_ticket_key now, before;
};
/* Brings keys up to date; cheap if they are. unix_s: the time. */
void tls_tickets_get(struct tls_tickets *tickets, int64_t unix_s, struct tls_ticket_keys *keys);

/* What the contexts of both sides begin with, counted for their conns; not by an atomic. */
struct tls_ctx {
    uint32_t refs;
    int keylog_fd; /* its own; -1: none */
    SSL_CTX *ssl;  /* what an SSL is made from */
    BIO_METHOD *bio;
    char *scratch; /* TLS_RECORD bytes: small slices are gathered here into one record */
    void (*free)(struct tls_ctx *);
};
#define TLS_RECORD 16384 /* most plaintext in one record */

/* One reference. False: no memory; it is to be cleared all the same. */
bool tls_ctx_init(struct tls_ctx *ctx, void (*dtor)(struct tls_ctx *));
void tls_ctx_clear(struct tls_ctx *ctx);

/* Keys go to the file behind fd, which may be closed then; 0: nowhere. Before tls_ssl_ctx_new. */
void tls_ctx_keylog(struct tls_ctx *ctx, int fd);

/* An SSL_CTX with all that both sides have in common; it knows ctx as its app data. NULL with
 * OpenSSL's error. */
SSL_CTX *tls_ssl_ctx_new(const SSL_METHOD *method, bool tls13_only, struct tls_ctx *ctx);

/* The pair becomes one of the SSL_CTX's certificates. False with *error set. */
bool tls_use_pair(SSL_CTX *ssl, const struct tls_pair *pair, char **error);

/* Prepares a client's SSL: SNI, whom to expect, the session of the endpoint. NULL, or why not. */
const char *tls_client_prepare(struct tls_client_ctx *ctx, SSL *ssl, uint32_t endpoint,
                               const struct net_addr *to);
/* The handshake failed: its session is not tried again. */
void tls_client_forget(struct tls_client_ctx *ctx, uint32_t endpoint);
/* A handshake has ended, one way or the other. */
struct tls_info;
void tls_client_ended(struct tls_client_ctx *ctx, uint32_t endpoint, const struct tls_info *info);
/* The endpoint under which a new session of this SSL is kept, by tls.c. */
uint32_t tls_endpoint(const SSL *ssl);

/* The peer has said something besides bytes, by tls.c. */
void tls_aside(const SSL *ssl);

/* For tests: how many pieces for records malloc had to give for this thread (tls_mem.c). */
unsigned long tls_mem_taken(void);

/* For tests: what is beneath a TLS transport. */
struct transport;
SSL *tls_ssl_of(struct transport *t);

/* The BIO between OpenSSL and a conn's blocks, by tls_bio.c; NULL: no memory. */
BIO_METHOD *tls_bio_method(void);

/* tls_peer.c: text of a certificate, malloc'd, "" if there is none; see tls_info. */
char *tls_subject_text(X509 *cert);
char *tls_san_text(X509 *cert);

#endif
