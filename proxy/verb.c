/* SPDX-License-Identifier: Apache-2.0 */
/* What verbs have in common. Owns the words for a wrong command line. The only thread. */
#include "proxy/verb.h"

#include <ctype.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/runtime_admin.h"

#define ADMIN_DEFAULT "127.0.0.1:9900"
#define DAY_MS        ((uint64_t)24 * 3600 * 1000)

int verb_usage(const struct verb *verb, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "weir %s: ", verb->name);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nusage: weir %s %s\n`weir help %s` tells more.\n", verb->name, verb->args,
            verb->name);
    return EXIT_USAGE;
}

/* getopt prints nothing itself; '?' and ':' are said in our words. */
int verb_bad_option(const struct verb *verb, int c, char **argv)
{
    if (c == ':')
        return verb_usage(verb, "%s needs a value", argv[optind - 1]);
    return verb_usage(verb, "there is no option %s", argv[optind - 1]);
}

bool verb_duration(const char *text, uint64_t *ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long n = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        *ms = n * units[i].ms;
        return n <= DAY_MS && *ms <= DAY_MS;
    }
    return false;
}

/* ---- asking a weir that runs ---- */

bool verb_admin_option(struct verb_admin *a, int c, const char *value)
{
    if (c == 'A')
        a->address = value;
    else if (c == 'c')
        a->file = value;
    else
        return false;
    return true;
}

void verb_admin_fini(struct verb_admin *a)
{
    free(TAKE(a->found));
    free(TAKE(a->token));
    free(TAKE(a->ca));
    free(TAKE(a->at));
}

static const char *env_or_null(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* What it takes to be let in, unless the environment has it. Who may not read the token may still
 * ask for what needs none. The server's own certificate is there to be trusted, if it is in a file
 * and not in a folder of many. */
static void find_secrets(struct verb_admin *a, const struct config *cfg)
{
    struct config_errors errs = {0};
    struct stat st;
    (void)runtime_admin_token(cfg, &a->token, &errs);
    config_errors_free(&errs);
    a->tls = cfg->admin.tls.enabled;
    if (a->tls && stat(cfg->admin.tls.certs[0].text, &st) == 0 && !S_ISDIR(st.st_mode))
        a->ca = mem_need(strdup(cfg->admin.tls.certs[0].text));
}

/* False: stderr has it. */
static bool find_in_file(const struct verb *verb, struct verb_admin *a)
{
    struct config *cfg;
    struct config_errors errs = {0};
    int err = config_load_file(a->file, &cfg, &errs);
    if (err != 0)
        config_errors_print(&errs, stderr); /* of its warnings the one that serves has told */
    config_errors_free(&errs);
    if (err != 0)
        return false;
    if (!cfg->admin.enabled)
        fprintf(stderr, "weir %s: %s has no admin listener\n", verb->name, a->file);
    else if (cfg->admin.listen.kind == CONFIG_ADDR_TCP && cfg->admin.listen.port == 0)
        fprintf(stderr, "weir %s: %s lets the kernel choose the admin's port: --admin names it\n",
                verb->name, a->file);
    else
        a->found = mem_need(strdup(cfg->admin.listen.text));
    find_secrets(a, cfg);
    config_free(cfg);
    return a->found != NULL;
}

/* NULL: stderr has it. */
static const char *find_admin(const struct verb *verb, struct verb_admin *a)
{
    if (a->address != NULL)
        return a->address;
    if (a->file != NULL)
        return a->found != NULL || find_in_file(verb, a) ? a->found : NULL;
    const char *env = env_or_null("WEIR_ADMIN");
    return env != NULL ? env : ADMIN_DEFAULT;
}

/* What was given may be a URL, of which only the host and the port are of use. False: stderr has
 * what is wrong. */
static bool take_address(const struct verb *verb, struct verb_admin *a, const char *given)
{
    struct span at = span_str(given);
    bool is_https = span_skip(&at, SPAN_LIT("https://"));
    bool is_url = is_https || span_skip(&at, SPAN_LIT("http://"));
    free(a->at);
    a->at = mem_need(strdup(at.ptr));
    a->https = is_https;
    char *path = is_url || !span_starts(at, SPAN_LIT("unix:")) ? strchr(a->at, '/') : NULL;
    if (path == NULL)
        return true;
    if (path[1] != '\0') {
        fprintf(stderr,
                "weir %s: %s has a path, \"%s\": --admin is host:port, :port or unix:/path\n",
                verb->name, given, path);
        return false;
    }
    *path = '\0';
    return true;
}

void verb_parameter(FILE *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    fprintf(out, "&%s=", name);
    for (; *value != '\0'; value++)
        if (isalnum((unsigned char)*value) || strchr("-._~/:", *value) != NULL)
            fputc(*value, out);
        else
            fprintf(out, "%%%02X", (unsigned char)*value);
}

bool verb_ask(const struct verb *verb, struct verb_admin *a, const char *method, const char *path,
              uint64_t within_ms, struct admin_answer *answer)
{
    return verb_send(verb, a, method, path, span_of(NULL, 0), within_ms, answer);
}

bool verb_send(const struct verb *verb, struct verb_admin *a, const char *method, const char *path,
               struct span body, uint64_t within_ms, struct admin_answer *answer)
{
    char why[ADMIN_WHY];
    const char *at = find_admin(verb, a), *token = env_or_null("WEIR_ADMIN_TOKEN");
    const char *ca = env_or_null("WEIR_ADMIN_CA");
    if (at == NULL || !take_address(verb, a, at))
        return false;
    const struct admin_server server = {
        .at = a->at,
        .token = token != NULL ? token : a->token,
        .tls = a->https || a->tls,
        .any_name = a->tls, /* the file says which one it is */
        .ca = ca != NULL ? ca : a->ca,
        .cert = env_or_null("WEIR_ADMIN_CERT"),
        .key = env_or_null("WEIR_ADMIN_KEY"),
    };
    if (admin_ask(&server, method, path, body, within_ms, answer, why))
        return true;
    fprintf(stderr, "weir %s: %s%s\n", verb->name, why,
            a->address == NULL && a->file == NULL
                ? " (--admin ADDR or -c FILE says where the admin listener is)"
                : "");
    return false;
}
