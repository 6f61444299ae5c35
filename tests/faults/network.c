/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that fail. Owns what is known of each descriptor; must never touch one that is no
 * connection. Any thread; glibc. faults.c tells what can be said.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/faults/faults.h"

#define MAX_FD 65536

/* What a descriptor is: its side, and */
#define FD_SIDE    0x03
#define FD_UNIX    0x04
#define FD_TELL    0x08 /* reset; the next call says so */
#define FD_DEAD    0x10 /* reset; it was said */
#define FD_REFUSED 0x20 /* its connect has failed; SO_ERROR says so */
#define FD_TIMEOUT 0x40
#define FD_CUT     0x80 /* a write began with fails_after */

static _Atomic uint8_t fds[MAX_FD];

/* ---- descriptors ---- */

/* What a datagram loses is lost for good: those are left alone. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static void fd_becomes(int fd, enum side side)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(ss);
    if (fd < 0 || fd >= MAX_FD || !is_stream(fd))
        return;
    uint8_t is_unix = getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family == AF_UNIX;
    fds[fd] = (uint8_t)(side | (is_unix ? FD_UNIX : 0));
}

static void fd_closed(int fd)
{
    if (fd >= 0 && fd < MAX_FD)
        fds[fd] = SIDE_OTHER;
}

static bool on(void)
{
    return faults.running && !inside && words[WORD_OFF] == 0 && !(faults.spare_main && is_main);
}

/* The peer sees it; what had not been read or sent is gone. */
static void reset(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    NEXT(connect);
    if (fds[fd] & FD_UNIX)
        shutdown(fd, SHUT_RDWR);
    else
        next(fd, &none, sizeof(none));
    fds[fd] |= FD_TELL;
}

enum what { GOES_ON, ENDS };

/* What becomes of a read or a write of *n bytes: it goes on with *n, or ends with *result. */
static enum what move(int fd, bool reads, size_t *n, ssize_t *result)
{
    uint8_t state = fd >= 0 && fd < MAX_FD ? fds[fd] : SIDE_OTHER;
    if ((state & FD_SIDE) == SIDE_OTHER)
        return GOES_ON;
    *result = -1;
    if (state & FD_DEAD) {
        errno = EPIPE;
        *result = reads ? 0 : -1;
        return ENDS;
    }
    if ((state & FD_CUT) && !reads) {
        errno = ECONNRESET;
        return ENDS;
    }
    if (on() && !(state & FD_TELL) && (faults.only == 0 || faults.only == (state & FD_SIDE)) &&
        *n > 0) {
        word_add(WORD_CALLS, 1);
        if (strikes(CHANCE_RESET)) {
            reset(fd);
            state |= FD_TELL;
        } else if (strikes(CHANCE_EINTR)) {
            errno = EINTR;
            return ENDS;
        } else if (strikes(CHANCE_EAGAIN)) {
            errno = EAGAIN;
            return ENDS;
        } else if (*n > 1 && strikes(CHANCE_SHORT)) {
            *n = roll() & 1 ? 1 : 1 + roll() % (*n - 1);
        }
    }
    if (state & FD_TELL) {
        fds[fd] = (uint8_t)((state & ~FD_TELL) | FD_DEAD);
        errno = ECONNRESET;
        return ENDS;
    }
    return GOES_ON;
}

/* A write of bytes that begin here is about to go out. */
static void begins(int fd, const void *bytes, size_t n)
{
    size_t want = strlen(faults.fails_after);
    if (want > 0 && n >= want && fd >= 0 && fd < MAX_FD && (fds[fd] & FD_SIDE) != SIDE_OTHER &&
        memcmp(bytes, faults.fails_after, want) == 0)
        fds[fd] |= FD_CUT;
}

static size_t vector_bytes(const struct iovec *v, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += v[i].iov_len;
    return n;
}

/* The first n bytes of at most 1,024 vectors (more than the kernel takes): how many they are. */
static size_t vector_cut(struct iovec *to, const struct iovec *v, size_t count, size_t n)
{
    size_t i = 0;
    for (; i < count && i < 1024 && n > 0; i++) {
        to[i] = v[i];
        if (to[i].iov_len > n)
            to[i].iov_len = n;
        n -= to[i].iov_len;
    }
    return i;
}

/* ---- reading and writing ---- */

#define MOVE(fd, reads, n)                       \
    ssize_t result;                              \
    size_t left = (n);                           \
    if (move(fd, reads, &left, &result) == ENDS) \
    return result

ssize_t read(int fd, void *to, size_t n)
{
    NEXT(read);
    MOVE(fd, true, n);
    return next(fd, to, left);
}

ssize_t write(int fd, const void *from, size_t n)
{
    NEXT(write);
    MOVE(fd, false, n);
    begins(fd, from, n);
    return next(fd, from, left);
}

ssize_t recv(int fd, void *to, size_t n, int flags)
{
    NEXT(recv);
    /* A look moves nothing, and does not wait: it can't be interrupted, and it sees what is there.
     */
    if ((flags & MSG_PEEK) && fd >= 0 && fd < MAX_FD && !(fds[fd] & (FD_TELL | FD_DEAD)))
        return next(fd, to, n, flags);
    MOVE(fd, true, n);
    return next(fd, to, left, flags);
}

