/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new side of an upgrade. Owns the channel until both are done with each other; must never wait
 * longer than some seconds for a process that has nothing better to do. Control thread.
 */
#include "proxy/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/env.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/launcher.h"
#include "proxy/net/fd_packet.h"
#include "proxy/net/passed.h"

#define PATIENCE_S 10

struct tickets {
    struct tickets *next;
    unsigned char keys[TLS_TICKETS_SAVED];
    char name[];
};

static int channel = -1;
static unsigned count;
static struct tickets *all_tickets;

/* ---- packets ---- */

/* The word before the next space; the rest begins behind it. NULL: there is no space. */
static char *next_word(char **rest)
{
    char *word = *rest, *space = strchr(word, ' ');
    if (space == NULL)
        return NULL;
    *space = '\0';
    *rest = space + 1;
    return word;
}

static void heed_socket(char *rest, int fd)
{
    const char *name = next_word(&rest);
    if (name == NULL)
        close(fd);
    else
        passed_add(fd, name, rest);
}

static void heed_tickets(char *rest, const char *end)
{
    const char *name = next_word(&rest);
    if (name == NULL || end - rest != TLS_TICKETS_SAVED)
        return;
    struct tickets *t = mem_need(malloc(sizeof(*t) + strlen(name) + 1));
    t->next = all_tickets;
    memcpy(t->keys, rest, sizeof(t->keys));
    memcpy(t->name, name, strlen(name) + 1);
    all_tickets = t;
}

/* What this weir does not know may be of a later one. */
static void heed(char *said, size_t len, int fd)
{
    char *rest = said, *kind = next_word(&rest);
    if (fd >= 0 && kind == NULL && strcmp(said, "managed") == 0)
        passed_add_managed(fd);
    else if (fd >= 0 && kind != NULL && strcmp(kind, "socket") == 0)
        heed_socket(rest, fd);
    else if (fd >= 0)
        close(fd);
    else if (kind != NULL && strcmp(kind, "tickets") == 0)
        heed_tickets(rest, said + len);
}

/* "weir 1 N": the version of what follows, and how many upgrades there were. */
static bool is_greeting(const char *said)
{
    static const char begin[] = "weir 1 ";
    size_t len = strlen(begin);
    char *end;
    if (strncmp(said, begin, len) != 0 || said[len] < '0' || said[len] > '9')
        return false;
    count = (unsigned)strtoul(said + len, &end, 10);
    return *end == '\0';
}

/* 0, or why it is no packet: errno, or EPIPE at the end. */
static int receive(char said[FD_PACKET_MAX + 1], size_t *len, int *fd)
{
    int err = fd_packet_recv(channel, said, len, fd);
    return err == 0 && *len == 0 ? EPIPE : err;
}

static int receive_all(void)
{
    char said[FD_PACKET_MAX + 1];
    size_t len;
    int fd, err = receive(said, &len, &fd);
    if (err == 0 && !is_greeting(said))
        return EPROTONOSUPPORT;
    while (err == 0 && (err = receive(said, &len, &fd)) == 0 && strcmp(said, "end") != 0)
        heed(said, len, fd);
    explicit_bzero(said, sizeof(said));
    return err;
}

/* ---- the channel ---- */

static bool is_channel(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET &&
           fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static void be_patient(int fd)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

/* There may be as many sockets as weir is allowed descriptors. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

bool takeover_receive(void)
{
    uint64_t fd = env_number(LAUNCHER_VARIABLE);
    if (fd == 0 || fd > INT32_MAX || !is_channel((int)fd))
        return true;
    channel = (int)fd;
    be_patient(channel);
    raise_limit();
    int err = receive_all();
    if (err != 0)
        log_error("upgrade: cannot take over from the process before: %s", strerror(err));
    return err == 0;
}

bool takeover_is_due(void)
{
    return channel >= 0;
}

unsigned takeover_count(void)
{
    return count;
}

struct tls_tickets *takeover_tickets(const char *name)
{
    for (const struct tickets *t = all_tickets; t != NULL; t = t->next)
        if (strcmp(t->name, name) == 0)
            return tls_tickets_restore(t->keys);
    return NULL;
}

static void forget_tickets(void)
{
    while (all_tickets != NULL) {
        struct tickets *t = all_tickets;
        all_tickets = t->next;
        explicit_bzero(t->keys, sizeof(t->keys));
        free(t);
    }
}

/* What waits in its queue is for the weir before to accept: nobody else will. */
static void say_left(const char *name, const char *asked)
{
    char said[FD_PACKET_MAX];
    int n = snprintf(said, sizeof(said), "left %s %s", name, asked);
    if (n > 0 && n < (int)sizeof(said))
        (void)fd_packet_send(channel, said, (size_t)n, -1);
}

void takeover_ready(void)
{
    char said[FD_PACKET_MAX + 1];
    size_t len;
    int fd;
    if (channel < 0)
        return;
    passed_drop(say_left);
    int n = snprintf(said, sizeof(said), "ready %d", (int)getpid());
    int err = fd_packet_send(channel, said, (size_t)n, -1);
    err = err != 0 ? err : receive(said, &len, &fd);
    if (err != 0) /* it has ended by itself, or will */
        log_warn("upgrade: the process before does not answer: %s", strerror(err));
    close(channel);
    channel = -1;
    forget_tickets();
}
