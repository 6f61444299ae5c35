/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and freeing a worker's view of a snapshot. Owns the view and its counters; must never
 * touch what another view of the same worker still has. Control thread.
 */
#include "proxy/snapshot_view.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/names.h"
#include "proxy/exchange_admit.h"
#include "proxy/worker.h"

static void *array(size_t n, size_t size)
{
    return mem_need(calloc(n > 0 ? n : 1, size));
}

/* ---- what stays ---- */

bool listener_spec_same_socket(const struct listener_spec *a, const struct listener_spec *b)
{
    if (a->asked.len != b->asked.len || memcmp(&a->asked.u, &b->asked.u, a->asked.len) != 0)
        return false;
    bool chosen = !net_addr_is_unix(&a->asked) && net_addr_port(&a->asked) == 0;
    return !chosen || strcmp(a->name, b->name) == 0;
}

static int32_t find_listener(const struct snapshot *snap, const struct listener_spec *wanted)
{
    for (size_t i = 0; snap != NULL && i < snap->n_listeners; i++)
        if (listener_spec_same_socket(snap->listeners[i], wanted))
            return (int32_t)i;
    return -1;
}

/* The target of the other route that leads to the pool of that name. */
static int32_t find_target(const struct snapshot *snap, const struct route *route, const char *pool)
{
    for (uint32_t i = 0; i < route->n_targets; i++)
        if (route->targets[i].pool >= 0 &&
            strcmp(snap->pools[route->targets[i].pool]->name, pool) == 0)
            return (int32_t)i;
    return -1;
}

static void match_rows(struct snapshot_match *match, const struct snapshot *snap,
                       const struct snapshot *before, size_t i)
{
    const struct route *route = route_table_at(snap->table, i);
    int32_t *rows = &match->rows[snap->routes[i].row];
    for (uint32_t k = 0; k <= route->n_targets; k++)
        rows[k] = -1;
    if (match->routes[i] < 0)
        return;
    CHECK(before != NULL);
    const struct route *was = route_table_at(before->table, (size_t)match->routes[i]);
    int32_t row = (int32_t)before->routes[was->index].row;
    rows[0] = row;
    for (uint32_t k = 0; k < route->n_targets; k++) {
        int32_t pool = route->targets[k].pool;
        int32_t target = pool >= 0 ? find_target(before, was, snap->pools[pool]->name) : -1;
        rows[1 + k] = target >= 0 ? row + 1 + target : -1;
    }
}

static void match_routes(struct snapshot_match *match, const struct snapshot *snap,
                         const struct snapshot *before)
{
    struct names names = {0};
    for (size_t i = 0; before != NULL && i < route_table_count(before->table); i++)
        names_add(&names, route_table_at(before->table, i)->name.ptr, (int32_t)i);
    names_sort(&names);
    match->rows[0] = before != NULL ? 0 : -1;
    for (size_t i = 0; i < route_table_count(snap->table); i++) {
        match->routes[i] = names_find(&names, route_table_at(snap->table, i)->name.ptr);
        match_rows(match, snap, before, i);
    }
    names_fini(&names);
}

void snapshot_match_init(struct snapshot_match *match, const struct snapshot *snap,
                         const struct snapshot *before)
{
    struct names pools = {0};
    *match = (struct snapshot_match){
        .listeners = array(snap->n_listeners, sizeof(int32_t)),
        .pools = array(snap->n_pools, sizeof(int32_t)),
        .routes = array(route_table_count(snap->table), sizeof(int32_t)),
        .rows = array(snap->n_rows, sizeof(int32_t)),
    };
    for (size_t i = 0; i < snap->n_listeners; i++)
        match->listeners[i] = find_listener(before, snap->listeners[i]);
    for (size_t i = 0; before != NULL && i < before->n_pools; i++)
        names_add(&pools, before->pools[i]->name, (int32_t)i);
    names_sort(&pools);
    for (size_t i = 0; i < snap->n_pools; i++)
        match->pools[i] = names_find(&pools, snap->pools[i]->name);
    names_fini(&pools);
    match_routes(match, snap, before);
}

void snapshot_match_fini(struct snapshot_match *match)
{
    free(match->listeners);
    free(match->pools);
    free(match->routes);
    free(match->rows);
}

/* ---- counters: of every view that has them ---- */

struct counted {
    uint32_t refs;
    _Alignas(max_align_t) unsigned char data[];
};

static void *counted_new(size_t size)
{
    struct counted *c = mem_need(calloc(1, sizeof(*c) + size));
    c->refs = 1;
    return c->data;
}

