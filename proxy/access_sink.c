/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and writing the file of the access log. Owns one descriptor. A pipe or a terminal is
 * opened anew through its path in /dev, so that the new open file description may be non-blocking;
 * setting that on descriptor 1 would set it for the parent shell and everything else that shares
 * it. A regular file on descriptor 1 is duplicated instead: with a description of its own the log
 * and whatever else the process prints would overwrite each other.
 */
#include "proxy/access_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/access_syslog.h"

/* 1 or 2 for a path that names that descriptor, else -1. */
static int standard_fd(const char *path)
{
    if (strcmp(path, "/dev/stdout") == 0)
        return STDOUT_FILENO;
    return strcmp(path, "/dev/stderr") == 0 ? STDERR_FILENO : -1;
}

static int open_path(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return open(path, flags, 0640);
}

/* A socket can't be opened by path, nor can a pipe of another user. */
static int open_standard(const char *path, int standard)
{
    struct stat st;
    if (fstat(standard, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))) {
        int fd = open_path(path);
        if (fd >= 0)
            return fd;
    }
    return fcntl(standard, F_DUPFD_CLOEXEC, 3);
}

int access_sink_open_fd(const char *path, char *err, size_t err_len)
{
    int standard = standard_fd(path);
    int fd = standard >= 0 ? open_standard(path, standard) : open_path(path);
    if (fd >= 0)
        return fd;
    const char *why = errno == ENXIO ? "nobody reads this pipe" : strerror(errno);
    snprintf(err, err_len, "%s: %s", path, why);
    return -1;
}

struct access_sink access_sink_from_fd(int fd, const struct access_syslog *syslog)
{
    struct stat st;
    struct access_sink sink = {.fd = fd, .syslog = syslog};
    if (fstat(fd, &st) < 0)
        return sink;
    sink.regular = S_ISREG(st.st_mode);
    sink.socket = S_ISSOCK(st.st_mode);
    sink.shared =
        (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
    return sink;
}

void access_sink_close(struct access_sink *sink)
{
    close(sink->fd);
    sink->fd = -1;
}

/* A pipe that reports POLLOUT takes PIPE_BUF bytes without blocking. */
static ssize_t write_shared(int fd, const struct iovec *piece)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    size_t len = piece->iov_len < PIPE_BUF ? piece->iov_len : PIPE_BUF;
    if (poll(&pfd, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, piece->iov_base, len);
}

/* The reader has gone; there may be another at the same address. */
static int send_anew(struct access_sink *sink, struct span line)
{
    int fd = access_syslog_connect(sink->syslog);
    if (fd < 0)
        return errno;
    close(sink->fd);
    sink->fd = fd;
    return access_syslog_send(sink->syslog, fd, line);
}

static ssize_t write_message(struct access_sink *sink, const struct iovec *piece)
{
    const char *end = memchr(piece->iov_base, '\n', piece->iov_len);
    size_t len = end != NULL ? (size_t)(end - (const char *)piece->iov_base) : piece->iov_len;
    struct span line = span_of(piece->iov_base, len);
    int error = access_syslog_send(sink->syslog, sink->fd, line);
    if (error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET)
        error = send_anew(sink, line);
    if (error == EMSGSIZE) {
        sink->refused++;
        error = 0;
    }
    if (error == 0)
        return (ssize_t)(len + (end != NULL));
    errno = error;
    return -1;
}

ssize_t access_sink_writev(struct access_sink *sink, const struct iovec *pieces, int count)
{
    if (sink->syslog != NULL)
        return write_message(sink, &pieces[0]);
    if (sink->shared)
        return write_shared(sink->fd, &pieces[0]);
    if (!sink->socket)
        return writev(sink->fd, pieces, count);
    struct iovec copy[4];
    struct msghdr msg = {.msg_iov = copy};
    while (msg.msg_iovlen < (size_t)count && msg.msg_iovlen < 4) {
        copy[msg.msg_iovlen] = pieces[msg.msg_iovlen];
        msg.msg_iovlen++;
    }
    return sendmsg(sink->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}
