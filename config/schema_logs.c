/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of what is told of requests: access log, flight recorder. Constant data; any thread. */
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

/* As proxy/access_format.c knows them. */
static const struct schema_choice fields[] = {
    {.name = "time"},     {.name = "id"},         {.name = "client"},
    {.name = "listener"}, {.name = "method"},     {.name = "host"},
    {.name = "path"},     {.name = "protocol"},   {.name = "route"},
    {.name = "pool"},     {.name = "endpoint"},   {.name = "attempts"},
    {.name = "status"},   {.name = "bytes_in"},   {.name = "bytes_out"},
    {.name = "queue_ms"}, {.name = "connect_ms"}, {.name = "first_byte_ms"},
    {.name = "total_ms"}, {.name = "reason"},     {.name = "trail"},
    {.name = "referer"},  {.name = "user_agent"}, {.name = "trace_id"},
    {.name = "span_id"},  {.name = "parent_id"},  {0},
};

static const struct schema_row field_elem = {
    CHOICE(NULL, config_str, text),
    .choices = fields,
    .expected = "a field such as status",
};

static const struct schema_items field_items = {
    .size = sizeof(struct config_str),
    .elem = &field_elem,
    .what = "one field; without the key, there are all",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

static const struct schema_row rotate_rows[] = {
    {SIZE("size", config_rotate, size), .dflt = "none", .min = KIB, .max = PIB, .word = "none",
     .word_value = CONFIG_NONE,
     .doc = "A file that would become larger is renamed to PATH.1, PATH.1 to PATH.2, and so on."},
    {INT("keep", config_rotate, keep), .dflt = "5", .min = 0, .max = 1000,
     .doc = "How many older files there are; the oldest is removed."},
};

static const struct schema_table rotate_table = {
    .expected = "a size such as 100MiB, or a mapping such as { size: 100MiB, keep: 5 }",
    ROWS(rotate_rows),
    .short_key = "size",
    .own = true,
};

/* In the order of their numbers (RFC 5424 table 1). */
static const struct schema_choice facilities[] = {
    {.name = "kern"},
    {.name = "user"},
    {.name = "mail"},
    {.name = "daemon"},
    {.name = "auth"},
    {.name = "syslog"},
    {.name = "lpr"},
    {.name = "news"},
    {.name = "uucp"},
    {.name = "cron"},
    {.name = "authpriv"},
    {.name = "ftp"},
    {.name = "ntp"},
    {.name = "audit"},
    {.name = "alert"},
    {.name = "clock"},
    {.name = "local0"},
    {.name = "local1"},
    {.name = "local2"},
    {.name = "local3"},
    {.name = "local4"},
    {.name = "local5"},
    {.name = "local6"},
    {.name = "local7"},
    {0},
};

unsigned config_facility(const char *name)
{
    unsigned n = 0;
    while (facilities[n].name != NULL && strcmp(facilities[n].name, name) != 0)
        n++;
    return n;
}

/* APP-NAME (RFC 5424 section 6.2.5). */
static bool accept_tag(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text), plain = 0;
    while ((*text)[plain] > ' ' && (*text)[plain] <= '~')
        plain++;
    if (len > 0 && len <= 48 && plain == len)
        return true;
    bind_error(b, node->pos, "expected 1 to 48 printable characters without spaces; found %s",
               bind_quote(b, *text));
    return false;
}

static const struct schema_row syslog_rows[] = {
    {ADDRESS("to", config_syslog, to), .flags = ROW_REQUIRED,
     .expected = "an address such as unix:/dev/log or 10.0.0.5:514",
     .doc = "A socket of Unix, or a host and port, to which UDP goes."},
    {CHOICE("facility", config_syslog, facility), .choices = facilities, .dflt = "local0",
     .expected = "a facility such as local0", .doc = "The messages' facility."},
    {STRING("tag", config_syslog, tag), .accept = accept_tag, .dflt = "weir",
     .pattern = "^[!-~]{1,48}$", .expected = "a name without spaces",
     .doc = "What the messages call the program."},
};

static const struct schema_table syslog_table = {
    .expected = "an address such as unix:/dev/log, or a mapping",
    ROWS(syslog_rows),
    .short_key = "to",
    .own = true,
};

static const struct schema_row access_log_rows[] = {
    {STRING("path", config_access_log, path), .accept = grammar_file,
     .expected = "the path of a file, such as /dev/stdout", .pattern = "^.",
     .doc = "The file that one line a request is appended to. On SIGUSR1 it is opened again."},
    {.key = "syslog",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &syslog_table,
     .offset = FIELD(config_access_log, syslog, struct config_syslog),
     .present_offset = FIELD(config_access_log, syslog.enabled, bool),
     .doc = "Instead of path: a message of syslog (RFC 5424) for each line."},
    {SCALAR("format", config_access_log, format, struct config_format, type_format), .dflt = "json",
     .doc = "json, clf (the Common Log Format), or a template with fields in braces."},
    {.key = "fields",
     .shape = SHAPE_LIST,
     .items = &field_items,
     .min = 1,
     .offset = FIELD(config_access_log, fields, struct config_str *),
     .count_offset = FIELD(config_access_log, field_count, size_t),
     .doc = "With format json: these fields only, in this order."},
    {SCALAR("sample", config_access_log, sample, uint32_t, type_percent), .dflt = "100%", .min = 0,
     .max = 100,
     .doc = "How many of the requests that went well at once are told, by a hash of their ids; all "
            "others always are."},
    {.key = "rotate",
     .shape = SHAPE_TABLE,
     .table = &rotate_table,
     .offset = FIELD(config_access_log, rotate, struct config_rotate),
     .doc = "When weir itself begins a new file."},
};

static void check_access_log(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_access_log *log = obj;
    if ((log->path != NULL) == log->syslog.enabled)
        bind_error(b, log->pos, "%s",
                   log->path != NULL ? "a log goes to a path or to syslog, not to both"
                                     : "where to? path names a file, syslog an address");
    if (log->path != NULL && strncmp(log->path, "/dev/", 5) == 0 && log->rotate.size != CONFIG_NONE)
        bind_error(b, bind_pos_of(node, "rotate", log->pos),
                   "rotate renames the log, and %s is not to be renamed", bind_quote(b, log->path));
    if (log->field_count > 0 && log->format.kind != CONFIG_FORMAT_JSON)
        bind_error(b, bind_pos_of(node, "fields", log->pos),
                   "fields is for json; a template has its fields in braces");
}

const struct schema_table schema_access_log = {
    .expected = "a mapping, or a path alone",
    ROWS(access_log_rows),
    .short_key = "path",
    .own = true,
    .check = check_access_log,
};

static const struct schema_row flight_rows[] = {
    {INT("size", config_flight, size), .flags = ROW_RESTART, .dflt = "64", .min = 0, .max = 65536,
     .doc = "How many requests each worker remembers of those that failed, whose clients have "
            "gone or asked for nothing there is, that were retried, and that were slow: of each "
            "kind so many. 0: none."},
    {DURATION("slow", config_flight, slow_ms), .dflt = "1s", .min = MS, .max = MAX_TIME,
     .word = "never", .word_value = CONFIG_NONE,
     .doc = "A request is slow whose answer begins so long after it has arrived."},
};

const struct schema_table schema_flight = {
    .expected = "a mapping, such as { slow: 500ms }",
    ROWS(flight_rows),
    .own = true,
};
