/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns the configuration's structs into a snapshot, names into addresses, and addresses into
 * sockets. Owns them until control.c takes over. Control thread; the only file beside main.c that
 * knows the configuration's structs.
 */
#include "proxy/runtime.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/json.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/control.h"
#include "proxy/cpus.h"
#include "proxy/net/listen.h"
#include "proxy/net/pipe.h"
#include "proxy/runtime_balance.h"
#include "proxy/runtime_health.h"
#include "proxy/runtime_retry.h"
#include "proxy/runtime_sticky.h"
#include "proxy/runtime_tls.h"

#define H2_STREAMS      100 /* on one conn to an endpoint */
#define H2_CONN_BUFFERS 16  /* of such a conn, of limits.buffer each: 1 MiB by default */
#define H2_PONG_MS      10000

struct runtime {
    const struct config *cfg;
    const char *ready_file;
    struct config_errors *errs;
    struct snapshot *snap;
    unsigned n_workers;
    char why[96];
    int *sockets;
    int admin_socket;
};

/* ---- addresses ---- */

static uint32_t clamp_ms(uint64_t ms)
{
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* 0: no bound. */
static uint32_t optional_ms(uint64_t ms)
{
    return ms == CONFIG_NONE ? 0 : clamp_ms(ms);
}

/* Names are resolved once, here. Of several addresses the first IPv4 one is taken, else the first:
 * "localhost" is ::1 first nearly everywhere, and what listens there is on 127.0.0.1 nearly always.
 */
static bool resolve(struct runtime *rt, const struct config_addr *from, struct net_addr *to)
{
    if (from->kind == CONFIG_ADDR_UNIX)
        return net_addr_unix(to, from->path);
    if (net_addr_ip(to, from->host, from->port))
        return true;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    snprintf(port, sizeof(port), "%u", from->port);
    int err = getaddrinfo(from->host, port, &hints, &list);
    if (err != 0) {
        config_errors_add(
            rt->errs, CONFIG_ERROR, from->pos, NULL,
            "cannot resolve \"%s\": %s; use an address, or see whether this machine's "
            "resolver knows the name",
            from->host, gai_strerror(err));
        return false;
    }
    const struct addrinfo *best = list;
    CHECK(list != NULL); /* without an error there is at least one */
    for (const struct addrinfo *ai = list; ai != NULL && best->ai_family != AF_INET;
         ai = ai->ai_next)
        if (ai->ai_family == AF_INET)
            best = ai;
    net_addr_from(to, best->ai_addr, best->ai_addrlen);
    freeaddrinfo(list);
    return true;
}

/* ---- the snapshot ---- */

static char *copy(const char *s)
{
    return mem_need(strdup(s));
}

static void *array(size_t n, size_t size)
{
    return mem_need(calloc(n > 0 ? n : 1, size));
}

static void add_networks(struct cidr_set *set, bool *is_unix, const struct config_cidr *from,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct cidr cidr;
        if (from[i].kind == CONFIG_CIDR_UNIX) {
            *is_unix = true;
            continue;
        }
        CHECK(cidr_parse(span_str(from[i].text), &cidr) != CIDR_ERR_ADDRESS);
        cidr_set_add(set, &cidr);
    }
}

static bool build_listeners(struct runtime *rt)
{
    struct snapshot *snap = rt->snap;
    bool ok = true;
    snap->listeners = array(snap->n_listeners, sizeof(snap->listeners[0]));
    for (size_t i = 0; i < snap->n_listeners; i++) {
        const struct config_listener *from = &rt->cfg->listeners[i];
        struct listener_spec *to = &snap->listeners[i];
        to->name = copy(from->name);
        to->mode = from->mode;
        to->forward = (struct forward_options){.forwarded = from->forwarded, .via = from->via};
        to->redirect_https = from->redirect_https.enabled ? from->redirect_https.port : 0;
        add_networks(&to->trusted, &to->trust_unix, from->trusted, from->trusted_count);
        add_networks(&to->proxy_from, &to->proxy_from_unix, from->proxy_protocol.from,
                     from->proxy_protocol.from_count);
        ok &= resolve(rt, &from->bind, &to->addr);
        ok &= runtime_listener_tls(from, &snap->tls[i], true, rt->errs);
    }
    return ok;
}

