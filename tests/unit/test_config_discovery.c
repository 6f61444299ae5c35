/* SPDX-License-Identifier: Apache-2.0 */
/* Where a pool's endpoints come from, and files of endpoints. */
#include "tests/unit/test_config.h"

/* What is said of a file of endpoints; *set may be NULL. */
static char *load_set(const char *text, size_t len, struct config_endpoints **set)
{
    struct config_errors errs = {0};
    config_endpoints_load("f", text, len, set, &errs);
    return messages_text(&errs);
}

static struct config_endpoints *set_of(const char *text)
{
    struct config_endpoints *set = NULL;
    char *said = load_set(text, strlen(text), &set);
    assert_string_equal(said, "");
    free(said);
    return set;
}

static void expect_set(const char *text, const char *messages, size_t count)
{
    struct config_endpoints *set = NULL;
    char *said = load_set(text, strlen(text), &set);
    assert_string_equal(said, messages);
    assert_int_equal(set != NULL, messages[0] == '\0');
    if (set != NULL)
        assert_int_equal(set->count, count);
    config_endpoints_unref(set);
    free(said);
}

static void test_a_file_is_a_list_of_endpoints(void **state)
{
    (void)state;
    expect_set("- 10.0.0.1:80\n- { address: \"[::1]:81\", weight: 3, backup: true }\n", "", 2);
    expect_set("endpoints: [10.0.0.1:80]\n", "", 1);
    expect_set("{\"endpoints\": [{\"address\": \"10.0.0.1:80\", \"zone\": \"a\"}]}", "", 1);
    expect_set("[\"10.0.0.1:80\",\n \"unix:/run/app.sock\"]\n", "", 2);
    expect_set("[]", "", 0);
    expect_set("endpoints: []\n", "", 0);
}

static void test_its_rows_are_those_of_a_pool(void **state)
{
    static const char text[] = "- { address: 10.0.0.1:80, weight: 7, zone: a, priority: 2,\n"
                               "    backup: true, drain: true, max_requests: 9 }\n"
                               "- 10.0.0.2:80\n";
    struct config_endpoints *set = set_of(text);
    (void)state;
    const struct config_endpoint *e = &set->items[0];
    assert_string_equal(e->address.text, "10.0.0.1:80");
    assert_string_equal(e->address.host, "10.0.0.1");
    assert_int_equal(e->address.port, 80);
    assert_int_equal(e->weight, 7);
    assert_string_equal(e->zone, "a");
    assert_int_equal(e->priority, 2);
    assert_true(e->backup && e->drain);
    assert_int_equal(e->max_requests, 9);
    assert_int_equal(set->items[1].weight, 1);
    assert_null(set->items[1].zone);
    config_endpoints_unref(set);
}

static void test_what_is_wrong_with_a_file(void **state)
{
    (void)state;
    expect_set("", "f:1:1: error: the file is empty\n", 0);
    expect_set("- 10.0.0.1:80\n- app.internal:80\n",
               "f:2:3: error: \"app.internal:80\": endpoints that are found have addresses and no "
               "names; for a name that leads to them a pool has dns\n",
               0);
    expect_set("- { address: 10.0.0.1:80, wieght: 3 }\n",
               "f:1:27: error: [0].wieght: unknown key; did you mean \"weight\"?\n", 0);
    expect_set("- 10.0.0.1:80\n- [\n",
               "f:3:1: error: not valid YAML: did not find expected node content while parsing a "
               "flow node\n",
               0);
    expect_set("hosts: []\n",
               "f:1:1: error: hosts: unknown key; the keys here are endpoints\n"
               "f:1:1: error: the key \"endpoints\" is missing: The addresses that requests are "
               "spread over.\n",
               0);
    expect_set("- { address: 10.0.0.1:80, weight: -1 }\n",
               "f:1:35: error: [0].weight: -1 is out of range; expected 0 to 1000\n", 0);
}

/* It may come from somebody who is to see neither the environment nor files. */
static void test_nothing_is_substituted_in_a_file(void **state)
{
    (void)state;
    expect_set(
        "- { address: 10.0.0.1:80, zone: \"${HOME}\" }\n",
        "f:1:33: error: [0].zone: \"${HOME}\": a name has 1 to 64 letters, digits, '.', '_' or "
        "'-'\n",
        0);
}

static void test_a_file_is_bounded(void **state)
{
    size_t len = CONFIG_MAX_BYTES + 1;
    char *bytes = malloc(len);
    struct config_endpoints *set = NULL;
    (void)state;
    memset(bytes, ' ', len);
    memcpy(bytes, "[]", 2);
    char *said = load_set(bytes, len, &set);
    assert_string_equal(said, "f: error: larger than 16777216 bytes\n");
    free(said);
    said = load_set(bytes, len - 1, &set);
    assert_string_equal(said, "");
    config_endpoints_unref(set);
    free(said);
    free(bytes);
}

