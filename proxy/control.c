/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread. Owns the workers, the admin and the signal handlers; must never be waited for
 * by a worker. Control thread only.
 */
#include "proxy/control_reload.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/cert_use.h"
#include "proxy/cert_watch.h"
#include "proxy/config_watch.h"
#include "proxy/control_upgrade.h"
#include "proxy/discovery/discovery.h"
#include "proxy/discovery/registry.h"
#include "proxy/early.h"
#include "proxy/generation.h"
#include "proxy/http/h2_session.h"
#include "proxy/outlier_watch.h"
#include "proxy/runtime_centre.h"
#include "proxy/sandbox.h"
#include "proxy/upgrade.h"
#include "proxy/upstream/health.h"

#define MOMENT_MAX_MS 5000
#define ABORT_MS      1000 /* that an immediate end may take */
#define FLUSH_MS      3000 /* that the collector of traces may take in the end */
#define FIRST_MS      5000 /* that the start waits for endpoints to be found */

static struct control *control_of(void *data)
{
    return data;
}

void control_order(struct control *c, enum worker_order order)
{
    for (unsigned i = 0; i < c->options->n_workers; i++)
        worker_order(&c->workers[i], order);
}

/* Has each worker carried out what it was told when this was last asked? What a worker does in a
 * turn takes milliseconds. */
static bool workers_move(void *ctx)
{
    static struct log_limit limit = LOG_LIMIT(1000);
    struct control *c = ctx;
    bool all = true;
    for (unsigned i = 0; i < c->options->n_workers; i++) {
        struct worker *w = &c->workers[i];
        if (atomic_load(&w->ended))
            continue;
        if (worker_owes(w, WORKER_MOVE)) {
            log_limited(&limit, LOG_ERROR, "worker %u does not move: the watchdog is not fed", i);
            all = false;
        } else {
            worker_order(w, WORKER_MOVE);
        }
    }
    return all;
}

/* ---- draining ---- */

static void workers_join(struct control *c)
{
    for (unsigned i = 0; i < c->options->n_workers; i++)
        uv_thread_join(&c->workers[i].thread);
}

static void on_stuck(uv_timer_t *timer)
{
    struct control *c = control_of(timer->data);
    if (c->phase == PHASE_ENDED) {
        workers_join(c); /* they have ended */
        log_error("a file would not be written; leaving it");
    } else {
        log_error("some connections would not end; leaving them");
    }
    _exit(0);
}

static void control_abort(struct control *c)
{
    c->phase = PHASE_ABORTING;
    cert_watch_close(c->certs); /* a worker that has ended takes no orders */
    control_order(c, WORKER_CLOSE);
    control_order(c, WORKER_ABORT);
    uv_timer_start(&c->deadline, on_stuck, ABORT_MS, 0);
}

/* All has ended but what is still on its way out of the process. */
static void control_hurry(struct control *c)
{
    exporter_end(c->exporter, 0);
    if (uv_timer_get_due_in(&c->deadline) > ABORT_MS)
        uv_timer_start(&c->deadline, on_stuck, ABORT_MS, 0);
}

static void on_deadline(uv_timer_t *timer)
{
    struct control *c = control_of(timer->data);
    log_warn("shutdown: the deadline has passed; ending what is still open");
    control_abort(c);
}

void control_set_deadline(struct control *c, uint64_t ms)
{
    uv_timer_start(&c->deadline, on_deadline, ms, 0);
}

static void control_close(struct control *c)
{
    c->phase = PHASE_CLOSING;
    cert_watch_close(c->certs);
    control_order(c, WORKER_CLOSE);
}

static void on_moment(uv_timer_t *timer)
{
    control_close(control_of(timer->data));
}

/* How long new work is still served: whoever sends it has to learn of the end first. */
static uint64_t moment_left(const struct control *c)
{
    uint64_t moment = c->shutdown_ms / 6 < MOMENT_MAX_MS ? c->shutdown_ms / 6 : MOMENT_MAX_MS;
    if (c->admin == NULL)
        return 0;
    uint64_t begun = c->view.draining_us;
    uint64_t passed = begun != 0 ? (uv_hrtime() / 1000 - begun) / 1000 : 0;
    return passed < moment ? moment - passed : 0;
}

