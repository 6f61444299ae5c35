/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets from elsewhere. A manager's is known by its address and not by a name, so that the
 * configuration alone says who listens where. Owns what was not taken; must never close what is a
 * manager's. Control thread, but for passed_is_managed.
 */
#include "proxy/net/passed.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/env.h"
#include "proxy/base/mem.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* Of the weir before. */
struct passed {
    int fd; /* -1: taken */
    char *asked, *name;
};

static int *managed; /* the same as long as there are workers */
static size_t n_managed;
static struct passed *own;
static size_t n_own;
static bool looked; /* for those of the environment */
static bool is_on;

/* There is no end of numbers, but of descriptors. */
static void look(void)
{
    if (looked)
        return;
    looked = true;
    uint64_t n = env_number("LISTEN_FDS");
    if (env_number("LISTEN_PID") != (uint64_t)getpid())
        return;
    for (int fd = FIRST_FD; n > 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0; fd++, n--)
        passed_add_managed(fd);
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static bool listens_on(int fd, const struct net_addr *addr)
{
    struct sockaddr_storage ss;
    struct net_addr bound;
    char a[NET_ADDR_TEXT], b[NET_ADDR_TEXT];
    socklen_t len = sizeof(ss);
    if (option(fd, SO_ACCEPTCONN) != 1 || option(fd, SO_TYPE) != SOCK_STREAM ||
        getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return false;
    net_addr_from(&bound, (struct sockaddr *)&ss, len);
    return span_eq(net_addr_print(&bound, a), net_addr_print(addr, b));
}

/* ---- a manager's ---- */

static int managed_find(const struct net_addr *addr)
{
    look();
    for (size_t i = 0; i < n_managed; i++)
        if (listens_on(managed[i], addr))
            return managed[i];
    return -1;
}

bool passed_has(const struct net_addr *addr)
{
    return is_on || managed_find(addr) >= 0;
}

int passed_socket(const struct net_addr *addr)
{
    int on = 1, fd = managed_find(addr);
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD) : -1;
    if (copy < 0)
        return -1;
    (void)fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
    if (!net_addr_is_unix(addr)) /* as on one of ours, for those that it accepts */
        (void)setsockopt(copy, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return copy;
}

int passed_managed(size_t i)
{
    look();
    return i < n_managed ? managed[i] : -1;
}

bool passed_is_managed(int fd)
{
    struct stat st, other;
    bool is = false;
    if (n_managed > 0 && fstat(fd, &st) == 0)
        for (size_t i = 0; i < n_managed && !is; i++)
            is = fstat(managed[i], &other) == 0 && st.st_ino == other.st_ino;
    return is;
}

void passed_add_managed(int fd)
{
    managed = mem_need(realloc(managed, (n_managed + 1) * sizeof(*managed)));
    managed[n_managed++] = fd;
}

/* ---- those of the weir before ---- */

void passed_add(int fd, const char *name, const char *asked)
{
    own = mem_need(realloc(own, (n_own + 1) * sizeof(*own)));
    own[n_own++] = (struct passed){fd, mem_need(strdup(asked)), mem_need(strdup(name))};
}

int passed_take(const struct net_addr *asked, const char *name)
{
    char text[NET_ADDR_TEXT];
    bool named = !net_addr_is_unix(asked) && net_addr_port(asked) == 0;
    net_addr_print(asked, text);
    for (size_t i = 0; i < n_own; i++) {
        struct passed *p = &own[i];
        if (p->fd < 0 || strcmp(p->asked, text) != 0 || (named && strcmp(p->name, name) != 0))
            continue;
        int fd = p->fd;
        p->fd = -1;
        return fd;
    }
    return -1;
}

void passed_drop(void (*dropped)(const char *name, const char *asked))
{
    for (size_t i = 0; i < n_own; i++) {
        if (own[i].fd >= 0) {
            close(own[i].fd);
            if (dropped != NULL)
                dropped(own[i].name, own[i].asked);
        }
        free(own[i].asked);
        free(own[i].name);
    }
    free(TAKE(own));
    n_own = 0;
}

void passed_on(void)
{
    is_on = true;
}
