/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens sockets. A source address has some 28,000 ports for one destination, so conns to 127.0.0.1
 * come from 127.0.0.1, .2, .3 and so on. Owns nothing that lasts. One thread.
 */
#include "bench/load_dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS_A_SOURCE = 20000, SOURCES = 200, SPARE_FILES = 16 };

static void unix_address(struct net *n, const char *path)
{
    struct sockaddr_un *a = (struct sockaddr_un *)&n->address;

    if (strlen(path) >= sizeof(a->sun_path))
        net_die("the path of the unix socket is too long", "use a shorter one");
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, strlen(path) + 1);
    n->address_len = sizeof(*a);
}

static void inet_address(struct net *n, const char *to)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    const char *colon = strrchr(to, ':');
    char host[256];
    size_t len = colon ? (size_t)(colon - to) : 0;
    bool brackets = len > 2 && to[0] == '[' && to[len - 1] == ']';

    if (len == 0 || len >= sizeof(host))
        net_die(to, "expected HOST:PORT, [V6]:PORT or unix:PATH");
    snprintf(host, sizeof(host), "%.*s", (int)(len - 2 * brackets), to + brackets);
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed)
        net_die(gai_strerror(failed), "check the address after --to");
    memcpy(&n->address, found->ai_addr, found->ai_addrlen);
    n->address_len = found->ai_addrlen;
    freeaddrinfo(found);
}

void dial_address(struct net *n)
{
    const char *to = n->options->to;

    if (strncmp(to, "unix:", 5) == 0)
        unix_address(n, to + 5);
    else
        inet_address(n, to);
    n->family = n->address.ss_family;
}

void dial_file_limit(unsigned connections)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_max < connections + SPARE_FILES) {
        char what[128];
        snprintf(what, sizeof(what), "%u connections need more files than the limit of %llu",
                 connections, (unsigned long long)r.rlim_max);
        net_die(what, "raise it (ulimit -Hn) or use fewer");
    }
}

/* Another source address than the first, if the destination is on loopback. */
static int bind_source(const struct net *n, const struct conn *c)
{
    struct sockaddr_in source = *(const struct sockaddr_in *)&n->address;
    unsigned k = ((unsigned)(c - n->conns) / CONNS_A_SOURCE + c->source) % SOURCES;
    int one = 1;

    if (k == 0 || n->family != AF_INET || ntohl(source.sin_addr.s_addr) >> 24 != 127)
        return 0;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + k);
    source.sin_port = 0;
    /* The port is chosen by connect(), which knows the destination. */
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(c->fd, (struct sockaddr *)&source, sizeof(source));
}

static int try_connect(const struct net *n, const struct conn *c)
{
    int one = 1;

    if (n->family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (n->rcvbuf)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &n->rcvbuf, sizeof(n->rcvbuf));
    if (bind_source(n, c) < 0)
        return errno;
    return connect(c->fd, (const struct sockaddr *)&n->address, n->address_len) < 0 ? errno : 0;
}

int dial(struct net *n, struct conn *c)
{
    c->fd = socket(n->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result = c->fd < 0 ? errno : try_connect(n, c);

    if (result == 0 || result == EINPROGRESS)
        return result;
    if (result == EADDRNOTAVAIL)
        c->source++; /* the next try comes from another address */
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    return result;
}
