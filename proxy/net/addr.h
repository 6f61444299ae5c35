/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network address: IPv4, IPv6 or a Unix socket path, with its text. Values, no ownership; any
 * thread; nothing here resolves names.
 */
#ifndef WEIR_NET_ADDR_H
#define WEIR_NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proxy/base/span.h"

#define NET_ADDR_TEXT 120 /* longest text, NUL included: "unix:" and a full sun_path */

struct net_addr {
    socklen_t len; /* of the used part of sa */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
    /* Another address of the same host, to dial if this one does not answer; it has none itself,
     * and outlives this. NULL: there is none. */
    const struct net_addr *also;
};

/* From a numeric host ("127.0.0.1", "::1", "" = every address) and a port. False: not numeric. */
bool net_addr_ip(struct net_addr *addr, const char *host, uint16_t port);

/* From a path; false if it is too long for a socket. */
bool net_addr_unix(struct net_addr *addr, const char *path);

/* From what the kernel filled in. */
void net_addr_from(struct net_addr *addr, const struct sockaddr *sa, socklen_t len);

/* "1.2.3.4:80", "[::1]:80", "unix:/path"; an IPv4-mapped IPv6 address prints as IPv4. */
struct span net_addr_print(const struct net_addr *addr, char out[NET_ADDR_TEXT]);

/* The host alone, as X-Forwarded-For has it: "1.2.3.4", "::1", "unix:". */
struct span net_addr_print_host(const struct net_addr *addr, char out[NET_ADDR_TEXT]);

static inline bool net_addr_is_unix(const struct net_addr *addr)
{
    return addr->u.sa.sa_family == AF_UNIX;
}

/* In host order; 0 if it is not of IP. */
uint16_t net_addr_port(const struct net_addr *addr);

#endif
