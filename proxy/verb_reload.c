/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir reload, and weir plan: what it would do. Own nothing that outlives them. The only thread.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/canary.h"
#include "proxy/verb.h"

#define WITHIN_MS 60000 /* for the work itself */

/* ---- reload ---- */

struct reload {
    const char *canary, *time, *guard;
    uint64_t within_ms;
    struct verb_admin admin;
};

/* Wrong words are said here, as a usage; the one that is asked checks them as well. */
static int check_canary(const struct verb *verb, struct reload *r)
{
    struct canary_ask ask;
    char why[GUARD_TEXT];
    if (r->canary == NULL)
        return r->time != NULL || r->guard != NULL
                   ? verb_usage(verb, "--for and --guard are a canary's: --canary says how much")
                   : 0;
    if (r->time == NULL)
        return verb_usage(verb, "for how long? --for 30s says so");
    if (!canary_parse(r->canary, r->time, r->guard, &ask, why))
        return verb_usage(verb, "%s", why);
    r->within_ms += ask.for_ms;
    return 0;
}

static char *reload_path(const struct reload *r)
{
    char *path = NULL;
    size_t len;
    FILE *out = mem_need(open_memstream(&path, &len));
    fputs("/reload?", out);
    verb_parameter(out, "canary", r->canary);
    verb_parameter(out, "for", r->time);
    verb_parameter(out, "guard", r->guard);
    return mem_need(fclose(out) == 0 ? path : NULL);
}

/* What is answered; on stderr, if it is no success. */
static int tell(const struct verb *verb, struct admin_answer *answer)
{
    bool ok = answer->status == 200;
    if (!ok && answer->status != 422)
        fprintf(stderr, "weir %s: %u: ", verb->name, answer->status);
    fputs(answer->body, ok ? stdout : stderr);
    admin_answer_free(answer);
    return ok ? 0 : EXIT_NO;
}

int verb_reload(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {VERB_ADMIN_OPTIONS,
                                            {"canary", required_argument, NULL, 'C'},
                                            {"for", required_argument, NULL, 'f'},
                                            {"guard", required_argument, NULL, 'g'},
                                            {0}};
    struct reload r = {.within_ms = WITHIN_MS};
    struct admin_answer answer;
    int c;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'C')
            r.canary = optarg;
        else if (c == 'f')
            r.time = optarg;
        else if (c == 'g')
            r.guard = optarg;
        else if (!verb_admin_option(&r.admin, c, optarg))
            return verb_bad_option(verb, c, argv);
    }
    if (optind < argc)
        return verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    int status = check_canary(verb, &r);
    if (status != 0)
        return status;
    char *path = reload_path(&r);
    status = verb_ask(verb, &r.admin, "POST", path, r.within_ms, &answer) ? tell(verb, &answer)
                                                                          : EXIT_NO;
    free(path);
    verb_admin_fini(&r.admin);
    return status;
}

/* ---- plan ---- */

static char *plan_path(const char *file, bool json)
{
    char *path = NULL;
    size_t len;
    FILE *out = mem_need(open_memstream(&path, &len));
    fprintf(out, "/plan?as=%s", json ? "json" : "text");
    verb_parameter(out, "file", file);
    return mem_need(fclose(out) == 0 ? path : NULL);
}

/* False: stderr has it. The bytes are malloc's. */
static bool read_file(const struct verb *verb, const char *file, struct span *out)
{
    char *bytes = mem_need(malloc(CONFIG_MAX_BYTES + 1));
    FILE *in = fopen(file, "re");
    size_t len = in != NULL ? fread(bytes, 1, CONFIG_MAX_BYTES + 1, in) : 0;
    bool ok = in != NULL && !ferror(in);
    if (in != NULL)
        fclose(in);
    *out = span_of(bytes, len);
    if (!ok)
        fprintf(stderr, "weir %s: %s: cannot be read\n", verb->name, file);
    return ok;
}

int verb_plan(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {
        VERB_ADMIN_OPTIONS, {"json", no_argument, NULL, 'j'}, {0}};
    struct verb_admin admin = {0};
    struct admin_answer answer;
    struct span text;
    bool json = false;
    int c, status = EXIT_NO;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'j')
            json = true;
        else if (!verb_admin_option(&admin, c, optarg))
            return verb_bad_option(verb, c, argv);
    }
    if (optind + 1 != argc)
        return verb_usage(verb, optind == argc ? "which file?" : "one file at a time");
    bool ok = read_file(verb, argv[optind], &text);
    char *path = plan_path(argv[optind], json);
    if (ok && verb_send(verb, &admin, "POST", path, text, WITHIN_MS, &answer))
        status = tell(verb, &answer);
    free(path);
    free((char *)(uintptr_t)text.ptr);
    verb_admin_fini(&admin);
    return status;
}
