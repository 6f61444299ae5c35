/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a configuration to a serving process, and from the next one to the same process. Owns the
 * configuration it was given last, and sockets until control.c takes over. Control thread.
 */
#include "proxy/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/access_syslog.h"
#include "proxy/base/check.h"
#include "proxy/base/json.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/runtime_centre.h"
#include "proxy/control.h"
#include "proxy/cpus.h"
#include "proxy/launcher.h"
#include "proxy/metrics/process_stat.h"
#include "proxy/runtime_admin.h"
#include "proxy/runtime_build.h"
#include "proxy/runtime_plan.h"
#include "proxy/runtime_sandbox.h"
#include "proxy/runtime_sockets.h"
#include "proxy/runtime_tell.h"
#include "proxy/takeover.h"
#include "proxy/watch/file_state.h"

static void *array(size_t n, size_t size)
{
    return mem_need(calloc(n > 0 ? n : 1, size));
}

static void choose_workers(struct runtime *rt)
{
    rt->n_workers = rt->cfg->workers;
    if (rt->n_workers != 0)
        snprintf(rt->why, sizeof(rt->why), "as configured");
    else
        rt->n_workers = cpus_available(rt->why, sizeof(rt->why));
}

/* What serves is what a start without etcd is to find. */
static void keep(const struct runtime *rt)
{
    if (rt->centre != NULL)
        runtime_centre_keep(rt->centre);
}

/* Once the process before has let go, there is nobody else to serve. */
static bool on_serving(void *ctx)
{
    struct runtime *rt = ctx;
    rt->serves = true;
    runtime_log_summary(rt);
    keep(rt);
    takeover_ready();
    if (takeover_count() > 0)
        runtime_set_modes(rt->snap);
    return rt->ready_file == NULL || runtime_write_ready_file(rt) || takeover_count() > 0;
}

/* ---- reloading ---- */

/* What a running process cannot change. */
static void warn_restart(struct runtime *rt, const struct config *now)
{
    const char *key = config_restart_key(rt->cfg, now);
    if (key != NULL)
        config_errors_add(rt->errs, CONFIG_WARNING, rt->cfg->pos, key,
                          "the change takes effect when weir starts again");
}

/* The snapshot of cfg, and sockets for what is not listened to yet. False: added to errs, and
 * nothing is left of them. */
static bool prepare(struct runtime *rt)
{
    rt->snap = runtime_build(rt->cfg, rt->n_workers, rt->before, rt->errs);
    if (rt->snap == NULL)
        return false;
    runtime_fit_descriptors(rt);
    if (runtime_open_listeners(rt))
        return true;
    runtime_close_sockets(rt);
    runtime_remove_paths(rt->snap, rt->before);
    snapshot_unref(TAKE(rt->snap));
    return false;
}

static void next_free(struct runtime *next)
{
    if (next == NULL)
        return;
    snapshot_unref(next->snap);
    if (!next->same_cfg)
        config_free(next->cfg);
    free(next);
}

/* False: added to errs. */
static bool load_again(struct runtime *next, struct config_errors *errs)
{
    if (next->centre != NULL)
        return runtime_centre_load(next->centre, &next->cfg, errs) == 0;
    next->file_state = file_state(next->file);
    return config_load_file(next->file, &next->cfg, errs) == 0;
}

/* NULL: added to errs. *state: of the file. */
static struct runtime *next_new(const struct runtime *rt, uint64_t *state,
                                struct config_errors *errs)
{
    struct runtime *next = array(1, sizeof(*next));
    *next = *rt;
    next->cfg = NULL;
    next->snap = NULL;
    next->before = rt->snap;
    next->next = NULL;
    next->errs = errs;
    bool ok = load_again(next, errs);
    *state = next->file_state;
    if (ok && prepare(next)) {
        warn_restart(next, rt->cfg);
        return next;
    }
    next_free(next);
    runtime_sandbox_hint(errs, rt->cfg->pos.file);
    return NULL;
}

static void on_dropped(void *ctx)
{
    struct runtime *rt = ctx;
    if (rt->centre != NULL)
        runtime_centre_drop(rt->centre);
    runtime_remove_paths(rt->next->snap, rt->snap);
    next_free(TAKE(rt->next));
}

