/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the route table: what route_build.c lays out and route.c searches, and route_why.c
 * explains. For these three only.
 *
 * Nodes form one forest. A child is reached from its parent by a label, through one hash table for
 * all of them. Below NODE_HOSTS hang the exact hosts, below NODE_WILDCARDS the wildcard hosts by
 * their suffix, and NODE_ANY_HOST stands for rules without a host. Each host in turn is the root of
 * a trie over path elements: "/a/b" is the labels "a" and "b", "/a/" is "a" and "". A trie node has
 * two leaves, one with the rules whose exact path ends there and one with those whose prefix does.
 *
 * A leaf lists classes in order of precedence. All rules of a class ask for the same things: a
 * method or not, and the same field names. So one hash of what the request has in those places
 * finds the rule, and a lookup's cost depends on how many different questions are asked at one
 * path, not on how many answers there are.
 */
#ifndef WEIR_ROUTE_TABLE_H
#define WEIR_ROUTE_TABLE_H

#include "proxy/base/check.h"
#include "proxy/route.h"

#define ROUTE_TABLE_MAGIC MAGIC('r', 't', 'b', 'l')

enum {
    NODE_HOSTS,
    NODE_WILDCARDS,
    NODE_ANY_HOST,
    NODE_FIRST_FREE,
};

#define NODE_NONE UINT32_MAX

/* Classes [first, first + count). */
struct route_leaf {
    uint32_t first, count;
};

struct route_node {
    uint32_t parent;
    uint32_t up; /* the nearest node above, of the same host, with prefix rules; or NODE_NONE */
    struct span label;
    struct route_leaf leaf[2]; /* by enum route_path_kind */
};

struct route_class {
    uint32_t rule; /* its first one in the file; its field names are those of all */
    uint32_t n_fields;
    bool has_method;
};

/* A rule as one answer to its class: for one of its methods. */
struct route_entry {
    uint32_t node;
    uint32_t rule;
    uint32_t method; /* index into the rule's methods, if it has any */
    enum route_path_kind kind;
    uint32_t class;
};

/* The table's copy of a rule: fields have lower-case names and are sorted. */
struct route_conditions {
    struct span *hosts;
    size_t n_hosts;
    enum route_path_kind path_kind;
    struct span path;
    struct span *methods;
    size_t n_methods;
    struct route_field_match *fields;
    size_t n_fields;
};

/* Open addressing, at most half full; value is an index, plus one. */
struct route_slot {
    uint32_t hash;
    uint32_t value; /* 0: empty */
};

struct route_hash {
    struct route_slot *slots;
    size_t mask;
};

struct route_block;

struct route_table {
    uint32_t magic;
    bool compiled;
    struct route *routes;
    struct route_conditions *rules; /* in the same order */
    size_t n_rules, cap_rules;

    struct route_node *nodes;
    size_t n_nodes, cap_nodes;
    struct route_entry *entries;
    size_t n_entries, cap_entries;
    struct route_class *classes;
    size_t n_classes, cap_classes;
    struct route_hash children; /* (parent, label) -> node */
    struct route_hash answers;  /* (class, method, field values) -> entry */

    size_t suffix_max;          /* the longest wildcard's suffix, in bytes; 0 = no wildcards */
    uint64_t suffix_dots[4];    /* bit n: some wildcard's suffix has n dots */
    struct route_block *blocks; /* what all spans point into */
};

/* A hash of bytes, chained by its seed. Tables hold the operator's names, not a client's. */
uint64_t route_hash_bytes(uint64_t seed, struct span s);

/*
 * The form in which hosts are compared, written to key: lower case, without port, brackets and a
 * trailing dot. Of a longer one the last ROUTE_HOST_MAX bytes, and *cut says so.
 */
struct span route_host_key(struct span host, char key[ROUTE_HOST_MAX], bool *cut);

/* The child of a node by label, or NODE_NONE. */
uint32_t route_child(const struct route_table *t, uint32_t parent, struct span label,
                     size_t *steps);

/* What the request says to a rule that asks for the field: as route_query.field. */
static inline unsigned route_answer(const struct route_query *q, struct span name,
                                    struct span *value)
{
    if (name.len == 0 || name.ptr[0] != ROUTE_LISTENER[0])
        return q->field(q->field_ctx, name, value);
    *value = q->listener;
    return 1;
}

/* How many of the rule's fields hold, up to the first that does not. */
static inline size_t route_fields_hold(const struct route_conditions *rule,
                                       const struct route_query *q)
{
    size_t k = 0;
    for (struct span value; k < rule->n_fields; k++)
        if (route_answer(q, rule->fields[k].name, &value) != 1 ||
            !span_eq(value, rule->fields[k].value))
            break;
    return k;
}

/* A path with a "/" at its end is the same prefix as one without. */
static inline struct span route_prefix(struct span path)
{
    if (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    return path;
}

/* "*.example.com" is a wildcard; its suffix is what follows the first dot. */
static inline bool route_is_wildcard(struct span host)
{
    return span_starts(host, SPAN_LIT("*."));
}

/* Takes the next element off a path's rest that begins with "/"; false at its end. */
static inline bool route_next_element(struct span *rest, struct span *element)
{
    if (rest->len == 0)
        return false;
    const char *from = rest->ptr + 1, *end = rest->ptr + rest->len;
    const char *slash = from < end ? memchr(from, '/', (size_t)(end - from)) : NULL;
    *element = span_of(from, (size_t)((slash ? slash : end) - from));
    *rest = slash ? span_of(slash, (size_t)(end - slash)) : span_of(end, 0);
    return true;
}

#endif
