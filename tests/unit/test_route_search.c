/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search in a route table: thousands of random tables against one that tries every rule, and
 * the number of steps that it takes in large ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/rules.h"

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

static void random_rule(struct lb_rng *rng, struct rule *r, char *path)
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
static int fit_host(const struct rule *r, const char *asked)
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

static int fit_path(const struct rule *r, const char *path)
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

static int fit_method(const struct rule *r, const char *method)
{
    if (r->methods[0] == NULL)
        return 0;
    for (int i = 0; i < 4 && r->methods[i]; i++)
        if (strcmp(r->methods[i], method) == 0)
            return 1;
    return -1;
}

static int fit_fields(const struct rule *r, const char *const *lines)
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

static int try_every_rule(const struct rule *rules, int n, const struct asked *a)
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
        struct rule rules[RULES];
        char paths[RULES][64];
        int n = 1 + (int)lb_rng_below(&rng, RULES);
        for (int i = 0; i < n; i++)
            random_rule(&rng, &rules[i], paths[i]);
        struct route_table *t = rules_table(rules, (size_t)n);
        for (int k = 0; k < REQUESTS; k++) {
            struct asked a;
            random_request(&rng, &a);
            int expected = try_every_rule(rules, n, &a);
            int got = rules_find_with(t, a.method, a.host, a.path, a.lines);
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
        rules_add(t, &(struct rule){.hosts = {s.host},
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
        struct route_query q = {.host = span_str(s.host),
                                .path = span_str(s.path),
                                .method = span_str(s.method),
                                .field = rules_field,
                                .field_ctx = lines};
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
        cmocka_unit_test(test_random_tables_agree_with_trying_every_rule),
        cmocka_unit_test(test_steps_do_not_grow_with_the_number_of_rules),
        cmocka_unit_test(test_steps_do_not_grow_with_the_request),
    };
    return cmocka_run_group_tests_name("route search", tests, NULL, NULL);
}
