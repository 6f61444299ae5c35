/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data-plane thread. Owns everything that lives on it; must never block. worker_init and
 * worker_fini run on the control thread, before and after the thread; the rest on the thread
 * itself.
 */
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/base/log.h"
#include "proxy/exchange.h"
#include "proxy/exchange_admit.h"

/* ---- conns ---- */

static bool is_trusted(const void *listener, const struct net_addr *addr)
{
    const struct listener_spec *spec = listener;
    return net_addr_is_unix(addr) ? spec->trust_unix
                                  : cidr_set_contains_sockaddr(&spec->trusted, &addr->u.sa);
}

/* What is said of its clients is only believed of those that are listed; the others say nothing of
 * the kind, and what they say is a request. */
static bool is_proxied(const struct listener_spec *spec, const struct net_addr *addr)
{
    return net_addr_is_unix(addr) ? spec->proxy_from_unix
                                  : cidr_set_contains_sockaddr(&spec->proxy_from, &addr->u.sa);
}

static struct tls_server_ctx *tls_of(void *ctx, const void *listener)
{
    const struct worker *w = ctx;
    return w->tls[(const struct listener_spec *)listener - w->snapshot->listeners];
}

/* It costs a call of the kernel. */
static void learn_local(struct http_peer *peer, int fd)
{
    struct net_addr local;
    if (listen_reached(fd, &local))
        http_peer_reached(peer, &local);
}

static bool on_accepted(struct listener *l, int fd, const struct net_addr *addr, bool over)
{
    struct worker *w = l->owner;
    const struct listener_spec *spec = &w->snapshot->listeners[l->index];
    struct http_peer peer;
    http_peer_init(&peer, addr, spec, is_trusted(spec, addr));
    peer.over_limit = over;
    if (w->tells_clients)
        learn_local(&peer, fd);
    struct front_wants wants = {.proxy_header = is_proxied(spec, addr),
                                .tls = w->tls[l->index] != NULL};
    if (!front_accept(&w->reactor, &w->front, wants, fd, net_addr_is_unix(&spec->addr), &peer,
                      &w->conns))
        return false;
    counter_inc(&w->stats.conns_total);
    counter_inc(&w->stats.conns);
    return true;
}

static void on_pausing(struct listener *l, int error)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    struct worker *w = l->owner;
    counter_inc(&w->stats.accept_paused);
    if (error != 0)
        log_limited(&limit, LOG_WARN, "accepting on listener \"%s\" pauses: %s%s",
                    w->snapshot->listeners[l->index].name, strerror(error),
                    error == ENOMEM ? "" : "; raise the limit of open files");
    else
        log_limited(&limit, LOG_WARN,
                    "accepting on listener \"%s\" pauses: %u client connections are open; raise "
                    "limits.connections, or the limit of open files",
                    w->snapshot->listeners[l->index].name, w->shared->budget->max);
}

/* ---- orders ---- */

static void on_mailbox_closed(uv_handle_t *handle)
{
    (void)handle;
}

/* With the mailbox gone and no conn left, the loop has nothing to wait for and ends. */
static void worker_check_done(struct worker *w)
{
    if (!w->closing || !list_empty(&w->conns) || uv_is_closing((uv_handle_t *)&w->mailbox))
        return;
    for (size_t i = 0; i < w->snapshot->n_pools; i++)
        pool_close_idle(w->pools[i]);
    uv_close((uv_handle_t *)&w->mailbox, on_mailbox_closed);
}

void worker_conn_closed(struct worker *w)
{
    listener_budget_freed(w->shared->budget);
    counter_dec(&w->stats.conns); /* who sees it in the metrics may count on the room */
    worker_check_done(w);
}

bool worker_shed_idle(struct worker *w)
{
    for (size_t i = 0; i < w->snapshot->n_pools; i++)
        if (pool_shed_idle(w->pools[i]))
            return true;
    return false;
}

static void worker_close(struct worker *w)
{
    w->draining = w->closing = true;
    for (size_t i = 0; i < w->n_listeners; i++)
        listener_close(&w->listeners[i]);
    list_for_each_safe (node, &w->conns)
        client_conn_close_idle(client_conn_at(node));
}

