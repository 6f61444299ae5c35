/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing a registry's state. Owns the text that is written; must never make the loop
 * wait for a disk, nor have two writers at once. Control thread, but for on_work.
 */
#include "proxy/discovery/registry_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/watch/file_put.h"

#define REGISTRY_FILE_MAGIC MAGIC('r', 'e', 'g', 'f')

#define SAVE_MS       100 /* from a change to the file that has it, and 1 more for each SAVE_MORE */
#define SAVE_MORE     20  /* entries, so that to describe them takes a small part of the time */
#define SAVE_AGAIN_MS 5000 /* after it could not be written */

static bool fail(char why[REGISTRY_FILE_WHY], const char *path, const char *what)
{
    snprintf(why, REGISTRY_FILE_WHY, "%.300s: %s", path, what);
    return false;
}

/* ---- reading ---- */

static bool fail_errors(char why[REGISTRY_FILE_WHY], struct config_errors *errs)
{
    const struct config_error *e = &errs->items[0];
    snprintf(why, REGISTRY_FILE_WHY, "%.200s:%u:%u: %.100s%s%.150s", e->pos.file, e->pos.line,
             e->pos.column, e->path, e->path[0] != '\0' ? ": " : "", e->message);
    config_errors_free(errs);
    return false;
}

static bool parse(const char *path, const char *bytes, size_t len, struct config_registered *to,
                  struct config_mem **mem, char why[REGISTRY_FILE_WHY])
{
    struct config_errors errs = {0};
    if (config_registered_load(path, bytes, len, to, mem, &errs) == 0)
        return true;
    *to = (struct config_registered){.version = 0};
    return fail_errors(why, &errs);
}

bool registry_file_read(const char *path, struct config_registered *to, struct config_mem **mem,
                        char why[REGISTRY_FILE_WHY])
{
    *to = (struct config_registered){.version = 0};
    *mem = NULL;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return errno == ENOENT || fail(why, path, strerror(errno));
    size_t size = CONFIG_MAX_BYTES + 1;
    char *bytes = mem_need(malloc(size));
    size_t len = fread(bytes, 1, size, in);
    bool ok = !ferror(in) || fail(why, path, strerror(errno));
    fclose(in);
    ok = ok && parse(path, bytes, len, to, mem, why);
    free(bytes);
    return ok;
}

/* ---- writing ---- */

struct described {
    struct config_mem *mem; /* NULL: it is none */
    struct config_text text;
};

struct registry_file {
    uint32_t magic;
    uv_loop_t *loop;
    char *path;
    struct config_registered *(*describe)(void *ctx, struct config_mem *mem);
    void *ctx;
    uv_timer_t timer;
    bool unsaved; /* something has changed since it was described last */
    bool held, ends;
    uint64_t delay_ms;
    struct described next; /* to be written once nothing else is, whatever comes */
    void (*settled)(void *ctx);
    void *settled_ctx;
    char *error;
    uint64_t errors;
    uv_work_t work;
    struct described now; /* on its way */
    int failed;           /* errno; the thread's, as long as it is on its way */
};

static struct registry_file *registry_file_of(void *data)
{
    return CAST_OBJ(registry_file, data, REGISTRY_FILE_MAGIC);
}

/* A thread of libuv's. */
static void on_work(uv_work_t *work)
{
    struct registry_file *f = registry_file_of(work->data);
    const struct config_text *text = &f->now.text;
    f->failed = text->len > CONFIG_MAX_BYTES
                    ? EFBIG
                    : file_put(f->path, span_of(text->text, text->len), 0600, true);
}

static void on_written(uv_work_t *work, int status);

/* In place of what was to be written and has not been begun. */
static void prepare(struct registry_file *f)
{
    struct described *d = &f->next;
    f->unsaved = false;
    config_mem_free(d->mem);
    d->mem = config_mem_new();
    config_text_open(&d->text, d->mem);
    config_registered_dump(f->describe(f->ctx, d->mem), d->text.out);
    config_text_close(&d->text);
}

