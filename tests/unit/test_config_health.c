/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about health checks, and what is said about it. */
#include "tests/unit/test_config.h"

#define HEALTH(text) POOL("{ endpoints: [a:1], health: " text " }")

static void test_defaults(void **state)
{
    struct config *cfg = load_good(HEALTH("{ http: /healthz }"));
    const struct config_health *h = &cfg->pools[0].health;
    (void)state;
    assert_true(h->enabled && h->http.enabled && !h->tcp && !h->grpc.enabled);
    assert_string_equal(h->http.path, "/healthz");
    assert_string_equal(h->http.method, "GET");
    assert_null(h->http.host);
    assert_null(h->http.body);
    assert_int_equal(h->http.status_count, 0);
    assert_int_equal(h->every_ms, 5000);
    assert_int_equal(h->every_down_ms, 0);
    assert_int_equal(h->timeout_ms, 1000);
    assert_int_equal(h->down_after, 3);
    assert_int_equal(h->up_after, 2);
    assert_int_equal(h->jitter, 10);
    assert_int_equal(h->port, 0);
    assert_true(h->tls && !h->must_pass);
    config_free(cfg);
    cfg = load_good(POOL("{ endpoints: [a:1] }"));
    assert_false(cfg->pools[0].health.enabled);
    assert_null(cfg->pools[0].endpoints[0].health.text);
    config_free(cfg);
}

static void test_all_that_can_be_said(void **state)
{
    struct config *cfg = load_good(POOL(
        "{ endpoints: [{ address: a:1, health: b:2 }, c:3], health: { http: { path: \"/x?y=z\", "
        "method: HEAD, host: \"h.example:80\", headers: { X-A: b }, status: [204, { from: 300, to: "
        "302 }] }, every: 10s, every_down: 2s, timeout: 2s, down_after: 1, up_after: 9, jitter: "
        "50%, port: 81, tls: false, must_pass: true } }"));
    const struct config_health *h = &cfg->pools[0].health;
    (void)state;
    assert_string_equal(cfg->pools[0].endpoints[0].health.host, "b");
    assert_string_equal(h->http.path, "/x?y=z");
    assert_string_equal(h->http.method, "HEAD");
    assert_string_equal(h->http.host, "h.example:80");
    assert_string_equal(h->http.headers[0].name, "x-a");
    assert_string_equal(h->http.headers[0].value, "b");
    assert_int_equal(h->http.status_count, 2);
    assert_int_equal(h->http.status[0].from, 204);
    assert_int_equal(h->http.status[0].to, 0);
    assert_int_equal(h->http.status[1].from, 300);
    assert_int_equal(h->http.status[1].to, 302);
    assert_int_equal(h->every_down_ms, 2000);
    assert_int_equal(h->jitter, 50);
    assert_int_equal(h->port, 81);
    assert_true(!h->tls && h->must_pass);
    config_free(cfg);
    cfg = load_good(HEALTH("{ http: { path: /, status: { from: 200, to: 299 }, body: ok } }"));
    assert_int_equal(cfg->pools[0].health.http.status[0].to, 299);
    assert_string_equal(cfg->pools[0].health.http.body, "ok");
    config_free(cfg);
    cfg = load_good(HEALTH("{ grpc: { service: shop.Cart } }"));
    assert_string_equal(cfg->pools[0].health.grpc.service, "shop.Cart");
    config_free(cfg);
}

static void test_dumps_load_again(void **state)
{
    (void)state;
    check_reload(HEALTH("{ http: /healthz }"));
    check_reload(HEALTH("{ tcp: true, every_down: 1s, port: 90, must_pass: true, tls: false }"));
    check_reload(HEALTH("{ grpc: true }"));
    check_reload(HEALTH("{ grpc: { service: a.B, host: c } }"));
    check_reload(HEALTH("{ http: { path: /, headers: { a: b }, status: [200, { from: 300, to: "
                        "310 }], body: \"a: b\", host: \"[::1]:80\" } }"));
    check_reload(POOL("{ endpoints: [{ address: a:1, health: \"unix:/x\" }], health: { tcp: true } "
                      "}"));
}