static void control_drain(struct control *c, int signum)
{
    uint64_t shutdown = c->shutdown_ms;
    uint64_t moment = signum == SIGINT ? 0 : moment_left(c);
    c->view.ready = c->view.starting = false;
    control_order(c, WORKER_DRAIN);
    notify_stopping(shutdown);
    control_set_deadline(c, shutdown);
    log_info(
        "%s: draining for at most %.1f s, and serving on for %.1f s of it; a second signal ends "
        "it now",
        signum == SIGINT ? "SIGINT" : "SIGTERM", (double)shutdown / 1000, (double)moment / 1000);
    if (moment == 0) {
        control_close(c);
        return;
    }
    c->phase = PHASE_MOMENT;
    uv_timer_start(&c->moment, on_moment, moment, 0);
}

/* All is served as before, but nobody is to count on it: readiness is over, and so are conns after
 * their next answer. */
static void on_drain(void *ctx)
{
    struct control *c = ctx;
    if (c->view.draining_us != 0 || c->phase != PHASE_SERVING)
        return;
    c->view.draining_us = uv_hrtime() / 1000;
    log_info("draining, as the admin listener was asked to; SIGTERM ends it");
    control_order(c, WORKER_DRAIN);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct control *c = control_of(handle->data);
    if (c->phase == PHASE_SERVING && (upgrade_runs(c->upgrade) || c->upgrade_asked)) {
        upgrade_cancel(c->upgrade);
        registry_release(c->registry);
        c->upgrade_asked = false;
    }
    if (c->phase == PHASE_SERVING)
        control_drain(c, signum);
    else if (c->phase == PHASE_LEAVING)
        control_close(c);
    else if (c->phase == PHASE_ENDED)
        control_hurry(c);
    else if (c->phase != PHASE_ABORTING)
        control_abort(c);
}

/* ---- the end ---- */

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static bool all_ended(const struct control *c)
{
    for (unsigned i = 0; i < c->options->n_workers; i++)
        if (!atomic_load(&c->workers[i].ended))
            return false;
    return true;
}

/* Workers have nothing left to do. Spans may be on their way for a while, and a file be written by
 * a thread; signals are heeded as long, and the deadline is that of the drain. */
static void control_end(struct control *c)
{
    uint64_t left = uv_timer_get_due_in(&c->deadline);
    exporter_end(c->exporter, left < FLUSH_MS ? left : FLUSH_MS);
    c->phase = PHASE_ENDED;
    uv_timer_start(&c->deadline, on_stuck, left + ABORT_MS, 0);
    uv_unref((uv_handle_t *)&c->deadline);
    if (c->admin != NULL)
        admin_close(c->admin);
    cert_watch_close(c->certs);
    config_watch_close(c->file);
    runtime_centre_stop(c->options->centre);
    discovery_end(TAKE(c->discovery));
    c->view.discovery = NULL;
    registry_end(TAKE(c->registry));
    c->view.registry = NULL;
    outlier_watch_close(c->outliers);
    health_close(c->health);
    notify_close(&c->notify);
    upgrade_close(c->upgrade);
    canary_free(TAKE(c->canary));
    close_handle(&c->told);
    close_handle(&c->moment);
    close_handle(&c->first);
    for (size_t i = 0; i < ARRAY_LEN(c->signals); i++)
        uv_unref((uv_handle_t *)&c->signals[i]);
}

/* The access log may have to be written, still, which has a bound of its own. */
static void signals_end(struct control *c)
{
    close_handle(&c->deadline);
    early_signals_end();
    for (size_t i = 0; i < ARRAY_LEN(c->signals); i++) {
        int number = c->signals[i].signum;
        close_handle(&c->signals[i]);
        signal(number, SIG_IGN); /* for threads of libuv's pool */
    }
}

/* ---- certificates ---- */

static bool on_certs(void *ctx, size_t index, const struct tls_set *set)
{
    struct control *c = ctx;
    const struct cert_use use = {c->workers, c->options->n_workers, c->health, c->latest->snapshot};
    bool ok = cert_use_swap(&use, index, set);
    reactor_dispatch(&c->reactor);
    return ok;
}

/* ---- endpoints that were found ---- */

static void on_found(void *ctx)
{
    struct control *c = ctx;
    c->found = true;
    uv_async_send(&c->told);
}

/* All that is known of the pools is in use. */
static void begin_serving(struct control *c)
{
    c->begun = true;
    uv_timer_stop(&c->first);
    if (!c->options->serving(c->options->ctx)) {
        c->failed = true;
        control_abort(c);
        return;
    }
    c->view.ready = true;
    c->view.starting = false;
    health_start(c->health);
    notify_ready();
    uv_async_send(&c->told); /* an upgrade may have waited */
}

