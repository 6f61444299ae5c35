/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. Owns argument parsing and exit codes: 0 fine, 1 configuration or start-up
 * error, 2 usage. Control thread.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/suggest.h"
#include "proxy/base/mem.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/net/tls.h"
#include "proxy/runtime.h"
#include "proxy/runtime_tls.h"
#include "proxy/version.h"

enum { EXIT_CONFIG = 1, EXIT_USAGE = 2 };

struct verb {
    const char *name;
    const char *args;
    const char *summary;
    const char *detail;
    int (*run)(const struct verb *verb, int argc, char **argv);
};

static const struct verb verbs[];

__attribute__((format(printf, 2, 3))) static int usage(const struct verb *verb, const char *format,
                                                       ...)
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
static int bad_option(const struct verb *verb, int c, char **argv)
{
    if (c == ':')
        return usage(verb, "%s needs a value", argv[optind - 1]);
    return usage(verb, "there is no option %s", argv[optind - 1]);
}

/* ---- loading ---- */

/* Ends the loading of a file: messages to stderr, NULL if there were errors. */
static struct config *loaded(int err, struct config *cfg, struct config_errors *errs)
{
    config_errors_print(errs, stderr);
    if (err != 0 && errs->errors > 0)
        fprintf(stderr, "weir: %zu error%s; nothing was started\n", errs->errors,
                errs->errors == 1 ? "" : "s");
    config_errors_free(errs);
    return err == 0 ? cfg : NULL;
}

static int serve(struct config *cfg, const char *ready_file)
{
    struct config_errors errs = {0};
    log_set_level((enum log_level)cfg->log_level);
    int status = runtime_run(cfg, ready_file, &errs);
    config_errors_print(&errs, stderr);
    config_errors_free(&errs);
    config_free(cfg);
    return status;
}

/* ---- verbs ---- */

static int verb_run(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"ready-file", required_argument, NULL, 'r'},
                                            {0}};
    const char *file = NULL, *ready = NULL;
    int c;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'c')
            file = optarg;
        else if (c == 'r')
            ready = optarg;
        else
            return bad_option(verb, c, argv);
    }
    if (optind < argc)
        return usage(verb, "unexpected argument \"%s\"", argv[optind]);
    if (file == NULL)
        return usage(verb, "which file? -c FILE names it");
    struct config *cfg;
    struct config_errors errs = {0};
    int err = config_load_file(file, &cfg, &errs);
    cfg = loaded(err, cfg, &errs);
    return cfg != NULL ? serve(cfg, ready) : EXIT_CONFIG;
}

static int verb_check(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {
        {"dump", no_argument, NULL, 'd'}, {"no-files", no_argument, NULL, 'n'}, {0}};
    bool dump = false, files = true;
    int c;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'd')
            dump = true;
        else if (c == 'n')
            files = false;
        else
            return bad_option(verb, c, argv);
    }
    if (optind + 1 != argc)
        return usage(verb, optind == argc ? "which file?" : "one file at a time");
    struct config *cfg;
    struct config_errors errs = {0};
    int err = config_load_file(argv[optind], &cfg, &errs);
    if (err == 0 && files && !runtime_check(cfg, &errs)) {
        config_free(TAKE(cfg));
        err = -1;
    }
    size_t n_errors = errs.errors, n_warnings = errs.warnings;
    config_errors_print(&errs, stderr);
    config_errors_free(&errs);
    if (err != 0) {
        fprintf(stderr, "%s: %zu error%s\n", argv[optind], n_errors, n_errors == 1 ? "" : "s");
        return EXIT_CONFIG;
    }
    if (dump)
        config_dump(cfg, stdout);
    else if (n_warnings > 0)
        printf("%s: valid, with %zu warning%s\n", argv[optind], n_warnings,
               n_warnings == 1 ? "" : "s");
    else
        printf("%s: valid\n", argv[optind]);
    config_free(cfg);
    return 0;
}

static int verb_proxy(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {"to", required_argument, NULL, 't'},
                                            {"ready-file", required_argument, NULL, 'r'},
                                            {0}};
    const char *from = NULL, *ready = NULL;
    const char **to = mem_need(calloc((size_t)argc, sizeof(*to)));
    size_t n_to = 0;
    int c, status = -1;
    while (status < 0 && (c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'f')
            from = optarg;
        else if (c == 't')
            to[n_to++] = optarg;
        else if (c == 'r')
            ready = optarg;
        else
            status = bad_option(verb, c, argv);
    }
    if (status < 0 && optind < argc)
        status = usage(verb, "unexpected argument \"%s\"", argv[optind]);
    if (status < 0 && (from == NULL || n_to == 0))
        status = usage(verb, "%s", from == NULL ? "--from is missing" : "--to is missing");
    if (status < 0) {
        struct config *cfg;
        struct config_errors errs = {0};
        int err = config_load_proxy(from, to, n_to, &cfg, &errs);
        cfg = loaded(err, cfg, &errs);
        status = cfg != NULL ? serve(cfg, ready) : EXIT_CONFIG;
    }
    free(to);
    return status;
}