static void use_tls(struct worker *w, size_t index, struct tls_ctx *ctx)
{
    if (index >= w->snapshot->n_listeners) {
        pool_secure(w->pools[index - w->snapshot->n_listeners], tls_client_ctx_of(ctx));
        return;
    }
    tls_server_ctx_free(w->tls[index]);
    w->tls[index] = tls_server_ctx_of(ctx);
}

static void worker_change_tls(struct worker *w)
{
    for (size_t i = 0; i < snapshot_n_tls(w->snapshot); i++) {
        struct tls_ctx *next = atomic_exchange(&w->tls_next[i], NULL);
        if (next != NULL)
            use_tls(w, i, next);
    }
}

struct tls_ctx *worker_make_tls(const struct worker *w, size_t index, const struct tls_set *set,
                                char **error)
{
    const struct snapshot *snap = w->snapshot;
    if (index < snap->n_listeners)
        return tls_server_ctx_base(tls_set_server(set, &snap->tls[index]->server, error));
    struct tls_client_options options = pool_tls_options(w->pools[index - snap->n_listeners]);
    return tls_client_ctx_base(tls_set_client(set, &options, error));
}

void worker_swap_tls(struct worker *w, size_t index, struct tls_ctx *ctx)
{
    /* One that the worker has not seen yet is nobody's but ours. */
    tls_ctx_unref(atomic_exchange(&w->tls_next[index], ctx));
    worker_order(w, WORKER_TLS);
}

void worker_obey(struct worker *w)
{
    unsigned orders = atomic_exchange(&w->orders, 0);
    if (orders & WORKER_TLS)
        worker_change_tls(w);
    if (orders & WORKER_WAKE)
        for (size_t i = 0; i < w->snapshot->n_pools; i++)
            admission_wake(w->admissions[i]);
    if (orders & WORKER_DRAIN)
        w->draining = true;
    if (orders & WORKER_CLOSE && !w->closing)
        worker_close(w);
    if (orders & WORKER_ABORT)
        list_for_each_safe (node, &w->conns)
            client_conn_abort(client_conn_at(node), REASON_SHUTDOWN);
    worker_check_done(w);
    reactor_dispatch(&w->reactor);
}

static void on_mail(uv_async_t *mailbox)
{
    worker_obey(mailbox->data);
}

void worker_order(struct worker *w, enum worker_order order)
{
    atomic_fetch_or(&w->orders, order);
    uv_async_send(&w->mailbox);
}

/* ---- life ---- */

static void stats_init(struct worker *w)
{
    const struct snapshot *snap = w->snapshot;
    w->stats.rows = mem_need(calloc(snap->n_rows, sizeof(w->stats.rows[0])));
    w->stats.durations =
        mem_need(calloc(route_table_count(snap->table) + 1, sizeof(w->stats.durations[0])));
    w->stats.pools = mem_need(calloc(snap->n_pools, sizeof(w->stats.pools[0])));
    w->pools = mem_need(calloc(snap->n_pools, sizeof(struct pool_view *)));
    w->admissions = mem_need(calloc(snap->n_pools, sizeof(struct admission *)));
    w->listeners = mem_need(calloc(snap->n_listeners, sizeof(w->listeners[0])));
}

/* Its own contexts: no lock of OpenSSL's is shared with other workers. */
static int tls_init(struct worker *w)
{
    const struct snapshot *snap = w->snapshot;
    w->tls = mem_need(calloc(snap->n_listeners, sizeof(w->tls[0])));
    w->tls_next = mem_need(calloc(snapshot_n_tls(snap), sizeof(w->tls_next[0])));
    for (size_t i = 0; i < snapshot_n_tls(snap); i++) {
        const struct tls_source *source = snap->tls[i];
        char *error = NULL;
        if (source == NULL)
            continue;
        struct tls_ctx *ctx = worker_make_tls(w, i, source->set, &error);
        if (ctx == NULL) {
            log_error("%s \"%s\": %s", source->kind, source->name, error);
            free(error);
            return UV_ENOMEM;
        }
        use_tls(w, i, ctx);
    }
    return 0;
}

