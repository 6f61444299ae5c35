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
#include "proxy/explain_live.h"

static struct snapshot_view *view_at(struct list_node *node)
{
    return CONTAINER_OF(node, snapshot_view, link);
}

void worker_told(struct worker *w)
{
    if (w->shared->told != NULL)
        uv_async_send(w->shared->told);
}

/* Not now: somebody may be in the middle of what would go. At the end all goes anyway. */
static void sweep_soon(struct worker *w)
{
    if (!w->closing)
        worker_order(w, WORKER_SWEEP);
}

/* ---- conns ---- */

static const struct worker_listener *listener_of(const void *listener)
{
    return listener;
}

static bool is_trusted(const void *listener, const struct net_addr *addr)
{
    return listener_spec_trusts(listener_of(listener)->spec, addr);
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
    (void)ctx;
    return listener_of(listener)->tls;
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
    struct worker_listener *at = CONTAINER_OF(l, worker_listener, base);
    const struct listener_spec *spec = at->spec;
    struct http_peer peer;
    http_peer_init(&peer, addr, at, is_trusted(at, addr));
    peer.over_limit = over;
    if (w->view->tells_clients)
        learn_local(&peer, fd);
    struct front_wants wants = {.proxy_header = is_proxied(spec, addr), .tls = at->tls != NULL};
    if (!front_accept(&w->reactor, &w->front, wants, fd, net_addr_is_unix(&spec->addr), &peer,
                      &w->conns))
        return false;
    counter_inc(&at->conns);
    counter_inc(&w->stats.conns_total);
    counter_inc(&w->stats.conns);
    return true;
}

static void on_pausing(struct listener *l, int error)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    struct worker *w = l->owner;
    const char *name = CONTAINER_OF(l, worker_listener, base)->spec->name;
    counter_inc(&w->stats.accept_paused);
    if (error != 0)
        log_limited(&limit, LOG_WARN, "accepting on listener \"%s\" pauses: %s%s", name,
                    strerror(error), error == ENOMEM ? "" : "; raise the limit of open files");
    else
        log_limited(&limit, LOG_WARN,
                    "accepting on listener \"%s\" pauses: %u client connections are open; raise "
                    "limits.connections, or the limit of open files",
                    name, conn_budget_max(w->shared->budget));
}

/* ---- the end ---- */

static void on_mailbox_closed(uv_handle_t *handle)
{
    (void)handle;
}

/* With the mailbox gone and no conn left, the loop has nothing to wait for and ends. */
static void worker_check_done(struct worker *w)
{
    if (!w->closing || !list_empty(&w->conns) || uv_is_closing((uv_handle_t *)&w->mailbox))
        return;
    list_for_each (node, &w->views) {
        struct snapshot_view *view = view_at(node);
        for (size_t i = 0; i < view->snapshot->n_pools; i++)
            pool_close_idle(view->pools[i]);
    }
    uv_close((uv_handle_t *)&w->mailbox, on_mailbox_closed);
}

void worker_conn_closed(struct worker *w, const struct http_peer *peer)
{
    struct worker_listener *at = (struct worker_listener *)(uintptr_t)peer->listener;
    listener_budget_freed(w->shared->budget);
    counter_dec(&w->stats.conns); /* who sees it in the metrics may count on the room */
    counter_dec(&at->conns);
    if (counter_get(&at->conns) == 0 && !at->open)
        sweep_soon(w);
    worker_check_done(w);
}

bool worker_shed_idle(struct worker *w)
{
    list_for_each (node, &w->views) {
        struct snapshot_view *view = view_at(node);
        for (size_t i = 0; i < view->snapshot->n_pools; i++)
            if (pool_shed_idle(view->pools[i]))
                return true;
    }
    return false;
}

/* What a client was told of its conn stays true: it may be about to use it. */
static void worker_leave(struct worker *w)
{
    bool half_in = false;
    w->draining = w->closing = w->leaving = true;
    for (size_t i = 0; i < w->view->snapshot->n_listeners; i++)
        if (w->view->listeners[i].at->left)
            half_in |= listener_shut(&w->view->listeners[i].at->base);
    if (half_in)
        listener_last_call();
    for (size_t i = 0; i < w->view->snapshot->n_listeners; i++) {
        struct worker_listener *at = w->view->listeners[i].at;
        if (at->left)
            listener_close(&at->base);
        else
            listener_leave(&at->base);
    }
    list_for_each_safe (node, &w->conns)
        client_conn_leave(client_conn_at(node));
}

