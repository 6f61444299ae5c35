/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and Unix stream sockets. Owns the descriptor and its interest in events; must never call up
 * but when the reactor says that something happened. Reactor's thread.
 */
#include "proxy/net/tcp.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "proxy/net/pipe.h"
#include "proxy/net/reactor.h"
#include "proxy/net/tcp_race.h"

#define TCP_MAGIC MAGIC('t', 'c', 'p', ' ')
/* Slices that leave in one call; the kernel takes up to 1,024. */
#define WRITE_VECTORS 64
/* Full buffers that one event reads, so that a fast peer does not starve the others. */
#define READS_MAX 4
/* Bytes that the kernel may hold unsent for a peer that is behind. It would take megabytes, and
 * its window to who sends them would grow with that. */
#define UNSENT_MAX (256 * 1024)

struct tcp {
    struct transport base;
    struct watch watch;
    struct ready later;    /* tells what happened inside a verb: see tcp_tell_later */
    struct tcp_race *race; /* while it connects: to another address of the host; or NULL */
    uint32_t wanted;       /* EPOLLIN, EPOLLOUT */
    int failed;            /* a libuv error that is still to be told, or 0 */
    bool is_unix, connecting, shut, closing;
    bool no_splice; /* the kernel can't, from this socket */
    bool bounded;   /* UNSENT_MAX is set */
    bool plain;     /* the next read is into memory: it tells what splicing could not */
};

static const struct transport_ops tcp_ops;
static void tcp_happened(struct watch *watch, uint32_t events);
static void tcp_later(struct ready *task);

static struct tcp *tcp_of(struct transport *t)
{
    return CAST_OBJ(tcp, t, TCP_MAGIC);
}

static int last_error(void)
{
    return uv_translate_sys_error(errno);
}

static struct tcp *tcp_new(struct reactor *r, int fd, bool is_unix,
                           const struct transport_events *events, void *owner)
{
    struct tcp *tcp = reactor_alloc(r, SLAB_TCP, sizeof(*tcp));
    *tcp = (struct tcp){.base = {TCP_MAGIC, false, &tcp_ops, events, owner, r},
                        .later.run = tcp_later,
                        .is_unix = is_unix};
    watch_init(&tcp->watch, fd, tcp_happened);
    list_init(&tcp->later.link);
    reactor_hold(r);
    return tcp;
}

struct transport *tcp_adopt(struct reactor *r, int fd, bool is_unix,
                            const struct transport_events *events, void *owner)
{
    return &tcp_new(r, fd, is_unix, events, owner)->base;
}

/* ---- what is watched ---- */

/* An owner is never called from within a verb of its own. */
static void tcp_tell_later(struct tcp *tcp, int error)
{
    tcp->failed = error;
    reactor_later(tcp->base.reactor, &tcp->later);
}

static void tcp_arm(struct tcp *tcp, uint32_t events)
{
    int err = watch_arm(tcp->base.reactor, &tcp->watch, events);
    if (err != 0)
        tcp_tell_later(tcp, err);
}

/* More is asked for at once; less only once something comes that nobody waits for (tcp_happened),
 * so that a pause which ends in time costs nothing. */
static void tcp_want(struct tcp *tcp, uint32_t events)
{
    tcp->wanted |= events;
    if (!tcp->closing && (tcp->wanted & ~tcp->watch.armed) != 0)
        tcp_arm(tcp, tcp->wanted);
}

static void tcp_unwant(struct tcp *tcp, uint32_t events)
{
    tcp->wanted &= ~events;
}

/* ---- connecting ---- */

static void tcp_connected(struct tcp *tcp, int status)
{
    tcp->connecting = false;
    tcp_unwant(tcp, EPOLLOUT);
    tcp->base.events->connected(tcp->base.owner, status);
}

/* The host's second address has connected, and this is its socket now; or it has not. */
static void tcp_second(void *owner, int fd)
{
    struct tcp *tcp = tcp_of(owner);
    tcp->race = NULL;
    if (fd >= 0) {
        watch_close(&tcp->watch);
        watch_init(&tcp->watch, fd, tcp_happened);
        tcp->failed = 0;
        tcp->base.also = true;
        tcp_connected(tcp, 0);
        tcp_want(tcp, 0); /* what was wanted of the first */
    } else if (tcp->watch.fd < 0) {
        tcp_connected(tcp, tcp->failed);
    }
}

/* What came of the first. */
static void tcp_first(struct tcp *tcp, int status)
{
    if (status != 0 && tcp->race != NULL) {
        tcp->failed = status; /* which is told if the second does no better */
        watch_close(&tcp->watch);
        tcp_race_now(tcp->race);
        return;
    }
    tcp_race_end(TAKE(tcp->race));
    tcp_connected(tcp, status);
}

