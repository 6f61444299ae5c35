/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about a file that is wrong: every rule once, with the exact text and position.
 */
#include "tests/unit/test_config.h"

#include <unistd.h>

#include "config/suggest.h"
#include "proxy/base/check.h"

#define CASES(...)                                            \
    static const struct message_case cases[] = {__VA_ARGS__}; \
    (void)state;                                              \
    expect_cases(cases, ARRAY_LEN(cases))

#define LISTEN_EXPECTED \
    "expected an address such as \":8000\", 127.0.0.1:8000 or \"unix:/run/weir.sock\""
#define ENDPOINT_EXPECTED \
    "expected an address such as 127.0.0.1:8080, \"[::1]:8080\" or \"unix:/run/app.sock\""

/* A file whose first line is about what comes before the listeners, the listeners, ... */
#define LISTENER(text) "listeners: { web: " text " }\nversion: 1\n" ROUTES POOLS
#define ROUTE(text)    "routes: [" text "]\nversion: 1\n" LISTENERS POOLS
#define MATCH(text)    "routes: [{ to: app, match: { " text " } }]\nversion: 1\n" LISTENERS POOLS
#define POOL(text)     "pools: { app: " text " }\nversion: 1\n" LISTENERS ROUTES
#define ENDPOINT(text) POOL("[" text "]")

static void test_keys(void **state)
{
    CASES({"worker: 2\n" REST, "t:1:1: error: worker: unknown key; did you mean \"workers\"?"},
          {"colour: red\n" REST,
           "t:1:1: error: colour: unknown key; the keys here are version, workers, shutdown, zone, "
           "admin, log, access_log, limits, timeouts, listeners, routes, pools"},
          {"workers: 1\nworkers: 2\n" REST,
           "t:2:1: error: workers: duplicate key, first given at line 1; remove one"},
          {"limits: { headers: 1, headers: 2, headers: 3 }\n" REST,
           "t:1:23: error: limits.headers: duplicate key, first given at line 1; remove one\n"
           "t:1:35: error: limits.headers: duplicate key, first given at line 1; remove one"},
          {"<<: { workers: 1 }\n" REST,
           "t:1:1: error: \"<<\": merge keys are not supported; write the keys out"},
          {"version: 1\n" LISTENERS ROUTES,
           "t:1:1: error: the key \"pools\" is missing: Named groups of endpoints."},
          {LISTENERS ROUTES POOLS,
           "t:1:1: error: the key \"version\" is missing: The version of this format: 1."},
          {"version: 1\nlistner: {}\n" ROUTES POOLS,
           "t:2:1: error: listner: unknown key; did you mean \"listeners\"?"},
          {"version: 2\n" LISTENERS ROUTES POOLS,
           "t:1:10: error: version: 2 is out of range; expected 1"},
          {"[]\n", "t:1:1: error: expected a mapping that begins with version: 1; found a list"});
}

static void test_keys_of_later_versions(void **state)
{
    CASES({"policies: {}\n" REST, "t:1:1: error: policies: not supported by this version of weir"},
          {"limits: { memory: 1MiB }\n" REST,
           "t:1:11: error: limits.memory: not supported by this version of weir"},
          {ROUTE("{ to: app, mirror: {}, rewrite: {}, headers: {}, use: [] }"),
           "t:1:21: error: routes[0].mirror: not supported by this version of weir\n"
           "t:1:33: error: routes[0].rewrite: not supported by this version of weir\n"
           "t:1:46: error: routes[0].headers: not supported by this version of weir\n"
           "t:1:59: error: routes[0].use: not supported by this version of weir"},
          /* What stands instead of `to` is the one thing to say. */
          {ROUTE("{ redirect: {} }, { respond: {} }"),
           "t:1:12: error: routes[0].redirect: not supported by this version of weir\n"
           "t:1:30: error: routes[1].respond: not supported by this version of weir"},
          {ROUTE("{ to: app, retry: { when: [connect] } }"),
           "t:1:30: error: routes[0].retry.when: not supported by this version of weir"},
          {MATCH("path: { regex: ^/x }, query: {}"),
           "t:1:38: error: routes[0].match.path.regex: not supported by this version of weir\n"
           "t:1:52: error: routes[0].match.query: not supported by this version of weir"},
          {POOL("{ dns: a:1 }"),
           "t:1:17: error: pools.app.dns: not supported by this version of weir"},
          {POOL("{ kubernetes: {} }"),
           "t:1:17: error: pools.app.kubernetes: not supported by this version of weir"},
          {POOL("{ endpoints: [a:1], health: 1, outlier: 1, retry_budget: 1 }"),
           "t:1:35: error: pools.app.health: not supported by this version of weir\n"
           "t:1:46: error: pools.app.outlier: not supported by this version of weir\n"
           "t:1:58: error: pools.app.retry_budget: not supported by this version of weir"},
          {POOL("{ endpoints: [a:1], max_connections: 1, queue: 1, sticky: 1 }"),
           "t:1:35: error: pools.app.max_connections: not supported by this version of weir\n"
           "t:1:55: error: pools.app.queue: not supported by this version of weir\n"
           "t:1:65: error: pools.app.sticky: not supported by this version of weir"});
}

static void test_tls_of_listeners(void **state)
{
    CASES(
        {LISTENER("{ bind: \":1\", tls: true }"),
         "t:1:38: error: listeners.web.tls: expected the path of a certificate, or of a directory "
         "of them; found the boolean true; to mean the text, write it in quotes: \"true\""},
        {LISTENER("{ bind: \":1\", tls: { certs: [] } }"),
         "t:1:47: error: listeners.web.tls.certs: expected at least one file or directory"},
        {LISTENER("{ bind: \":1\", tls: [a, a] }"),
         "t:1:42: error: listeners.web.tls: \"a\" is listed twice"},
        {LISTENER("{ bind: \":1\", tls: { client_ca: a } }"),
         "t:1:38: error: listeners.web.tls: the key \"certs\" is missing: Certificates with their "
         "chains (PEM): files, whose keys are beside them as NAME.key, or directories of those. "
         "The name that a client asks for picks one, else the first."},
        {LISTENER("{ bind: \":1\", tls: { certs: a, client_auth: optional } }"),
         "t:1:63: error: listeners.web.tls.client_auth: only for a listener with client_ca"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, min_version: 1.1 } }"),
         "t:1:63: error: listeners.web.tls.min_version: expected one of 1.2, 1.3; found the number "
         "1.1; did you mean \"1.2\"?"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, alpn: [h2, h2] } }"),
         "t:1:61: error: listeners.web.tls.alpn: \"h2\" is listed twice"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, keylog: k } }"),
         "t:1:58: warning: listeners.web.tls: whoever can read \"k\" can read all that is sent on "
         "this listener"},
        {LISTENER("{ bind: \":1\", tls: a, redirect_https: true }"),
         "t:1:57: error: listeners.web: redirect_https would redirect to itself: it is for a "
         "listener without tls"});
}

