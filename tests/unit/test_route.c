/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The route table: each sentence of its precedence, thousands of random tables against a search
 * that tries every rule, and the number of steps that a lookup takes in large ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/route.h"

/* A rule as a test writes it: lists end at NULL. */
struct r {
    const char *hosts[4];
    const char *prefix, *exact;
    const char *methods[4];
    const char *fields[4][2];
};

static void add(struct route_table *t, const struct r *r)
{
    struct span hosts[4], methods[4];
    struct route_field_match fields[4];
    struct route_rule rule = {
        .name = SPAN_LIT("r"), .hosts = hosts, .methods = methods, .fields = fields};
    while (rule.n_hosts < 4 && r->hosts[rule.n_hosts])
        hosts[rule.n_hosts] = span_str(r->hosts[rule.n_hosts]), rule.n_hosts++;
    while (rule.n_methods < 4 && r->methods[rule.n_methods])
        methods[rule.n_methods] = span_str(r->methods[rule.n_methods]), rule.n_methods++;
    while (rule.n_fields < 4 && r->fields[rule.n_fields][0]) {
        fields[rule.n_fields].name = span_str(r->fields[rule.n_fields][0]);
        fields[rule.n_fields].value = span_str(r->fields[rule.n_fields][1]);
        rule.n_fields++;
    }
    rule.path_kind = r->exact ? ROUTE_EXACT : ROUTE_PREFIX;
    rule.path = span_str(r->exact ? r->exact : r->prefix);
    int64_t expected = (int64_t)route_table_count(t);
    assert_int_equal(route_table_add(t, &rule), expected);
}

static struct route_table *table(const struct r *rules, size_t n)
{
    struct route_table *t = route_table_new();
    for (size_t i = 0; i < n; i++)
        add(t, &rules[i]);
    route_table_compile(t);
    return t;
}

#define TABLE(...) \
    table((const struct r[]){__VA_ARGS__}, ARRAY_LEN(((const struct r[]){__VA_ARGS__})))

/* The lines of a request's head: name, value, name, value, NULL. */
static unsigned get_field(const void *ctx, struct span name, struct span *value)
{
    unsigned n = 0;
    for (const char *const *line = ctx; line[0] != NULL; line += 2) {
        if (!span_eq_nocase(span_str(line[0]), name))
            continue;
        if (n++ == 0)
            *value = span_str(line[1]);
    }
    return n;
}

static int find_with(const struct route_table *t, const char *method, const char *host,
                     const char *path, const char *const *lines)
{
    const char *const none[] = {NULL};
    struct route_query q = {
        .host = span_str(host),
        .path = span_str(path),
        .method = span_str(method),
        .field = get_field,
        .field_ctx = lines ? lines : none,
    };
    const struct route *route = route_find(t, &q);
    return route ? (int)route->index : -1;
}

static int find(const struct route_table *t, const char *host, const char *path)
{
    return find_with(t, "GET", host, path, NULL);
}

static void test_an_empty_table_has_no_route(void **state)
{
    struct route_table *t = table(NULL, 0);
    (void)state;
    assert_int_equal(find(t, "a.example", "/"), -1);
    assert_int_equal(find(t, "", ""), -1);
    route_table_free(t);
    route_table_free(NULL);
}

static void test_a_prefix_matches_by_element(void **state)
{
    struct route_table *t = TABLE({.prefix = "/foo"});
    (void)state;
    assert_int_equal(find(t, "h", "/foo"), 0);
    assert_int_equal(find(t, "h", "/foo/"), 0);
    assert_int_equal(find(t, "h", "/foo/bar"), 0);
    assert_int_equal(find(t, "h", "/foo//bar"), 0);
    assert_int_equal(find(t, "h", "/foobar"), -1);
    assert_int_equal(find(t, "h", "/fo"), -1);
    assert_int_equal(find(t, "h", "/Foo"), -1);
    assert_int_equal(find(t, "h", "//foo"), -1);
    assert_int_equal(find(t, "h", "/"), -1);
    assert_int_equal(find(t, "h", "*"), -1);
    route_table_free(t);
}

