/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What c-ares leaves to whoever makes its calls, it does for its own sockets: non-blocking, closed
 * on exec, without Nagle's delay. Owns nothing; never waits. Any thread.
 */
#define CARES_NO_DEPRECATED /* what Debian 12 has is called otherwise later */
#include "proxy/net/dns_calls.h"

#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proxy/base/check.h"

static ares_socket_t opens(int family, int type, int protocol, void *data)
{
    (void)data;
    int on = 1, fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd >= 0 && type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static int closes(ares_socket_t fd, void *data)
{
    (void)data;
    return close(fd);
}

/* One that is interrupted goes on by itself (POSIX, connect). */
static int connects_to(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len)
{
    int status = connect(fd, to, len);
    if (status != 0 && errno == EINTR)
        errno = EINPROGRESS;
    return status;
}

static ares_ssize_t receives(ares_socket_t fd, void *to, size_t n, int flags, struct sockaddr *from,
                             ares_socklen_t *len, void *data)
{
    ares_ssize_t got;
    (void)data;
    do
        got = recvfrom(fd, to, n, flags, from, len);
    while (got < 0 && errno == EINTR);
    return got;
}

#if ARES_VERSION < 0x012200

static int connects(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *data)
{
    (void)data;
    return connects_to(fd, to, len);
}

static ares_ssize_t sends(ares_socket_t fd, const struct iovec *from, int n, void *data)
{
    ares_ssize_t sent;
    (void)data;
    do
        sent = writev(fd, from, n);
    while (sent < 0 && errno == EINTR);
    return sent;
}

void dns_calls_set(struct ares_channeldata *ares)
{
    static const struct ares_socket_functions calls = {opens, closes, connects, receives, sends};
    ares_set_socket_functions(ares, &calls, NULL);
}

#else /* the old functions have no getsockname, by which addresses are sorted (RFC 6724) */

static int connects(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, unsigned flags,
                    void *data)
{
    (void)flags; /* TCP Fast Open, which set_option refuses */
    (void)data;
    return connects_to(fd, to, len);
}

static ares_ssize_t sends(ares_socket_t fd, const void *from, size_t n, int flags,
                          const struct sockaddr *to, ares_socklen_t len, void *data)
{
    ares_ssize_t sent;
    (void)data;
    do
        sent = sendto(fd, from, n, flags, to, len);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static int set_option(ares_socket_t fd, ares_socket_opt_t option, const void *value,
                      ares_socklen_t len, void *data)
{
    (void)fd, (void)option, (void)value, (void)len, (void)data;
    errno = ENOSYS; /* "not supported": c-ares does without */
    return -1;
}

static int own_address(ares_socket_t fd, struct sockaddr *address, ares_socklen_t *len, void *data)
{
    (void)data;
    return getsockname(fd, address, len);
}

void dns_calls_set(struct ares_channeldata *ares)
{
    static const struct ares_socket_functions_ex calls = {.version = 1,
                                                          .flags = ARES_SOCKFUNC_FLAG_NONBLOCKING,
                                                          .asocket = opens,
                                                          .aclose = closes,
                                                          .asetsockopt = set_option,
                                                          .aconnect = connects,
                                                          .arecvfrom = receives,
                                                          .asendto = sends,
                                                          .agetsockname = own_address};
    CHECK(ares_set_socket_functions_ex(ares, &calls, NULL) == ARES_SUCCESS);
}

#endif
