/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. Owns argument parsing and exit codes: 0 fine, 1 configuration or start-up
 * error, 2 usage. Control thread.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/etcd_url.h"
#include "config/sidecar.h"
#include "config/suggest.h"
#include "proxy/base/mem.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/runtime_centre.h"
#include "proxy/early.h"
#include "proxy/launcher.h"
#include "proxy/net/tls.h"
#include "proxy/runtime.h"
#include "proxy/runtime_admin.h"
#include "proxy/runtime_tls.h"
#include "proxy/takeover.h"
#include "proxy/verb.h"
#include "proxy/version.h"

#define CHECK_WAIT_MS 5000
#define RUN_WAIT_MS   10000

static const struct verb verbs[];

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

/* Of the process, for the one that may come after it; getopt reorders the other. */
static char **command_line;

static int serve(struct config *cfg, const struct runtime_origin *from, const char *ready_file)
{
    struct config_errors errs = {0};
    log_set_level((enum log_level)cfg->log_level);
    int launcher = launcher_start(command_line);
    if (launcher < 0)
        log_warn("no binary upgrades: %s", strerror(errno));
    if (!takeover_receive()) {
        config_free(cfg);
        return EXIT_NO;
    }
    int status = runtime_run(cfg, from, ready_file, launcher, &errs);
    config_errors_print(&errs, stderr);
    config_errors_free(&errs);
    return status;
}

/* ---- verbs ---- */

struct run {
    const char *file, *url, *cache, *wait, *ready;
    uint64_t wait_ms;
};

static int run_file(const struct run *run)
{
    struct config *cfg;
    struct config_errors errs = {0};
    int err = config_load_file(run->file, &cfg, &errs);
    cfg = loaded(err, cfg, &errs);
    return cfg != NULL ? serve(cfg, &(struct runtime_origin){.file = run->file}, run->ready)
                       : EXIT_NO;
}

static int run_centre(const struct verb *verb, const struct run *run)
{
    const char *why;
    struct config *cfg;
    struct config_errors errs = {0};
    struct runtime_centre *centre = runtime_centre_new(run->url, run->cache, &why);
    if (centre == NULL)
        return verb_usage(verb, "--config-from %s: %s", run->url, why);
    int err = runtime_centre_first(centre, run->wait_ms, &cfg, &errs);
    cfg = loaded(err, cfg, &errs);
    int status =
        cfg != NULL ? serve(cfg, &(struct runtime_origin){.centre = centre}, run->ready) : EXIT_NO;
    runtime_centre_free(centre);
    return status;
}

static int run(const struct verb *verb, struct run *run)
{
    run->wait_ms = RUN_WAIT_MS;
    if ((run->file == NULL) == (run->url == NULL))
        return verb_usage(verb, run->file == NULL
                                    ? "which file? -c FILE names it, or --config-from URL a key of "
                                      "etcd"
                                    : "-c and --config-from are two configurations");
    if (run->file != NULL && (run->cache != NULL || run->wait != NULL))
        return verb_usage(verb, "--config-cache and --config-wait are for --config-from");
    if (run->wait != NULL && !verb_duration(run->wait, &run->wait_ms))
        return verb_usage(verb, "--config-wait is a time such as 10s, not \"%s\"", run->wait);
    return run->file != NULL ? run_file(run) : run_centre(verb, run);
}

static int verb_run(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"config-from", required_argument, NULL, 'f'},
                                            {"config-cache", required_argument, NULL, 'C'},
                                            {"config-wait", required_argument, NULL, 'w'},
                                            {"ready-file", required_argument, NULL, 'r'},
                                            {0}};
    struct run r = {0};
    int c;
    while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
        if (c == 'c')
            r.file = optarg;
        else if (c == 'f')
            r.url = optarg;
        else if (c == 'C')
            r.cache = optarg;
        else if (c == 'w')
            r.wait = optarg;
        else if (c == 'r')
            r.ready = optarg;
        else
            return verb_bad_option(verb, c, argv);
    }
    if (optind < argc)
        return verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    return run(verb, &r);
}

