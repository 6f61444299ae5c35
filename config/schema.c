/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema: every key of the file is one row here, or in schema_tls.c what is below `tls`. No
 * other place lists them. A field's C type is checked against the row's when this is compiled.
 * Constant data; any thread.
 */
#include "config/schema.h"

#include "config/bind.h"
#include "config/rows.h"
#include "config/types.h"

/* admin, log, access_log */

static const struct schema_row admin_rows[] = {
    {ADDRESS("listen", config_admin, listen), .flags = ROW_LISTEN | ROW_LOOPBACK | ROW_RESTART,
     .dflt = "127.0.0.1:9900", .expected = "an address such as 127.0.0.1:9900",
     .doc = "Where /metrics, /livez and /readyz are served; without a host, on the loopback."},
};

static const struct schema_table admin_table = {
    .expected = "a mapping, such as { listen: 127.0.0.1:9900 }, or {} for the default",
    ROWS(admin_rows),
    .own = true,
};

static const struct schema_choice log_levels[] = {
    {.name = "debug", .value = CONFIG_LOG_DEBUG},
    {.name = "info", .value = CONFIG_LOG_INFO},
    {.name = "warn", .value = CONFIG_LOG_WARN},
    {.name = "error", .value = CONFIG_LOG_ERROR},
    {0},
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

static const struct schema_row access_log_rows[] = {
    {STRING("path", config_access_log, path), .flags = ROW_REQUIRED, .accept = grammar_file,
     .expected = "the path of a file, such as /dev/stdout", .pattern = "^.",
     .doc = "The file that one line a request is appended to."},
    {SCALAR("format", config_access_log, format, struct config_format, type_format), .dflt = "json",
     .doc = "json, clf (the Common Log Format), or a template with fields in braces."},
};

static const struct schema_table access_log_table = {
    .expected = "a mapping, or a path alone",
    ROWS(access_log_rows),
    .short_key = "path",
    .own = true,
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
     .doc = "Between two bytes of a request's body (else 408)."},
    {TIMEOUT("response_head", response_head), .dflt = "60s",
     .doc = "From the end of a request to the head of its response, per try (else 504)."},
    {TIMEOUT("response_idle", response_idle), .dflt = "60s",
     .doc = "Between two bytes of a response's body."},
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

/* listeners */

/* The item itself is the field. */
static const struct schema_row network_elem = {.shape = SHAPE_SCALAR, .type = &type_cidr};

static const struct schema_items network_items = {
    .size = sizeof(struct config_cidr),
    .elem = &network_elem,
    .what = "one network",
};

static const struct schema_row proxy_protocol_rows[] = {
    {.key = "from",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE | ROW_REQUIRED,
     .items = &network_items,
     .min = 1,
     .offset = FIELD(config_proxy_protocol, from, struct config_cidr *),
     .count_offset = FIELD(config_proxy_protocol, from_count, size_t),
     .doc = "Peers that have to begin with the header; others are served without one."},
};

static const struct schema_table proxy_protocol_table = {
    .expected = "a mapping such as { from: [10.0.0.0/8] }, or networks alone",
    ROWS(proxy_protocol_rows),
    .short_key = "from",
    .own = true,
};

static bool is_unix_listener(const void *obj)
{
    return ((const struct config_listener *)obj)->bind.kind == CONFIG_ADDR_UNIX;
}

static const struct schema_row listener_rows[] = {
    {ADDRESS("bind", config_listener, bind), .flags = ROW_REQUIRED | ROW_LISTEN,
     .expected = "an address such as \":8000\", 127.0.0.1:8000 or \"unix:/run/weir.sock\"",
     .doc = "The address to listen on; \":8000\" is every address, IPv6 too."},
    {SCALAR("mode", config_listener, mode, uint32_t, type_mode), .dflt = "0660",
     .applies = is_unix_listener, .applies_to = "a listener on a unix: socket",
     .doc = "The permissions of a unix: socket, octal and in quotes."},
    {.key = "trusted_proxies",
     .shape = SHAPE_LIST,
     .flags = ROW_SINGLE,
     .items = &network_items,
     .offset = FIELD(config_listener, trusted, struct config_cidr *),
     .count_offset = FIELD(config_listener, trusted_count, size_t),
     .doc = "Peers whose X-Forwarded-* and Forwarded fields are believed; unix: those of a unix: "
            "socket."},
    {BOOL("forwarded", config_listener, forwarded), .dflt = "false",
     .doc = "Whether Forwarded (RFC 7239) is sent to endpoints too."},
    {BOOL("via", config_listener, via), .dflt = "false", .doc = "Whether Via is sent."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_tls_server,
     .offset = FIELD(config_listener, tls, struct config_tls_server),
     .present_offset = FIELD(config_listener, tls.enabled, bool),
     .doc = "TLS; plain text if not given."},
    {BOOL("redirect_https", config_listener, redirect_https), .dflt = "false",
     .doc = "Whether every request is answered with a redirect to https."},
    {.key = "proxy_protocol",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &proxy_protocol_table,
     .offset = FIELD(config_listener, proxy_protocol, struct config_proxy_protocol),
     .present_offset = FIELD(config_listener, proxy_protocol.enabled, bool),
     .doc = "Connections that begin with a header of the PROXY protocol, v1 or v2, which says "
            "who the client is; none if not given."},
};

/* Networks that no peer of the listener can be in. */
static void warn_nobody(struct bind *b, const struct config_listener *l,
                        const struct config_cidr *networks, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if ((networks[i].kind == CONFIG_CIDR_UNIX) != is_unix_listener(l))
            bind_warn(b, networks[i].pos, "%s %s, where no peer of %s comes from", what,
                      bind_quote(b, networks[i].text), bind_quote(b, l->bind.text));
}

static void check_listener(struct bind *b, const struct tree_node *node, void *obj)
{
    const struct config_listener *l = obj;
    const struct config_proxy_protocol *proxy = &l->proxy_protocol;
    warn_nobody(b, l, l->trusted, l->trusted_count, "trusts");
    warn_nobody(b, l, proxy->from, proxy->from_count, "expects a PROXY header from");
    if (l->redirect_https && l->tls.enabled)
        bind_error(b, bind_pos_of(node, "redirect_https", l->pos),
                   "redirect_https would redirect to itself: it is for a listener without tls");
}

static const struct schema_table listener_table = {
    .expected = "a mapping, or an address alone",
    ROWS(listener_rows),
    .short_key = "bind",
    .own = true,
    .check = check_listener,
};

static const struct schema_row listener_name = {
    STRING(NULL, config_listener, name),
    .accept = grammar_name,
    .pattern = NAME_PATTERN,
    .expected = "a name",
};

static const struct schema_row listener_elem = {.shape = SHAPE_TABLE, .table = &listener_table};

static const struct schema_items listener_items = {
    .size = sizeof(struct config_listener),
    .name = &listener_name,
    .elem = &listener_elem,
    .what = "one listener, such as web: \":8000\"",
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

static const struct schema_row header_name = {
    STRING(NULL, config_header_match, name),
    .accept = grammar_field_name,
    .pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    .expected = "the name of a header field",
};

static const struct schema_row header_elem = {
    STRING(NULL, config_header_match, value),
    .accept = grammar_field_value,
    .expected = "the value of a header field",
};

static const struct schema_items header_items = {
    .size = sizeof(struct config_header_match),
    .name = &header_name,
    .elem = &header_elem,
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

static const struct schema_row retry_rows[] = {
    {INT("attempts", config_route, retry_attempts), .dflt = "1", .min = 0, .max = 10,
     .doc = "Further attempts after the first, each on another endpoint."},
};

static const char *const retry_later[] = {"when", NULL};

static const struct schema_table retry_table = {
    .expected = "a mapping",
    ROWS(retry_rows),
    .later = retry_later,
};

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
    {.key = "retry", .shape = SHAPE_TABLE, .table = &retry_table, .doc = "Retries of this route."},
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

/* pools */

static const struct schema_row endpoint_rows[] = {
    {ADDRESS("address", config_endpoint, address), .flags = ROW_REQUIRED,
     .doc = "Host and port, or unix:/path; a host name is resolved once, when loading."},
    {INT("weight", config_endpoint, weight), .dflt = "1", .min = 0, .max = 1000,
     .doc = "Its share compared to the others; 0: no new requests."},
};

static const char *const endpoint_later[] = {"backup", "zone", NULL};

static const struct schema_table endpoint_table = {
    .expected = "an address, or a mapping such as { address: 10.0.0.1:80, weight: 2 }",
    ROWS(endpoint_rows),
    .short_key = "address",
    .later = endpoint_later,
    .own = true,
};

static const struct schema_row endpoint_elem = {.shape = SHAPE_TABLE, .table = &endpoint_table};

static const struct schema_items endpoint_items = {
    .size = sizeof(struct config_endpoint),
    .elem = &endpoint_elem,
    .what = "one endpoint, such as 127.0.0.1:8080",
    .unique = "is listed twice; for a larger share, give it a weight",
    .unique_offset = FIELD(config_endpoint, address.text, const char *),
    .alike_is_warning = true,
};

static const struct schema_choice balance_policies[] = {
    {.name = "p2c"},
    {.name = "round_robin"},
    {.name = "least_conn"},
    {.name = "random"},
    {.name = "peak_ewma", .later = true},
    {.name = "ring_hash", .later = true},
    {.name = "maglev", .later = true},
    {0},
};

static const struct schema_choice protocols[] = {
    {.name = "auto", .value = CONFIG_PROTOCOL_AUTO},
    {.name = "h1", .value = CONFIG_PROTOCOL_H1},
    {.name = "h2", .value = CONFIG_PROTOCOL_H2},
    {0},
};

static const struct schema_choice proxy_headers[] = {
    {.name = "none", .value = CONFIG_PROXY_NONE},
    {.name = "v1", .value = CONFIG_PROXY_V1},
    {.name = "v2", .value = CONFIG_PROXY_V2},
    {0},
};

static const struct schema_row upstream_rows[] = {
    {DURATION("connect", config_pool, connect_ms), .dflt = "1s", .min = MS, .max = MAX_TIME,
     .doc = "For a connection to be made (else another endpoint, or 504)."},
    {DURATION("idle", config_pool, idle_ms), .dflt = "55s", .min = MS, .max = MAX_TIME,
     .doc = "How long an idle connection is kept; keep it below the endpoints' own timeout."},
    {INT("max_idle", config_pool, max_idle), .dflt = "256", .min = 0, .max = 65536,
     .doc = "Idle connections that each worker keeps to an endpoint; 0: none."},
    {SCALAR("protocol", config_pool, protocol, enum config_protocol, type_enum),
     .choices = protocols, .dflt = "auto",
     .doc = "h1, h2, or auto: with tls what the endpoint chooses by ALPN, else h1."},
    {.key = "tls",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_tls_client,
     .offset = FIELD(config_pool, tls, struct config_tls_client),
     .present_offset = FIELD(config_pool, tls.enabled, bool),
     .doc = "TLS to the endpoints; plain text if not given."},
    {SCALAR("proxy_protocol", config_pool, proxy_protocol, enum config_proxy_header, type_enum),
     .choices = proxy_headers, .dflt = "none",
     .doc = "Whether a connection begins with a header that says who the client is; if so, it "
            "serves no other client."},
};

static const struct schema_table upstream_table = {.expected = "a mapping", ROWS(upstream_rows)};

static const struct schema_row pool_rows[] = {
    {.key = "endpoints",
     .shape = SHAPE_LIST,
     .flags = ROW_REQUIRED,
     .items = &endpoint_items,
     .offset = FIELD(config_pool, endpoints, struct config_endpoint *),
     .count_offset = FIELD(config_pool, endpoint_count, size_t),
     .min = 1,
     .doc = "The addresses that requests are spread over."},
    {CHOICE("balance", config_pool, balance), .choices = balance_policies, .dflt = "p2c",
     .doc = "How an endpoint is picked, by weight: p2c (the less busy of two drawn at random), "
            "round_robin (in turn), least_conn (the least busy) or random."},
    {.key = "upstream",
     .shape = SHAPE_TABLE,
     .table = &upstream_table,
     .doc = "The connections to the endpoints."},
};

static const char *const pool_later[] = {"health",          "outlier", "slow_start", "retry_budget",
                                         "max_connections", "queue",   "sticky",     "dns",
                                         "kubernetes",      NULL};

static const struct schema_table pool_table = {
    .expected = "a list of endpoints, or a mapping",
    ROWS(pool_rows),
    .short_key = "endpoints",
    .later = pool_later,
    .own = true,
    .check = schema_check_pool,
};

static const struct schema_row pool_name = {
    STRING(NULL, config_pool, name),
    .accept = grammar_name,
    .pattern = NAME_PATTERN,
    .expected = "a name",
};

static const struct schema_row pool_elem = {.shape = SHAPE_TABLE, .table = &pool_table};

static const struct schema_items pool_items = {
    .size = sizeof(struct config_pool),
    .name = &pool_name,
    .elem = &pool_elem,
    .what = "one pool, such as app: [127.0.0.1:8080]",
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
    {.key = "admin",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH | ROW_RESTART,
     .table = &admin_table,
     .offset = FIELD(config, admin, struct config_admin),
     .present_offset = FIELD(config, admin.enabled, bool),
     .doc = "The listener for operators; none if not given."},
    {.key = "log", .shape = SHAPE_TABLE, .table = &log_table, .doc = "weir's own messages."},
    {.key = "access_log",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &access_log_table,
     .offset = FIELD(config, access_log, struct config_access_log),
     .present_offset = FIELD(config, access_log.enabled, bool),
     .doc = "One line a request; off if not given."},
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
     .items = &listener_items,
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
     .items = &pool_items,
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
