/* SPDX-License-Identifier: Apache-2.0 */
/* Watching the configuration's file. Owns its path; must never read it itself. Control thread. */
#include "proxy/config_watch.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/watch/file_state.h"
#include "proxy/watch/file_watch.h"

struct config_watch {
    struct file_watched file;
    struct file_watch *watch;
    char *path;
    void (*changed)(void *ctx);
    void *ctx;
};

static uint64_t state_of(struct file_watched *it)
{
    return file_state(CONTAINER_OF(it, config_watch, file)->path);
}

/* What is wrong with it is told by who reads it, once; it is not read again before it changes. */
static bool read_soon(struct file_watched *it, uint64_t *state)
{
    const struct config_watch *w = CONTAINER_OF(it, config_watch, file);
    (void)state;
    w->changed(w->ctx);
    return true;
}

static const struct file_reader reader = {state_of, read_soon};

struct config_watch *config_watch_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx)
{
    struct config_watch *w = mem_need(calloc(1, sizeof(*w)));
    w->watch = file_watch_new(loop);
    w->changed = changed;
    w->ctx = ctx;
    return w;
}

void config_watch_use(struct config_watch *w, const char *path, uint64_t state)
{
    char *copy = path != NULL ? mem_need(strdup(path)) : NULL;
    if (w->path != NULL)
        file_watch_remove(&w->file);
    free(w->path);
    w->path = copy;
    file_watch_paths_begin(w->watch);
    file_watch_path(w->watch, copy);
    file_watch_paths_end(w->watch);
    if (copy != NULL)
        file_watch_add(w->watch, &w->file, &reader, state, false);
}

void config_watch_failed(struct config_watch *w, uint64_t state)
{
    if (w->path != NULL)
        file_watch_was_read(&w->file, state);
}

void config_watch_close(struct config_watch *w)
{
    if (w == NULL || w->watch == NULL)
        return;
    if (w->path != NULL)
        file_watch_remove(&w->file);
    file_watch_end(TAKE(w->watch));
}

void config_watch_free(struct config_watch *w)
{
    if (w == NULL)
        return;
    CHECK(w->watch == NULL);
    free(w->path);
    free(w);
}
