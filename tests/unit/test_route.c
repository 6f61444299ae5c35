/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The route table: each sentence of its precedence. Large tables are in test_route_search.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/rules.h"

static void test_an_empty_table_has_no_route(void **state)
{
    struct route_table *t = rules_table(NULL, 0);
    (void)state;
    assert_int_equal(rules_find(t, "a.example", "/"), -1);
    assert_int_equal(rules_find(t, "", ""), -1);
    route_table_free(t);
    route_table_free(NULL);
}

static void test_a_prefix_matches_by_element(void **state)
{
    struct route_table *t = TABLE({.prefix = "/foo"});
    (void)state;
    assert_int_equal(rules_find(t, "h", "/foo"), 0);
    assert_int_equal(rules_find(t, "h", "/foo/"), 0);
    assert_int_equal(rules_find(t, "h", "/foo/bar"), 0);
    assert_int_equal(rules_find(t, "h", "/foo//bar"), 0);
    assert_int_equal(rules_find(t, "h", "/foobar"), -1);
    assert_int_equal(rules_find(t, "h", "/fo"), -1);
    assert_int_equal(rules_find(t, "h", "/Foo"), -1);
    assert_int_equal(rules_find(t, "h", "//foo"), -1);
    assert_int_equal(rules_find(t, "h", "/"), -1);
    assert_int_equal(rules_find(t, "h", "*"), -1);
    route_table_free(t);
}

static void test_a_slash_at_a_prefix_end_is_ignored(void **state)
{
    struct route_table *t = TABLE({.prefix = "/foo/"}, {.prefix = "/a//"});
    (void)state;
    assert_int_equal(rules_find(t, "h", "/foo"), 0);
    assert_int_equal(rules_find(t, "h", "/foo/x"), 0);
    assert_int_equal(rules_find(t, "h", "/foox"), -1);
    assert_int_equal(rules_find(t, "h", "/a/"), 1); /* only one slash is */
    assert_int_equal(rules_find(t, "h", "/a//b"), 1);
    assert_int_equal(rules_find(t, "h", "/a"), -1);
    assert_int_equal(rules_find(t, "h", "/a/b"), -1);
    route_table_free(t);
}

static void test_the_root_prefix_matches_everything(void **state)
{
    struct route_table *t = TABLE({.prefix = "/"}), *absent = TABLE({.prefix = NULL});
    static const char *const paths[] = {"/", "/a", "/a/b/", "//", "*", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(rules_find(t, "h", paths[i]), 0);
        assert_int_equal(rules_find(absent, "h", paths[i]), 0);
    }
    route_table_free(t);
    route_table_free(absent);
}

static void test_an_exact_path_is_byte_for_byte(void **state)
{
    struct route_table *t = TABLE({.exact = "/a/b"}, {.exact = "/"}, {.exact = "/c/"});
    (void)state;
    assert_int_equal(rules_find(t, "h", "/a/b"), 0);
    assert_int_equal(rules_find(t, "h", "/a/b/"), -1);
    assert_int_equal(rules_find(t, "h", "/a"), -1);
    assert_int_equal(rules_find(t, "h", "/a/b/c"), -1);
    assert_int_equal(rules_find(t, "h", "/"), 1);
    assert_int_equal(rules_find(t, "h", "*"), -1);
    assert_int_equal(rules_find(t, "h", ""), -1);
    assert_int_equal(rules_find(t, "h", "/c/"), 2);
    assert_int_equal(rules_find(t, "h", "/c"), -1);
    route_table_free(t);
}

static void test_exact_wins_over_prefix_and_longer_over_shorter(void **state)
{
    struct route_table *t = TABLE({.prefix = "/"}, {.prefix = "/a"}, {.prefix = "/a/b"},
                                  {.exact = "/a/b"}, {.prefix = "/a/b/c/d"});
    (void)state;
    assert_int_equal(rules_find(t, "h", "/x"), 0);
    assert_int_equal(rules_find(t, "h", "/a/x"), 1);
    assert_int_equal(rules_find(t, "h", "/a/b"), 3);
    assert_int_equal(rules_find(t, "h", "/a/b/"), 2);
    assert_int_equal(rules_find(t, "h", "/a/b/c"), 2);
    assert_int_equal(rules_find(t, "h", "/a/b/c/d/e"), 4);
    route_table_free(t);
}

