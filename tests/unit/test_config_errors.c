/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about a file that is wrong: every rule of keys and values once, with the exact text
 * and position. Listeners, routes and pools have files of their own.
 */
#include "tests/unit/test_config.h"

static void test_keys(void **state)
{
    CASES({"worker: 2\n" REST, "t:1:1: error: worker: unknown key; did you mean \"workers\"?"},
          {"colour: red\n" REST,
           "t:1:1: error: colour: unknown key; the keys here are version, workers, shutdown, zone, "
           "instance, user, sandbox, admin, registry, reload, log, access_log, flight, tracing, "
           "limits, "
           "timeouts, "
           "listeners, "
           "routes, "
           "pools"},
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
          {MATCH("path: { regex: ^/x }, query: {}"),
           "t:1:38: error: routes[0].match.path.regex: not supported by this version of weir\n"
           "t:1:52: error: routes[0].match.query: not supported by this version of weir"},
          {POOL("{ kubernetes: {} }"),
           "t:1:29: error: pools.app.kubernetes: the key \"service\" is missing: The Service."});
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
         "t:1:15: error: pools.app: expected exactly one of the keys endpoints, dns, etcd, file, "
         "kubernetes, registry"},
        {ENDPOINT("[a:1]"), "t:1:16: error: pools.app[0]: expected an address, or a "
                            "mapping such as { address: 10.0.0.1:80, weight: 2 }; found a list"},
        {ENDPOINT("8080"),
         "t:1:16: error: pools.app[0]: " ENDPOINT_EXPECTED "; found the number 8080"});
}

static void test_numbers(void **state)
{
    CASES(
        {"workers: 0\n" REST,
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
         "t:1:40: error: routes[0].retry.attempts: 11 is out of range; expected 0 to 10, or none"},
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
         "t:1:13: error: access_log: where to? path names a file, syslog an address"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_of_later_versions),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_booleans_and_words),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_longest_path_of_a_file),
        cmocka_unit_test(test_all_errors_are_reported_in_the_order_of_the_file),
        cmocka_unit_test(test_too_many_errors_are_counted),
        cmocka_unit_test(test_later_errors_can_name_a_position),
        cmocka_unit_test(test_messages_of_several_loads_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
