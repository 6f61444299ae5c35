/* SPDX-License-Identifier: Apache-2.0 */
/* See rules.h. Owns nothing. */
#include "tests/unit/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

void rules_add(struct route_table *t, const struct rule *r)
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

struct route_table *rules_table(const struct rule *rules, size_t n)
{
    struct route_table *t = route_table_new();
    for (size_t i = 0; i < n; i++)
        rules_add(t, &rules[i]);
    route_table_compile(t);
    return t;
}

unsigned rules_field(const void *ctx, struct span name, struct span *value)
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

int rules_find_with(const struct route_table *t, const char *method, const char *host,
                    const char *path, const char *const *lines)
{
    const char *const none[] = {NULL};
    struct route_query q = {
        .host = span_str(host),
        .path = span_str(path),
        .method = span_str(method),
        .field = rules_field,
        .field_ctx = lines ? lines : none,
    };
    const struct route *route = route_find(t, &q);
    return route ? (int)route->index : -1;
}

int rules_find(const struct route_table *t, const char *host, const char *path)
{
    return rules_find_with(t, "GET", host, path, NULL);
}
