/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the access log goes: a file, a terminal, a pipe or a socket, written without ever blocking
 * for a reader, and without changing the flags of a descriptor that other processes share.
 * The writer thread's, but for the opening.
 */
#ifndef WEIR_PROXY_ACCESS_SINK_H
#define WEIR_PROXY_ACCESS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct access_syslog;

struct access_sink {
    int fd;
    bool regular; /* a file that can be rotated */
    bool socket;  /* is told with each call not to wait */
    bool shared;  /* a pipe of others too, that may block: small pieces, and only on POLLOUT */
    const struct access_syslog *syslog; /* a line is a message of it; NULL: bytes are bytes */
    uint64_t refused;                   /* lines that are too long for a message */
};

/* Opens path for appending, made with mode 0640 if need be; "/dev/stdout" and "/dev/stderr" are the
 * process's own, whatever they are. Returns a descriptor of the caller's, or -1 with a message. May
 * block on a slow file system, never on a pipe. */
int access_sink_open_fd(const char *path, char *err, size_t err_len);

/* What fd is; takes it over. syslog: whose socket it is, or NULL. */
struct access_sink access_sink_from_fd(int fd, const struct access_syslog *syslog);
void access_sink_close(struct access_sink *sink);

/* As writev(2), in part as it likes; -1 with EAGAIN: wait for POLLOUT first; with ENOBUFS: try
 * again in a moment, of which no event tells. Never raises SIGPIPE in a thread that blocks it. To
 * syslog: one line, with its line break; a socket whose reader has gone is made anew. */
ssize_t access_sink_writev(struct access_sink *sink, const struct iovec *pieces, int count);

#endif
