/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalars that are numbers, booleans, words or plain text. A field is written only when its value
 * is right. Owns nothing; texts are copied into the configuration's memory. Control thread.
 */
#include "config/types.h"

#include <stdlib.h>
#include <string.h>

#include "config/bind.h"
#include "config/emit.h"
#include "config/mem.h"
#include "config/suggest.h"
#include "config/tree.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

static const struct schema_unit duration_units[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {0},
};

/* Binary ones first, so that 1024000 is 1000KiB and not 1024KB. */
static const struct schema_unit size_units[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1000000000},
    {"MB", 1000000},  {"KB", 1000},     {"B", 1},         {0},
};

static const struct schema_unit percent_units[] = {{"%", 1}, {0}};
static const struct schema_unit rate_units[] = {{"/s", 1}, {0}};

const char *type_expected(const struct schema_row *row)
{
    if (row->shape == SHAPE_LIST)
        return row->flags & ROW_SINGLE ? "a list, or one item alone" : "a list";
    if (row->shape == SHAPE_MAP)
        return row->flags & ROW_SINGLE ? "a mapping, or one name alone" : "a mapping";
    return row->expected != NULL ? row->expected : row->type->expected;
}

void type_mismatch(struct bind *b, const struct schema_row *row, const struct tree_node *node)
{
    bind_error(b, node->pos, "expected %s%s%s; found %s", type_expected(row),
               row->word ? ", or " : "", row->word ? row->word : "", bind_found(b, node));
}

bool type_text(struct bind *b, const struct schema_row *row, const struct tree_node *node,
               const char **text)
{
    enum tree_looks looks = node->typeless ? TREE_LOOKS_STRING : tree_looks(node);
    *text = node->text;
    if (looks == TREE_LOOKS_STRING)
        return true;
    if (looks == TREE_LOOKS_NULL || !row->type->any_text)
        type_mismatch(b, row, node);
    else
        bind_error(b, node->pos,
                   "expected %s; found %s; to mean the text, write it in quotes: \"%.60s\"",
                   type_expected(row), bind_found(b, node), node->text);
    return false;
}

/* Numbers. */

/* "m, s or ms" */
static const char *unit_list(struct bind *b, const struct schema_unit *units)
{
    size_t count = 0;
    while (units[count].name != NULL)
        count++;
    const char *list = units[--count].name;
    while (count-- > 0) {
        bool last = units[count + 1].name != NULL && count == 0;
        list =
            config_mem_printf(b->scratch, "%s%s%s", list, last ? " or " : ", ", units[count].name);
    }
    return list;
}

static void show_number(const struct schema_type *type, uint64_t value, FILE *out)
{
    const struct schema_unit *u = type->units;
    while (u != NULL && u[1].name != NULL && (value == 0 || value % u->factor != 0))
        u++;
    fprintf(out, "%llu%s", (unsigned long long)(u ? value / u->factor : value), u ? u->name : "");
}

static const char *number_text(struct bind *b, const struct schema_type *type, uint64_t value)
{
    char buf[64];
    FILE *out = mem_need(fmemopen(buf, sizeof(buf), "w"));
    type->show(type, value, out);
    fclose(out);
    return config_mem_dup(b->scratch, buf, strlen(buf));
}

static bool out_of_range(struct bind *b, const struct schema_row *row, const struct tree_node *node)
{
    const char *range = number_text(b, row->type, row->min);
    if (row->max > row->min)
        range =
            config_mem_printf(b->scratch, "%s to %s", range, number_text(b, row->type, row->max));
    bind_error(b, node->pos, "%.60s is out of range; expected %s%s%s", node->text, range,
               row->word ? ", or " : "", row->word ? row->word : "");
    return false;
}

/* UINT64_MAX, which no range reaches, if it is larger than that. */
static uint64_t saturating(uint64_t a, uint64_t times, uint64_t plus)
{
    uint64_t value;
    if (__builtin_mul_overflow(a, times, &value) || __builtin_add_overflow(value, plus, &value))
        return UINT64_MAX;
    return value;
}

