/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds a route table: copies the rules, then lays out nodes, classes and their hash tables. Owns
 * all memory of the table. Runs while a configuration is loaded, never on a request's path; the
 * building thread has the table to itself until it is compiled.
 */
#include "proxy/base/mem.h"
#include "proxy/route_table.h"

#include <stdlib.h>

#define BLOCK_SIZE ((size_t)64 * 1024)

struct route_block {
    struct route_block *next;
    size_t used, size;
    max_align_t bytes[];
};

/* Room for n objects, until the table is freed. */
static void *store(struct route_table *t, size_t n, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    size_t need = (n * size + align - 1) / align * align;
    struct route_block *b = t->blocks;
    if (b == NULL || b->size - b->used < need) {
        size_t room = need > BLOCK_SIZE ? need : BLOCK_SIZE;
        b = mem_need(malloc(sizeof(*b) + room));
        *b = (struct route_block){.next = t->blocks, .size = room};
        t->blocks = b;
    }
    void *p = (char *)b->bytes + b->used;
    b->used += need;
    return p;
}

/* A copy with a NUL behind it. */
static struct span store_span(struct route_table *t, struct span s)
{
    char *p = store(t, s.len + 1, 1);
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return span_of(p, s.len);
}

static struct span *store_spans(struct route_table *t, const struct span *from, size_t n)
{
    struct span *to = store(t, n, sizeof(*to));
    for (size_t i = 0; i < n; i++)
        to[i] = store_span(t, from[i]);
    return to;
}

static struct span store_lower(struct route_table *t, struct span s)
{
    char *p = store(t, s.len + 1, 1);
    for (size_t i = 0; i < s.len; i++)
        p[i] = ascii_lower(s.ptr[i]);
    p[s.len] = '\0';
    return span_of(p, s.len);
}

/* Makes room for one more in a growing array. */
static void *reserve(void *array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return array;
    *cap = *cap ? 2 * *cap : 16;
    return mem_need(realloc(array, *cap * size));
}

struct route_table *route_table_new(void)
{
    struct route_table *t = mem_need(calloc(1, sizeof(*t)));
    t->magic = ROUTE_TABLE_MAGIC;
    return t;
}

void route_table_free(struct route_table *t)
{
    if (t == NULL)
        return;
    CHECK(t->magic == ROUTE_TABLE_MAGIC);
    t->magic = 0;
    while (t->blocks) {
        struct route_block *b = t->blocks;
        t->blocks = b->next;
        free(b);
    }
    free(t->answers.slots);
    free(t->children.slots);
    free(t->classes);
    free(t->entries);
    free(t->nodes);
    free(t->rules);
    free(t->routes);
    free(t);
}

static bool host_ok(struct span host)
{
    if (route_is_wildcard(host))
        host = span_of(host.ptr + 2, host.len - 2);
    char buf[ROUTE_HOST_MAX];
    bool cut;
    struct span key = route_host_key(host, buf, &cut);
    return key.len > 0 && !cut && key.ptr[0] != '.' && memchr(key.ptr, '*', key.len) == NULL;
}

static bool path_ok(const struct route_rule *rule)
{
    if (rule->path.len == 0)
        return rule->path_kind == ROUTE_PREFIX;
    return rule->path.ptr[0] == '/';
}

