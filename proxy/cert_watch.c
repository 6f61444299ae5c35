/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching certificates. Owns the watches of directories and the set that each listener and each
 * pool uses; must never leave one of them without, nor read files that are still being written.
 * Control thread.
 */
#include "proxy/cert_watch.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/file_state.h"

#define CERT_WATCH_MAGIC MAGIC('c', 'e', 'r', 'w')

#define POLL_MS    2000
#define SETTLE_MS  150   /* nothing has changed for so long: the writer is done */
#define RESTLESS   20    /* settle times after which it is read although it still changes */
#define RETRY_MS   60000 /* after an error, though nothing has changed */
#define MAX_FOLDER 64    /* directories that are watched; others are polled only */

struct folder {
    uv_fs_event_t event; /* first: its handle is what is closed */
    char *path;
};

/* One listener or pool with TLS. */
struct watched {
    const struct tls_source *source;
    struct tls_set *set;
    uint64_t read;     /* the state of the files that was read last, good or not */
    uint64_t seen;     /* the state last seen */
    unsigned restless; /* settle times that it has kept changing */
    uint64_t tried_ms;
    uint64_t reloads, errors;
    bool failed;
};

struct cert_watch {
    uint32_t magic;
    uv_loop_t *loop;
    cert_swap_fn *swap;
    void *ctx;
    struct watched *watched; /* as snapshot.tls; without TLS: zeroed */
    size_t n_watched;
    struct folder **folders;
    size_t n_folders;
    uv_timer_t poll, settle;
    bool closed;
};

static struct cert_watch *watch_of(void *data)
{
    return CAST_OBJ(cert_watch, data, CERT_WATCH_MAGIC);
}

/* ---- reading ---- */

/* Of everything that a set is read from. */
static uint64_t state_of(const struct watched *it)
{
    return file_state_mix(tls_source_state(it->source), tls_set_key_state(it->set));
}

static uint64_t state_when_read(const struct watched *it)
{
    return file_state_mix(tls_set_state(it->set), tls_set_key_state(it->set));
}

static void told_warning(const struct watched *it, struct tls_problem *warning)
{
    if (warning->text != NULL)
        log_warn("%s \"%s\": %s; nothing is stapled", it->source->kind, it->source->name,
                 warning->text);
    free(warning->text);
}

static void reload_failed(struct watched *it, const char *why)
{
    it->errors++;
    it->failed = true;
    log_error("%s \"%s\": the certificates have changed, but the old ones stay: %s",
              it->source->kind, it->source->name, why);
}

static void reload_done(struct watched *it)
{
    const struct tls_certs *certs = tls_set_certs(it->set);
    const char *kind = it->source->kind, *name = it->source->name;
    it->reloads++;
    it->failed = false;
    if (certs == NULL) {
        log_info("%s \"%s\": authorities reloaded", kind, name);
        return;
    }
    char until[32];
    time_t expiry = (time_t)tls_certs_expiry(certs);
    struct tm tm;
    size_t n = tls_certs_count(certs);
    strftime(until, sizeof(until), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&expiry, &tm));
    log_info("%s \"%s\": %zu certificate%s reloaded; valid until %s", kind, name, n,
             n == 1 ? "" : "s", until);
}

static void reload(struct cert_watch *w, struct watched *it)
{
    struct tls_problem error = {0}, warning = {0};
    it->read = it->seen;
    it->restless = 0;
    it->tried_ms = uv_now(w->loop);
    struct tls_set *set = tls_set_load(it->source, &error, &warning);
    told_warning(it, &warning);
    if (set == NULL) {
        reload_failed(it, error.text != NULL ? error.text : "out of memory");
    } else if (!w->swap(w->ctx, (size_t)(it - w->watched), set)) {
        reload_failed(it, "out of memory");
    } else {
        tls_set_unref(it->set);
        it->set = TAKE(set);
        it->read = it->seen = state_when_read(it);
        reload_done(it);
    }
    tls_set_unref(set);
    free(error.text);
}

/* Looks at the files. Reads them if they have changed since they were read, and no more since they
 * were looked at last. True: they are still changing. */
static bool look(struct cert_watch *w, struct watched *it)
{
    uint64_t state = state_of(it);
    bool rests = state == it->seen || ++it->restless >= RESTLESS;
    bool retry = it->failed && uv_now(w->loop) - it->tried_ms >= RETRY_MS;
    it->seen = state;
    if (state == it->read && !retry) {
        it->restless = 0;
        return false;
    }
    if (!rests)
        return true;
    reload(w, it);
    return false;
}

static void look_at_all(struct cert_watch *w);

static void on_settled(uv_timer_t *timer)
{
    look_at_all(watch_of(timer->data));
}

static void look_at_all(struct cert_watch *w)
{
    bool again = false;
    for (size_t i = 0; i < w->n_watched; i++)
        if (w->watched[i].source != NULL)
            again |= look(w, &w->watched[i]);
    if (again)
        uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
}

