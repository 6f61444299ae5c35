/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of syslog. Owns nothing; must never block. The writer thread's, but for init. */
#include "proxy/access_syslog.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define INFORMATIONAL 6 /* RFC 5424 section 6.2.1 */

static bool find_host(struct access_syslog *s, const struct access_syslog_options *o, char *err,
                      size_t err_len)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV}, *found;
    char port[8];
    snprintf(port, sizeof(port), "%u", o->port);
    int error = getaddrinfo(o->host, port, &hints, &found);
    if (error != 0) {
        snprintf(err, err_len, "syslog at %s: %s", o->host, gai_strerror(error));
        return false;
    }
    memcpy(&s->to, found->ai_addr, found->ai_addrlen);
    s->to_len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool find_path(struct access_syslog *s, const char *path, char *err, size_t err_len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(un.sun_path)) {
        snprintf(err, err_len, "syslog at %s: the path is too long for a socket", path);
        return false;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    memcpy(&s->to, &un, sizeof(un));
    s->to_len = sizeof(un);
    return true;
}

bool access_syslog_init(struct access_syslog *s, const struct access_syslog_options *options,
                        char *err, size_t err_len)
{
    char host[HOST_NAME_MAX + 1] = "-";
    memset(s, 0, sizeof(*s));
    gethostname(host, sizeof(host) - 1);
    s->priority = options->facility * 8 + INFORMATIONAL;
    snprintf(s->from, sizeof(s->from), "%.100s %.48s %d access - ", host[0] != '\0' ? host : "-",
             options->tag, (int)getpid());
    return options->host != NULL ? find_host(s, options, err, err_len)
                                 : find_path(s, options->path, err, err_len);
}

int access_syslog_connect(const struct access_syslog *s)
{
    int fd = socket(s->to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&s->to, s->to_len) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

size_t access_syslog_head(const struct access_syslog *s, uint64_t time_us, char out[SYSLOG_HEAD])
{
    time_t t = (time_t)(time_us / 1000000);
    struct tm tm;
    char time[24];
    gmtime_r(&t, &tm);
    strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(out, SYSLOG_HEAD, "<%u>1 %s.%06uZ %s", s->priority, time,
                     (unsigned)(time_us % 1000000), s->from);
    return n > 0 ? (size_t)n : 0;
}

int access_syslog_send(const struct access_syslog *s, int fd, struct span line)
{
    struct timespec now;
    char head[SYSLOG_HEAD];
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    struct iovec pieces[] = {{head, access_syslog_head(s, us, head)},
                             {(void *)(uintptr_t)line.ptr, line.len}};
    struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = 2};
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ? 0 : errno;
}
