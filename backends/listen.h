/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets: the text of an address becomes one bound socket for each worker.
 * The caller owns the sockets. Main thread.
 */
#ifndef WEIR_BACKENDS_LISTEN_H
#define WEIR_BACKENDS_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

struct listen_result {
    char bound[160]; /* what the sockets are bound to: "127.0.0.1:4321", "[::]:80", "unix:/p" */
    char error[320]; /* set if listen_open() failed: what is wrong and what to do */
    unsigned port;   /* 0 for a Unix socket */
    bool is_unix;
};

/*
 * Binds n non-blocking, close-on-exec sockets to addr (":P", "HOST:P", "[V6]:P", "unix:PATH"; P 0
 * is a port of the kernel's choice) without listening yet. Several TCP sockets share the port by
 * SO_REUSEPORT; for a Unix socket they are duplicates of one. A socket file that nobody listens on
 * is replaced. Returns false with r->error set and no socket open.
 */
bool listen_open(const char *addr, int *fds, size_t n, struct listen_result *r);

/* Removes the file of a Unix socket. */
void listen_cleanup(const struct listen_result *r);

#endif
