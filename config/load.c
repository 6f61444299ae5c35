/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file, a text or a command line to a checked configuration. Owns the parse tree while it
 * binds. Control thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/bind.h"
#include "config/config.h"
#include "config/emit.h"
#include "config/errors.h"
#include "config/mem.h"
#include "config/subst.h"
#include "config/written.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/span.h"

static struct config *config_new(const char *name)
{
    struct config_mem *mem = config_mem_new();
    struct config *cfg = config_mem_alloc(mem, 1, sizeof(*cfg));
    cfg->mem = mem;
    cfg->pos.file = config_mem_dup(mem, name, strlen(name));
    return cfg;
}

void config_free(struct config *cfg)
{
    if (cfg != NULL)
        config_mem_free(cfg->mem);
}

static int load(const char *name, struct span folder, const char *bytes, size_t len,
                struct config **out, struct config_errors *errs)
{
    struct config *cfg = config_new(name);
    struct bind b = {.cfg = cfg, .mem = cfg->mem, .scratch = config_mem_new(), .folder = folder};
    struct config_errors found = {0}; /* so that only these are sorted, and decide */
    b.errs = &found;
    const struct tree_node *root = tree_parse(b.scratch, cfg->pos.file, bytes, len, &found);
    if (root != NULL) {
        bind_document(&b, root);
        bind_check(&b);
    }
    bool failed = found.errors > 0;
    config_errors_move(errs, &found);
    config_mem_free(b.scratch);
    if (failed)
        config_free(TAKE(cfg));
    *out = cfg;
    return failed ? -1 : 0;
}

int config_load_text(const char *name, const char *bytes, size_t len, struct config **out,
                     struct config_errors *errs)
{
    return load(name, span_of("", 0), bytes, len, out, errs);
}

int config_load_text_for(const char *path, const char *name, const char *bytes, size_t len,
                         struct config **out, struct config_errors *errs)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash != NULL ? (size_t)(slash + 1 - path) : 0;
    return load(name, span_of(path, n), bytes, len, out, errs);
}

/* Where the paths in it begin: a pipe is in no folder of the user's. */
static struct span folder_of(const char *path, FILE *in)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    bool is_file = fstat(fileno(in), &st) == 0 && S_ISREG(st.st_mode);
    return span_of(path, is_file && slash != NULL ? (size_t)(slash + 1 - path) : 0);
}

static int load_stream(const char *path, FILE *in, struct config **out, struct config_errors *errs)
{
    size_t len = 0, size = CONFIG_MAX_BYTES + 1; /* one more shows that it is too large */
    char *bytes = mem_need(malloc(size));
    len = fread(bytes, 1, size, in);
    int result = -1;
    if (ferror(in))
        config_errors_add(errs, CONFIG_ERROR, (struct config_pos){path, 0, 0}, NULL,
                          "cannot be read: %s", strerror(errno));
    else
        result = load(path, folder_of(path, in), bytes, len, out, errs);
    free(bytes);
    return result;
}

int config_load_file(const char *path, struct config **out, struct config_errors *errs)
{
    *out = NULL;
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        config_errors_add(errs, CONFIG_ERROR, (struct config_pos){path, 0, 0}, NULL,
                          "cannot be opened: %s", strerror(errno));
        return -1;
    }
    int result = load_stream(path, in, out, errs);
    fclose(in);
    return result;
}

static bool argument_ok(const char *option, const char *text, struct config_errors *errs)
{
    if (subst_utf8_ok(text, strlen(text)))
        return true;
    config_errors_add(errs, CONFIG_ERROR, (struct config_pos){COMMAND_LINE, 0, 0}, option,
                      "not UTF-8 text");
    return false;
}

int config_load_written(void (*write)(FILE *out, const void *from), const void *from,
                        void (*name)(struct config_errors *errs), struct config **out,
                        struct config_errors *errs)
{
    struct config_mem *mem = config_mem_new();
    struct config_text yaml;
    config_text_open(&yaml, mem);
    write(yaml.out, from);
    config_text_close(&yaml);
    struct config_errors found = {0};
    int result = config_load_text(COMMAND_LINE, yaml.text, yaml.len, out, &found);
    name(&found);
    config_errors_move(errs, &found);
    config_mem_free(mem);
    return result;
}

struct proxy_line {
    const char *from, *const *to;
    size_t to_count;
};

static void write_proxy(FILE *out, const void *of)
{
    const struct proxy_line *line = of;
    fputs("version: 1\nlisteners:\n  web:\n    bind: ", out);
    emit_text(out, line->from);
    fputs("\nroutes:\n  - to: app\npools:\n  app:\n    endpoints:", out);
    if (line->to_count == 0)
        fputs(" []", out);
    for (size_t i = 0; i < line->to_count; i++) {
        fputs("\n      - ", out);
        emit_text(out, line->to[i]);
    }
    fputc('\n', out);
}

/* Nobody wrote the file, so messages name the option that a value came from. */
static void name_options(struct config_errors *errs)
{
    for (size_t i = 0; i < errs->count; i++) {
        struct config_error *e = &errs->items[i];
        struct span path = span_str(e->path);
        e->pos.line = e->pos.column = 0;
        if (span_starts(path, SPAN_LIT("listeners.")))
            e->path = "--from";
        else if (span_starts(path, SPAN_LIT("pools.")))
            e->path = "--to";
    }
}

int config_load_proxy(const char *from, const char *const *to, size_t to_count, struct config **out,
                      struct config_errors *errs)
{
    *out = NULL;
    bool ok = argument_ok("--from", from, errs);
    for (size_t i = 0; i < to_count; i++)
        ok &= argument_ok("--to", to[i], errs);
    if (!ok)
        return -1;
    const struct proxy_line line = {from, to, to_count};
    return config_load_written(write_proxy, &line, name_options, out, errs);
}
