/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema: every key of the file is one row here, or in another schema_*.c,
 * and no other place lists them. A field's C type is checked against the row's when they are
 * compiled. Constant data; any thread.
 */
#include "config/schema.h"

#include "config/bind.h"
#include "config/rows.h"
#include "config/types.h"

/* log */

static const struct schema_row reload_rows[] = {
    {BOOL("watch", config, watch), .dflt = "false",
     .doc = "Whether it is read again whenever it, or what a symlink of its name leads to, has "
            "changed. What it names by ${file:...} is not watched."},
};

static const struct schema_table reload_table = {
    .expected = "a mapping, such as { watch: true }",
    ROWS(reload_rows),
};

static const struct schema_choice log_levels[] = {
    {.name = "debug", .value = CONFIG_LOG_DEBUG},
    {.name = "info", .value = CONFIG_LOG_INFO},
    {.name = "warn", .value = CONFIG_LOG_WARN},
    {.name = "error", .value = CONFIG_LOG_ERROR},
    {0},
};

static const struct schema_row user_rows[] = {
    {STRING("name", config_user, name), .flags = ROW_REQUIRED, .expected = "the name of a user",
     .pattern = "^.", .doc = "Whom weir becomes once it listens."},
    {STRING("group", config_user, group), .expected = "the name of a group", .pattern = "^.",
     .doc = "Its only group; the user's own, with those that it is in besides, if not given."},
};

static const struct schema_table user_table = {
    .expected = "the name of a user, or a mapping such as { name: weir, group: adm }",
    ROWS(user_rows),
    .short_key = "name",
    .own = true,
};

static const struct schema_row log_rows[] = {
    {SCALAR("level", config, log_level, enum config_log_level, type_enum), .choices = log_levels,
     .dflt = "info", .doc = "The least important messages that are written to standard error."},
};

static const struct schema_table log_table = {
    .expected = "a mapping, or a level alone",
    ROWS(log_rows),
    .short_key = "level",
};

/* limits, timeouts */

static const struct schema_row limits_rows[] = {
    {INT("connections", config_limits, connections), .dflt = "20000", .min = 1, .max = 10000000,
     .doc = "Client connections of the whole process; one more is answered 503."},
    {SIZE("header_bytes", config_limits, header_bytes), .dflt = "32KiB", .min = KIB,
     .max = 60 * KIB, .doc = "The head of a request (else 431) or response (else 502)."},
    {INT("headers", config_limits, headers), .dflt = "100", .min = 1, .max = 256,
     .doc = "Fields in the head of a request (else 431) or response (else 502)."},
    {SIZE("target_bytes", config_limits, target_bytes), .dflt = "8KiB", .min = 64, .max = 32 * KIB,
     .doc = "The target of a request (else 414); less than header_bytes."},
    {SIZE("body_bytes", config_limits, body_bytes), .dflt = "none", .min = 0, .max = PIB,
     .word = "none", .word_value = CONFIG_NONE, .doc = "The body of a request (else 413)."},
    {SIZE("buffer", config_limits, buffer), .dflt = "64KiB", .min = 4 * KIB, .max = 16 * MIB,
     .doc = "Bytes of a body that are held in each direction while the reader is slow."},
};

static void check_limits(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_limits *l = obj;
    if (l->target_bytes < l->header_bytes)
        return;
    struct config_pos head = bind_pos_of(node, "header_bytes", l->pos);
    bind_error(b, bind_pos_of(node, "target_bytes", head),
               "target_bytes (%llu bytes) has to be less than header_bytes (%llu bytes)",
               (unsigned long long)l->target_bytes, (unsigned long long)l->header_bytes);
}

static const char *const limits_later[] = {"memory", NULL};

static const struct schema_table limits_table = {
    .expected = "a mapping",
    ROWS(limits_rows),
    .later = limits_later,
    .own = true,
    .check = check_limits,
};

#define TIMEOUT(key, field) DURATION(key, config_timeouts, field), .min = MS, .max = MAX_TIME

static const struct schema_row timeouts_rows[] = {
    {TIMEOUT("request_head", request_head), .dflt = "10s",
     .doc = "From a request's first byte to the end of its head (else 408)."},
    {TIMEOUT("client_idle", client_idle), .dflt = "75s",
     .doc = "Between the requests of a client connection."},
    {TIMEOUT("request_body", request_body), .dflt = "60s",
     .doc = "Between two bytes of a request's body, until its response begins (else 408)."},
    {TIMEOUT("response_head", response_head), .dflt = "60s",
     .doc = "From the end of a request to the head of its response, per try (else 504)."},
    {TIMEOUT("response_idle", response_idle), .dflt = "60s",
     .doc = "Between two bytes, in either direction, of a request whose response has begun."},
    {TIMEOUT("request", request), .dflt = "none", .word = "none", .word_value = CONFIG_NONE,
     .doc = "The whole request, all tries included (else 504)."},
    {TIMEOUT("upgraded", upgraded), .dflt = "1h",
     .doc = "Without a byte in either direction of an upgraded connection."},
    {TIMEOUT("write_stall", write_stall), .dflt = "60s",
     .doc = "Without progress in writing to a client or an endpoint."},
    {TIMEOUT("tls_handshake", tls_handshake), .dflt = "10s",
     .doc = "For a client's TLS handshake, and for a PROXY protocol header before it."},
};

