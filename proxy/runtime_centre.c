/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration in etcd. Owns its text as etcd said it last, and as it was loaded last; must
 * never take nothing for a configuration. Control thread.
 */
#include "proxy/runtime_centre.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/etcd_url.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/etcd_mirror.h"
#include "proxy/watch/file_put.h"

/* A version of the key. */
struct version {
    char *text; /* or NULL: none */
    size_t len;
    uint64_t revision;
};

struct runtime_centre {
    struct etcd_url url;
    struct etcd_spec *spec;
    const char *cache; /* or NULL */
    struct etcd_mirror *mirror;
    struct version said, loaded;
    bool fresh;      /* said was not loaded yet */
    bool told;       /* ... and is to be, as changed has said */
    bool listed;     /* the key is in the list that is read */
    bool gone;       /* the key is not there, as etcd has said */
    bool asked;      /* changed is owed */
    bool loads;      /* loaded may come to serve */
    uint64_t serves; /* the revision */
    bool failed;     /* to write the copy, as was told */
    char *error;     /* why etcd cannot be asked; or NULL */
    void (*changed)(void *ctx, bool asked);
    void *ctx;
};

static void version_set(struct version *v, const char *text, size_t len, uint64_t revision)
{
    char *copy = mem_need(malloc(len + 1));
    if (len > 0)
        memcpy(copy, text, len);
    free(v->text);
    *v = (struct version){copy, len, revision};
}

/* ---- what etcd says ---- */

static void on_lists(void *ctx)
{
    ((struct runtime_centre *)ctx)->listed = false;
}

/* Revisions are those of one store: in one that was restored the same has other words. */
static bool is_version(const struct version *v, const struct etcd_kv *kv)
{
    return v->text != NULL && v->revision == kv->revision &&
           span_eq(span_of(v->text, v->len), kv->value);
}

static void on_put(void *ctx, const struct etcd_kv *kv)
{
    struct runtime_centre *c = ctx;
    c->listed = !kv->deleted;
    if (kv->deleted || is_version(&c->said, kv))
        return;
    version_set(&c->said, kv->value.ptr, kv->value.len, kv->revision);
    c->fresh = true;
    c->told = false;
}

static void look_gone(struct runtime_centre *c)
{
    if (c->listed == !c->gone)
        return;
    c->gone = !c->listed;
    if (c->gone && c->changed != NULL)
        log_warn("%s: the key is gone; the configuration stays as it is", c->url.name);
}

static void tell(struct runtime_centre *c)
{
    bool asked = c->asked, news = c->fresh && !c->told;
    if (c->changed == NULL || (!asked && !news))
        return;
    c->asked = false;
    c->told = true;
    c->changed(c->ctx, asked);
}

static void on_current(void *ctx)
{
    struct runtime_centre *c = ctx;
    if (c->error != NULL)
        log_info("%s: etcd answers again", c->url.name);
    free(TAKE(c->error));
    look_gone(c);
    tell(c);
}

static void on_failed(void *ctx, const char *why)
{
    struct runtime_centre *c = ctx;
    if (c->error == NULL || strcmp(c->error, why) != 0)
        log_warn("%s: %s%s", c->url.name, why,
                 c->changed != NULL ? "; the configuration stays as it is" : "");
    free(c->error);
    c->error = mem_need(strdup(why));
    if (c->asked)
        tell(c);
}

static const struct etcd_mirror_events mirror_events = {
    .lists = on_lists, .put = on_put, .current = on_current, .failed = on_failed};

/* ---- loading ---- */

static int refuse(const struct runtime_centre *c, struct config_errors *errs, const char *what,
                  const char *why)
{
    config_errors_add(errs, CONFIG_ERROR, (struct config_pos){c->url.name, 0, 0}, NULL, "%s%s",
                      what, why);
    return -1;
}

/* What fills it, as it may be typed. */
static int refuse_missing(const struct runtime_centre *c, struct config_errors *errs,
                          const char *what)
{
    char hint[512];
    snprintf(hint, sizeof(hint), "; `etcdctl put %.400s < weir.yaml` puts a configuration there",
             c->url.etcd.prefix);
    return refuse(c, errs, what, hint);
}

