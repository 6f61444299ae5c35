/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor: the least that forwarding can cost on epoll. It copies bytes between a client conn and an
 * upstream conn of its own, and looks at none of them; bench/run.py divides every proxy's CPU per
 * request by this one's. A keep-alive request and its response cost read, write, read, write and a
 * share of one epoll_wait: no epoll_ctl, no malloc.
 *
 * Owns its sockets. Must never look at a byte that it forwards, nor grow features: whatever is
 * added here makes every proxy look better than it is. One thread.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/floor_setup.h"

/* With 64 KiB, 1 MiB bodies cost about 1.5 times as much; with 16 KiB, over twice. */
enum { READ_SIZE = 256 * 1024, EVENTS = 256 };

struct pair;

/* One socket of a pair, and what could not be written to it yet. */
struct end {
    int fd;
    bool eof;       /* read() said 0: its peer gets a half-close once `rest` is out */
    size_t rest_at; /* bytes of `rest` already written */
    size_t rest_len;
    char *rest; /* NULL unless a write to fd was cut short */
    struct pair *pair;
};

struct pair {
    struct end client, upstream;
    bool dead;
    struct pair *next_dead;
};

static int epfd;
static struct sockaddr_in upstream_addr;
static struct pair *dead_pairs; /* freed after the batch: a later event may still name them */
static char scratch[READ_SIZE];

static void pair_kill(struct pair *p)
{
    if (p->dead)
        return;
    p->dead = true;
    close(p->client.fd);
    close(p->upstream.fd);
    p->next_dead = dead_pairs;
    dead_pairs = p;
}

static void free_dead_pairs(void)
{
    while (dead_pairs) {
        struct pair *p = dead_pairs;
        dead_pairs = p->next_dead;
        free(p->client.rest);
        free(p->upstream.rest);
        free(p);
    }
}

/* Keeps what a short write left over. The source is not read again before it is out, so it is at
 * most READ_SIZE bytes; EPOLLOUT, registered from the start, says when to go on. */
static void keep_rest(struct end *to, const char *bytes, size_t n)
{
    to->rest = malloc(n);
    if (!to->rest)
        floor_die("malloc", errno);
    memcpy(to->rest, bytes, n);
    to->rest_len = n;
    to->rest_at = 0;
}

/* Writes `n` bytes as far as the socket takes them; returns how many, or -1 on an error. */
static ssize_t write_some(int fd, const char *bytes, size_t n)
{
    ssize_t w;

    do
        w = write(fd, bytes, n);
    while (w < 0 && errno == EINTR);
    return w < 0 && errno == EAGAIN ? 0 : w;
}

/* Returns false while something is left over, or when the pair died. */
static bool flush_rest(struct end *to)
{
    if (!to->rest)
        return true;
    ssize_t w = write_some(to->fd, to->rest + to->rest_at, to->rest_len - to->rest_at);
    if (w < 0) {
        pair_kill(to->pair);
        return false;
    }
    to->rest_at += (size_t)w;
    if (to->rest_at < to->rest_len)
        return false;
    free(to->rest);
    to->rest = NULL;
    return true;
}

static void pass_eof(struct end *from, struct end *to)
{
    from->eof = true;
    if (to->eof)
        pair_kill(from->pair);
    else
        shutdown(to->fd, SHUT_WR);
}

/*
 * Moves bytes until `from` has no more or `to` takes no more. Edge-triggered: a read that did not
 * fill the buffer emptied the socket, so no read is spent on EAGAIN; only when the end has been
 * announced (`hup`) one goes on to see it, because no further edge will come.
 */
static void pump(struct end *from, struct end *to, bool hup)
{
    if (!flush_rest(to))
        return;
    while (!from->eof && !from->pair->dead) {
        ssize_t n = read(from->fd, scratch, sizeof(scratch));
        if (n == 0) {
            pass_eof(from, to);
            return;
        }
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                pair_kill(from->pair);
            return;
        }
        ssize_t w = write_some(to->fd, scratch, (size_t)n);
        if (w < 0) {
            pair_kill(from->pair);
            return;
        }
        if (w < n) {
            keep_rest(to, scratch + w, (size_t)(n - w));
            return;
        }
        if (n < (ssize_t)sizeof(scratch) && !hup)
            return;
    }
}

static void on_event(struct end *e, uint32_t events)
{
    struct pair *p = e->pair;
    struct end *peer = e == &p->client ? &p->upstream : &p->client;
    bool hup = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

    if (p->dead)
        return;
    if ((events & EPOLLIN) || hup)
        pump(e, peer, hup);
    /* e has room again: go on with what waited for it. `hup` holds for what its peer has said
     * before, too: that edge is gone, so read to the end. */
    if ((events & EPOLLOUT) && e->rest && !p->dead)
        pump(peer, e, true);
}

static void end_init(struct end *e, struct pair *p, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e};

    e->fd = fd;
    e->pair = p;
    floor_no_delay(fd);
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
        floor_die("epoll_ctl", errno);
}

static void on_client(int client)
{
    struct pair *p = calloc(1, sizeof(*p));
    int upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (!p || upstream < 0)
        floor_die("a new conn", errno);
    if (connect(upstream, (struct sockaddr *)&upstream_addr, sizeof(upstream_addr)) < 0 &&
        errno != EINPROGRESS)
        floor_die("connect", errno);
    end_init(&p->upstream, p, upstream);
    end_init(&p->client, p, client);
}

/* Running out of descriptors ends the program: a benchmark must not go on with fewer conns. */
static void on_listener(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            on_client(fd);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR && errno != ECONNABORTED)
            floor_die("accept", errno);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    struct epoll_event accepting = {.events = EPOLLIN}; /* data.ptr NULL: the listener */
    int listener;

    listener = floor_begin(argc, argv, SOCK_NONBLOCK | SOCK_CLOEXEC, &upstream_addr);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &accepting) < 0)
        floor_die("epoll", errno);

    for (;;) {
        int n = epoll_wait(epfd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            floor_die("epoll_wait", errno);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                on_event(events[i].data.ptr, events[i].events);
            else
                on_listener(listener);
        }
        free_dead_pairs();
    }
}
