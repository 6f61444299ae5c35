/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding by shape. Must never stop at the first error, and must never report one mistake twice: a
 * key that was misspelt is not missing too. Recursion is as deep as the schema. Control thread.
 */
#include "config/bind.h"

#include <stdlib.h>
#include <string.h>

#include "config/errors.h"
#include "config/mem.h"
#include "config/schema.h"
#include "config/subst.h"
#include "config/types.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

/* The values of one mapping, by row. */
struct keys {
    const struct tree_node *values[SCHEMA_MAX_ROWS];
    bool meant[SCHEMA_MAX_ROWS]; /* a misspelt key stood for it */
    bool later;                  /* there is a key of a later version, which may replace others */
    size_t given;
};

static bool bind_row(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                     void *obj);

static bool bind_keyed(struct bind *b, const char *key, const struct schema_row *row,
                       const struct tree_node *node, void *obj)
{
    struct bind_path step = {b->path, key, 0};
    b->path = &step;
    bool ok = bind_row(b, row, node, obj);
    b->path = step.up;
    return ok;
}

static void error_at_key(struct bind *b, const struct tree_node *key, const char *message)
{
    struct bind_path step = {b->path, key->text, 0};
    b->path = &step;
    bind_error(b, key->pos, "%s", message);
    b->path = step.up;
}

static int pair_compare(const void *a, const void *b)
{
    const struct tree_pair *x = *(const struct tree_pair *const *)a;
    const struct tree_pair *y = *(const struct tree_pair *const *)b;
    int order = strcmp(x->key->text, y->key->text);
    return order != 0 ? order : (x > y) - (x < y);
}

/* Sorted, so that the cost of a huge mapping stays small. */
static bool bind_duplicates(struct bind *b, const struct tree_node *map)
{
    bool ok = true;
    const struct tree_pair **sorted = mem_need(calloc(map->count + 1, sizeof(*sorted)));
    for (size_t i = 0; i < map->count; i++)
        sorted[i] = &map->pairs[i];
    qsort(sorted, map->count, sizeof(struct tree_pair *), pair_compare);
    const struct tree_pair *first = sorted[0];
    for (size_t i = 1; i < map->count; i++) {
        if (strcmp(first->key->text, sorted[i]->key->text) != 0) {
            first = sorted[i];
            continue;
        }
        ok = false;
        error_at_key(b, sorted[i]->key,
                     config_mem_printf(b->scratch,
                                       "duplicate key, first given at line %u; remove one",
                                       first->key->pos.line));
    }
    free(sorted);
    return ok;
}

static bool is_later(const struct schema_table *t, const char *key)
{
    for (const char *const *later = t->later; later != NULL && *later != NULL; later++)
        if (strcmp(*later, key) == 0)
            return true;
    return false;
}

static const char *known_keys(struct bind *b, const struct schema_table *t)
{
    const char *list = "";
    for (size_t i = 0; i < t->row_count; i++)
        list = config_mem_printf(b->scratch, "%s%s%s", list, i ? ", " : "", t->rows[i].key);
    return list;
}

static void unknown_key(struct bind *b, const struct schema_table *t, const struct tree_node *key,
                        struct keys *keys)
{
    if (is_later(t, key->text)) {
        keys->later = true;
        error_at_key(b, key, "not supported by this version of weir");
        return;
    }
    struct suggest s;
    suggest_init(&s, key->text);
    for (size_t i = 0; i < t->row_count; i++)
        suggest_offer(&s, t->rows[i].key);
    for (size_t i = 0; i < t->row_count; i++)
        keys->meant[i] |= s.best == t->rows[i].key;
    if (config_errors_full(b->errs))
        b->errs->errors++;
    else if (strcmp(key->text, "<<") == 0)
        error_at_key(b, key, "merge keys are not supported; write the keys out");
    else if (s.best != NULL)
        error_at_key(b, key,
                     config_mem_printf(b->scratch, "unknown key%s", bind_suggestion(b, &s)));
    else
        error_at_key(
            b, key,
            config_mem_printf(b->scratch, "unknown key; the keys here are %s", known_keys(b, t)));
}

