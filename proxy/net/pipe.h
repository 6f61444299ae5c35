/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes that carry the bytes of a large body from one socket to the other without a copy to user
 * space (splice(2)), as piped blocks of a chain. A pipe belongs to whoever holds the block, and
 * comes back empty; one that is dropped with bytes in it is closed.
 *
 * Reactor's thread.
 */
#ifndef WEIR_NET_PIPE_H
#define WEIR_NET_PIPE_H

#include "proxy/base/buf.h"
#include "proxy/net/reactor.h"

#define PIPE_MIN  8192 /* fewer bytes are read and written sooner than they are spliced */
#define PIPE_MOST (256 * 1024)
#define PIPES_MAX 32 /* handed out at once by a reactor: descriptors, and bytes of the kernel's */

/* An empty pipe with one reference, for the caller; its cap is to be set to what it may take. NULL
 * when there is none to be had: then bytes go through memory. */
struct block *pipe_get(struct reactor *r);

/* Moves what the socket has into the empty pipe, at most block->cap bytes. As splice(2): bytes, 0
 * for an end or nothing, or a negative libuv error. */
ssize_t pipe_fill(struct block *block, int fd);

/* Moves at most n bytes to the socket. more: others follow at once. As pipe_fill. */
ssize_t pipe_drain(struct block *block, int fd, size_t n, bool more);

/* The first bytes of the chain, which are in a pipe, are read back into memory, as many as a small
 * block holds. */
void chain_unpipe(struct chain *chain, struct buf_pool *pool);

/* Closes the pipes that are kept. Nothing may be handed out (checked). */
void pipe_fini(struct reactor *r);

#endif