static void test_exact_host_wins_over_wildcard_over_none(void **state)
{
    struct route_table *t =
        TABLE({.prefix = "/"}, {.hosts = {"*.example"}}, {.hosts = {"*.b.example"}},
              {.hosts = {"a.b.example", "c.example"}});
    (void)state;
    assert_int_equal(rules_find(t, "a.b.example", "/"), 3);
    assert_int_equal(rules_find(t, "c.example", "/"), 3);
    assert_int_equal(rules_find(t, "x.b.example", "/"), 2);
    assert_int_equal(rules_find(t, "x.y.b.example", "/"), 2);
    assert_int_equal(rules_find(t, "b.example", "/"), 1);
    assert_int_equal(rules_find(t, "x.c.example", "/"), 1);
    assert_int_equal(rules_find(t, "example", "/"), 0);
    assert_int_equal(rules_find(t, ".example", "/"), 0); /* no label at all */
    assert_int_equal(rules_find(t, "xexample", "/"), 0);
    assert_int_equal(rules_find(t, "", "/"), 0);
    route_table_free(t);
}

/* A host is more specific than any path. */
static void test_host_comes_before_path(void **state)
{
    struct route_table *t = TABLE({.exact = "/a/b"}, {.hosts = {"*.example"}, .prefix = "/a"},
                                  {.hosts = {"a.example"}, .prefix = "/"});
    (void)state;
    assert_int_equal(rules_find(t, "a.example", "/a/b"), 2);
    assert_int_equal(rules_find(t, "b.example", "/a/b"), 1);
    assert_int_equal(rules_find(t, "b.example", "/b"), -1);
    assert_int_equal(rules_find(t, "other", "/a/b"), 0);
    route_table_free(t);
}

static void test_host_ignores_port_case_and_final_dot(void **state)
{
    struct route_table *t = TABLE({.hosts = {"A.Example"}}, {.hosts = {"*.B.example."}},
                                  {.hosts = {"[2001:DB8::1]"}}, {.hosts = {"::1"}});
    (void)state;
    assert_int_equal(rules_find(t, "a.example", "/"), 0);
    assert_int_equal(rules_find(t, "a.EXAMPLE:8080", "/"), 0);
    assert_int_equal(rules_find(t, "a.example.", "/"), 0);
    assert_int_equal(rules_find(t, "a.example.:443", "/"), 0);
    assert_int_equal(rules_find(t, "a.example:", "/"), 0);
    assert_int_equal(rules_find(t, "x.b.EXAMPLE.:1", "/"), 1);
    assert_int_equal(rules_find(t, "[2001:db8::1]", "/"), 2);
    assert_int_equal(rules_find(t, "[2001:db8::1]:443", "/"), 2);
    assert_int_equal(rules_find(t, "[::1]:80", "/"), 3);
    assert_int_equal(rules_find(t, "[::1", "/"), -1);
    assert_int_equal(rules_find(t, "a.example..", "/"), -1);
    route_table_free(t);
}

static void test_a_very_long_host(void **state)
{
    struct route_table *t = TABLE({.hosts = {"*.example"}}, {.prefix = "/x"});
    static char host[40000];
    (void)state;
    for (size_t i = 0; i + 8 < sizeof(host); i++)
        host[i] = i % 2 ? '.' : 'a';
    strcpy(host + sizeof(host) - 9, ".example");
    assert_int_equal(rules_find(t, host, "/"), 0);
    assert_int_equal(rules_find(t, host, "/x"), 0);
    host[sizeof(host) - 2] = 'x';
    assert_int_equal(rules_find(t, host, "/x"), 1);
    assert_int_equal(rules_find(t, host, "/"), -1);
    route_table_free(t);
}

