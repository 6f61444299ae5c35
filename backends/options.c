/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getopt_long over the fixed options and the rows of the fault knobs, and the text of --help.
 * Never touches a socket. Main thread.
 */
#include "backends/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/check.h"

#define BODY_MAX     (64u << 10) /* the usual answer is kept ready in one piece */
#define FAULT_PREFIX "fault-"

enum {
    OPT_LISTEN = 1000,
    OPT_PORT,
    OPT_BODY,
    OPT_NAME,
    OPT_WORKERS,
    OPT_READY_FILE,
    OPT_LEDGER,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_NO_H2,
    OPT_PRINT_PORT,
    OPT_LINGER,
    OPT_REGISTER,
    OPT_REGISTER_ADDRESS,
    OPT_REGISTER_ID,
    OPT_REGISTER_TTL,
    OPT_REGISTER_TOKEN,
    OPT_REGISTER_WEIGHT,
    OPT_REGISTER_ZONE,
    OPT_EVERY,
    OPT_ACCEPT,
    OPT_VERSION,
    OPT_HELP,
    OPT_KNOB /* + enum knob_id */
};

static const struct option fixed[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port", required_argument, NULL, OPT_PORT},
    {"body", required_argument, NULL, OPT_BODY},
    {"name", required_argument, NULL, OPT_NAME},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"ready-file", required_argument, NULL, OPT_READY_FILE},
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"tls-cert", required_argument, NULL, OPT_TLS_CERT},
    {"tls-key", required_argument, NULL, OPT_TLS_KEY},
    {"no-h2", no_argument, NULL, OPT_NO_H2},
    {"print-port", no_argument, NULL, OPT_PRINT_PORT},
    {"linger", required_argument, NULL, OPT_LINGER},
    {"register", required_argument, NULL, OPT_REGISTER},
    {"register-address", required_argument, NULL, OPT_REGISTER_ADDRESS},
    {"register-id", required_argument, NULL, OPT_REGISTER_ID},
    {"register-ttl", required_argument, NULL, OPT_REGISTER_TTL},
    {"register-token-file", required_argument, NULL, OPT_REGISTER_TOKEN},
    {"register-weight", required_argument, NULL, OPT_REGISTER_WEIGHT},
    {"register-zone", required_argument, NULL, OPT_REGISTER_ZONE},
    {FAULT_PREFIX "every", required_argument, NULL, OPT_EVERY},
    {FAULT_PREFIX "accept", required_argument, NULL, OPT_ACCEPT},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
};