static struct control_load load_of(struct runtime *rt)
{
    return (struct control_load){
        .snapshot = snapshot_ref(rt->snap),
        .sockets = TAKE(rt->sockets),
        .shutdown_ms = rt->cfg->shutdown_ms,
        .watched = rt->cfg->watch ? rt->file : NULL,
        .state = rt->file_state,
    };
}

static bool on_load(void *ctx, struct control_load *to, char **said)
{
    struct runtime *rt = ctx;
    struct config_errors errs = {0};
    CHECK(rt->next == NULL);
    rt->next = next_new(rt, &to->state, &errs);
    if (rt->next == NULL && rt->centre != NULL)
        runtime_centre_drop(rt->centre);
    *said = runtime_tell_errors(&errs);
    config_errors_free(&errs);
    if (rt->next == NULL)
        return false;
    rt->next->errs = NULL;
    *to = load_of(rt->next);
    return true;
}

static bool load_planned(const struct runtime *rt, const char *name, struct span text,
                         struct config **next, struct config_errors *errs)
{
    if (rt->centre != NULL)
        return config_load_text(name, text.ptr, text.len, next, errs) == 0;
    return config_load_text_for(rt->cfg->pos.file, name, text.ptr, text.len, next, errs) == 0;
}

/* What the snapshot is of: the next one's is the runtime's own once all workers have taken it. */
static const struct config *config_of(const struct runtime *rt, const struct snapshot *snap)
{
    return rt->next != NULL && rt->next->snap == snap ? rt->next->cfg : rt->cfg;
}

static struct span on_plan(void *ctx, const struct plan_live *live, const char *name,
                           struct span text, bool json, unsigned *status)
{
    const struct runtime *rt = ctx;
    struct config_errors errs = {0};
    struct config *next;
    struct plan plan;
    char *said = NULL;
    size_t len = 0;
    bool ok = load_planned(rt, name, text, &next, &errs);
    *status = ok ? 200 : 422;
    if (!ok) {
        FILE *out = mem_need(open_memstream(&said, &len));
        config_errors_print(&errs, out);
        mem_need(fclose(out) == 0 ? said : NULL);
    } else {
        plan_make(&plan, config_of(rt, live->snapshot), next, live);
        said = json ? json_whole(plan_json, &plan, &len) : plan_text(&plan, &len);
        plan_fini(&plan);
    }
    config_errors_free(&errs);
    config_free(next);
    return span_of(said, len);
}

/* Of the same configuration, but for the endpoints that were found. */
static bool on_found(void *ctx, const struct discovery *found, struct control_load *to)
{
    struct runtime *rt = ctx;
    struct config_errors errs = {0};
    CHECK(rt->next == NULL);
    struct snapshot *snap = runtime_rebuild(rt->cfg, rt->n_workers, rt->snap, found, &errs);
    bool ok = errs.errors == 0;
    free(runtime_tell_errors(&errs));
    config_errors_free(&errs);
    if (snap == NULL)
        return ok;
    snap->pipes = rt->snap->pipes;
    snap->max_connections = rt->snap->max_connections;
    rt->next = array(1, sizeof(*rt->next));
    *rt->next = *rt;
    rt->next->snap = snap;
    rt->next->before = rt->snap;
    rt->next->next = NULL;
    rt->next->same_cfg = true;
    runtime_no_sockets(rt->next);
    *to = load_of(rt->next);
    return true;
}

static void on_loaded(void *ctx)
{
    struct runtime *rt = ctx, *next = TAKE(rt->next);
    next->serves = rt->serves;
    for (size_t i = 0; i < next->snap->n_listeners; i++) {
        const struct listener_spec *was = runtime_listened(next, next->snap->listeners[i]);
        if (was != NULL)
            runtime_change_mode(next->snap->listeners[i], was);
        else
            runtime_log_listener(next, i);
    }
    runtime_remove_paths(rt->snap, next->snap);
    snapshot_unref(rt->snap);
    if (!next->same_cfg)
        config_free(rt->cfg);
    *rt = *next;
    free(next);
    rt->before = NULL;
    rt->same_cfg = false;
    log_set_level((enum log_level)rt->cfg->log_level);
    keep(rt);
    if (rt->serves && rt->ready_file != NULL)
        runtime_write_ready_file(rt);
}

