/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A preload that lets the network fail at one exact place: once a write that begins with "POST "
 * has gone out on a connection, all that follow on it fail as if the peer had reset it, while
 * reading goes on. Built and loaded by test_regressions_load.py; glibc.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

/* The descriptor whose writes fail, until it is another connection. */
static _Atomic int posted = -1;

static int fails(int fd)
{
    return fd >= 0 && atomic_load(&posted) == fd;
}

static void note(int fd, const void *data, size_t n, ssize_t wrote)
{
    if (wrote > 0 && n >= 5 && memcmp(data, "POST ", 5) == 0)
        atomic_store(&posted, fd);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t n)
{
    static int (*next)(int, __CONST_SOCKADDR_ARG, socklen_t);
    if (next == NULL)
        next = (int (*)(int, __CONST_SOCKADDR_ARG, socklen_t))dlsym(RTLD_NEXT, "connect");
    int expected = fd;
    atomic_compare_exchange_strong(&posted, &expected, -1);
    return next(fd, to, n);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    static ssize_t (*next)(int, const struct msghdr *, int);
    if (next == NULL)
        next = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    if (fails(fd)) {
        errno = ECONNRESET;
        return -1;
    }
    ssize_t wrote = next(fd, msg, flags);
    if (msg->msg_iovlen > 0)
        note(fd, msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len, wrote);
    return wrote;
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
    static ssize_t (*next)(int, const void *, size_t, int);
    if (next == NULL)
        next = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    if (fails(fd)) {
        errno = ECONNRESET;
        return -1;
    }
    ssize_t wrote = next(fd, data, n, flags);
    note(fd, data, n, wrote);
    return wrote;
}