static void test_the_same_endpoints_have_the_same_hash(void **state)
{
    struct config_endpoints *a = set_of("[{address: 10.0.0.1:80}]");
    struct config_endpoints *b = set_of("endpoints:\n - 10.0.0.1:80 # the only one\n");
    struct config_endpoints *c = config_endpoints_new(1);
    (void)state;
    config_endpoints_put(c, 0, "10.0.0.1", 80, 1, 0);
    config_endpoints_done(c);
    assert_true(a->hash == b->hash && a->hash == c->hash);
    config_endpoints_unref(b);
    b = set_of("[{address: 10.0.0.1:81}]");
    assert_true(a->hash != b->hash);
    config_endpoints_unref(a);
    config_endpoints_unref(b);
    config_endpoints_unref(c);
}

/* ---- one by one ---- */

static void expect_no_endpoint(const char *text, const char *messages)
{
    struct config_errors errs = {0};
    assert_null(config_endpoint_load("k", text, strlen(text), &errs));
    char *said = messages_text(&errs);
    assert_string_equal(said, messages);
    free(said);
}

static struct config_endpoint *endpoint_of(const char *text)
{
    struct config_errors errs = {0};
    struct config_endpoint *one = config_endpoint_load("k", text, strlen(text), &errs);
    assert_int_equal(errs.count, 0);
    assert_non_null(one);
    return one;
}

static void test_one_endpoint(void **state)
{
    (void)state;
    struct config_endpoint *one = endpoint_of("10.0.0.1:80");
    assert_string_equal(one->address.text, "10.0.0.1:80");
    assert_int_equal(one->weight, 1);
    assert_null(one->zone);
    free(one);
    one = endpoint_of("{\"address\": \"[::1]:80\", \"weight\": 3, \"zone\": \"a\", \"health\": "
                      "\"10.0.0.1:81\"}");
    assert_string_equal(one->address.host, "::1");
    assert_int_equal(one->weight, 3);
    assert_string_equal(one->zone, "a");
    assert_string_equal(one->health.text, "10.0.0.1:81");
    assert_int_equal(one->health.port, 81);
    free(one);
    one = endpoint_of("unix:/run/app.sock");
    assert_string_equal(one->address.path, "/run/app.sock");
    free(one);
    expect_no_endpoint("", "k:1:1: error: the file is empty\n");
    expect_no_endpoint("app:80",
                       "k:1:1: error: \"app:80\": endpoints that are found have addresses "
                       "and no names; for a name that leads to them a pool has dns\n");
    expect_no_endpoint("{address: 10.0.0.1:80, wieght: 1}",
                       "k:1:24: error: wieght: unknown key; did you mean \"weight\"?\n");
    expect_no_endpoint("{\"address\": ", "k:2:1: error: not valid YAML: did not find expected node "
                                         "content while parsing a flow node\n");
}

static void test_endpoints_are_joined(void **state)
{
    struct config_endpoint *all[] = {endpoint_of("10.0.0.1:80"),
                                     endpoint_of("{address: 10.0.0.2:80, zone: a}"),
                                     endpoint_of("{address: 10.0.0.1:80, weight: 9}")};
    const struct config_endpoint *const *items = (const struct config_endpoint *const *)all;
    struct config_errors errs = {0};
    struct config_endpoints *set = config_endpoints_join(items, 3, &errs);
    struct config_endpoints *same = set_of("[10.0.0.1:80, {address: 10.0.0.2:80, zone: a}]");
    (void)state;
    for (size_t i = 0; i < 3; i++)
        free(all[i]);
    assert_int_equal(set->count, 2);
    assert_string_equal(set->items[1].zone, "a");
    assert_true(set->hash == same->hash);
    config_endpoints_unref(set);
    config_endpoints_unref(same);
    set = config_endpoints_join(NULL, 0, &errs);
    assert_int_equal(set->count, 0);
    config_endpoints_unref(set);
}

