/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about balancing, and what is said about it. */
#include "tests/unit/test_config.h"

#include "proxy/base/check.h"

#define POOL(text)    "pools: { app: " text " }\nversion: 1\n" LISTENERS ROUTES
#define BALANCE(text) POOL("{ endpoints: [a:1], balance: " text " }")
#define STICKY(text)  POOL("{ endpoints: [a:1], sticky: " text " }")
#define KEY(text)     BALANCE("{ policy: maglev, key: " text " }")

static struct config *load(const char *yaml)
{
    struct config *cfg;
    char *said = load_messages(yaml, strlen(yaml), &cfg);
    assert_string_equal(said, "");
    free(said);
    return cfg;
}

static void test_policies_by_name_alone_or_in_a_mapping(void **state)
{
    static const char *const names[] = {"p2c", "round_robin", "least_conn", "random", "peak_ewma"};
    char yaml[300];
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        for (int mapping = 0; mapping < 2; mapping++) {
            snprintf(yaml, sizeof(yaml), mapping ? BALANCE("{ policy: %s }") : BALANCE("%s"),
                     names[k]);
            struct config *cfg = load(yaml);
            assert_string_equal(cfg->pools[0].balance.policy, names[k]);
            assert_false(cfg->pools[0].balance.key.enabled);
            assert_int_equal(cfg->pools[0].balance.bound, 0);
            config_free(cfg);
        }
    }
}

static void test_keys(void **state)
{
    (void)state;
    struct config *cfg = load(KEY("client_ip"));
    assert_true(cfg->pools[0].balance.key.enabled);
    assert_string_equal(cfg->pools[0].balance.key.part, "client_ip");
    config_free(cfg);
    cfg = load(BALANCE("{ policy: ring_hash, key: { header: X-User }, bound: 125% }"));
    assert_string_equal(cfg->pools[0].balance.policy, "ring_hash");
    assert_null(cfg->pools[0].balance.key.part);
    assert_string_equal(cfg->pools[0].balance.key.header, "x-user");
    assert_int_equal(cfg->pools[0].balance.bound, 125);
    config_free(cfg);
    cfg = load(KEY("{ cookie: Session }"));
    assert_string_equal(cfg->pools[0].balance.key.cookie, "Session");
    config_free(cfg);
    cfg = load(KEY("{ query: user }"));
    assert_string_equal(cfg->pools[0].balance.key.query, "user");
    config_free(cfg);
}

static void test_subsets(void **state)
{
    (void)state;
    struct config *cfg = load(BALANCE("p2c"));
    assert_int_equal(cfg->pools[0].balance.subset, 0);
    assert_int_equal(cfg->instance, CONFIG_NO_INSTANCE);
    config_free(cfg);
    cfg = load("instance: 3\n" BALANCE("{ subset: 20 }"));
    assert_int_equal(cfg->pools[0].balance.subset, 20);
    assert_int_equal(cfg->instance, 3);
    config_free(cfg);
}

static void test_sticky_sessions(void **state)
{
    (void)state;
    struct config *cfg = load(BALANCE("p2c"));
    assert_false(cfg->pools[0].sticky.enabled);
    config_free(cfg);
    cfg = load(STICKY("weir"));
    const struct config_sticky *sticky = &cfg->pools[0].sticky;
    assert_true(sticky->enabled);
    assert_string_equal(sticky->cookie, "weir");
    assert_int_equal(sticky->ttl_ms, 0);
    assert_string_equal(sticky->path, "/");
    assert_null(sticky->secret);
    config_free(cfg);
    cfg = load(STICKY("{ cookie: __Host-s, ttl: 1h, path: /shop/, secret: 0123456789abcdef }"));
    sticky = &cfg->pools[0].sticky;
    assert_string_equal(sticky->cookie, "__Host-s");
    assert_int_equal(sticky->ttl_ms, 3600000);
    assert_string_equal(sticky->path, "/shop/");
    assert_string_equal(sticky->secret, "0123456789abcdef");
    config_free(cfg);
}

