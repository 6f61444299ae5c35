/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conns and the loop. Edge-triggered, registered once: a request and its answer cost one
 * send(), one recv() and a share of one epoll_pwait2(). Owns the conns and their descriptors; must
 * never wait but in net_turn(), nor know what a mode measures. One thread.
 */
#include "bench/load_net.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/load_dial.h"

enum {
    SCRATCH = 256 * 1024,
    EVENTS = 256,
    CARRY_MAX = 64 * 1024, /* of a head or line */
    DISCARD_MAX = 1 << 30,
    OPENING_AT_ONCE = 256, /* more would overflow a short backlog, and wait for SYNs sent again */
    PATTERN_BYTES = 61 * 4096
};

#define MS           UINT64_C(1000000)
#define RETRY        (10 * MS) /* or more, with many conns */
#define RETRY_A_CONN UINT64_C(20000)
#define OPEN_ALL     (30000 * MS)
#define SCAN_MAX     (1000 * MS)
#define STDIN_IS     UINT32_MAX
#define HUPS         (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

static char scratch[SCRATCH];
static char pattern[PATTERN_BYTES];
static volatile sig_atomic_t stopped;

_Noreturn void net_die(const char *what, const char *remedy)
{
    fprintf(stderr, "load: %s; %s\n", what, remedy);
    exit(1);
}

uint64_t net_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

