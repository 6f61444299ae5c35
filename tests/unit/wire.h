/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor, and a peer on an in-memory wire: end 0 is for the conn under test, end 1 says bytes
 * and writes down what it gets. Time stands still but in wire_pass. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_WIRE_H
#define WEIR_TESTS_WIRE_H

#include "proxy/net/conn.h"
#include "proxy/net/pair.h"

#define WIRE_PEER 1

struct wire {
    struct reactor r;
    struct pair *pair;
    struct transport *peer;
    struct chain saying; /* by the peer, not yet taken */
    char *got;           /* by the peer, NUL-terminated */
    size_t got_len;
    bool got_end; /* the peer read our end */
    int got_error;
    bool peer_closed;
    char room[65536];
};

/* capacity: bytes that either direction holds. The peer reads. */
void wire_init(struct wire *w, size_t capacity);

/* Closes the peer's end; everything must come back. The conn under test must be closing. */
void wire_fini(struct wire *w);

/* The peer speaks TLS from now on: what it says and gets is what is within. */
struct tls_server_ctx;
void wire_secure(struct wire *w, struct tls_server_ctx *ctx);

/* Gives end 0 to a conn; dialled: as one that is not yet connected. */
void wire_attach(struct wire *w, struct conn *c, bool dialled);

/* The peer says bytes, and everything that follows happens. */
void wire_say(struct wire *w, const char *text);
void wire_say_bytes(struct wire *w, const void *bytes, size_t n);

/* The peer ends its direction; closes without reset; resets; reads or not. Then as above. */
void wire_end(struct wire *w);
void wire_close(struct wire *w, bool reset);
void wire_read(struct wire *w, bool on);

/* ms pass, and whatever is due happens. */
void wire_pass(struct wire *w, uint64_t ms);

/* Whatever can happen without more time happens. */
void wire_settle(struct wire *w);

/* What the peer got since the last call, NUL-terminated; valid until the next. */
const char *wire_take(struct wire *w);

#endif
