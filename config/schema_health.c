/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of health checks, and what of them has to fit together. Constant data; any thread. */
#include <string.h>
#include <strings.h>

#include "config/bind.h"
#include "config/rows.h"

/* Bytes of a name that a check asks for; also what the codec has room for. */
#define SERVICE_MAX 255

/* ---- http ---- */

/* A target in origin form: what stands in the request line as it is. */
static bool accept_target(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *at = *text;
    while (*at > ' ' && *at < 127 && *at != '#')
        at++;
    if (**text == '/' && *at == '\0')
        return true;
    bind_error(b, node->pos,
               "%s is not a path such as /healthz: it begins with a slash, and has "
               "no space, no # and nothing but ASCII (use %%xx)",
               bind_quote(b, *text));
    return false;
}

static bool accept_body(struct bind *b, const struct tree_node *node, const char **text)
{
    if (**text != '\0')
        return true;
    bind_error(b, node->pos, "every answer has an empty text; leave the key out");
    return false;
}

/* As it stands in a Host field: a name or address, perhaps with a port. */
static bool accept_host(struct bind *b, const struct tree_node *node, const char **text)
{
    if (**text != '\0' && (*text)[strspn(*text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
                                                "YZ0123456789._-[]:")] == '\0')
        return true;
    bind_error(b, node->pos, "%s is not a host such as app.internal or app.internal:8080",
               bind_quote(b, *text));
    return false;
}

#define HOST(tag)                                                     \
    STRING("host", tag, host),                                        \
        .accept = accept_host, .pattern = "^[A-Za-z0-9._:\\[\\]-]+$", \
        .expected = "a host such as app.internal",                    \
        .doc = "The host that is asked for; the address that is checked if not given."

static const struct schema_choice methods[] = {
    {.name = "GET"}, {.name = "HEAD"}, {.name = "OPTIONS"}, {.name = "POST"}, {0},
};

static const struct schema_row status_rows[] = {
    {INT("from", config_status, from), .flags = ROW_REQUIRED, .min = 200, .max = 599,
     .doc = "A status code that is well, or the first of several."},
    {INT("to", config_status, to), .dflt = "same", .min = 200, .max = 599, .word = "same",
     .word_value = 0, .doc = "The last of them."},
};

static void check_status(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_status *status = obj;
    if (status->to != 0 && status->to < status->from)
        bind_error(b, bind_pos_of(node, "to", status->pos),
                   "no status is from %u to %u; exchange the two", status->from, status->to);
}

static const struct schema_table status_table = {
    .expected = "a status code such as 200, or a mapping such as { from: 200, to: 299 }",
    ROWS(status_rows),
    .short_key = "from",
    .own = true,
    .check = check_status,
};

static const struct schema_row status_elem = {.shape = SHAPE_TABLE, .table = &status_table};

static const struct schema_items status_items = {
    .size = sizeof(struct config_status),
    .elem = &status_elem,
    .what = "one status code; without the key, 200 to 399 are well",
};

static const struct schema_row http_rows[] = {
    {STRING("path", config_health_http, path), .flags = ROW_REQUIRED, .accept = accept_target,
     .pattern = "^/[!-\"$-~]*$", .expected = "a path such as /healthz",
     .doc = "What is asked for; may have a query."},
    {CHOICE("method", config_health_http, method), .choices = methods, .dflt = "GET",
     .expected = "GET, HEAD, OPTIONS or POST", .doc = "How it is asked for."},
    {HOST(config_health_http)},
    {.key = "headers",
     .shape = SHAPE_MAP,
     .items = &schema_fields,
     .offset = FIELD(config_health_http, headers, struct config_header_match *),
     .count_offset = FIELD(config_health_http, header_count, size_t),
     .min = 1,
     .doc = "Further fields of the request."},
    {.key = "status",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &status_items,
     .offset = FIELD(config_health_http, status, struct config_status *),
     .count_offset = FIELD(config_health_http, status_count, size_t),
     .min = 1,
     .doc = "The status codes of one that is well; 200 to 399 if not given."},
    {STRING("body", config_health_http, body), .accept = accept_body, .pattern = "^.",
     .expected = "a text",
     .doc = "A text that is within the first 64 KiB of the answer of one that is well."},
};

/* Those that weir writes itself, or that would change what the message is. */
static void check_http(struct bind *b, const struct tree_node *node, void *obj)
{
    static const char *const own[] = {
        "host", "connection", "content-length", "transfer-encoding", "upgrade",
        "te",   "expect",     "keep-alive",     "proxy-connection"};
    const struct config_health_http *http = obj;
    for (size_t i = 0; i < http->header_count; i++)
        for (size_t k = 0; k < ARRAY_LEN(own); k++)
            if (strcmp(http->headers[i].name, own[k]) == 0)
                bind_error(b, http->headers[i].pos, "weir writes the field %s itself%s",
                           bind_quote(b, own[k]), k == 0 ? "; use the key host" : "");
    if (http->body != NULL && strcmp(http->method, "HEAD") == 0)
        bind_error(b, bind_pos_of(node, "body", http->pos),
                   "the answer to HEAD has no body; use method: GET");
}

