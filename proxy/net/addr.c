/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and their text. Pure; any thread. */
#include "proxy/net/addr.h"

#include <arpa/inet.h>
#include <string.h>

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

/* ---- text: of every client's address, so without the weight of printf ---- */

static char *put_bytes(char *at, const char *bytes, size_t n)
{
    memcpy(at, bytes, n);
    at[n] = '\0';
    return at + n;
}

static char *put_text(char *at, const char *text)
{
    return put_bytes(at, text, strlen(text));
}

static char *put_path(char *at, const struct net_addr *addr)
{
    bool named = addr->len > offsetof(struct sockaddr_un, sun_path);
    const char *path = addr->u.un.sun_path; /* one that fills its place has no NUL */
    return put_bytes(at, path, named ? strnlen(path, sizeof(addr->u.un.sun_path)) : 0);
}

static char *put_number(char *at, unsigned n)
{
    char digits[10];
    size_t i = sizeof(digits);
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    memcpy(at, digits + i, sizeof(digits) - i);
    return at + sizeof(digits) - i;
}

static char *put_ip4(char *at, const unsigned char bytes[4])
{
    for (unsigned i = 0; i < 4; i++) {
        at = put_number(at, bytes[i]);
        *at++ = '.';
    }
    at[-1] = '\0';
    return at - 1;
}

static bool is_ip6(const struct net_addr *addr)
{
    return addr->u.sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&addr->u.in6.sin6_addr);
}

/* An IPv4 client on a dual-stack socket is still an IPv4 client. */
static char *put_ip(char *at, const struct net_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET)
        return put_ip4(at, (const unsigned char *)&addr->u.in.sin_addr);
    if (!is_ip6(addr))
        return put_ip4(at, addr->u.in6.sin6_addr.s6_addr + 12);
    inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, at, INET6_ADDRSTRLEN);
    return at + strlen(at);
}

static bool has_ip(const struct net_addr *addr)
{
    return addr->u.sa.sa_family == AF_INET || addr->u.sa.sa_family == AF_INET6;
}

struct span net_addr_print(const struct net_addr *addr, char out[NET_ADDR_TEXT])
{
    char *at = out;
    if (net_addr_is_unix(addr)) {
        at = put_path(put_text(at, "unix:"), addr);
    } else if (has_ip(addr)) {
        at = put_text(at, is_ip6(addr) ? "[" : "");
        at = put_text(put_ip(at, addr), is_ip6(addr) ? "]:" : ":");
        at = put_number(at, net_addr_port(addr));
        *at = '\0';
    } else {
        at = put_text(at, "unknown");
    }
    return span_of(out, (size_t)(at - out));
}

struct span net_addr_print_host(const struct net_addr *addr, char out[NET_ADDR_TEXT])
{
    char *at = has_ip(addr) ? put_ip(out, addr)
                            : put_text(out, net_addr_is_unix(addr) ? "unix:" : "unknown");
    return span_of(out, (size_t)(at - out));
}

uint16_t net_addr_port(const struct net_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET)
        return ntohs(addr->u.in.sin_port);
    if (addr->u.sa.sa_family == AF_INET6)
        return ntohs(addr->u.in6.sin6_port);
    return 0;
}