static bool find_unit(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                      const char *unit, uint64_t *factor)
{
    const struct schema_unit *units = row->type->units;
    for (const struct schema_unit *u = units; u->name != NULL; u++)
        if (strcmp(u->name, unit) == 0) {
            *factor = u->factor;
            return true;
        }
    const char *known = unit_list(b, units);
    if (*unit == '\0')
        bind_error(b, node->pos, "the number %.30s needs a unit: %s; expected %s", node->text,
                   known, type_expected(row));
    else if (*unit == '.')
        bind_error(b, node->pos, "%s is not a whole number; use a smaller unit (%s)",
                   bind_quote(b, node->text), known);
    else
        bind_error(b, node->pos, "unknown unit in %s; the units are %s", bind_quote(b, node->text),
                   known);
    return false;
}

static bool read_number(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                        uint64_t *value)
{
    const char *s = node->text;
    uint64_t number = 0, factor = 1;
    for (; *s >= '0' && *s <= '9'; s++)
        number = saturating(number, 10, (uint64_t)(*s - '0'));
    bool digits = s != node->text, units = row->type->units != NULL;
    bool negative = node->text[0] == '-' && tree_text_looks(node->text) == TREE_LOOKS_NUMBER;
    if (negative && !units)
        return out_of_range(b, row, node);
    if (!digits || (!units && (*s != '\0' || !(node->plain || node->typeless)))) {
        type_mismatch(b, row, node);
        return false;
    }
    if (units && !find_unit(b, row, node, s, &factor))
        return false;
    *value = saturating(number, factor, 0);
    return (*value >= row->min && *value <= row->max) || out_of_range(b, row, node);
}

static bool parse_number(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                         uint64_t *value)
{
    if (row->word != NULL && strcmp(node->text, row->word) == 0) {
        *value = row->word_value;
        return true;
    }
    return read_number(b, row, node, value);
}

static bool parse_wide(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    return parse_number(b, row, node, field);
}

static bool parse_int(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                      void *field)
{
    uint64_t value;
    if (!parse_number(b, row, node, &value))
        return false;
    *(uint32_t *)field = (uint32_t)value;
    return true;
}

static void print_number(const struct schema_row *row, uint64_t value, FILE *out)
{
    if (row->word != NULL && value == row->word_value)
        fputs(row->word, out);
    else
        row->type->show(row->type, value, out);
}

static void print_wide(const struct schema_row *row, const void *field, FILE *out)
{
    print_number(row, *(const uint64_t *)field, out);
}

static void print_int(const struct schema_row *row, const void *field, FILE *out)
{
    print_number(row, *(const uint32_t *)field, out);
}

const struct schema_type type_int = {
    .name = "integer",
    .expected = "a whole number",
    .json_type = "integer",
    .parse = parse_int,
    .print = print_int,
    .show = show_number,
};

const struct schema_type type_percent = {
    .name = "percentage",
    .expected = "a percentage such as 125%",
    .json_type = "string",
    .pattern = "^[0-9]+%$",
    .units = percent_units,
    .parse = parse_int,
    .print = print_int,
    .show = show_number,
};

const struct schema_type type_rate = {
    .name = "rate",
    .expected = "a rate such as 10/s",
    .json_type = "string",
    .pattern = "^[0-9]+/s$",
    .units = rate_units,
    .parse = parse_int,
    .print = print_int,
    .show = show_number,
};

const struct schema_type type_duration = {
    .name = "duration",
    .expected = "a duration such as 500ms, 10s or 5m",
    .json_type = "string",
    .pattern = "^[0-9]+(h|m|s|ms)$",
    .units = duration_units,
    .parse = parse_wide,
    .print = print_wide,
    .show = show_number,
};

const struct schema_type type_size = {
    .name = "size",
    .expected = "a size such as 512B, 64KiB or 10MB",
    .json_type = "string",
    .pattern = "^[0-9]+([KMG]i?)?B$",
    .units = size_units,
    .parse = parse_wide,
    .print = print_wide,
    .show = show_number,
};

/* Percentages with up to four decimals. */

static void show_share(const struct schema_type *type, uint64_t value, FILE *out)
{
    char text[32];
    (void)type;
    int len = snprintf(text, sizeof(text), "%llu.%04u", (unsigned long long)(value / 10000),
                       (unsigned)(value % 10000));
    while (text[len - 1] == '0')
        len--;
    fprintf(out, "%.*s%%", text[len - 1] == '.' ? len - 1 : len, text);
}

