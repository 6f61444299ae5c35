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

#include "proxy/net/reactor.h"

#define TCP_MAGIC MAGIC('t', 'c', 'p', ' ')
/* Slices that leave in one call; the kernel takes up to 1,024. */
#define WRITE_VECTORS 64
/* Full buffers that one event reads, so that a fast peer does not starve the others. */
#define READS_MAX 16

struct tcp {
    struct transport base;
    struct watch watch;
    struct ready later; /* tells what happened inside a verb: see tcp_tell_later */
    uint32_t wanted;    /* EPOLLIN, EPOLLOUT */
    int failed;         /* a libuv error that is still to be told, or 0 */
    bool is_unix, connecting, shut, closing;
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
    *tcp = (struct tcp){.base = {TCP_MAGIC, &tcp_ops, events, owner, r},
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

/* The socket, and 0 (connected), 1 (under way) or a libuv error (then there is none). */
static int begin_connect(const struct net_addr *to, int *fd)
{
    int on = 1;
    *fd = socket(to->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return last_error();
    if (!net_addr_is_unix(to)) /* no harm if it fails: only slower */
        (void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(*fd, &to->u.sa, to->len) == 0)
        return 0;
    return errno == EINPROGRESS || errno == EINTR ? 1 : last_error();
}

struct transport *tcp_dial(struct reactor *r, const struct net_addr *to,
                           const struct transport_events *events, void *owner, int *err)
{
    int fd, how = begin_connect(to, &fd);
    if (fd < 0) {
        *err = how;
        return NULL;
    }
    struct tcp *tcp = tcp_new(r, fd, net_addr_is_unix(to), events, owner);
    tcp->connecting = true;
    if (how == 1)
        tcp_want(tcp, EPOLLOUT);
    else
        tcp_tell_later(tcp, how);
    return &tcp->base;
}

static void tcp_connected(struct tcp *tcp, int status)
{
    tcp->connecting = false;
    tcp_unwant(tcp, EPOLLOUT);
    tcp->base.events->connected(tcp->base.owner, status);
}

static int connect_status(struct tcp *tcp)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(tcp->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    return error != 0 ? uv_translate_sys_error(error) : 0;
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

/* True: there may be more. */
static bool tcp_read_once(struct tcp *tcp)
{
    struct span room = tcp->base.events->buffer(tcp->base.owner);
    if (room.len == 0) /* the conn has paused, and resumes */
        return false;
    ssize_t n = recv(tcp->watch.fd, (char *)(uintptr_t)room.ptr, room.len, 0);
    if (n > 0)
        tcp->base.events->read(tcp->base.owner, n);
    else if (n == 0)
        tcp_ended(tcp, UV_EOF);
    else if (errno != EAGAIN && errno != EINTR)
        tcp_ended(tcp, last_error());
    reactor_dispatch(tcp->base.reactor);
    return n > 0 && (size_t)n == room.len;
}

static void tcp_readable(struct tcp *tcp)
{
    for (int i = 0; i < READS_MAX && tcp->wanted & EPOLLIN && !tcp->closing; i++)
        if (!tcp_read_once(tcp))
            break;
}

/* ---- writing ---- */

static int vectors_of(const struct chain *out, struct iovec *vectors, size_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (const struct slice *s = out->head; s != NULL && n < WRITE_VECTORS; s = s->next, n++) {
        vectors[n] = (struct iovec){.iov_base = s->ptr, .iov_len = s->len};
        *bytes += s->len;
    }
    return n;
}

/* send() for one slice: it costs the kernel less than a vector of one. */
static ssize_t send_front(int fd, const struct chain *out, int flags, size_t *bytes)
{
    struct iovec vectors[WRITE_VECTORS];
    if (out->head->next == NULL) {
        *bytes = out->head->len;
        return send(fd, out->head->ptr, out->head->len, flags);
    }
    struct msghdr msg = {.msg_iov = vectors};
    msg.msg_iovlen = (size_t)vectors_of(out, vectors, bytes);
    return sendmsg(fd, &msg, flags);
}

static ssize_t tcp_write(struct transport *t, struct chain *out, bool last)
{
    struct tcp *tcp = tcp_of(t);
    ssize_t taken = 0;
    while (!chain_empty(out)) {
        size_t bytes;
        /* The end rides in the segment of the last bytes: one packet less, and one wake-up. */
        int flags = MSG_NOSIGNAL | (last ? MSG_MORE : 0);
        ssize_t n = send_front(tcp->watch.fd, out, flags, &bytes);
        if (n < 0 && errno != EAGAIN && errno != EINTR && taken == 0) {
            tcp_unwant(tcp, EPOLLOUT);
            return last_error();
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
        tcp_connected(tcp, connect_status(tcp));
        reactor_dispatch(tcp->base.reactor);
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
        tcp_connected(tcp, tcp->failed);
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
    reactor_later(t->reactor, &tcp->later);
}

static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .read = tcp_read,
    .write = tcp_write,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
};
