/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The old side of an upgrade. Owns the channel to the new process; must never wait for it, nor
 * change anything before it is ready. Control thread.
 */
#include "proxy/upgrade.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/launcher.h"
#include "proxy/net/fd_packet.h"
#include "proxy/net/passed.h"
#include "proxy/notify.h"
#include "proxy/takeover.h"

#define PATIENCE_MS 60000 /* with a new process that is not ready */

struct packet {
    size_t len;
    int fd; /* of somebody else's; or -1 */
    ino_t inode;
    char bytes[];
};

struct upgrade {
    struct upgrade_options options;
    uv_poll_t poll;
    uv_timer_t patience;
    int channel; /* -1: it does not run */
    bool polled; /* the handle is in use */
    struct packet **packets;
    size_t n_packets, n_sent;
    char **left; /* "NAME ADDRESS" */
    size_t n_left;
};

/* ---- what is given over ---- */

static void add_bytes(struct upgrade *u, int fd, ino_t inode, const void *bytes, size_t len)
{
    struct packet *p = mem_need(malloc(sizeof(*p) + len));
    *p = (struct packet){.len = len, .fd = fd, .inode = inode};
    memcpy(p->bytes, bytes, len);
    u->packets = mem_need(realloc(u->packets, (u->n_packets + 1) * sizeof(*u->packets)));
    u->packets[u->n_packets++] = p;
}

__attribute__((format(printf, 3, 4))) static void add(struct upgrade *u, int fd, const char *format,
                                                      ...)
{
    char text[FD_PACKET_MAX];
    struct stat st = {0};
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(n > 0 && n < (int)sizeof(text)); /* names and addresses have bounds */
    if (fd < 0 || fstat(fd, &st) == 0)
        add_bytes(u, fd, st.st_ino, text, (size_t)n);
}

static void add_listener(struct upgrade *u, const struct upgrade_offer *offer, size_t i)
{
    const struct listener_spec *spec = offer->snapshot->listeners[i];
    char text[NET_ADDR_TEXT];
    net_addr_print(&spec->asked, text);
    for (unsigned w = 0; w < offer->n_workers; w++) {
        const struct listener *l = &offer->workers[w].latest->listeners[i].at->base;
        int fd;
        for (size_t k = 0; (fd = listener_socket(l, k)) >= 0; k++)
            add(u, fd, "socket %s %s", spec->name, text);
    }
}

/* What a session says of its client's certificate holds only where the same authorities are
 * trusted: its context is a digest of those (make_session_id). */
static void add_tickets(struct upgrade *u, const struct listener_spec *spec)
{
    char bytes[FD_PACKET_MAX];
    if (spec->tls == NULL)
        return;
    int n = snprintf(bytes, sizeof(bytes), "tickets %s ", spec->name);
    CHECK(n > 0 && (size_t)n + TLS_TICKETS_SAVED <= sizeof(bytes));
    tls_tickets_save(spec->tls->server.tickets, (unsigned char *)bytes + n);
    add_bytes(u, -1, 0, bytes, (size_t)n + TLS_TICKETS_SAVED);
    explicit_bzero(bytes, sizeof(bytes));
}

/* By socket, the first that was added before its copies. */
static int compare(const void *a, const void *b)
{
    const struct packet *x = *(struct packet *const *)a, *y = *(struct packet *const *)b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return x->bytes[0] < y->bytes[0] ? -1 : x->bytes[0] > y->bytes[0]; /* "managed" is less */
}

static void packet_free(struct packet *p)
{
    explicit_bzero(p->bytes, p->len);
    free(p);
}

/* Workers have copies of what they share. */
static void drop_copies(struct upgrade *u, size_t from)
{
    size_t kept = from;
    qsort(u->packets + from, u->n_packets - from, sizeof(u->packets[0]), compare);
    for (size_t i = from; i < u->n_packets; i++) {
        if (kept > from && u->packets[kept - 1]->inode == u->packets[i]->inode)
            packet_free(u->packets[i]);
        else
            u->packets[kept++] = u->packets[i];
    }
    u->n_packets = kept;
}

