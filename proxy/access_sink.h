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
#include <sys/types.h>
#include <sys/uio.h>

struct access_sink {
    int fd;
    bool socket; /* is told with each call not to wait */
    bool shared; /* a pipe of others too, that may block: small pieces, and only on POLLOUT */
};

/* Opens path for appending, made with mode 0640 if need be; "/dev/stdout" and "/dev/stderr" are the
 * process's own, whatever they are. Returns a descriptor of the caller's, or -1 with a message. May
 * block on a slow file system, never on a pipe. */
int access_sink_open_fd(const char *path, char *err, size_t err_len);

/* What fd is; takes it over. */
struct access_sink access_sink_from_fd(int fd);
void access_sink_close(struct access_sink *sink);

/* As writev(2), in part as it likes; -1 with EAGAIN: wait for POLLOUT first. Never raises SIGPIPE
 * in a thread that blocks it. */
ssize_t access_sink_writev(const struct access_sink *sink, const struct iovec *pieces, int count);

#endif
