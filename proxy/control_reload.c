/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloads: from what was loaded to what workers serve, at once or after a canary. Owns the
 * generations; must never make a worker wait, nor begin a change before the last is made. Control
 * thread.
 */
#include "proxy/control_reload.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/cert_use.h"
#include "proxy/config_watch.h"
#include "proxy/discovery/discovery.h"
#include "proxy/generation.h"
#include "proxy/outlier_watch.h"
#include "proxy/runtime_centre.h"
#include "proxy/upgrade.h"

/* Adds a line to what there is to say of a reload. */
__attribute__((format(printf, 2, 3))) static void say(struct control *c, const char *format, ...)
{
    char line[256], *said;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    said = mem_need(malloc((c->said != NULL ? strlen(c->said) : 0) + strlen(line) + 2));
    sprintf(said, "%s%s\n", c->said != NULL ? c->said : "", line);
    free(c->said);
    c->said = said;
    log_warn("reload: %s", line);
}

/* What everybody else of the control thread works on: the pools of what serves, and behind them
 * those that only what is on trial has. */
static bool control_watch(struct control *c)
{
    const struct snapshot *snap = c->latest->snapshot;
    const struct snapshot *trial = c->trial != NULL ? c->trial->snapshot : NULL;
    size_t n = 0, most = snap->n_pools + (trial != NULL ? trial->n_pools : 0);
    struct pool_spec **pools = mem_need(calloc(most, sizeof(struct pool_spec *)));
    for (size_t i = 0; i < snap->n_pools; i++)
        pools[n++] = snap->pools[i];
    for (size_t i = 0; trial != NULL && i < trial->n_pools; i++)
        if (trial->pools[i]->refs == 1)
            pools[n++] = trial->pools[i];
    outlier_watch_use(c->outliers, pools, n);
    health_use(c->health, pools, n);
    bool ok = cert_use_checks(c->health, pools, n);
    free(pools);
    return ok;
}

static void discover(struct control *c, const struct snapshot *snap)
{
    struct discovery_pool *pools = mem_need(calloc(snap->n_pools + 1, sizeof(*pools)));
    for (size_t i = 0; i < snap->n_pools; i++)
        pools[i] = (struct discovery_pool){snap->pools[i]->name, snap->pools[i]->from,
                                           snap->pools[i]->found};
    discovery_use(c->discovery, pools, snap->n_pools);
    free(pools);
}

static void control_add(struct control *c, struct generation *g)
{
    list_push_back(&c->generations, &g->link);
    c->view.reloads.generations++;
}

/* Workers have rings before they have a view by which there are traces to tell of. */
static void prepare_traces(struct control *c, const struct snapshot *snap)
{
    if (snap->traces_to == NULL || c->workers[0].traces != NULL)
        return;
    exporter_prepare(c->exporter);
    for (unsigned i = 0; i < c->options->n_workers; i++)
        c->workers[i].traces = exporter_ring(c->exporter, i);
}

/* There is one collector: that of what serves; if it has none, of what is on trial beside it. */
static void use_collector(struct control *c)
{
    struct trace_target *to = c->latest->snapshot->traces_to;
    if (to == NULL && c->trial != NULL)
        to = c->trial->snapshot->traces_to;
    exporter_use(c->exporter, to);
}

static bool control_use(struct control *c, struct generation *g)
{
    c->latest = g;
    c->view.snapshot = g->snapshot;
    atomic_store(&c->budget.max, g->snapshot->max_connections);
    cert_watch_use(c->certs, g->snapshot);
    use_collector(c);
    discover(c, g->snapshot);
    return control_watch(c);
}

static struct generation *make_generation(struct control *c, struct control_load *load)
{
    char *error = NULL;
    prepare_traces(c, load->snapshot);
    struct generation *g = generation_new(c->workers, c->options->n_workers, load->snapshot,
                                          c->latest, ++c->made, load->sockets, &error);
    snapshot_unref(TAKE(load->snapshot));
    free(TAKE(load->sockets));
    if (g == NULL)
        say(c, "%s", error != NULL ? error : "out of memory");
    else
        control_add(c, g);
    free(error);
    return g;
}