static bool may_begin(const struct control *c)
{
    return !c->begun && c->phase == PHASE_SERVING && !c->loading && !c->found &&
           discovery_missing(c->discovery) == 0;
}

static void on_first(uv_timer_t *timer)
{
    struct control *c = control_of(timer->data);
    if (c->begun || c->phase != PHASE_SERVING)
        return;
    log_warn("weir serves, though for %zu pool%s no endpoints have been found yet",
             discovery_missing(c->discovery), discovery_missing(c->discovery) == 1 ? "" : "s");
    begin_serving(c);
}

/* ---- what workers tell, and signals ---- */

static void on_told(uv_async_t *async)
{
    struct control *c = control_of(async->data);
    admin_told(c->admin);
    control_reload_told(c);
    if (c->upgrade_asked && !c->loading && (c->begun || c->phase != PHASE_SERVING))
        control_upgrade(c);
    if (c->asked && !c->loading && c->phase == PHASE_SERVING && !upgrade_runs(c->upgrade))
        control_reload(c);
    if (c->found && !c->loading && c->canary == NULL && c->phase == PHASE_SERVING)
        control_reload_found(c);
    if (may_begin(c))
        begin_serving(c);
    if (all_ended(c))
        control_end(c);
}

static void on_checks_settled(void *ctx)
{
    uv_async_send(&((struct control *)ctx)->told);
}

static void on_file_changed(void *ctx)
{
    log_info("the configuration's file has changed");
    control_reload_ask(ctx, NULL);
}

static void on_centre_changed(void *ctx, bool asked)
{
    struct control *c = ctx;
    if (!asked) {
        log_info("%s has changed", runtime_centre_name(c->options->centre));
        if (!c->asked) /* else it is loaded as was asked for */
            c->wanted = (struct canary_ask){.share = 0};
    }
    c->asked = true;
    uv_async_send(&c->told);
}

bool control_is_late(const struct control *c, int signum)
{
    if (c->phase == PHASE_SERVING)
        return false;
    log_warn("SIG%s: refused: this process drains already", sigabbrev_np(signum));
    return true;
}

static void on_hangup(uv_signal_t *handle, int signum)
{
    struct control *c = control_of(handle->data);
    if (control_is_late(c, signum))
        return;
    if (c->options->load == NULL)
        log_warn("SIGHUP: there is nothing to load again");
    else
        control_reload_ask(c, NULL);
}

static void on_upgrade(uv_signal_t *handle, int signum)
{
    struct control *c = control_of(handle->data);
    if (control_is_late(c, signum))
        return;
    c->upgrade_asked = true;
    uv_async_send(&c->told);
}

/* Somebody has renamed the file of the access log. */
static void on_rotated(uv_signal_t *handle, int signum)
{
    struct control *c = control_of(handle->data);
    char err[256];
    (void)signum;
    if (c->options->log == NULL)
        log_warn("SIGUSR1: there is no access log to open again");
    else if (!access_log_reopen(c->options->log, err, sizeof(err)))
        log_error("SIGUSR1: the access log stays as it is: %s", err);
    else
        log_info("SIGUSR1: the access log is opened again");
}

/* ---- the beginning ---- */

static void worker_main(void *arg)
{
    sandbox_enter_worker();
    worker_run(arg);
}

static int signals_start(struct control *c)
{
    static const struct {
        int number;
        uv_signal_cb on;
    } heeded[] = {{SIGTERM, on_signal},
                  {SIGINT, on_signal},
                  {SIGHUP, on_hangup},
                  {SIGUSR1, on_rotated},
                  {SIGUSR2, on_upgrade}};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(heeded); i++) {
        uv_signal_init(&c->reactor.loop, &c->signals[i]);
        c->signals[i].data = c;
        int err = uv_signal_start(&c->signals[i], heeded[i].on, heeded[i].number);
        if (err != 0)
            return err;
    }
    early_signals_let();
    return 0;
}

static struct span on_plan(void *ctx, const struct plan_live *live, const char *name,
                           struct span text, bool json, unsigned *status)
{
    const struct control *c = ctx;
    return c->options->plan(c->options->ctx, live, name, text, json, status);
}

static struct span secret(const char *token)
{
    return span_str(token != NULL ? token : "");
}

