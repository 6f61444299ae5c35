/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints from a file. Owns the watch of it; must never take half a file for a whole one, which
 * file_watch.h and whoever renames it into place see to. Control thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/source.h"
#include "proxy/watch/file_state.h"
#include "proxy/watch/file_watch.h"

#define FILE_SOURCE_MAGIC MAGIC('s', 'r', 'c', 'f')

struct file_source {
    struct source base;
    struct file_watch *watch;
    struct file_watched file;
    uv_timer_t soon; /* to read it now, from the loop */
    bool watched;
};

static struct file_source *file_source_of(struct source *source)
{
    return CAST_OBJ(file_source, source, FILE_SOURCE_MAGIC);
}

/* ---- reading ---- */

/* The bytes, malloc'd, at most one more than are allowed. NULL, and *error is an errno. */
static char *read_bytes(int fd, size_t *len, int *error)
{
    size_t size = CONFIG_MAX_BYTES + 1;
    char *bytes = mem_need(malloc(size));
    ssize_t n = 1;
    for (*len = 0; *len < size && n > 0; *len += n > 0 ? (size_t)n : 0)
        n = read(fd, bytes + *len, size - *len);
    *error = n < 0 ? errno : 0;
    if (n < 0)
        free(TAKE(bytes));
    return bytes;
}

/* A pipe or a device would be waited for. */
static char *read_file(const char *path, size_t *len, int *error)
{
    struct stat st;
    char *bytes = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        *error = errno;
    else if (!S_ISREG(st.st_mode))
        *error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    else
        bytes = read_bytes(fd, len, error);
    if (fd >= 0)
        close(fd);
    return bytes;
}

static bool fail(struct source *s, const char *why)
{
    s->events->failed(s, why);
    return false;
}

/* What to do about it. */
static const char *hint(int error)
{
    switch (error) {
    case ENOENT:
        return "; put it there, or remove the pool's file";
    case EACCES:
        return "; weir's user has to be allowed to read it, and so has its sandbox: that allows "
               "the folders that were named, and led to, when weir started";
    case EISDIR:
        return "; name a file that is in it";
    default:
        return "";
    }
}

static bool fail_errno(struct source *s, int error)
{
    char why[512];
    snprintf(why, sizeof(why), "%.300s: %s%s", s->spec->name,
             error == EINVAL ? "not a regular file; a source that can be read again is needed"
                             : strerror(error),
             hint(error));
    return fail(s, why);
}

static bool parse(struct source *s, const char *bytes, size_t len)
{
    struct config_errors errs = {0};
    struct config_endpoints *all = NULL;
    bool ok = config_endpoints_load(s->spec->name, bytes, len, &all, &errs) == 0;
    char first[SOURCE_WHY];
    if (!ok) {
        fail(s, source_first_error(&errs, first));
    } else if (all->count > SOURCE_ENDPOINTS_MAX) {
        char why[512];
        snprintf(why, sizeof(why), "%.300s: %zu endpoints; there may be %u", s->spec->name,
                 all->count, SOURCE_ENDPOINTS_MAX);
        ok = fail(s, why);
        config_endpoints_unref(all);
    } else {
        s->events->answered(s, all, all->count == 0 ? "the file lists none" : NULL);
    }
    config_errors_free(&errs);
    return ok;
}

static bool read_it(struct file_source *f)
{
    size_t len = 0;
    int error = 0;
    char *bytes = read_file(f->base.spec->name, &len, &error);
    bool ok = bytes != NULL ? parse(&f->base, bytes, len) : fail_errno(&f->base, error);
    free(bytes);
    return ok;
}

/* ---- watching ---- */

static uint64_t state(struct file_watched *file)
{
    const struct file_source *f = CONTAINER_OF(file, file_source, file);
    return file_state(f->base.spec->name);
}

static bool on_change(struct file_watched *file, uint64_t *as_of)
{
    (void)as_of;
    return read_it(CONTAINER_OF(file, file_source, file));
}

static const struct file_reader reader = {.state = state, .read = on_change};

static void watch(struct file_source *f, uint64_t as_of, bool ok)
{
    f->watched = true;
    file_watch_add(f->watch, &f->file, &reader, as_of, !ok);
    file_watch_paths_begin(f->watch);
    file_watch_path(f->watch, f->base.spec->name);
    file_watch_paths_end(f->watch);
}

/* What changes while it is read is seen when it is looked at next. */
static void on_soon(uv_timer_t *timer)
{
    struct file_source *f = file_source_of(timer->data);
    uint64_t as_of = file_state(f->base.spec->name);
    bool ok = read_it(f);
    if (!f->watched)
        watch(f, as_of, ok);
}

/* ---- life ---- */

static struct source *file_start(const struct source_world *world, struct source_spec *spec,
                                 const struct source_events *events, void *owner)
{
    struct file_source *f = mem_need(calloc(1, sizeof(*f)));
    f->base = (struct source){FILE_SOURCE_MAGIC, spec, events, owner};
    f->watch = file_watch_new(&world->reactor->loop);
    uv_timer_init(&world->reactor->loop, &f->soon);
    f->soon.data = f;
    uv_timer_start(&f->soon, on_soon, 0, 0);
    return &f->base;
}

static void file_ask(struct source *source)
{
    uv_timer_start(&file_source_of(source)->soon, on_soon, 0, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct file_source *f = file_source_of(handle->data);
    source_spec_unref(f->base.spec);
    f->base.magic = 0;
    free(f);
}

static void file_stop(struct source *source)
{
    struct file_source *f = file_source_of(source);
    file_watch_remove(&f->file);
    file_watch_end(f->watch);
    uv_close((uv_handle_t *)&f->soon, on_closed);
}

const struct source_kind source_file = {
    .name = "file", .start = file_start, .ask = file_ask, .stop = file_stop};