static void worker_close(struct worker *w)
{
    w->draining = w->closing = true;
    w->leaving = false;
    for (size_t i = 0; i < w->view->snapshot->n_listeners; i++)
        listener_close(&w->view->listeners[i].at->base);
    list_for_each_safe (node, &w->conns)
        client_conn_close_idle(client_conn_at(node));
}

/* ---- certificates ---- */

static void use_listener_tls(struct worker_listener *at, struct tls_server_ctx *ctx)
{
    tls_server_ctx_free(at->tls);
    at->tls = ctx;
}

static void worker_change_tls(struct worker *w)
{
    struct snapshot_view *view = w->view;
    size_t n = view->snapshot->n_listeners;
    for (size_t i = 0; i < snapshot_n_tls(view->snapshot); i++) {
        struct tls_ctx *next = atomic_exchange(&view->tls_next[i], NULL);
        if (next != NULL && i < n)
            use_listener_tls(view->listeners[i].at, tls_server_ctx_of(next));
        else if (next != NULL)
            pool_secure(view->pools[i - n], tls_client_ctx_of(next));
    }
}

void worker_swap_tls(struct worker *w, size_t index, struct tls_ctx *ctx)
{
    /* One that the worker has not seen yet is nobody's but ours. */
    tls_ctx_unref(atomic_exchange(&w->latest->tls_next[index], ctx));
    worker_order(w, WORKER_TLS);
}

/* ---- views ---- */

/* The share is kept to exactly: of a twentieth each twentieth one. */
static struct snapshot_view *choose_view(struct worker *w)
{
    w->trial_due += w->trial_share;
    if (w->trial_due < TRIAL_ALL)
        return w->view;
    w->trial_due -= TRIAL_ALL;
    return w->trial;
}

struct snapshot_view *worker_enter(struct worker *w)
{
    struct snapshot_view *view = w->trial == NULL ? w->view : choose_view(w);
    counter_inc(&view->exchanges);
    return view;
}

void worker_exit(struct worker *w, struct snapshot_view *view)
{
    counter_dec(&view->exchanges);
    if (view != w->view && view != w->trial && counter_get(&view->exchanges) == 0)
        sweep_soon(w);
}

static void on_emptied(void *ctx)
{
    sweep_soon(ctx);
}

/* No exchange uses it any more. Pools that no other view has are closed, as far as they are idle.
 */
static void view_retire(struct worker *w, struct snapshot_view *view)
{
    for (size_t i = 0; i < view->snapshot->n_pools; i++) {
        struct pool_users *users = pool_users(view->pools[i]);
        if (users->n > 1 || users->emptied != NULL)
            continue;
        users->emptied = on_emptied;
        users->ctx = w;
        pool_close_idle(view->pools[i]);
    }
}

/* Has all ended that only it has? */
static bool view_empty(const struct snapshot_view *view)
{
    for (size_t i = 0; i < view->snapshot->n_pools; i++)
        if (pool_users(view->pools[i])->n == 1 && pool_conns(view->pools[i]) > 0)
            return false;
    for (size_t i = 0; i < view->snapshot->n_listeners; i++)
        if (!view->listeners[i].at->open && counter_get(&view->listeners[i].at->conns) > 0)
            return false;
    return true;
}

/* Of several that share a pool the last that goes waits for the pool's conns. */
static bool sweep_one(struct worker *w, struct snapshot_view *view)
{
    if (counter_get(&view->exchanges) > 0)
        return false;
    view_retire(w, view);
    if (!view_empty(view))
        return false;
    list_unlink(&view->link);
    snapshot_view_leave(view);
    return true;
}

static void worker_sweep(struct worker *w)
{
    bool left = false;
    list_for_each_safe (node, &w->views)
        if (view_at(node) != w->view && view_at(node) != w->trial)
            left |= sweep_one(w, view_at(node));
    if (left)
        worker_told(w);
}

