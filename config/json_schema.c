/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON Schema of the file, made by walking the schema's rows. Must not accept less than the
 * loader does, and as little more as JSON Schema can say. Owns nothing. Control thread.
 */
#include <stdbool.h>
#include <string.h>

#include "config/config.h"
#include "config/schema.h"
#include "config/tree.h"
#include "config/types.h"

/* A JSON document being written; `first` until the open object or array has something in it. */
struct json {
    FILE *out;
    int depth;
    bool first;
};

static void write_row(struct json *j, const struct schema_row *row);

static void json_line(struct json *j)
{
    if (!j->first)
        fputc(',', j->out);
    if (j->depth > 0)
        fprintf(j->out, "\n%*s", j->depth * 2, "");
    j->first = false;
}

static void json_quote(struct json *j, const char *text)
{
    fputc('"', j->out);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(j->out, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(j->out, "\\u%04x", *c);
        else
            fputc(*c, j->out);
    }
    fputc('"', j->out);
}

static void json_key(struct json *j, const char *key)
{
    json_line(j);
    json_quote(j, key);
    fputs(": ", j->out);
}

static void json_open(struct json *j, char bracket)
{
    fputc(bracket, j->out);
    j->depth++;
    j->first = true;
}

static void json_close(struct json *j, char bracket)
{
    j->depth--;
    if (!j->first)
        fprintf(j->out, "\n%*s", j->depth * 2, "");
    fputc(bracket, j->out);
    j->first = false;
}

static void json_string(struct json *j, const char *key, const char *value)
{
    json_key(j, key);
    json_quote(j, value);
}

static void json_number(struct json *j, const char *key, uint64_t value)
{
    json_key(j, key);
    fprintf(j->out, "%llu", (unsigned long long)value);
}

static void json_bool(struct json *j, const char *key, bool value)
{
    json_key(j, key);
    fputs(value ? "true" : "false", j->out);
}

/* An object in an array. */
static void json_item(struct json *j)
{
    json_line(j);
    json_open(j, '{');
}

/* What is behind a key: every node of a JSON Schema is an object. */
static void json_object(struct json *j, const char *key)
{
    json_key(j, key);
    json_open(j, '{');
}

static void write_choices(struct json *j, const struct schema_choice *choices)
{
    json_key(j, "enum");
    json_open(j, '[');
    for (const struct schema_choice *c = choices; c->name != NULL; c++) {
        if (c->later)
            continue;
        json_line(j);
        json_quote(j, c->name);
        /* Nobody is asked to put 1.2 in quotes. */
        if (tree_text_looks(c->name) == TREE_LOOKS_NUMBER) {
            json_line(j);
            fputs(c->name, j->out);
        }
    }
    json_close(j, ']');
}

static void write_scalar_type(struct json *j, const struct schema_row *row)
{
    const char *pattern = row->pattern ? row->pattern : row->type->pattern;
    if (row->choices != NULL) {
        write_choices(j, row->choices);
        return;
    }
    json_string(j, "type", row->type->json_type);
    if (pattern != NULL)
        json_string(j, "pattern", pattern);
    if (row->type->show != NULL && row->type->units == NULL) {
        json_number(j, "minimum", row->min);
        json_number(j, "maximum", row->max);
    }
}

/* The value itself, the word that may stand for it, or something that will be substituted. */
static void write_scalar(struct json *j, const struct schema_row *row)
{
    json_key(j, "anyOf");
    json_open(j, '[');
    json_item(j);
    write_scalar_type(j, row);
    json_close(j, '}');
    if (row->word != NULL) {
        json_item(j);
        json_string(j, "const", row->word);
        json_close(j, '}');
    }
    json_item(j);
    json_string(j, "$ref", "#/$defs/substitution");
    json_close(j, '}');
    json_close(j, ']');
}

static void write_required(struct json *j, const struct schema_table *t)
{
    bool any = false;
    for (size_t i = 0; i < t->row_count; i++) {
        if (!(t->rows[i].flags & ROW_REQUIRED))
            continue;
        if (!any) {
            json_key(j, "required");
            json_open(j, '[');
        }
        any = true;
        json_line(j);
        json_quote(j, t->rows[i].key);
    }
    if (any)
        json_close(j, ']');
}

