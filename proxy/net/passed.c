/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket activation. A passed socket is known by its address and not by a name, so that the
 * configuration alone says who listens where. Owns nothing; must never close what was passed.
 * Control thread.
 */
#include "proxy/net/passed.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "proxy/base/env.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static bool listens_on(int fd, const struct net_addr *addr)
{
    struct sockaddr_storage ss;
    struct net_addr bound;
    char a[NET_ADDR_TEXT], b[NET_ADDR_TEXT];
    socklen_t len = sizeof(ss);
    if (option(fd, SO_ACCEPTCONN) != 1 || option(fd, SO_TYPE) != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return false;
    net_addr_from(&bound, (struct sockaddr *)&ss, len);
    return span_eq(net_addr_print(&bound, a), net_addr_print(addr, b));
}

static int passed_find(const struct net_addr *addr)
{
    uint64_t n = env_number("LISTEN_FDS");
    if (env_number("LISTEN_PID") != (uint64_t)getpid() || n > INT_MAX - FIRST_FD)
        return -1;
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++)
        if (listens_on(fd, addr))
            return fd;
    return -1;
}

bool passed_has(const struct net_addr *addr)
{
    return passed_find(addr) >= 0;
}

int passed_socket(const struct net_addr *addr)
{
    int on = 1, fd = passed_find(addr);
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD) : -1;
    if (copy < 0)
        return -1;
    (void)fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
    if (!net_addr_is_unix(addr)) /* as on one of ours, for those that it accepts */
        (void)setsockopt(copy, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return copy;
}
