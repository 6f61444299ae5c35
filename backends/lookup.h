/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses of a host, looked up by a thread that nobody waits for: a name server that does not
 * answer keeps nobody from ending. The thread of its loop.
 */
#ifndef WEIR_BACKENDS_LOOKUP_H
#define WEIR_BACKENDS_LOOKUP_H

#include <netdb.h>
#include <uv.h>

struct lookup;

/* host is a name or an address, port a number. done is called once, from the loop and never from
 * within this, with what was found, which is freed after it; NULL: nothing was. The lookup is gone
 * then. NULL: there is no thread to be had. */
struct lookup *lookup_begin(uv_loop_t *loop, const char *host, const char *port,
                            void (*done)(void *ctx, const struct addrinfo *found), void *ctx);

/* done is not called. NULL is fine. */
void lookup_cancel(struct lookup *lookup);

#endif
