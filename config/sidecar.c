/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the configuration of a pod's proxy. Owns the names in it: the pool of an application and
 * its listener are "app", "app-2" and so on, that of a service has the service's name. Control
 * thread.
 */
#include "config/sidecar.h"

#include <string.h>

#include "config/emit.h"
#include "config/errors.h"
#include "config/sidecar_pool.h"
#include "config/subst.h"
#include "config/written.h"

static const char *or_default(const char *given, const char *otherwise)
{
    return given != NULL ? given : otherwise;
}

/* "NAME=REST"; without a "=" the name is empty. */
static struct span before_equals(const char *text, const char **rest)
{
    const char *equals = strchr(text, '=');
    *rest = equals != NULL ? equals + 1 : text;
    return equals != NULL ? span_of(text, (size_t)(equals - text)) : span_of(text, 0);
}

#define APP_NAME 32

static const char *app_name(size_t i, char out[APP_NAME])
{
    snprintf(out, APP_NAME, i == 0 ? "app" : "app-%zu", i + 1);
    return out;
}

static void write_app_name(FILE *out, size_t i)
{
    char name[APP_NAME];
    fputs(app_name(i, name), out);
}

static void write_listeners(FILE *out, const struct config_sidecar *s)
{
    const char *rest;
    fputs("listeners:\n", out);
    for (size_t i = 0; i < s->app_count; i++) {
        struct span listen = before_equals(s->apps[i], &rest);
        fputs("  ", out);
        write_app_name(out, i);
        fputs(": ", out);
        sidecar_emit(out, listen.len > 0 ? listen : span_str(or_default(s->in, ":8000")));
        fputc('\n', out);
    }
    if (s->service_count == 0)
        return;
    fputs("  out: ", out);
    emit_text(out, or_default(s->out, "127.0.0.1:8001"));
    fputs(" # for the application alone\n", out);
}

static void write_routes(FILE *out, const struct config_sidecar *s)
{
    const char *rest;
    fputs("routes:\n", out);
    for (size_t i = 0; i < s->app_count; i++) {
        fputs("  - { match: { listener: ", out);
        write_app_name(out, i);
        fputs(" }, to: ", out);
        write_app_name(out, i);
        fputs(" }\n", out);
    }
    for (size_t i = 0; i < s->service_count; i++) {
        struct span name = before_equals(s->services[i], &rest);
        fputs("  - { match: { listener: out, host: ", out);
        sidecar_emit(out, name);
        fputs(" }, to: ", out);
        sidecar_emit(out, name);
        fputs(" }\n", out);
    }
}

static void write_pools(FILE *out, const struct config_sidecar *s)
{
    const char *rest;
    fputs("pools:\n", out);
    for (size_t i = 0; i < s->app_count; i++) {
        before_equals(s->apps[i], &rest);
        fputs("  ", out);
        write_app_name(out, i);
        fputs(": ", out);
        sidecar_pool_write_list(out, rest);
        fputc('\n', out);
    }
    for (size_t i = 0; i < s->service_count; i++) {
        fputs("  ", out);
        sidecar_emit(out, before_equals(s->services[i], &rest));
        fputs(": ", out);
        sidecar_pool_write(out, rest);
        fputc('\n', out);
    }
}

void config_write_sidecar(FILE *out, const struct config_sidecar *s)
{
    fputs("version: 1\n"
          "workers: 1 # a sidecar is to be small\n"
          "limits: { connections: 2000 }\n"
          "shutdown: 25s # less than the 30 s that a pod has by default\n"
          "admin: { listen: ",
          out);
    emit_text(out, or_default(s->admin, "127.0.0.1:9900"));
    fputs(" }\n", out);
    write_listeners(out, s);
    write_routes(out, s);
    write_pools(out, s);
}

/* ---- loading ---- */

/* Nobody wrote the file, so messages name the option that a value came from. */
static void name_options(struct config_errors *errs)
{
    static const struct {
        const char *path, *option;
    } rows[] = {{"admin", "--admin"},        {"listeners.out", "--out"},
                {"listeners.app-", "--app"}, {"listeners.app", "--in, or LISTEN of --app"},
                {"pools.app", "--app"},      {"pools", "--to"},
                {"routes", "--to"}};
    for (size_t i = 0; i < errs->count; i++) {
        struct config_error *e = &errs->items[i];
        const char *path = or_default(e->path, "");
        e->pos.line = e->pos.column = 0;
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
            if (strncmp(path, rows[r].path, strlen(rows[r].path)) == 0) {
                e->path = rows[r].option;
                break;
            }
    }
}

static void complain(struct config_errors *errs, const char *option, const char *text,
                     const char *why)
{
    config_errors_add(errs, CONFIG_ERROR, (struct config_pos){COMMAND_LINE, 0, 0}, option, "%s: %s",
                      text, why);
}

static bool texts_ok(const char *option, const char *const *texts, size_t n, bool named,
                     struct config_errors *errs)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        const char *rest, *why = NULL;
        size_t name = before_equals(texts[i], &rest).len;
        if (!subst_utf8_ok(texts[i], strlen(texts[i])) || strpbrk(texts[i], "\r\n") != NULL)
            why = "not a line of UTF-8 text";
        else if (strlen(texts[i]) >= SIDECAR_TEXT)
            why = "longer than any address";
        else if (named && name == 0)
            why = "expected NAME=ADDRESS, such as orders=orders.default.svc:8080";
        else if (!named && i > 0 && name == 0)
            why = "expected LISTEN=ADDRESS, such as :8002=127.0.0.1:8081, for all but the first";
        else if (named)
            why = sidecar_pool_flaw(rest);
        if (why != NULL)
            complain(errs, option, texts[i], why);
        ok &= why == NULL;
    }
    return ok;
}

/* Hosts have no case, and by them a service is chosen. */
static const char *name_flaw(const struct config_sidecar *s, size_t i)
{
    const char *rest;
    char app[APP_NAME];
    struct span name = before_equals(s->services[i], &rest);
    for (size_t j = 0; j < i; j++)
        if (span_eq_nocase(before_equals(s->services[j], &rest), name))
            return "this name has been given already; the endpoints of one service go together, as "
                   "NAME=ADDRESS,ADDRESS";
    for (size_t j = 0; j < s->app_count; j++)
        if (span_eq_nocase(span_str(app_name(j, app)), name))
            return "this is what the application is called here; give the service another name";
    return NULL;
}

static bool names_ok(const struct config_sidecar *s, struct config_errors *errs)
{
    bool ok = true;
    for (size_t i = 0; i < s->service_count; i++) {
        const char *why = name_flaw(s, i);
        if (why != NULL)
            complain(errs, "--to", s->services[i], why);
        ok &= why == NULL;
    }
    return ok;
}

static void write_it(FILE *out, const void *sidecar)
{
    config_write_sidecar(out, sidecar);
}

int config_load_sidecar(const struct config_sidecar *s, struct config **out,
                        struct config_errors *errs)
{
    *out = NULL;
    const char *const ours[] = {or_default(s->in, ""), or_default(s->out, ""),
                                or_default(s->admin, "")};
    bool ok = texts_ok("--app", s->apps, s->app_count, false, errs);
    ok &= texts_ok("--to", s->services, s->service_count, true, errs);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        ok &= texts_ok("an address", &ours[i], 1, false, errs);
    if (!ok || !names_ok(s, errs))
        return -1;
    return config_load_written(write_it, s, name_options, out, errs);
}
