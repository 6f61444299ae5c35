/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a configuration as YAML, walking the schema's rows. Must write every value that was set or
 * has a default, in a form that loads to the same again. Tells by the same walk whether two say the
 * same. Owns nothing. Control thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "balancer/hash.h"
#include "config/config.h"
#include "config/emit.h"
#include "config/mem.h"
#include "config/schema.h"
#include "config/tree.h"
#include "proxy/base/check.h"

#define INDENT 2

static void dump_row(FILE *out, const struct schema_row *row, const void *obj, int indent);

/* The code point at *s, which is valid UTF-8; moves *s behind it. */
static uint32_t next_code(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    size_t more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
    uint32_t code = more == 0 ? p[0] : p[0] & (0x3fu >> more);
    size_t i = 1;
    for (; i <= more && (p[i] & 0xc0) == 0x80; i++)
        code = code << 6 | (p[i] & 0x3fu);
    *s += i;
    return code;
}

/* Controls, line separators and what a YAML reader refuses have to be written as an escape. */
static bool needs_escape(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
           code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static void emit_quoted(FILE *out, const char *text, bool double_dollar)
{
    fputc('"', out);
    while (*text != '\0') {
        const char *from = text;
        uint32_t code = next_code(&text);
        if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (int)code);
        else if (code == '$' && double_dollar)
            fputs("$$", out);
        else if (needs_escape(code))
            fprintf(out, "\\u%04X", (unsigned)code);
        else
            fwrite(from, 1, (size_t)(text - from), out);
    }
    fputc('"', out);
}

/* A letter or slash, then letters, digits and marks that mean nothing in YAML. "y" is a boolean to
 * some. */
static bool is_bare(const char *text)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/";
    static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    return *text != '\0' && strchr(first, *text) != NULL && text[strspn(text, more)] == '\0' &&
           strlen(text) > 1 && tree_text_looks(text) == TREE_LOOKS_STRING;
}

void emit_text(FILE *out, const char *text)
{
    if (is_bare(text))
        fputs(text, out);
    else
        emit_quoted(out, text, true);
}

void emit_key(FILE *out, const char *text)
{
    if (is_bare(text))
        fputs(text, out);
    else
        emit_quoted(out, text, false);
}

/* The keys of a table; the first one continues the line if it is behind a dash. */
static void dump_table(FILE *out, const struct schema_table *t, const void *obj, int indent,
                       bool behind_dash)
{
    for (size_t i = 0; i < t->row_count; i++) {
        const struct schema_row *row = &t->rows[i];
        if (!schema_is_set(row, obj))
            continue;
        fprintf(out, "%*s", behind_dash ? 0 : indent, "");
        behind_dash = false;
        emit_key(out, row->key);
        fputc(':', out);
        dump_row(out, row, obj, indent);
    }
}

static void dump_list(FILE *out, const struct schema_row *row, const void *obj, int indent)
{
    const struct schema_row *elem = row->items->elem;
    size_t count;
    const char *items = schema_items_of(row, obj, &count);
    fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        const void *item = items + i * row->items->size;
        fprintf(out, "%*s-", indent + INDENT, "");
        if (elem->shape == SHAPE_TABLE) {
            fputc(' ', out);
            dump_table(out, elem->table, schema_field(elem, item), indent + 2 * INDENT, true);
        } else {
            dump_row(out, elem, item, indent + INDENT);
        }
    }
}

static void dump_map(FILE *out, const struct schema_row *row, const void *obj, int indent)
{
    const struct schema_items *s = row->items;
    size_t count;
    const char *items = schema_items_of(row, obj, &count);
    fputc('\n', out);
    for (size_t i = 0; i < count; i++) {
        const void *item = items + i * s->size;
        const char *name;
        memcpy(&name, schema_field(s->name, item), sizeof(name));
        fprintf(out, "%*s", indent + INDENT, "");
        emit_key(out, name);
        fputc(':', out);
        dump_row(out, s->elem, item, indent + INDENT);
    }
}

/* What follows the key's colon or the item's dash, which stands at `indent`. */
static void dump_row(FILE *out, const struct schema_row *row, const void *obj, int indent)
{
    switch (row->shape) {
    case SHAPE_SCALAR:
        fputc(' ', out);
        row->type->print(row, schema_field(row, obj), out);
        fputc('\n', out);
        break;
    case SHAPE_TABLE:
        fputc('\n', out);
        dump_table(out, row->table, schema_field(row, obj), indent + INDENT, false);
        break;
    case SHAPE_LIST:
        dump_list(out, row, obj, indent);
        break;
    case SHAPE_MAP:
        dump_map(out, row, obj, indent);
        break;
    }
}