/* Whoever has a copy reads it when what it was made of is gone. */
static void test_a_second_address_is_copied_and_is_no_name(void **state)
{
    struct config_endpoint *one = endpoint_of("{address: 10.0.0.1:80, also: '[::1]:80'}");
    struct config_errors errs = {0};
    struct config_endpoints *joined =
        config_endpoints_join((const struct config_endpoint *const[]){one}, 1, &errs);
    struct config_endpoints *copied = config_endpoints_copy(one, 1);
    struct config_endpoints *same = set_of("[{address: 10.0.0.1:80, also: '[::1]:80'}]");
    (void)state;
    assert_string_equal(one->also.text, "[::1]:80");
    assert_string_equal(one->also.host, "::1");
    free(one);
    assert_string_equal(joined->items[0].also.text, "[::1]:80");
    assert_string_equal(copied->items[0].also.host, "::1");
    assert_true(joined->hash == same->hash && copied->hash == same->hash);
    config_endpoints_unref(joined);
    config_endpoints_unref(copied);
    config_endpoints_unref(same);
    expect_no_endpoint("{address: 10.0.0.1:80, also: app:80}",
                       "k:1:30: error: \"app:80\": endpoints that are found have addresses "
                       "and no names; for a name that leads to them a pool has dns\n");
}

static void test_endpoints_of_too_many_zones_are_not_joined(void **state)
{
    struct config_endpoint *all[100];
    struct config_errors errs = {0};
    (void)state;
    for (int i = 0; i < 100; i++) {
        char text[64];
        snprintf(text, sizeof(text), "{address: 10.0.0.%d:80, zone: z%d}", i + 1, i);
        all[i] = endpoint_of(text);
    }
    assert_null(config_endpoints_join((const struct config_endpoint *const *)all, 100, &errs));
    char *said = messages_text(&errs);
    assert_non_null(strstr(said, "zones at most"));
    free(said);
    for (int i = 0; i < 100; i++)
        free(all[i]);
}

static void test_what_is_wrong_with_etcd(void **state)
{
    (void)state;
    CASES(
        {POOL("{ etcd: { prefix: /a/ } }"),
         "t:1:23: error: pools.app.etcd: the key \"servers\" is missing: The members of the "
         "cluster, where clients ask; the next is asked when one fails."},
        {POOL("{ etcd: { servers: [], prefix: /a/ } }"),
         "t:1:34: error: pools.app.etcd.servers: expected at least one server, such as "
         "127.0.0.1:2379"},
        {POOL("{ etcd: { servers: unix:/run/etcd, prefix: /a/ } }"),
         "t:1:34: error: pools.app.etcd: etcd has a host and a port, such as 127.0.0.1:2379"},
        {POOL("{ etcd: { servers: 1.1.1.1:2379, prefix: \"\" } }"),
         "t:1:56: error: pools.app.etcd.prefix: a prefix has 1 to 1024 bytes"},
        {POOL("{ etcd: { servers: 1.1.1.1:2379, prefix: /a/, user: u } }"),
         "t:1:23: error: pools.app.etcd: the key \"password_file\" is missing: user needs it"},
        {POOL("{ etcd: { servers: 1.1.1.1:2379, prefix: /a/, password_file: u } }"),
         "t:1:76: error: pools.app.etcd.password_file: only for a user"},
        {POOL("{ etcd: { servers: 1.1.1.1:2379, prefix: /a } }"),
         "t:1:56: warning: pools.app.etcd.prefix: \"/a\" is the beginning of more keys than those "
         "below it; end it with a slash"});
}

static void test_a_pool_has_its_endpoints_from_one_place(void **state)
{
    (void)state;
    CASES({POOL("{ dns: { name: app.internal, port: 80 }, file: x }"),
           "t:1:15: error: pools.app: expected exactly one of the keys endpoints, dns, etcd, file, "
           "kubernetes, registry"},
          {POOL("{ dns: { name: app.internal } }"),
           "t:1:22: error: pools.app.dns: the key \"port\" is missing: addresses of "
           "\"app.internal\" come without one; only type: srv has it"},
          {POOL("{ dns: { name: _http._tcp.app, type: srv, port: 80 } }"),
           "t:1:63: error: pools.app.dns.port: only for types other than srv"},
          {POOL("{ dns: { name: \"app:80\", port: 80 } }"),
           "t:1:30: error: pools.app.dns.name: \"app:80\" is not a DNS name, such as app.internal "
           "or _http._tcp.app.internal; its port is a key of its own"},
          {POOL("{ dns: { name: 10.0.0.1, port: 80 } }"),
           "t:1:30: error: pools.app.dns.name: \"10.0.0.1\" is not a DNS name, such as "
           "app.internal or _http._tcp.app.internal; its port is a key of its own"},
          {POOL("{ dns: { name: app, port: 80, server: ns.internal:53 } }"),
           "t:1:53: error: pools.app.dns: a DNS server is named by its IP address and port, such "
           "as 10.0.0.53:53"},
          {POOL("{ dns: { name: app, port: 80, min_ttl: 1m, max_ttl: 1s } }"),
           "t:1:67: error: pools.app.dns: max_ttl is less than min_ttl"},
          {POOL("{ registry: true }"),
           "t:1:27: error: pools.app.registry: expected a mapping such as { max: 100 }, or {} for "
           "the default; found the boolean true"});
}