static bool sort_keys(struct bind *b, const struct schema_table *t, const struct tree_node *map,
                      struct keys *keys)
{
    bool ok = bind_duplicates(b, map);
    for (size_t i = 0; i < map->count; i++) {
        const struct schema_row *row = schema_find(t, map->pairs[i].key->text);
        if (row == NULL) {
            unknown_key(b, t, map->pairs[i].key, keys);
            ok = false;
        } else {
            size_t at = (size_t)(row - t->rows);
            keys->given += keys->values[at] == NULL;
            if (keys->values[at] == NULL)
                keys->values[at] = map->pairs[i].value;
        }
    }
    return ok;
}

static bool check_exactly_one(struct bind *b, const struct schema_table *t,
                              const struct tree_node *node, const struct keys *keys)
{
    if (!t->exactly_one || node == NULL || keys->given == 1 || (keys->given == 0 && keys->later))
        return true;
    bind_error(b, node->pos, "expected exactly one of the keys %s", known_keys(b, t));
    return false;
}

static bool check_one_of(struct bind *b, const struct schema_table *t, const struct keys *keys)
{
    size_t given = 0;
    const char *list = "";
    for (const char *const *key = t->one_of; key != NULL && *key != NULL; key++) {
        size_t at = (size_t)(schema_find(t, *key) - t->rows);
        given += keys->values[at] != NULL || keys->meant[at];
        list = config_mem_printf(b->scratch, "%s%s%s", list, key != t->one_of ? ", " : "", *key);
    }
    if (t->one_of == NULL || given == 1 || (given == 0 && keys->later))
        return true;
    bind_error(b, b->pos, "expected exactly one of the keys %s", list);
    return false;
}

/* Whether a row's key is there if it has to be, and not there if it cannot be. */
static bool check_presence(struct bind *b, const struct schema_row *row, const struct keys *keys,
                           size_t i, const void *obj)
{
    if (keys->values[i] == NULL && (row->flags & ROW_REQUIRED)) {
        if (!keys->meant[i] && !keys->later)
            bind_error(b, b->pos, "the key \"%s\" is missing: %s", row->key, row->doc);
        return false;
    }
    if (keys->values[i] != NULL && row->applies != NULL && !row->applies(obj)) {
        struct bind_path step = {b->path, row->key, 0};
        b->path = &step;
        bind_error(b, keys->values[i]->pos, "only for %s", row->applies_to);
        b->path = step.up;
        return false;
    }
    return true;
}

static bool bind_rows(struct bind *b, const struct schema_table *t, const struct keys *keys,
                      void *obj)
{
    bool ok = true;
    for (size_t i = 0; i < t->row_count; i++) {
        const struct schema_row *row = &t->rows[i];
        /* After a mistake, whether a row applies cannot be told. */
        if (row->applies != NULL && !ok)
            continue;
        ok &= check_presence(b, row, keys, i, obj) &&
              bind_keyed(b, row->key, row, keys->values[i], obj);
    }
    return ok;
}

/* Whether a word in place of a table is one of its keys, and none that can stand alone. */
static bool lacks_value(const struct schema_table *t, const struct schema_row *brief,
                        const struct tree_node *node)
{
    if (node->kind != TREE_SCALAR || brief->choices == NULL)
        return false;
    for (const struct schema_choice *c = brief->choices; c->name != NULL; c++)
        if (strcmp(c->name, node->text) == 0)
            return false;
    for (size_t i = 0; i < t->row_count; i++)
        if (strcmp(t->rows[i].key, node->text) == 0)
            return true;
    return false;
}

/* The keys of a value that is no mapping: it is the value of the short form's key. */
static bool short_keys(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       struct keys *keys)
{
    const struct schema_table *t = row->table;
    const struct schema_row *brief = schema_short(t);
    bool list = brief != NULL && brief->shape == SHAPE_LIST;
    bool ok = brief != NULL && (list ? node->kind == TREE_LIST || (brief->flags & ROW_SINGLE)
                                     : node->kind == TREE_SCALAR);
    if (!ok) {
        bind_error(b, node->pos, "expected %s; found %s", t->expected, bind_found(b, node));
        return false;
    }
    if (lacks_value(t, brief, node)) {
        bind_error(b, node->pos, "%s needs a value; expected %s", bind_quote(b, node->text),
                   t->expected);
        return false;
    }
    keys->values[brief - t->rows] = node;
    keys->given = 1;
    return true;
}

