/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of errors and warnings. Owns copies of all its strings, because errors outlive the parse
 * tree and, after a failed load, the configuration too. Must never grow without bound: a file that
 * repeats one mistake through aliases could make millions. Control thread.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/errors.h"
#include "config/mem.h"
#include "proxy/base/mem.h"

#define MAX_KEPT 200 /* nobody reads more; the rest is counted */

static const char *const severity_names[] = {
    [CONFIG_ERROR] = "error",
    [CONFIG_WARNING] = "warning",
};

bool config_errors_full(const struct config_errors *errs)
{
    return errs->count >= MAX_KEPT;
}

static struct config_error *errors_push(struct config_errors *errs)
{
    if (errs->mem == NULL)
        errs->mem = config_mem_new();
    if (errs->count == errs->capacity) {
        size_t capacity = errs->capacity ? errs->capacity * 2 : 8;
        errs->items = mem_need(realloc(errs->items, capacity * sizeof(*errs->items)));
        errs->capacity = capacity;
    }
    return &errs->items[errs->count++];
}

/* The same file's name is kept once. */
static const char *errors_intern(struct config_errors *errs, const char *file)
{
    if (file == NULL)
        return NULL;
    for (size_t i = errs->count; i-- > 0;)
        if (errs->items[i].pos.file != NULL && strcmp(errs->items[i].pos.file, file) == 0)
            return errs->items[i].pos.file;
    return config_mem_dup(errs->mem, file, strlen(file));
}

void config_errors_vadd(struct config_errors *errs, enum config_severity severity,
                        struct config_pos pos, const char *path, const char *fmt, va_list args)
{
    if (severity == CONFIG_ERROR)
        errs->errors++;
    else
        errs->warnings++;
    if (config_errors_full(errs))
        return;
    struct config_error *e = errors_push(errs);
    *e = (struct config_error){.severity = severity, .pos = pos};
    e->pos.file = NULL;
    e->pos.file = errors_intern(errs, pos.file);
    e->path = path ? config_mem_dup(errs->mem, path, strlen(path)) : "";
    e->message = config_mem_vprintf(errs->mem, fmt, args);
}

void config_errors_add(struct config_errors *errs, enum config_severity severity,
                       struct config_pos pos, const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    config_errors_vadd(errs, severity, pos, path, fmt, args);
    va_end(args);
}

static int pos_compare(struct config_pos a, struct config_pos b)
{
    if (a.line != b.line)
        return a.line < b.line ? -1 : 1;
    if (a.column != b.column)
        return a.column < b.column ? -1 : 1;
    return 0;
}

/* Insertion sort: stable, at most MAX_KEPT items, and mostly in order already. */
static void errors_sort(struct config_errors *errs)
{
    for (size_t i = 1; i < errs->count; i++) {
        struct config_error e = errs->items[i];
        size_t at = i;
        for (; at > 0 && pos_compare(errs->items[at - 1].pos, e.pos) > 0; at--)
            errs->items[at] = errs->items[at - 1];
        errs->items[at] = e;
    }
}

void config_errors_move(struct config_errors *to, struct config_errors *from)
{
    errors_sort(from);
    for (size_t i = 0; i < from->count; i++) {
        const struct config_error *e = &from->items[i];
        config_errors_add(to, e->severity, e->pos, e->path, "%s", e->message);
    }
    /* Those that were only counted stay counted. */
    size_t kept[2] = {0};
    for (size_t i = 0; i < from->count; i++)
        kept[from->items[i].severity]++;
    to->errors += from->errors - kept[CONFIG_ERROR];
    to->warnings += from->warnings - kept[CONFIG_WARNING];
    config_errors_free(from);
}

static void error_print(const struct config_error *e, FILE *out)
{
    if (e->pos.file != NULL && e->pos.line != 0)
        fprintf(out, "%s:%u:%u: ", e->pos.file, e->pos.line, e->pos.column);
    else if (e->pos.file != NULL)
        fprintf(out, "%s: ", e->pos.file);
    fprintf(out, "%s: ", severity_names[e->severity]);
    if (e->path[0] != '\0')
        fprintf(out, "%s: ", e->path);
    fprintf(out, "%s\n", e->message);
}

void config_errors_print(const struct config_errors *errs, FILE *out)
{
    for (size_t i = 0; i < errs->count; i++)
        error_print(&errs->items[i], out);
    size_t lost = errs->errors + errs->warnings - errs->count;
    if (lost > 0)
        fprintf(out, "and %zu more\n", lost);
}

void config_errors_free(struct config_errors *errs)
{
    config_mem_free(errs->mem);
    free(errs->items);
    *errs = (struct config_errors){0};
}