static void test_method_then_number_of_fields_then_place(void **state)
{
    struct route_table *t =
        TABLE({.prefix = "/"}, {.prefix = "/"}, {.prefix = "/", .fields = {{"X-A", "1"}}},
              {.prefix = "/", .fields = {{"x-b", "1"}}},
              {.prefix = "/", .fields = {{"x-b", "1"}, {"x-a", "1"}}},
              {.prefix = "/", .methods = {"PUT", "POST"}},
              {.prefix = "/", .methods = {"POST"}, .fields = {{"x-a", "1"}}});
    const char *const a[] = {"x-a", "1", NULL}, *const b[] = {"X-B", "1", NULL};
    const char *const ab[] = {"x-a", "1", "x-b", "1", NULL};
    (void)state;
    assert_int_equal(rules_find_with(t, "GET", "h", "/", NULL), 0);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", a), 2);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", b), 3);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", ab), 4);
    assert_int_equal(rules_find_with(t, "POST", "h", "/", ab), 6);
    assert_int_equal(rules_find_with(t, "POST", "h", "/", b), 5);
    assert_int_equal(rules_find_with(t, "PUT", "h", "/", ab), 5);
    assert_int_equal(rules_find_with(t, "put", "h", "/", NULL), 0); /* methods have a case */
    route_table_free(t);
}

/* Classes of the same rank: the earlier rule wins, whichever field it asks for. */
static void test_place_decides_between_different_fields(void **state)
{
    struct route_table *t = TABLE({.fields = {{"x-z", "1"}}}, {.fields = {{"x-a", "1"}}},
                                  {.fields = {{"x-z", "1"}}}, {.fields = {{"x-m", "1"}}});
    const char *const all[] = {"x-a", "1", "x-m", "1", "x-z", "1", NULL};
    const char *const am[] = {"x-m", "1", "x-a", "1", NULL};
    (void)state;
    assert_int_equal(rules_find_with(t, "GET", "h", "/", all), 0);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", am), 1);
    route_table_free(t);
}

static void test_a_field_matches_by_its_one_exact_value(void **state)
{
    struct route_table *t = TABLE({.fields = {{"x-tier", "gold"}}}, {.fields = {{"x-e", ""}}});
    const char *const exact[] = {"X-Tier", "gold", NULL}, *const other[] = {"x-tier", "Gold", NULL};
    const char *const list[] = {"x-tier", "gold, silver", NULL};
    const char *const twice[] = {"x-tier", "gold", "x-tier", "silver", NULL};
    const char *const same[] = {"x-tier", "gold", "x-tier", "gold", NULL};
    const char *const empty[] = {"x-e", "", NULL};
    (void)state;
    assert_int_equal(rules_find_with(t, "GET", "h", "/", exact), 0);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", other), -1);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", list), -1);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", twice), -1);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", same), -1);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", empty), 1);
    assert_int_equal(rules_find_with(t, "GET", "h", "/", NULL), -1);
    route_table_free(t);
}

/* A rule whose method or fields fail hides neither shorter prefixes nor wider hosts. */
static void test_the_search_goes_on_with_less_specific_rules(void **state)
{
    struct route_table *t =
        TABLE({.prefix = "/"}, {.hosts = {"*.example"}, .prefix = "/a", .methods = {"PUT"}},
              {.hosts = {"h.example"}, .prefix = "/a", .methods = {"GET"}},
              {.hosts = {"h.example"}, .prefix = "/a/b", .methods = {"POST"}},
              {.hosts = {"h.example"}, .exact = "/a/b", .fields = {{"x-a", "1"}}});
    const char *const a[] = {"x-a", "1", NULL};
    (void)state;
    assert_int_equal(rules_find_with(t, "GET", "h.example", "/a/b", a), 4);
    assert_int_equal(rules_find_with(t, "POST", "h.example", "/a/b", NULL), 3);
    assert_int_equal(rules_find_with(t, "GET", "h.example", "/a/b", NULL), 2);
    assert_int_equal(rules_find_with(t, "PUT", "h.example", "/a/b", NULL), 1);
    assert_int_equal(rules_find_with(t, "HEAD", "h.example", "/a/b", NULL), 0);
    route_table_free(t);
}