#define ONE_OF ": say one of http: /healthz, tcp: true and grpc: true"

static void test_what_is_said_about_mistakes(void **state)
{
    CASES(
        {HEALTH("/healthz"),
         "t:1:43: error: pools.app.health: expected a mapping such as { http: /healthz } or { tcp: "
         "true }; found \"/healthz\""},
        {HEALTH("{}"), "t:1:43: error: pools.app.health: it is not said how endpoints are "
                       "checked" ONE_OF},
        {HEALTH("{ http: /, tcp: true }"),
         "t:1:43: error: pools.app.health: endpoints are checked in one way only" ONE_OF},
        {HEALTH("{ tcp: true, timeout: 6s }"),
         "t:1:65: error: pools.app.health: a check may take 6000 ms, and the next would begin "
         "after 5000 ms; a timeout is at most as long as every"},
        {HEALTH("{ tcp: true, every_down: 500ms }"),
         "t:1:68: error: pools.app.health: a check may take 1000 ms, and the next would begin "
         "after 500 ms; a timeout is at most as long as every_down"},
        {HEALTH("{ tcp: true, down_after: 0 }"),
         "t:1:68: error: pools.app.health.down_after: 0 is out of range; expected 1 to 1000"},
        {HEALTH("{ tcp: true, jitter: 60% }"),
         "t:1:64: error: pools.app.health.jitter: 60% is out of range; expected 0% to 50%"},
        {HEALTH("{ http: healthz }"),
         "t:1:51: error: pools.app.health.http: \"healthz\" is not a path such as /healthz: it "
         "begins with a slash, and has no space, no # and nothing but ASCII (use %xx)"},
        {HEALTH("{ http: { path: /, status: 99 } }"),
         "t:1:70: error: pools.app.health.http.status: 99 is out of range; expected 200 to 599"},
        {HEALTH("{ http: { path: /, status: { from: 300, to: 200 } } }"),
         "t:1:87: error: pools.app.health.http.status: no status is from 300 to 200; exchange the "
         "two"},
        {HEALTH("{ http: { path: /, method: HEAD, body: ok } }"),
         "t:1:82: error: pools.app.health.http: the answer to HEAD has no body; use method: GET"},
        {HEALTH("{ http: { path: /, headers: { Host: a } } }"),
         "t:1:73: error: pools.app.health.http: weir writes the field \"host\" itself; use the key "
         "host"},
        {HEALTH("{ http: { path: /, headers: { content-length: \"5\" } } }"),
         "t:1:73: error: pools.app.health.http: weir writes the field \"content-length\" itself"},
        {HEALTH("{ htpp: / }"), "t:1:45: error: pools.app.health.htpp: unknown key; did you mean "
                                "\"http\"?"},
        {POOL("{ endpoints: [{ address: a:1, health: b:1 }] }"),
         "t:1:53: error: pools.app: says where \"a:1\" is checked, but the pool has no health: say "
         "how, such as health: { http: /healthz }"},
        {POOL("{ endpoints: [\"unix:/x\"], health: { tcp: true, port: 80 } }"),
         "t:1:29: error: pools.app: \"unix:/x\" has no port that health.port could stand for; give "
         "it a health: address of its own"},
        {POOL("{ endpoints: [a:1], health: { grpc: true }, upstream: { proxy_protocol: v1 } }"),
         "t:1:51: error: pools.app: gRPC is HTTP/2, which upstream.proxy_protocol cannot be used "
         "with; check with http or tcp"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_that_can_be_said),
        cmocka_unit_test(test_dumps_load_again),
        cmocka_unit_test(test_what_is_said_about_mistakes),
    };
    return cmocka_run_group_tests_name("configuration of health checks", tests, NULL, NULL);
}
