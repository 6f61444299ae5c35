/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and Unix stream sockets on libuv. Owns the handle and the one send in flight; must never
 * call up outside a libuv callback. Reactor's thread.
 */
#include "proxy/net/tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/reactor.h"

#define TCP_MAGIC   MAGIC('t', 'c', 'p', ' ')
#define TRY_VECTORS 32
/* uv_write allocates when it gets more. */
#define SEND_VECTORS 4

struct tcp_send {
    uv_write_t req;
    struct chain data;
};

struct tcp {
    struct transport base;
    struct tcp_send *send; /* in flight, or NULL */
    bool is_unix, reading, shut;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
};

static const struct transport_ops tcp_ops;

static struct tcp *tcp_of(struct transport *t)
{
    return CAST_OBJ(tcp, t, TCP_MAGIC);
}

static struct tcp *tcp_new(struct reactor *r, bool is_unix, int family,
                           const struct transport_events *events, void *owner, int *err)
{
    struct tcp *tcp = reactor_alloc(r, SLAB_TCP, sizeof(*tcp));
    memset(tcp, 0, offsetof(struct tcp, uv));
    tcp->base = (struct transport){TCP_MAGIC, &tcp_ops, events, owner, r};
    tcp->is_unix = is_unix;
    *err = is_unix ? uv_pipe_init(&r->loop, &tcp->uv.pipe, 0)
                   : uv_tcp_init_ex(&r->loop, &tcp->uv.tcp, (unsigned)family);
    if (*err != 0) { /* the handle never came to be: nothing to close */
        reactor_free(r, SLAB_TCP, tcp);
        return NULL;
    }
    tcp->uv.handle.data = tcp;
    return tcp;
}

struct transport *tcp_adopt(struct reactor *r, int fd, bool is_unix,
                            const struct transport_events *events, void *owner)
{
    int err;
    struct tcp *tcp = tcp_new(r, is_unix, AF_UNSPEC, events, owner, &err);
    if (tcp == NULL) {
        close(fd);
        return NULL;
    }
    err = is_unix ? uv_pipe_open(&tcp->uv.pipe, fd) : uv_tcp_open(&tcp->uv.tcp, fd);
    /* Only a descriptor that is not a fresh stream socket could be refused. */
    CHECK(err == 0);
    return &tcp->base;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct tcp *tcp = CAST_OBJ(tcp, req->data, TCP_MAGIC);
    struct reactor *r = tcp->base.reactor;
    reactor_free(r, SLAB_TCP_SEND, CONTAINER_OF((uv_write_t *)(void *)req, tcp_send, req));
    if (status != UV_ECANCELED)
        tcp->base.events->connected(tcp->base.owner, status);
    reactor_dispatch(r);
}

static void on_refused_close(uv_handle_t *handle)
{
    struct tcp *tcp = CAST_OBJ(tcp, handle->data, TCP_MAGIC);
    reactor_free(tcp->base.reactor, SLAB_TCP, tcp);
}

struct transport *tcp_dial(struct reactor *r, const struct net_addr *to,
                           const struct transport_events *events, void *owner, int *err)
{
    bool is_unix = net_addr_is_unix(to);
    struct tcp *tcp = tcp_new(r, is_unix, to->u.sa.sa_family, events, owner, err);
    if (tcp == NULL)
        return NULL;
    /* A connect request is needed once and is smaller than a write request: share the slab. */
    _Static_assert(sizeof(uv_connect_t) <= sizeof(uv_write_t), "a connect request fits a send");
    struct tcp_send *send = reactor_alloc(r, SLAB_TCP_SEND, sizeof(*send));
    uv_connect_t *req = (uv_connect_t *)(void *)&send->req;
    req->data = tcp;
    if (is_unix) {
        uv_pipe_connect(req, &tcp->uv.pipe, to->u.un.sun_path, on_connect);
        return &tcp->base;
    }
    uv_tcp_nodelay(&tcp->uv.tcp, 1);
    *err = uv_tcp_connect(req, &tcp->uv.tcp, &to->u.sa, on_connect);
    if (*err == 0)
        return &tcp->base;
    reactor_free(r, SLAB_TCP_SEND, send);
    uv_close(&tcp->uv.handle, on_refused_close);
    return NULL;
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    (void)hint;
    struct tcp *tcp = CAST_OBJ(tcp, handle->data, TCP_MAGIC);
    struct span room = tcp->base.events->buffer(tcp->base.owner);
    *buf = uv_buf_init((char *)room.ptr, (unsigned)room.len);
}

/* libuv takes a hang-up behind a partial read for an end, whether it was a FIN or an RST, and
 * whether or not bytes are left. One look at the socket tells; it costs a call a conn, not a read.
 */
static ssize_t true_end(struct tcp *tcp)
{
    uv_os_fd_t fd;
    char byte;
    if (uv_fileno(&tcp->uv.handle, &fd) != 0)
        return UV_EOF;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return UV_EOF;
    return n < 0 ? uv_translate_sys_error(errno) : 1;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct tcp *tcp = CAST_OBJ(tcp, stream->data, TCP_MAGIC);
    struct reactor *r = tcp->base.reactor;
    /* 0 is EAGAIN; ENOBUFS is our own empty buffer, said by a conn that stops reading then. */
    if (n == 0 || n == UV_ENOBUFS)
        return;
    if (n == UV_EOF && (n = true_end(tcp)) > 0) {
        uv_read_start(stream, on_alloc, on_read);
        return;
    }
    if (n < 0)
        tcp->reading = false; /* libuv stops by itself */
    tcp->base.events->read(tcp->base.owner, n);
    reactor_dispatch(r);
}