static void test_what_a_rule_may_not_say(void **state)
{
    static const char *const hosts[] = {
        "", "*", "*.", "*.*.example", "a.*.example", "a*.example", ".example", ":80"};
    struct route_table *t = route_table_new();
    char longest[ROUTE_HOST_MAX + 2];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct span host = span_str(hosts[i]);
        struct route_rule rule = {.hosts = &host, .n_hosts = 1};
        assert_int_equal(route_table_add(t, &rule), -1);
    }
    memset(longest, 'a', sizeof(longest));
    struct span host = span_of(longest, ROUTE_HOST_MAX + 1);
    struct route_rule rule = {.hosts = &host, .n_hosts = 1};
    assert_int_equal(route_table_add(t, &rule), -1);
    assert_int_equal(route_table_add(t, &(struct route_rule){.path = SPAN_LIT("a")}), -1);
    assert_int_equal(route_table_add(t, &(struct route_rule){.path_kind = ROUTE_EXACT}), -1);
    host.len--;
    assert_int_equal(route_table_add(t, &rule), 0);
    route_table_compile(t);
    longest[ROUTE_HOST_MAX] = '\0';
    assert_int_equal(rules_find(t, longest, "/"), 0);
    route_table_free(t);
}

static void test_routes_keep_name_index_and_targets(void **state)
{
    char name[] = "checkout";
    struct route_target targets[] = {{3, 95}, {ROUTE_NO_POOL, 5}};
    struct route_rule rule = {.name = span_str(name), .targets = targets, .n_targets = 2};
    struct route_table *t = route_table_new();
    (void)state;
    for (int i = 0; i < 50; i++)
        assert_int_equal(route_table_add(t, &rule), i);
    memset(name, 'x', sizeof(name));
    memset(targets, 0, sizeof(targets));
    route_table_compile(t);
    assert_int_equal(route_table_count(t), 50);
    const struct route *route = route_table_at(t, 41);
    assert_int_equal(route->index, 41);
    assert_string_equal(route->name.ptr, "checkout");
    assert_int_equal(route->name.len, 8);
    assert_int_equal(route->n_targets, 2);
    assert_int_equal(route->targets[0].pool, 3);
    assert_int_equal(route->total_weight, 100);
    route_table_free(t);
}

static void test_split_draws_by_weight(void **state)
{
    static const struct route_target parts[] = {{7, 60}, {ROUTE_NO_POOL, 30}, {8, 0}, {9, 10}};
    const struct route split = {.targets = parts, .n_targets = 4, .total_weight = 100};
    const struct route single = {.targets = parts, .n_targets = 1, .total_weight = 60};
    const struct route zero = {.targets = &parts[2], .n_targets = 1, .total_weight = 0};
    const struct route none = {.n_targets = 0};
    int seen[11] = {0};
    struct lb_rng rng;
    (void)state;
    lb_rng_seed(&rng, 1);
    for (int k = 0; k < 100000; k++)
        seen[route_split_pick(&split, &rng) + 1]++;
    assert_in_range(seen[8], 59000, 61000);
    assert_in_range(seen[0], 29000, 31000);
    assert_in_range(seen[10], 9500, 10500);
    assert_int_equal(seen[8] + seen[0] + seen[10], 100000);
    assert_int_equal(route_split_pick(&single, &rng), 7);
    assert_int_equal(route_split_pick(&zero, &rng), ROUTE_NO_POOL);
    assert_int_equal(route_split_pick(&none, &rng), ROUTE_NO_POOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_table_has_no_route),
        cmocka_unit_test(test_a_prefix_matches_by_element),
        cmocka_unit_test(test_a_slash_at_a_prefix_end_is_ignored),
        cmocka_unit_test(test_the_root_prefix_matches_everything),
        cmocka_unit_test(test_an_exact_path_is_byte_for_byte),
        cmocka_unit_test(test_exact_wins_over_prefix_and_longer_over_shorter),
        cmocka_unit_test(test_exact_host_wins_over_wildcard_over_none),
        cmocka_unit_test(test_host_comes_before_path),
        cmocka_unit_test(test_host_ignores_port_case_and_final_dot),
        cmocka_unit_test(test_a_very_long_host),
        cmocka_unit_test(test_method_then_number_of_fields_then_place),
        cmocka_unit_test(test_place_decides_between_different_fields),
        cmocka_unit_test(test_a_field_matches_by_its_one_exact_value),
        cmocka_unit_test(test_the_search_goes_on_with_less_specific_rules),
        cmocka_unit_test(test_what_a_rule_may_not_say),
        cmocka_unit_test(test_routes_keep_name_index_and_targets),
        cmocka_unit_test(test_split_draws_by_weight),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
