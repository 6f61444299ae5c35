/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/1.1 request over a conn of its own, for what a backend has to tell a registry. The
 * thread of its loop.
 */
#ifndef WEIR_BACKENDS_CALL_H
#define WEIR_BACKENDS_CALL_H

#include <stddef.h>
#include <sys/socket.h>
#include <uv.h>

#include "proxy/base/span.h"

#define CALL_ANSWER_MAX 16384 /* bytes of a body that are kept; the rest is thrown away */

struct call;

struct call_answer {
    unsigned status; /* 0: there was none, and */
    const char *why; /* ... this is why; static */
    struct span body;
};

/* Sends the request (copied) to addr; done is called once, from the loop and never from within
 * this, and the call is gone. Never NULL. */
struct call *call_begin(uv_loop_t *loop, const struct sockaddr *addr, struct span request,
                        uint64_t timeout_ms,
                        void (*done)(void *ctx, const struct call_answer *answer), void *ctx);

/* done is not called. NULL is fine. */
void call_cancel(struct call *call);

#endif