static void tls_fini(struct worker *w)
{
    for (size_t i = 0; i < w->snapshot->n_listeners; i++)
        tls_server_ctx_free(w->tls[i]);
    for (size_t i = 0; i < snapshot_n_tls(w->snapshot); i++)
        tls_ctx_unref(atomic_load(&w->tls_next[i]));
    free(w->tls);
    free((void *)w->tls_next);
}

static int listeners_init(struct worker *w, const int *sockets)
{
    for (size_t i = 0; i < w->snapshot->n_listeners; i++) {
        struct listener *l = &w->listeners[i];
        l->accepted = on_accepted;
        l->pausing = on_pausing;
        l->owner = w;
        l->index = (uint32_t)i;
        int err = listener_start(l, &w->reactor, sockets[i], w->shared->budget);
        if (err != 0)
            return err;
        w->n_listeners = i + 1;
    }
    return 0;
}

/* What holds for a request of HTTP/1 holds for one of HTTP/2. */
static struct h2_server_options h2_options(const struct h1_server_options *h1)
{
    return (struct h2_server_options){
        .limits = h1->limits,
        .head_ms = h1->head_ms,
        .idle_ms = h1->idle_ms,
        .body_ms = h1->body_ms,
        .write_stall_ms = h1->write_stall_ms,
        .max_streams = H2_MAX_STREAMS,
        .stream_window = H2_STREAM_WINDOW,
        .conn_window = H2_CONN_WINDOW,
        .service = h1->service,
        .ctx = h1->ctx,
    };
}

int worker_init(struct worker *w, unsigned index, const struct worker_shared *shared,
                const int *sockets)
{
    memset(w, 0, sizeof(*w));
    w->index = index;
    w->shared = shared;
    list_init(&w->conns);
    int err = reactor_init(&w->reactor);
    if (err != 0)
        return err;
    if (!uuid7_init(&w->ids))
        return UV_EIO;
    w->reactor.pipes.max = shared->snapshot->pipes;
    w->snapshot = snapshot_ref(shared->snapshot);
    w->server = shared->snapshot->server;
    w->server.service = &exchange_service;
    w->server.ctx = w;
    w->server2 = h2_options(&w->server);
    w->front = (struct front_options){
        .h1 = &w->server,
        .h2 = &w->server2,
        .handshake_ms = w->snapshot->handshake_ms,
        .tls_stats = &w->stats.tls,
        .tls = tls_of,
        .trusts = is_trusted,
    };
    stats_init(w);
    for (size_t i = 0; i < w->snapshot->n_pools; i++) {
        w->stats.pools[i].reasons = w->stats.reasons;
        w->tells_clients |= w->snapshot->pools[i].proxy_header != 0;
    }
    uint64_t seed = w->ids.state[0];
    lb_rng_seed(&w->rng, seed);
    for (size_t i = 0; i < w->snapshot->n_pools; i++) {
        w->pools[i] = pool_view_new(&w->reactor, &w->snapshot->pools[i], &w->stats.pools[i],
                                    lb_rng_next(&w->rng));
        lb_narrow(pool_lb(w->pools[i]), w->snapshot->pools[i].first_client + index);
        w->admissions[i] = admission_new(w, &w->snapshot->pools[i].limits);
    }
    err = uv_async_init(&w->reactor.loop, &w->mailbox, on_mail);
    if (err != 0)
        return err;
    err = tls_init(w);
    if (err != 0)
        return err;
    w->mailbox.data = w;
    return listeners_init(w, sockets);
}

void worker_run(struct worker *w)
{
    reactor_run(&w->reactor);
    atomic_store(&w->ended, true);
    uv_async_send(w->shared->ended);
}

void worker_fini(struct worker *w)
{
    for (size_t i = 0; i < w->snapshot->n_pools; i++) {
        admission_free(w->admissions[i]);
        pool_view_free(w->pools[i]);
    }
    reactor_fini(&w->reactor);
    tls_fini(w);
    snapshot_unref(w->snapshot);
    free(w->pools);
    free(w->admissions);
    free(w->listeners);
    free(w->stats.rows);
    free(w->stats.durations);
    free(w->stats.pools);
}
