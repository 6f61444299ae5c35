/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a conn: plaintext on one side, records on the other, both in memory. Does no I/O.
 */
#ifndef WEIR_BACKENDS_TLS_H
#define WEIR_BACKENDS_TLS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

/*
 * The certificate and key that are served, both PEM; key may be NULL: it is in cert then. By ALPN
 * h2 is taken if the peer offers it and h2 is true, else http/1.1. Main thread; the workers share
 * it. NULL with *what the file at fault and why static text.
 */
SSL_CTX *tls_open(const char *cert, const char *key, bool h2, const char **what, const char **why);

struct tls;

/* A session that waits for a ClientHello. NULL when out of memory. */
struct tls *tls_new(SSL_CTX *ctx);
void tls_free(struct tls *t); /* NULL is fine */

/* Records that have arrived. False when out of memory. */
bool tls_feed(struct tls *t, const char *ptr, size_t len);

enum tls_read { TLS_SOME, TLS_NONE, TLS_ENDED, TLS_BROKEN };

/* Decrypts into buf what there is room for. TLS_SOME: *len bytes, more than none. TLS_ENDED: the
   peer said that it sends no more. */
enum tls_read tls_read(struct tls *t, char *buf, size_t room, size_t *len);

/* Encrypts all of it. False if that can't be: before the handshake's end, or out of memory. */
bool tls_write(struct tls *t, const char *ptr, size_t len);

/* Tells the peer that nothing follows; idempotent. */
void tls_end(struct tls *t);

/* Records for the peer, which are valid until anything else is done with t. */
struct span tls_output(struct tls *t);

/* They were taken. */
void tls_output_done(struct tls *t);

#endif
