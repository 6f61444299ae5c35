/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two conns that speak TLS to one another over an in-memory pair, and what each of them saw. Time
 * stands still but in tls_ends_pass. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_TLS_ENDS_H
#define WEIR_TESTS_TLS_ENDS_H

#include "proxy/net/conn.h"
#include "proxy/net/pair.h"
#include "proxy/net/tls.h"

struct tls_end {
    struct conn conn;
    struct transport *below; /* the pair's */
    bool attached, freed;
    bool lazy; /* leaves its input where it is */
    char *got;
    size_t got_len;
    size_t flushed;
};

struct tls_ends {
    struct reactor r;
    struct pair *pair;
    struct tls_end server, client; /* ends 0 and 1 of the pair */
};

#define TLS_ENDS_SERVER 0
#define TLS_ENDS_CLIENT 1

/* capacity: bytes that either direction holds. */
void tls_ends_init(struct tls_ends *e, size_t capacity);
/* Closes whatever is open, and checks that all memory is back. */
void tls_ends_fini(struct tls_ends *e);

/* Each end on its transport; to: of the client, or NULL. Nothing happens yet. */
void tls_ends_serve(struct tls_ends *e, struct tls_server_ctx *ctx);
void tls_ends_dial(struct tls_ends *e, struct tls_client_ctx *ctx, uint32_t endpoint,
                   const struct net_addr *to);

/* Both, and everything that follows. */
void tls_ends_meet(struct tls_ends *e, struct tls_server_ctx *server,
                   struct tls_client_ctx *client);

/* Whatever can happen without more time happens. */
void tls_ends_settle(struct tls_ends *e);
void tls_ends_pass(struct tls_ends *e, uint64_t ms);

bool tls_end_up(const struct tls_end *end);

/* Queues bytes, in pieces of so many; settles. */
void tls_end_say(struct tls_ends *e, struct tls_end *end, const char *bytes, size_t n,
                 size_t piece);

/* Closes; settles. */
void tls_end_close(struct tls_ends *e, struct tls_end *end, bool reset);

#endif