static int admin_start(struct control *c)
{
    int err = 0;
    c->view = (struct admin_view){
        .workers = c->workers,
        .n_workers = c->options->n_workers,
        .log = c->options->log,
        .certs = c->certs,
        .health = c->health,
        .discovery = c->discovery,
        .registry = c->registry,
        .centre = c->options->centre,
        .exporter = c->exporter,
        .starting = true,
        .generations = &c->generations,
        .reload = c->options->load != NULL ? control_reload_ask : NULL,
        .plan = on_plan,
        .drain = on_drain,
        .ctx = c,
        .started_s = (uint64_t)time(NULL),
        .is_unix = c->options->admin_unix,
        .token = secret(c->options->admin_token),
        .registry_token = secret(c->options->registry_token),
        .probes = c->options->admin_probes,
        .tls = c->options->admin_tls,
    };
    if (c->options->admin_socket >= 0)
        c->admin = admin_new(&c->reactor, &c->view, c->options->admin_socket,
                             c->options->admin_unix, &err);
    if (c->admin != NULL)
        c->view.own_tls = admin_own_tls(c->admin);
    return err;
}

static int workers_init(struct control *c)
{
    int err = 0;
    c->workers = mem_need(calloc(c->options->n_workers, sizeof(c->workers[0])));
    for (unsigned i = 0; err == 0 && i < c->options->n_workers; i++)
        err = worker_init(&c->workers[i], i, &c->shared);
    return err;
}

static int control_init(struct control *c, const struct control_options *options)
{
    *c = (struct control){.options = options, .shutdown_ms = options->first.shutdown_ms};
    list_init(&c->generations);
    int err = reactor_init(&c->reactor);
    if (err != 0)
        return err;
    c->shared = (struct worker_shared){
        .log = options->log, .budget = &c->budget, .flights = options->flights, .told = &c->told};
    uv_async_init(&c->reactor.loop, &c->told, on_told);
    uv_timer_init(&c->reactor.loop, &c->moment);
    uv_timer_init(&c->reactor.loop, &c->deadline);
    uv_timer_init(&c->reactor.loop, &c->first);
    c->first.data = c;
    c->told.data = c->moment.data = c->deadline.data = c;
    notify_init(&c->notify, &c->reactor.loop, workers_move, c);
    c->certs = cert_watch_new(&c->reactor.loop, on_certs, c);
    c->file = config_watch_new(&c->reactor.loop, on_file_changed, c);
    if (options->centre != NULL)
        runtime_centre_start(options->centre, &c->reactor, on_centre_changed, c);
    c->outliers = outlier_watch_new(&c->reactor.loop);
    c->health = health_new(&c->reactor, uv_hrtime());
    c->registry = registry_new(&c->reactor.loop, options->registry_state);
    c->discovery = discovery_new(&(struct source_world){&c->reactor, c->registry}, on_found, c);
    c->exporter = exporter_new(&c->reactor, options->n_workers);
    c->upgrade = upgrade_new(&(struct upgrade_options){.loop = &c->reactor.loop,
                                                       .launcher = options->launcher,
                                                       .done = control_upgraded,
                                                       .ctx = c});
    health_on_settled(c->health, on_checks_settled, c);
    if ((err = workers_init(c)) != 0 || (err = signals_start(c)) != 0 ||
        (err = admin_start(c)) != 0)
        return err;
    return control_reload_first(c);
}

static int workers_start(struct control *c)
{
    for (unsigned i = 0; i < c->options->n_workers; i++) {
        struct worker *w = &c->workers[i];
        int err = uv_thread_create(&w->thread, worker_main, w);
        if (err != 0)
            return err;
    }
    return 0;
}

int control_run(const struct control_options *options)
{
    struct control c;
    reactor_setup();
    h2_session_setup();
    int err = control_init(&c, options);
    if (err == 0)
        err = workers_start(&c);
    if (err != 0) { /* some workers may run already, on what the caller would free */
        log_error("cannot start: %s", uv_strerror(err));
        _exit(1);
    }
    if (may_begin(&c))
        begin_serving(&c);
    else
        uv_timer_start(&c.first, on_first, FIRST_MS, 0);
    reactor_run(&c.reactor);
    workers_join(&c);
    for (unsigned i = 0; i < options->n_workers; i++)
        worker_fini(&c.workers[i]);
    signals_end(&c);
    admin_free(c.admin);
    cert_watch_free(c.certs);
    config_watch_free(c.file);
    outlier_watch_free(c.outliers);
    health_free(c.health);
    upgrade_free(c.upgrade);
    exporter_free(c.exporter);
    free(c.said);
    list_for_each_safe (node, &c.generations)
        generation_free(CONTAINER_OF(node, generation, link));
    reactor_fini(&c.reactor);
    free(c.workers);
    return c.failed ? 1 : 0;
}