static void test_proxy_protocol(void **state)
{
    CASES({LISTENER("{ bind: \":1\", proxy_protocol: {} }"),
           "t:1:49: error: listeners.web.proxy_protocol: the key \"from\" is missing: Peers that "
           "have to begin with the header; others are served without one."},
          {LISTENER("{ bind: \":1\", proxy_protocol: { from: [] } }"),
           "t:1:57: error: listeners.web.proxy_protocol.from: expected at least one network"},
          {LISTENER("{ bind: \":1\", proxy_protocol: unix }"),
           "t:1:49: warning: listeners.web: expects a PROXY header from \"unix\", where no peer of "
           "\":1\" comes from"},
          {POOL("{ endpoints: [a:1], upstream: { protocol: h2, proxy_protocol: v1 } }"),
           "t:1:15: error: pools.app: upstream.proxy_protocol needs a connection for each client, "
           "so it cannot be used with protocol: h2"},
          {POOL("{ endpoints: [a:1], upstream: { proxy_protocol: v3 } }"),
           "t:1:63: error: pools.app.upstream.proxy_protocol: expected one of none, v1, v2; found "
           "\"v3\"; did you mean \"v1\"?"});
}

static void test_tls_to_upstreams(void **state)
{
    CASES(
        {POOL("{ endpoints: [a:1], upstream: { tls: yes } }"),
         "t:1:52: error: pools.app.upstream.tls: expected true or false; found yes; yes, no, on "
         "and off are not used"},
        {POOL("{ endpoints: [a:1], upstream: { tls: [x] } }"),
         "t:1:52: error: pools.app.upstream.tls: expected true, or a mapping such as { sni: "
         "app.internal, ca: /etc/weir/ca.pem }; found a list"},
        {POOL("{ endpoints: [a:1], upstream: { tls: { sni: 1.2.3.4 } } }"),
         "t:1:59: error: pools.app.upstream.tls.sni: \"1.2.3.4\" is not a host name"},
        {POOL("{ endpoints: [a:1], upstream: { tls: { cert: c } } }"),
         "t:1:60: error: pools.app.upstream.tls: a client certificate is two files: the key "
         "\"key\" is missing"},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: true } }"),
         "t:1:57: error: pools.app: the endpoint \"b:1\" has another host than the first; sni has "
         "to say what the certificates are for"},
        {POOL("{ endpoints: [\"unix:/s\"], upstream: { tls: {} } }"),
         "t:1:58: error: pools.app: the endpoint \"unix:/s\" has no host name; sni has to say "
         "what its certificate is for"},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: { sni: a } } }"), ""},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: false } }"), ""},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: { verify: false, ca: x } } }"),
         "t:1:67: warning: pools.app.upstream.tls: whoever can reach the connection can pose as "
         "an endpoint\n"
         "t:1:78: warning: pools.app.upstream.tls: of no use while verify is false"});
}

static void test_wrong_types(void **state)
{
    CASES(
        {"workers: [1]\n" REST,
         "t:1:10: error: workers: expected a whole number, or auto; found a list"},
        {"workers: {}\n" REST,
         "t:1:10: error: workers: expected a whole number, or auto; found a mapping"},
        {"workers:\n" REST,
         "t:1:9: error: workers: expected a whole number, or auto; found nothing"},
        {"workers: \"4\"\n" REST,
         "t:1:10: error: workers: expected a whole number, or auto; found \"4\""},
        {"workers: true\n" REST,
         "t:1:10: error: workers: expected a whole number, or auto; found the boolean true"},
        {"limits: 5\n" REST, "t:1:9: error: limits: expected a mapping; found the number 5"},
        {"log: [info]\n" REST,
         "t:1:6: error: log: expected a mapping, or a level alone; found a list"},
        {"admin:\n" REST,
         "t:1:7: error: admin: expected a mapping, such as { listen: 127.0.0.1:9900 }, or {} for "
         "the default; found nothing"},
        {"version: 1\nlisteners: [\":80\"]\n" ROUTES POOLS,
         "t:2:12: error: listeners: expected a mapping; found a list"},
        {"version: 1\nlisteners: {}\n" ROUTES POOLS,
         "t:2:12: error: listeners: expected at least one listener, such as web: \":8000\""},
        {"version: 1\n" LISTENERS "routes: { to: app }\n" POOLS,
         "t:3:9: error: routes: expected a list; found a mapping"},
        {"version: 1\n" LISTENERS "routes: []\n" POOLS,
         "t:3:9: error: routes: expected at least one route, such as { to: app }"},
        {ROUTE("app"), "t:1:10: error: routes[0]: expected a mapping, such as { to: app }; "
                       "found \"app\""},
        {ROUTE("{ to: [app] }"), "t:1:16: error: routes[0].to: expected a mapping, or one name "
                                 "alone; found a list"},
        {ROUTE("{ to: {} }"), "t:1:16: error: routes[0].to: expected at least one pool"},
        {ROUTE("{ to: 5 }"), "t:1:16: error: routes[0].to: expected the name of a pool; found the "
                             "number 5; to mean the text, write it in quotes: \"5\""},
        {ROUTE("{ to: { app: x } }"), "t:1:23: error: routes[0].to.app: expected a weight, a "
                                      "whole number; found \"x\""},
        {ROUTE("{}"), "t:1:10: error: routes[0]: the key \"to\" is missing: A pool, or pools and "
                      "their weights, such as { new: 5, old: 95 }."},
        {POOL("a:1"), "t:1:15: error: pools.app: expected a list of endpoints, or a mapping; found "
                      "\"a:1\""},
        {POOL("[]"),
         "t:1:15: error: pools.app: expected at least one endpoint, such as 127.0.0.1:8080"},
        {POOL("{ endpoints: a:1 }"),
         "t:1:28: error: pools.app.endpoints: expected a list; found \"a:1\""},
        {POOL("{ balance: p2c }"),
         "t:1:15: error: pools.app: the key \"endpoints\" is missing: The addresses that requests "
         "are spread over."},
        {ENDPOINT("[a:1]"), "t:1:16: error: pools.app[0]: expected an address, or a "
                            "mapping such as { address: 10.0.0.1:80, weight: 2 }; found a list"},
        {ENDPOINT("8080"),
         "t:1:16: error: pools.app[0]: " ENDPOINT_EXPECTED "; found the number 8080"});
}