static void help(const struct options *o)
{
    printf(
        "Usage: %s [OPTION]...\n"
        "A small HTTP service for demos, tests and benchmarks of weir. It speaks HTTP/1.1, and\n"
        "HTTP/2 with whoever begins with its preface.\n\n"
        "  --listen ADDR       where to listen (default %s): \":8080\" is every address,\n"
        "                      \"127.0.0.1:0\" a port of the kernel's choice, \"[::1]:8080\",\n"
        "                      \"unix:/path\"\n"
        "  --port N            short for --listen :N\n"
        "  --body TEXT         the answer (default \"Hello, World!\", at most 64 KiB)\n"
        "  --name TEXT         add X-Backend: TEXT to every response\n"
        "  --workers N         threads, 1..256 (default 1), each with its own listening socket\n"
        "  --tls-cert PATH     speak TLS with this certificate (PEM, its chain below it); with\n"
        "                      ALPN for h2 and http/1.1\n"
        "  --tls-key PATH      its key, if that isn't in the same file\n"
        "  --no-h2             HTTP/1 only\n"
        "  --ready-file PATH   when listening, write {\"pid\":1,\"listen\":\"127.0.0.1:4321\"}\n"
        "                      there, atomically\n"
        "  --ledger PATH       append METHOD TARGET ID for every request head, before anything\n"
        "                      is done about it; ID is its X-Request-Id, or -\n"
        "  --print-port        when listening, print the port (or the Unix path) to stdout\n"
        "  --linger N          after SIGTERM serve on for N seconds, 1..3600; a second signal "
        "ends it\n"
        "  --register URL      be an endpoint of weir, http://HOST:PORT/registry/POOL, or in "
        "etcd,\n"
        "                      etcd://HOST:PORT/PREFIX, from when it listens until SIGTERM; up "
        "to 8 times\n"
        "  --register-address A, --register-id ID, --register-weight N, --register-zone ZONE\n"
        "                      what it says of itself (default: where it listens, HOSTNAME:PORT, "
        "1, none)\n"
        "  --register-ttl N    seconds that it is believed (default 30, 3..86400); it says so "
        "again every third\n"
        "  --register-token-file PATH  the token of weir's registry (or admin listener)\n"
        "  --version, --help\n\n",
        o->program, o->listen);
    puts(
        "Paths:\n"
        "  any other  the answer, as text/plain\n"
        "  /healthz   200 and \"ok\"\n"
        "  /echo      POST, PUT and PATCH: the body, streamed back with its Content-Type, with\n"
        "             Content-Length if it had one, else chunked, trailers included. Other\n"
        "             methods: the request's head exactly as received, then its body\n"
        "  /sink      the number of body bytes, which are thrown away\n"
        "  /bytes/N   N bytes of a pattern with period 61\n"
        "  /stats     counters as JSON (the request for it is not counted)\n"
        "  Upgrade: echo      101, then every byte comes back; an end in one direction leaves\n"
        "                     the other open\n"
        "  Upgrade: websocket 101, then every message comes back; pings and closes are answered\n"
        "  gRPC       (HTTP/2 with Content-Type: application/grpc) on any path: the messages come\n"
        "             back, with grpc-status 0\n");
    puts("Fault knobs. Each is a request field (X-Fault-Delay: 50), a query parameter\n"
         "(/?fault-delay=50) and a flag (--fault-delay 50) that sets the default for every\n"
         "request; a field wins over a parameter, and that over a flag. A wrong knob is a 400.\n"
         "If several of reset, close and stall are given, the first of them in this list wins.\n"
         "A knob without an argument is on, or off with the value 0 (--fault-early=0).\n"
         "Size, chunk and slow knobs don't change a body that /echo streams.\n"
         "Over HTTP/2 a stream is reset or stalled, close ends the whole conn, and knobs about\n"
         "HTTP/1's framing and conns are a 400.");
    for (size_t i = 0; i < KNOB_COUNT; i++)
        printf("  --fault-%-16s %-6s %s\n", knob_rows[i].name, knob_rows[i].arg, knob_rows[i].doc);
    puts("Flags only:\n"
         "  --fault-every N                 the flags' knobs hold for every Nth request only\n"
         "  --fault-accept stall|close|reset  what to do with every conn at once: never read or\n"
         "                                  answer, close it, or reset it");
}

static enum options_result bad(const struct options *o, const char *what, const char *value,
                               const char *why)
{
    fprintf(stderr, "%s: %s '%s': %s\n", o->program, what, value, why);
    return OPTIONS_BAD;
}

static enum options_result take_number(const struct options *o, const char *what, uint64_t max,
                                       uint32_t *n)
{
    uint64_t v;
    if (!parse_number(span_str(optarg), &v) || v < 1 || v > max)
        return bad(o, what, optarg, "expected a number from 1 up, and not a huge one");
    *n = (uint32_t)v;
    return OPTIONS_RUN;
}

static enum options_result take_port(struct options *o)
{
    uint64_t port;
    if (!parse_number(span_str(optarg), &port) || port > 65535)
        return bad(o, "--port", optarg, "expected a number of 0..65535");
    snprintf(o->listen_text, sizeof(o->listen_text), ":%u", (unsigned)port);
    o->listen = o->listen_text;
    return OPTIONS_RUN;
}