static const struct schema_table http_table = {
    .expected = "a path such as /healthz, or a mapping such as { path: /healthz, status: 200 }",
    ROWS(http_rows),
    .short_key = "path",
    .own = true,
    .check = check_http,
};

/* ---- grpc ---- */

static bool accept_service(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t n = strlen(*text);
    if (n > 0 && n <= SERVICE_MAX)
        return true;
    bind_error(b, node->pos, "the name of a service has 1 to %d bytes", SERVICE_MAX);
    return false;
}

static const struct schema_row grpc_rows[] = {
    {BOOL("enabled", config_health_grpc, enabled), .dflt = "true",
     .doc = "Whether grpc.health.v1 is asked."},
    {STRING("service", config_health_grpc, service), .accept = accept_service, .pattern = "^.",
     .expected = "the name of a service", .doc = "Which service is asked about; all if not given."},
    {HOST(config_health_grpc)},
};

static const struct schema_table grpc_table = {
    .expected = "true, or a mapping such as { service: shop.Cart }",
    ROWS(grpc_rows),
    .short_key = "enabled",
    .own = true,
};

/* ---- all of it ---- */

static const struct schema_row health_rows[] = {
    {.key = "http",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &http_table,
     .offset = FIELD(config_health, http, struct config_health_http),
     .present_offset = FIELD(config_health, http.enabled, bool),
     .doc = "An HTTP request, over what the pool speaks."},
    {BOOL("tcp", config_health, tcp), .dflt = "false",
     .doc = "Whether it is enough that a connection can be made, with its TLS."},
    {.key = "grpc",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &grpc_table,
     .offset = FIELD(config_health, grpc, struct config_health_grpc),
     .present_offset = FIELD(config_health, grpc.enabled, bool),
     .doc = "A call of grpc.health.v1.Health/Check, over HTTP/2."},
    {DURATION("every", config_health, every_ms), .dflt = "5s", .min = 10 * MS, .max = HOUR,
     .doc = "From one check of an endpoint to the next."},
    {DURATION("every_down", config_health, every_down_ms), .dflt = "same", .min = 10 * MS,
     .max = HOUR, .word = "same", .word_value = 0, .doc = "The same while it gets no requests."},
    {DURATION("timeout", config_health, timeout_ms), .dflt = "1s", .min = MS, .max = HOUR,
     .doc = "For the whole of a check; at most as long as every."},
    {INT("down_after", config_health, down_after), .dflt = "3", .min = 1, .max = 1000,
     .doc = "Checks that fail in a row before an endpoint gets no more requests."},
    {INT("up_after", config_health, up_after), .dflt = "2", .min = 1, .max = 1000,
     .doc = "Checks that pass in a row before it gets requests again."},
    {SCALAR("jitter", config_health, jitter, uint32_t, type_percent), .dflt = "10%", .min = 0,
     .max = 50, .doc = "Of every, how much later than in its turn a check may begin, by chance."},
    {INT("port", config_health, port), .dflt = "same", .min = 1, .max = 65535, .word = "same",
     .word_value = 0, .doc = "The port that is checked."},
    {BOOL("tls", config_health, tls), .dflt = "true",
     .doc = "Whether checks speak TLS where requests do."},
    {BOOL("must_pass", config_health, must_pass), .dflt = "false",
     .doc = "Whether endpoints get no requests until a check has passed, when weir starts too."},
};

static void check_times(struct bind *b, const struct tree_node *node, const struct config_health *h)
{
    struct config_pos at = bind_pos_of(node, "timeout", bind_pos_of(node, "every", h->pos));
    if (h->timeout_ms > h->every_ms)
        bind_error(b, at,
                   "a check may take %llu ms, and the next would begin after %llu ms; a timeout is "
                   "at most as long as every",
                   (unsigned long long)h->timeout_ms, (unsigned long long)h->every_ms);
    else if (h->every_down_ms != 0 && h->timeout_ms > h->every_down_ms)
        bind_error(b, bind_pos_of(node, "every_down", at),
                   "a check may take %llu ms, and the next would begin after %llu ms; a timeout is "
                   "at most as long as every_down",
                   (unsigned long long)h->timeout_ms, (unsigned long long)h->every_down_ms);
}

static void check_health(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_health *h = obj;
    int kinds = h->http.enabled + h->tcp + h->grpc.enabled;
    if (kinds != 1)
        bind_error(b, h->pos, "%s: say one of http: /healthz, tcp: true and grpc: true",
                   kinds == 0 ? "it is not said how endpoints are checked"
                              : "endpoints are checked in one way only");
    check_times(b, node, h);
}

const struct schema_table schema_health = {
    .expected = "a mapping such as { http: /healthz } or { tcp: true }",
    ROWS(health_rows),
    .own = true,
    .check = check_health,
};