int runtime_centre_load(struct runtime_centre *c, struct config **out, struct config_errors *errs)
{
    *out = NULL;
    if (!c->fresh && c->error != NULL)
        return refuse(c, errs, "cannot be read: ", c->error);
    if (!c->fresh && (c->gone || c->said.text == NULL))
        return refuse_missing(c, errs, "there is no such key");
    c->fresh = false;
    if (c->said.len == 0)
        return refuse_missing(c, errs, "the key has no value");
    c->loads = true;
    version_set(&c->loaded, c->said.text, c->said.len, c->said.revision);
    return config_load_text(c->url.name, c->loaded.text, c->loaded.len, out, errs);
}

/* ---- the copy ---- */

void runtime_centre_keep(struct runtime_centre *c)
{
    if (!c->loads)
        return;
    c->loads = false;
    c->serves = c->loaded.revision;
    if (c->cache == NULL)
        return;
    int error = file_put(c->cache, span_of(c->loaded.text, c->loaded.len), 0600, true);
    if (error != 0 && !c->failed)
        log_error(
            "--config-cache %s: cannot be written: %s; a start without etcd would not find it",
            c->cache, file_put_why(error));
    c->failed = error != 0;
}

void runtime_centre_drop(struct runtime_centre *c)
{
    c->loads = false;
}

/* False: there is none, and errs says so. */
static bool read_copy(struct runtime_centre *c, struct config_errors *errs)
{
    char *bytes = mem_need(malloc(CONFIG_MAX_BYTES + 1));
    FILE *in = fopen(c->cache, "re");
    size_t len = in != NULL ? fread(bytes, 1, CONFIG_MAX_BYTES + 1, in) : 0;
    bool ok = in != NULL && !ferror(in);
    if (!ok)
        config_errors_add(errs, CONFIG_ERROR, (struct config_pos){c->cache, 0, 0}, NULL,
                          "cannot be read: %s", strerror(errno));
    else
        version_set(&c->loaded, bytes, len, 0);
    if (in != NULL)
        fclose(in);
    free(bytes);
    return ok;
}

/* ---- the start ---- */

struct wait {
    struct reactor reactor;
    uv_timer_t timer;
    uv_signal_t ends[2];
    int signum; /* that has come; or 0 */
    bool over;
};

static void on_waited(uv_timer_t *timer)
{
    ((struct wait *)timer->data)->over = true;
}

/* Process 1, as in a container, hears only of those that it asks for. */
static void on_end_asked(uv_signal_t *handle, int signum)
{
    struct wait *w = handle->data;
    w->signum = signum;
    w->over = true;
}

static void heed_ends(struct wait *w)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(&w->reactor.loop, &w->ends[i]);
        w->ends[i].data = w;
        uv_signal_start(&w->ends[i], on_end_asked, numbers[i]);
    }
}

static void wait_close(struct wait *w)
{
    uv_close((uv_handle_t *)&w->timer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(w->ends); i++)
        uv_close((uv_handle_t *)&w->ends[i], NULL);
    reactor_run(&w->reactor);
    reactor_fini(&w->reactor);
}

/* As it would without us, which process 1 survives. */
static void end_by(int signum)
{
    raise(signum);
    _exit(128 + signum);
}

/* Until the key is there, or the time is over. */
static bool wait_for_first(struct runtime_centre *c, uint64_t wait_ms)
{
    struct wait w = {.signum = 0};
    reactor_setup();
    if (reactor_init(&w.reactor) != 0)
        mem_out();
    uv_timer_init(&w.reactor.loop, &w.timer);
    w.timer.data = &w;
    uv_timer_start(&w.timer, on_waited, wait_ms, 0);
    heed_ends(&w);
    runtime_centre_start(c, &w.reactor, NULL, NULL);
    uv_run(&w.reactor.loop, UV_RUN_NOWAIT);
    while (!w.over && !c->fresh)
        reactor_turn(&w.reactor);
    runtime_centre_stop(c);
    wait_close(&w);
    if (w.signum != 0)
        end_by(w.signum);
    return c->fresh;
}