static int listener_open(struct worker *w, struct worker_listener *at, int socket)
{
    at->base.accepted = on_accepted;
    at->base.pausing = on_pausing;
    at->base.owner = w;
    int err = listener_start(&at->base, &w->reactor, socket, w->shared->budget);
    if (err != 0)
        log_error("cannot listen for \"%s\": %s", at->spec->name, uv_strerror(err));
    return err;
}

/* It has its socket and its conns still, if it had; they go by what the view says. */
static int listener_take(struct worker *w, struct snapshot_view *view, size_t i)
{
    struct listener_change *change = &view->listeners[i];
    struct worker_listener *at = change->at;
    bool same = at->spec == view->snapshot->listeners[i];
    at->spec = view->snapshot->listeners[i];
    at->open = true;
    if (!same)
        use_listener_tls(at, TAKE(change->tls));
    int socket = change->socket;
    change->socket = -1;
    return socket >= 0 ? listener_open(w, at, socket) : 0;
}

/* Those that came by it and are in the middle of something may finish that. */
static void listener_drop(struct worker *w, struct worker_listener *at)
{
    listener_close(&at->base);
    list_for_each_safe (node, &w->conns)
        if (client_conn_at(node)->peer.listener == at)
            client_conn_close_idle(client_conn_at(node));
}

