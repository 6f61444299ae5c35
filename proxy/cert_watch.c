/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching certificates. Owns what it knows of each listener's and each pool's files; must never
 * leave one of them without a set. Control thread.
 */
#include "proxy/cert_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/watch/file_state.h"
#include "proxy/watch/file_watch.h"

/* One listener or pool with TLS. */
struct watched {
    struct file_watched files;
    struct cert_watch *owner;
    size_t index;              /* in snapshot.tls */
    struct tls_source *source; /* counted */
    uint64_t reloads, errors;
};

struct cert_watch {
    cert_swap_fn *swap;
    void *ctx;
    struct watched **watched; /* as snapshot.tls; without TLS: NULL */
    size_t n_watched;
    struct file_watch *files;
};

/* ---- reading ---- */

/* Of everything that a set is read from. */
static uint64_t state_of(struct file_watched *files)
{
    const struct watched *it = CONTAINER_OF(files, watched, files);
    return file_state_mix(tls_source_state(it->source), tls_set_key_state(it->source->set));
}

static uint64_t state_when_read(const struct watched *it)
{
    return file_state_mix(tls_set_state(it->source->set), tls_set_key_state(it->source->set));
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
    log_error("%s \"%s\": the certificates have changed, but the old ones stay: %s",
              it->source->kind, it->source->name, why);
}

static void reload_done(struct watched *it)
{
    const struct tls_certs *certs = tls_set_certs(it->source->set);
    const char *kind = it->source->kind, *name = it->source->name;
    it->reloads++;
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

static bool reload(struct file_watched *files, uint64_t *state)
{
    struct watched *it = CONTAINER_OF(files, watched, files);
    struct cert_watch *w = it->owner;
    struct tls_problem error = {0}, warning = {0};
    struct tls_set *set = tls_set_load(it->source, &error, &warning);
    bool ok = set != NULL && w->swap(w->ctx, it->index, set);
    told_warning(it, &warning);
    if (ok) {
        tls_source_set(it->source, TAKE(set));
        *state = state_when_read(it);
        reload_done(it);
    } else {
        reload_failed(it, error.text != NULL ? error.text : "out of memory");
    }
    tls_set_unref(set);
    free(error.text);
    return ok;
}

static const struct file_reader reader = {.state = state_of, .read = reload};

static void watch_folders(struct cert_watch *w, const struct tls_source *source)
{
    for (size_t i = 0; i < source->n_certs; i++)
        file_watch_path(w->files, source->certs[i]);
    file_watch_path(w->files, source->key);
    file_watch_path(w->files, source->ca);
    file_watch_path(w->files, source->ocsp);
}

/* ---- life ---- */

struct cert_watch *cert_watch_new(uv_loop_t *loop, cert_swap_fn *swap, void *ctx)
{
    struct cert_watch *w = mem_need(calloc(1, sizeof(*w)));
    w->swap = swap;
    w->ctx = ctx;
    w->files = file_watch_new(loop);
    return w;
}

/* What there was of the source, which is taken over, or a beginning. */
static struct watched *watch_source(struct cert_watch *w, struct tls_source *source)
{
    for (size_t i = 0; i < w->n_watched; i++)
        if (w->watched[i] != NULL && w->watched[i]->source == source)
            return TAKE(w->watched[i]);
    struct watched *it = mem_need(calloc(1, sizeof(*it)));
    it->owner = w;
    it->source = tls_source_ref(source);
    file_watch_add(w->files, &it->files, &reader, state_when_read(it), false);
    return it;
}

static void free_watched(struct cert_watch *w)
{
    for (size_t i = 0; i < w->n_watched; i++) {
        if (w->watched[i] == NULL)
            continue;
        file_watch_remove(&w->watched[i]->files);
        tls_source_unref(w->watched[i]->source);
        free(w->watched[i]);
    }
    free(w->watched);
}

void cert_watch_use(struct cert_watch *w, const struct snapshot *snap)
{
    size_t n = snapshot_n_tls(snap);
    struct watched **next = mem_need(calloc(n, sizeof(next[0])));
    file_watch_paths_begin(w->files);
    for (size_t i = 0; i < n; i++) {
        if (snap->tls[i] == NULL)
            continue;
        next[i] = watch_source(w, snap->tls[i]);
        next[i]->index = i;
        watch_folders(w, snap->tls[i]);
    }
    file_watch_paths_end(w->files);
    free_watched(w);
    w->watched = next;
    w->n_watched = n;
}

bool cert_watch_any(const struct cert_watch *w)
{
    for (size_t i = 0; w != NULL && i < w->n_watched; i++)
        if (w->watched[i] != NULL)
            return true;
    return false;
}

void cert_watch_close(struct cert_watch *w)
{
    if (w != NULL)
        file_watch_end(TAKE(w->files));
}

void cert_watch_free(struct cert_watch *w)
{
    if (w == NULL)
        return;
    CHECK(w->files == NULL);
    free_watched(w);
    free(w);
}

bool cert_watch_status(const struct cert_watch *w, size_t index, struct cert_status *out)
{
    if (w == NULL || w->watched[index] == NULL)
        return false;
    const struct watched *it = w->watched[index];
    *out = (struct cert_status){
        .source = it->source,
        .certs = tls_set_certs(it->source->set),
        .reloads = it->reloads,
        .errors = it->errors,
        .failed = it->files.failed,
    };
    return true;
}