static void test_a_slash_at_a_prefix_end_is_ignored(void **state)
{
    struct route_table *t = TABLE({.prefix = "/foo/"}, {.prefix = "/a//"});
    (void)state;
    assert_int_equal(find(t, "h", "/foo"), 0);
    assert_int_equal(find(t, "h", "/foo/x"), 0);
    assert_int_equal(find(t, "h", "/foox"), -1);
    assert_int_equal(find(t, "h", "/a/"), 1); /* only one slash is */
    assert_int_equal(find(t, "h", "/a//b"), 1);
    assert_int_equal(find(t, "h", "/a"), -1);
    assert_int_equal(find(t, "h", "/a/b"), -1);
    route_table_free(t);
}

static void test_the_root_prefix_matches_everything(void **state)
{
    struct route_table *t = TABLE({.prefix = "/"}), *absent = TABLE({.prefix = NULL});
    static const char *const paths[] = {"/", "/a", "/a/b/", "//", "*", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(find(t, "h", paths[i]), 0);
        assert_int_equal(find(absent, "h", paths[i]), 0);
    }
    route_table_free(t);
    route_table_free(absent);
}

static void test_an_exact_path_is_byte_for_byte(void **state)
{
    struct route_table *t = TABLE({.exact = "/a/b"}, {.exact = "/"}, {.exact = "/c/"});
    (void)state;
    assert_int_equal(find(t, "h", "/a/b"), 0);
    assert_int_equal(find(t, "h", "/a/b/"), -1);
    assert_int_equal(find(t, "h", "/a"), -1);
    assert_int_equal(find(t, "h", "/a/b/c"), -1);
    assert_int_equal(find(t, "h", "/"), 1);
    assert_int_equal(find(t, "h", "*"), -1);
    assert_int_equal(find(t, "h", ""), -1);
    assert_int_equal(find(t, "h", "/c/"), 2);
    assert_int_equal(find(t, "h", "/c"), -1);
    route_table_free(t);
}

static void test_exact_wins_over_prefix_and_longer_over_shorter(void **state)
{
    struct route_table *t = TABLE({.prefix = "/"}, {.prefix = "/a"}, {.prefix = "/a/b"},
                                  {.exact = "/a/b"}, {.prefix = "/a/b/c/d"});
    (void)state;
    assert_int_equal(find(t, "h", "/x"), 0);
    assert_int_equal(find(t, "h", "/a/x"), 1);
    assert_int_equal(find(t, "h", "/a/b"), 3);
    assert_int_equal(find(t, "h", "/a/b/"), 2);
    assert_int_equal(find(t, "h", "/a/b/c"), 2);
    assert_int_equal(find(t, "h", "/a/b/c/d/e"), 4);
    route_table_free(t);
}

static void test_exact_host_wins_over_wildcard_over_none(void **state)
{
    struct route_table *t =
        TABLE({.prefix = "/"}, {.hosts = {"*.example"}}, {.hosts = {"*.b.example"}},
              {.hosts = {"a.b.example", "c.example"}});
    (void)state;
    assert_int_equal(find(t, "a.b.example", "/"), 3);
    assert_int_equal(find(t, "c.example", "/"), 3);
    assert_int_equal(find(t, "x.b.example", "/"), 2);
    assert_int_equal(find(t, "x.y.b.example", "/"), 2);
    assert_int_equal(find(t, "b.example", "/"), 1);
    assert_int_equal(find(t, "x.c.example", "/"), 1);
    assert_int_equal(find(t, "example", "/"), 0);
    assert_int_equal(find(t, ".example", "/"), 0); /* no label at all */
    assert_int_equal(find(t, "xexample", "/"), 0);
    assert_int_equal(find(t, "", "/"), 0);
    route_table_free(t);
}

