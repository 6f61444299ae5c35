/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of traces and their export. Constant data; any thread. */
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

#define WHOLE 1000000 /* of a share */

static const struct schema_choice parents[] = {
    {.name = "follow", .value = CONFIG_TRACE_FOLLOW},
    {.name = "ignore", .value = CONFIG_TRACE_IGNORE},
    {0},
};

/* The scheme, and something behind it that is no userinfo, query or fragment; what exactly a host
 * and a port are is found out by who asks it. */
static bool accept_url(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *rest = *text;
    if (strncmp(rest, "http://", 7) == 0 || strncmp(rest, "https://", 8) == 0)
        rest = strchr(rest, '/') + 2;
    if (rest != *text && *rest != '\0' && *rest != '/' && strpbrk(rest, "?#@ ") == NULL)
        return true;
    bind_error(b, node->pos, "%s is no URL such as http://localhost:4318", bind_quote(b, *text));
    return false;
}

static bool accept_service(struct bind *b, const struct tree_node *node, const char **text)
{
    if (**text != '\0' && strlen(*text) <= 255)
        return true;
    bind_error(b, node->pos, "the name of a service has 1 to 255 characters");
    return false;
}

static const struct schema_row export_rows[] = {
    {STRING("to", config_trace_export, url), .flags = ROW_REQUIRED, .accept = accept_url,
     .pattern = "^https?://[^/?#@ ][^?#@ ]*$", .expected = "a URL such as http://localhost:4318",
     .doc = "A collector that takes OTLP over HTTP; /v1/traces goes behind it."},
    {.key = "headers",
     .shape = SHAPE_MAP,
     .items = &schema_fields,
     .offset = FIELD(config_trace_export, headers, struct config_header_match *),
     .count_offset = FIELD(config_trace_export, header_count, size_t),
     .min = 1,
     .doc = "Further fields of each request, such as authorization."},
    {FILENAME("ca", config_trace_export, ca),
     .doc = "Authorities (PEM) that vouch for the collector; the system's if not given."},
    {INT("batch", config_trace_export, batch), .dflt = "512", .min = 1, .max = 8192,
     .doc = "Spans in one request at most."},
    {DURATION("every", config_trace_export, every_ms), .dflt = "1s", .min = 10 * MS, .max = HOUR,
     .doc = "How long spans wait for others to go with."},
    {DURATION("timeout", config_trace_export, timeout_ms), .dflt = "10s", .min = 10 * MS,
     .max = HOUR, .doc = "How long the collector may take for one request."},
};

static void check_export(struct bind *b, const struct tree_node *node, void *obj)
{
    static const char *const own[] = {
        "host",       "connection", "content-length",   "content-type", "transfer-encoding",
        "keep-alive", "upgrade",    "proxy-connection", "te",           "user-agent",
        "expect"};
    const struct config_trace_export *export = obj;
    (void)node;
    for (size_t i = 0; i < export->header_count; i++)
        for (size_t k = 0; k < ARRAY_LEN(own); k++)
            if (strcmp(export->headers[i].name, own[k]) == 0)
                bind_error(b, export->headers[i].pos, "weir writes the field %s itself", own[k]);
    if (export->ca.text != NULL && strncmp(export->url, "https:", 6) != 0)
        bind_warn(b, export->ca.pos, "of no use with http:");
}

static const struct schema_table export_table = {
    .expected = "a URL such as http://localhost:4318, or a mapping",
    ROWS(export_rows),
    .short_key = "to",
    .own = true,
    .check = check_export,
};

static const struct schema_row tracing_rows[] = {
    {SCALAR("sample", config_tracing, sample, uint32_t, type_share), .dflt = "1%", .min = 0,
     .max = WHOLE,
     .doc = "How many of the traces that begin here are recorded, by the last half of their ids; "
            "of others their beginner decides."},
    {SCALAR("parent", config_tracing, parent, enum config_trace_parent, type_enum),
     .choices = parents, .dflt = "follow", .expected = "follow or ignore",
     .doc = "What the sampled flag of a client's traceparent is to weir: its decision, or, with "
            "ignore, nothing, and sample is for all traces."},
    {STRING("service", config_tracing, service), .accept = accept_service, .dflt = "weir",
     .pattern = "^.{1,255}$", .expected = "a name", .doc = "What traces call this weir."},
    {.key = "export",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &export_table,
     .offset = FIELD(config_tracing, export, struct config_trace_export),
     .present_offset = FIELD(config_tracing, export.enabled, bool),
     .doc = "Where the spans of recorded traces go; nowhere if not given."},
};

const struct schema_table schema_tracing = {
    .expected = "a mapping, such as { sample: 10% }, or {} for the default",
    ROWS(tracing_rows),
    .own = true,
};