/* As bind_rows, but the short form's own value has no key of its own in the path. */
static bool bind_short_rows(struct bind *b, const struct schema_table *t, const struct keys *keys,
                            void *obj)
{
    const struct schema_row *brief = schema_short(t);
    bool ok = bind_row(b, brief, keys->values[brief - t->rows], obj);
    for (size_t i = 0; i < t->row_count; i++)
        if (&t->rows[i] != brief)
            ok &= bind_keyed(b, t->rows[i].key, &t->rows[i], NULL, obj);
    return ok;
}

static bool bind_table(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *obj)
{
    const struct schema_table *t = row->table;
    struct keys keys = {0};
    struct config_pos outer = b->pos;
    bool ok = true, brief = node != NULL && node->kind != TREE_MAP;
    CHECK(t->row_count <= SCHEMA_MAX_ROWS);
    if (brief && !short_keys(b, row, node, &keys))
        return false;
    if (node != NULL)
        b->pos = node->pos;
    if (t->own)
        *(struct config_pos *)obj = b->pos;
    if (brief) {
        ok = bind_short_rows(b, t, &keys, obj);
    } else {
        if (node != NULL)
            ok = sort_keys(b, t, node, &keys);
        ok &= check_exactly_one(b, t, node, &keys);
        ok &= check_one_of(b, t, &keys);
        ok &= bind_rows(b, t, &keys, obj);
    }
    if (ok && t->check != NULL)
        t->check(b, node, obj);
    b->pos = outer;
    return ok;
}

static bool bind_scalar(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                        void *field)
{
    if (node != NULL) {
        struct tree_node value;
        if (node->kind != TREE_SCALAR) {
            type_mismatch(b, row, node);
            return false;
        }
        if (b->verbatim)
            return row->type->parse(b, row, node, field);
        return subst_scalar(b, node, &value) && row->type->parse(b, row, &value, field);
    }
    if (row->inherit_from != NULL) {
        memcpy(field, (const char *)b->cfg + row->inherit, sizeof(uint64_t));
    } else if (row->dflt != NULL) {
        struct tree_node value = {
            .kind = TREE_SCALAR, .pos = b->pos, .text = row->dflt, .plain = true, .typeless = true};
        CHECK(row->type->parse(b, row, &value, field));
    }
    return true;
}

struct alike {
    const char *text;
    size_t index;
};

static int alike_compare(const void *a, const void *b)
{
    const struct alike *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static void report_alike(struct bind *b, const struct schema_items *s, const char *items,
                         const struct alike *one)
{
    struct config_pos pos =
        *(const struct config_pos *)(const void *)(items + one->index * s->size);
    if (s->alike_is_warning)
        bind_warn(b, pos, "%s %s", bind_quote(b, one->text), s->unique);
    else
        bind_error(b, pos, "%s %s", bind_quote(b, one->text), s->unique);
}

static void check_unique(struct bind *b, const struct schema_items *s, const char *items,
                         size_t count)
{
    if (s->unique == NULL)
        return;
    struct alike *all = mem_need(calloc(count + 1, sizeof(*all)));
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(&all[known].text, items + i * s->size + s->unique_offset, sizeof(const char *));
        all[known].index = i;
        known += all[known].text != NULL; /* a wrong item may have none */
    }
    qsort(all, known, sizeof(*all), alike_compare);
    for (size_t i = 1; i < known; i++)
        if (strcmp(all[i - 1].text, all[i].text) == 0)
            report_alike(b, s, items, &all[i]);
    free(all);
}

static char *items_new(struct bind *b, const struct schema_row *row, void *obj, size_t count)
{
    char *items = config_mem_alloc(b->mem, count, row->items->size);
    memcpy((char *)obj + row->offset, &items, sizeof(items));
    memcpy((char *)obj + row->count_offset, &count, sizeof(count));
    return items;
}

static bool check_count(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                        size_t count)
{
    if (count >= row->min)
        return true;
    bind_error(b, node->pos, "expected at least %s", row->items->what);
    return false;
}

static bool bind_item(struct bind *b, const struct schema_row *elem, const struct tree_node *node,
                      char *item, size_t index)
{
    struct bind_path step = {b->path, NULL, index};
    size_t outer = b->index;
    b->path = &step;
    b->index = index;
    *(struct config_pos *)(void *)item = node->pos;
    bool ok = bind_row(b, elem, node, item);
    b->path = step.up;
    b->index = outer;
    return ok;
}

