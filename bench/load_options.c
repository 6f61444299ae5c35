/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of load. Runs once, before anything else; may end the program. */
#include "bench/load_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "usage: load MODE --to HOST:PORT|unix:PATH --connections N [OPTION]...\n"
    "\n"
    "Modes:\n"
    "  open       requests are due at a fixed rate, whatever the server does; latency counts from\n"
    "             when a request was due, so waiting for a connection is part of it\n"
    "  closed     every connection sends its next request when it has its answer\n"
    "  idle       opens the connections, one request on each, and holds them until stdin ends\n"
    "  slow       holds connections that send, or read, a byte now and then, until stdin ends\n"
    "  websocket  messages, each sent when the one before has come back; echoes are compared\n"
    "\n"
    "Options:\n"
    "  --connections N       default 1\n"
    "  --rate R              open: requests a second, over all connections\n"
    "  --seconds S           open, closed, websocket: how long is measured (default 5)\n"
    "  --warmup S            ... after so long of the same, not measured (default 0)\n"
    "  --drain S             wait so long at the end for answers still due (default 1)\n"
    "  --timeout S           an answer that takes longer is an error (default 30)\n"
    "  --path P              default /\n"
    "  --paths N             {} in the path becomes 0 to N-1, in turns\n"
    "  --method M            default GET, or POST with --body\n"
    "  --mix get=9,post=1    methods and their shares, evenly spread\n"
    "  --body BYTES          of POST, PUT and PATCH (default 0)\n"
    "  --header 'NAME: V'    one more field; may be repeated\n"
    "  --close               a new connection for every request\n"
    "  --tls                 open, closed, idle: over TLS; no certificate is looked at\n"
    "  --kind head|body|read slow: what is slow\n"
    "  --interval MS         slow: between two bytes of a connection (default 1000)\n"
    "  --once                slow: don't open again what has ended\n"
    "  --size BYTES          websocket: of a message (default 128)\n"
    "  --json                accepted and ignored: the output is always one JSON object\n"
    "\n"
    "The last line of stdout is the result. idle and slow print a line {\"ready\":true,...} "
    "first.\n"
    "Exit status: 0, 1 if it could not run, 2 for a wrong command line.\n";

static _Noreturn __attribute__((format(printf, 1, 2))) void wrong(const char *format, ...)
{
    va_list args;

    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("; see load --help\n", stderr);
    exit(2);
}

static double parse_number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (errno || end == text || *end || !(value >= least && value <= most))
        wrong("--%s %s: not a number from %g to %.0f", name, text, least, most);
    return value;
}

static uint64_t parse_count(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end || value < least || value > most)
        wrong("--%s %s: not a whole number from %llu to %llu", name, text,
              (unsigned long long)least, (unsigned long long)most);
    return value;
}

static uint64_t parse_seconds(const char *name, const char *text, double least)
{
    return (uint64_t)(parse_number(name, text, least, 1e6) * 1e9);
}

static struct mix_part parse_method(const char *text, size_t n, unsigned weight)
{
    struct mix_part part = {.weight = weight};

    if (n == 0 || n > METHOD_MAX)
        wrong("%s: not a method", text);
    for (size_t i = 0; i < n; i++) {
        char upper = (char)(text[i] & ~0x20);
        if (upper < 'A' || upper > 'Z')
            wrong("%s: not a method", text);
        part.method[i] = upper;
    }
    if (strcmp(part.method, "CONNECT") == 0)
        wrong("CONNECT is not a request with an answer");
    return part;
}

static void parse_mix(struct load_options *o, const char *text)
{
    unsigned total = 0;

    for (o->mix_len = 0; *text; o->mix_len++) {
        size_t n = strcspn(text, "=,");
        char *end = NULL;
        unsigned long weight = text[n] == '=' ? strtoul(text + n + 1, &end, 10) : 0;
        if (weight == 0 || weight > MAX_MIX_TOTAL || (*end && *end != ','))
            wrong("--mix %s: expected such as get=9,post=1", text);
        if (o->mix_len == MAX_MIX)
            wrong("--mix: at most %d methods", MAX_MIX);
        o->mix[o->mix_len] = parse_method(text, n, (unsigned)weight);
        total += (unsigned)weight;
        text = *end ? end + 1 : end;
    }
    if (total == 0 || total > MAX_MIX_TOTAL)
        wrong("--mix: the shares sum up to %u, not 1 to %d", total, MAX_MIX_TOTAL);
}

static enum slow_kind parse_kind(const char *text)
{
    if (strcmp(text, "head") == 0)
        return SLOW_HEAD;
    if (strcmp(text, "body") == 0)
        return SLOW_BODY;
    if (strcmp(text, "read") == 0)
        return SLOW_READ;
    wrong("--kind %s: expected head, body or read", text);
}

static void parse_mode(struct load_options *o, int argc, char **argv)
{
    static const char *const names[] = {"open", "closed", "idle", "slow", "websocket"};

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
    if (argc < 2)
        wrong("a mode is missing");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(argv[1], names[i]) == 0) {
            o->mode = (enum load_mode)i;
            o->name = names[i];
        }
    if (!o->name)
        wrong("%s: no such mode", argv[1]);
}