static void test_a_service_of_kubernetes(void **state)
{
    static const char text[] = POOL("{ kubernetes: { service: shop, port: \"8080\" } }");
    struct config *cfg;
    (void)state;
    CASES(
        {POOL("{ kubernetes: { service: Shop } }"),
         "t:1:40: error: pools.app.kubernetes.service: \"Shop\" is not a name as Kubernetes has "
         "them: up to 63 of a-z, 0-9 and -, such as shop"},
        {POOL("{ kubernetes: { service: shop, namespace: a- } }"),
         "t:1:57: error: pools.app.kubernetes.namespace: \"a-\" is not a name as Kubernetes has "
         "them: up to 63 of a-z, 0-9 and -, such as shop"},
        {POOL("{ kubernetes: { service: shop, port: \"65536\" } }"),
         "t:1:52: error: pools.app.kubernetes.port: \"65536\" is neither the name of a port, such "
         "as http, nor its number"});
    char *said = load_messages(text, strlen(text), &cfg);
    assert_string_equal(said, "");
    const struct config_kubernetes *k = &cfg->pools[0].kubernetes;
    assert_true(k->enabled && config_pool_discovers(&cfg->pools[0]));
    assert_string_equal(k->port, "8080");
    assert_null(k->namespace);
    assert_string_equal(k->credentials.text, "/var/run/secrets/kubernetes.io/serviceaccount");
    free(said);
    config_free(cfg);
}

static void test_a_pool_that_discovers(void **state)
{
    struct config *cfg;
    struct config_endpoints *set = config_endpoints_new(1);
    (void)state;
    config_endpoints_put(set, 0, "::1", 80, 1, 0);
    config_endpoints_done(set);
    char *said =
        load_messages(POOL("{ dns: { name: app.internal., port: 80, server: \"[::1]:53\" }, "
                           "max_requests: 5 }"),
                      strlen(POOL("{ dns: { name: app.internal., port: 80, server: "
                                  "\"[::1]:53\" }, max_requests: 5 }")),
                      &cfg);
    assert_string_equal(said, "");
    const struct config_pool *pool = &cfg->pools[0];
    assert_true(config_pool_discovers(pool));
    assert_int_equal(pool->dns.min_ttl_ms, 1000);
    assert_int_equal(pool->dns.max_ttl_ms, 300000);
    struct config_pool with = config_pool_with(pool, set);
    assert_int_equal(with.endpoint_count, 1);
    assert_string_equal(with.endpoints[0].address.text, "[::1]:80");
    assert_int_equal(config_pool_with(pool, NULL).endpoint_count, 0);
    free(said);
    config_free(cfg);
    config_endpoints_unref(set);
}

/* ... has a queue, as any pool has one of which an endpoint has a limit. */
static void test_limits_that_come_with_the_endpoints(void **state)
{
    struct config *cfg;
    struct config_endpoints *set = set_of("[{address: 1.1.1.1:1, max_requests: 1}]");
    (void)state;
    char *said = load_messages(POOL("{ file: x.yaml }"), strlen(POOL("{ file: x.yaml }")), &cfg);
    assert_string_equal(said, "");
    assert_false(cfg->pools[0].queue.enabled);
    assert_false(config_pool_with(&cfg->pools[0], NULL).queue.enabled);
    assert_true(config_pool_with(&cfg->pools[0], set).queue.enabled);
    free(said);
    config_free(cfg);
    config_endpoints_unref(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_is_a_list_of_endpoints),
        cmocka_unit_test(test_its_rows_are_those_of_a_pool),
        cmocka_unit_test(test_what_is_wrong_with_a_file),
        cmocka_unit_test(test_nothing_is_substituted_in_a_file),
        cmocka_unit_test(test_a_file_is_bounded),
        cmocka_unit_test(test_the_same_endpoints_have_the_same_hash),
        cmocka_unit_test(test_one_endpoint),
        cmocka_unit_test(test_endpoints_are_joined),
        cmocka_unit_test(test_a_second_address_is_copied_and_is_no_name),
        cmocka_unit_test(test_endpoints_of_too_many_zones_are_not_joined),
        cmocka_unit_test(test_what_is_wrong_with_etcd),
        cmocka_unit_test(test_a_pool_has_its_endpoints_from_one_place),
        cmocka_unit_test(test_a_service_of_kubernetes),
        cmocka_unit_test(test_a_pool_that_discovers),
        cmocka_unit_test(test_limits_that_come_with_the_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