static void test_places_of_endpoints(void **state)
{
    (void)state;
    struct config *cfg = load(
        "zone: east\n" POOL("{ slow_start: 30s, endpoints: [{ address: a:1, zone: east, "
                            "priority: 7 }, { address: b:1, backup: true }, { address: c:1, drain: "
                            "true }] }"));
    const struct config_pool *pool = &cfg->pools[0];
    assert_string_equal(cfg->zone, "east");
    assert_int_equal(pool->slow_start_ms, 30000);
    assert_string_equal(pool->endpoints[0].zone, "east");
    assert_int_equal(pool->endpoints[0].priority, 7);
    assert_null(pool->endpoints[1].zone);
    assert_true(pool->endpoints[1].backup && !pool->endpoints[0].backup);
    assert_true(pool->endpoints[2].drain && !pool->endpoints[0].drain);
    config_free(cfg);
}

/* A dump is read as the same again. */
static void test_dumps_load_again(void **state)
{
    static const char *const texts[] = {
        BALANCE("peak_ewma"),
        KEY("path"),
        STICKY("weir"),
        "instance: 0\n" BALANCE("{ policy: random, subset: 1 }"),
        STICKY("{ cookie: weir, ttl: 1h, secret: \"# a: '0123456789\" }"),
        KEY("{ header: x-user }"),
        BALANCE("{ policy: ring_hash, key: { cookie: s }, bound: 101% }"),
        "zone: east\n" POOL(
            "[{ address: a:1, zone: x, priority: 1, backup: true, drain: true }, b:1]"),
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
        struct config *cfg = load(texts[k]);
        char *dump = dump_text(cfg);
        struct config *again = load(dump);
        char *second = dump_text(again);
        assert_string_equal(dump, second);
        free(dump);
        free(second);
        config_free(cfg);
        config_free(again);
    }
}

#define MISSING(policy)                                                                     \
    policy " needs a key, which says what requests to the same endpoint have in common: { " \
           "policy: " policy                                                                \
           ", key: client_ip }, or path, { header: NAME }, { cookie: NAME } or { query: NAME }\n"