/* Does the service manager count on it? Before, and after, it has other news to wait for. */
static bool is_in_service(const struct control *c)
{
    return c->begun && c->phase == PHASE_SERVING;
}

static void reload_ended(struct control *c, bool done)
{
    struct reload_stats *r = &c->view.reloads;
    r->last_failed = !done;
    r->last_s = (uint64_t)time(NULL);
    r->said = c->said;
    if (done)
        r->done++;
    else
        r->failed++;
    admin_reloaded(c->admin, c->loads, done, c->said);
    if (is_in_service(c))
        notify_ready();
}

static void reload_failed(struct control *c)
{
    log_error("reload: it failed, and nothing has changed");
    reload_ended(c, false);
}

/* Workers are told of a change to a generation; the next has to wait until all have made it. */
static void control_serve(struct control *c, struct generation *g)
{
    c->changing = g;
    c->loading = true;
    CHECK(control_use(c, g)); /* the same has been done for the workers */
    generation_start(g, c->workers, c->begun);
}

static void control_try(struct control *c, struct generation *g, uint32_t share)
{
    c->changing = g;
    c->loading = true;
    generation_try(g, c->workers, share, canary_trials(c->canary));
}

/* It may take listeners away, whose sockets another process is about to have. */
static bool may_pass(void *ctx)
{
    const struct control *c = ctx;
    return !upgrade_runs(c->upgrade);
}

/* Its time is over, or its guard is broken, or nobody wants to know any more. */
static void on_decided(void *ctx, const char *broken)
{
    struct control *c = ctx;
    struct generation *g = c->trial;
    if (c->phase != PHASE_SERVING)
        return;
    c->view.canary = NULL;
    if (broken != NULL) {
        say(c, "the canary is rolled back: %s", broken);
        c->view.reloads.rolled_back++;
        control_try(c, g, 0);
        return;
    }
    log_info("reload: the canary, generation %llu, has passed", (unsigned long long)g->number);
    c->view.reloads.promoted++;
    c->trial = NULL;
    snapshot_follow_orders(g->snapshot, c->latest->snapshot);
    control_serve(c, g);
}

/* Sockets are for all or for nobody. */
static bool adds_listeners(struct control *c, const struct control_load *load)
{
    size_t n = load->snapshot->n_listeners;
    for (size_t i = 0; i < n; i++) {
        if (load->sockets[i] < 0)
            continue;
        say(c,
            "the listener \"%s\" is new, which cannot be tried on a part of the requests; reload "
            "for it without a canary",
            load->snapshot->listeners[i]->name);
        return true;
    }
    return false;
}

static void load_discard(struct control *c, struct control_load *load)
{
    for (size_t i = 0; i < c->options->n_workers * load->snapshot->n_listeners; i++)
        if (load->sockets[i] >= 0)
            close(load->sockets[i]);
    free(TAKE(load->sockets));
    snapshot_unref(TAKE(load->snapshot));
}

/* NULL: nothing has changed, and why is said. */
static struct generation *load_generation(struct control *c)
{
    struct control_load load = {0};
    if (!c->options->load(c->options->ctx, &load, &c->said)) {
        config_watch_failed(c->file, load.state);
        return NULL;
    }
    c->next_shutdown_ms = load.shutdown_ms;
    config_watch_use(c->file, load.watched, load.state);
    struct generation *g = NULL;
    if (c->wanted.share > 0 && adds_listeners(c, &load))
        load_discard(c, &load);
    else
        g = make_generation(c, &load);
    if (g == NULL)
        c->options->dropped(c->options->ctx);
    return g;
}

void control_reload(struct control *c)
{
    if (c->canary != NULL) { /* this one goes on when that is over */
        canary_stop(c->canary);
        on_decided(c, "another reload was asked for");
        return;
    }
    c->asked = false;
    c->loads++;
    free(TAKE(c->said));
    if (is_in_service(c))
        notify_reloading();
    struct generation *g = load_generation(c);
    if (g == NULL) {
        reload_failed(c);
    } else if (c->wanted.share == 0) {
        control_serve(c, g);
    } else {
        c->trial = g;
        c->canary = canary_new(&c->reactor.loop, &c->wanted, c->options->n_workers,
                               &(struct canary_owner){may_pass, on_decided, c});
        c->view.canary = c->canary;
        CHECK(control_watch(c));
        use_collector(c);
        control_try(c, g, c->wanted.share);
    }
}

