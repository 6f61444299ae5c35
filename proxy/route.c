/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks a request's route up in a compiled table. Owns nothing, writes nothing to the table, does
 * not allocate. Any thread.
 */
#include "proxy/route_table.h"

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b)
{
    u128 p = (u128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

uint64_t route_hash_bytes(uint64_t seed, struct span s)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t h = seed + odd * (s.len + 1), word;
    for (; s.len >= 8; s.ptr += 8, s.len -= 8) {
        memcpy(&word, s.ptr, 8);
        h = fold(h ^ word, odd) + word;
    }
    if (s.len > 0) {
        word = 0;
        memcpy(&word, s.ptr, s.len);
        h = fold(h ^ word, odd) + word;
    }
    return fold(h ^ odd, 0xd6e8feb86659fd93u);
}

/* A literal address in brackets, or else a name with at most one colon, before its port. */
static struct span without_port(struct span host)
{
    if (host.len > 0 && host.ptr[0] == '[') {
        const char *end = memchr(host.ptr, ']', host.len);
        return end ? span_of(host.ptr + 1, (size_t)(end - host.ptr) - 1) : host;
    }
    const char *colon = host.len ? memchr(host.ptr, ':', host.len) : NULL;
    if (colon == NULL || memchr(colon + 1, ':', host.len - (size_t)(colon + 1 - host.ptr)))
        return host;
    return span_of(host.ptr, (size_t)(colon - host.ptr));
}

struct span route_host_key(struct span host, char key[ROUTE_HOST_MAX], bool *cut)
{
    host = without_port(host);
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    *cut = host.len > ROUTE_HOST_MAX;
    if (*cut)
        host = span_of(host.ptr + host.len - ROUTE_HOST_MAX, ROUTE_HOST_MAX);
    for (size_t i = 0; i < host.len; i++)
        key[i] = ascii_lower(host.ptr[i]);
    return span_of(key, host.len);
}

uint32_t route_child(const struct route_table *t, uint32_t parent, struct span label, size_t *steps)
{
    uint64_t h = route_hash_bytes(parent, label);
    for (size_t i = (size_t)h & t->children.mask;; i = (i + 1) & t->children.mask) {
        const struct route_slot *slot = &t->children.slots[i];
        ++*steps;
        if (slot->value == 0)
            return NODE_NONE;
        const struct route_node *node = &t->nodes[slot->value - 1];
        if (slot->hash == (uint32_t)(h >> 32) && node->parent == parent &&
            span_eq(node->label, label))
            return slot->value - 1;
    }
}

/* One lookup: the request, and what it took so far. */
struct search {
    const struct route_table *t;
    const struct route_query *q;
    size_t *steps;
};

/* The hash of the request's answers to a class's questions; false if it has none to one. */
static bool hash_answers(const struct search *s, uint32_t class, uint64_t *h)
{
    const struct route_class *c = &s->t->classes[class];
    const struct route_conditions *rule = &s->t->rules[c->rule];
    *h = class;
    if (c->has_method)
        *h = route_hash_bytes(*h, s->q->method);
    for (uint32_t k = 0; k < c->n_fields; k++) {
        struct span value;
        if (route_answer(s->q, rule->fields[k].name, &value) != 1)
            return false;
        *h = route_hash_bytes(*h, value);
    }
    return true;
}

static bool entry_holds(const struct search *s, const struct route_entry *e)
{
    const struct route_conditions *rule = &s->t->rules[e->rule];
    return (rule->n_methods == 0 || span_eq(rule->methods[e->method], s->q->method)) &&
           route_fields_hold(rule, s->q) == rule->n_fields;
}

/* The first rule of a class that holds, or UINT32_MAX. */
static uint32_t find_in_class(const struct search *s, uint32_t class)
{
    const struct route_hash *answers = &s->t->answers;
    const struct route_class *c = &s->t->classes[class];
    uint64_t h;
    ++*s->steps;
    if (!c->has_method && c->n_fields == 0)
        return c->rule;
    if (!hash_answers(s, class, &h))
        return UINT32_MAX;
    for (size_t i = (size_t)h & answers->mask;; i = (i + 1) & answers->mask) {
        const struct route_slot *slot = &answers->slots[i];
        ++*s->steps;
        if (slot->value == 0)
            return UINT32_MAX;
        const struct route_entry *e = &s->t->entries[slot->value - 1];
        if (slot->hash == (uint32_t)(h >> 32) && e->class == class && entry_holds(s, e))
            return e->rule;
    }
}

static bool same_rank(const struct route_class *a, const struct route_class *b)
{
    return a->has_method == b->has_method && a->n_fields == b->n_fields;
}

/* Of the classes that are equal in rank the first rule in the file; a higher rank hides a lower. */
static uint32_t find_in_leaf(const struct search *s, struct route_leaf leaf)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t c = leaf.first; c < leaf.first + leaf.count; c++) {
        if (best != UINT32_MAX && !same_rank(&s->t->classes[c - 1], &s->t->classes[c]))
            break;
        uint32_t rule = find_in_class(s, c);
        if (rule < best)
            best = rule;
    }
    return best;
}

