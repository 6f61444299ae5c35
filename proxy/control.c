/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread. Owns the workers, the admin and the signal handlers; must never be waited for
 * by a worker. Control thread only.
 */
#include "proxy/control.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/admin.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/cert_watch.h"
#include "proxy/http/h2_session.h"
#include "proxy/notify.h"
#include "proxy/outlier_watch.h"
#include "proxy/upstream/health.h"

#define MOMENT_MAX_MS 5000
#define ABORT_MS      1000 /* that an immediate end may take */

enum phase { PHASE_SERVING, PHASE_MOMENT, PHASE_CLOSING, PHASE_ABORTING };

struct control {
    const struct control_options *options;
    struct reactor reactor;
    struct worker *workers;
    struct worker_shared shared;
    struct conn_budget budget;
    struct admin *admin;
    struct admin_view view;
    struct cert_watch *certs; /* NULL: there is no TLS */
    struct outlier_watch *outliers;
    struct health *health;
    struct notify notify;
    enum phase phase;
    uv_signal_t signals[2];
    uv_async_t ended;
    uv_timer_t moment, deadline;
};

static struct control *control_of(void *data)
{
    return data;
}

static void order_all(struct control *c, enum worker_order order)
{
    for (unsigned i = 0; i < c->options->n_workers; i++)
        worker_order(&c->workers[i], order);
}

/* ---- draining ---- */

static void on_stuck(uv_timer_t *timer)
{
    (void)timer;
    log_error("some connections would not end; leaving them");
    _exit(0);
}

static void control_abort(struct control *c)
{
    c->phase = PHASE_ABORTING;
    cert_watch_close(c->certs); /* a worker that has ended takes no orders */
    order_all(c, WORKER_CLOSE);
    order_all(c, WORKER_ABORT);
    uv_timer_start(&c->deadline, on_stuck, ABORT_MS, 0);
}

static void on_deadline(uv_timer_t *timer)
{
    struct control *c = control_of(timer->data);
    log_warn("shutdown: the deadline has passed; ending what is still open");
    control_abort(c);
}

static void control_close(struct control *c)
{
    c->phase = PHASE_CLOSING;
    cert_watch_close(c->certs);
    order_all(c, WORKER_CLOSE);
}

static void on_moment(uv_timer_t *timer)
{
    control_close(control_of(timer->data));
}

static void control_drain(struct control *c, int signum)
{
    uint64_t shutdown = c->options->shutdown_ms;
    uint64_t moment = shutdown / 6 < MOMENT_MAX_MS ? shutdown / 6 : MOMENT_MAX_MS;
    c->view.ready = false;
    order_all(c, WORKER_DRAIN);
    notify_stopping(shutdown);
    uv_timer_start(&c->deadline, on_deadline, shutdown, 0);
    if (signum == SIGINT || c->admin == NULL)
        moment = 0;
    log_info("%s: draining for at most %.1f s; a second signal ends it now",
             signum == SIGINT ? "SIGINT" : "SIGTERM", (double)shutdown / 1000);
    if (moment == 0) {
        control_close(c);
        return;
    }
    c->phase = PHASE_MOMENT;
    uv_timer_start(&c->moment, on_moment, moment, 0);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct control *c = control_of(handle->data);
    if (c->phase == PHASE_SERVING)
        control_drain(c, signum);
    else if (c->phase != PHASE_ABORTING)
        control_abort(c);
}

/* ---- the end ---- */

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_ended(uv_async_t *async)
{
    struct control *c = control_of(async->data);
    for (unsigned i = 0; i < c->options->n_workers; i++)
        if (!atomic_load(&c->workers[i].ended))
            return;
    if (c->admin != NULL)
        admin_close(c->admin);
    cert_watch_close(c->certs);
    outlier_watch_close(c->outliers);
    health_close(c->health);
    notify_close(&c->notify);
    close_handle(&c->ended);
    close_handle(&c->moment);
    close_handle(&c->deadline);
    for (size_t i = 0; i < ARRAY_LEN(c->signals); i++)
        close_handle(&c->signals[i]);
}

/* ---- certificates ---- */

/* For the checks of a pool, with what was read for it. NULL without *error: they need none. */
static struct tls_client_ctx *make_check_tls(const struct control *c, size_t index,
                                             const struct tls_set *set, char **error)
{
    size_t n = c->options->snapshot->n_listeners;
    struct pool_view *view = index < n ? NULL : health_tls_view(c->health, index - n);
    if (view == NULL)
        return NULL;
    struct tls_client_options options = pool_tls_options(view);
    struct tls_client_ctx *ctx = tls_set_client(set, &options, error);
    if (ctx == NULL && *error == NULL)
        *error = mem_need(strdup("out of memory"));
    return ctx;
}