static void tcp_read(struct transport *t, bool on)
{
    struct tcp *tcp = tcp_of(t);
    if (tcp->reading == on || uv_is_closing(&tcp->uv.handle))
        return;
    tcp->reading = on;
    if (on)
        uv_read_start(&tcp->uv.stream, on_alloc, on_read);
    else
        uv_read_stop(&tcp->uv.stream);
}

static void on_written(uv_write_t *req, int status)
{
    struct tcp_send *send = CONTAINER_OF(req, tcp_send, req);
    struct tcp *tcp = CAST_OBJ(tcp, req->data, TCP_MAGIC);
    struct reactor *r = tcp->base.reactor;
    chain_clear(&send->data);
    tcp->send = NULL;
    reactor_free(r, SLAB_TCP_SEND, send);
    if (!uv_is_closing(&tcp->uv.handle))
        tcp->base.events->written(tcp->base.owner, status);
    reactor_dispatch(r);
}

static int vectors_of(const struct chain *out, uv_buf_t *bufs, int max, size_t *bytes)
{
    int n = 0;
    *bytes = 0;
    for (const struct slice *s = out->head; s != NULL && n < max; s = s->next, n++) {
        bufs[n] = uv_buf_init(s->ptr, (unsigned)s->len);
        *bytes += s->len;
    }
    return n;
}

/* Hands the front of out to the kernel's readiness: libuv calls on_written when it is gone. */
static ssize_t tcp_send_later(struct tcp *tcp, struct chain *out)
{
    struct tcp_send *send = reactor_alloc(tcp->base.reactor, SLAB_TCP_SEND, sizeof(*send));
    uv_buf_t bufs[SEND_VECTORS];
    size_t bytes;
    chain_init(&send->data);
    send->req.data = tcp;
    int n = vectors_of(out, bufs, SEND_VECTORS, &bytes);
    int err = uv_write(&send->req, &tcp->uv.stream, bufs, (unsigned)n, on_written);
    if (err != 0) {
        reactor_free(tcp->base.reactor, SLAB_TCP_SEND, send);
        return err;
    }
    chain_move_bytes(&send->data, out, bytes);
    tcp->send = send;
    return (ssize_t)bytes;
}

static ssize_t tcp_write(struct transport *t, struct chain *out)
{
    struct tcp *tcp = tcp_of(t);
    ssize_t taken = 0;
    if (tcp->send != NULL)
        return 0;
    while (!chain_empty(out)) {
        uv_buf_t bufs[TRY_VECTORS];
        size_t bytes;
        int n = vectors_of(out, bufs, TRY_VECTORS, &bytes);
        int wrote = uv_try_write(&tcp->uv.stream, bufs, (unsigned)n);
        if (wrote < 0 && wrote != UV_EAGAIN)
            return taken > 0 ? taken : wrote; /* what is gone is gone; the error comes again */
        if (wrote > 0) {
            chain_drop(out, (size_t)wrote);
            taken += wrote;
        }
        if (wrote < 0 || (size_t)wrote < bytes) {
            ssize_t later = tcp_send_later(tcp, out);
            return later < 0 && taken == 0 ? later : taken + (later > 0 ? later : 0);
        }
    }
    return taken;
}

static size_t tcp_in_flight(const struct transport *t)
{
    const struct tcp *tcp = (const struct tcp *)t;
    return tcp->send != NULL ? uv_stream_get_write_queue_size(&tcp->uv.stream) : 0;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status; /* an error shows on the read side too */
    struct tcp *tcp = CAST_OBJ(tcp, req->data, TCP_MAGIC);
    reactor_free(tcp->base.reactor, SLAB_TCP_SEND,
                 CONTAINER_OF((uv_write_t *)(void *)req, tcp_send, req));
}

static void tcp_shutdown(struct transport *t)
{
    struct tcp *tcp = tcp_of(t);
    if (tcp->shut || uv_is_closing(&tcp->uv.handle))
        return;
    tcp->shut = true;
    _Static_assert(sizeof(uv_shutdown_t) <= sizeof(uv_write_t), "a shutdown request fits a send");
    struct tcp_send *send = reactor_alloc(t->reactor, SLAB_TCP_SEND, sizeof(*send));
    uv_shutdown_t *req = (uv_shutdown_t *)(void *)&send->req;
    req->data = tcp;
    if (uv_shutdown(req, &tcp->uv.stream, on_shutdown) != 0)
        reactor_free(t->reactor, SLAB_TCP_SEND, send);
}

static void on_close(uv_handle_t *handle)
{
    struct tcp *tcp = CAST_OBJ(tcp, handle->data, TCP_MAGIC);
    struct reactor *r = tcp->base.reactor;
    const struct transport_events *events = tcp->base.events;
    void *owner = tcp->base.owner;
    CHECK(tcp->send == NULL);
    tcp->base.magic = 0;
    reactor_free(r, SLAB_TCP, tcp);
    events->closed(owner);
    reactor_dispatch(r);
}

static void tcp_close(struct transport *t, bool reset)
{
    struct tcp *tcp = tcp_of(t);
    if (uv_is_closing(&tcp->uv.handle))
        return;
    if (reset && !tcp->is_unix && !tcp->shut && uv_tcp_close_reset(&tcp->uv.tcp, on_close) == 0)
        return;
    uv_close(&tcp->uv.handle, on_close);
}

static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .read = tcp_read,
    .write = tcp_write,
    .in_flight = tcp_in_flight,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
};