static struct endpoint_spec *new_endpoints(uint32_t n)
{
    size_t size = n * sizeof(struct endpoint_spec);
    return memset(mem_need(aligned_alloc(LB_CACHE_LINE, size)), 0, size);
}

static void pool_options(const struct config *cfg, const struct config_pool *from,
                         struct pool_spec *to)
{
    to->idle_ms = clamp_ms(from->idle_ms);
    to->max_idle = from->max_idle;
    to->options = (struct h1_client_options){
        .limits =
            {
                .body_bytes = UINT64_MAX,
                .header_bytes = (uint32_t)cfg->limits.header_bytes,
                .target_bytes = (uint32_t)cfg->limits.target_bytes,
                .headers = cfg->limits.headers,
            },
        .connect_ms = clamp_ms(from->connect_ms),
        .response_idle_ms = clamp_ms(cfg->timeouts.response_idle),
        .write_stall_ms = clamp_ms(cfg->timeouts.write_stall),
        .buffer = (size_t)cfg->limits.buffer,
        .once = from->proxy_protocol != CONFIG_PROXY_NONE,
    };
    to->h2 = (struct h2_client_options){
        .limits = to->options.limits,
        .connect_ms = to->options.connect_ms,
        .response_idle_ms = to->options.response_idle_ms,
        .write_stall_ms = to->options.write_stall_ms,
        .idle_ms = to->idle_ms,
        .ping_ms = clamp_ms(from->ping_ms),
        .pong_ms = H2_PONG_MS,
        .max_streams = H2_STREAMS,
        .buffer = to->options.buffer,
        .conn_buffer = H2_CONN_BUFFERS * to->options.buffer,
    };
}

/* Where checks go, if that is elsewhere. */
static bool resolve_checks(struct runtime *rt, const struct config_pool *from, struct pool_spec *to)
{
    bool ok = true;
    for (uint32_t i = 0; i < to->n_endpoints; i++) {
        struct endpoint_spec *at = &to->health->endpoints[i];
        struct config_addr addr = from->endpoints[i].address;
        if (from->endpoints[i].health.text != NULL)
            addr = from->endpoints[i].health;
        else if (from->health.port != 0)
            addr.port = (uint16_t)from->health.port;
        ok &= resolve(rt, &addr, &at->addr);
        if (ok)
            net_addr_print(&at->addr, at->text);
    }
    return ok;
}

static bool build_health(struct runtime *rt, const struct config_pool *from, struct pool_spec *to)
{
    if (!from->health.enabled)
        return true;
    to->health = runtime_health(from);
    if (!runtime_health_elsewhere(from))
        return true;
    to->health->endpoints = new_endpoints(to->n_endpoints);
    return resolve_checks(rt, from, to);
}

static bool build_pool(struct runtime *rt, const struct config_pool *from, struct pool_spec *to,
                       struct tls_source **tls)
{
    bool ok = true;
    to->name = copy(from->name);
    to->n_endpoints = (uint32_t)from->endpoint_count;
    to->endpoints = new_endpoints(to->n_endpoints);
    for (uint32_t i = 0; i < to->n_endpoints; i++) {
        struct endpoint_spec *ep = &to->endpoints[i];
        ok &= resolve(rt, &from->endpoints[i].address, &ep->addr);
        if (ok)
            net_addr_print(&ep->addr, ep->text);
    }
    runtime_balance(rt->cfg, rt->n_workers, from, to);
    to->hedge = from->hedge;
    to->budget = runtime_retry_budget(&from->retry_budget, rt->n_workers);
    ok &= runtime_sticky(from, to, rt->errs);
    ok &= build_health(rt, from, to);
    pool_options(rt->cfg, from, to);
    ok &= runtime_pool_tls(from, to, tls, rt->errs);
    return ok;
}

