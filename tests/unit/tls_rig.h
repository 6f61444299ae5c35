/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server and a client that trust one another, and for each test two conns between them over an
 * in-memory pair (tls_ends.h). For unit tests of the TLS transport; one thread.
 */
#ifndef WEIR_TESTS_TLS_RIG_H
#define WEIR_TESTS_TLS_RIG_H

#include "tests/unit/cert_maker.h"
#include "tests/unit/tls_ends.h"

enum { TLS_RIG_BIG = 300000, TLS_RIG_CAPACITY = 65536 };

/* The server is a.example. */
struct tls_peers {
    struct cert_maker maker;
    struct tls_server_ctx *server;
    struct tls_client_ctx *client;
};

/* Each side has these, of enum tls_alpn. */
void tls_peers_init(struct tls_peers *p, uint8_t server_alpn, uint8_t client_alpn);
void tls_peers_fini(struct tls_peers *p);

struct tls_rig {
    struct tls_ends e;
    struct tls_server_ctx *server; /* which takes either protocol */
    struct tls_client_ctx *client; /* which wants h2 */
    char *big;                     /* TLS_RIG_BIG bytes of no short period */
};

/* Of cmocka: for the group, and for each test; a wire of TLS_RIG_CAPACITY. */
int tls_rig_setup_all(void **state);
int tls_rig_teardown_all(void **state);
int tls_rig_setup(void **state);
int tls_rig_teardown(void **state);

/* Two new conns over a wire of this capacity. */
void tls_rig_again(struct tls_rig *f, size_t capacity);

/* All that this end has read so far. */
void tls_rig_got(const struct tls_end *end, const char *bytes, size_t n);

#endif
