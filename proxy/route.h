/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled route table: which route does a request take, and which pool of that route. Built
 * once from rules, frozen by route_table_compile, then read by any number of threads at once.
 * Knows nothing of configuration structs, header tables or connections; a lookup does no I/O and
 * no malloc, and its cost grows with the labels of the host and the elements of the path, not with
 * the number of rules.
 *
 * Which rule wins (Gateway API v1, HTTPRouteSpec.hostnames and HTTPRouteRule.matches): of all the
 * rules whose every condition holds, the one with, in this order,
 *   1. an exact host, else the longest wildcard host, else no host;
 *   2. an exact path, else the longest prefix;
 *   3. a method condition;
 *   4. the most field conditions;
 *   5. the first place in the file.
 * So a rule that fails on its method or fields hides nothing: the search goes on with shorter
 * prefixes of the same host, then with less specific hosts.
 */
#ifndef WEIR_ROUTE_H
#define WEIR_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/rng.h"
#include "proxy/base/span.h"

#define ROUTE_NO_POOL  (-1)
#define ROUTE_HOST_MAX 255 /* bytes of a host pattern */

struct route_table;

enum route_path_kind {
    ROUTE_PREFIX, /* element-wise: /foo matches /foo, /foo/ and /foo/bar, not /foobar */
    ROUTE_EXACT,  /* byte for byte */
};

/* A part of a weighted split. */
struct route_target {
    int32_t pool;    /* the owner's index of a pool, or ROUTE_NO_POOL: its share is answered 500 */
    uint32_t weight; /* 0..1000000; 0 gets nothing */
};

/* The name of a field that no request has, and every one matches as if it had it once, with the
 * name of the listener that it came by. */
#define ROUTE_LISTENER ":listener"

struct route_field_match {
    struct span name;  /* any case */
    struct span value; /* exact */
};

/* A rule as given to route_table_add; everything is copied. */
struct route_rule {
    struct span name;
    const struct span *hosts; /* any case; none = every host. "a.example", "*.example", "[::1]" */
    size_t n_hosts;
    enum route_path_kind path_kind;
    struct span path; /* normalised, begins with "/"; empty = "/" as prefix = every path */
    const struct span *methods; /* exact case; none = every method */
    size_t n_methods;
    const struct route_field_match *fields; /* all must match */
    size_t n_fields;
    const struct route_target *targets; /* may be none: then every pick is ROUTE_NO_POOL */
    size_t n_targets;
};

/* A route as found. Lives as long as its table. */
struct route {
    uint32_t index;   /* in order of route_table_add, from 0 */
    struct span name; /* NUL-terminated as well */
    const struct route_target *targets;
    uint32_t n_targets;
    uint64_t total_weight;
};

/* A request, as far as routing looks at it. Spans need to live for the call only. */
struct route_query {
    struct span host; /* value of Host or :authority; port, case and a trailing dot are ignored */
    struct span path; /* normalised, without query; "*" for OPTIONS * matches prefix "/" only */
    struct span method;
    struct span listener; /* its name */
    /*
     * How many lines of the request's head have this name (lower case), and in *value the first
     * one's value, trimmed, if there are any. Asked only if a rule in question has fields; may be
     * NULL if none has. A field in several lines matches nothing: its value is a list (RFC 9110
     * section 5.3), not the one that the rule names, and which of them a server believes is open.
     */
    unsigned (*field)(const void *ctx, struct span name, struct span *value);
    const void *field_ctx;
};

/* An empty table to add rules to. Never NULL. */
struct route_table *route_table_new(void);

/*
 * Adds a rule, last in the order. Returns its index, or -1 if a host is longer than
 * ROUTE_HOST_MAX or has a "*" elsewhere than as its first label, or a path lacks its "/": what
 * the configuration ought to have refused. Not after route_table_compile.
 */
int64_t route_table_add(struct route_table *t, const struct route_rule *rule);

/* Freezes the table and makes it searchable. Once. */
void route_table_compile(struct route_table *t);

/* NULL is fine. No route of it may be in use. */
void route_table_free(struct route_table *t);

/* How many rules were added. */
size_t route_table_count(const struct route_table *t);

/* The index-th route, index < route_table_count. */
const struct route *route_table_at(const struct route_table *t, size_t index);

/* The route that a request takes; NULL: none (404). Any thread, once compiled. */
const struct route *route_find(const struct route_table *t, const struct route_query *q);

/* The same, and adds to *steps the table probes that it took: what a test bounds. */
const struct route *route_find_counted(const struct route_table *t, const struct route_query *q,
                                       size_t *steps);

/*
 * Draws a target by weight: its pool, or ROUTE_NO_POOL if the drawn part has none, or if nothing
 * has a weight (answered 500; the share is not given to the others).
 */
int32_t route_split_pick(const struct route *route, struct lb_rng *rng);

#endif