static void use_check_tls(struct control *c, size_t index, struct tls_client_ctx *ctx)
{
    if (ctx != NULL)
        pool_secure(health_tls_view(c->health, index - c->options->snapshot->n_listeners), ctx);
}

static bool check_tls_init(struct control *c)
{
    const struct snapshot *snap = c->options->snapshot;
    char *error = NULL;
    for (size_t i = 0; i < snapshot_n_tls(snap) && error == NULL; i++) {
        if (snap->tls[i] == NULL)
            continue;
        use_check_tls(c, i, make_check_tls(c, i, snap->tls[i]->set, &error));
        if (error != NULL)
            log_error("pool \"%s\": %s", snap->tls[i]->name, error);
    }
    bool ok = error == NULL;
    free(error);
    return ok;
}

/* Every worker gets a context, and so do the health checks, or none does. */
static bool on_certs(void *ctx, size_t index, const struct tls_set *set)
{
    struct control *c = ctx;
    const struct tls_source *source = c->options->snapshot->tls[index];
    unsigned n = c->options->n_workers, made = 0;
    struct tls_ctx **contexts = mem_need(calloc(n, sizeof(struct tls_ctx *)));
    char *error = NULL;
    while (made < n &&
           (contexts[made] = worker_make_tls(&c->workers[made], index, set, &error)) != NULL)
        made++;
    struct tls_client_ctx *checks = made == n ? make_check_tls(c, index, set, &error) : NULL;
    bool ok = made == n && error == NULL;
    if (!ok)
        log_error("%s \"%s\": %s", source->kind, source->name, error);
    free(error);
    use_check_tls(c, index, checks);
    for (unsigned i = 0; i < made; i++) {
        if (ok)
            worker_swap_tls(&c->workers[i], index, contexts[i]);
        else
            tls_ctx_unref(contexts[i]);
    }
    free(contexts);
    reactor_dispatch(&c->reactor);
    return ok;
}

/* ---- the beginning ---- */

static void worker_main(void *arg)
{
    worker_run(arg);
}

static int signals_start(struct control *c)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(&c->reactor.loop, &c->signals[i]);
        c->signals[i].data = c;
        int err = uv_signal_start(&c->signals[i], on_signal, numbers[i]);
        if (err != 0)
            return err;
    }
    return 0;
}

static int admin_start(struct control *c)
{
    int err = 0;
    c->view = (struct admin_view){
        .workers = c->workers,
        .n_workers = c->options->n_workers,
        .snapshot = c->options->snapshot,
        .log = c->options->log,
        .certs = c->certs,
        .health = c->health,
        .ready = true,
    };
    if (c->options->admin_socket >= 0)
        c->admin = admin_new(&c->reactor, &c->view, c->options->admin_socket,
                             c->options->admin_unix, &err);
    return err;
}

static int control_init(struct control *c, const struct control_options *options)
{
    *c = (struct control){.options = options};
    int err = reactor_init(&c->reactor);
    if (err != 0)
        return err;
    c->budget.max = options->snapshot->max_connections;
    c->shared = (struct worker_shared){.snapshot = options->snapshot,
                                       .log = options->log,
                                       .budget = &c->budget,
                                       .ended = &c->ended};
    c->workers = mem_need(calloc(options->n_workers, sizeof(c->workers[0])));
    uv_async_init(&c->reactor.loop, &c->ended, on_ended);
    uv_timer_init(&c->reactor.loop, &c->moment);
    uv_timer_init(&c->reactor.loop, &c->deadline);
    c->ended.data = c->moment.data = c->deadline.data = c;
    notify_init(&c->notify, &c->reactor.loop);
    c->certs = cert_watch_new(&c->reactor.loop, options->snapshot, on_certs, c);
    c->outliers = outlier_watch_new(&c->reactor.loop, options->snapshot);
    c->health =
        health_new(&c->reactor, options->snapshot->pools, options->snapshot->n_pools, uv_hrtime());
    if (!check_tls_init(c))
        return UV_ENOMEM;
    if ((err = signals_start(c)) != 0 || (err = admin_start(c)) != 0)
        return err;
    for (unsigned i = 0; err == 0 && i < options->n_workers; i++)
        err = worker_init(&c->workers[i], i, &c->shared,
                          options->sockets + i * options->snapshot->n_listeners);
    return err;
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
    bool serving = options->serving(options->ctx);
    if (serving) {
        health_start(c.health);
        notify_ready();
    } else {
        control_abort(&c);
    }
    reactor_run(&c.reactor);
    for (unsigned i = 0; i < options->n_workers; i++) {
        uv_thread_join(&c.workers[i].thread);
        worker_fini(&c.workers[i]);
    }
    admin_free(c.admin);
    cert_watch_free(c.certs);
    outlier_watch_free(c.outliers);
    health_free(c.health);
    reactor_fini(&c.reactor);
    free(c.workers);
    return serving ? 0 : 1;
}