void config_dump(const struct config *cfg, FILE *out)
{
    dump_table(out, schema_root.table, cfg, 0, false);
}

void emit_row(FILE *out, const struct schema_row *row, const void *obj)
{
    dump_table(out, row->table, schema_field(row, obj), 0, false);
}

/* ---- hashes: of what would be dumped ---- */

uint64_t emit_hash(const struct schema_row *row, const void *obj)
{
    struct config_mem *mem = config_mem_new();
    struct config_text text;
    config_text_open(&text, mem);
    if (schema_is_set(row, obj))
        dump_row(text.out, row, obj, 0);
    const char *dumped = config_text_close(&text);
    uint64_t hash = lb_hash(dumped, text.len);
    config_mem_free(mem);
    return hash;
}

/* Of the root. */
static const struct schema_row *row_of(const char *key)
{
    const struct schema_row *row = schema_find(schema_root.table, key);
    CHECK(row != NULL);
    return row;
}

uint64_t config_listener_hash(const struct config *cfg, size_t listener)
{
    CHECK(listener < cfg->listener_count);
    return emit_hash(row_of("listeners")->items->elem, &cfg->listeners[listener]);
}

uint64_t config_pool_hash(const struct config *cfg, size_t pool)
{
    CHECK(pool < cfg->pool_count);
    return emit_hash(row_of("pools")->items->elem, &cfg->pools[pool]);
}

uint64_t config_pool_source_hash(const struct config_pool *pool)
{
    const struct schema_table *t = row_of("pools")->items->elem->table;
    static const char *const sources[] = {"dns", "etcd", "file", "kubernetes"};
    uint64_t hash = pool->registry.enabled; /* how many may come asks for no other */
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++)
        hash = lb_hash_pair(hash, emit_hash(schema_find(t, sources[i]), pool));
    return hash;
}

uint64_t config_route_hash(const struct config *cfg, size_t route)
{
    CHECK(route < cfg->route_count);
    return emit_hash(row_of("routes")->items->elem, &cfg->routes[route]);
}

uint64_t config_endpoint_hash(const struct config_endpoint *endpoint)
{
    const struct schema_table *rows = row_of("pools")->items->elem->table;
    return emit_hash(schema_find(rows, "endpoints")->items->elem, endpoint);
}

uint64_t config_conns_hash(const struct config *cfg, size_t pool)
{
    static const char *const parts[] = {"protocol", "tls", "proxy_protocol"};
    const struct schema_table *rows = row_of("pools")->items->elem->table;
    const struct schema_row *upstream = schema_find(rows, "upstream");
    CHECK(pool < cfg->pool_count && upstream != NULL);
    uint64_t hash = emit_hash(row_of("limits"), cfg);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        hash = lb_hash_pair(hash, emit_hash(schema_find(upstream->table, parts[i]),
                                            schema_field(upstream, &cfg->pools[pool])));
    return hash;
}

uint64_t config_common_hash(const struct config *cfg)
{
    static const char *const parts[] = {"zone", "instance", "limits", "timeouts"};
    uint64_t hash = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        hash = lb_hash_pair(hash, emit_hash(row_of(parts[i]), cfg));
    return hash;
}

/* A table's own keys may have the flag, too. */
static bool differs(const struct schema_row *row, const void *a, const void *b)
{
    if (row->flags & ROW_RESTART)
        return emit_hash(row, a) != emit_hash(row, b);
    if (row->shape != SHAPE_TABLE)
        return false;
    const struct schema_table *t = row->table;
    const void *in_a = schema_field(row, a), *in_b = schema_field(row, b);
    for (size_t i = 0; i < t->row_count; i++)
        if (differs(&t->rows[i], in_a, in_b))
            return true;
    return false;
}

void config_settings_differ(const struct config *cfg, const struct config *other,
                            void (*told)(void *ctx, const char *key, bool restart), void *ctx)
{
    const struct schema_table *root = schema_root.table;
    for (size_t i = 0; i < root->row_count; i++) {
        const struct schema_row *row = &root->rows[i];
        bool listed = strcmp(row->key, "listeners") == 0 || strcmp(row->key, "routes") == 0 ||
                      strcmp(row->key, "pools") == 0;
        if (!listed && emit_hash(row, cfg) != emit_hash(row, other))
            told(ctx, row->key, differs(row, cfg, other));
    }
}

const char *config_restart_key(const struct config *cfg, const struct config *other)
{
    const struct schema_table *root = schema_root.table;
    for (size_t i = 0; i < root->row_count; i++)
        if (differs(&root->rows[i], cfg, other))
            return root->rows[i].key;
    return NULL;
}
