/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam below a conn: a reliable byte stream. TCP and Unix sockets (tcp.h) and an in-memory
 * pair for tests (pair.h) implement it; so does TLS over any of them (tls.h).
 */
#ifndef WEIR_NET_TRANSPORT_H
#define WEIR_NET_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proxy/base/buf.h"
#include "proxy/base/span.h"

struct reactor;
struct transport;

/* Conn to transport. None of these calls back before it returns. */
struct transport_ops {
    const char *name;
    bool splices; /* takes and fills pipes */
    /* Begins or stops to read. */
    void (*read)(struct transport *, bool on);
    /* Takes what it can off the front of out, and tells events->writable when it could take more.
     * last: our end follows as soon as out is empty. Returns how many bytes were taken or a
     * negative libuv error, which then has taken none. */
    ssize_t (*write)(struct transport *, struct chain *out, bool last);
    /* Ends our direction (FIN). */
    void (*shutdown)(struct transport *);
    /* Idempotent; reset: the peer is to see an error, not an end. The memory goes right before
     * events->closed, which comes in a later turn. */
    void (*close)(struct transport *, bool reset);
};

/* Transport to conn; never from within one of the above. The conn only records what it is told. */
struct transport_events {
    /* Where to read into; len 0 = nowhere at the moment. A transport that can splice passes pipe:
     * it may be set to an empty one, to fill to at most its cap; the conn still owns it. */
    struct span (*buffer)(void *owner, struct block **pipe);
    /* n > 0 bytes were read, UV_EOF, or another negative libuv error. 0: nothing came after all,
     * and a pipe stayed empty. */
    void (*read)(void *owner, ssize_t n);
    /* A write that did not take everything may be tried again. */
    void (*writable)(void *owner);
    /* A dialled transport is up (0) or failed. */
    void (*connected)(void *owner, int status);
    /* The last call. */
    void (*closed)(void *owner);
};

struct transport {
    uint32_t magic;
    bool also; /* was dialled, and leads to the other address of the host (net_addr.also) */
    const struct transport_ops *ops;
    const struct transport_events *events;
    void *owner;
    struct reactor *reactor;
};

#endif
