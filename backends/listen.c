/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding of TCP and Unix sockets, and the errors that people meet first: a busy port, a port
 * that needs privileges, a socket file that is in the way. Main thread; blocks in getaddrinfo if
 * the host is a name.
 */
#include "backends/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backends/knobs.h"
#include "proxy/base/span.h"

#define UNIX_PREFIX "unix:"

struct place {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    } addr;
    socklen_t len;
};

static bool fail(struct listen_result *r, const char *what, const char *why)
{
    snprintf(r->error, sizeof(r->error), "%s: %s", what, why);
    return false;
}

static bool fail_bind(struct listen_result *r, const char *addr, unsigned port, int err)
{
    if (err == EADDRINUSE)
        snprintf(r->error, sizeof(r->error),
                 "%s: port %u is in use. See who listens with `ss -ltnp sport = :%u` and end it, "
                 "or take another port with --port N (0: any free one)",
                 addr, port, port);
    else if (err == EACCES)
        snprintf(r->error, sizeof(r->error),
                 "%s: port %u needs root or CAP_NET_BIND_SERVICE; take one above 1023 with "
                 "--port N",
                 addr, port);
    else
        return fail(r, addr, strerror(err));
    return false;
}

static unsigned place_port(const struct place *p)
{
    return ntohs(p->addr.sa.sa_family == AF_INET6 ? p->addr.in6.sin6_port : p->addr.in.sin_port);
}

/* A bound socket, or -errno. */
static int open_tcp(const struct place *p, bool share)
{
    const int on = 1, off = 0;
    int fd = socket(p->addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (share)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (p->addr.sa.sa_family == AF_INET6) /* "[::]" takes IPv4 as well, whatever the sysctl */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, &p->addr.sa, p->len) == 0)
        return fd;
    int err = errno;
    close(fd);
    return -err;
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

/*
 * With SO_REUSEPORT a second hello would share a busy port without a word. So a socket without it
 * goes first, to notice: it binds only if nobody listens there.
 */
static int open_probe(const struct place *p, size_t n)
{
    int fd = open_tcp(p, false);
    if (fd < 0 || n == 1)
        return fd;
    close(fd);
    return open_tcp(p, true);
}

static bool open_all_tcp(struct place *p, int *fds, size_t n, struct listen_result *r, int *err)
{
    int fd = open_probe(p, n);
    if (fd < 0) {
        *err = -fd;
        return false;
    }
    fds[0] = fd;
    p->len = sizeof(p->addr);
    getsockname(fd, &p->addr.sa, &p->len);
    r->port = place_port(p);
    for (size_t i = 1; i < n; i++) {
        fds[i] = open_tcp(p, true);
        if (fds[i] < 0) {
            *err = -fds[i];
            close_all(fds, i);
            return false;
        }
    }
    return true;
}

static void describe_tcp(const struct place *p, struct listen_result *r)
{
    char host[80] = "?";
    getnameinfo(&p->addr.sa, p->len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    snprintf(r->bound, sizeof(r->bound), p->addr.sa.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
             host, r->port);
}

/* Splits "HOST:PORT" and "[V6]:PORT"; an empty host is every address. */
static bool split(const char *addr, char *host, size_t room, unsigned *port)
{
    struct span text = span_str(addr);
    const char *colon = memrchr(text.ptr, ':', text.len);
    uint64_t number;
    if (!colon || !parse_number(span_str(colon + 1), &number) || number > 65535)
        return false;
    *port = (unsigned)number;
    struct span name = span_of(addr, (size_t)(colon - addr));
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
        name = span_of(name.ptr + 1, name.len - 2);
    else if (name.len && memchr(name.ptr, ':', name.len))
        return false; /* an IPv6 address without brackets: whose is the last group? */
    if (name.len >= room)
        return false;
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    return true;
}

static bool try_place(const char *addr, struct place *p, int *fds, size_t n,
                      struct listen_result *r, int *err)
{
    if (p->addr.sa.sa_family == AF_INET6)
        p->addr.in6.sin6_port = htons((uint16_t)r->port);
    else
        p->addr.in.sin_port = htons((uint16_t)r->port);
    unsigned asked = r->port;
    if (open_all_tcp(p, fds, n, r, err)) {
        describe_tcp(p, r);
        return true;
    }
    r->port = asked;
    return fail_bind(r, addr, asked, *err);
}

/* Every address: one socket for both families, or IPv4's where the kernel has no IPv6. */
static bool open_any(const char *addr, int *fds, size_t n, struct listen_result *r)
{
    struct place p = {.len = sizeof(p.addr.in6)};
    int err = 0;
    p.addr.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    if (try_place(addr, &p, fds, n, r, &err))
        return true;
    if (err != EAFNOSUPPORT && err != EADDRNOTAVAIL)
        return false;
    p = (struct place){.len = sizeof(p.addr.in)};
    p.addr.in = (struct sockaddr_in){.sin_family = AF_INET};
    return try_place(addr, &p, fds, n, r, &err);
}

static bool open_inet(const char *addr, int *fds, size_t n, struct listen_result *r)
{
    char host[256];
    if (!split(addr, host, sizeof(host), &r->port))
        return fail(r, addr, "expected :PORT, HOST:PORT, [IPV6]:PORT or unix:PATH");
    if (!host[0])
        return open_any(addr, fds, n, r);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0)
        return fail(r, addr, gai_strerror(rc));
    struct place p = {.len = found->ai_addrlen};
    int err;
    memcpy(&p.addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return try_place(addr, &p, fds, n, r, &err);
}

/* True if the socket file is there but nobody listens: left over by a killed process. */
static bool is_stale(const struct place *p)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, &p->addr.sa, p->len) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_unix(int fd, const struct place *p)
{
    if (bind(fd, &p->addr.sa, p->len) == 0)
        return 0;
    if (errno != EADDRINUSE || !is_stale(p))
        return errno;
    unlink(p->addr.un.sun_path);
    return bind(fd, &p->addr.sa, p->len) == 0 ? 0 : errno;
}

static bool open_unix(const char *addr, int *fds, size_t n, struct listen_result *r)
{
    const char *path = addr + strlen(UNIX_PREFIX);
    struct place p = {.len = sizeof(p.addr.un)};
    p.addr.un.sun_family = AF_UNIX;
    if (!path[0] || strlen(path) >= sizeof(p.addr.un.sun_path))
        return fail(r, addr, "the path must have 1 to 107 bytes");
    memcpy(p.addr.un.sun_path, path, strlen(path) + 1);
    fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fds[0] < 0)
        return fail(r, addr, strerror(errno));
    int err = bind_unix(fds[0], &p);
    size_t got = 1;
    for (; !err && got < n; got++) {
        fds[got] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
        if (fds[got] < 0) {
            err = errno;
            break;
        }
    }
    if (err) {
        close_all(fds, got);
        return fail(r, addr, err == EADDRINUSE ? "another process listens there" : strerror(err));
    }
    r->is_unix = true;
    snprintf(r->bound, sizeof(r->bound), "%s", addr);
    return true;
}

bool listen_open(const char *addr, int *fds, size_t n, struct listen_result *r)
{
    *r = (struct listen_result){.port = 0};
    if (strncmp(addr, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return open_unix(addr, fds, n, r);
    return open_inet(addr, fds, n, r);
}

void listen_cleanup(const struct listen_result *r)
{
    if (r->is_unix)
        unlink(r->bound + strlen(UNIX_PREFIX));
}
