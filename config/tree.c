/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the tree from libyaml's events. Must survive any bytes: the file's size, the depth, the
 * number of anchors and what aliases expand to are all bounded, and a value may not hold a NUL.
 * Owns the parser only while it runs. Control thread.
 */
#include "config/tree.h"

#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "config/mem.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/span.h"

#define MAX_ANCHORS 256

/* What a value costs of CONFIG_MAX_NODES: an alias to a long text is as bad as one to a long list.
 */
#define COST_OF_TEXT(len) (1 + (len) / 64)

struct anchor {
    const char *name;
    struct tree_node
        *node; /* NULL while the node is being built: an alias to it would be a cycle */
};

struct builder {
    struct config_mem *mem;
    struct config_errors *errs;
    const char *name;
    struct span input;
    yaml_parser_t parser;
    struct anchor anchors[MAX_ANCHORS];
    size_t anchor_count;
    size_t cost; /* so far, written out */
};

static struct tree_node *build_node(struct builder *b, yaml_event_t *event, unsigned depth);

static struct config_pos mark_pos(const struct builder *b, yaml_mark_t mark)
{
    return (struct config_pos){b->name, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

static void build_error(struct builder *b, struct config_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void build_error(struct builder *b, struct config_pos pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *message = config_mem_vprintf(b->mem, fmt, args);
    va_end(args);
    config_errors_add(b->errs, CONFIG_ERROR, pos, NULL, "%s", message);
}

/* Line and column of a byte; libyaml tells only the offset when the encoding is wrong. */
static struct config_pos offset_pos(const struct builder *b, size_t offset)
{
    struct config_pos pos = {b->name, 1, 1};
    for (size_t i = 0; i < offset && i < b->input.len; i++) {
        bool continuation = ((unsigned char)b->input.ptr[i] & 0xc0) == 0x80;
        pos.column += continuation ? 0 : 1;
        if (b->input.ptr[i] == '\n') {
            pos.line++;
            pos.column = 1;
        }
    }
    return pos;
}

/*
 * What follows a mark, for hints only: columns count characters, so that on a line with others than
 * ASCII it is a little earlier, and a hint may be missed. Empty at the end.
 */
static struct span input_at(const struct builder *b, yaml_mark_t mark)
{
    size_t i = 0;
    for (size_t line = 0; line < mark.line && i < b->input.len; i++)
        line += b->input.ptr[i] == '\n';
    i = i + mark.column < b->input.len ? i + mark.column : b->input.len;
    return span_of(b->input.ptr + i, b->input.len - i);
}

static void scanner_error(struct builder *b)
{
    const yaml_parser_t *p = &b->parser;
    const char *problem = p->problem ? p->problem : "cannot be parsed";
    struct config_pos pos = mark_pos(b, p->problem_mark);
    struct span at = input_at(b, p->problem_mark);
    if (span_starts(at, SPAN_LIT("\t")))
        build_error(b, pos, "not valid YAML: a tab cannot indent; use spaces");
    else if (span_starts(at, SPAN_LIT("{")) && at.ptr > b->input.ptr && at.ptr[-1] == '$')
        build_error(b, pos, "not valid YAML: within { } and [ ], write ${...} in quotes");
    else if (p->context != NULL && p->context_mark.line != p->problem_mark.line)
        build_error(b, pos, "not valid YAML: %s %s that starts at line %zu", problem, p->context,
                    p->context_mark.line + 1);
    else if (p->context != NULL)
        build_error(b, pos, "not valid YAML: %s %s", problem, p->context);
    else
        build_error(b, pos, "not valid YAML: %s", problem);
}

static void parser_error(struct builder *b)
{
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR)
        mem_out();
    if (p->error == YAML_READER_ERROR)
        build_error(b, offset_pos(b, p->problem_offset), "not plain UTF-8 text: %s",
                    p->problem ? p->problem : "cannot be read");
    else
        scanner_error(b);
}

static bool next_event(struct builder *b, yaml_event_t *event)
{
    if (yaml_parser_parse(&b->parser, event))
        return true;
    parser_error(b);
    return false;
}

static bool charge(struct builder *b, struct config_pos pos, size_t cost)
{
    if (cost > CONFIG_MAX_NODES - b->cost) {
        build_error(b, pos, "too large: more than %zu values once aliases are expanded",
                    CONFIG_MAX_NODES);
        return false;
    }
    b->cost += cost;
    return true;
}

static struct tree_node *node_new(struct builder *b, enum tree_kind kind, struct config_pos pos,
                                  size_t cost)
{
    if (!charge(b, pos, cost))
        return NULL;
    struct tree_node *n = config_mem_alloc(b->mem, 1, sizeof(*n));
    n->kind = kind;
    n->pos = pos;
    n->cost = cost;
    return n;
}

static struct anchor *anchor_find(struct builder *b, const char *name)
{
    for (size_t i = 0; i < b->anchor_count; i++)
        if (strcmp(b->anchors[i].name, name) == 0)
            return &b->anchors[i];
    return NULL;
}

/* `index` stays MAX_ANCHORS if the node has no anchor. A name may be used again, as in YAML. */
static bool anchor_open(struct builder *b, struct config_pos pos, const yaml_char_t *anchor,
                        size_t *index)
{
    if (anchor == NULL)
        return true;
    const char *name = (const char *)anchor;
    struct anchor *a = anchor_find(b, name);
    if (a == NULL) {
        if (b->anchor_count == MAX_ANCHORS) {
            build_error(b, pos, "more than %d anchors", MAX_ANCHORS);
            return false;
        }
        a = &b->anchors[b->anchor_count++];
        a->name = config_mem_dup(b->mem, name, strlen(name));
    }
    a->node = NULL;
    *index = (size_t)(a - b->anchors);
    return true;
}

static struct tree_node *build_alias(struct builder *b, const yaml_event_t *event)
{
    struct config_pos pos = mark_pos(b, event->start_mark);
    const char *name = (const char *)event->data.alias.anchor;
    const struct anchor *a = anchor_find(b, name);
    if (a == NULL)
        build_error(b, pos, "alias *%s: there is no anchor &%s before it", name, name);
    else if (a->node == NULL)
        build_error(b, pos, "alias *%s stands inside its own anchor", name);
    else if (charge(b, pos, a->node->cost))
        return a->node;
    return NULL;
}

static bool tag_ok(struct builder *b, struct config_pos pos, const yaml_char_t *tag)
{
    if (tag == NULL)
        return true;
    build_error(b, pos, "tags (such as !!str) are not supported; every key has one type");
    return false;
}

static struct tree_node *build_scalar(struct builder *b, const yaml_event_t *event)
{
    struct config_pos pos = mark_pos(b, event->start_mark);
    const char *text = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(text, '\0', len) != NULL) {
        build_error(b, pos, "a NUL character cannot stand in a value");
        return NULL;
    }
    struct tree_node *n = node_new(b, TREE_SCALAR, pos, COST_OF_TEXT(len));
    if (n != NULL) {
        n->text = config_mem_dup(b->mem, text, len);
        n->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    }
    return n;
}

/* Room for one more in an array that doubles; the arena keeps the outgrown ones. */
static void *array_grow(struct builder *b, void *array, size_t count, size_t size)
{
    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return array;
    void *bigger = config_mem_alloc(b->mem, count < 4 ? 4 : count * 2, size);
    if (count > 0)
        memcpy(bigger, array, count * size);
    return bigger;
}

static bool build_item(struct builder *b, struct tree_node *list, yaml_event_t *event,
                       unsigned depth)
{
    struct tree_node *item = build_node(b, event, depth);
    if (item == NULL)
        return false;
    list->items = array_grow(b, list->items, list->count, sizeof(struct tree_node *));
    list->items[list->count++] = item;
    list->cost += item->cost;
    return true;
}

static bool build_pair(struct builder *b, struct tree_node *map, yaml_event_t *event,
                       unsigned depth)
{
    struct tree_node *key = build_node(b, event, depth);
    if (key == NULL)
        return false;
    if (key->kind != TREE_SCALAR) {
        build_error(b, key->pos, "expected a key, found %s",
                    key->kind == TREE_MAP ? "a mapping" : "a list");
        return false;
    }
    yaml_event_t value_event;
    if (!next_event(b, &value_event))
        return false;
    struct tree_node *value = build_node(b, &value_event, depth);
    yaml_event_delete(&value_event);
    if (value == NULL)
        return false;
    map->pairs = array_grow(b, map->pairs, map->count, sizeof(struct tree_pair));
    map->pairs[map->count++] = (struct tree_pair){key, value};
    map->cost += key->cost + value->cost;
    return true;
}

static bool build_child(struct builder *b, struct tree_node *parent, yaml_event_t *event,
                        unsigned depth)
{
    if (parent->kind == TREE_LIST)
        return build_item(b, parent, event, depth);
    return build_pair(b, parent, event, depth);
}

/* After the start event of a list or map: everything up to its end. */
static struct tree_node *build_collection(struct builder *b, struct config_pos pos,
                                          enum tree_kind kind, unsigned depth)
{
    if (depth >= CONFIG_MAX_DEPTH) {
        build_error(b, pos, "nested deeper than %d levels", CONFIG_MAX_DEPTH);
        return NULL;
    }
    struct tree_node *n = node_new(b, kind, pos, COST_OF_TEXT(0));
    for (bool ok = n != NULL; ok;) {
        yaml_event_t event;
        if (!next_event(b, &event))
            return NULL;
        bool end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        ok = !end && build_child(b, n, &event, depth + 1);
        yaml_event_delete(&event);
        if (end)
            return n;
    }
    return NULL;
}

static struct tree_node *build_anchored(struct builder *b, yaml_event_t *event, unsigned depth,
                                        const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct config_pos pos = mark_pos(b, event->start_mark);
    size_t index = MAX_ANCHORS;
    if (!tag_ok(b, pos, tag) || !anchor_open(b, pos, anchor, &index))
        return NULL;
    struct tree_node *n;
    if (event->type == YAML_SCALAR_EVENT)
        n = build_scalar(b, event);
    else
        n = build_collection(
            b, pos, event->type == YAML_SEQUENCE_START_EVENT ? TREE_LIST : TREE_MAP, depth);
    if (index < MAX_ANCHORS)
        b->anchors[index].node = n;
    return n;
}

/* The event stays the caller's. */
static struct tree_node *build_node(struct builder *b, yaml_event_t *event, unsigned depth)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return build_alias(b, event);
    case YAML_SCALAR_EVENT:
        return build_anchored(b, event, depth, event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return build_anchored(b, event, depth, event->data.sequence_start.anchor,
                              event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return build_anchored(b, event, depth, event->data.mapping_start.anchor,
                              event->data.mapping_start.tag);
    default:
        build_error(b, mark_pos(b, event->start_mark), "not valid YAML: expected a value");
        return NULL;
    }
}

/* Skips to the next event that is not only framing; the end of the stream is one. */
static bool next_content(struct builder *b, yaml_event_t *event)
{
    for (;;) {
        if (!next_event(b, event))
            return false;
        if (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT &&
            event->type != YAML_DOCUMENT_END_EVENT)
            return true;
        yaml_event_delete(event);
    }
}

static bool expect_end(struct builder *b)
{
    yaml_event_t event;
    if (!next_content(b, &event))
        return false;
    bool end = event.type == YAML_STREAM_END_EVENT;
    if (!end)
        build_error(b, mark_pos(b, event.start_mark), "a second document; a file has only one");
    yaml_event_delete(&event);
    return end;
}

static struct tree_node *build_document(struct builder *b)
{
    yaml_event_t event;
    if (!next_content(b, &event))
        return NULL;
    struct tree_node *root = NULL;
    if (event.type == YAML_STREAM_END_EVENT)
        build_error(b, (struct config_pos){b->name, 1, 1}, "the file is empty");
    else
        root = build_node(b, &event, 0);
    yaml_event_delete(&event);
    return root != NULL && expect_end(b) ? root : NULL;
}

struct tree_node *tree_parse(struct config_mem *mem, const char *name, const char *bytes,
                             size_t len, struct config_errors *errs)
{
    struct builder b = {
        .mem = mem, .errs = errs, .name = name, .input = span_of(len ? bytes : "", len)};
    if (len > CONFIG_MAX_BYTES) {
        build_error(&b, (struct config_pos){name, 0, 0}, "larger than %zu bytes", CONFIG_MAX_BYTES);
        return NULL;
    }
    if (span_starts(b.input, SPAN_LIT("\xef\xbb\xbf")))
        b.input = span_of(bytes + 3, len - 3);
    if (!yaml_parser_initialize(&b.parser))
        mem_out();
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)b.input.ptr, b.input.len);
    struct tree_node *root = build_document(&b);
    yaml_parser_delete(&b.parser);
    return root;
}

