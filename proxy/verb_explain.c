/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir explain: of a file, or of a weir that runs, which is asked. Owns nothing that outlives it.
 * The only thread.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/base/mem.h"
#include "proxy/explain.h"
#include "proxy/runtime_explain.h"
#include "proxy/verb.h"

#define WITHIN_MS 5000

struct options {
    struct explain_ask ask;
    struct verb_admin admin;
    bool json, all, bad;
};

/* ---- of a file ---- */

static int explain_file(const struct verb *verb, const char *file, const struct options *o)
{
    struct config *cfg;
    struct config_errors errs = {0};
    char *error = NULL;
    bool ok = config_load_file(file, &cfg, &errs) == 0 &&
              runtime_explain(cfg, &o->ask, o->json, o->all, &errs, &error);
    config_errors_print(&errs, stderr);
    config_errors_free(&errs);
    config_free(cfg);
    int status = error != NULL ? verb_usage(verb, "%s", error) : ok ? 0 : EXIT_NO;
    free(error);
    return status;
}

/* ---- of a weir that runs ---- */

static char *question_path(const struct options *o)
{
    char *path = NULL;
    size_t len;
    FILE *out = mem_need(open_memstream(&path, &len));
    fprintf(out, "/explain?as=%s%s", o->json ? "json" : "text", o->all ? "&routes=all" : "");
    verb_parameter(out, "method", o->ask.method);
    verb_parameter(out, "client", o->ask.client);
    verb_parameter(out, "listener", o->ask.listener);
    for (unsigned i = 0; i < o->ask.n_fields; i++)
        verb_parameter(out, "header", o->ask.fields[i]);
    verb_parameter(out, "url", o->ask.url);
    return mem_need(fclose(out) == 0 ? path : NULL);
}

static int explain_running(const struct verb *verb, struct options *o)
{
    struct admin_answer answer;
    char *path = question_path(o);
    bool answered = verb_ask(verb, &o->admin, "GET", path, WITHIN_MS, &answer);
    free(path);
    if (!answered)
        return EXIT_NO;
    fprintf(answer.status == 200 ? stdout : stderr, "%s", answer.body);
    int status = answer.status == 200 ? 0 : answer.status == 400 ? EXIT_USAGE : EXIT_NO;
    admin_answer_free(&answer);
    return status;
}

/* ---- the command line ---- */

static int take_option(const struct verb *verb, struct options *o, int c, char **argv)
{
    if (c == 'X')
        o->ask.method = optarg;
    else if (c == 'H' && o->ask.n_fields == EXPLAIN_FIELDS)
        return verb_usage(verb, "more than %d fields", EXPLAIN_FIELDS);
    else if (c == 'H')
        o->ask.fields[o->ask.n_fields++] = optarg;
    else if (c == 'C')
        o->ask.client = optarg;
    else if (c == 'L')
        o->ask.listener = optarg;
    else if (c == 'j')
        o->json = true;
    else if (c == 'a')
        o->all = true;
    else if (!verb_admin_option(&o->admin, c, optarg))
        return verb_bad_option(verb, c, argv);
    return -1;
}

int verb_explain(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {VERB_ADMIN_OPTIONS,
                                            {"json", no_argument, NULL, 'j'},
                                            {"all", no_argument, NULL, 'a'},
                                            {"client", required_argument, NULL, 'C'},
                                            {"listener", required_argument, NULL, 'L'},
                                            {0}};
    struct options o = {0};
    int c, status = -1;
    while (status < 0 && (c = getopt_long(argc, argv, ":c:X:H:", options, NULL)) != -1)
        status = take_option(verb, &o, c, argv);
    int n = argc - optind;
    if (status < 0 && (n < 1 || n > 2))
        status = verb_usage(verb, n < 1 ? "which URL?" : "one file, one URL");
    if (status < 0) {
        o.ask.url = argv[argc - 1];
        status = n == 2 ? explain_file(verb, argv[optind], &o) : explain_running(verb, &o);
    }
    verb_admin_fini(&o.admin);
    return status;
}
