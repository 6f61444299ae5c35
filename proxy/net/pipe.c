/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes as blocks. Owns the pipes that nobody uses at the moment; must never wait on one. Reactor's
 * thread.
 */
#include "proxy/net/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/base/check.h"

/* The kernel counts pages, however little of each is used: with segments of an Ethernet's size 64
 * of them are some 90 KiB. A process without privileges may have fewer; any size will do. */
#define PIPE_BYTES (64 * 4096)
/* Kept for the next body. As a rule one is enough, for what is read is written at once. */
#define PIPES_KEEP   4
#define PIPE_WAIT_MS 1000 /* before trying again when there were no descriptors */

struct pipe_ends {
    int out, in; /* read from, written to */
};

static struct pipe_ends *ends_of(struct block *block)
{
    CHECK(block->piped);
    return (struct pipe_ends *)(void *)block->data;
}

static void pipe_free(struct block *block)
{
    close(ends_of(block)->in);
    close(ends_of(block)->out);
    free(block);
}

static void pipe_back(struct block *block)
{
    struct reactor *r = CONTAINER_OF(block->pool, reactor, bufs);
    CHECK(r->pipes.out > 0);
    r->pipes.out--;
    if (block->used > 0 || r->pipes.n_free == PIPES_KEEP) {
        pipe_free(block);
        return;
    }
    block->next_free = r->pipes.free;
    r->pipes.free = block;
    r->pipes.n_free++;
}

static struct block *pipe_new(struct reactor *r)
{
    int fds[2];
    struct block *block;
    if (reactor_now(r) < r->pipes.wait_until)
        return NULL;
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        r->pipes.wait_until = reactor_now(r) + PIPE_WAIT_MS;
        return NULL;
    }
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES);
    block = malloc(sizeof(*block) + sizeof(struct pipe_ends));
    if (block == NULL) {
        close(fds[0]);
        close(fds[1]);
        return NULL;
    }
    *block = (struct block){.pool = &r->bufs, .piped = 1};
    *ends_of(block) = (struct pipe_ends){.out = fds[0], .in = fds[1]};
    r->bufs.unpipe = pipe_back;
    return block;
}

struct block *pipe_get(struct reactor *r)
{
    struct block *block = r->pipes.free;
    if (r->pipes.out >= r->pipes.max)
        return NULL;
    if (block != NULL) {
        r->pipes.free = block->next_free;
        r->pipes.n_free--;
    } else if ((block = pipe_new(r)) == NULL) {
        return NULL;
    }
    block->refs = 1;
    r->pipes.out++;
    return block;
}

ssize_t pipe_fill(struct block *block, int fd)
{
    ssize_t n;
    CHECK(block->used == 0);
    do
        n = splice(fd, NULL, ends_of(block)->in, NULL, block->cap,
                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    block->used = (uint32_t)n;
    return n;
}

ssize_t pipe_drain(struct block *block, int fd, size_t n, bool more)
{
    ssize_t gone;
    CHECK(n <= block->used);
    do
        gone = splice(ends_of(block)->out, NULL, fd, NULL, n,
                      SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));
    while (gone < 0 && errno == EINTR);
    if (gone < 0)
        return -errno;
    block->used -= (uint32_t)gone;
    return gone;
}

void chain_unpipe(struct chain *chain, struct buf_pool *pool)
{
    struct slice *first = chain->head;
    struct block *from = first->block, *to = block_get(pool, false);
    struct chain back, rest;
    ssize_t got;
    size_t n = first->len < to->cap ? first->len : to->cap;
    do
        got = read(ends_of(from)->out, to->data, n);
    while (got < 0 && errno == EINTR);
    CHECK(got > 0); /* they are there, and nobody else reads them */
    from->used -= (uint32_t)got;
    to->used = (uint32_t)got;
    chain_init(&back);
    chain_init(&rest);
    chain_append(&back, to, to->data, (size_t)got);
    block_drop(to);
    chain_move(&rest, chain);
    chain_drop(&rest, (size_t)got);
    chain_move(chain, &back);
    chain_move(chain, &rest);
}

void pipe_fini(struct reactor *r)
{
    CHECK(r->pipes.out == 0);
    while (r->pipes.free != NULL) {
        struct block *block = r->pipes.free;
        r->pipes.free = block->next_free;
        pipe_free(block);
    }
}