static void gather(struct upgrade *u, const struct upgrade_offer *offer)
{
    const struct snapshot *snap = offer->snapshot;
    char text[NET_ADDR_TEXT];
    int fd;
    add(u, -1, "weir 1 %u", takeover_count() + 1);
    for (size_t i = 0; (fd = passed_managed(i)) >= 0; i++)
        add(u, fd, "managed");
    for (size_t i = 0; i < snap->n_listeners; i++)
        add_listener(u, offer, i);
    if (offer->admin_socket >= 0) {
        net_addr_print(offer->admin, text);
        add(u, offer->admin_socket, "socket  %s", text);
    }
    drop_copies(u, 1);
    for (size_t i = 0; i < snap->n_listeners; i++)
        add_tickets(u, snap->listeners[i]);
    add(u, -1, "end");
}

/* ---- its end ---- */

static void drop_packets(struct upgrade *u)
{
    for (size_t i = 0; i < u->n_packets; i++)
        packet_free(u->packets[i]);
    free(TAKE(u->packets));
    u->n_packets = u->n_sent = 0;
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct upgrade *u = handle->data;
    u->polled = false;
}

static void drop_left(struct upgrade *u)
{
    for (size_t i = 0; i < u->n_left; i++)
        free(u->left[i]);
    free(TAKE(u->left));
    u->n_left = 0;
}

/* The descriptor may go at once: libuv does not look at it any more. */
static void end(struct upgrade *u)
{
    uv_timer_stop(&u->patience);
    uv_close((uv_handle_t *)&u->poll, on_poll_closed);
    close(u->channel);
    u->channel = -1;
    drop_packets(u);
    drop_left(u);
}