static void test_numbers(void **state)
{
    CASES({"workers: 0\n" REST,
           "t:1:10: error: workers: 0 is out of range; expected 1 to 256, or auto"},
          {"workers: 257\n" REST,
           "t:1:10: error: workers: 257 is out of range; expected 1 to 256, or auto"},
          {"workers: -1\n" REST,
           "t:1:10: error: workers: -1 is out of range; expected 1 to 256, or auto"},
          {"workers: 1.0\n" REST,
           "t:1:10: error: workers: expected a whole number, or auto; found the number 1.0"},
          {"workers: 0x10\n" REST,
           "t:1:10: error: workers: expected a whole number, or auto; found the number 0x10"},
          {"workers: many\n" REST,
           "t:1:10: error: workers: expected a whole number, or auto; found \"many\""},
          {"workers: 99999999999999999999999999\n" REST,
           "t:1:10: error: workers: 99999999999999999999999999 is out of range; expected 1 to 256, "
           "or auto"},
          {"limits: { connections: 0, headers: 257 }\n" REST,
           "t:1:24: error: limits.connections: 0 is out of range; expected 1 to 10000000\n"
           "t:1:36: error: limits.headers: 257 is out of range; expected 1 to 256"},
          {ROUTE("{ to: app, retry: { attempts: 11 } }"),
           "t:1:40: error: routes[0].retry.attempts: 11 is out of range; expected 0 to 10"},
          {ROUTE("{ to: { app: 1000001 } }"),
           "t:1:23: error: routes[0].to.app: 1000001 is out of range; expected 0 to 1000000"},
          {ENDPOINT("{ address: a:1, weight: 1001 }"),
           "t:1:40: error: pools.app[0].weight: 1001 is out of range; expected 0 to 1000"},
          {POOL("{ endpoints: [a:1], upstream: { max_idle: 65537 } }"),
           "t:1:57: error: pools.app.upstream.max_idle: 65537 is out of range; expected 0 to "
           "65536"});
}

static void test_durations(void **state)
{
    CASES(
        {"shutdown: 30\n" REST,
         "t:1:11: error: shutdown: the number 30 needs a unit: ms, s, m or h; expected a duration "
         "such as 500ms, 10s or 5m"},
        {"shutdown: 1.5s\n" REST, "t:1:11: error: shutdown: \"1.5s\" is not a whole number; use a "
                                  "smaller unit (ms, s, m or h)"},
        {"shutdown: 10sec\n" REST,
         "t:1:11: error: shutdown: unknown unit in \"10sec\"; the units are ms, s, m or h"},
        {"shutdown: 10S\n" REST,
         "t:1:11: error: shutdown: unknown unit in \"10S\"; the units are ms, s, m or h"},
        {"shutdown: -1s\n" REST,
         "t:1:11: error: shutdown: expected a duration such as 500ms, 10s or 5m; found \"-1s\""},
        {"shutdown: none\n" REST,
         "t:1:11: error: shutdown: expected a duration such as 500ms, 10s or 5m; found \"none\""},
        {"shutdown: 8761h\n" REST,
         "t:1:11: error: shutdown: 8761h is out of range; expected 0ms to 8760h"},
        {"shutdown: 18446744073709551616h\n" REST,
         "t:1:11: error: shutdown: 18446744073709551616h is out of range; expected 0ms to 8760h"},
        {"timeouts: { request_head: 0s, request: off, upgraded: 1d }\n" REST,
         "t:1:27: error: timeouts.request_head: 0s is out of range; expected 1ms to 8760h\n"
         "t:1:40: error: timeouts.request: expected a duration such as 500ms, 10s or 5m, or none; "
         "found the boolean off\n"
         "t:1:55: error: timeouts.upgraded: unknown unit in \"1d\"; the units are ms, s, m or h"},
        {"timeouts: { client_idle: 0s, request_body: 0s, response_head: 0s }\n" REST,
         "t:1:26: error: timeouts.client_idle: 0s is out of range; expected 1ms to 8760h\n"
         "t:1:44: error: timeouts.request_body: 0s is out of range; expected 1ms to 8760h\n"
         "t:1:63: error: timeouts.response_head: 0s is out of range; expected 1ms to 8760h"},
        {"timeouts: { response_idle: none, write_stall: 0s, request: 0s }\n" REST,
         "t:1:28: error: timeouts.response_idle: expected a duration such as 500ms, 10s or 5m; "
         "found \"none\"\n"
         "t:1:47: error: timeouts.write_stall: 0s is out of range; expected 1ms to 8760h\n"
         "t:1:60: error: timeouts.request: 0s is out of range; expected 1ms to 8760h, or none"},
        {ROUTE("{ to: app, timeout: { request: 0s, try: none } }"),
         "t:1:41: error: routes[0].timeout.request: 0s is out of range; expected 1ms to 8760h, or "
         "none\n"
         "t:1:50: error: routes[0].timeout.try: expected a duration such as 500ms, 10s or 5m; "
         "found \"none\""},
        {POOL("{ endpoints: [a:1], upstream: { connect: 0ms, idle: 5 } }"),
         "t:1:56: error: pools.app.upstream.connect: 0ms is out of range; expected 1ms to 8760h\n"
         "t:1:67: error: pools.app.upstream.idle: the number 5 needs a unit: ms, s, m or h; "
         "expected a duration such as 500ms, 10s or 5m"});
}