static void test_what_is_said_about_mistakes(void **state)
{
    static const char *const cases[][2] = {
        {BALANCE("ring_hash"), "t:1:44: error: pools.app.balance: " MISSING("ring_hash")},
        {BALANCE("{ policy: maglev, bound: 125% }"),
         "t:1:44: error: pools.app.balance: " MISSING("maglev")},
        {BALANCE("{ policy: p2c, key: path }"),
         "t:1:64: error: pools.app.balance.key: only for ring_hash and maglev\n"},
        {BALANCE("{ bound: 125% }"),
         "t:1:53: error: pools.app.balance.bound: only for ring_hash and maglev\n"},
        {BALANCE("{ policy: maglev, key: path, bound: 125 }"),
         "t:1:80: error: pools.app.balance.bound: the number 125 needs a unit: %; expected a "
         "percentage such as 125%\n"},
        {BALANCE("{ policy: maglev, key: path, bound: 100% }"),
         "t:1:80: error: pools.app.balance.bound: 100% is out of range; expected 101% to 10000%, "
         "or "
         "none\n"},
        {BALANCE("{ policy: maglev, key: path, subset: 20 }"),
         "t:1:81: error: pools.app.balance.subset: only for policies that go by no key: by one, "
         "all "
         "workers have to agree\n"},
        {BALANCE("{ subset: 0 }"),
         "t:1:54: error: pools.app.balance.subset: 0 is out of range; expected 1 to 1048576, or "
         "none\n"},
        {"instance: -1\n" BALANCE("p2c"),
         "t:1:11: error: instance: -1 is out of range; expected 0 to 65535, or auto\n"},
        {BALANCE("maglevv"),
         "t:1:44: error: pools.app.balance: expected one of p2c, round_robin, least_conn, random, "
         "peak_ewma, ring_hash, maglev; found \"maglevv\"; did you mean \"maglev\"?\n"},
        {KEY("ip"),
         "t:1:67: error: pools.app.balance.key: expected one of client_ip, path; found \"ip\"\n"},
        {KEY("header"),
         "t:1:67: error: pools.app.balance.key: \"header\" needs a value; expected client_ip or "
         "path, "
         "or a mapping such as { header: x-user }, { cookie: session } or { query: user }\n"},
        {KEY("{}"),
         "t:1:67: error: pools.app.balance.key: expected exactly one of the keys part, header, "
         "cookie, query\n"},
        {KEY("{ header: a, cookie: b }"),
         "t:1:67: error: pools.app.balance.key: expected exactly one of the keys part, header, "
         "cookie, query\n"},
        {KEY("{ cookie: \"a=b\" }"),
         "t:1:77: error: pools.app.balance.key.cookie: \"a=b\" is not a name: it is empty, or has "
         "one of = & ; , \" or a space\n"},
        {KEY("[path]"),
         "t:1:67: error: pools.app.balance.key: expected client_ip or path, or a mapping such as { "
         "header: x-user }, { cookie: session } or { query: user }; found a list\n"},
        {STICKY("{ ttl: 1h }"),
         "t:1:43: error: pools.app.sticky: the key \"cookie\" is missing: The name of the cookie "
         "that weir sets, and by which a client's requests go to the same endpoint.\n"},
        {STICKY("\"a b\""),
         "t:1:43: error: pools.app.sticky: \"a b\" is not the name of a cookie: 1 to 64 letters, "
         "digits and !#$%&'*+-.^_`|~\n"},
        {STICKY("{ cookie: s, path: \"/;a\" }"),
         "t:1:62: error: pools.app.sticky.path: \"/;a\" is not the path of a cookie: it begins "
         "with "
         "/, has no space, ; or control, and at most 256 bytes\n"},
        {STICKY("{ cookie: s, path: a, ttl: 1ms, secret: short }"),
         "t:1:62: error: pools.app.sticky.path: \"a\" is not the path of a cookie: it begins with "
         "/, has no space, ; or control, and at most 256 bytes\n"
         "t:1:70: error: pools.app.sticky.ttl: 1ms is out of range; expected 1s to 8760h, or none\n"
         "t:1:83: error: pools.app.sticky.secret: the secret has 5 bytes; it needs 16 to 1024, "
         "such "
         "as those that `openssl rand -hex 32` prints\n"},
        {POOL("[{ address: a:1, priority: 8 }]"),
         "t:1:42: error: pools.app[0].priority: 8 is out of range; expected 0 to 7\n"},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++)
        expect_messages(cases[k][0], cases[k][1]);
}

static void test_more_zones_than_can_be_told_apart(void **state)
{
    char yaml[4000] = "pools: { app: [";
    (void)state;
    for (int i = 0; i < 32; i++)
        sprintf(yaml + strlen(yaml), "{ address: a:%d, zone: zone%d },\n", i + 1, i);
    strcat(yaml, "] }\nversion: 1\n" LISTENERS ROUTES);
    expect_messages(yaml, "t:32:1: error: pools.app: the endpoints of a pool are in 31 zones at "
                          "most\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies_by_name_alone_or_in_a_mapping),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_subsets),
        cmocka_unit_test(test_sticky_sessions),
        cmocka_unit_test(test_places_of_endpoints),
        cmocka_unit_test(test_dumps_load_again),
        cmocka_unit_test(test_what_is_said_about_mistakes),
        cmocka_unit_test(test_more_zones_than_can_be_told_apart),
    };
    return cmocka_run_group_tests_name("configuration of balancing", tests, NULL, NULL);
}
