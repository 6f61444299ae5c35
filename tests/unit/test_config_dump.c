/* SPDX-License-Identifier: Apache-2.0 */
/* The dump of a configuration: complete, and what it was made of once it is loaded again. */
#include "tests/unit/test_config.h"

static void test_dump_loads_to_the_same(void **state)
{
    (void)state;
    check_reload(REST);
    check_reload("admin: {}\naccess_log: /dev/stdout\n" REST);
}

/* Of REST, with an admin listener and an access log. */
static const char whole[] = "version: 1\n"
                            "workers: auto\n"
                            "shutdown: 30s\n"
                            "instance: auto\n"
                            "sandbox: true\n"
                            "admin:\n"
                            "  listen: \"127.0.0.1:9900\"\n"
                            "  remote: token\n"
                            "reload:\n"
                            "  watch: false\n"
                            "log:\n"
                            "  level: info\n"
                            "access_log:\n"
                            "  path: a.log\n"
                            "  format: json\n"
                            "  sample: 100%\n"
                            "  rotate:\n"
                            "    size: none\n"
                            "    keep: 5\n"
                            "flight:\n"
                            "  size: 64\n"
                            "  slow: 1s\n"
                            "limits:\n"
                            "  connections: 20000\n"
                            "  header_bytes: 32KiB\n"
                            "  headers: 100\n"
                            "  target_bytes: 8KiB\n"
                            "  body_bytes: none\n"
                            "  buffer: 64KiB\n"
                            "timeouts:\n"
                            "  request_head: 10s\n"
                            "  client_idle: 75s\n"
                            "  request_body: 1m\n"
                            "  response_head: 1m\n"
                            "  response_idle: 1m\n"
                            "  request: none\n"
                            "  upgraded: 1h\n"
                            "  write_stall: 1m\n"
                            "  tls_handshake: 10s\n"
                            "listeners:\n"
                            "  web:\n"
                            "    bind: \"unix:/w\"\n"
                            "    mode: \"0660\"\n"
                            "    forwarded: false\n"
                            "    via: false\n"
                            "routes:\n"
                            "  - name: route-1\n"
                            "    to:\n"
                            "      app: 1\n"
                            "    timeout:\n"
                            "      request: none\n"
                            "      try: 1m\n"
                            "    retry:\n"
                            "      attempts: 1\n"
                            "      backoff: 25ms\n"
                            "      max_backoff: 250ms\n"
                            "      retry_after: 1s\n"
                            "      same_endpoint: false\n"
                            "pools:\n"
                            "  app:\n"
                            "    endpoints:\n"
                            "      - address: \"127.0.0.1:8080\"\n"
                            "        weight: 1\n"
                            "        priority: 0\n"
                            "        backup: false\n"
                            "        drain: false\n"
                            "        max_requests: none\n"
                            "        max_connections: none\n"
                            "    balance:\n"
                            "      policy: p2c\n"
                            "      subset: none\n"
                            "    slow_start: none\n"
                            "    outlier:\n"
                            "      mode: enforce\n"
                            "      errors: 5\n"
                            "      eject: 30s\n"
                            "      max_eject: 5m\n"
                            "      max: 50%\n"
                            "      interval: 10s\n"
                            "      success_rate:\n"
                            "        mode: enforce\n"
                            "        factor: 190%\n"
                            "        endpoints: 5\n"
                            "        requests: 100\n"
                            "      latency:\n"
                            "        mode: observe\n"
                            "        factor: 300%\n"
                            "        endpoints: 3\n"
                            "        requests: 100\n"
                            "        least: 5ms\n"
                            "    max_requests: none\n"
                            "    max_connections: none\n"
                            "    limit:\n"
                            "      mode: none\n"
                            "    retry_budget:\n"
                            "      ratio: 20%\n"
                            "      min: 10/s\n"
                            "      window: 10s\n"
                            "    hedge: none\n"
                            "    upstream:\n"
                            "      connect: 1s\n"
                            "      idle: 55s\n"
                            "      max_idle: 256\n"
                            "      ping: 30s\n"
                            "      protocol: auto\n"
                            "      proxy_protocol: none\n";

static void test_dump_is_complete(void **state)
{
    (void)state;
    struct config *c = load_good("version: 1\nlisteners: { web: \"unix:/w\" }\nadmin: {}\n"
                                 "access_log: a.log\n" ROUTES POOLS);
    char *text = dump_text(c);
    assert_string_equal(text, whole);
    free(text);
    config_free(c);
}

/* Dumps a configuration with this template, and expects to find the template again. */
static void check_text_survives(const char *text)
{
    struct config *c = load_good("access_log: { path: x, format: \"{\" }\n" REST);
    c->access_log.format.text = text;
    c->routes[0].match.headers = &(struct config_header_match){.name = "x$y", .value = "1"};
    c->routes[0].match.header_count = 1;
    char *dumped = dump_text(c);
    struct config *again = load_good(dumped);
    assert_string_equal(again->access_log.format.text, text);
    assert_string_equal(again->routes[0].match.headers[0].name, "x$y");
    assert_string_equal(again->routes[0].match.headers[0].value, "1");
    free(dumped);
    config_free(again);
    config_free(c);
}

static void test_dump_quotes_nasty_strings(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{",
        " {x} ",
        "{\"a\": 'b'}",
        "\\{\\n}",
        "${HOME}{",
        "$${",
        "{$",
        "{} # no comment",
        "- {",
        "&a {",
        "*a {",
        "!t {",
        "%{",
        "@{`",
        "{x: y}, [z]",
        "{\t}",
        "{\x01\x1b\x7f}",
        "{\xc2\x80\xc2\x85\xc2\xa0}",             /* U+0080, NEL, NBSP */
        "{\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf}", /* line and paragraph separators, BOM */
        "{\xef\xbf\xbe\xef\xbf\xbf}",             /* U+FFFE, U+FFFF */
        "{\xc3\xa4\xe4\xb8\x96\xf0\x9f\x8c\x8d}", /* letters, an emoji */
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        check_text_survives(texts[i]);
}

static void test_dump_quotes_names_that_look_like_something_else(void **state)
{
    (void)state;
    static const char *const names[] = {"true", "No",   "null", "1",  "1e3", ".5",
                                        "-",    "y",    "0x1f", "on", "a.b", "-1",
                                        "1.",   ".nan", "0o7",  "a",  "_",   "NULL"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char yaml[512];
        snprintf(yaml, sizeof(yaml),
                 "version: 1\n" LISTENERS "routes: [{ to: \"%s\", name: \"%s\" }]\n"
                 "pools: { \"%s\": [127.0.0.1:80] }\n",
                 names[i], names[i], names[i]);
        struct config *c = load_good(yaml);
        assert_string_equal(c->pools[0].name, names[i]);
        assert_string_equal(c->routes[0].name, names[i]);
        config_free(c);
        check_reload(yaml);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dump_loads_to_the_same),
        cmocka_unit_test(test_dump_is_complete),
        cmocka_unit_test(test_dump_quotes_nasty_strings),
        cmocka_unit_test(test_dump_quotes_names_that_look_like_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