static void *counted_ref(void *data)
{
    CONTAINER_OF(data, counted, data)->refs++;
    return data;
}

static void counted_unref(void *data)
{
    struct counted *c = CONTAINER_OF(data, counted, data);
    if (--c->refs == 0)
        free(c);
}

/* The one that stays, or another. */
static void *counted_take(void *before, size_t size)
{
    return before != NULL ? counted_ref(before) : counted_new(size);
}

static void take_counters(struct snapshot_view *view, const struct snapshot_view *before,
                          const struct snapshot_match *match, struct counter *reasons)
{
    const struct snapshot *snap = view->snapshot;
    size_t n = route_table_count(snap->table);
    for (size_t i = 0; i < snap->n_rows; i++)
        view->rows[i] = counted_take(match->rows[i] >= 0 ? before->rows[match->rows[i]] : NULL,
                                     sizeof(struct row_stats));
    for (size_t i = 0; i < n; i++)
        view->durations[i] =
            counted_take(match->routes[i] >= 0 ? before->durations[match->routes[i]] : NULL,
                         sizeof(struct hist));
    view->durations[n] = counted_take(
        before != NULL ? before->durations[route_table_count(before->snapshot->table)] : NULL,
        sizeof(struct hist));
    for (size_t i = 0; i < snap->n_pools; i++) {
        bool stays = match->pools[i] >= 0;
        CHECK(before != NULL || !stays);
        view->pool_stats[i] = counted_take(stays ? before->pool_stats[match->pools[i]] : NULL,
                                           sizeof(struct pool_stats));
        if (!stays)
            view->pool_stats[i]->reasons = reasons;
    }
}

static void drop_counters(struct snapshot_view *view)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snap->n_rows; i++)
        counted_unref(view->rows[i]);
    for (size_t i = 0; i <= route_table_count(snap->table); i++)
        counted_unref(view->durations[i]);
    for (size_t i = 0; i < snap->n_pools; i++)
        counted_unref(view->pool_stats[i]);
}

/* ---- pools and listeners ---- */

static bool pool_stays(const struct snapshot_view *view, const struct snapshot_view *before,
                       const struct snapshot_match *match, size_t i)
{
    int32_t was = match->pools[i];
    return was >= 0 && before->snapshot->pools[was] == view->snapshot->pools[i];
}

static void make_pool(struct snapshot_view *view, size_t i, struct worker *w, struct lb_rng *rng)
{
    const struct pool_spec *spec = view->snapshot->pools[i];
    view->pools[i] = pool_view_new(&w->reactor, spec, view->pool_stats[i], lb_rng_next(rng));
    lb_narrow(pool_lb(view->pools[i]), spec->first_client + w->index);
    view->admissions[i] = admission_new(w, &spec->limits);
}

static void free_pool(struct snapshot_view *view, size_t i)
{
    admission_free(view->admissions[i]);
    pool_view_free(view->pools[i]);
}

static void take_pools(struct snapshot_view *view, const struct snapshot_view *before,
                       const struct snapshot_match *match, struct worker *w, struct lb_rng *rng)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snap->n_pools; i++) {
        if (pool_stays(view, before, match, i)) {
            view->pools[i] = before->pools[match->pools[i]];
            view->admissions[i] = before->admissions[match->pools[i]];
        } else {
            make_pool(view, i, w, rng);
        }
        view->tells_clients |= snap->pools[i]->proxy_header != 0;
    }
}

static void take_listeners(struct snapshot_view *view, const struct snapshot_view *before,
                           const struct snapshot_match *match, const int *sockets)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snap->n_listeners; i++) {
        struct listener_change *change = &view->listeners[i];
        int32_t was = match->listeners[i];
        change->at = was >= 0 ? before->listeners[was].at
                              : mem_need(calloc(1, sizeof(struct worker_listener)));
        change->socket = sockets[i];
        CHECK((change->socket < 0) == (was >= 0));
    }
}

