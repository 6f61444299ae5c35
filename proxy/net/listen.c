/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting. Owns the listening sockets; must never spin when accept fails. Reactor's thread. */
#include "proxy/net/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/passed.h"

#define LISTENER_MAGIC MAGIC('l', 's', 't', 'n')
#define BACKLOG        4096
#define ACCEPT_BATCH   16  /* conns a turn, so that a burst does not starve those that are open */
#define FULL_BATCHES   8   /* in a row: more are waiting than a batch takes */
#define OVER_MAX       16  /* conns over the budget that are answered 503 at a time */
#define RETRY_MS       100 /* between looks whether there is room again */
#define LAST_MS        2   /* for the last word of who is half in, which is on its way */

#define TCP_FLAGS 13 /* where they are in its header, RFC 9293 section 3.1 */

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

/* Bound. */
static int open_socket(const struct net_addr *addr, bool reuse, uint32_t mode)
{
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && addr->u.sa.sa_family == AF_INET6 &&
        IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr)) { /* a kernel without IPv6 */
        struct net_addr v4;
        net_addr_ip(&v4, "0.0.0.0", net_addr_port(addr));
        return open_socket(&v4, reuse, mode);
    }
    if (fd < 0)
        return -1;
    int bad = net_addr_is_unix(addr) ? bind_unix(fd, addr, mode) : bind_tcp(fd, addr, reuse);
    return bad != 0 ? fail_closed(fd) : fd;
}

int listen_socket(const struct net_addr *addr, bool reuse, uint32_t mode)
{
    int fd = passed_socket(addr);
    if (fd < 0 && (fd = open_socket(addr, reuse, mode)) >= 0 && listen_begin(fd) != 0)
        return fail_closed(fd);
    return fd;
}

int listen_beside(int fd, const struct net_addr *addr)
{
    int on = 1, own = -1;
    if (!net_addr_is_unix(addr) && !passed_has(addr) &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0)
        own = open_socket(addr, true, 0);
    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

int listen_begin(int fd)
{
    return listen(fd, BACKLOG);
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

/* One of the sockets besides the first. */
struct listener_more {
    struct watch watch;
    struct reactor *reactor; /* held until this is freed */
    struct listener *of;
    struct listener_more *next;
    struct ready burial;
};

static int arm_all(struct listener *l, uint32_t events)
{
    int err = watch_arm(l->reactor, &l->watch, events);
    for (struct listener_more *m = l->more; m != NULL && err == 0; m = m->next)
        err = watch_arm(l->reactor, &m->watch, events);
    return err;
}

static void listener_resume(struct listener *l)
{
    if (l->closing || !l->paused)
        return;
    if (arm_all(l, EPOLLIN) == 0)
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
    (void)arm_all(l, 0);
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
    uint32_t max = conn_budget_max(b);
    *over = open >= max;
    if (open < max + OVER_MAX)
        return true;
    atomic_fetch_sub_explicit(&b->open, 1, memory_order_relaxed);
    return false;
}

void listener_budget_freed(struct conn_budget *budget)
{
    atomic_fetch_sub_explicit(&budget->open, 1, memory_order_relaxed);
}

/* True: go on with the next. */
static bool accept_one(struct listener *l, int socket)
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
    int fd = accept4(socket, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        listener_budget_freed(l->budget);
        if (err == EAGAIN || err == EINVAL) /* EINVAL: see stop_coming */
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
static void accept_batch(struct listener *l, int socket)
{
    unsigned n = 0;
    while (n < l->batch && accept_one(l, socket))
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
    accept_batch(l, watch->fd);
}

static void on_more_connection(struct watch *watch, uint32_t events)
{
    (void)events;
    accept_batch(CONTAINER_OF(watch, listener_more, watch)->of, watch->fd);
}

/* A socket that was opened beside another listens only now. */
static int start_socket(struct reactor *r, struct watch *watch)
{
    int listens = 0;
    socklen_t len = sizeof(listens);
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 ||
        (!listens && listen_begin(watch->fd) != 0)) {
        int err = errno;
        watch_close(watch);
        return uv_translate_sys_error(err);
    }
    int err = watch_arm(r, watch, EPOLLIN);
    if (err != 0)
        watch_close(watch);
    return err;
}

int listener_start(struct listener *l, struct reactor *r, int fd, struct conn_budget *budget)
{
    l->magic = LISTENER_MAGIC;
    l->reactor = r;
    l->budget = budget;
    l->batch = 1;
    wheel_timer_init(&l->retry, on_retry);
    watch_init(&l->watch, fd, on_connection);
    int err = start_socket(r, &l->watch);
    if (err == 0)
        reactor_hold(r);
    return err;
}

int listener_add(struct listener *l, int fd)
{
    struct listener_more *m = mem_need(calloc(1, sizeof(*m)));
    m->of = l;
    watch_init(&m->watch, fd, on_more_connection);
    int err = start_socket(l->reactor, &m->watch);
    if (err != 0) {
        free(m);
        return err;
    }
    m->reactor = l->reactor;
    reactor_hold(m->reactor);
    m->next = l->more;
    l->more = m;
    return 0;
}

int listener_socket(const struct listener *l, size_t i)
{
    const struct listener_more *m = l->more;
    if (i == 0)
        return l->watch.fd;
    while (m != NULL && --i > 0)
        m = m->next;
    return m != NULL ? m->watch.fd : -1;
}

static void more_bury(struct ready *burial)
{
    struct listener_more *m = CONTAINER_OF(burial, listener_more, burial);
    reactor_unhold(m->reactor);
    free(m);
}

void listener_leave(struct listener *l)
{
    if (l->closing || l->watch.fd < 0)
        return;
    l->closing = true;
    wheel_remove(&l->reactor->wheel, &l->retry);
    /* Out of epoll by name: the socket may have other owners (a Unix one is shared by all threads)
     * and would stay in it. */
    (void)arm_all(l, 0);
    watch_close(&l->watch);
    while (l->more != NULL) {
        struct listener_more *m = l->more;
        l->more = m->next;
        watch_close(&m->watch);
        m->burial.run = more_bury;
        list_init(&m->burial.link);
        reactor_later(l->reactor, &m->burial);
    }
    reactor_unhold(l->reactor);
}

/* TCP's first packets are dropped: who sent one does so again a second later, and is refused. A
 * Unix socket refuses at once, and has no filters. True: somebody may be half in. */
static bool stop_coming(int fd)
{
    static struct sock_filter no_syn[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {ARRAY_LEN(no_syn), no_syn};
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(ss);
    if (passed_is_managed(fd) || getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return false;
    if (ss.ss_family == AF_UNIX) {
        (void)shutdown(fd, SHUT_RD);
        return false;
    }
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

bool listener_shut(struct listener *l)
{
    bool half_in = false;
    int fd;
    for (size_t i = 0; !l->closing && (fd = listener_socket(l, i)) >= 0; i++)
        half_in |= stop_coming(fd);
    return half_in;
}

void listener_last_call(void)
{
    (void)poll(NULL, 0, LAST_MS);
}

void listener_close(struct listener *l)
{
    int fd;
    if (l->closing || l->watch.fd < 0)
        return;
    for (size_t i = 0; (fd = listener_socket(l, i)) >= 0; i++)
        while (!l->paused && accept_one(l, fd)) /* else they would be reset with the socket */
            ;
    listener_leave(l);
}