static bool bind_list(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                      void *obj)
{
    const struct schema_items *s = row->items;
    if (node == NULL)
        return true;
    if ((row->flags & ROW_SINGLE) &&
        (node->kind == TREE_SCALAR || (node->kind == TREE_MAP && s->elem->shape == SHAPE_TABLE))) {
        char *item = items_new(b, row, obj, 1);
        *(struct config_pos *)(void *)item = node->pos;
        return bind_row(b, s->elem, node, item);
    }
    if (node->kind != TREE_LIST) {
        type_mismatch(b, row, node);
        return false;
    }
    bool ok = check_count(b, row, node, node->count);
    char *items = items_new(b, row, obj, node->count);
    for (size_t i = 0; i < node->count; i++)
        ok &= bind_item(b, s->elem, node->items[i], items + i * s->size, i);
    check_unique(b, s, items, node->count);
    return ok;
}

/* One key and its value; value NULL: the default. */
static bool bind_entry(struct bind *b, const struct schema_items *s, const struct tree_node *key,
                       const struct tree_node *value, char *item)
{
    struct tree_node name = *key;
    name.typeless = true; /* keys are always text */
    *(struct config_pos *)(void *)item = key->pos;
    struct bind_path step = {b->path, key->text, 0};
    b->path = &step;
    bool ok = s->name->type->parse(b, s->name, &name, schema_field(s->name, item));
    ok &= bind_row(b, s->elem, value, item);
    b->path = step.up;
    /* The row's own position is that of the value; the name is what one looks for. */
    *(struct config_pos *)(void *)item = key->pos;
    return ok;
}

/* `to: name`: the value is the only name. */
static bool bind_single_name(struct bind *b, const struct schema_row *row,
                             const struct tree_node *node, void *obj)
{
    char *item = items_new(b, row, obj, 1);
    const struct schema_items *s = row->items;
    *(struct config_pos *)(void *)item = node->pos;
    bool ok = bind_row(b, s->name, node, item);
    return bind_row(b, s->elem, NULL, item) && ok;
}

static bool bind_map(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                     void *obj)
{
    const struct schema_items *s = row->items;
    if (node == NULL)
        return true;
    if (node->kind == TREE_SCALAR && (row->flags & ROW_SINGLE))
        return bind_single_name(b, row, node, obj);
    if (node->kind != TREE_MAP) {
        type_mismatch(b, row, node);
        return false;
    }
    bool ok = check_count(b, row, node, node->count);
    ok &= bind_duplicates(b, node);
    char *items = items_new(b, row, obj, node->count);
    for (size_t i = 0; i < node->count; i++)
        ok &= bind_entry(b, s, node->pairs[i].key, node->pairs[i].value, items + i * s->size);
    if (ok)
        check_unique(b, s, items, node->count);
    return ok;
}

static bool bind_row(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                     void *obj)
{
    switch (row->shape) {
    case SHAPE_SCALAR:
        return bind_scalar(b, row, node, schema_field(row, obj));
    case SHAPE_LIST:
        return bind_list(b, row, node, obj);
    case SHAPE_MAP:
        return bind_map(b, row, node, obj);
    case SHAPE_TABLE:
        break;
    }
    if (row->flags & ROW_SWITCH) {
        if (node == NULL)
            return true;
        *(bool *)((char *)obj + row->present_offset) = true;
    }
    return bind_table(b, row, node, schema_field(row, obj));
}

bool bind_object(struct bind *b, const struct schema_row *row, const struct tree_node *root,
                 void *obj)
{
    return bind_row(b, row, root, obj);
}

void bind_document(struct bind *b, const struct tree_node *root)
{
    bind_row(b, &schema_root, root, b->cfg);
}

struct config_pos bind_pos_of(const struct tree_node *map, const char *key, struct config_pos none)
{
    const struct tree_node *value = tree_get(map, key);
    return value != NULL ? value->pos : none;
}

/* The array doubles; what it was before stays in the arena. */
void bind_note_file(struct bind *b, struct config_pos pos, const char *path)
{
    struct config *cfg = b->cfg;
    if ((cfg->file_count & (cfg->file_count - 1)) == 0) {
        size_t room = cfg->file_count > 0 ? 2 * cfg->file_count : 1;
        struct config_str *more = config_mem_alloc(b->mem, room, sizeof(*more));
        if (cfg->file_count > 0)
            memcpy(more, cfg->files, cfg->file_count * sizeof(*more));
        cfg->files = more;
    }
    cfg->files[cfg->file_count++] =
        (struct config_str){pos, config_mem_dup(b->mem, path, strlen(path))};
}