static bool parse_share(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                        void *field)
{
    const char *s = node->text;
    uint64_t value = 0;
    unsigned decimals = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        value = saturating(value, 10, (uint64_t)(*s - '0'));
    bool digits = s != node->text;
    if (digits && *s == '.')
        for (s++; *s >= '0' && *s <= '9' && decimals < 4; s++, decimals++)
            value = saturating(value, 10, (uint64_t)(*s - '0'));
    if (!digits || s[-1] == '.' || strcmp(s, "%") != 0) {
        type_mismatch(b, row, node);
        return false;
    }
    for (; decimals < 4; decimals++)
        value = saturating(value, 10, 0);
    if (value < row->min || value > row->max)
        return out_of_range(b, row, node);
    *(uint32_t *)field = (uint32_t)value;
    return true;
}

const struct schema_type type_share = {
    .name = "percentage",
    .expected = "a percentage such as 10% or 0.5%",
    .json_type = "string",
    .pattern = "^[0-9]+(\\.[0-9]{1,4})?%$",
    .parse = parse_share,
    .print = print_int,
    .show = show_share,
};

/* Booleans. */

static bool parse_bool(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    bool bare = node->plain || node->typeless;
    if (bare && (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)) {
        *(bool *)field = node->text[0] == 't';
        return true;
    }
    if (bare && tree_text_looks(node->text) == TREE_LOOKS_OLD_BOOL)
        bind_error(b, node->pos,
                   "expected true or false; found %s; yes, no, on and off are not used",
                   node->text);
    else
        type_mismatch(b, row, node);
    return false;
}

static void print_bool(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fputs(*(const bool *)field ? "true" : "false", out);
}

const struct schema_type type_bool = {
    .name = "boolean",
    .expected = "true or false",
    .json_type = "boolean",
    .parse = parse_bool,
    .print = print_bool,
};

/* Text. */

static bool parse_string(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                         void *field)
{
    const char *text;
    if (!type_text(b, row, node, &text))
        return false;
    if (row->accept != NULL && !row->accept(b, node, &text))
        return false;
    *(const char **)field = config_mem_dup(b->mem, text, strlen(text));
    return true;
}

static void print_string(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    emit_text(out, *(const char *const *)field);
}

static bool string_is_set(const void *field)
{
    return *(const char *const *)field != NULL;
}

const struct schema_type type_string = {
    .name = "string",
    .any_text = true,
    .expected = "a string",
    .json_type = "string",
    .parse = parse_string,
    .print = print_string,
    .is_set = string_is_set,
};

/* Files and directories, by name. */

static bool parse_file(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    struct config_str *file = field;
    const char *text;
    if (!type_text(b, row, node, &text) || !grammar_file(b, node, &text))
        return false;
    file->pos = node->pos;
    file->text = config_mem_dup(b->mem, text, strlen(text));
    return true;
}

static void print_file(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    emit_text(out, ((const struct config_str *)field)->text);
}

static bool file_is_set(const void *field)
{
    return ((const struct config_str *)field)->text != NULL;
}

const struct schema_type type_file = {
    .name = "file",
    .any_text = true,
    .expected = "the path of a file",
    .json_type = "string",
    .pattern = "^.",
    .parse = parse_file,
    .print = print_file,
    .is_set = file_is_set,
};

/* Words of a set. */

/* The words themselves, unless they are so many that the row has an example instead. */
static const char *choice_expected(struct bind *b, const struct schema_row *row)
{
    const char *list = "one of ", *separator = "";
    if (row->expected != NULL)
        return row->expected;
    for (const struct schema_choice *c = row->choices; c->name != NULL; c++) {
        if (c->later)
            continue;
        list = config_mem_printf(b->scratch, "%s%s%s", list, separator, c->name);
        separator = ", ";
    }
    return list;
}