static int load_copy(struct runtime_centre *c, struct config **out, struct config_errors *errs)
{
    if (!read_copy(c, errs) ||
        config_load_text(c->cache, c->loaded.text, c->loaded.len, out, errs) != 0)
        return -1;
    log_warn("weir starts with what served last, as kept in %s; it goes over to what is in etcd as "
             "soon as that can be read and is right",
             c->cache);
    return 0;
}

/* Without an error and without a list nobody knows whether the key is there: a member may take
 * longer than weir waits, and several longer still. */
static void refuse_late(const struct runtime_centre *c, uint64_t wait_ms,
                        struct config_errors *errs)
{
    static const char silent[] = "; see whether etcd can be reached from here, or give it longer "
                                 "with --config-wait";
    bool missing = c->error == NULL && c->gone;
    const char *error = c->error != NULL ? c->error : "etcd has not answered yet";
    char what[1200];
    snprintf(what, sizeof(what), "%s%s; weir has waited for %.1f s",
             missing ? "there is no such key" : "cannot be read: ", missing ? "" : error,
             (double)wait_ms / 1000);
    if (missing)
        refuse_missing(c, errs, what);
    else
        refuse(c, errs, what, c->error != NULL ? "" : silent);
}

int runtime_centre_first(struct runtime_centre *c, uint64_t wait_ms, struct config **out,
                         struct config_errors *errs)
{
    *out = NULL;
    if (!wait_for_first(c, wait_ms))
        refuse_late(c, wait_ms, errs);
    else if (runtime_centre_load(c, out, errs) == 0)
        return 0;
    runtime_centre_drop(c);
    if (c->cache == NULL)
        return -1;
    if (access(c->cache, F_OK) != 0) {
        config_errors_add(errs, CONFIG_WARNING, (struct config_pos){c->cache, 0, 0}, NULL,
                          "there is no copy yet: what serves is kept here for such a start");
        return -1;
    }
    config_errors_print(errs, stderr);
    config_errors_free(errs);
    return load_copy(c, out, errs);
}

/* ---- life ---- */

struct runtime_centre *runtime_centre_new(const char *url, const char *cache, const char **why)
{
    struct runtime_centre *c = mem_need(calloc(1, sizeof(*c)));
    if (!etcd_url_parse(&c->url, url, why)) {
        etcd_url_fini(&c->url);
        free(c);
        return NULL;
    }
    c->spec = etcd_spec_new(&c->url.etcd, true);
    c->cache = cache;
    return c;
}

void runtime_centre_free(struct runtime_centre *c)
{
    if (c == NULL)
        return;
    CHECK(c->mirror == NULL);
    etcd_spec_free(c->spec);
    etcd_url_fini(&c->url);
    free(c->said.text);
    free(c->loaded.text);
    free(c->error);
    free(c);
}

const char *runtime_centre_name(const struct runtime_centre *c)
{
    return c->url.name;
}

void runtime_centre_start(struct runtime_centre *c, struct reactor *r,
                          void (*changed)(void *ctx, bool asked), void *ctx)
{
    CHECK(c->mirror == NULL);
    c->changed = changed;
    c->ctx = ctx;
    c->mirror = etcd_mirror_new(r, c->spec, &mirror_events, c);
}

void runtime_centre_stop(struct runtime_centre *c)
{
    if (c != NULL)
        etcd_mirror_end(TAKE(c->mirror));
}

void runtime_centre_ask(struct runtime_centre *c)
{
    c->asked = true;
    etcd_mirror_ask(c->mirror);
}

struct runtime_centre_status runtime_centre_status(const struct runtime_centre *c)
{
    const char *error = c->error;
    if (error == NULL && c->gone)
        error = "the key is gone";
    return (struct runtime_centre_status){.revision = c->serves, .error = error};
}

void runtime_centre_files(const struct runtime_centre *c,
                          void (*fn)(void *ctx, const char *path, bool write), void *ctx)
{
    const struct config_etcd *etcd = &c->url.etcd;
    const char *read[] = {etcd->tls.ca.text, etcd->tls.cert.text, etcd->tls.key.text,
                          etcd->password_file.text};
    for (size_t i = 0; i < ARRAY_LEN(read); i++)
        if (read[i] != NULL)
            fn(ctx, read[i], false);
    if (c->cache != NULL)
        fn(ctx, c->cache, true);
}
