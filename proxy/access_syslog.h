/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines as messages of syslog (RFC 5424), one a datagram: to a Unix socket, or over UDP (RFC 5426).
 * Nothing is ever waited for; the writer of the access log is the only one who sends.
 */
#ifndef WEIR_PROXY_ACCESS_SYSLOG_H
#define WEIR_PROXY_ACCESS_SYSLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "proxy/base/span.h"

#define SYSLOG_FACILITIES 24
#define SYSLOG_HEAD       512 /* what stands before a line, at most */

struct access_syslog_options {
    const char *host; /* an address or a name; NULL: path is one of a Unix socket */
    const char *path;
    uint16_t port;
    unsigned facility; /* below SYSLOG_FACILITIES */
    const char *tag;   /* APP-NAME: 1 to 48 printable characters */
};

struct access_syslog {
    struct sockaddr_storage to;
    socklen_t to_len;
    unsigned priority;          /* facility * 8 + informational */
    char from[SYSLOG_HEAD / 2]; /* "HOST TAG PID access - " */
};

/* May look a name up. False with a message in err. */
bool access_syslog_init(struct access_syslog *s, const struct access_syslog_options *options,
                        char *err, size_t err_len);

/* A socket for it that does not block, or -1 with errno. */
int access_syslog_connect(const struct access_syslog *s);

/* The head of a message that is sent at that Unix time; returns its length. Pure. */
size_t access_syslog_head(const struct access_syslog *s, uint64_t time_us, char out[SYSLOG_HEAD]);

/* Sends a line, which has no line break, as one message. 0, or an errno. */
int access_syslog_send(const struct access_syslog *s, int fd, struct span line);

#endif