static const struct schema_choice *find_choice(struct bind *b, const struct schema_row *row,
                                               const struct tree_node *node)
{
    struct suggest s;
    suggest_init(&s, node->text);
    for (const struct schema_choice *c = row->choices; c->name != NULL; c++) {
        bool same = strcmp(c->name, node->text) == 0;
        if (same && !c->later)
            return c;
        if (same) {
            bind_error(b, node->pos, "%s is not supported by this version of weir; expected %s",
                       bind_quote(b, node->text), choice_expected(b, row));
            return NULL;
        }
        if (!c->later)
            suggest_offer(&s, c->name);
    }
    bind_error(b, node->pos, "expected %s; found %s%s", choice_expected(b, row),
               bind_found(b, node), bind_suggestion(b, &s));
    return NULL;
}

static bool parse_choice(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                         void *field)
{
    const struct schema_choice *c = find_choice(b, row, node);
    if (c != NULL)
        *(const char **)field = c->name;
    return c != NULL;
}

static bool parse_enum(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    const struct schema_choice *c = find_choice(b, row, node);
    if (c != NULL)
        *(unsigned *)field = c->value;
    return c != NULL;
}

static void print_enum(const struct schema_row *row, const void *field, FILE *out)
{
    for (const struct schema_choice *c = row->choices; c->name != NULL; c++)
        if (c->value == *(const unsigned *)field)
            emit_text(out, c->name);
}

const struct schema_type type_choice = {
    .name = "word",
    .expected = "a word",
    .json_type = "string",
    .parse = parse_choice,
    .print = print_string,
    .is_set = string_is_set,
};

const struct schema_type type_enum = {
    .name = "word",
    .expected = "a word",
    .json_type = "string",
    .parse = parse_enum,
    .print = print_enum,
};

/* Permission bits: octal, and in quotes because YAML would read 0660 as a decimal number. */

static bool parse_mode(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                       void *field)
{
    const char *text;
    if (!type_text(b, row, node, &text))
        return false;
    size_t len = strlen(text);
    if (len < 3 || len > 4 || text[strspn(text, "01234567")] != '\0' ||
        (len == 4 && *text != '0')) {
        bind_error(b, node->pos, "expected %s; found %s", type_expected(row), bind_quote(b, text));
        return false;
    }
    *(uint32_t *)field = (uint32_t)strtoul(text, NULL, 8);
    return true;
}

static void print_mode(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fprintf(out, "\"%04o\"", *(const uint32_t *)field);
}

const struct schema_type type_mode = {
    .name = "mode",
    .any_text = true,
    .expected = "permissions in quotes, such as \"0660\"",
    .json_type = "string",
    .pattern = "^0?[0-7]{3}$",
    .parse = parse_mode,
    .print = print_mode,
};

/* The format of the access log: a name or a template. */

static const struct {
    const char *name;
    enum config_log_format kind;
} formats[] = {
    {"json", CONFIG_FORMAT_JSON},
    {"clf", CONFIG_FORMAT_CLF},
};

static bool format_kind(const char *text, enum config_log_format *kind)
{
    *kind = CONFIG_FORMAT_TEMPLATE;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, text) == 0) {
            *kind = formats[i].kind;
            return true;
        }
    return strchr(text, '{') != NULL;
}

static bool parse_format(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                         void *field)
{
    struct config_format *f = field;
    const char *text;
    if (!type_text(b, row, node, &text))
        return false;
    if (!format_kind(text, &f->kind)) {
        struct suggest s;
        suggest_init(&s, text);
        for (size_t i = 0; i < ARRAY_LEN(formats); i++)
            suggest_offer(&s, formats[i].name);
        bind_error(b, node->pos, "expected %s; found %s%s", row->type->expected,
                   bind_quote(b, text), bind_suggestion(b, &s));
        return false;
    }
    if (text[strcspn(text, "\r\n")] != '\0') {
        bind_error(b, node->pos, "a template makes one line, so it cannot have a line break in it");
        return false;
    }
    f->pos = node->pos;
    f->text = config_mem_dup(b->mem, text, strlen(text));
    return true;
}

static void print_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    emit_text(out, ((const struct config_format *)field)->text);
}

const struct schema_type type_format = {
    .name = "format",
    .expected = "json, clf or a template with fields in braces",
    .json_type = "string",
    .pattern = "^(json|clf|.*\\{.*)$",
    .parse = parse_format,
    .print = print_format,
};