/* A host is more specific than any path. */
static void test_host_comes_before_path(void **state)
{
    struct route_table *t = TABLE({.exact = "/a/b"}, {.hosts = {"*.example"}, .prefix = "/a"},
                                  {.hosts = {"a.example"}, .prefix = "/"});
    (void)state;
    assert_int_equal(find(t, "a.example", "/a/b"), 2);
    assert_int_equal(find(t, "b.example", "/a/b"), 1);
    assert_int_equal(find(t, "b.example", "/b"), -1);
    assert_int_equal(find(t, "other", "/a/b"), 0);
    route_table_free(t);
}

static void test_host_ignores_port_case_and_final_dot(void **state)
{
    struct route_table *t = TABLE({.hosts = {"A.Example"}}, {.hosts = {"*.B.example."}},
                                  {.hosts = {"[2001:DB8::1]"}}, {.hosts = {"::1"}});
    (void)state;
    assert_int_equal(find(t, "a.example", "/"), 0);
    assert_int_equal(find(t, "a.EXAMPLE:8080", "/"), 0);
    assert_int_equal(find(t, "a.example.", "/"), 0);
    assert_int_equal(find(t, "a.example.:443", "/"), 0);
    assert_int_equal(find(t, "a.example:", "/"), 0);
    assert_int_equal(find(t, "x.b.EXAMPLE.:1", "/"), 1);
    assert_int_equal(find(t, "[2001:db8::1]", "/"), 2);
    assert_int_equal(find(t, "[2001:db8::1]:443", "/"), 2);
    assert_int_equal(find(t, "[::1]:80", "/"), 3);
    assert_int_equal(find(t, "[::1", "/"), -1);
    assert_int_equal(find(t, "a.example..", "/"), -1);
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
    assert_int_equal(find(t, host, "/"), 0);
    assert_int_equal(find(t, host, "/x"), 0);
    host[sizeof(host) - 2] = 'x';
    assert_int_equal(find(t, host, "/x"), 1);
    assert_int_equal(find(t, host, "/"), -1);
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
    assert_int_equal(find_with(t, "GET", "h", "/", NULL), 0);
    assert_int_equal(find_with(t, "GET", "h", "/", a), 2);
    assert_int_equal(find_with(t, "GET", "h", "/", b), 3);
    assert_int_equal(find_with(t, "GET", "h", "/", ab), 4);
    assert_int_equal(find_with(t, "POST", "h", "/", ab), 6);
    assert_int_equal(find_with(t, "POST", "h", "/", b), 5);
    assert_int_equal(find_with(t, "PUT", "h", "/", ab), 5);
    assert_int_equal(find_with(t, "put", "h", "/", NULL), 0); /* methods have a case */
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
    assert_int_equal(find_with(t, "GET", "h", "/", all), 0);
    assert_int_equal(find_with(t, "GET", "h", "/", am), 1);
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
    assert_int_equal(find_with(t, "GET", "h", "/", exact), 0);
    assert_int_equal(find_with(t, "GET", "h", "/", other), -1);
    assert_int_equal(find_with(t, "GET", "h", "/", list), -1);
    assert_int_equal(find_with(t, "GET", "h", "/", twice), -1);
    assert_int_equal(find_with(t, "GET", "h", "/", same), -1);
    assert_int_equal(find_with(t, "GET", "h", "/", empty), 1);
    assert_int_equal(find_with(t, "GET", "h", "/", NULL), -1);
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
    assert_int_equal(find_with(t, "GET", "h.example", "/a/b", a), 4);
    assert_int_equal(find_with(t, "POST", "h.example", "/a/b", NULL), 3);
    assert_int_equal(find_with(t, "GET", "h.example", "/a/b", NULL), 2);
    assert_int_equal(find_with(t, "PUT", "h.example", "/a/b", NULL), 1);
    assert_int_equal(find_with(t, "HEAD", "h.example", "/a/b", NULL), 0);
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
    assert_int_equal(find(t, longest, "/"), 0);
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

/* ---- random tables against trying every rule ---- */

static const char *any(struct lb_rng *rng, const char *const *from, size_t n)
{
    return from[lb_rng_below(rng, n)];
}

#define ANY(rng, list) any((rng), (list), ARRAY_LEN(list))

static const char *const some_hosts[] = {"a.x",     "b.x",     "b.a.x", "x",     "*.x", "*.a.x",
                                         "*.b.a.x", "c.b.a.x", "*.y.x", "a.y.x", "A.X."};
static const char *const asked_hosts[] = {"a.x", "B.X:80",    "b.a.x.",  "x",
                                          "c.x", "d.c.a.x:1", "z.b.a.x", "c.b.a.x",
                                          "y.x", "q.y.x",     "other",   ".x"};
static const char *const elements[] = {"/a", "/b", "/", "/a", "/ab"};
static const char *const some_methods[] = {"GET", "POST", "PUT"};
static const char *const some_names[] = {"x-a", "X-B", "x-c"};
static const char *const some_values[] = {"1", "2"};

static void random_path(struct lb_rng *rng, char *path)
{
    path[0] = '\0';
    for (uint64_t n = 1 + lb_rng_below(rng, 4); n-- > 0;)
        strcat(path, ANY(rng, elements));
}

static void random_rule(struct lb_rng *rng, struct r *r, char *path)
{
    memset(r, 0, sizeof(*r));
    for (uint64_t n = lb_rng_below(rng, 3), i = 0; i < n; i++)
        r->hosts[i] = ANY(rng, some_hosts);
    random_path(rng, path);
    if (lb_rng_below(rng, 3) == 0)
        r->exact = path;
    else if (lb_rng_below(rng, 6) != 0)
        r->prefix = path;
    for (uint64_t n = lb_rng_below(rng, 5), i = 0; n < 3 && i < n; i++)
        r->methods[i] = ANY(rng, some_methods);
    for (uint64_t n = lb_rng_below(rng, 6), i = 0; n < 4 && i < n; i++) {
        r->fields[i][0] = ANY(rng, some_names);
        r->fields[i][1] = ANY(rng, some_values);
    }
}

struct asked {
    const char *host, *method;
    char path[64];
    const char *lines[11];
};

static void random_request(struct lb_rng *rng, struct asked *a)
{
    memset(a, 0, sizeof(*a));
    a->host = ANY(rng, asked_hosts);
    a->method = ANY(rng, some_methods);
    random_path(rng, a->path);
    if (lb_rng_below(rng, 30) == 0)
        strcpy(a->path, "*");
    for (uint64_t n = lb_rng_below(rng, 6), i = 0; i < n; i++) {
        a->lines[2 * i] = ANY(rng, some_names);
        a->lines[2 * i + 1] = ANY(rng, some_values);
    }
}

/* How well a pattern fits: -1 not, 0 no pattern, else the better the larger. */
static int fit_host(const struct r *r, const char *asked)
{
    char host[64];
    size_t len = strcspn(asked, ":");
    int best = r->hosts[0] ? -1 : 0;
    memcpy(host, asked, len);
    if (len > 0 && host[len - 1] == '.')
        len--;
    host[len] = '\0';
    for (int i = 0; i < 4 && r->hosts[i]; i++) {
        const char *pattern = r->hosts[i];
        int fit = -1;
        if (pattern[0] == '*') {
            size_t tail = strlen(pattern) - 1;
            if (len > tail && strcasecmp(host + len - tail, pattern + 1) == 0)
                fit = (int)tail;
        } else {
            size_t n = strlen(pattern) - (pattern[strlen(pattern) - 1] == '.');
            if (n == len && strncasecmp(host, pattern, n) == 0)
                fit = 1000;
        }
        best = fit > best ? fit : best;
    }
    return best;
}

static int fit_path(const struct r *r, const char *path)
{
    if (r->exact)
        return strcmp(r->exact, path) == 0 ? 1000 : -1;
    size_t n = r->prefix ? strlen(r->prefix) : 0;
    if (n > 0 && r->prefix[n - 1] == '/')
        n--;
    if (n == 0)
        return 0;
    return strncmp(r->prefix, path, n) == 0 && (path[n] == '\0' || path[n] == '/') ? (int)n : -1;
}

static int fit_method(const struct r *r, const char *method)
{
    if (r->methods[0] == NULL)
        return 0;
    for (int i = 0; i < 4 && r->methods[i]; i++)
        if (strcmp(r->methods[i], method) == 0)
            return 1;
    return -1;
}

static int fit_fields(const struct r *r, const char *const *lines)
{
    int n = 0;
    for (; n < 4 && r->fields[n][0]; n++) {
        int seen = 0, right = 0;
        for (const char *const *line = lines; line[0]; line += 2) {
            if (strcasecmp(line[0], r->fields[n][0]) != 0)
                continue;
            seen++;
            right += strcmp(line[1], r->fields[n][1]) == 0;
        }
        if (seen != 1 || right != 1)
            return -1;
    }
    return n;
}

static int try_every_rule(const struct r *rules, int n, const struct asked *a)
{
    int best = -1, best_fit[4] = {-1, -1, -1, -1};
    for (int i = 0; i < n; i++) {
        const int fit[4] = {fit_host(&rules[i], a->host), fit_path(&rules[i], a->path),
                            fit_method(&rules[i], a->method), fit_fields(&rules[i], a->lines)};
        bool better = best < 0, decided = better, holds = true;
        for (int k = 0; k < 4; k++) {
            holds = holds && fit[k] >= 0;
            if (!decided && fit[k] != best_fit[k]) {
                better = fit[k] > best_fit[k];
                decided = true;
            }
        }
        if (holds && better) {
            best = i;
            memcpy(best_fit, fit, sizeof(fit));
        }
    }
    return best;
}

static void test_random_tables_agree_with_trying_every_rule(void **state)
{
    enum { TABLES = 3000, REQUESTS = 40, RULES = 40 };
    struct lb_rng rng;
    int matched = 0;
    (void)state;
    lb_rng_seed(&rng, 42);
    for (int round = 0; round < TABLES; round++) {
        struct r rules[RULES];
        char paths[RULES][64];
        int n = 1 + (int)lb_rng_below(&rng, RULES);
        for (int i = 0; i < n; i++)
            random_rule(&rng, &rules[i], paths[i]);
        struct route_table *t = table(rules, (size_t)n);
        for (int k = 0; k < REQUESTS; k++) {
            struct asked a;
            random_request(&rng, &a);
            int expected = try_every_rule(rules, n, &a);
            int got = find_with(t, a.method, a.host, a.path, a.lines);
            if (got != expected)
                print_message("table %d: %s %s %s\n", round, a.method, a.host, a.path);
            assert_int_equal(got, expected);
            matched += got >= 0;
        }
        route_table_free(t);
    }
    assert_in_range(matched, TABLES * REQUESTS / 3, TABLES * REQUESTS - 1);
}

/* ---- cost ---- */

/* One of the ways in which a table gets large: writes the i-th rule and a request for it. */
struct growth {
    const char *what;
    const char *host, *path, *method, *field; /* formats; NULL = the same for all */
};

static const struct growth growths[] = {
    {"hosts", "h%d.example", "/", "GET", NULL},
    {"wildcard hosts", "*.h%d.example", "/", "GET", NULL},
    {"paths of one host", "a.example", "/p%d", "GET", NULL},
    {"deep paths of one host", "a.example", "/v1/p%d/x/y", "GET", NULL},
    {"methods of one path", "a.example", "/", "M%d", NULL},
    {"field values of one path", "a.example", "/", "GET", "v%d"},
    {"hosts, paths and fields", "h%d.example", "/p%d", "GET", "v%d"},
};

struct texts {
    char host[64], path[64], method[32], field[32];
};

static struct texts texts_of(const struct growth *g, int i)
{
    struct texts s = {{0}, {0}, {0}, {0}};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(s.host, sizeof(s.host), g->host, i);
    snprintf(s.path, sizeof(s.path), g->path, i);
    snprintf(s.method, sizeof(s.method), g->method, i);
    if (g->field)
        snprintf(s.field, sizeof(s.field), g->field, i);
#pragma GCC diagnostic pop
    return s;
}

/* Steps of a lookup in a table of n rules, for every rule: the mean; the largest in *most. */
static double mean_steps(const struct growth *g, int n, size_t *most, double *ns)
{
    struct route_table *t = route_table_new();
    for (int i = 0; i < n; i++) {
        struct texts s = texts_of(g, i);
        add(t, &(struct r){.hosts = {s.host},
                           .prefix = s.path,
                           .methods = {s.method},
                           .fields = {{g->field ? "x-f" : NULL, s.field}}});
    }
    route_table_compile(t);
    size_t total = 0;
    struct timespec a, b;
    *most = 0;
    *ns = 0;
    for (int i = 0; i < n; i++) {
        struct texts s = texts_of(g, i);
        const char *lines[] = {"x-f", s.field, NULL};
        size_t steps = 0;
        if (s.host[0] == '*')
            s.host[0] = 'w';
        struct route_query q = {span_str(s.host), span_str(s.path), span_str(s.method), get_field,
                                lines};
        clock_gettime(CLOCK_MONOTONIC, &a);
        const struct route *route = route_find_counted(t, &q, &steps);
        clock_gettime(CLOCK_MONOTONIC, &b);
        assert_non_null(route);
        assert_int_equal(route->index, i);
        *ns += ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n;
        total += steps;
        *most = steps > *most ? steps : *most;
    }
    route_table_free(t);
    return (double)total / n;
}

static void test_steps_do_not_grow_with_the_number_of_rules(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(growths); k++) {
        size_t most_small, most_large;
        double ns, small = mean_steps(&growths[k], 10, &most_small, &ns);
        double large = mean_steps(&growths[k], 10000, &most_large, &ns);
        print_message("10000 %s: %.1f steps (10 rules: %.1f), at most %zu, %.0f ns\n",
                      growths[k].what, large, small, most_large, ns);
        assert_true(large < small + 4);
        assert_true(most_large < 60); /* the longest run of a half full table */
    }
}

/* A client cannot make a lookup long: only as much of a path is walked as some rule has. */
static void test_steps_do_not_grow_with_the_request(void **state)
{
    struct route_table *t = TABLE({.hosts = {"*.example"}, .prefix = "/a/a"}, {.prefix = "/b"});
    static char path[16001], host[8001];
    size_t steps = 0;
    (void)state;
    for (size_t i = 0; i + 1 < sizeof(path); i++)
        path[i] = i % 2 ? 'a' : '/';
    for (size_t i = 0; i + 1 < sizeof(host); i++)
        host[i] = i % 2 ? 'a' : '.';
    struct route_query q = {
        .host = span_str(host), .path = span_str(path), .method = SPAN_LIT("GET")};
    assert_null(route_find_counted(t, &q, &steps));
    q.host = SPAN_LIT("a.example");
    assert_non_null(route_find_counted(t, &q, &steps));
    assert_true(steps < 20);
    route_table_free(t);
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
        cmocka_unit_test(test_random_tables_agree_with_trying_every_rule),
        cmocka_unit_test(test_steps_do_not_grow_with_the_number_of_rules),
        cmocka_unit_test(test_steps_do_not_grow_with_the_request),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