static int listeners_take(struct worker *w, const struct snapshot_view *old,
                          struct snapshot_view *view)
{
    int err = 0;
    for (size_t i = 0; old != NULL && i < old->snapshot->n_listeners; i++)
        old->listeners[i].at->open = false;
    for (size_t i = 0; i < view->snapshot->n_listeners; i++) {
        int failed = listener_take(w, view, i);
        err = err != 0 ? err : failed;
    }
    bool half_in = false;
    for (size_t i = 0; view->alone && old != NULL && i < old->snapshot->n_listeners; i++)
        if (!old->listeners[i].at->open)
            half_in |= listener_shut(&old->listeners[i].at->base);
    if (half_in)
        listener_last_call();
    for (size_t i = 0; old != NULL && i < old->snapshot->n_listeners; i++)
        if (!old->listeners[i].at->open)
            listener_drop(w, old->listeners[i].at);
    return err;
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

/* They are those of open conns, too. */
static void options_take(struct worker *w, const struct snapshot *snap)
{
    w->reactor.pipes.max = snap->pipes;
    w->server = snap->server;
    w->server.service = &exchange_service;
    w->server.ctx = w;
    w->server2 = h2_options(&w->server);
    w->front.handshake_ms = snap->handshake_ms;
}

static void view_enter(struct worker *w, struct snapshot_view *view)
{
    if (view->entered)
        return;
    view->entered = true;
    list_push_back(&w->views, &view->link);
    for (size_t i = 0; i < view->snapshot->n_pools; i++)
        pool_users(view->pools[i])->n++;
    for (size_t i = 0; i < view->snapshot->n_listeners; i++)
        view->listeners[i].at->users++;
}

static void trial_end(struct worker *w)
{
    struct snapshot_view *trial = TAKE(w->trial);
    if (trial != NULL)
        trial->trial = w->view->trial = NULL;
}

static void trial_begin(struct worker *w, struct snapshot_view *view)
{
    w->trial = view;
    w->trial_share = view->share;
    w->trial_due = 0;
    view->trial = view->trials[0];
    w->view->trial = view->trials[1];
    view->trial->since_us = w->view->trial->since_us = reactor_us(&w->reactor);
}

/* Its own pools are nobody's any more. */
static void trial_give_up(struct snapshot_view *view)
{
    for (size_t i = 0; i < view->snapshot->n_pools; i++)
        if (pool_users(view->pools[i])->n == 1)
            pool_step_down(view->pools[i]);
}

static int view_serve(struct worker *w, struct snapshot_view *view)
{
    struct snapshot_view *old = w->view;
    w->view = view;
    options_take(w, view->snapshot);
    for (size_t i = 0; i < view->snapshot->n_pools; i++)
        pool_take_over(view->pools[i]);
    return listeners_take(w, old, view);
}

int worker_take(struct worker *w)
{
    struct snapshot_view *view = atomic_exchange(&w->next, NULL);
    int err = 0;
    if (view == NULL)
        return 0;
    trial_end(w);
    view_enter(w, view);
    if (view->share == TRIAL_ALL)
        err = view_serve(w, view);
    else if (view->share > 0)
        trial_begin(w, view);
    else
        trial_give_up(view);
    atomic_store(&view->taken, true); /* the last touch: it may be left at once */
    worker_sweep(w);
    worker_told(w);
    return err;
}

void worker_change(struct worker *w, struct snapshot_view *view, uint32_t share)
{
    if (share == TRIAL_ALL)
        w->latest = view;
    view->share = share;
    atomic_store(&view->taken, false);
    CHECK(atomic_exchange(&w->next, view) == NULL);
    worker_order(w, WORKER_VIEW);
}

/* ---- orders ---- */

/* Whoever waits may do so in any of the views. */
static void worker_wake(struct worker *w)
{
    list_for_each (node, &w->views) {
        const struct snapshot_view *view = view_at(node);
        for (size_t i = 0; i < view->snapshot->n_pools; i++)
            admission_wake(view->admissions[i]);
    }
}

/* Taking a view, and leaving one, are all that a reload costs its conns. */
static void note_kept(struct worker *w, unsigned orders, uint64_t begun_ns)
{
    uint64_t us = (uv_hrtime() - begun_ns) / 1000;
    bool first = orders & WORKER_VIEW;
    if (first || us > counter_get(&w->stats.kept_us))
        counter_set(&w->stats.kept_us, us);
}

static void worker_reload(struct worker *w, unsigned orders)
{
    uint64_t begun = uv_hrtime();
    if (orders & WORKER_VIEW) {
        worker_take(w); /* what fails is in the log */
        worker_change_tls(w);
    }
    if (orders & WORKER_SWEEP)
        worker_sweep(w);
    note_kept(w, orders, begun);
}

void worker_obey(struct worker *w)
{
    unsigned orders = atomic_exchange(&w->orders, 0);
    if (orders & WORKER_TLS)
        worker_change_tls(w);
    if (orders & WORKER_WAKE)
        worker_wake(w);
    if (orders & (WORKER_VIEW | WORKER_SWEEP))
        worker_reload(w, orders);
    if (orders & WORKER_EXPLAIN)
        explain_job_answer(w, atomic_exchange(&w->explain, NULL));
    if (orders & WORKER_DRAIN)
        w->draining = true;
    if (orders & WORKER_LEAVE && !w->closing)
        worker_leave(w);
    if (orders & WORKER_CLOSE && (!w->closing || w->leaving))
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

bool worker_owes(struct worker *w, enum worker_order order)
{
    return atomic_load(&w->orders) & order;
}

/* ---- life ---- */

int worker_init(struct worker *w, unsigned index, const struct worker_shared *shared)
{
    memset(w, 0, sizeof(*w));
    w->index = index;
    w->shared = shared;
    list_init(&w->conns);
    list_init(&w->views);
    int err = reactor_init(&w->reactor);
    if (err != 0)
        return err;
    if (!uuid7_init(&w->ids))
        return UV_EIO;
    lb_rng_seed(&w->rng, w->ids.state[0]);
    w->flights = flight_ring_new(shared->flights);
    if (w->flights == NULL && shared->flights > 0)
        return UV_ENOMEM;
    w->front = (struct front_options){
        .h1 = &w->server,
        .h2 = &w->server2,
        .tls_stats = &w->stats.tls,
        .tls = tls_of,
        .trusts = is_trusted,
    };
    err = uv_async_init(&w->reactor.loop, &w->mailbox, on_mail);
    w->mailbox.data = w;
    return err;
}

void worker_run(struct worker *w)
{
    reactor_run(&w->reactor);
    atomic_store(&w->ended, true);
    worker_told(w);
}

void worker_fini(struct worker *w)
{
    list_for_each_safe (node, &w->views) {
        list_unlink(node);
        snapshot_view_leave(view_at(node));
    }
    flight_ring_free(w->flights);
    reactor_fini(&w->reactor);
}
