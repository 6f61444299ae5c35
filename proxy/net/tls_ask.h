/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of a program that asks one question and ends: a verb of the command line, over a socket that
 * does not block. Not for what serves, which has tls.h. The only thread.
 */
#ifndef WEIR_NET_TLS_ASK_H
#define WEIR_NET_TLS_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls_ask;

struct tls_ask_options {
    const char *ca;   /* a file (PEM) of whom to trust: authorities, or the server's own
                         certificate; NULL: the system's */
    const char *name; /* that the certificate must be for, or an address; NULL: any */
    const char *cert; /* a file (PEM) with our own certificate; NULL: we have none */
    const char *key;  /* its key; NULL: in the same file */
};

/* What the next two return instead of a number of bytes. */
enum {
    TLS_ASK_FAILED = -1, /* see tls_ask_error */
    TLS_ASK_IN = -2,     /* again when the socket can be read from */
    TLS_ASK_OUT = -3,    /* ... or written to */
};

/* Over a socket that is connected, and stays the caller's. Shakes hands with the first bytes. Never
 * NULL: what is wrong with the files is told by tls_ask_error, and the first write fails. */
struct tls_ask *tls_ask_new(int fd, const struct tls_ask_options *options);

/* As write(2) and read(2), 0 of the second being an orderly end. len at least 1. */
ssize_t tls_ask_write(struct tls_ask *t, const char *bytes, size_t len);
ssize_t tls_ask_read(struct tls_ask *t, char *bytes, size_t len);

/* Why it failed, in words that live as long as it. */
const char *tls_ask_error(const struct tls_ask *t);

/* NULL is fine. */
void tls_ask_free(struct tls_ask *t);

#endif