/* {"required": ["key"]} for each of them. */
static void write_one_of(struct json *j, const struct schema_table *t)
{
    if (t->one_of == NULL)
        return;
    json_key(j, "oneOf");
    json_open(j, '[');
    for (const char *const *key = t->one_of; *key != NULL; key++) {
        json_item(j);
        json_key(j, "required");
        json_open(j, '[');
        json_line(j);
        json_quote(j, *key);
        json_close(j, ']');
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void write_mapping(struct json *j, const struct schema_table *t)
{
    json_string(j, "type", "object");
    json_object(j, "properties");
    for (size_t i = 0; i < t->row_count; i++) {
        json_object(j, t->rows[i].key);
        write_row(j, &t->rows[i]);
        json_close(j, '}');
    }
    json_close(j, '}');
    write_required(j, t);
    write_one_of(j, t);
    if (t->exactly_one) {
        json_number(j, "minProperties", 1);
        json_number(j, "maxProperties", 1);
    }
    json_bool(j, "additionalProperties", false);
}

static void write_table(struct json *j, const struct schema_table *t)
{
    const struct schema_row *brief = schema_short(t);
    if (brief == NULL) {
        write_mapping(j, t);
        return;
    }
    json_key(j, "anyOf");
    json_open(j, '[');
    json_item(j);
    write_mapping(j, t);
    json_close(j, '}');
    json_item(j);
    write_row(j, brief);
    json_close(j, '}');
    json_close(j, ']');
}

static void write_list_type(struct json *j, const struct schema_row *row)
{
    json_string(j, "type", "array");
    json_object(j, "items");
    write_row(j, row->items->elem);
    json_close(j, '}');
    json_number(j, "minItems", row->min);
}

static void write_map_type(struct json *j, const struct schema_row *row)
{
    json_string(j, "type", "object");
    json_object(j, "propertyNames");
    json_string(j, "pattern", row->items->name->pattern);
    json_close(j, '}');
    json_object(j, "additionalProperties");
    write_row(j, row->items->elem);
    json_close(j, '}');
    json_number(j, "minProperties", row->min);
}

/* A list or map, or one item or name alone. */
static void write_items(struct json *j, const struct schema_row *row)
{
    bool list = row->shape == SHAPE_LIST;
    void (*write_type)(struct json *, const struct schema_row *) =
        list ? write_list_type : write_map_type;
    if (!(row->flags & ROW_SINGLE)) {
        write_type(j, row);
        return;
    }
    json_key(j, "anyOf");
    json_open(j, '[');
    json_item(j);
    write_type(j, row);
    json_close(j, '}');
    json_item(j);
    write_row(j, list ? row->items->elem : row->items->name);
    json_close(j, '}');
    json_close(j, ']');
}

/* As it would stand in JSON: only numbers and booleans are without quotes. */
static void write_default(struct json *j, const struct schema_row *row)
{
    bool word = row->word != NULL && strcmp(row->word, row->dflt) == 0;
    if (strcmp(row->type->json_type, "string") == 0 || word)
        json_string(j, "default", row->dflt);
    else {
        json_key(j, "default");
        fputs(row->dflt, j->out);
    }
}

static void write_row(struct json *j, const struct schema_row *row)
{
    if (row->doc != NULL)
        json_string(j, "description", row->doc);
    if (row->dflt != NULL)
        write_default(j, row);
    if (row->flags & ROW_RESTART)
        json_string(j, "$comment", "A change takes effect when weir is started again.");
    switch (row->shape) {
    case SHAPE_SCALAR:
        write_scalar(j, row);
        break;
    case SHAPE_TABLE:
        write_table(j, row->table);
        break;
    case SHAPE_LIST:
    case SHAPE_MAP:
        write_items(j, row);
        break;
    }
}

void config_schema(FILE *out)
{
    struct json j = {.out = out, .first = true};
    json_open(&j, '{');
    json_string(&j, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_string(&j, "title", "weir");
    write_row(&j, &schema_root);
    json_object(&j, "$defs");
    json_object(&j, "substitution");
    json_string(&j, "description", "${NAME}, ${NAME:-default} or ${file:/path}; $$ is one dollar.");
    json_string(&j, "type", "string");
    json_string(&j, "pattern", "\\$\\{[^}]+\\}");
    json_close(&j, '}');
    json_close(&j, '}');
    json_close(&j, '}');
    fputc('\n', out);
}