static bool build_pools(struct runtime *rt)
{
    struct snapshot *snap = rt->snap;
    bool ok = true;
    snap->pools = array(snap->n_pools, sizeof(snap->pools[0]));
    for (size_t i = 0; i < snap->n_pools; i++)
        ok &=
            build_pool(rt, &rt->cfg->pools[i], &snap->pools[i], &snap->tls[snap->n_listeners + i]);
    return ok;
}

static struct span *spans_of(const struct config_str *strings, size_t n)
{
    struct span *spans = array(n, sizeof(spans[0]));
    for (size_t i = 0; i < n; i++)
        spans[i] = span_str(strings[i].text);
    return spans;
}

static void add_rule(struct snapshot *snap, const struct config_route *from)
{
    const struct config_match *match = &from->match;
    struct span *hosts = spans_of(match->hosts, match->host_count);
    struct span *methods = spans_of(match->methods, match->method_count);
    struct route_field_match *fields = array(match->header_count, sizeof(fields[0]));
    struct route_target *targets = array(from->to_count, sizeof(targets[0]));
    for (size_t i = 0; i < match->header_count; i++)
        fields[i] = (struct route_field_match){span_str(match->headers[i].name),
                                               span_str(match->headers[i].value)};
    for (size_t i = 0; i < from->to_count; i++)
        targets[i] = (struct route_target){(int32_t)from->to[i].pool, from->to[i].weight};
    bool exact = match->path.exact != NULL;
    struct route_rule rule = {
        .name = span_str(from->name),
        .hosts = hosts,
        .n_hosts = match->host_count,
        .path_kind = exact ? ROUTE_EXACT : ROUTE_PREFIX,
        .path = span_str(exact ? match->path.exact : match->path.prefix),
        .methods = methods,
        .n_methods = match->method_count,
        .fields = fields,
        .n_fields = match->header_count,
        .targets = targets,
        .n_targets = from->to_count,
    };
    CHECK(route_table_add(snap->table, &rule) >= 0); /* config has refused what this refuses */
    free(hosts);
    free(methods);
    free(fields);
    free(targets);
}

static void build_routes(struct runtime *rt)
{
    struct snapshot *snap = rt->snap;
    size_t n = rt->cfg->route_count;
    snap->table = route_table_new();
    snap->routes = array(n, sizeof(snap->routes[0]));
    snap->n_rows = 1;
    for (size_t i = 0; i < n; i++) {
        const struct config_route *from = &rt->cfg->routes[i];
        add_rule(snap, from);
        snap->routes[i] = (struct route_spec){
            .request_ms = optional_ms(from->request_ms),
            .try_ms = clamp_ms(from->try_ms),
            .row = (uint32_t)snap->n_rows,
        };
        runtime_retry(&from->retry, &snap->routes[i].retry);
        snap->n_rows += 1 + from->to_count;
    }
    route_table_compile(snap->table);
}

static void build_server(struct runtime *rt)
{
    const struct config *cfg = rt->cfg;
    struct snapshot *snap = rt->snap;
    snap->server = (struct h1_server_options){
        .limits =
            {
                .body_bytes = cfg->limits.body_bytes,
                .header_bytes = (uint32_t)cfg->limits.header_bytes,
                .target_bytes = (uint32_t)cfg->limits.target_bytes,
                .headers = cfg->limits.headers,
            },
        .head_ms = clamp_ms(cfg->timeouts.request_head),
        .idle_ms = clamp_ms(cfg->timeouts.client_idle),
        .body_ms = clamp_ms(cfg->timeouts.request_body),
        .write_stall_ms = clamp_ms(cfg->timeouts.write_stall),
        .buffer = (size_t)cfg->limits.buffer,
    };
    snap->upgraded_ms = clamp_ms(cfg->timeouts.upgraded);
    snap->handshake_ms = clamp_ms(cfg->timeouts.tls_handshake);
    snap->max_connections = cfg->limits.connections;
}

static bool build_snapshot(struct runtime *rt)
{
    rt->snap = array(1, sizeof(*rt->snap));
    atomic_init(&rt->snap->refs, 1);
    rt->snap->n_listeners = rt->cfg->listener_count;
    rt->snap->n_pools = rt->cfg->pool_count;
    rt->snap->tls = array(snapshot_n_tls(rt->snap), sizeof(rt->snap->tls[0]));
    bool ok = build_listeners(rt);
    ok &= build_pools(rt);
    build_routes(rt);
    build_server(rt);
    return ok;
}