void control_reload_found(struct control *c)
{
    struct control_load load = {0};
    c->found = false;
    bool ok = c->options->found(c->options->ctx, c->discovery, &load);
    if (ok && load.snapshot == NULL)
        return;
    struct generation *g = ok ? make_generation(c, &load) : NULL;
    if (g == NULL) {
        log_error("the endpoints that were found cannot be used yet; the old ones stay");
        if (ok)
            c->options->dropped(c->options->ctx);
        discovery_again(c->discovery);
        return;
    }
    c->applying = true;
    c->next_shutdown_ms = load.shutdown_ms;
    control_serve(c, g);
}

static void trial_begun(struct control *c)
{
    log_info("reload: generation %llu is on trial, with %.4g%% of the requests",
             (unsigned long long)c->trial->number, 100.0 * c->wanted.share / TRIAL_ALL);
    canary_begin(c->canary);
    if (is_in_service(c))
        notify_ready();
}

static void trial_over(struct control *c)
{
    canary_free(TAKE(c->canary));
    c->trial = NULL;
    CHECK(control_watch(c));
    use_collector(c);
    c->options->dropped(c->options->ctx);
    reload_failed(c);
}

static void reload_taken(struct control *c)
{
    canary_free(TAKE(c->canary));
    c->view.reloads.generation = c->latest->number;
    c->shutdown_ms = c->next_shutdown_ms;
    c->options->loaded(c->options->ctx);
    if (c->applying) {
        c->applying = false;
        return;
    }
    log_info("reload: generation %llu serves", (unsigned long long)c->latest->number);
    reload_ended(c, true);
}

static void control_taken(struct control *c)
{
    c->loading = false;
    if (c->trial == NULL)
        reload_taken(c);
    else if (c->view.canary != NULL)
        trial_begun(c);
    else
        trial_over(c);
}

uint64_t control_reload_ask(void *ctx, const struct canary_ask *canary)
{
    struct control *c = ctx;
    c->wanted = canary != NULL ? *canary : (struct canary_ask){.share = 0};
    if (c->options->centre != NULL) {
        c->asked = false; /* what has changed before is loaded together with it */
        runtime_centre_ask(c->options->centre);
    } else {
        c->asked = true;
        uv_async_send(&c->told);
    }
    return c->loads + 1;
}

/* The oldest goes first, so that nobody needs what a snapshot before it had. */
static void sweep_generations(struct control *c)
{
    list_for_each_safe (node, &c->generations) {
        struct generation *g = CONTAINER_OF(node, generation, link);
        if (g == c->latest || g == c->trial || !generation_sweep(g) || !health_settled(c->health))
            continue;
        generation_free(g);
        c->view.reloads.generations--;
    }
}

void control_reload_told(struct control *c)
{
    if (c->loading && generation_taken(c->changing))
        control_taken(c);
    sweep_generations(c); /* of which one may just have lost its trial */
}

int control_reload_first(struct control *c)
{
    struct control_load load = c->options->first;
    config_watch_use(c->file, load.watched, load.state);
    int err = 0;
    struct generation *g = make_generation(c, &load);
    if (g == NULL || !control_use(c, g))
        return UV_ENOMEM;
    c->view.reloads.generation = g->number;
    generation_start(g, c->workers, false);
    for (unsigned i = 0; err == 0 && i < c->options->n_workers; i++)
        err = worker_take(&c->workers[i]);
    for (size_t i = 0; err == 0 && i < c->options->n_more; i++) {
        const struct listen_more *more = &c->options->more[i];
        struct worker_listener *at = c->workers[more->worker].view->listeners[more->listener].at;
        err = listener_add(&at->base, more->fd);
    }
    return err;
}