static enum options_result take_accept(struct options *o)
{
    if (strcmp(optarg, "stall") == 0)
        o->accept = ON_ACCEPT_STALL;
    else if (strcmp(optarg, "close") == 0)
        o->accept = ON_ACCEPT_CLOSE;
    else if (strcmp(optarg, "reset") == 0)
        o->accept = ON_ACCEPT_RESET;
    else
        return bad(o, "--fault-accept", optarg, "expected stall, close or reset");
    return OPTIONS_RUN;
}

static enum options_result take_knob(struct options *o, const struct knob_row *row)
{
    const char *value = optarg ? optarg : "";
    const char *why = knobs_set(&o->faults, span_str(row->name), span_str(value));
    if (!why)
        return OPTIONS_RUN;
    char what[64];
    snprintf(what, sizeof(what), "--%s%s", FAULT_PREFIX, row->name);
    return bad(o, what, value, why);
}

/* A field value (RFC 9110 section 5.5), since it goes into every head as it is. */
static enum options_result take_name(struct options *o)
{
    size_t len = strlen(optarg);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)optarg[i] < ' ' || optarg[i] == 0x7f)
            return bad(o, "--name", optarg, "control bytes are not allowed");
    if (len == 0 || len > 255)
        return bad(o, "--name", optarg, "expected 1 to 255 bytes");
    o->name = optarg;
    return OPTIONS_RUN;
}

/* ---- registering ---- */

static enum options_result take_register(struct options *o)
{
    struct register_options *r = &o->registering;
    const char *why;
    if (!register_url_ok(optarg, &why))
        return bad(o, "--register", optarg, why);
    if (r->n == ARRAY_LEN(r->urls))
        return bad(o, "--register", optarg, "there may be 8");
    r->urls[r->n++] = optarg;
    return OPTIONS_RUN;
}

/* It goes into JSON and into paths as it is. */
static enum options_result take_word(const struct options *o, const char *what, const char *more,
                                     const char **to)
{
    size_t len = strlen(optarg);
    for (size_t i = 0; i < len; i++) {
        char c = optarg[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!plain && strchr("._-", c) == NULL && strchr(more, c) == NULL)
            return bad(o, what, optarg, "a character that it may not have");
    }
    if (len == 0 || len > 128 || strcmp(optarg, ".") == 0 || strcmp(optarg, "..") == 0)
        return bad(o, what, optarg, "expected 1 to 128 bytes, and not \".\" or \"..\"");
    *to = optarg;
    return OPTIONS_RUN;
}