/* A file, or a key of etcd. */
static int check_load(const char *name, struct config **cfg, struct config_errors *errs)
{
    const char *why;
    if (!etcd_url_is(name))
        return config_load_file(name, cfg, errs);
    struct runtime_centre *centre = runtime_centre_new(name, NULL, &why);
    int err = -1;
    if (centre == NULL)
        config_errors_add(errs, CONFIG_ERROR, (struct config_pos){name, 0, 0}, NULL, "%s", why);
    else
        err = runtime_centre_first(centre, CHECK_WAIT_MS, cfg, errs);
    runtime_centre_free(centre);
    return err;
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
            return verb_bad_option(verb, c, argv);
    }
    if (optind + 1 != argc)
        return verb_usage(verb, optind == argc ? "which file?" : "one file at a time");
    struct config *cfg;
    struct config_errors errs = {0};
    int err = check_load(argv[optind], &cfg, &errs);
    char *token = NULL, *registry = NULL;
    if (err == 0 && files &&
        !(runtime_check(cfg, &errs) & runtime_admin_token(cfg, &token, &errs) &
          runtime_registry_token(cfg, &registry, &errs))) {
        config_free(TAKE(cfg));
        err = -1;
    }
    free(token);
    free(registry);
    size_t n_errors = errs.errors, n_warnings = errs.warnings;
    config_errors_print(&errs, stderr);
    config_errors_free(&errs);
    if (err != 0) {
        fprintf(stderr, "%s: %zu error%s\n", argv[optind], n_errors, n_errors == 1 ? "" : "s");
        return EXIT_NO;
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
            status = verb_bad_option(verb, c, argv);
    }
    if (status < 0 && optind < argc)
        status = verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    if (status < 0 && (from == NULL || n_to == 0))
        status = verb_usage(verb, "%s", from == NULL ? "--from is missing" : "--to is missing");
    if (status < 0) {
        struct config *cfg;
        struct config_errors errs = {0};
        int err = config_load_proxy(from, to, n_to, &cfg, &errs);
        cfg = loaded(err, cfg, &errs);
        status = cfg != NULL ? serve(cfg, &(struct runtime_origin){0}, ready) : EXIT_NO;
    }
    free(to);
    return status;
}

/* Adds a value to a list; false: it is full. */
static bool take(const char **list, size_t *n, const char *value)
{
    if (*n == CONFIG_SIDECAR_MAX)
        return false;
    list[(*n)++] = value;
    return true;
}

static int serve_sidecar(const struct config_sidecar *sidecar, bool print, const char *ready)
{
    struct config *cfg;
    struct config_errors errs = {0};
    int err = config_load_sidecar(sidecar, &cfg, &errs);
    cfg = loaded(err, cfg, &errs);
    if (cfg == NULL)
        return EXIT_NO;
    if (!print)
        return serve(cfg, &(struct runtime_origin){0}, ready);
    config_write_sidecar(stdout, sidecar);
    config_free(cfg);
    return 0;
}

static int verb_sidecar(const struct verb *verb, int argc, char **argv)
{
    static const struct option options[] = {
        {"app", required_argument, NULL, 'a'},   {"to", required_argument, NULL, 't'},
        {"in", required_argument, NULL, 'i'},    {"out", required_argument, NULL, 'o'},
        {"admin", required_argument, NULL, 'A'}, {"ready-file", required_argument, NULL, 'r'},
        {"print", no_argument, NULL, 'p'},       {0}};
    struct config_sidecar sidecar = {0};
    const char *ready = NULL;
    bool print = false, room = true;
    int c;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'a')
            room &= take(sidecar.apps, &sidecar.app_count, optarg);
        else if (c == 't')
            room &= take(sidecar.services, &sidecar.service_count, optarg);
        else if (c == 'i')
            sidecar.in = optarg;
        else if (c == 'o')
            sidecar.out = optarg;
        else if (c == 'A')
            sidecar.admin = optarg;
        else if (c == 'r')
            ready = optarg;
        else if (c == 'p')
            print = true;
        else
            return verb_bad_option(verb, c, argv);
    }
    if (optind < argc)
        return verb_usage(verb, "unexpected argument \"%s\"", argv[optind]);
    if (sidecar.app_count == 0)
        return verb_usage(verb, "--app is missing");
    if (!room)
        return verb_usage(verb, "more than %d of them: write a file (--print is a beginning)",
                          CONFIG_SIDECAR_MAX);
    return serve_sidecar(&sidecar, print, ready);
}