static int compare_spans(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_fields(const void *a, const void *b)
{
    const struct route_field_match *fa = a, *fb = b;
    int order = compare_spans(fa->name, fb->name);
    return order ? order : compare_spans(fa->value, fb->value);
}

static void copy_conditions(struct route_table *t, struct route_conditions *to,
                            const struct route_rule *rule)
{
    to->hosts = store_spans(t, rule->hosts, rule->n_hosts);
    to->n_hosts = rule->n_hosts;
    to->path_kind = rule->path_kind;
    to->path = store_span(t, rule->path);
    to->methods = store_spans(t, rule->methods, rule->n_methods);
    to->n_methods = rule->n_methods;
    to->fields = store(t, rule->n_fields, sizeof(*to->fields));
    to->n_fields = rule->n_fields;
    for (size_t i = 0; i < rule->n_fields; i++) {
        to->fields[i].name = store_lower(t, rule->fields[i].name);
        to->fields[i].value = store_span(t, rule->fields[i].value);
    }
    if (rule->n_fields > 1)
        qsort(to->fields, rule->n_fields, sizeof(*to->fields), compare_fields);
}

static void copy_targets(struct route_table *t, struct route *to, const struct route_rule *rule)
{
    struct route_target *targets = store(t, rule->n_targets, sizeof(*targets));
    for (size_t i = 0; i < rule->n_targets; i++) {
        targets[i] = rule->targets[i];
        to->total_weight += targets[i].weight;
    }
    to->targets = targets;
    to->n_targets = (uint32_t)rule->n_targets;
}

int64_t route_table_add(struct route_table *t, const struct route_rule *rule)
{
    CHECK(t->magic == ROUTE_TABLE_MAGIC && !t->compiled && t->n_rules < INT32_MAX);
    for (size_t i = 0; i < rule->n_hosts; i++)
        if (!host_ok(rule->hosts[i]))
            return -1;
    if (!path_ok(rule))
        return -1;

    size_t cap = t->cap_rules, index = t->n_rules;
    t->routes = reserve(t->routes, index, &cap, sizeof(*t->routes));
    t->rules = reserve(t->rules, index, &t->cap_rules, sizeof(*t->rules));
    t->routes[index] = (struct route){.index = (uint32_t)index, .name = store_span(t, rule->name)};
    copy_targets(t, &t->routes[index], rule);
    copy_conditions(t, &t->rules[index], rule);
    t->n_rules++;
    return (int64_t)index;
}

static void hash_init(struct route_hash *h, size_t n)
{
    size_t size = 4;
    while (size < 2 * n)
        size *= 2;
    free(h->slots);
    h->slots = mem_need(calloc(size, sizeof(*h->slots)));
    h->mask = size - 1;
}

static void hash_put(struct route_hash *h, uint64_t hash, uint32_t index)
{
    size_t i = (size_t)hash & h->mask;
    while (h->slots[i].value != 0)
        i = (i + 1) & h->mask;
    h->slots[i] = (struct route_slot){(uint32_t)(hash >> 32), index + 1};
}

static void put_child(struct route_table *t, uint32_t node)
{
    const struct route_node *n = &t->nodes[node];
    hash_put(&t->children, route_hash_bytes(n->parent, n->label), node);
}

static uint32_t add_node(struct route_table *t, uint32_t parent, struct span label)
{
    uint32_t node = (uint32_t)t->n_nodes;
    t->nodes = reserve(t->nodes, node, &t->cap_nodes, sizeof(*t->nodes));
    t->nodes[node] = (struct route_node){.parent = parent, .up = NODE_NONE, .label = label};
    t->n_nodes++;
    return node;
}

/* The label has to live as long as the table. */
static uint32_t child_or_new(struct route_table *t, uint32_t parent, struct span label)
{
    size_t steps = 0;
    uint32_t child = route_child(t, parent, label, &steps);
    if (child != NODE_NONE)
        return child;
    child = add_node(t, parent, label);
    if (2 * t->n_nodes <= t->children.mask + 1) {
        put_child(t, child);
        return child;
    }
    hash_init(&t->children, 2 * t->n_nodes);
    for (uint32_t node = NODE_FIRST_FREE; node < t->n_nodes; node++)
        put_child(t, node);
    return child;
}

static uint32_t host_node(struct route_table *t, struct span host)
{
    char buf[ROUTE_HOST_MAX];
    bool cut, wild = route_is_wildcard(host);
    if (wild)
        host = span_of(host.ptr + 2, host.len - 2);
    struct span key = store_span(t, route_host_key(host, buf, &cut));
    CHECK(!cut);
    if (!wild)
        return child_or_new(t, NODE_HOSTS, key);

    size_t dots = 0;
    for (size_t i = 0; i < key.len; i++)
        dots += key.ptr[i] == '.';
    t->suffix_dots[dots / 64] |= UINT64_C(1) << (dots % 64);
    if (key.len > t->suffix_max)
        t->suffix_max = key.len;
    return child_or_new(t, NODE_WILDCARDS, key);
}

/* A prefix is the same with and without a "/" at its end; an exact path is not. */
static uint32_t path_node(struct route_table *t, uint32_t root, const struct route_conditions *rule)
{
    struct span rest = rule->path_kind == ROUTE_PREFIX ? route_prefix(rule->path) : rule->path;
    struct span element;
    while (route_next_element(&rest, &element))
        root = child_or_new(t, root, element);
    return root;
}

static void add_entries(struct route_table *t, uint32_t root, uint32_t rule)
{
    const struct route_conditions *r = &t->rules[rule];
    uint32_t node = path_node(t, root, r);
    uint32_t n = r->n_methods ? (uint32_t)r->n_methods : 1;
    for (uint32_t method = 0; method < n; method++) {
        t->entries = reserve(t->entries, t->n_entries, &t->cap_entries, sizeof(*t->entries));
        t->entries[t->n_entries++] = (struct route_entry){
            .node = node, .rule = rule, .method = method, .kind = r->path_kind};
    }
}

static int compare_numbers(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* The order within a leaf: a method before none, many fields before few, equal questions together;
   0 = the same class. */
static int compare_questions(const struct route_conditions *a, const struct route_conditions *b)
{
    int order = compare_numbers(b->n_methods > 0, a->n_methods > 0);
    if (order == 0)
        order = compare_numbers(b->n_fields, a->n_fields);
    for (size_t i = 0; order == 0 && i < a->n_fields; i++)
        order = compare_spans(a->fields[i].name, b->fields[i].name);
    return order;
}

static int compare_places(const struct route_entry *a, const struct route_entry *b)
{
    int order = compare_numbers(a->node, b->node);
    return order ? order : compare_numbers(a->kind, b->kind);
}

static int compare_entries(const void *pa, const void *pb, void *table)
{
    const struct route_table *t = table;
    const struct route_entry *a = pa, *b = pb;
    int order = compare_places(a, b);
    if (order == 0)
        order = compare_questions(&t->rules[a->rule], &t->rules[b->rule]);
    if (order == 0)
        order = compare_numbers(a->rule, b->rule);
    return order ? order : compare_numbers(a->method, b->method);
}

static void add_class(struct route_table *t, const struct route_entry *e, bool new_leaf)
{
    const struct route_conditions *r = &t->rules[e->rule];
    struct route_leaf *leaf = &t->nodes[e->node].leaf[e->kind];
    t->classes = reserve(t->classes, t->n_classes, &t->cap_classes, sizeof(*t->classes));
    if (new_leaf)
        leaf->first = (uint32_t)t->n_classes;
    leaf->count++;
    t->classes[t->n_classes++] = (struct route_class){
        .rule = e->rule, .n_fields = (uint32_t)r->n_fields, .has_method = r->n_methods > 0};
}

/* Entries are in the order of their leaves and classes; equal answers are in the file's order. */
static void make_classes(struct route_table *t)
{
    if (t->n_entries > 1)
        qsort_r(t->entries, t->n_entries, sizeof(*t->entries), compare_entries, t);
    for (size_t i = 0; i < t->n_entries; i++) {
        struct route_entry *e = &t->entries[i];
        bool new_leaf = i == 0 || compare_places(e - 1, e) != 0;
        if (new_leaf || compare_questions(&t->rules[e[-1].rule], &t->rules[e->rule]) != 0)
            add_class(t, e, new_leaf);
        e->class = (uint32_t)t->n_classes - 1;
    }
}

static uint64_t hash_entry(const struct route_table *t, const struct route_entry *e)
{
    const struct route_conditions *r = &t->rules[e->rule];
    uint64_t h = e->class;
    if (r->n_methods > 0)
        h = route_hash_bytes(h, r->methods[e->method]);
    for (size_t i = 0; i < r->n_fields; i++)
        h = route_hash_bytes(h, r->fields[i].value);
    return h;
}

static bool same_answer(const struct route_table *t, const struct route_entry *a,
                        const struct route_entry *b)
{
    const struct route_conditions *ra = &t->rules[a->rule], *rb = &t->rules[b->rule];
    bool same = a->class == b->class;
    if (same && ra->n_methods > 0)
        same = span_eq(ra->methods[a->method], rb->methods[b->method]);
    for (size_t i = 0; same && i < ra->n_fields; i++)
        same = span_eq(ra->fields[i].value, rb->fields[i].value);
    return same;
}

static bool has_answer(const struct route_table *t, uint64_t hash, const struct route_entry *e)
{
    const struct route_hash *h = &t->answers;
    for (size_t i = (size_t)hash & h->mask; h->slots[i].value != 0; i = (i + 1) & h->mask)
        if (h->slots[i].hash == (uint32_t)(hash >> 32) &&
            same_answer(t, &t->entries[h->slots[i].value - 1], e))
            return true;
    return false;
}

/* Of equal answers the first goes in; the others could never win, and would lengthen probes. */
static void put_answers(struct route_table *t)
{
    hash_init(&t->answers, t->n_entries);
    for (size_t i = 0; i < t->n_entries; i++) {
        const struct route_entry *e = &t->entries[i];
        const struct route_class *c = &t->classes[e->class];
        uint64_t hash = hash_entry(t, e);
        if ((c->has_method || c->n_fields > 0) && !has_answer(t, hash, e))
            hash_put(&t->answers, hash, (uint32_t)i);
    }
}

/* Parents have lower numbers than their children. */
static void link_up(struct route_table *t)
{
    for (size_t i = NODE_FIRST_FREE; i < t->n_nodes; i++) {
        uint32_t parent = t->nodes[i].parent;
        if (parent < NODE_ANY_HOST)
            continue;
        const struct route_node *p = &t->nodes[parent];
        t->nodes[i].up = p->leaf[ROUTE_PREFIX].count > 0 ? parent : p->up;
    }
}

void route_table_compile(struct route_table *t)
{
    CHECK(t->magic == ROUTE_TABLE_MAGIC && !t->compiled);
    hash_init(&t->children, 0);
    while (t->n_nodes < NODE_FIRST_FREE)
        add_node(t, NODE_NONE, span_of(NULL, 0));
    for (uint32_t i = 0; i < t->n_rules; i++) {
        const struct route_conditions *r = &t->rules[i];
        for (size_t h = 0; h < r->n_hosts; h++)
            add_entries(t, host_node(t, r->hosts[h]), i);
        if (r->n_hosts == 0)
            add_entries(t, NODE_ANY_HOST, i);
    }
    make_classes(t);
    put_answers(t);
    link_up(t);
    t->compiled = true;
}