/* ---- limits of the machine ---- */

static uint64_t checks_at_once(const struct runtime *rt)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rt->snap->n_pools; i++)
        n += rt->snap->pools[i].health != NULL ? rt->snap->pools[i].n_endpoints : 0;
    return n < HEALTH_AT_ONCE ? n : HEALTH_AT_ONCE;
}

/* A client conn and the upstream conn behind it are two descriptors; some are needed for ourselves,
 * and an eighth of the rest may be pipes. Rather accept fewer than accept what cannot be served. */
static void fit_descriptors(struct runtime *rt)
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
    log_info("the limit of %llu open files allows %llu client connections, not the %u of "
             "limits.connections; raise it (ulimit -n, LimitNOFILE=) to have them all",
             (unsigned long long)lim.rlim_cur, (unsigned long long)fit, rt->snap->max_connections);
    rt->snap->max_connections = (uint32_t)fit;
}

static void choose_workers(struct runtime *rt)
{
    rt->n_workers = rt->cfg->workers;
    if (rt->n_workers != 0)
        snprintf(rt->why, sizeof(rt->why), "as configured");
    else
        rt->n_workers = cpus_available(rt->why, sizeof(rt->why));
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

/* One socket a worker: its own for TCP, copies of one for a Unix path. */
static bool open_listener(struct runtime *rt, size_t i)
{
    struct listener_spec *spec = &rt->snap->listeners[i];
    size_t n = rt->snap->n_listeners;
    for (unsigned w = 0; w < rt->n_workers; w++) {
        int fd;
        if (w > 0 && net_addr_is_unix(&spec->addr))
            fd = dup(rt->sockets[i]);
        else
            fd = w == 0 && !probe_free(&spec->addr)
                     ? -1
                     : listen_socket(&spec->addr, rt->n_workers > 1, spec->mode);
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
    return true;
}

static bool open_sockets(struct runtime *rt)
{
    bool ok = true;
    rt->sockets = array(rt->n_workers * rt->snap->n_listeners, sizeof(int));
    for (size_t i = 0; i < rt->n_workers * rt->snap->n_listeners; i++)
        rt->sockets[i] = -1;
    for (size_t i = 0; i < rt->snap->n_listeners; i++)
        ok &= open_listener(rt, i);
    if (rt->cfg->admin.enabled) {
        struct net_addr addr;
        ok &= resolve(rt, &rt->cfg->admin.listen, &addr);
        rt->admin_socket = ok ? listen_socket(&addr, false, 0600) : -1;
        if (ok && rt->admin_socket < 0) {
            bind_error(rt, &rt->cfg->admin.listen, "admin.listen");
            ok = false;
        }
    }
    return ok;
}

static void close_sockets(struct runtime *rt)
{
    for (size_t i = 0; rt->sockets != NULL && i < rt->n_workers * rt->snap->n_listeners; i++)
        if (rt->sockets[i] >= 0)
            close(rt->sockets[i]);
    if (rt->admin_socket >= 0)
        close(rt->admin_socket);
}

/* ---- telling ---- */

static void log_summary(const struct runtime *rt)
{
    char text[NET_ADDR_TEXT];
    log_info("weir " WEIR_VERSION " serves %s", rt->cfg->pos.file);
    for (size_t i = 0; i < rt->snap->n_listeners; i++) {
        net_addr_print(&rt->snap->listeners[i].addr, text);
        log_info("listener %s on %s%s", rt->snap->listeners[i].name, text,
                 rt->snap->tls[i] != NULL ? " (TLS)" : "");
    }
    for (size_t i = 0; i < rt->snap->n_pools; i++)
        log_info("pool %s: %u endpoint%s, %s", rt->snap->pools[i].name,
                 rt->snap->pools[i].n_endpoints, rt->snap->pools[i].n_endpoints == 1 ? "" : "s",
                 rt->snap->pools[i].balance->policy->name);
    if (rt->admin_socket >= 0) {
        struct net_addr addr;
        listen_bound(rt->admin_socket, &addr);
        net_addr_print(&addr, text);
        log_info("admin on http://%s", text);
    }
    log_info("%u worker%s (%s)", rt->n_workers, rt->n_workers == 1 ? "" : "s", rt->why);
}

/* The whole file or none of it: whoever waits for it must not read half. */
static bool write_ready_file(const struct runtime *rt)
{
    size_t size = 256 + (rt->snap->n_listeners + 1) * 512;
    char *buf = array(1, size), text[NET_ADDR_TEXT], temp[4096];
    struct json j;
    json_init(&j, buf, size);
    json_object_begin(&j);
    json_key(&j, "pid");
    json_u64(&j, (uint64_t)getpid());
    if (rt->admin_socket >= 0) {
        struct net_addr addr;
        listen_bound(rt->admin_socket, &addr);
        json_key(&j, "admin");
        json_string(&j, net_addr_print(&addr, text));
    }
    json_key(&j, "listeners");
    json_object_begin(&j);
    for (size_t i = 0; i < rt->snap->n_listeners; i++) {
        json_key(&j, rt->snap->listeners[i].name);
        json_string(&j, net_addr_print(&rt->snap->listeners[i].addr, text));
    }
    json_object_end(&j);
    json_object_end(&j);
    struct span out = json_text(&j);
    snprintf(temp, sizeof(temp), "%s.%d", rt->ready_file, (int)getpid());
    FILE *f = fopen(temp, "we");
    bool ok = f != NULL && fwrite(out.ptr, 1, out.len, f) == out.len;
    ok = f != NULL && fclose(f) == 0 && ok && rename(temp, rt->ready_file) == 0;
    if (!ok)
        log_error("cannot write --ready-file %s: %s", rt->ready_file, strerror(errno));
    free(buf);
    return ok;
}

static bool on_serving(void *ctx)
{
    const struct runtime *rt = ctx;
    log_summary(rt);
    return rt->ready_file == NULL || write_ready_file(rt);
}

/* ---- running ---- */

static struct access_log *open_access_log(struct runtime *rt, bool *ok)
{
    const struct config_access_log *from = &rt->cfg->access_log;
    char err[256];
    if (!from->enabled)
        return NULL;
    struct access_log_options options = {
        .path = from->path, .format = from->format.text, .shards = rt->n_workers};
    struct access_log *log = access_log_open(&options, err, sizeof(err));
    if (log == NULL) {
        config_errors_add(rt->errs, CONFIG_ERROR, from->pos, "access_log", "%s", err);
        *ok = false;
    }
    return log;
}

static int serve(struct runtime *rt, struct access_log *log)
{
    struct control_options options = {
        .snapshot = rt->snap,
        .n_workers = rt->n_workers,
        .sockets = rt->sockets,
        .admin_socket = rt->admin_socket,
        .admin_unix = rt->cfg->admin.listen.kind == CONFIG_ADDR_UNIX,
        .log = log,
        .shutdown_ms = rt->cfg->shutdown_ms,
        .serving = on_serving,
        .ctx = rt,
    };
    return control_run(&options);
}

static void remove_unix_paths(const struct runtime *rt)
{
    for (size_t i = 0; i < rt->snap->n_listeners; i++)
        if (net_addr_is_unix(&rt->snap->listeners[i].addr))
            unlink(rt->snap->listeners[i].addr.u.un.sun_path);
}

int runtime_run(const struct config *cfg, const char *ready_file, struct config_errors *errs)
{
    struct runtime rt = {.cfg = cfg, .ready_file = ready_file, .errs = errs, .admin_socket = -1};
    int status = 1;
    choose_workers(&rt);
    bool ok = build_snapshot(&rt);
    if (ok)
        fit_descriptors(&rt);
    ok = ok && open_sockets(&rt);
    struct access_log *log = ok ? open_access_log(&rt, &ok) : NULL;
    if (ok) {
        status = serve(&rt, log);
        remove_unix_paths(&rt);
    } else {
        close_sockets(&rt);
    }
    access_log_close(log);
    free(rt.sockets);
    snapshot_unref(rt.snap);
    return status;
}