/* There is no socket of the first one's family. */
static struct transport *tcp_dial_also(struct reactor *r, const struct net_addr *to,
                                       uint32_t within_ms, const struct transport_events *events,
                                       void *owner, int *err)
{
    struct transport *t = tcp_dial(r, to->also, within_ms, events, owner, err);
    if (t != NULL)
        t->also = true;
    return t;
}

struct transport *tcp_dial(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                           const struct transport_events *events, void *owner, int *err)
{
    int fd, how = tcp_connect(to, &fd);
    if (fd < 0 && to->also != NULL)
        return tcp_dial_also(r, to, within_ms, events, owner, err);
    if (fd < 0) {
        *err = how;
        return NULL;
    }
    struct tcp *tcp = tcp_new(r, fd, net_addr_is_unix(to), events, owner);
    tcp->connecting = true;
    if (how != 0 && to->also != NULL)
        tcp->race = tcp_race_new(r, to->also, within_ms, tcp_second, tcp);
    if (how == 1)
        tcp_want(tcp, EPOLLOUT);
    else
        tcp_tell_later(tcp, how);
    return &tcp->base;
}

/* ---- reading ---- */

static void tcp_read(struct transport *t, bool on)
{
    struct tcp *tcp = tcp_of(t);
    if (on)
        tcp_want(tcp, EPOLLIN);
    else
        tcp_unwant(tcp, EPOLLIN);
}

static void tcp_ended(struct tcp *tcp, int how)
{
    tcp_unwant(tcp, EPOLLIN);
    tcp->base.events->read(tcp->base.owner, how);
}

/* It is the kernel, and not the connection, that says no. */
static bool cannot_splice(ssize_t n)
{
    return n == UV_EINVAL || n == UV_ENOSYS || n == UV_ENOTSUP || n == UV_EPERM;
}

/* True: there may be more. Only a plain read tells an end from urgent data; but an error, which the
 * kernel says once, is told here. fresh: epoll has just said that there is something. */
static bool tcp_read_pipe(struct tcp *tcp, struct block *pipe, bool fresh)
{
    uint32_t most = pipe->cap;
    ssize_t n = pipe_fill(pipe, tcp->watch.fd);
    tcp->base.events->read(tcp->base.owner, n > 0 ? n : 0);
    tcp->no_splice = cannot_splice(n);
    tcp->plain = n <= 0 && (n != UV_EAGAIN || fresh);
    if (n < 0 && n != UV_EAGAIN && n != UV_ENOMEM && !tcp->no_splice)
        tcp_ended(tcp, (int)n);
    reactor_dispatch(tcp->base.reactor);
    return tcp->plain || n == most;
}

/* True: there may be more. */
static bool tcp_read_once(struct tcp *tcp, bool fresh)
{
    struct block *pipe = NULL;
    bool splice = !tcp->no_splice && !tcp->plain;
    struct span room = tcp->base.events->buffer(tcp->base.owner, splice ? &pipe : NULL);
    tcp->plain = false;
    if (pipe != NULL)
        return tcp_read_pipe(tcp, pipe, fresh);
    if (room.len == 0) /* the conn has paused, and resumes */
        return false;
    ssize_t n = recv(tcp->watch.fd, (char *)(uintptr_t)room.ptr, room.len, 0);
    if (n > 0)
        tcp->base.events->read(tcp->base.owner, n);
    else if (n == 0)
        tcp_ended(tcp, tcp->failed != 0 ? tcp->failed : UV_EOF);
    else if (errno != EAGAIN && errno != EINTR)
        tcp_ended(tcp, last_error());
    return n > 0 && (size_t)n == room.len;
}

static void tcp_readable(struct tcp *tcp)
{
    for (int i = 0; i < READS_MAX && tcp->wanted & EPOLLIN && !tcp->closing; i++) {
        if (!tcp_read_once(tcp, i == 0))
            break;
        reactor_dispatch(tcp->base.reactor); /* what is read is taken before more is */
    }
}

/* ---- writing ---- */