__attribute__((format(printf, 2, 3))) static void fail(struct upgrade *u, const char *format, ...)
{
    char why[FD_PACKET_MAX + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    log_error("upgrade: %s; this process serves on", why);
    launcher_kill(u->options.launcher);
    end(u);
    u->options.done(u->options.ctx, 0);
}

static void succeed(struct upgrade *u, pid_t pid)
{
    notify_main(pid);
    /* Which removes the paths of listeners that the new process has not; from passed_on() no path
     * is this one's to remove. */
    u->options.done(u->options.ctx, pid);
    passed_on();
    (void)fd_packet_send(u->channel, "go", 2, -1); /* without it, it goes on just so */
    end(u);
}

/* ---- the channel ---- */

static void on_channel(uv_poll_t *poll, int status, int events);

/* All that it takes just now. False: that was the end. */
static bool send_packets(struct upgrade *u)
{
    int err = 0;
    while (err == 0 && u->n_sent < u->n_packets) {
        const struct packet *p = u->packets[u->n_sent];
        err = fd_packet_send(u->channel, p->bytes, p->len, p->fd);
        u->n_sent += err == 0;
    }
    if (err != 0 && err != EAGAIN && err != EPIPE && err != ECONNRESET) {
        fail(u, "cannot pass the sockets on: %s", strerror(err));
        return false;
    }
    /* After EPIPE there may be something to read. */
    uv_poll_start(&u->poll, err == EAGAIN ? UV_READABLE | UV_WRITABLE : UV_READABLE, on_channel);
    return true;
}

static void add_left(struct upgrade *u, const char *whose)
{
    u->left = mem_need(realloc(u->left, (u->n_left + 1) * sizeof(u->left[0])));
    u->left[u->n_left++] = mem_need(strdup(whose));
}

bool upgrade_left(const struct upgrade *u, const struct listener_spec *spec)
{
    char whose[FD_PACKET_MAX], text[NET_ADDR_TEXT];
    net_addr_print(&spec->asked, text);
    snprintf(whose, sizeof(whose), "%s %s", spec->name, text);
    for (size_t i = 0; i < u->n_left; i++)
        if (strcmp(u->left[i], whose) == 0)
            return true;
    return false;
}

/* True: that was the end. What is of an unknown kind is of a later weir. */
static bool heed(struct upgrade *u, const char *said, size_t len)
{
    if (len == 0) {
        fail(u, "the new process has ended before it was ready");
        return true;
    }
    if (strncmp(said, "left ", 5) == 0)
        add_left(u, said + 5);
    pid_t ready = strncmp(said, "ready ", 6) == 0 ? (pid_t)strtol(said + 6, NULL, 10) : 0;
    if (ready > 0)
        succeed(u, ready);
    else if (strncmp(said, "failed ", 7) == 0)
        fail(u, "the new process says: %s", said + 7);
    else
        return false;
    return true;
}

/* With an error there may be something to read, still, and no other event comes. */
static void read_packets(struct upgrade *u, bool broken)
{
    char said[FD_PACKET_MAX + 1];
    size_t len;
    int fd, err;
    do {
        err = fd_packet_recv(u->channel, said, &len, &fd);
        if (err == 0 && fd >= 0)
            close(fd);
        if (err == EAGAIN && !broken)
            return;
    } while (!heed(u, said, err == 0 ? len : 0));
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
    struct upgrade *u = poll->data;
    if (u->channel >= 0 && (!(events & UV_WRITABLE) || send_packets(u)))
        read_packets(u, status != 0);
}

static void on_patience(uv_timer_t *timer)
{
    struct upgrade *u = timer->data;
    fail(u, "the new process was not ready within %d s", PATIENCE_MS / 1000);
}

/* ---- life ---- */

struct upgrade *upgrade_new(const struct upgrade_options *options)
{
    struct upgrade *u = mem_need(calloc(1, sizeof(*u)));
    u->options = *options;
    u->channel = -1;
    uv_timer_init(options->loop, &u->patience);
    u->poll.data = u->patience.data = u;
    return u;
}

/* The other end goes to the new process, and is not kept. */
static int open_channel(struct upgrade *u)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return errno;
    int err = launcher_run(u->options.launcher, pair[1]);
    close(pair[1]);
    if (err == 0)
        err = -uv_poll_init(u->options.loop, &u->poll, pair[0]);
    if (err != 0) {
        close(pair[0]);
        return err;
    }
    u->channel = pair[0];
    u->polled = true;
    return 0;
}

static const char *refusal(const struct upgrade *u)
{
    if (upgrade_runs(u) || u->polled)
        return "there is one already that is not done";
    if (getpid() == 1)
        return "with process 1 all others end, the new one too; start a new container instead";
    return u->options.launcher < 0 ? "there is no process that could start the new one" : NULL;
}

bool upgrade_start(struct upgrade *u, const struct upgrade_offer *offer)
{
    const char *why = refusal(u);
    int err = why == NULL ? open_channel(u) : 0;
    if (why != NULL || err != 0) {
        log_error("upgrade: it is refused: %s", why != NULL ? why : strerror(err));
        return false;
    }
    log_info("upgrade: a new process starts");
    gather(u, offer);
    uv_timer_start(&u->patience, on_patience, PATIENCE_MS, 0);
    send_packets(u);
    return true;
}

bool upgrade_runs(const struct upgrade *u)
{
    return u->channel >= 0;
}

void upgrade_cancel(struct upgrade *u)
{
    if (!upgrade_runs(u))
        return;
    launcher_kill(u->options.launcher);
    end(u);
}

void upgrade_close(struct upgrade *u)
{
    upgrade_cancel(u);
    if (!uv_is_closing((uv_handle_t *)&u->patience))
        uv_close((uv_handle_t *)&u->patience, NULL);
}

void upgrade_free(struct upgrade *u)
{
    if (u == NULL)
        return;
    CHECK(!upgrade_runs(u));
    free(u);
}