static void test_sizes(void **state)
{
    CASES(
        {"limits: { buffer: 65536 }\n" REST,
         "t:1:19: error: limits.buffer: the number 65536 needs a unit: B, KB, MB, GB, KiB, MiB or "
         "GiB; expected a size such as 512B, 64KiB or 10MB"},
        {"limits: { buffer: 64K, body_bytes: 10mb }\n" REST,
         "t:1:19: error: limits.buffer: unknown unit in \"64K\"; the units are B, KB, MB, GB, KiB, "
         "MiB or GiB\n"
         "t:1:36: error: limits.body_bytes: unknown unit in \"10mb\"; the units are B, KB, MB, GB, "
         "KiB, MiB or GiB"},
        {"limits: { header_bytes: 1023B, target_bytes: 63B, buffer: 4095B }\n" REST,
         "t:1:25: error: limits.header_bytes: 1023B is out of range; expected 1KiB to 60KiB\n"
         "t:1:46: error: limits.target_bytes: 63B is out of range; expected 64B to 32KiB\n"
         "t:1:59: error: limits.buffer: 4095B is out of range; expected 4KiB to 16MiB"},
        {"limits: { header_bytes: 61KiB, target_bytes: 33KiB, buffer: 17MiB }\n" REST,
         "t:1:25: error: limits.header_bytes: 61KiB is out of range; expected 1KiB to 60KiB\n"
         "t:1:46: error: limits.target_bytes: 33KiB is out of range; expected 64B to 32KiB\n"
         "t:1:61: error: limits.buffer: 17MiB is out of range; expected 4KiB to 16MiB"},
        {"limits: { body_bytes: 9999999GiB }\n" REST,
         "t:1:23: error: limits.body_bytes: 9999999GiB is out of range; expected 0B to 1048576GiB, "
         "or none"},
        {"limits: { header_bytes: 4KiB, target_bytes: 4096B }\n" REST,
         "t:1:45: error: limits: target_bytes (4096 bytes) has to be less than header_bytes (4096 "
         "bytes)"},
        {"limits: { header_bytes: 8KiB }\n" REST,
         "t:1:25: error: limits: target_bytes (8192 bytes) has to be less than header_bytes (8192 "
         "bytes)"});
}

static void test_booleans_and_words(void **state)
{
    CASES(
        {LISTENER("{ bind: \":1\", via: yes, forwarded: Off }"),
         "t:1:38: error: listeners.web.via: expected true or false; found yes; yes, no, on and off "
         "are not used\n"
         "t:1:54: error: listeners.web.forwarded: expected true or false; found Off; yes, no, on "
         "and off are not used"},
        {LISTENER("{ bind: \":1\", via: \"true\", forwarded: 1 }"),
         "t:1:38: error: listeners.web.via: expected true or false; found \"true\"\n"
         "t:1:57: error: listeners.web.forwarded: expected true or false; found the number 1"},
        {LISTENER("{ bind: \":1\", via: True }"),
         "t:1:38: error: listeners.web.via: expected true or false; found the boolean True"},
        {"log: dbug\n" REST, "t:1:6: error: log: expected one of debug, info, warn, error; found "
                             "\"dbug\"; did you mean \"debug\"?"},
        {"log: { level: loud }\n" REST,
         "t:1:15: error: log.level: expected one of debug, info, warn, error; found \"loud\""},
        {POOL("{ endpoints: [a:1], balance: roundrobin }"),
         "t:1:44: error: pools.app.balance: expected one of p2c, round_robin, least_conn, random, "
         "peak_ewma, ring_hash, maglev; "
         "found \"roundrobin\"; did you mean \"round_robin\"?"},
        {"access_log: { format: json }\n" REST,
         "t:1:13: error: access_log: the key \"path\" is missing: The file that one line a request "
         "is appended to."},
        {"access_log: { path: \"\", format: common }\n" REST,
         "t:1:21: error: access_log.path: \"\": expected the path of a file\n"
         "t:1:33: error: access_log.format: expected json, clf or a template with fields in "
         "braces; found \"common\""},
        {"access_log: { path: x, format: clff }\n" REST,
         "t:1:32: error: access_log.format: expected json, clf or a template with fields in "
         "braces; found \"clff\"; did you mean \"clf\"?"},
        {"access_log: { path: x, format: \"{a}\\n\" }\n" REST,
         "t:1:32: error: access_log.format: a template makes one line, so it cannot have a line "
         "break in it"});
}

static void test_names(void **state)
{
    CASES(
        {"version: 1\nlisteners: { \"a b\": \":1\", \"\": \":2\" }\n" ROUTES POOLS,
         "t:2:14: error: listeners.\"a b\": \"a b\": a name has 1 to 64 letters, digits, '.', '_' "
         "or '-'\n"
         "t:2:27: error: listeners.\"\": \"\": a name has 1 to 64 letters, digits, '.', '_' or "
         "'-'"},
        {ROUTE("{ to: app, name: a/b }"), "t:1:27: error: routes[0].name: \"a/b\": a name has 1 to "
                                          "64 letters, digits, '.', '_' or '-'"},
        {ROUTE("{ to: app, name: x }, { to: app, match: { path: /x }, name: x }"),
         "t:1:32: error: routes: \"x\" is the name of an earlier route too"},
        {ROUTE("{ to: app, name: route-2 }, { to: app, match: { path: /x } }"),
         "t:1:38: error: routes: \"route-2\" is the name of an earlier route too"},
        {ROUTE("{ to: app, name: \"\\x1b[31m\\x7f\\x85\\\"\\\\\" }"),
         "t:1:27: error: routes[0].name: \"\\x1b[31m\\x7f\\xc2\\x85\\\"\\\\\": a name has 1 to 64 "
         "letters, digits, '.', '_' or '-'"},
        {ROUTE("{ to: app, name: " /* cut in the middle of the 30th two-byte letter */
               "x\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
               "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
               "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
               " }"),
         "t:1:27: error: routes[0].name: \""
         "x\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
         "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
         "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
         "\"...: a name has 1 to 64 letters, digits, '.', '_' or '-'"});
}