static enum options_result take_token(struct options *o)
{
    FILE *f = fopen(optarg, "re");
    size_t len = f != NULL ? fread(o->token, 1, sizeof(o->token) - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    while (len > 0 && (o->token[len - 1] == '\n' || o->token[len - 1] == '\r'))
        len--;
    o->token[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (o->token[i] <= ' ' || o->token[i] > '~')
            len = 0;
    if (len == 0 || len > 256)
        return bad(o, "--register-token-file", optarg, "cannot be read, or is no token");
    o->registering.token = o->token;
    return OPTIONS_RUN;
}

static enum options_result take_weight(struct options *o)
{
    uint64_t n;
    if (!parse_number(span_str(optarg), &n) || n > 1000)
        return bad(o, "--register-weight", optarg, "expected a number of 0..1000");
    o->registering.weight = (uint32_t)n;
    return OPTIONS_RUN;
}

static enum options_result take_ttl(struct options *o)
{
    uint64_t n;
    if (!parse_number(span_str(optarg), &n) || n < 3 || n > 86400)
        return bad(o, "--register-ttl", optarg, "expected a number of 3..86400");
    o->registering.ttl_s = (uint32_t)n;
    return OPTIONS_RUN;
}

static enum options_result take_registering(struct options *o, int opt)
{
    struct register_options *r = &o->registering;
    switch (opt) {
    case OPT_REGISTER:
        return take_register(o);
    case OPT_REGISTER_ADDRESS:
        return take_word(o, "--register-address", ":[]/", &r->address);
    case OPT_REGISTER_ID:
        return take_word(o, "--register-id", ":", &r->id);
    case OPT_REGISTER_TTL:
        return take_ttl(o);
    case OPT_REGISTER_TOKEN:
        return take_token(o);
    case OPT_REGISTER_WEIGHT:
        return take_weight(o);
    default:
        return take_word(o, "--register-zone", "", &r->zone);
    }
}

static enum options_result take(struct options *o, int opt)
{
    switch (opt) {
    case OPT_LISTEN:
        o->listen = optarg;
        return OPTIONS_RUN;
    case OPT_PORT:
        return take_port(o);
    case OPT_BODY:
        o->body = optarg;
        return strlen(optarg) <= BODY_MAX ? OPTIONS_RUN : bad(o, "--body", "...", "over 64 KiB");
    case OPT_NAME:
        return take_name(o);
    case OPT_WORKERS:
        return take_number(o, "--workers", 256, &o->workers);
    case OPT_LINGER:
        return take_number(o, "--linger", 3600, &o->linger);
    case OPT_READY_FILE:
        o->ready_file = optarg;
        return OPTIONS_RUN;
    case OPT_LEDGER:
        o->ledger = optarg;
        return OPTIONS_RUN;
    case OPT_TLS_CERT:
        o->tls_cert = optarg;
        return OPTIONS_RUN;
    case OPT_TLS_KEY:
        o->tls_key = optarg;
        return OPTIONS_RUN;
    case OPT_NO_H2:
        o->no_h2 = true;
        return OPTIONS_RUN;
    case OPT_PRINT_PORT:
        o->print_port = true;
        return OPTIONS_RUN;
    case OPT_EVERY:
        return take_number(o, "--fault-every", UINT32_MAX, &o->fault_every);
    case OPT_ACCEPT:
        return take_accept(o);
    case OPT_VERSION:
        printf("%s (weir %s)\n", o->program, WEIR_VERSION);
        return OPTIONS_DONE;
    case OPT_HELP:
        help(o);
        return OPTIONS_DONE;
    default:
        if (opt >= OPT_REGISTER && opt <= OPT_REGISTER_ZONE)
            return take_registering(o, opt);
        if (opt >= OPT_KNOB)
            return take_knob(o, &knob_rows[opt - OPT_KNOB]);
        fprintf(stderr, "Try '%s --help'.\n", o->program); /* getopt_long said what is wrong */
        return OPTIONS_BAD;
    }
}

enum options_result options_parse(struct options *o, int argc, char **argv, const char *program,
                                  unsigned port)
{
    struct option longopts[ARRAY_LEN(fixed) + KNOB_COUNT + 1] = {{0}};
    char names[KNOB_COUNT][32];
    memcpy(longopts, fixed, sizeof(fixed));
    for (size_t i = 0; i < KNOB_COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "%s%s", FAULT_PREFIX, knob_rows[i].name);
        longopts[ARRAY_LEN(fixed) + i] = (struct option){
            names[i], knob_rows[i].kind == KNOB_FLAG ? optional_argument : required_argument, NULL,
            OPT_KNOB + (int)i};
    }
    *o = (struct options){.program = program,
                          .body = "Hello, World!",
                          .workers = 1,
                          .fault_every = 1,
                          .registering = {.weight = 1, .ttl_s = 30}};
    snprintf(o->listen_text, sizeof(o->listen_text), ":%u", port);
    o->listen = o->listen_text;

    enum options_result result = OPTIONS_RUN;
    int opt;
    while (result == OPTIONS_RUN && (opt = getopt_long(argc, argv, "", longopts, NULL)) != -1)
        result = take(o, opt);
    if (result == OPTIONS_RUN && o->tls_key && !o->tls_cert)
        return bad(o, "--tls-key", o->tls_key, "there is no --tls-cert");
    if (result == OPTIONS_RUN && optind < argc)
        return bad(o, "argument", argv[optind], "not expected, see --help");
    return result;
}