/* One of the words, in lower case, capitalised or in capitals: not "nO". */
static bool is_word(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *word = words[i];
        if (strcasecmp(text, word) != 0)
            continue;
        bool rest_lower = strcmp(text + 1, word + 1) == 0;
        bool upper = text[strcspn(text, "abcdefghijklmnopqrstuvwxyz")] == '\0';
        return rest_lower || upper;
    }
    return false;
}

static size_t skip_digits(const char *s)
{
    return strspn(s, "0123456789");
}

static bool looks_number(const char *s)
{
    static const char *const specials[] = {".inf", ".nan"};
    if (s[0] == '0' && s[1] == 'x')
        return s[2] != '\0' && s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == '\0';
    if (s[0] == '0' && s[1] == 'o')
        return s[2] != '\0' && s[2 + strspn(s + 2, "01234567")] == '\0';
    if (*s == '-' || *s == '+')
        s++;
    if (is_word(s, specials, ARRAY_LEN(specials)))
        return true;
    size_t whole = skip_digits(s), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = skip_digits(s + 1);
        s += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*s == 'e' || *s == 'E') {
        s += s[1] == '-' || s[1] == '+' ? 2 : 1;
        if (skip_digits(s) == 0)
            return false;
        s += skip_digits(s);
    }
    return *s == '\0';
}

enum tree_looks tree_text_looks(const char *text)
{
    static const char *const nulls[] = {"~", "null"};
    static const char *const bools[] = {"true", "false"};
    static const char *const old_bools[] = {"yes", "no", "on", "off"};
    if (text[0] == '\0' || is_word(text, nulls, ARRAY_LEN(nulls)))
        return TREE_LOOKS_NULL;
    if (is_word(text, bools, ARRAY_LEN(bools)))
        return TREE_LOOKS_BOOL;
    if (is_word(text, old_bools, ARRAY_LEN(old_bools)))
        return TREE_LOOKS_OLD_BOOL;
    return looks_number(text) ? TREE_LOOKS_NUMBER : TREE_LOOKS_STRING;
}

enum tree_looks tree_looks(const struct tree_node *scalar)
{
    return scalar->plain ? tree_text_looks(scalar->text) : TREE_LOOKS_STRING;
}

struct tree_node *tree_get(const struct tree_node *map, const char *key)
{
    if (map == NULL || map->kind != TREE_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->pairs[i].key->text, key) == 0)
            return map->pairs[i].value;
    return NULL;
}
