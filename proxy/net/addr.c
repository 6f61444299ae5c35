/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and their text. Pure; any thread. */
#include "proxy/net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

bool net_addr_ip(struct net_addr *addr, const char *host, uint16_t port)
{
    *addr = (struct net_addr){0};
    if (host[0] == '\0') { /* every address, both families where the kernel has IPv6 */
        addr->u.in6.sin6_family = AF_INET6;
        addr->u.in6.sin6_port = htons(port);
        addr->len = sizeof(addr->u.in6);
        return true;
    }
    if (inet_pton(AF_INET, host, &addr->u.in.sin_addr) == 1) {
        addr->u.in.sin_family = AF_INET;
        addr->u.in.sin_port = htons(port);
        addr->len = sizeof(addr->u.in);
        return true;
    }
    if (inet_pton(AF_INET6, host, &addr->u.in6.sin6_addr) == 1) {
        addr->u.in6.sin6_family = AF_INET6;
        addr->u.in6.sin6_port = htons(port);
        addr->len = sizeof(addr->u.in6);
        return true;
    }
    return false;
}

bool net_addr_unix(struct net_addr *addr, const char *path)
{
    *addr = (struct net_addr){0};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof(addr->u.un.sun_path))
        return false;
    addr->u.un.sun_family = AF_UNIX;
    memcpy(addr->u.un.sun_path, path, n + 1);
    addr->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return true;
}

void net_addr_from(struct net_addr *addr, const struct sockaddr *sa, socklen_t len)
{
    *addr = (struct net_addr){0};
    if ((size_t)len > sizeof(addr->u))
        len = sizeof(addr->u);
    memcpy(&addr->u, sa, len);
    addr->len = len;
}

/* An IPv4 client on a dual-stack socket is still an IPv4 client. */
static const char *ip_text(const struct net_addr *addr, char out[INET6_ADDRSTRLEN], bool *v6)
{
    *v6 = false;
    if (addr->u.sa.sa_family == AF_INET)
        return inet_ntop(AF_INET, &addr->u.in.sin_addr, out, INET6_ADDRSTRLEN);
    const struct in6_addr *in6 = &addr->u.in6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(in6))
        return inet_ntop(AF_INET, in6->s6_addr + 12, out, INET6_ADDRSTRLEN);
    *v6 = true;
    return inet_ntop(AF_INET6, in6, out, INET6_ADDRSTRLEN);
}

struct span net_addr_print(const struct net_addr *addr, char out[NET_ADDR_TEXT])
{
    char ip[INET6_ADDRSTRLEN];
    bool v6;
    int n;
    if (net_addr_is_unix(addr))
        n = snprintf(out, NET_ADDR_TEXT, "unix:%s",
                     addr->len > offsetof(struct sockaddr_un, sun_path) ? addr->u.un.sun_path : "");
    else if (ip_text(addr, ip, &v6) != NULL)
        n = snprintf(out, NET_ADDR_TEXT, v6 ? "[%s]:%u" : "%s:%u", ip, net_addr_port(addr));
    else
        n = snprintf(out, NET_ADDR_TEXT, "unknown");
    return span_of(out, (size_t)n);
}

struct span net_addr_print_host(const struct net_addr *addr, char out[NET_ADDR_TEXT])
{
    char ip[INET6_ADDRSTRLEN];
    bool v6;
    const char *text = net_addr_is_unix(addr) ? "unix:" : ip_text(addr, ip, &v6);
    int n = snprintf(out, NET_ADDR_TEXT, "%s", text != NULL ? text : "unknown");
    return span_of(out, (size_t)n);
}

uint16_t net_addr_port(const struct net_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET)
        return ntohs(addr->u.in.sin_port);
    if (addr->u.sa.sa_family == AF_INET6)
        return ntohs(addr->u.in6.sin6_port);
    return 0;
}
