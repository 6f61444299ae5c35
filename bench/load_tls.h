/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS on a load's conns: what is sent and received goes through here where it is wanted. Sockets do
 * not wait; results are those of send() and recv(), with errno. One thread.
 */
#ifndef BENCH_LOAD_TLS_H
#define BENCH_LOAD_TLS_H

#include <openssl/ssl.h>
#include <sys/types.h>

struct conn;
struct net;

/* A context that looks at no certificate: a benchmark's is its own. The caller's to free; ends the
 * program if there is no memory. */
SSL_CTX *tls_context(void);

/* Goes on with the handshake of c: 1 once it is done, 0 if it waits for the peer, -1 if it failed.
 */
int tls_shake(const struct net *n, struct conn *c);

ssize_t tls_send(struct conn *c, const char *bytes, size_t len);

/* 0 is an end, with a word or without. To be called until it says EAGAIN: records that were read
 * already are seen by nobody else. */
ssize_t tls_recv(struct conn *c, char *to, size_t len);

/* Frees what c has of it and says nothing to the peer; the descriptor stays. */
void tls_forget(struct conn *c);

#endif