/* For a verb that takes one option and nothing else: whether it was given. -1, or the exit code. */
static int only_flag(const struct verb *verb, const char *name, bool *given, int argc, char **argv)
{
    const struct option options[] = {{name, no_argument, NULL, 'f'}, {0}};
    int c;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c != 'f')
            return verb_bad_option(verb, c, argv);
        *given = true;
    }
    return optind < argc ? verb_usage(verb, "unexpected argument \"%s\"", argv[optind]) : -1;
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
        return verb_usage(verb, "one verb at a time");
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
    {"run", "-c FILE | --config-from URL [--ready-file PATH]", "serves what FILE says",
     "Runs in the foreground and logs to stderr. SIGTERM drains and ends it, a second one ends it\n"
     "at once. --ready-file: once every worker listens, PATH is written with the process id and "
     "the\n"
     "bound addresses as JSON. --config-from: the configuration is a key of etcd, such as\n"
     "etcd://10.0.0.1:2379,10.0.0.2:2379/weir/weir.yaml, and is applied whenever it changes; etcds "
     "is\n"
     "TLS, with ?ca=FILE&cert=FILE&key=FILE&sni=NAME; &user=NAME&password_file=FILE. The start "
     "waits\n"
     "--config-wait 10s for it. --config-cache FILE: a copy of what served last, which a start "
     "without\n"
     "etcd, or with a configuration there that is wrong, goes back to.\n",
     verb_run},
    {"check", "FILE [--dump] [--no-files]", "says whether FILE is valid, and all that is wrong",
     "--dump prints the effective configuration with every default filled in. --no-files leaves\n"
     "the certificates and keys that FILE names alone, which may be elsewhere. Nothing is "
     "started.\n"
     "FILE may be a key of etcd, as for `weir run`.\n",
     verb_check},
    {"explain", "[FILE] URL [-X METHOD] [-H FIELD]... [--json]", "says what becomes of a request",
     "Which listener and route it takes and why not another, what the endpoint would be sent, "
     "which\n"
     "endpoints there are and what speaks against each, the timeouts and the retries: as FILE has\n"
     "it, which nobody need serve, or without FILE as a running weir does, with the endpoint that\n"
     "is next. -H 'name: value' adds a field, --client ADDR and --listener NAME say where it "
     "comes\n"
     "from, --all lists every route.\n" VERB_ADMIN_HELP,
     verb_explain},
    {"proxy", "--from ADDR --to ADDR [--to ADDR]...", "proxies without a file",
     "Balances over all --to addresses. ADDR is host:port, :port, [v6]:port or unix:/path.\n"
     "--ready-file PATH works as for `weir run`.\n",
     verb_proxy},
    {"sidecar", "--app [LISTEN=]ADDR [--to NAME=SERVICE]...",
     "is the proxy of a pod, without a file",
     "What comes in at LISTEN (the first: --in, :8000) goes to the application at ADDR, such as\n"
     "127.0.0.1:8080 or unix:/run/app.sock. What the application asks for at --out ADDR\n"
     "(127.0.0.1:8001) goes to the service of that NAME, balanced over its endpoints, retried and "
     "with\n"
     "what fails put aside. The endpoints are ADDR[,ADDR]..., what DNS has for HOST:PORT or of "
     "SRV\n"
     "for _SERVICE._PROTO.HOST, kubernetes://[NAMESPACE/]SERVICE[:PORT], "
     "etcd://HOST[:PORT]/PREFIX/\n"
     "or file:PATH, and are followed as they change. The admin listener is --admin 127.0.0.1:9900. "
     "--print prints the\n"
     "configuration that it stands for. --ready-file PATH works as for `weir run`.\n",
     verb_sidecar},
    {"reload", VERB_ADMIN_ARGS " [--canary 5% --for 30s]", "has a running weir read its file again",
     "Returns when the file serves: exit status 0; or says what is wrong with it, as weir check "
     "does,\n"
     "and nothing has changed: 1. With --canary only that share of the new requests begins with "
     "it,\n"
     "--for so long. What is worse than --guard allows is taken back at once; such as\n"
     "--guard '5xx<+1%,p99<+20%': by how much its answers may fail more often, or begin later, "
     "than\n"
     "those beside it. 5xx<2% and p99<300ms are for its own; p50 and p90 too.\n" VERB_ADMIN_HELP,
     verb_reload},
    {"plan", "NEW.yaml [--json] " VERB_ADMIN_ARG,
     "says what a running weir would change for NEW.yaml",
     "Listeners, routes, pools and endpoints that are added, changed and removed; how many "
     "requests\n"
     "are in flight there, which end as they began, and how many connections would be closed.\n"
     "Nothing is changed.\n" VERB_ADMIN_HELP,
     verb_plan},
    {"probe", "live|ready " VERB_ADMIN_ARGS, "asks a running weir how it is",
     "Exit status 0: it is; 1: it is not, or does not answer within --within 1s. For the probes of "
     "a\n"
     "pod.\n" VERB_ADMIN_HELP,
     verb_probe},
    {"top", "[--every 2s] [--once] " VERB_ADMIN_ARGS, "shows a running weir in the terminal",
     "Rates, latencies, and each endpoint with its state and why, until Ctrl-C. --once prints it "
     "once,\n"
     "and so does an output that is no terminal.\n" VERB_ADMIN_HELP,
     verb_top},
    {"drain", "[--settle 5s] [--within 25s] " VERB_ADMIN_ARG, "takes a running weir out of service",
     "From now on it is not ready, and connections end with their next answer; all else is served "
     "as\n"
     "before. Returns once that has been so for the time to settle, in which others learn of it, "
     "and\n"
     "no request is in flight: exit status 0; or after --within: 1. For a pod's preStop, so that\n"
     "SIGTERM has nothing to cut.\n" VERB_ADMIN_HELP,
     verb_drain},
    {"why", "ID [--json] " VERB_ADMIN_ARG, "tells what became of a request, and what to do",
     "ID is that of a request that failed, was tried again or slow: weir's own errors name it, "
     "and\n"
     "every request has it in the access log and as X-Request-Id. Its timeline is kept for a "
     "while\n"
     "(`flight` in the configuration). Exit status 1: it is not, or not any "
     "more.\n" VERB_ADMIN_HELP,
     verb_why},
    {"schema", "[--man]", "prints the JSON Schema of the configuration",
     "Editors that know JSON Schema complete and check the YAML with it. --man prints the page\n"
     "weir.yaml(5) of the manual instead.\n",
     verb_schema},
    {"version", "[--json]", "prints the version, the libraries' and what weir speaks", "",
     verb_version},
    {"help", "[VERB]", "tells what a verb does", "", verb_help},
    {0},
};

/* The others are ended by a signal, as any program. */
static bool serves(const struct verb *verb)
{
    return verb->run == verb_run || verb->run == verb_proxy || verb->run == verb_sidecar;
}

static char **copy_line(int argc, char **argv)
{
    char **line = mem_need(calloc((size_t)argc + 1, sizeof(*line)));
    memcpy(line, argv, (size_t)argc * sizeof(*line));
    return line;
}

int main(int argc, char **argv)
{
    early_signals_hold();
    early_descriptors();
    tls_setup();
    command_line = copy_line(argc, argv);
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
    if (!serves(verb))
        early_signals_as_before();
    return verb->run(verb, argc - 1, argv + 1);
}