struct snapshot_view *snapshot_view_new(struct worker *w, struct snapshot *snap,
                                        const struct snapshot_view *before,
                                        const struct snapshot_match *match, const int *sockets,
                                        struct lb_rng *rng)
{
    struct snapshot_view *view = array(1, sizeof(*view));
    size_t n_routes = route_table_count(snap->table);
    view->snapshot = snapshot_ref(snap);
    view->share = TRIAL_ALL;
    list_init(&view->link);
    view->pools = array(snap->n_pools, sizeof(view->pools[0]));
    view->admissions = array(snap->n_pools, sizeof(view->admissions[0]));
    view->listeners = array(snap->n_listeners, sizeof(view->listeners[0]));
    view->rows = array(snap->n_rows, sizeof(view->rows[0]));
    view->durations = array(n_routes + 1, sizeof(view->durations[0]));
    view->pool_stats = array(snap->n_pools, sizeof(view->pool_stats[0]));
    view->tls_next = array(snapshot_n_tls(snap), sizeof(view->tls_next[0]));
    take_counters(view, before, match, w->stats.reasons);
    take_pools(view, before, match, w, rng);
    take_listeners(view, before, match, sockets);
    return view;
}

/* ---- TLS ---- */

struct tls_ctx *snapshot_view_make_tls(const struct snapshot_view *view, size_t index,
                                       const struct tls_set *set, char **error)
{
    const struct snapshot *snap = view->snapshot;
    if (index < snap->n_listeners)
        return tls_server_ctx_base(tls_set_server(set, &snap->tls[index]->server, error));
    struct tls_client_options options = pool_tls_options(view->pools[index - snap->n_listeners]);
    return tls_client_ctx_base(tls_set_client(set, &options, error));
}

/* Of the same listener or pool; then so does what it has. */
static bool tls_stays(const struct snapshot_view *view, const struct snapshot_view *before,
                      const struct snapshot_match *match, size_t i)
{
    const struct snapshot *snap = view->snapshot;
    if (i >= snap->n_listeners)
        return pool_stays(view, before, match, i - snap->n_listeners);
    int32_t was = match->listeners[i];
    return was >= 0 && before->snapshot->listeners[was] == snap->listeners[i];
}

bool snapshot_view_secure(struct snapshot_view *view, const struct snapshot_view *before,
                          const struct snapshot_match *match, char **error)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snapshot_n_tls(snap); i++) {
        if (snap->tls[i] == NULL || tls_stays(view, before, match, i))
            continue;
        struct tls_ctx *ctx = snapshot_view_make_tls(view, i, snap->tls[i]->set, error);
        if (ctx == NULL)
            return false;
        if (i < snap->n_listeners)
            view->listeners[i].tls = tls_server_ctx_of(ctx);
        else
            pool_secure(view->pools[i - snap->n_listeners], tls_client_ctx_of(ctx));
    }
    return true;
}

/* ---- the end ---- */

static void free_listener(struct listener_change *change)
{
    tls_server_ctx_free(change->at->tls);
    free(change->at);
}

/* What it was to bring, had it been served by. */
static void drop_change(struct listener_change *change)
{
    tls_server_ctx_free(TAKE(change->tls));
    if (change->socket >= 0)
        close(change->socket);
    change->socket = -1;
}

void snapshot_view_leave(struct snapshot_view *view)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snap->n_pools; i++)
        if (--pool_users(view->pools[i])->n == 0) {
            pool_step_down(view->pools[i]);
            free_pool(view, i);
        }
    for (size_t i = 0; i < snap->n_listeners; i++) {
        drop_change(&view->listeners[i]);
        if (--view->listeners[i].at->users == 0)
            free_listener(&view->listeners[i]);
    }
    atomic_store(&view->left, true); /* the last touch: the control thread frees it */
}

void snapshot_view_discard(struct snapshot_view *view, const struct snapshot_view *before,
                           const struct snapshot_match *match)
{
    const struct snapshot *snap = view->snapshot;
    for (size_t i = 0; i < snap->n_pools; i++)
        if (!pool_stays(view, before, match, i))
            free_pool(view, i);
    for (size_t i = 0; i < snap->n_listeners; i++) {
        struct listener_change *change = &view->listeners[i];
        bool is_new = change->socket >= 0;
        drop_change(change);
        if (is_new)
            free_listener(change);
    }
    atomic_store(&view->left, true);
    snapshot_view_free(view);
}

void snapshot_view_free(struct snapshot_view *view)
{
    if (view == NULL)
        return;
    CHECK(atomic_load(&view->left));
    drop_counters(view);
    for (size_t i = 0; i < snapshot_n_tls(view->snapshot); i++)
        tls_ctx_unref(atomic_load(&view->tls_next[i]));
    snapshot_unref(view->snapshot);
    free(view->pools);
    free(view->admissions);
    free(view->listeners);
    free(view->rows);
    free(view->durations);
    free(view->pool_stats);
    free((void *)view->tls_next);
    free(view);
}