ssize_t recvfrom(int fd, void *to, size_t n, int flags, __SOCKADDR_ARG from, socklen_t *len)
{
    NEXT(recvfrom);
    MOVE(fd, true, n);
    return next(fd, to, left, flags, from, len);
}

ssize_t send(int fd, const void *from, size_t n, int flags)
{
    NEXT(send);
    MOVE(fd, false, n);
    begins(fd, from, n);
    return next(fd, from, left, flags);
}

ssize_t readv(int fd, const struct iovec *v, int count)
{
    struct iovec cut[1024];
    NEXT(readv);
    size_t all = vector_bytes(v, (size_t)count);
    MOVE(fd, true, all);
    return left == all ? next(fd, v, count)
                       : next(fd, cut, (int)vector_cut(cut, v, (size_t)count, left));
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
    struct iovec cut[1024];
    NEXT(writev);
    size_t all = vector_bytes(v, (size_t)count);
    MOVE(fd, false, all);
    if (count > 0)
        begins(fd, v[0].iov_base, v[0].iov_len);
    return left == all ? next(fd, v, count)
                       : next(fd, cut, (int)vector_cut(cut, v, (size_t)count, left));
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    struct iovec cut[1024], *own = msg->msg_iov;
    size_t count = msg->msg_iovlen;
    NEXT(recvmsg);
    MOVE(fd, true, vector_bytes(own, count));
    msg->msg_iovlen = vector_cut(cut, own, count, left);
    msg->msg_iov = cut;
    result = next(fd, msg, flags);
    msg->msg_iov = own;
    msg->msg_iovlen = count;
    return result;
}

ssize_t sendmsg(int fd, const struct msghdr *given, int flags)
{
    struct iovec cut[1024];
    struct msghdr msg = *given;
    NEXT(sendmsg);
    MOVE(fd, false, vector_bytes(given->msg_iov, given->msg_iovlen));
    if (given->msg_iovlen > 0)
        begins(fd, given->msg_iov[0].iov_base, given->msg_iov[0].iov_len);
    msg.msg_iovlen = vector_cut(cut, given->msg_iov, given->msg_iovlen, left);
    msg.msg_iov = cut;
    return next(fd, &msg, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
    NEXT(splice);
    size_t left = n;
    ssize_t result;
    if (move(from, true, &left, &result) == ENDS || move(to, false, &left, &result) == ENDS)
        return result;
    return next(from, from_at, to, to_at, left, flags);
}

/* ---- connections ---- */

static bool accept_fails(void)
{
    static const int errors[] = {EMFILE, ENFILE, ECONNABORTED};
    if (!on() || faults.only == SIDE_CONNECTED)
        return false;
    word_add(WORD_CALLS, 1);
    for (int i = 0; i < 3; i++)
        if (strikes((enum chance)(CHANCE_ACCEPT_EMFILE + i))) {
            errno = errors[i];
            return true;
        }
    if (strikes(CHANCE_EINTR)) {
        errno = EINTR;
        return true;
    }
    return false;
}

int accept4(int fd, __SOCKADDR_ARG peer, socklen_t *len, int flags)
{
    NEXT(accept4);
    if (accept_fails())
        return -1;
    int got = next(fd, peer, len, flags);
    if (got >= 0)
        fd_becomes(got, SIDE_ACCEPTED);
    return got;
}

int accept(int fd, __SOCKADDR_ARG peer, socklen_t *len)
{
    return accept4(fd, peer, len, 0);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    const struct sockaddr *address = *(const struct sockaddr *const *)(const void *)&to;
    NEXT(connect);
    if (fd < 0 || fd >= MAX_FD || !on() || faults.only == SIDE_ACCEPTED) {
        fd_becomes(fd, SIDE_CONNECTED);
        return next(fd, to, len);
    }
    fd_becomes(fd, SIDE_CONNECTED);
    word_add(WORD_CALLS, 1);
    bool is_unix = address->sa_family == AF_UNIX;
    if (strikes(CHANCE_CONNECT_ADDRNOTAVAIL)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    if (strikes(CHANCE_CONNECT_REFUSED)) {
        errno = is_unix ? ECONNREFUSED : EINPROGRESS;
        fds[fd] |= FD_REFUSED;
        return -1;
    }
    if (!is_unix && strikes(CHANCE_CONNECT_TIMEDOUT)) {
        errno = EINPROGRESS;
        fds[fd] |= FD_TIMEOUT;
        return -1;
    }
    return next(fd, to, len);
}

/* A socket that was not connected is ready for writing at once; whoever waits for its connect asks
 * here how that went. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    NEXT(getsockopt);
    if (level == SOL_SOCKET && name == SO_ERROR && fd >= 0 && fd < MAX_FD &&
        (fds[fd] & (FD_REFUSED | FD_TIMEOUT))) {
        *(int *)value = fds[fd] & FD_REFUSED ? ECONNREFUSED : ETIMEDOUT;
        return 0;
    }
    return next(fd, level, name, value, len);
}

int close(int fd)
{
    NEXT(close);
    fd_closed(fd);
    return next(fd);
}

/* libuv closes by its number. */
long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    NEXT(syscall);
    if (number == SYS_close)
        fd_closed((int)a[0]);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