static void write_next(struct registry_file *f)
{
    f->now = f->next;
    f->next.mem = NULL;
    CHECK(uv_queue_work(f->loop, &f->work, on_work, on_written) == 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct registry_file *f = registry_file_of(timer->data);
    prepare(f);
    write_next(f);
}

static void plan(struct registry_file *f, uint64_t ms)
{
    if (!f->held && f->now.mem == NULL && !uv_is_active((uv_handle_t *)&f->timer))
        uv_timer_start(&f->timer, on_timer, ms, 0);
}

static void tell_failed(struct registry_file *f)
{
    char why[REGISTRY_FILE_WHY];
    fail(why, f->path,
         f->failed == EFBIG ? "it would have more than 16 MiB, and not be read again: let fewer "
                              "register, or with shorter ids"
                            : file_put_why(f->failed));
    f->errors++;
    if (f->error == NULL || strcmp(f->error, why) != 0)
        log_error("registry: who is registered cannot be kept: %s%s", why,
                  f->ends ? "" : "; it is tried again");
    free(f->error);
    f->error = mem_need(strdup(why));
}

static void tell_written(struct registry_file *f)
{
    if (f->error != NULL)
        log_info("registry: %s is written again", f->path);
    free(TAKE(f->error));
}

static void on_closed(uv_handle_t *handle)
{
    struct registry_file *f = registry_file_of(handle->data);
    free(f->path);
    free(f->error);
    f->magic = 0;
    free(f);
}

static void on_written(uv_work_t *work, int status)
{
    struct registry_file *f = registry_file_of(work->data);
    CHECK(status == 0);
    config_mem_free(TAKE(f->now.mem));
    if (f->failed == 0) {
        tell_written(f);
    } else {
        tell_failed(f);
        f->unsaved = true;
    }
    if (f->next.mem != NULL)
        write_next(f);
    else if (f->ends)
        uv_close((uv_handle_t *)&f->timer, on_closed);
    else if (f->held)
        f->settled(f->settled_ctx);
    else if (f->unsaved)
        plan(f, f->failed == 0 ? f->delay_ms : SAVE_AGAIN_MS);
}

/* What there is now, without waiting for the time to come. */
static void write_soon(struct registry_file *f)
{
    uv_timer_stop(&f->timer);
    if (f->unsaved)
        prepare(f);
    if (f->now.mem == NULL && f->next.mem != NULL)
        write_next(f);
}

void registry_file_changed(struct registry_file *f, size_t entries)
{
    f->unsaved = true;
    f->delay_ms = SAVE_MS + entries / SAVE_MORE;
    plan(f, f->delay_ms);
}

bool registry_file_hold(struct registry_file *f, void (*settled)(void *ctx), void *ctx)
{
    f->settled = settled;
    f->settled_ctx = ctx;
    if (!f->held)
        write_soon(f);
    f->held = true;
    return f->now.mem == NULL;
}

void registry_file_release(struct registry_file *f)
{
    f->held = false;
    if (f->unsaved)
        plan(f, 0);
}

const char *registry_file_error(const struct registry_file *f)
{
    return f->error;
}

uint64_t registry_file_errors(const struct registry_file *f)
{
    return f->errors;
}

/* ---- life ---- */

struct registry_file *
registry_file_new(uv_loop_t *loop, const char *path,
                  struct config_registered *(*describe)(void *ctx, struct config_mem *mem),
                  void *ctx)
{
    struct registry_file *f = mem_need(calloc(1, sizeof(*f)));
    f->magic = REGISTRY_FILE_MAGIC;
    f->loop = loop;
    f->path = mem_need(strdup(path));
    f->describe = describe;
    f->ctx = ctx;
    uv_timer_init(loop, &f->timer);
    f->timer.data = f->work.data = f;
    return f;
}

void registry_file_end(struct registry_file *f)
{
    if (f == NULL)
        return;
    f->ends = true;
    if (!f->held)
        write_soon(f);
    uv_timer_stop(&f->timer);
    if (f->now.mem == NULL)
        uv_close((uv_handle_t *)&f->timer, on_closed);
}
