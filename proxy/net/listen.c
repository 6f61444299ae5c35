/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting. Owns the listening sockets; must never spin when accept fails. Reactor's thread. */
#include "proxy/net/listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/net/passed.h"

#define LISTENER_MAGIC MAGIC('l', 's', 't', 'n')
#define BACKLOG        4096
#define ACCEPT_BATCH   16  /* conns a turn, so that a burst does not starve those that are open */
#define FULL_BATCHES   8   /* in a row: more are waiting than a batch takes */
#define OVER_MAX       16  /* conns over the budget that are answered 503 at a time */
#define RETRY_MS       100 /* between looks whether there is room again */

/* ---- sockets ---- */

static bool unix_in_use(const struct net_addr *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    int err = connect(fd, &addr->u.sa, addr->len) == 0 ? 0 : errno;
    close(fd);
    return err != ECONNREFUSED && err != ENOENT;
}

/* Removes a socket file that nobody listens on; anything else in its place stays. */
static int unix_clear(const struct net_addr *addr)
{
    struct stat st;
    if (lstat(addr->u.un.sun_path, &st) != 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(st.st_mode) || unix_in_use(addr)) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(addr->u.un.sun_path);
}

static int bind_tcp(int fd, const struct net_addr *addr, bool reuse)
{
    int on = 1, off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0))
        return -1;
    /* Accepted sockets inherit it: one call here instead of one a conn. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        return -1;
    /* "every address" means both families; a given IPv6 address means itself. */
    bool any = addr->u.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr);
    if (any && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0)
        return -1;
    return bind(fd, &addr->u.sa, addr->len);
}

static int bind_unix(int fd, const struct net_addr *addr, uint32_t mode)
{
    if (unix_clear(addr) != 0 || bind(fd, &addr->u.sa, addr->len) != 0)
        return -1;
    return chmod(addr->u.un.sun_path, mode);
}

static int fail_closed(int fd)
{
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

int listen_socket(const struct net_addr *addr, bool reuse, uint32_t mode)
{
    int fd = passed_socket(addr);
    if (fd >= 0)
        return fd;
    fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && addr->u.sa.sa_family == AF_INET6 &&
        IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr)) { /* a kernel without IPv6 */
        struct net_addr v4;
        net_addr_ip(&v4, "0.0.0.0", net_addr_port(addr));
        return listen_socket(&v4, reuse, mode);
    }
    if (fd < 0)
        return -1;
    int bad = net_addr_is_unix(addr) ? bind_unix(fd, addr, mode) : bind_tcp(fd, addr, reuse);
    if (bad != 0 || listen(fd, BACKLOG) != 0)
        return fail_closed(fd);
    return fd;
}

void listen_remove(const struct net_addr *addr)
{
    if (net_addr_is_unix(addr) && !passed_has(addr))
        unlink(addr->u.un.sun_path);
}

bool listen_reached(int fd, struct net_addr *addr)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return false;
    net_addr_from(addr, (struct sockaddr *)&ss, len);
    return true;
}

void listen_bound(int fd, struct net_addr *addr)
{
    bool bound = listen_reached(fd, addr);
    CHECK(bound);
}

/* ---- accepting ---- */

static void listener_resume(struct listener *l)
{
    if (l->closing || !l->paused)
        return;
    if (watch_arm(l->reactor, &l->watch, EPOLLIN) == 0)
        l->paused = false;
    else
        wheel_set(&l->reactor->wheel, &l->retry, reactor_now(l->reactor) + RETRY_MS);
}

static void on_retry(struct wheel_timer *t)
{
    listener_resume(CONTAINER_OF(t, listener, retry));
}

static void listener_pause(struct listener *l, int error)
{
    (void)watch_arm(l->reactor, &l->watch, 0);
    l->paused = true;
    if (!l->starved) /* the looks in between are the same pause */
        l->pausing(l, error);
    l->starved = true;
    wheel_set(&l->reactor->wheel, &l->retry, reactor_now(l->reactor) + RETRY_MS);
}

/* Takes a place in the budget, or not. */
static bool budget_take(struct conn_budget *b, bool *over)
{
    uint32_t open = atomic_fetch_add_explicit(&b->open, 1, memory_order_relaxed);
    *over = open >= b->max;
    if (open < b->max + OVER_MAX)
        return true;
    atomic_fetch_sub_explicit(&b->open, 1, memory_order_relaxed);
    return false;
}

void listener_budget_freed(struct conn_budget *budget)
{
    atomic_fetch_sub_explicit(&budget->open, 1, memory_order_relaxed);
}

/* True: go on with the next. */
static bool accept_one(struct listener *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct net_addr peer;
    bool over;
    if (reactor_short(l->reactor)) {
        listener_pause(l, ENOMEM);
        return false;
    }
    if (!budget_take(l->budget, &over)) {
        listener_pause(l, 0);
        return false;
    }
    int fd = accept4(l->watch.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        listener_budget_freed(l->budget);
        if (err == EAGAIN)
            return false;
        if (err == ECONNABORTED || err == EINTR || err == EPROTO)
            return true;
        listener_pause(l, err); /* EMFILE, ENFILE, ENOBUFS, ENOMEM and whatever else */
        return false;
    }
    l->starved = false;
    net_addr_from(&peer, (struct sockaddr *)&ss, len);
    if (!l->accepted(l, fd, &peer, over))
        listener_budget_freed(l->budget);
    return true;
}

/* As many as usually wait: to find that none is left costs a call. What a batch leaves behind comes
 * in the next turn. */
static void accept_batch(struct listener *l)
{
    unsigned n = 0;
    while (n < l->batch && accept_one(l))
        n++;
    if (n < l->batch) {
        l->batch = 1;
        l->full = 0;
    } else if (++l->full == FULL_BATCHES) {
        l->batch = l->batch < ACCEPT_BATCH ? 2 * l->batch : ACCEPT_BATCH;
        l->full = 0;
    }
}

static void on_connection(struct watch *watch, uint32_t events)
{
    (void)events;
    struct listener *l = CONTAINER_OF(watch, listener, watch);
    CHECK(l->magic == LISTENER_MAGIC);
    accept_batch(l);
}

int listener_start(struct listener *l, struct reactor *r, int fd, struct conn_budget *budget)
{
    l->magic = LISTENER_MAGIC;
    l->reactor = r;
    l->budget = budget;
    l->batch = 1;
    wheel_timer_init(&l->retry, on_retry);
    watch_init(&l->watch, fd, on_connection);
    int err = watch_arm(r, &l->watch, EPOLLIN);
    if (err != 0)
        watch_close(&l->watch);
    else
        reactor_hold(r);
    return err;
}

void listener_close(struct listener *l)
{
    if (l->closing || l->watch.fd < 0)
        return;
    /* What the kernel has already accepted would be reset with the socket. */
    while (!l->paused && accept_one(l))
        ;
    l->closing = true;
    wheel_remove(&l->reactor->wheel, &l->retry);
    /* Out of epoll by name: the socket may have other owners (a Unix one is shared by all threads)
     * and would stay in it. */
    (void)watch_arm(l->reactor, &l->watch, 0);
    watch_close(&l->watch);
    reactor_unhold(l->reactor);
}