/* For a verb that takes one option and nothing else: whether it was given. -1, or the exit code. */
static int only_flag(const struct verb *verb, const char *name, bool *given, int argc, char **argv)
{
    const struct option options[] = {{name, no_argument, NULL, 'f'}, {0}};
    int c;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c != 'f')
            return bad_option(verb, c, argv);
        *given = true;
    }
    return optind < argc ? usage(verb, "unexpected argument \"%s\"", argv[optind]) : -1;
}

static int verb_schema(const struct verb *verb, int argc, char **argv)
{
    bool man = false;
    int status = only_flag(verb, "man", &man, argc, argv);
    if (status >= 0)
        return status;
    (man ? config_manual : config_schema)(stdout);
    return 0;
}

static int verb_version(const struct verb *verb, int argc, char **argv)
{
    bool json = false;
    int status = only_flag(verb, "json", &json, argc, argv);
    if (status >= 0)
        return status;
    version_print(stdout, json);
    return 0;
}

static const struct verb *verb_find(const char *name)
{
    for (const struct verb *v = verbs; v->name != NULL; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static int no_verb(const char *name)
{
    struct suggest s;
    suggest_init(&s, name);
    for (const struct verb *v = verbs; v->name != NULL; v++)
        suggest_offer(&s, v->name);
    if (s.best != NULL)
        fprintf(stderr, "weir: there is no verb \"%s\"; did you mean \"%s\"?\n", name, s.best);
    else
        fprintf(stderr, "weir: there is no verb \"%s\"; `weir help` lists them\n", name);
    return EXIT_USAGE;
}

static void print_help(FILE *out)
{
    fprintf(out, "weir %s, a Layer-7 load balancer and reverse proxy\n\n", WEIR_VERSION);
    for (const struct verb *v = verbs; v->name != NULL; v++)
        fprintf(out, "  weir %-8s %-44s %s\n", v->name, v->args, v->summary);
    fprintf(out, "\nThe quickest start: weir proxy --from :8000 --to 127.0.0.1:8080\n");
}

static int verb_help(const struct verb *verb, int argc, char **argv)
{
    if (argc > 2)
        return usage(verb, "one verb at a time");
    if (argc < 2) {
        print_help(stdout);
        return 0;
    }
    const struct verb *v = verb_find(argv[1]);
    if (v == NULL)
        return no_verb(argv[1]);
    printf("weir %s %s\n\n%s.\n%s", v->name, v->args, v->summary, v->detail);
    return 0;
}

static const struct verb verbs[] = {
    {"run", "-c FILE [--ready-file PATH]", "serves what FILE says",
     "Runs in the foreground and logs to stderr. SIGTERM drains and ends it, a second one ends it\n"
     "at once. --ready-file: once every worker listens, PATH is written with the process id and "
     "the\n"
     "bound addresses as JSON.\n",
     verb_run},
    {"check", "FILE [--dump] [--no-files]", "says whether FILE is valid, and all that is wrong",
     "--dump prints the effective configuration with every default filled in. --no-files leaves\n"
     "the certificates and keys that FILE names alone, which may be elsewhere. Nothing is "
     "started.\n",
     verb_check},
    {"proxy", "--from ADDR --to ADDR [--to ADDR]...", "proxies without a file",
     "Balances over all --to addresses. ADDR is host:port, :port, [v6]:port or unix:/path.\n"
     "--ready-file PATH works as for `weir run`.\n",
     verb_proxy},
    {"schema", "[--man]", "prints the JSON Schema of the configuration",
     "Editors that know JSON Schema complete and check the YAML with it. --man prints the page\n"
     "weir.yaml(5) of the manual instead.\n",
     verb_schema},
    {"version", "[--json]", "prints the version, the libraries' and what weir speaks", "",
     verb_version},
    {"help", "[VERB]", "tells what a verb does", "", verb_help},
    {0},
};

int main(int argc, char **argv)
{
    tls_setup();
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    const struct verb *verb = verb_find(name);
    if (verb == NULL)
        return no_verb(name);
    if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
        char *args[] = {argv[0], argv[1], NULL};
        return verb_help(verb, 2, args);
    }
    return verb->run(verb, argc - 1, argv + 1);
}