bool net_stopped(void)
{
    return stopped;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static void wait_to_open(struct net *n, struct conn *c, uint64_t delay)
{
    c->retry_ns = delay ? n->now_ns + delay : 0;
    list_push_back(&n->down, &c->node);
}

static void came_up(struct net *n, struct conn *c)
{
    n->total.opened++;
    c->state = CONN_FREE;
    c->free_ns = n->now_ns;
    n->mode->up(n, c);
}

static void open_conn(struct net *n, struct conn *c)
{
    int result = dial(n, c);
    uint32_t index = (uint32_t)(c - n->conns);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.u64 = (uint64_t)c->generation << 32 | index};

    if (result != 0 && result != EINPROGRESS) {
        n->last_errno = result;
        net_lose(n, c, ERROR_CONNECT);
        return;
    }
    if (epoll_ctl(n->epfd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        net_die("epoll_ctl failed", "are there too many files open?");
    c->sent_ns = n->now_ns;
    if (result == 0 && !n->tls) {
        came_up(n, c);
    } else {
        c->state = CONN_CONNECTING;
        n->connecting++;
    }
}

static void open_waiting(struct net *n)
{
    while (!list_empty(&n->down) && n->connecting < n->connecting_limit) {
        struct conn *c = CONTAINER_OF(n->down.next, conn, node);
        if (c->retry_ns > n->now_ns)
            return;
        list_unlink(&c->node);
        open_conn(n, c);
    }
}

static void end_conn(struct net *n, struct conn *c)
{
    if (c->state == CONN_CONNECTING)
        n->connecting--;
    tls_forget(c);
    if (c->fd >= 0)
        close(c->fd);
    list_unlink(&c->node);
    c->fd = -1;
    c->generation++;
    c->state = CONN_DOWN;
    c->hup = c->raw = false;
    c->carry_len = 0;
    c->request = NULL;
}

void net_lose(struct net *n, struct conn *c, enum load_error why)
{
    bool in_request = c->state == CONN_BUSY;
    uint64_t slowly = RETRY_A_CONN * n->options->connections;

    if (in_request || why == ERROR_CONNECT || why == ERROR_BAD_ANSWER)
        n->errors[why]++;
    end_conn(n, c);
    if (!n->mode->lost(n, c, why, in_request))
        return;
    if (why == ERROR_CONNECT)
        wait_to_open(n, c, slowly > RETRY ? slowly : RETRY);
    else if (n->connecting < n->connecting_limit)
        open_conn(n, c);
    else
        wait_to_open(n, c, 0);
}

void net_reopen(struct net *n, struct conn *c)
{
    open_conn(n, c);
}

/* 0: it is connected, and has shaken hands where that is wanted; EINPROGRESS; or why it failed. */
static int progress(const struct net *n, struct conn *c)
{
    int error = 0, shaken;
    socklen_t len = sizeof(error);

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error || !n->tls)
        return error;
    shaken = tls_shake(n, c);
    return shaken < 0 ? errno : shaken ? 0 : EINPROGRESS;
}

static void on_connecting(struct net *n, struct conn *c, uint32_t events)
{
    int error;

    if (!(events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && !c->ssl)
        return;
    error = progress(n, c);
    if (error == EINPROGRESS)
        return;
    if (error) {
        n->last_errno = error;
        net_lose(n, c, ERROR_CONNECT);
        return;
    }
    n->connecting--;
    came_up(n, c);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static ssize_t send_some(struct conn *c, const char *bytes, size_t len, int flags)
{
    return c->ssl ? tls_send(c, bytes, len) : send(c->fd, bytes, len, MSG_NOSIGNAL | flags);
}

static bool all_sent(const struct conn *c)
{
    return !c->request || c->out_at == c->request->len + c->request->more;
}

/* An error is not acted upon: an answer may already be there to be read, and if not, epoll says
 * that the conn has ended. */
static void send_rest(struct net *n, struct conn *c)
{
    const struct request *r = c->request;

    while (!all_sent(c)) {
        ssize_t w;
        if (c->out_at < r->len) {
            w = send_some(c, r->bytes + c->out_at, r->len - c->out_at, r->more ? MSG_MORE : 0);
        } else {
            uint64_t at = c->out_at - r->len, left = r->more - at;
            size_t from = (size_t)(at % PATTERN_BYTES), room = PATTERN_BYTES - from;
            w = send_some(c, pattern + from, left < room ? (size_t)left : room, 0);
        }
        if (w < 0) {
            if (errno == EINTR)
                continue;
            return;
        }
        c->out_at += (uint64_t)w;
        n->bytes_out += (uint64_t)w;
    }
}

void net_send(struct net *n, struct conn *c, const struct request *r, uint64_t since_ns)
{
    DCHECK(c->state == CONN_FREE || c->raw);
    c->state = CONN_BUSY;
    c->request = r;
    c->out_at = 0;
    c->answer = (struct answer){.to_head = r->to_head};
    c->since_ns = since_ns;
    c->sent_ns = n->now_ns;
    n->total.sent++;
    send_rest(n, c);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void complete(struct net *n, struct conn *c)
{
    unsigned class = c->answer.status / 100;
    bool reuse = !c->answer.close && !c->hup && !n->options->close && all_sent(c);

    n->total.answered++;
    n->statuses[class < 6 ? class : 0]++;
    if (class != 2 && c->answer.status != 101)
        n->errors[ERROR_STATUS]++;
    n->mode->answered(n, c);
    if (c->raw)
        return;
    c->state = CONN_FREE;
    c->request = NULL;
    c->free_ns = n->now_ns;
    if (reuse)
        n->mode->ready(n, c);
    else
        net_lose(n, c, ERROR_CLOSED);
}

static void keep(struct net *n, struct conn *c, const char *bytes, size_t len)
{
    if (len > CARRY_MAX) {
        net_lose(n, c, ERROR_BAD_ANSWER);
        return;
    }
    if (!c->carry && !(c->carry = malloc(CARRY_MAX)))
        net_die("out of memory", "use fewer connections");
    memcpy(c->carry, bytes, len);
    c->carry_len = (uint32_t)len;
}

static void feed(struct net *n, struct conn *c, const char *bytes, size_t len)
{
    static const char timed_out[] = "HTTP/1.1 408";
    size_t used;

    if (c->state == CONN_FREE) { /* a server may say why it ends an idle conn */
        bool fine = len >= 12 && memcmp(bytes, timed_out, 12) == 0;
        net_lose(n, c, fine ? ERROR_CLOSED : ERROR_BAD_ANSWER);
        return;
    }
    used = c->raw ? 0 : answer_feed(&c->answer, bytes, len);
    if (!c->raw && c->answer.phase == ANSWER_DONE) {
        if (used < len && c->answer.status != 101) {
            net_lose(n, c, ERROR_BAD_ANSWER);
            return;
        }
        n->last_bytes = bytes;
        n->last_len = used;
        complete(n, c);
    } else if (!c->raw && c->answer.phase == ANSWER_BAD) {
        net_lose(n, c, ERROR_BAD_ANSWER);
    } else if (!c->raw && used < len) {
        keep(n, c, bytes + used, len - used);
    }
    if (c->raw && used < len && !n->mode->bytes(n, c, bytes + used, len - used))
        net_lose(n, c, ERROR_BAD_ANSWER);
}

static void on_end(struct net *n, struct conn *c)
{
    if (c->state == CONN_BUSY && c->answer.phase == ANSWER_TO_END) {
        c->answer.phase = ANSWER_DONE;
        complete(n, c);
    } else {
        net_lose(n, c, ERROR_CLOSED);
    }
}

/* Returns whether there may be more to read. A large body is not even copied to this process. */
static bool read_once(struct net *n, struct conn *c, size_t most)
{
    bool discard = c->answer.phase == ANSWER_BODY && c->answer.left >= SCRATCH && most == SCRATCH &&
                   c->state == CONN_BUSY && !c->raw && !c->ssl && n->family != AF_UNIX;
    size_t kept = c->carry_len, asked;
    ssize_t got;

    if (discard) {
        asked = c->answer.left < DISCARD_MAX ? (size_t)c->answer.left : DISCARD_MAX;
        got = recv(c->fd, NULL, asked, MSG_TRUNC);
    } else {
        asked = kept + most < SCRATCH ? most : SCRATCH - kept;
        if (kept)
            memcpy(scratch, c->carry, kept);
        got = c->ssl ? tls_recv(c, scratch + kept, asked) : recv(c->fd, scratch + kept, asked, 0);
    }
    n->now_ns = net_clock();
    if (got < 0) {
        if (errno == EINTR)
            return true;
        if (errno != EAGAIN)
            net_lose(n, c, ERROR_RESET);
        return false;
    }
    if (got == 0) {
        on_end(n, c);
        return false;
    }
    n->bytes_in += (uint64_t)got;
    c->carry_len = 0;
    if (!discard) {
        feed(n, c, scratch, kept + (size_t)got);
    } else if ((c->answer.left -= (uint64_t)got) == 0) {
        c->answer.phase = ANSWER_DONE;
        complete(n, c);
    }
    return (size_t)got == asked || c->hup || c->ssl;
}

void net_read_some(struct net *n, struct conn *c, size_t most)
{
    read_once(n, c, most);
}

static void on_event(struct net *n, struct conn *c, uint32_t events)
{
    uint32_t generation = c->generation;

    if (c->state == CONN_CONNECTING) {
        on_connecting(n, c, events);
        if (c->generation != generation || c->state == CONN_CONNECTING)
            return;
    } else if ((events & EPOLLOUT) && c->state == CONN_BUSY) {
        send_rest(n, c);
    }
    if (events & HUPS)
        c->hup = true;
    if (n->mode->readable && (events & (EPOLLIN | HUPS)))
        n->mode->readable(n, c);
    else if (events & (EPOLLIN | HUPS))
        while (c->generation == generation && read_once(n, c, SCRATCH)) {}
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

static void scan_timeouts(struct net *n)
{
    uint64_t limit = n->options->timeout_ns, pause = limit / 8 < SCAN_MAX ? limit / 8 : SCAN_MAX;

    n->next_scan_ns = n->now_ns + pause;
    for (unsigned i = 0; i < n->options->connections; i++) {
        struct conn *c = &n->conns[i];
        if (n->now_ns < c->sent_ns + limit)
            continue;
        if (c->state == CONN_BUSY && n->options->mode != LOAD_SLOW) {
            net_lose(n, c, ERROR_TIMEOUT);
        } else if (c->state == CONN_CONNECTING) {
            n->last_errno = ETIMEDOUT;
            net_lose(n, c, ERROR_CONNECT);
        }
    }
}

static uint64_t wake_at(const struct net *n, uint64_t until)
{
    if (n->next_scan_ns < until)
        until = n->next_scan_ns;
    if (!list_empty(&n->down) && n->connecting < n->connecting_limit) {
        uint64_t retry = CONTAINER_OF(n->down.next, conn, node)->retry_ns;
        if (retry < until)
            until = retry;
    }
    return until;
}

static void on_stdin(struct net *n)
{
    char bytes[256];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));

    if (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)))
        return;
    n->stdin_ended = true;
    epoll_ctl(n->epfd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

/* epoll_pwait2() came with Linux 5.11, and valgrind 3.19 does not know it. Without it the last
 * millisecond is waited for by asking again and again. */
static int wait_events(struct net *n, struct epoll_event *events, uint64_t pause)
{
    struct timespec timeout = {.tv_sec = (time_t)(pause / 1000000000),
                               .tv_nsec = (long)(pause % 1000000000)};

    if (!n->no_pwait2) {
        int count = epoll_pwait2(n->epfd, events, EVENTS, &timeout, NULL);
        if (count >= 0 || errno != ENOSYS)
            return count;
        n->no_pwait2 = true;
    }
    return epoll_wait(n->epfd, events, EVENTS, (int)(pause / MS < 1000 ? pause / MS : 1000));
}

int net_turn(struct net *n, uint64_t until_ns)
{
    struct epoll_event events[EVENTS];
    uint64_t wake = wake_at(n, until_ns);
    uint64_t pause = wake > n->now_ns ? wake - n->now_ns : 0;
    int count = wait_events(n, events, pause);

    if (count < 0 && errno != EINTR)
        net_die("waiting for events failed", "is this Linux?");
    n->now_ns = net_clock();
    for (int i = 0; i < count; i++) {
        uint32_t index = (uint32_t)events[i].data.u64;
        if (index == STDIN_IS) {
            on_stdin(n);
        } else if (n->conns[index].generation == (uint32_t)(events[i].data.u64 >> 32)) {
            on_event(n, &n->conns[index], events[i].events);
        }
    }
    open_waiting(n);
    if (n->now_ns >= n->next_scan_ns)
        scan_timeouts(n);
    return count;
}

void net_watch_stdin(struct net *n)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = STDIN_IS};

    if (epoll_ctl(n->epfd, EPOLL_CTL_ADD, STDIN_FILENO, &ev) < 0)
        n->stdin_ended = true; /* a file, /dev/null, or none at all */
}

/* ---- begin and end ----------------------------------------------------------------------------
 */

void net_init(struct net *n, const struct load_options *o, const struct net_mode *mode, void *owner)
{
    struct sigaction on_end_signal = {.sa_handler = on_signal};

    *n = (struct net){.options = o, .mode = mode, .owner = owner};
    dial_file_limit(o->connections);
    dial_address(n);
    pattern_fill(pattern, sizeof(pattern), 0);
    signal(SIGPIPE, SIG_IGN);
    sigaction(SIGINT, &on_end_signal, NULL);
    sigaction(SIGTERM, &on_end_signal, NULL);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* else a timeout may be 50 us late */
    n->epfd = epoll_create1(EPOLL_CLOEXEC);
    n->tls = o->tls ? tls_context() : NULL;
    n->conns = calloc(o->connections, sizeof(*n->conns));
    if (n->epfd < 0 || !n->conns)
        net_die("out of memory or files", "use fewer connections");
    list_init(&n->down);
    n->now_ns = net_clock();
    n->next_scan_ns = n->now_ns + SCAN_MAX;
    for (unsigned i = 0; i < o->connections; i++) {
        n->conns[i].fd = -1;
        list_init(&n->conns[i].node);
        wait_to_open(n, &n->conns[i], 0);
    }
}

void net_fini(struct net *n)
{
    for (unsigned i = 0; i < n->options->connections; i++) {
        tls_forget(&n->conns[i]);
        if (n->conns[i].fd >= 0)
            close(n->conns[i].fd);
        free(n->conns[i].carry);
    }
    free(n->conns);
    SSL_CTX_free(n->tls);
    close(n->epfd);
}

void net_open_all(struct net *n)
{
    uint64_t until = n->now_ns + OPEN_ALL;
    unsigned wanted = n->options->connections;

    n->connecting_limit = OPENING_AT_ONCE;
    open_waiting(n);
    while (n->total.opened + n->errors[ERROR_CONNECT] < wanted && n->now_ns < until && !stopped)
        net_turn(n, until);
    if (n->total.opened == 0) {
        char what[512];
        snprintf(what, sizeof(what), "cannot connect to %s: %s", n->options->to,
                 n->last_errno ? strerror(n->last_errno) : "no answer");
        net_die(what, "is it running, and is this its address?");
    }
    n->connecting_limit = UINT32_MAX;
}

void net_begin_measuring(struct net *n)
{
    memset(n->errors, 0, sizeof(n->errors));
    memset(n->statuses, 0, sizeof(n->statuses));
    n->bytes_in = n->bytes_out = 0;
}