static void test_listener_addresses(void **state)
{
    CASES({LISTENER("localhost:80"),
           "t:1:19: error: listeners.web: \"localhost:80\": a name cannot "
           "be listened on; write 127.0.0.1 or [::1]"},
          {LISTENER("web.example:80"),
           "t:1:19: error: listeners.web: \"web.example:80\": the host has to be an IP address, or "
           "left out for every address"},
          {LISTENER("\"*:80\""), "t:1:19: error: listeners.web: \"*:80\": for every address leave "
                                 "the host out, such as \":8000\""},
          {LISTENER("\":65536\""), "t:1:19: error: listeners.web: \":65536\": the port has to be a "
                                   "number from 0 to 65535"},
          {LISTENER("\":080\""), "t:1:19: error: listeners.web: \":080\": the port has to be a "
                                 "number from 0 to 65535"},
          {LISTENER("\":http\""), "t:1:19: error: listeners.web: \":http\": the port has to be a "
                                  "number from 0 to 65535"},
          {LISTENER("8000"),
           "t:1:19: error: listeners.web: " LISTEN_EXPECTED "; found the number 8000"},
          {LISTENER("{ via: true }"),
           "t:1:19: error: listeners.web: the key \"bind\" is missing: The address to listen on; "
           "\":8000\" is every address, IPv6 too."},
          {LISTENER(""), "t:1:20: error: listeners.web: " LISTEN_EXPECTED "; found nothing"},
          {LISTENER("\"unix:run/x\""), "t:1:19: error: listeners.web: \"unix:run/x\": expected an "
                                       "absolute path, such as unix:/run/weir.sock"},
          {LISTENER("{ bind: \":80\", mode: \"0660\" }"),
           "t:1:40: error: listeners.web.mode: only for a listener on a unix: socket"},
          {LISTENER("{ bind: \"unix:/x\", mode: 0660 }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found the number 0660; to mean the text, write it in quotes: \"0660\""},
          {LISTENER("{ bind: \"unix:/x\", mode: \"0888\" }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found \"0888\""},
          {LISTENER("{ bind: \"unix:/x\", mode: \"1777\" }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found \"1777\""},
          {"admin: { listen: \"localhost:1\" }\n" REST,
           "t:1:18: error: admin.listen: \"localhost:1\": a name cannot be listened on; write "
           "127.0.0.1 or [::1]"});
}

static void test_socket_path_has_to_fit(void **state)
{
    (void)state;
    char path[108], yaml[512], said[512];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[107] = '\0';
    snprintf(yaml, sizeof(yaml), LISTENER("\"unix:%s\""), path);
    config_free(load_good(yaml));
    snprintf(yaml, sizeof(yaml), LISTENER("\"unix:%sx\""), path);
    snprintf(
        said, sizeof(said),
        "t:1:19: error: listeners.web: \"unix:%.55s\"...: the path of a socket has at most 107 "
        "bytes\n",
        path);
    expect_messages(yaml, said);
}

static void test_one_address_for_two_listeners(void **state)
{
    CASES({"version: 1\nlisteners: { a: \":80\", b: \":81\", c: \":80\" }\n" ROUTES POOLS,
           "t:2:37: error: listeners.c: \":80\" is the address of listeners.a already (line 2)"},
          {"version: 1\nlisteners: { a: \"[::1]:80\", b: \"[0:0::1]:80\" }\n" ROUTES POOLS,
           "t:2:32: error: listeners.b: \"[::1]:80\" is the address of listeners.a already (line "
           "2)"},
          {"version: 1\nlisteners: { a: \"unix:/x\", b: \"unix:/x\" }\n" ROUTES POOLS,
           "t:2:31: error: listeners.b: \"/x\" is the address of listeners.a already (line 2)"},
          {"version: 1\nlisteners: { a: 127.0.0.1:9900 }\nadmin: {}\n" ROUTES POOLS,
           "t:3:8: error: admin.listen: \"127.0.0.1:9900\" is the address of listeners.a already "
           "(line 2)"},
          {"version: 1\nlisteners: { a: 127.0.0.1:0, b: 127.0.0.1:0 }\n" ROUTES POOLS, ""},
          {"version: 1\nlisteners: { a: 127.0.0.1:80, b: 127.0.0.2:80 }\n" ROUTES POOLS, ""});
}

static void test_trusted_proxies(void **state)
{
    CASES(
        {LISTENER("{ bind: \":1\", trusted_proxies: [10.0.0.0/33, 10.0.0.1/8, x, \"::/129\"] }"),
         "t:1:51: error: listeners.web.trusted_proxies[0]: \"10.0.0.0/33\": expected a number from "
         "0 to 32 after the slash\n"
         "t:1:64: error: listeners.web.trusted_proxies[1]: \"10.0.0.1/8\" has bits set after the "
         "first 8; write \"10.0.0.0/8\"\n"
         "t:1:76: error: listeners.web.trusted_proxies[2]: expected a network such as 10.0.0.0/8, "
         "an IP address, or unix; found \"x\"\n"
         "t:1:79: error: listeners.web.trusted_proxies[3]: \"::/129\": expected a number from 0 to "
         "128 after the slash"},
        {LISTENER("{ bind: \":1\", trusted_proxies: [10.0.0.0/, 10.0.0.0/08, \"fe80::1/10\"] }"),
         "t:1:51: error: listeners.web.trusted_proxies[0]: \"10.0.0.0/\": expected a number from 0 "
         "to 32 after the slash\n"
         "t:1:62: error: listeners.web.trusted_proxies[1]: \"10.0.0.0/08\": expected a number from "
         "0 to 32 after the slash\n"
         "t:1:75: error: listeners.web.trusted_proxies[2]: \"fe80::1/10\" has bits set after the "
         "first 10; write \"fe80::/10\""},
        {LISTENER("{ bind: \":1\", trusted_proxies: [unix] }"),
         "t:1:51: warning: listeners.web: trusts \"unix\", where no peer of \":1\" comes from"},
        {LISTENER("{ bind: \"unix:/x\", trusted_proxies: \"::/0\" }"),
         "t:1:55: warning: listeners.web: trusts \"::/0\", where no peer of \"unix:/x\" comes "
         "from"},
        {LISTENER("{ bind: \":1\", trusted_proxies: [0.0.0.0/0, \"::/0\", 10.0.0.1/32] }"), ""});
}

static void test_endpoint_addresses(void **state)
{
    CASES({ENDPOINT("localhost"), "t:1:16: error: pools.app[0]: " ENDPOINT_EXPECTED
                                  "; found \"localhost\", which has no port"},
          {ENDPOINT("\":80\""), "t:1:16: error: pools.app[0]: \":80\": the host is "
                                "missing; for this machine write 127.0.0.1"},
          {ENDPOINT("a:0"), "t:1:16: error: pools.app[0]: \"a:0\": the port has to be a "
                            "number from 1 to 65535"},
          {ENDPOINT("1.2.3.256:80"),
           "t:1:16: error: pools.app[0]: \"1.2.3.256:80\": the host is not an IPv4 "
           "address, and a name cannot end in a number"},
          {ENDPOINT("a..b:80"), "t:1:16: error: pools.app[0]: \"a..b:80\": the host is "
                                "neither an IP address nor a valid name"},
          {ENDPOINT("-a:80"), "t:1:16: error: pools.app[0]: \"-a:80\": the host is neither "
                              "an IP address nor a valid name"},
          {ENDPOINT("a b:80"), "t:1:16: error: pools.app[0]: \"a b:80\": the host is "
                               "neither an IP address nor a valid name"},
          {ENDPOINT("\"::1:80\""),
           "t:1:16: error: pools.app[0]: \"::1:80\": an IPv6 address needs brackets and a "
           "port, such as \"[::1]:80\""},
          {ENDPOINT("\"http://a:80\""),
           "t:1:16: error: pools.app[0]: \"http://a:80\": expected one colon, between host "
           "and port; write IPv6 addresses in brackets and no http://"},
          {ENDPOINT("\"[::1]\""), "t:1:16: error: pools.app[0]: \"[::1]\": expected an "
                                  "IPv6 address and a port, such as \"[::1]:8080\""},
          {ENDPOINT("\"[1.2.3.4]:80\""), "t:1:16: error: pools.app[0]: \"[1.2.3.4]:80\": "
                                         "what is in brackets is not an IPv6 address"},
          {ENDPOINT("{ address: 10.0.0.1 }"),
           "t:1:27: error: pools.app[0].address: " ENDPOINT_EXPECTED
           "; found \"10.0.0.1\", which has no port"},
          {ENDPOINT("{ weight: 1 }"),
           "t:1:16: error: pools.app[0]: the key \"address\" is missing: Host and port, or "
           "unix:/path; a host name is resolved once, when loading."},
          {ENDPOINT("a:1, b:1, a:1"), "t:1:26: warning: pools.app: \"a:1\" is listed twice; for a "
                                      "larger share, give it a weight"},
          {ENDPOINT("a.example.:1, xn--a:1, a_b:1"), ""});
}

static void test_matching_hosts(void **state)
{
    CASES(
        {MATCH("host: \"*\""), "t:1:36: error: routes[0].match.host: \"*\": to match every host, "
                               "leave the key host out"},
        {MATCH("host: a:80"), "t:1:36: error: routes[0].match.host: \"a:80\": the port plays no "
                              "part in matching; leave it out"},
        {MATCH("host: a.example."),
         "t:1:36: error: routes[0].match.host: \"a.example.\": leave out the dot at the end"},
        {MATCH("host: \"a.*.example\""),
         "t:1:36: error: routes[0].match.host: \"a.*.example\": a '*' can only be the first label, "
         "as in *.example.com"},
        {MATCH("host: \"*a.example\""),
         "t:1:36: error: routes[0].match.host: \"*a.example\": a '*' can only be the first label, "
         "as in *.example.com"},
        {MATCH("host: b\xc3\xbc"
               "cher.example"),
         "t:1:36: error: routes[0].match.host: \"b\xc3\xbc"
         "cher.example\": not a host name; write "
         "international names in their xn-- form"},
        {MATCH("host: 300.1.1.1"), "t:1:36: error: routes[0].match.host: \"300.1.1.1\": not an "
                                   "IPv4 address, and a name cannot end in a number"},
        {MATCH("host: \"[::1\""), "t:1:36: error: routes[0].match.host: \"[::1\": expected an "
                                  "IPv6 address in brackets, without a port"},
        {MATCH("host: \"[\""), "t:1:36: error: routes[0].match.host: \"[\": expected an IPv6 "
                               "address in brackets, without a port"},
        {MATCH("host: []"), "t:1:36: error: routes[0].match.host: expected at least one host; "
                            "without the key, every host matches"},
        {MATCH("host: [a.b, c.d, A.B]"),
         "t:1:47: error: routes[0].match.host: \"a.b\" is listed twice"},
        {MATCH("host: {}"), "t:1:36: error: routes[0].match.host: expected a list, or one item "
                            "alone; found a mapping"},
        {MATCH("host: [127.0.0.1, \"[::1]\", a_b, \"*.x\"]"), ""});
}

static void test_matching_paths(void **state)
{
    CASES(
        {MATCH("path: x"), "t:1:36: error: routes[0].match.path: \"x\": a path begins with '/'"},
        {MATCH("path: /x?y"), "t:1:36: error: routes[0].match.path: \"/x?y\": '?' and '#' end the "
                              "path, so they cannot be in one"},
        {MATCH("path: \"/x y\""), "t:1:36: error: routes[0].match.path: \"/x y\": percent-encode "
                                  "what cannot be in a path, such as %20"},
        {MATCH("path: /%zz"), "t:1:36: error: routes[0].match.path: \"/%zz\": '%' has to be "
                              "followed by two hexadecimal digits"},
        {MATCH("path: /a/./b"), "t:1:36: error: routes[0].match.path: \"/a/./b\" never matches, as "
                                "paths are compared in their normal form; write \"/a/b\""},
        {MATCH("path: /a/b/../.."), "t:1:36: error: routes[0].match.path: \"/a/b/../..\" never "
                                    "matches, as paths are compared in their normal form; write "
                                    "\"/\""},
        {MATCH("path: /../a//.."), "t:1:36: error: routes[0].match.path: \"/../a//..\" never "
                                   "matches, as paths are compared in their normal form; write "
                                   "\"/a/\""},
        {MATCH("path: /%7euser/%2fx/%41"),
         "t:1:36: error: routes[0].match.path: \"/%7euser/%2fx/%41\" never matches, as paths are "
         "compared in their normal form; write \"/~user/%2Fx/A\""},
        {MATCH("path: { exact: a }"),
         "t:1:45: error: routes[0].match.path.exact: \"a\": a path begins with '/'"},
        {MATCH("path: { exact: /a, prefix: /b }"),
         "t:1:36: error: routes[0].match.path: expected exactly one of the keys exact, prefix"},
        {MATCH("path: {}"),
         "t:1:36: error: routes[0].match.path: expected exactly one of the keys exact, prefix"},
        {MATCH("path: [/a]"), "t:1:36: error: routes[0].match.path: expected a prefix alone, "
                              "{ exact: /path } or { prefix: /path }; found a list"},
        {MATCH("path: /a//b/%2F/...;v=1"), ""});
}

static void test_matching_methods_and_headers(void **state)
{
    CASES(
        {MATCH("method: get"), "t:1:38: error: routes[0].match.method: expected a method such as "
                               "GET; found \"get\"; did you mean \"GET\"?"},
        {MATCH("method: CONNECT"), "t:1:38: error: routes[0].match.method: expected a method such "
                                   "as GET; found \"CONNECT\""},
        {MATCH("method: [GET, PUT, GET]"),
         "t:1:49: error: routes[0].match.method: \"GET\" is listed twice"},
        {MATCH("headers: {}"), "t:1:39: error: routes[0].match.headers: expected at least one "
                               "field; without the key, every request matches"},
        {MATCH("headers: { \"a b\": x }"), "t:1:41: error: routes[0].match.headers.\"a b\": \"a "
                                           "b\": not the name of a header field"},
        {MATCH("headers: { x-a: 1, x-b: true, x-c: }"),
         "t:1:46: error: routes[0].match.headers.x-a: expected the value of a header field; found "
         "the number 1; to mean the text, write it in quotes: \"1\"\n"
         "t:1:54: error: routes[0].match.headers.x-b: expected the value of a header field; found "
         "the boolean true; to mean the text, write it in quotes: \"true\"\n"
         "t:1:65: error: routes[0].match.headers.x-c: expected the value of a header field; found "
         "nothing"},
        {MATCH("headers: { x-a: \" x\" }"),
         "t:1:46: error: routes[0].match.headers.x-a: \" x\": never matches, as values are "
         "compared without blanks at their ends"},
        {MATCH("headers: { x-a: \"x\\ry\" }"),
         "t:1:46: error: routes[0].match.headers.x-a: \"x\\x0dy\": a field's value has no control "
         "characters"},
        {MATCH("headers: { x-a: a, X-A: b }"),
         "t:1:49: error: routes[0].match.headers: \"x-a\" is listed twice; the names of fields do "
         "not depend on case"},
        {MATCH("headers: { x_tier: a }"),
         "t:1:41: warning: routes[0].match.headers.x_tier: never matches: fields with '_' in their "
         "name are dropped; did you mean '-'?"});
}

static void test_longest_path_of_a_file(void **state)
{
    (void)state;
    char path[4097], yaml[8192], said[512];
    memset(path, 'x', sizeof(path));
    path[4095] = '\0';
    snprintf(yaml, sizeof(yaml), "access_log: %s\n" REST, path);
    config_free(load_good(yaml));
    snprintf(yaml, sizeof(yaml), "access_log: %sx\n" REST, path);
    snprintf(said, sizeof(said), "t:1:13: error: access_log: \"%.60s\"...: the path is too long\n",
             path);
    expect_messages(yaml, said);
}

static void test_missing_pools(void **state)
{
    CASES({ROUTE("{ to: ap }"),
           "t:1:16: error: routes[0].to: no pool named \"ap\"; did you mean \"app\"?"},
          {ROUTE("{ to: { app: 1, shop: 1 } }"),
           "t:1:26: error: routes[0].to: no pool named \"shop\""},
          {"version: 1\n" LISTENERS "routes:\n  - to: app\n  - match: { path: /c }\n"
           "    to: chekout\npools:\n  app: [a:1]\n  checkout: [a:1]\n",
           "t:6:9: error: routes[1].to: no pool named \"chekout\"; did you mean \"checkout\"?"},
          {"version: 1\n" LISTENERS ROUTES "pools: {}\n",
           "t:4:8: error: pools: expected at least one pool, such as app: [127.0.0.1:8080]"});
}

static void test_warnings_about_pools_and_weights(void **state)
{
    CASES({"version: 1\n" LISTENERS ROUTES "pools:\n  app: [a:1]\n  old: [a:1]\n",
           "t:6:3: warning: pools.old: no route leads to this pool"},
          {ENDPOINT("{ address: a:1, weight: 0 }"),
           "t:1:10: warning: pools.app: every endpoint has weight 0, so all requests are answered "
           "503"},
          {ENDPOINT("{ address: a:1, weight: 0 }, b:1"), ""},
          {ROUTE("{ to: { app: 0 } }"),
           "t:1:18: warning: routes[0].to: every pool has weight 0, so all requests are answered "
           "503"},
          /* A wrong reference makes a pool look unused: nothing is said about that. */
          {"version: 1\n" LISTENERS "routes: [{ to: ap }]\n" POOLS,
           "t:3:16: error: routes[0].to: no pool named \"ap\"; did you mean \"app\"?"});
}

#define TWO(first, second)                                                                \
    "routes:\n- { name: one, to: app, match: {" first "} }\n- { to: app, match: {" second \
    "} }\nversion: 1\n" LISTENERS POOLS

#define NEVER                                                                                      \
    "t:3:3: warning: routes[1]: never wins: all that it matches is taken by earlier routes, such " \
    "as \"one\" at line 2"

static void test_routes_that_never_win(void **state)
{
    CASES({TWO("", ""), NEVER}, {TWO("", "path: /"), NEVER}, {TWO("path: /a", "path: /a/"), NEVER},
          {TWO("path: /a", "path: { prefix: /a }"), NEVER},
          {TWO("path: { exact: /a }", "path: { exact: /a }"), NEVER},
          {TWO("host: [a.b, c.d]", "host: C.d"), NEVER},
          {TWO("method: [GET, PUT]", "method: PUT"), NEVER},
          {TWO("headers: { a: x, b: y }", "headers: { B: y, A: x }"), NEVER},
          {TWO("host: a.b, path: /x, method: GET, headers: { a: x }",
               "host: a.b, path: /x, method: GET, headers: { a: x }"),
           NEVER});
}

static void test_routes_that_win_somewhere(void **state)
{
    CASES({TWO("", "path: /a"), ""}, {TWO("path: /a", ""), ""},
          {TWO("path: /a", "path: { exact: /a }"), ""},
          {TWO("path: { exact: /a }", "path: /a"), ""},
          {TWO("path: { exact: /a }", "path: { exact: /a/ }"), ""},
          {TWO("path: /a", "path: /ab"), ""}, {TWO("host: a.b", ""), ""},
          {TWO("", "host: a.b"), ""}, {TWO("host: a.b", "host: [a.b, c.d]"), ""},
          {TWO("host: \"*.b\"", "host: a.b"), ""}, {TWO("method: GET", ""), ""},
          {TWO("", "method: GET"), ""}, {TWO("method: GET", "method: [GET, PUT]"), ""},
          {TWO("headers: { a: x }", "headers: { a: y }"), ""},
          {TWO("headers: { a: x }", "headers: { a: x, b: y }"), ""},
          {TWO("headers: { a: x, b: y }", "headers: { a: x }"), ""});
}

static void test_route_that_several_together_leave_nothing(void **state)
{
    CASES({"routes:\n- { to: app, match: { host: [a, b], method: GET } }\n"
           "- { to: app, match: { host: [b, a], method: PUT } }\n"
           "- { to: app, match: { host: [a, b], method: [PUT, GET] } }\n"
           "- { to: app, match: { host: [a, c], method: [PUT, GET] } }\n"
           "version: 1\n" LISTENERS POOLS,
           "t:4:3: warning: routes[2]: never wins: all that it matches is taken by earlier routes, "
           "such as \"route-1\" at line 2"});
}

static void test_all_errors_are_reported_in_the_order_of_the_file(void **state)
{
    CASES(
        {"routes: [{ to: chekout, tme: 1 }]\n"
         "pools: { checkout: { endpoints: [a], balance: x } }\n"
         "listeners: { web: { via: on } }\n"
         "workers: 0\n",
         "t:1:1: error: the key \"version\" is missing: The version of this format: 1.\n"
         "t:1:16: error: routes[0].to: no pool named \"chekout\"; did you mean \"checkout\"?\n"
         "t:1:25: error: routes[0].tme: unknown key; the keys here are name, match, to, timeout, "
         "retry\n"
         "t:2:34: error: pools.checkout.endpoints[0]: " ENDPOINT_EXPECTED
         "; found \"a\", which has no port\n"
         "t:2:47: error: pools.checkout.balance: expected one of p2c, round_robin, least_conn, "
         "random, peak_ewma, ring_hash, maglev; found \"x\"\n"
         "t:3:19: error: listeners.web: the key \"bind\" is missing: The address to listen on; "
         "\":8000\" is every address, IPv6 too.\n"
         "t:3:26: error: listeners.web.via: expected true or false; found on; yes, no, on and off "
         "are not used\n"
         "t:4:10: error: workers: 0 is out of range; expected 1 to 256, or auto"});
}

static void test_too_many_errors_are_counted(void **state)
{
    (void)state;
    char yaml[8192] = REST;
    for (int i = 0; i < 300; i++)
        snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "key%d: 1\n", i);
    struct config_errors errs = {0};
    struct config *c;
    assert_int_equal(config_load_text("t", yaml, strlen(yaml), &c, &errs), -1);
    assert_null(c);
    assert_int_equal(errs.errors, 300);
    assert_int_equal(errs.count, 200);
    char *said = messages_text(&errs);
    assert_string_equal(said + strlen(said) - strlen("\nand 100 more\n"), "\nand 100 more\n");
    free(said);
}

static void test_later_errors_can_name_a_position(void **state)
{
    (void)state;
    struct config *c = load_good(REST);
    struct config_errors errs = {0};
    config_errors_add(&errs, CONFIG_ERROR, c->listeners[0].bind.pos, "listeners.web",
                      "cannot listen on %s: %s", c->listeners[0].bind.text, "in use");
    config_errors_add(&errs, CONFIG_WARNING, (struct config_pos){0}, NULL, "nowhere");
    config_free(c);
    assert_int_equal(errs.errors, 1);
    assert_int_equal(errs.warnings, 1);
    char *said = messages_text(&errs);
    assert_string_equal(said, "t:2:19: error: listeners.web: cannot listen on :8000: in use\n"
                              "warning: nowhere\n");
    free(said);
}

static void test_messages_of_several_loads_are_kept_apart(void **state)
{
    (void)state;
    struct config_errors errs = {0};
    struct config *bad, *good;
    assert_int_equal(config_load_text("one", "a", 1, &bad, &errs), -1);
    /* An error of an earlier load does not spoil this one. */
    assert_int_equal(config_load_text("two", REST, strlen(REST), &good, &errs), 0);
    assert_non_null(good);
    config_free(good);
    char *said = messages_text(&errs);
    assert_string_equal(said, "one:1:1: error: expected a mapping that begins with version: 1; "
                              "found \"a\"\n");
    free(said);
}

static void test_distance_counts_typing_mistakes(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", "", 3), 0);
    assert_int_equal(suggest_distance("a", "", 3), 1);
    assert_int_equal(suggest_distance("GET", "get", 3), 0);
    assert_int_equal(suggest_distance("checkout", "chekout", 3), 1);
    assert_int_equal(suggest_distance("checkout", "checkuot", 3), 1);
    assert_int_equal(suggest_distance("checkout", "checkpoint", 3), 3);
    assert_int_equal(suggest_distance("abcd", "wxyz", 3), 4);
    assert_int_equal(suggest_distance("abc", "abcdefgh", 3), 4);
}

static void test_suggestion_is_the_nearest_and_near(void **state)
{
    (void)state;
    struct suggest s;
    suggest_init(&s, "prt");
    suggest_offer(&s, "path");
    assert_null(s.best);
    suggest_offer(&s, "part");
    assert_string_equal(s.best, "part");
    suggest_offer(&s, "prt");
    assert_string_equal(s.best, "prt");
    suggest_init(&s, "x");
    suggest_offer(&s, "y");
    assert_null(s.best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_of_later_versions),
        cmocka_unit_test(test_tls_of_listeners),
        cmocka_unit_test(test_proxy_protocol),
        cmocka_unit_test(test_tls_to_upstreams),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_booleans_and_words),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_listener_addresses),
        cmocka_unit_test(test_socket_path_has_to_fit),
        cmocka_unit_test(test_one_address_for_two_listeners),
        cmocka_unit_test(test_trusted_proxies),
        cmocka_unit_test(test_endpoint_addresses),
        cmocka_unit_test(test_matching_hosts),
        cmocka_unit_test(test_matching_paths),
        cmocka_unit_test(test_matching_methods_and_headers),
        cmocka_unit_test(test_longest_path_of_a_file),
        cmocka_unit_test(test_missing_pools),
        cmocka_unit_test(test_warnings_about_pools_and_weights),
        cmocka_unit_test(test_routes_that_never_win),
        cmocka_unit_test(test_routes_that_win_somewhere),
        cmocka_unit_test(test_route_that_several_together_leave_nothing),
        cmocka_unit_test(test_all_errors_are_reported_in_the_order_of_the_file),
        cmocka_unit_test(test_too_many_errors_are_counted),
        cmocka_unit_test(test_later_errors_can_name_a_position),
        cmocka_unit_test(test_messages_of_several_loads_are_kept_apart),
        cmocka_unit_test(test_distance_counts_typing_mistakes),
        cmocka_unit_test(test_suggestion_is_the_nearest_and_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