enum option_code {
    OPT_TO = 1,
    OPT_CONNECTIONS,
    OPT_RATE,
    OPT_SECONDS,
    OPT_WARMUP,
    OPT_DRAIN,
    OPT_TIMEOUT,
    OPT_PATH,
    OPT_PATHS,
    OPT_METHOD,
    OPT_MIX,
    OPT_BODY,
    OPT_HEADER,
    OPT_CLOSE,
    OPT_TLS,
    OPT_KIND,
    OPT_INTERVAL,
    OPT_ONCE,
    OPT_SIZE,
    OPT_JSON
};

static const struct option long_options[] = {
    {"to", required_argument, NULL, OPT_TO},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"rate", required_argument, NULL, OPT_RATE},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"drain", required_argument, NULL, OPT_DRAIN},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"path", required_argument, NULL, OPT_PATH},
    {"paths", required_argument, NULL, OPT_PATHS},
    {"method", required_argument, NULL, OPT_METHOD},
    {"mix", required_argument, NULL, OPT_MIX},
    {"body", required_argument, NULL, OPT_BODY},
    {"header", required_argument, NULL, OPT_HEADER},
    {"close", no_argument, NULL, OPT_CLOSE},
    {"tls", no_argument, NULL, OPT_TLS},
    {"kind", required_argument, NULL, OPT_KIND},
    {"interval", required_argument, NULL, OPT_INTERVAL},
    {"once", no_argument, NULL, OPT_ONCE},
    {"size", required_argument, NULL, OPT_SIZE},
    {"json", no_argument, NULL, OPT_JSON},
    {0}};

static void set_option(struct load_options *o, int option, const char *value)
{
    switch (option) {
    case OPT_TO:
        o->to = value;
        break;
    case OPT_CONNECTIONS:
        o->connections = (unsigned)parse_count("connections", value, 1, 1000000);
        break;
    case OPT_RATE:
        o->rate = parse_number("rate", value, 0.001, 1e7);
        break;
    case OPT_SECONDS:
        o->measured_ns = parse_seconds("seconds", value, 0.001);
        break;
    case OPT_WARMUP:
        o->warmup_ns = parse_seconds("warmup", value, 0);
        break;
    case OPT_DRAIN:
        o->drain_ns = parse_seconds("drain", value, 0);
        break;
    case OPT_TIMEOUT:
        o->timeout_ns = parse_seconds("timeout", value, 0.001);
        break;
    case OPT_PATH:
        o->path = value;
        break;
    case OPT_PATHS:
        o->paths = (unsigned)parse_count("paths", value, 1, 1000000);
        break;
    case OPT_METHOD:
        o->mix[0] = parse_method(value, strlen(value), 1);
        o->mix_len = 1;
        break;
    case OPT_MIX:
        parse_mix(o, value);
        break;
    case OPT_BODY:
        o->body = parse_count("body", value, 0, UINT64_C(1) << 50);
        break;
    case OPT_HEADER:
        if (o->fields_len == MAX_FIELDS || !strchr(value, ':') || strpbrk(value, "\r\n"))
            wrong("--header: 'Name: value', at most %d times", MAX_FIELDS);
        o->fields[o->fields_len++] = value;
        break;
    case OPT_CLOSE:
        o->close = true;
        break;
    case OPT_TLS:
        o->tls = true;
        break;
    case OPT_KIND:
        o->kind = parse_kind(value);
        break;
    case OPT_INTERVAL:
        o->interval_ns = (uint64_t)(parse_number("interval", value, 0.001, 1e9) * 1e6);
        break;
    case OPT_ONCE:
        o->once = true;
        break;
    case OPT_SIZE:
        o->size = parse_count("size", value, 0, 16 << 20);
        break;
    case OPT_JSON:
        break;
    default: /* getopt has said what is wrong */
        exit(2);
    }
}

void options_parse(struct load_options *o, int argc, char **argv)
{
    int option;

    *o = (struct load_options){.connections = 1,
                               .measured_ns = UINT64_C(5000000000),
                               .drain_ns = UINT64_C(1000000000),
                               .timeout_ns = UINT64_C(30000000000),
                               .interval_ns = UINT64_C(1000000000),
                               .path = "/",
                               .paths = 1,
                               .size = 128};
    parse_mode(o, argc, argv);
    optind = 2;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        set_option(o, option, optarg);
    if (optind < argc)
        wrong("%s: not an option", argv[optind]);
    if (!o->to)
        wrong("--to is missing");
    if (o->mode == LOAD_OPEN && o->rate == 0)
        wrong("open needs --rate");
    if (o->tls && (o->mode == LOAD_SLOW || o->mode == LOAD_WEBSOCKET))
        wrong("--tls is for open, closed and idle");
    if (o->path[0] != '/' || strpbrk(o->path, " \r\n"))
        wrong("--path %s: expected such as /index.html", o->path);
    if (o->paths > 1 && !strstr(o->path, "{}"))
        wrong("--paths needs {} in --path");
    if (o->mix_len == 0) {
        o->mix[0] = parse_method(o->body ? "POST" : "GET", o->body ? 4 : 3, 1);
        o->mix_len = 1;
    }
}
