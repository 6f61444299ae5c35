/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening sockets, and closing them if nothing comes of it. Owns them until control.c has them;
 * must never touch one that a snapshot before has. Control thread.
 */
#include "proxy/runtime_sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/control.h"
#include "proxy/net/listen.h"
#include "proxy/net/passed.h"
#include "proxy/net/pipe.h"
#include "proxy/runtime_admin.h"
#include "proxy/runtime_build.h"
#include "proxy/runtime_tls.h"
#include "proxy/snapshot_view.h"
#include "proxy/upstream/health.h"

/* ---- limits of the machine ---- */

static uint64_t checks_at_once(const struct runtime *rt)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rt->snap->n_pools; i++)
        n += rt->snap->pools[i]->health != NULL ? rt->snap->pools[i]->n_endpoints : 0;
    return n < HEALTH_AT_ONCE ? n : HEALTH_AT_ONCE;
}

/* A client conn and the upstream conn behind it are two descriptors; some are needed for ourselves,
 * and an eighth of the rest may be pipes. Rather accept fewer than accept what cannot be served. */
void runtime_fit_descriptors(struct runtime *rt)
{
    struct rlimit lim;
    rt->snap->pipes = PIPES_MAX;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    if (lim.rlim_cur < lim.rlim_max) {
        struct rlimit more = {lim.rlim_max, lim.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            lim = more;
    }
    if (lim.rlim_cur == RLIM_INFINITY)
        return;
    uint64_t own = 48 + rt->n_workers * (8 + rt->snap->n_listeners) + checks_at_once(rt);
    uint64_t pipes = lim.rlim_cur > own ? (lim.rlim_cur - own) / 16 / rt->n_workers : 0;
    rt->snap->pipes = pipes < PIPES_MAX ? (uint32_t)pipes : PIPES_MAX;
    own += 2 * rt->snap->pipes * rt->n_workers;
    uint64_t fit = lim.rlim_cur > own + 2 ? (lim.rlim_cur - own) / 2 : 1;
    if (fit >= rt->snap->max_connections)
        return;
    if (rt->before == NULL || rt->before->max_connections != fit)
        log_info("the limit of %llu open files allows %llu client connections, not the %u of "
                 "limits.connections; raise it (ulimit -n, LimitNOFILE=) to have them all",
                 (unsigned long long)lim.rlim_cur, (unsigned long long)fit,
                 rt->snap->max_connections);
    rt->snap->max_connections = (uint32_t)fit;
}

/* ---- sockets ---- */

static void bind_error(struct runtime *rt, const struct config_addr *addr, const char *path)
{
    const char *advice = "";
    if (errno == EADDRINUSE)
        advice = "; another process listens there (ss -ltnp shows which): stop it, or choose "
                 "another address";
    else if (errno == EACCES)
        advice = "; ports under 1024 need root or CAP_NET_BIND_SERVICE";
    else if (errno == EADDRNOTAVAIL)
        advice = "; this machine has no such address";
    config_errors_add(rt->errs, CONFIG_ERROR, addr->pos, path, "cannot listen on %s: %s%s",
                      addr->text, strerror(errno), advice);
}

/* Is the TCP address free? With SO_REUSEPORT a second weir would bind it without a word, and the
 * kernel would split the clients between the two. */
static bool probe_free(const struct net_addr *addr)
{
    if (net_addr_is_unix(addr) || net_addr_port(addr) == 0)
        return true;
    int fd = listen_socket(addr, false, 0);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* Nobody but the weir before has it, or nobody at all. */
static int first_socket(struct runtime *rt, const struct listener_spec *spec)
{
    int fd = passed_take(&spec->asked, spec->name);
    if (fd >= 0 || !probe_free(&spec->addr))
        return fd;
    return listen_socket(&spec->addr, rt->n_workers > 1, spec->mode);
}

/* Those that are more than there are workers: clients may wait in each of them. */
static void take_more(struct runtime *rt, size_t i)
{
    const struct listener_spec *spec = rt->snap->listeners[i];
    int fd;
    CHECK(rt->n_workers > 0);
    for (unsigned n = 0; (fd = passed_take(&spec->asked, spec->name)) >= 0; n++) {
        rt->more = mem_need(realloc(rt->more, (rt->n_more + 1) * sizeof(*rt->more)));
        rt->more[rt->n_more++] = (struct listen_more){n % rt->n_workers, i, fd};
    }
}

/* For one more worker, which listens once it serves. At a reload workers are in the sandbox, and
 * may not. */
static int open_beside(const struct runtime *rt, size_t i)
{
    int fd = listen_beside(rt->sockets[i], &rt->snap->listeners[i]->addr);
    if (fd >= 0 && rt->before != NULL && listen_begin(fd) != 0) {
        int err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

/* One socket a worker: its own for TCP, copies of one for a Unix path. */
static bool open_listener(struct runtime *rt, size_t i)
{
    struct listener_spec *spec = rt->snap->listeners[i];
    size_t n = rt->snap->n_listeners;
    for (unsigned w = 0; w < rt->n_workers; w++) {
        int fd = w == 0 ? first_socket(rt, spec) : passed_take(&spec->asked, spec->name);
        if (fd < 0 && w > 0)
            fd = open_beside(rt, i);
        if (fd < 0) {
            char path[128];
            snprintf(path, sizeof(path), "listeners.%s", spec->name);
            bind_error(rt, &rt->cfg->listeners[i].bind, path);
            return false;
        }
        rt->sockets[w * n + i] = fd;
        if (w == 0 && !net_addr_is_unix(&spec->addr))
            listen_bound(fd, &spec->addr); /* the port that the kernel chose */
    }
    take_more(rt, i);
    return true;
}

/* The listener of the snapshot before whose socket it has. */
const struct listener_spec *runtime_listened(const struct runtime *rt,
                                             const struct listener_spec *spec)
{
    for (size_t i = 0; rt->before != NULL && i < rt->before->n_listeners; i++)
        if (listener_spec_same_socket(rt->before->listeners[i], spec))
            return rt->before->listeners[i];
    return NULL;
}

void runtime_no_sockets(struct runtime *rt)
{
    size_t n = rt->n_workers * rt->snap->n_listeners;
    rt->sockets = mem_need(calloc(n > 0 ? n : 1, sizeof(int)));
    for (size_t i = 0; i < n; i++)
        rt->sockets[i] = -1;
}

bool runtime_open_listeners(struct runtime *rt)
{
    bool ok = true;
    runtime_no_sockets(rt);
    for (size_t i = 0; i < rt->snap->n_listeners; i++) {
        struct listener_spec *spec = rt->snap->listeners[i];
        const struct listener_spec *was = runtime_listened(rt, spec);
        if (was == NULL)
            ok &= open_listener(rt, i);
        else if (was != spec)
            spec->addr = was->addr;
    }
    return ok;
}

bool runtime_open_admin(struct runtime *rt)
{
    if (!rt->cfg->admin.enabled)
        return true;
    if (!runtime_admin_token(rt->cfg, &rt->admin_token, rt->errs) ||
        !runtime_registry_token(rt->cfg, &rt->registry_token, rt->errs) ||
        !runtime_admin_tls(rt->cfg, &rt->admin_tls, rt->errs))
        return false;
    if (!runtime_resolve(&rt->cfg->admin.listen, &rt->admin, rt->errs))
        return false;
    rt->admin_socket = passed_take(&rt->admin, "");
    if (rt->admin_socket < 0)
        rt->admin_socket = listen_socket(&rt->admin, false, 0600);
    if (rt->admin_socket < 0)
        bind_error(rt, &rt->cfg->admin.listen, "admin.listen");
    return rt->admin_socket >= 0;
}

void runtime_close_sockets(struct runtime *rt)
{
    for (size_t i = 0; rt->sockets != NULL && i < rt->n_workers * rt->snap->n_listeners; i++)
        if (rt->sockets[i] >= 0)
            close(rt->sockets[i]);
    free(TAKE(rt->sockets));
}

/* ---- Unix sockets ---- */

static void set_mode(const struct listener_spec *spec)
{
    if (chmod(spec->addr.u.un.sun_path, spec->mode) != 0)
        log_warn("listener %s: cannot change the mode of its socket: %s", spec->name,
                 strerror(errno));
}

/* Of sockets that were taken over, which may have been made with another. */
void runtime_set_modes(const struct snapshot *snap)
{
    struct stat st;
    for (size_t i = 0; i < snap->n_listeners; i++) {
        const struct listener_spec *spec = snap->listeners[i];
        if (net_addr_is_unix(&spec->addr) && !passed_has(&spec->addr) &&
            stat(spec->addr.u.un.sun_path, &st) == 0 && (st.st_mode & 07777) != spec->mode)
            set_mode(spec);
    }
}

/* Of what stays open the mode may be another. */
void runtime_change_mode(const struct listener_spec *spec, const struct listener_spec *was)
{
    if (net_addr_is_unix(&spec->addr) && spec->mode != was->mode && !passed_has(&spec->addr))
        set_mode(spec);
}

static bool is_listened(const struct snapshot *snap, const struct net_addr *addr)
{
    for (size_t i = 0; i < snap->n_listeners; i++)
        if (net_addr_is_unix(&snap->listeners[i]->addr) &&
            strcmp(snap->listeners[i]->addr.u.un.sun_path, addr->u.un.sun_path) == 0)
            return true;
    return false;
}

/* Of Unix sockets that nobody listens on any more; next: NULL, or who listens now. */
void runtime_remove_paths(const struct snapshot *snap, const struct snapshot *next)
{
    for (size_t i = 0; i < snap->n_listeners; i++) {
        const struct net_addr *addr = &snap->listeners[i]->addr;
        if (next == NULL || !is_listened(next, addr))
            listen_remove(addr);
    }
}
