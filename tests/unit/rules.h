/* SPDX-License-Identifier: Apache-2.0 */
/* Route tables as tests write them, and look-ups in them. For unit tests; one thread. */
#ifndef WEIR_TESTS_RULES_H
#define WEIR_TESTS_RULES_H

#include "proxy/base/check.h"
#include "proxy/route.h"

/* A rule; lists end at NULL. */
struct rule {
    const char *hosts[4];
    const char *prefix, *exact;
    const char *methods[4];
    const char *fields[4][2];
};

/* Adds a rule, which has to be a good one: its index is the number of those before it. */
void rules_add(struct route_table *t, const struct rule *r);

/* A table of n rules, compiled; freed by route_table_free. */
struct route_table *rules_table(const struct rule *rules, size_t n);

#define TABLE(...) \
    rules_table((const struct rule[]){__VA_ARGS__}, ARRAY_LEN(((const struct rule[]){__VA_ARGS__})))

/* The field of a route_query whose ctx is the lines of a head: name, value, name, value, NULL. */
unsigned rules_field(const void *ctx, struct span name, struct span *value);

/* The index of the route that a request takes, -1 for none: a GET, or one with a method and lines
 * as above (or NULL). */
int rules_find(const struct route_table *t, const char *host, const char *path);
int rules_find_with(const struct route_table *t, const char *method, const char *host,
                    const char *path, const char *const *lines);

#endif