static void on_poll(uv_timer_t *timer)
{
    struct cert_watch *w = watch_of(timer->data);
    if (!uv_is_active((uv_handle_t *)&w->settle))
        look_at_all(w);
}

/* ---- directories ---- */

static void on_event(uv_fs_event_t *event, const char *file, int events, int status)
{
    struct cert_watch *w = watch_of(event->data);
    (void)file;
    (void)events;
    (void)status;
    if (!w->closed && !uv_is_active((uv_handle_t *)&w->settle))
        uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
}

static void on_folder_closed(uv_handle_t *handle)
{
    struct folder *f = CONTAINER_OF((uv_fs_event_t *)handle, folder, event);
    free(f->path);
    free(f);
}

static bool is_watched(const struct cert_watch *w, const char *path)
{
    for (size_t i = 0; i < w->n_folders; i++)
        if (strcmp(w->folders[i]->path, path) == 0)
            return true;
    return false;
}

/* Without a watch it is found by looking every now and then. */
static void watch_folder(struct cert_watch *w, const char *path)
{
    if (w->n_folders == MAX_FOLDER || is_watched(w, path))
        return;
    struct folder *f = mem_need(calloc(1, sizeof(*f)));
    f->path = mem_need(strdup(path));
    uv_fs_event_init(w->loop, &f->event);
    f->event.data = w;
    if (uv_fs_event_start(&f->event, on_event, path, 0) != 0) {
        uv_close((uv_handle_t *)&f->event, on_folder_closed);
        return;
    }
    w->folders[w->n_folders++] = f;
}

/* The directory itself, or the one that the file is in. */
static void watch_path(struct cert_watch *w, const char *path)
{
    struct stat st;
    char copy[PATH_MAX];
    if (path == NULL || strlen(path) >= sizeof(copy))
        return;
    memcpy(copy, path, strlen(path) + 1);
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    watch_folder(w, is_folder ? copy : dirname(copy));
}

static void watch_source(struct cert_watch *w, struct watched *it, const struct tls_source *source)
{
    it->source = source;
    it->set = tls_set_ref(source->set);
    for (size_t i = 0; i < source->n_certs; i++)
        watch_path(w, source->certs[i]);
    watch_path(w, source->key);
    watch_path(w, source->ca);
    watch_path(w, source->ocsp);
    it->read = it->seen = state_when_read(it);
}

/* ---- life ---- */

struct cert_watch *cert_watch_new(uv_loop_t *loop, const struct snapshot *snap, cert_swap_fn *swap,
                                  void *ctx)
{
    bool any = false;
    for (size_t i = 0; i < snapshot_n_tls(snap); i++)
        any |= snap->tls[i] != NULL;
    if (!any)
        return NULL;
    struct cert_watch *w = mem_need(calloc(1, sizeof(*w)));
    w->magic = CERT_WATCH_MAGIC;
    w->loop = loop;
    w->swap = swap;
    w->ctx = ctx;
    w->n_watched = snapshot_n_tls(snap);
    w->watched = mem_need(calloc(w->n_watched, sizeof(w->watched[0])));
    w->folders = mem_need(calloc(MAX_FOLDER, sizeof(struct folder *)));
    uv_timer_init(loop, &w->poll);
    uv_timer_init(loop, &w->settle);
    w->poll.data = w->settle.data = w;
    for (size_t i = 0; i < w->n_watched; i++)
        if (snap->tls[i] != NULL)
            watch_source(w, &w->watched[i], snap->tls[i]);
    uv_timer_start(&w->poll, on_poll, POLL_MS, POLL_MS);
    return w;
}

void cert_watch_close(struct cert_watch *w)
{
    if (w == NULL || w->closed)
        return;
    w->closed = true;
    uv_close((uv_handle_t *)&w->poll, NULL);
    uv_close((uv_handle_t *)&w->settle, NULL);
    for (size_t i = 0; i < w->n_folders; i++)
        uv_close((uv_handle_t *)&w->folders[i]->event, on_folder_closed);
    w->n_folders = 0;
}

void cert_watch_free(struct cert_watch *w)
{
    if (w == NULL)
        return;
    CHECK(w->closed);
    for (size_t i = 0; i < w->n_watched; i++)
        tls_set_unref(w->watched[i].set);
    free(w->watched);
    free(w->folders);
    w->magic = 0;
    free(w);
}

bool cert_watch_status(const struct cert_watch *w, size_t index, struct cert_status *out)
{
    if (w == NULL || w->watched[index].source == NULL)
        return false;
    const struct watched *it = &w->watched[index];
    *out = (struct cert_status){
        .source = it->source,
        .certs = tls_set_certs(it->set),
        .reloads = it->reloads,
        .errors = it->errors,
        .failed = it->failed,
    };
    return true;
}