static const struct schema_table timeouts_table = {
    .expected = "a mapping",
    ROWS(timeouts_rows),
    .own = true,
};

/* routes */

static const struct schema_row host_elem = {
    STRING(NULL, config_str, text),
    .accept = grammar_host,
    .expected = "a host such as shop.example or \"*.example.com\"",
    .pattern = "^(\\*\\.)?[A-Za-z0-9_.-]+$|^\\[[0-9a-fA-F:.]+\\]$",
};

static const struct schema_items host_items = {
    .size = sizeof(struct config_str),
    .elem = &host_elem,
    .what = "one host; without the key, every host matches",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

/* Those that the HTTP parser knows, but CONNECT, which is never routed. */
static const struct schema_choice methods[] = {
    {.name = "GET"},
    {.name = "HEAD"},
    {.name = "POST"},
    {.name = "PUT"},
    {.name = "DELETE"},
    {.name = "OPTIONS"},
    {.name = "PATCH"},
    {.name = "TRACE"},
    {.name = "ACL"},
    {.name = "BIND"},
    {.name = "CHECKOUT"},
    {.name = "COPY"},
    {.name = "LINK"},
    {.name = "LOCK"},
    {.name = "M-SEARCH"},
    {.name = "MERGE"},
    {.name = "MKACTIVITY"},
    {.name = "MKCALENDAR"},
    {.name = "MKCOL"},
    {.name = "MOVE"},
    {.name = "NOTIFY"},
    {.name = "PROPFIND"},
    {.name = "PROPPATCH"},
    {.name = "PURGE"},
    {.name = "QUERY"},
    {.name = "REBIND"},
    {.name = "REPORT"},
    {.name = "SEARCH"},
    {.name = "SOURCE"},
    {.name = "SUBSCRIBE"},
    {.name = "UNBIND"},
    {.name = "UNLINK"},
    {.name = "UNLOCK"},
    {.name = "UNSUBSCRIBE"},
    {0},
};

static const struct schema_row method_elem = {
    CHOICE(NULL, config_str, text),
    .choices = methods,
    .expected = "a method such as GET",
};

static const struct schema_items method_items = {
    .size = sizeof(struct config_str),
    .elem = &method_elem,
    .what = "one method; without the key, every method matches",
    .unique = "is listed twice",
    .unique_offset = FIELD(config_str, text, const char *),
};

const struct schema_row schema_field_name = {
    STRING(NULL, config_header_match, name),
    .accept = grammar_field_name,
    .pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    .expected = "the name of a header field",
};

const struct schema_row schema_field_value = {
    STRING(NULL, config_header_match, value),
    .accept = grammar_field_value,
    .expected = "the value of a header field",
};

const struct schema_items schema_fields = {
    .size = sizeof(struct config_header_match),
    .name = &schema_field_name,
    .elem = &schema_field_value,
    .what = "one field",
    .unique = "is listed twice; the names of fields do not depend on case",
    .unique_offset = FIELD(config_header_match, name, const char *),
};

static const struct schema_items header_items = {
    .size = sizeof(struct config_header_match),
    .name = &schema_field_name,
    .elem = &schema_field_value,
    .what = "one field; without the key, every request matches",
    .unique = "is listed twice; the names of fields do not depend on case",
    .unique_offset = FIELD(config_header_match, name, const char *),
};

static const struct schema_row path_rows[] = {
    {STRING("exact", config_path_match, exact), .accept = grammar_path, .pattern = "^/",
     .expected = "a path such as /app", .doc = "This path only."},
    {STRING("prefix", config_path_match, prefix), .accept = grammar_path, .pattern = "^/",
     .expected = "a path such as /app",
     .doc = "This path and what is below: /app is /app, /app/ and /app/x, but not /apple."},
};

static const char *const path_later[] = {"regex", NULL};

static const struct schema_table path_table = {
    .expected = "a prefix alone, { exact: /path } or { prefix: /path }",
    ROWS(path_rows),
    .short_key = "prefix",
    .later = path_later,
    .own = true,
    .exactly_one = true,
};

static const struct schema_row match_rows[] = {
    {.key = "host",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &host_items,
     .min = 1,
     .offset = FIELD(config_match, hosts, struct config_str *),
     .count_offset = FIELD(config_match, host_count, size_t),
     .doc = "The host without its port; *.example.com is one or more labels before example.com."},
    {.key = "path",
     .shape = SHAPE_TABLE,
     .table = &path_table,
     .offset = FIELD(config_match, path, struct config_path_match),
     .doc = "The path: a prefix, or { exact: /path }."},
    {.key = "method",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &method_items,
     .min = 1,
     .offset = FIELD(config_match, methods, struct config_str *),
     .count_offset = FIELD(config_match, method_count, size_t),
     .doc = "The method."},
    {.key = "headers",
     .shape = SHAPE_MAP,
     .items = &header_items,
     .min = 1,
     .offset = FIELD(config_match, headers, struct config_header_match *),
     .count_offset = FIELD(config_match, header_count, size_t),
     .doc = "Fields that all have to be there with exactly this value."},
    {STRING("listener", config_match, listener), .expected = "the name of a listener",
     .doc = "The listener that the request came by; counts as one of headers."},
};

static const char *const match_later[] = {"query", NULL};

static const struct schema_table match_table = {
    .expected = "a mapping",
    ROWS(match_rows),
    .later = match_later,
    .own = true,
};

static const struct schema_row timeout_rows[] = {
    {DURATION("request", config_route, request_ms), .min = MS, .max = MAX_TIME, .word = "none",
     .word_value = CONFIG_NONE, .inherit_from = "timeouts.request",
     .inherit = offsetof(struct config, timeouts.request),
     .doc = "The whole request, all tries included."},
    {DURATION("try", config_route, try_ms), .min = MS, .max = MAX_TIME,
     .inherit_from = "timeouts.response_head",
     .inherit = offsetof(struct config, timeouts.response_head),
     .doc = "From the end of a request to the head of its response, per try."},
};

static const struct schema_table timeout_table = {.expected = "a mapping", ROWS(timeout_rows)};

static const struct schema_row target_name = {
    STRING(NULL, config_target, name),
    .accept = grammar_name,
    .pattern = NAME_PATTERN,
    .expected = "the name of a pool",
};

static const struct schema_row target_elem = {
    INT(NULL, config_target, weight),       .dflt = "1", .min = 0, .max = 1000000,
    .expected = "a weight, a whole number",
};

static const struct schema_items target_items = {
    .size = sizeof(struct config_target),
    .name = &target_name,
    .elem = &target_elem,
    .what = "one pool",
};

static const struct schema_row route_rows[] = {
    {STRING("name", config_route, name), .accept = grammar_name, .pattern = NAME_PATTERN,
     .expected = "a name",
     .doc = "What logs and metrics call it; route-1, route-2 and so on by its place if not given."},
    {.key = "match",
     .shape = SHAPE_TABLE,
     .table = &match_table,
     .offset = FIELD(config_route, match, struct config_match),
     .doc = "Which requests it takes; all if not given. The most specific route wins."},
    {.key = "to",
     .shape = SHAPE_MAP,
     .flags = ROW_REQUIRED | ROW_SINGLE,
     .items = &target_items,
     .offset = FIELD(config_route, to, struct config_target *),
     .count_offset = FIELD(config_route, to_count, size_t),
     .min = 1,
     .doc = "A pool, or pools and their weights, such as { new: 5, old: 95 }."},
    {.key = "timeout",
     .shape = SHAPE_TABLE,
     .table = &timeout_table,
     .doc = "Timeouts of this route."},
    {.key = "retry",
     .shape = SHAPE_TABLE,
     .table = &schema_retry,
     .offset = FIELD(config_route, retry, struct config_retry),
     .doc = "What is tried again, and how often."},
};

static const char *const route_later[] = {"mirror",   "rewrite", "headers", "use",
                                          "redirect", "respond", NULL};

static const struct schema_table route_table = {
    .expected = "a mapping, such as { to: app }",
    ROWS(route_rows),
    .later = route_later,
    .own = true,
    .check = bind_check_route,
};

static const struct schema_row route_elem = {.shape = SHAPE_TABLE, .table = &route_table};

static const struct schema_items route_items = {
    .size = sizeof(struct config_route),
    .elem = &route_elem,
    .what = "one route, such as { to: app }",
    .unique = "is the name of an earlier route too",
    .unique_offset = FIELD(config_route, name, const char *),
};

/* The document. Rows are bound in this order: timeouts before routes, which inherit from them. */
static const struct schema_row config_rows[] = {
    {INT("version", config, version), .flags = ROW_REQUIRED, .min = 1, .max = 1,
     .doc = "The version of this format: 1."},
    {INT("workers", config, workers), .flags = ROW_RESTART, .dflt = "auto", .min = 1, .max = 256,
     .word = "auto", .word_value = 0,
     .doc = "Threads that serve requests; auto: as many as there are CPUs to use."},
    {DURATION("shutdown", config, shutdown_ms), .dflt = "30s", .min = 0, .max = MAX_TIME,
     .doc = "After SIGTERM, how long running requests may take."},
    {STRING("zone", config, zone), .accept = grammar_name, .pattern = NAME_PATTERN,
     .expected = "a name",
     .doc = "Where weir runs, in the words of the endpoints' zones; no zone is preferred if not "
            "given."},
    {INT("instance", config, instance), .dflt = "auto", .min = 0, .max = 65535, .word = "auto",
     .word_value = CONFIG_NO_INSTANCE,
     .doc = "The number of this process among those that balance over the same endpoints, from 0: "
            "with it, their subsets load all endpoints alike; auto: by the host's name."},
    {.key = "user",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH | ROW_RESTART,
     .table = &user_table,
     .offset = FIELD(config, user, struct config_user),
     .present_offset = FIELD(config, user.enabled, bool),
     .doc = "Whom weir becomes once it listens, if it is started as root; whoever started it if "
            "not given."},
    {BOOL("sandbox", config, sandbox), .flags = ROW_RESTART, .dflt = "true",
     .doc = "Gives up, where the kernel can enforce it, all files but those of the folders that "
            "are named here, and all system calls that weir does not make."},
    {.key = "admin",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH | ROW_RESTART,
     .table = &schema_admin,
     .offset = FIELD(config, admin, struct config_admin),
     .present_offset = FIELD(config, admin.enabled, bool),
     .doc = "The listener for operators; none if not given."},
    {.key = "registry",
     .shape = SHAPE_TABLE,
     .table = &schema_registry,
     .doc = "Of endpoints that register themselves, for all pools that have a registry."},
    {.key = "reload",
     .shape = SHAPE_TABLE,
     .table = &reload_table,
     .doc = "When the file is read again, beside SIGHUP and weir reload."},
    {.key = "log", .shape = SHAPE_TABLE, .table = &log_table, .doc = "weir's own messages."},
    {.key = "access_log",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH | ROW_RESTART,
     .table = &schema_access_log,
     .offset = FIELD(config, access_log, struct config_access_log),
     .present_offset = FIELD(config, access_log.enabled, bool),
     .doc = "One line a request; off if not given."},
    {.key = "flight",
     .shape = SHAPE_TABLE,
     .table = &schema_flight,
     .offset = FIELD(config, flight, struct config_flight),
     .doc = "What is kept of requests that failed or were slow, for `weir why`."},
    {.key = "tracing",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_tracing,
     .offset = FIELD(config, tracing, struct config_tracing),
     .present_offset = FIELD(config, tracing.enabled, bool),
     .doc = "Requests are parts of traces (W3C Trace Context); if not given, traceparent passes as "
            "it is."},
    {.key = "limits",
     .shape = SHAPE_TABLE,
     .table = &limits_table,
     .offset = FIELD(config, limits, struct config_limits),
     .doc = "Bounds on what clients send."},
    {.key = "timeouts",
     .shape = SHAPE_TABLE,
     .table = &timeouts_table,
     .offset = FIELD(config, timeouts, struct config_timeouts),
     .doc = "Bounds on time."},
    {.key = "listeners",
     .shape = SHAPE_MAP,
     .flags = ROW_REQUIRED,
     .items = &schema_listeners,
     .offset = FIELD(config, listeners, struct config_listener *),
     .count_offset = FIELD(config, listener_count, size_t),
     .min = 1,
     .doc = "Named addresses that clients connect to."},
    {.key = "routes",
     .shape = SHAPE_LIST,
     .flags = ROW_REQUIRED,
     .items = &route_items,
     .offset = FIELD(config, routes, struct config_route *),
     .count_offset = FIELD(config, route_count, size_t),
     .min = 1,
     .doc = "Which request goes to which pool."},
    {.key = "pools",
     .shape = SHAPE_MAP,
     .flags = ROW_REQUIRED,
     .items = &schema_pools,
     .offset = FIELD(config, pools, struct config_pool *),
     .count_offset = FIELD(config, pool_count, size_t),
     .min = 1,
     .doc = "Named groups of endpoints."},
};

static const char *const config_later[] = {"policies", NULL};

static const struct schema_table config_table = {
    .expected = "a mapping that begins with version: 1",
    ROWS(config_rows),
    .later = config_later,
    .own = true,
};

const struct schema_row schema_root = {
    .shape = SHAPE_TABLE,
    .table = &config_table,
    .doc = "The configuration of weir.",
};