/* ---- running ---- */

static struct access_log *open_access_log(struct runtime *rt, bool *ok)
{
    const struct config_access_log *from = &rt->cfg->access_log;
    char err[256];
    if (!from->enabled)
        return NULL;
    const struct access_syslog_options syslog = {
        .host = from->syslog.to.host,
        .path = from->syslog.to.path,
        .port = from->syslog.to.port,
        .facility = from->syslog.enabled ? config_facility(from->syslog.facility) : 0,
        .tag = from->syslog.tag,
    };
    const char **fields = array(from->field_count, sizeof(char *));
    for (size_t i = 0; i < from->field_count; i++)
        fields[i] = from->fields[i].text;
    struct access_log_options options = {
        .path = from->path,
        .format = from->format.text,
        .fields = fields,
        .n_fields = from->field_count,
        .rotate_bytes = from->rotate.size == CONFIG_NONE ? 0 : from->rotate.size,
        .rotate_keep = from->rotate.keep,
        .sample = from->sample * 10,
        .syslog = from->syslog.enabled ? &syslog : NULL,
        .shards = rt->n_workers,
    };
    struct access_log *log = access_log_open(&options, err, sizeof(err));
    free(fields);
    if (log == NULL) {
        config_errors_add(rt->errs, CONFIG_ERROR, from->pos, "access_log", "%s", err);
        *ok = false;
    }
    return log;
}

static int serve(struct runtime *rt, struct access_log *log)
{
    struct control_options options = {
        .first = load_of(rt),
        .n_workers = rt->n_workers,
        .admin_socket = rt->admin_socket,
        .admin_unix = rt->cfg->admin.listen.kind == CONFIG_ADDR_UNIX,
        .admin_token = rt->admin_token,
        .registry_token = rt->registry_token,
        .admin_tls = rt->admin_tls,
        .admin_probes = rt->cfg->admin.remote == CONFIG_REMOTE_PROBES,
        .admin = rt->admin,
        .registry_state = rt->cfg->registry_state.text,
        .more = rt->more,
        .n_more = rt->n_more,
        .launcher = rt->launcher,
        .log = log,
        .flights = rt->cfg->flight.size,
        .serving = on_serving,
        .load = rt->file != NULL || rt->centre != NULL ? on_load : NULL,
        .centre = rt->centre,
        .dropped = on_dropped,
        .plan = on_plan,
        .found = on_found,
        .loaded = on_loaded,
        .ctx = rt,
    };
    return control_run(&options);
}

int runtime_run(struct config *cfg, const struct runtime_origin *from, const char *ready_file,
                int launcher, struct config_errors *errs)
{
    struct runtime rt = {.cfg = cfg,
                         .file = from->file,
                         .centre = from->centre,
                         .ready_file = ready_file,
                         .errs = errs,
                         .admin_socket = -1,
                         .launcher = launcher,
                         .file_state = from->file != NULL ? file_state(from->file) : 0};
    int status = 1;
    choose_workers(&rt);
    bool ok = prepare(&rt);
    ok = ok && runtime_open_admin(&rt);
    if (cfg->admin.enabled)
        process_stat_open();
    ok = ok && runtime_sandbox(cfg, from, ready_file, errs);
    struct access_log *log = ok ? open_access_log(&rt, &ok) : NULL;
    if (ok) {
        status = serve(&rt, log);
        if (!takeover_is_due())
            runtime_remove_paths(rt.snap, NULL);
    } else if (rt.snap != NULL) {
        runtime_close_sockets(&rt);
        if (rt.admin_socket >= 0)
            close(rt.admin_socket);
    }
    access_log_close(log);
    free(rt.admin_token);
    free(rt.registry_token);
    tls_source_unref(rt.admin_tls);
    next_free(rt.next);
    free(rt.more);
    if (launcher >= 0)
        close(launcher);
    snapshot_unref(rt.snap);
    config_free(rt.cfg);
    return status;
}