/* Exact path, then prefixes from the longest on, of one host. */
static uint32_t find_in_host(const struct search *s, uint32_t root)
{
    const struct route_node *nodes = s->t->nodes;
    struct span rest = s->q->path, element;
    uint32_t at = root, found = UINT32_MAX;
    bool whole = false; /* at is the node of the whole path */

    if (rest.len == 0 || rest.ptr[0] != '/')
        rest.len = 0; /* "*": no prefix but "/" */
    while (route_next_element(&rest, &element)) {
        uint32_t child = route_child(s->t, at, element, s->steps);
        if (child == NODE_NONE)
            break;
        at = child;
        whole = rest.len == 0;
    }
    if (whole)
        found = find_in_leaf(s, nodes[at].leaf[ROUTE_EXACT]);
    for (; found == UINT32_MAX && at != NODE_NONE; at = nodes[at].up)
        found = find_in_leaf(s, nodes[at].leaf[ROUTE_PREFIX]);
    return found;
}

static size_t count_dots(struct span s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == '.';
    return n;
}

/* The wildcard hosts that match, from the longest on. At least one byte stands for the star. */
static uint32_t find_in_wildcards(const struct search *s, struct span key, bool cut)
{
    size_t dots = count_dots(key);
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] != '.')
            continue;
        struct span suffix = span_of(key.ptr + i + 1, key.len - i - 1);
        dots--;
        if ((i == 0 && !cut) || suffix.len > s->t->suffix_max ||
            !(s->t->suffix_dots[dots / 64] >> (dots % 64) & 1))
            continue;
        uint32_t root = route_child(s->t, NODE_WILDCARDS, suffix, s->steps);
        uint32_t found = root == NODE_NONE ? UINT32_MAX : find_in_host(s, root);
        if (found != UINT32_MAX)
            return found;
    }
    return UINT32_MAX;
}

static uint32_t find_rule(const struct search *s)
{
    char buf[ROUTE_HOST_MAX];
    bool cut;
    uint32_t found = UINT32_MAX;
    struct span key = route_host_key(s->q->host, buf, &cut);

    if (!cut) {
        uint32_t root = route_child(s->t, NODE_HOSTS, key, s->steps);
        if (root != NODE_NONE)
            found = find_in_host(s, root);
    }
    if (found == UINT32_MAX && s->t->suffix_max > 0)
        found = find_in_wildcards(s, key, cut);
    if (found == UINT32_MAX)
        found = find_in_host(s, NODE_ANY_HOST);
    return found;
}

const struct route *route_find_counted(const struct route_table *t, const struct route_query *q,
                                       size_t *steps)
{
    CHECK(t->compiled);
    uint32_t rule = find_rule(&(struct search){t, q, steps});
    return rule == UINT32_MAX ? NULL : &t->routes[rule];
}

const struct route *route_find(const struct route_table *t, const struct route_query *q)
{
    size_t steps = 0;
    return route_find_counted(t, q, &steps);
}

size_t route_table_count(const struct route_table *t)
{
    return t->n_rules;
}

const struct route *route_table_at(const struct route_table *t, size_t index)
{
    CHECK(index < t->n_rules);
    return &t->routes[index];
}

int32_t route_split_pick(const struct route *route, struct lb_rng *rng)
{
    if (route->total_weight == 0)
        return ROUTE_NO_POOL;
    if (route->n_targets == 1)
        return route->targets[0].pool;
    uint64_t at = lb_rng_below(rng, route->total_weight);
    const struct route_target *target = route->targets;
    for (; at >= target->weight; target++)
        at -= target->weight;
    return target->pool;
}