/* For sockets that carry a body which streams: others never hold so much, and save the call. */
static void bound_unsent(struct tcp *tcp)
{
    int most = UNSENT_MAX;
    tcp->bounded = true;
    if (!tcp->is_unix) /* no harm if it fails */
        (void)setsockopt(tcp->watch.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
}

/* The pipe at the front of out. If the socket can't be spliced to, its bytes come to memory. */
static ssize_t drain_front(struct tcp *tcp, struct chain *out, bool more, size_t *bytes)
{
    const struct slice *first = out->head;
    *bytes = first->len;
    ssize_t n = pipe_drain(first->block, tcp->watch.fd, first->len, more || first->next != NULL);
    if (!cannot_splice(n))
        return n;
    chain_unpipe(out, &tcp->base.reactor->bufs);
    return *bytes = 0;
}

static ssize_t send_vectors(struct tcp *tcp, const struct chain *out, int flags, size_t *bytes)
{
    struct iovec vectors[WRITE_VECTORS];
    struct msghdr msg = {.msg_iov = vectors};
    msg.msg_iovlen = (size_t)chain_vectors(out, vectors, WRITE_VECTORS, bytes);
    return sendmsg(tcp->watch.fd, &msg, *bytes < out->bytes ? flags | MSG_MORE : flags);
}

/* Bytes or a libuv error; *bytes is how many were tried. send() for one slice: it costs the kernel
 * less than a vector of one. more: others follow at once. */
static ssize_t send_front(struct tcp *tcp, struct chain *out, bool more, size_t *bytes)
{
    const struct slice *first = out->head;
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    ssize_t n;
    if (first->block->piped)
        return drain_front(tcp, out, more, bytes);
    if (first->next != NULL)
        n = send_vectors(tcp, out, flags, bytes);
    else
        n = send(tcp->watch.fd, first->ptr, *bytes = first->len, flags);
    return n < 0 ? last_error() : n;
}

static ssize_t tcp_write(struct transport *t, struct chain *out, bool last)
{
    struct tcp *tcp = tcp_of(t);
    ssize_t taken = 0;
    if (!tcp->bounded && out->bytes > BLOCK_BYTES)
        bound_unsent(tcp);
    while (!chain_empty(out)) {
        size_t bytes;
        /* The end rides in the segment of the last bytes: one packet less, and one wake-up. */
        ssize_t n = send_front(tcp, out, last, &bytes);
        bool fails = n < 0 && n != UV_EAGAIN && n != UV_EINTR;
        if (fails && n != UV_EPIPE && n != UV_ENOMEM && n != UV_ENOBUFS)
            tcp->failed = (int)n; /* the kernel says it once, and to a read "end" from then on */
        if (fails && taken == 0) {
            tcp_unwant(tcp, EPOLLOUT);
            return n;
        }
        if (n > 0) {
            chain_drop(out, (size_t)n);
            taken += n;
        }
        if (n < 0 || (size_t)n < bytes)
            break;
    }
    if (chain_empty(out))
        tcp_unwant(tcp, EPOLLOUT);
    else
        tcp_want(tcp, EPOLLOUT);
    return taken;
}

static void tcp_shutdown(struct transport *t)
{
    struct tcp *tcp = tcp_of(t);
    if (tcp->shut || tcp->closing)
        return;
    tcp->shut = true;
    shutdown(tcp->watch.fd, SHUT_WR); /* an error shows on the read side too */
}

/* ---- what happens ---- */

static void tcp_happened(struct watch *watch, uint32_t events)
{
    struct tcp *tcp = CONTAINER_OF(watch, tcp, watch);
    bool trouble = events & (EPOLLERR | EPOLLHUP);
    if (tcp->connecting) {
        tcp_first(tcp, tcp_connect_status(tcp->watch.fd));
        return;
    }
    if (tcp->wanted & EPOLLOUT && (events & EPOLLOUT || trouble)) {
        tcp->base.events->writable(tcp->base.owner);
        reactor_dispatch(tcp->base.reactor);
    }
    bool reads = tcp->wanted & EPOLLIN;
    if (reads && (events & EPOLLIN || trouble))
        tcp_readable(tcp);
    bool in_vain = !reads && (events & EPOLLIN || trouble);
    if (!tcp->closing && (in_vain || tcp->watch.armed & ~tcp->wanted & EPOLLOUT))
        tcp_arm(tcp, tcp->wanted);
}

static void tcp_free(struct tcp *tcp)
{
    struct reactor *r = tcp->base.reactor;
    const struct transport_events *events = tcp->base.events;
    void *owner = tcp->base.owner;
    tcp->base.magic = 0;
    reactor_free(r, SLAB_TCP, tcp);
    reactor_unhold(r);
    events->closed(owner);
}

static void tcp_later(struct ready *task)
{
    struct tcp *tcp = CONTAINER_OF(task, tcp, later);
    if (tcp->closing)
        tcp_free(tcp);
    else if (tcp->connecting)
        tcp_first(tcp, tcp->failed);
    else
        tcp_ended(tcp, tcp->failed);
}

/* ---- the end ---- */

static void tcp_close(struct transport *t, bool reset)
{
    struct tcp *tcp = tcp_of(t);
    struct linger abort = {.l_onoff = 1, .l_linger = 0};
    if (tcp->closing)
        return;
    tcp->closing = true;
    if (reset && !tcp->is_unix && !tcp->shut)
        (void)setsockopt(tcp->watch.fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
    watch_close(&tcp->watch);
    tcp_race_end(TAKE(tcp->race));
    reactor_later(t->reactor, &tcp->later);
}

static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .splices = true,
    .read = tcp_read,
    .write = tcp_write,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
};
