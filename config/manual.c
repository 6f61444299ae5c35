/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page weir.yaml(5), made by walking the schema's rows: what is true of a key stands in its row
 * and nowhere else. Owns nothing. Control thread.
 */
#include <stdbool.h>
#include <stdio.h>

#include "config/config.h"
#include "config/schema.h"

/* Where a key is: the steps to it, the last one first. */
struct path {
    const struct path *up; /* NULL: the document */
    const char *separator;
    const char *name;
};

/* What stands before and after the keys; ready-made roff. */
static const char opening[] =
    ".SH NAME\n"
    "weir.yaml \\- configuration of weir(1)\n"
    ".SH DESCRIPTION\n"
    "The file that\n"
    ".B weir run \\-c\n"
    "serves and\n"
    ".B weir check\n"
    "judges; the packages' unit reads\n"
    ".IR /etc/weir/weir.yaml .\n"
    "The smallest useful one:\n"
    ".PP\n"
    ".in +4\n"
    ".EX\n"
    "version: 1\n"
    "listeners: { web: \":8000\" }\n"
    "routes:    [ { to: app } ]\n"
    "pools:     { app: [127.0.0.1:8080, 127.0.0.1:8081] }\n"
    ".EE\n"
    ".in\n"
    ".PP\n"
    "An unknown key, a duplicate key or a value out of its range is an error that names its line "
    "and\n"
    "column, and nothing starts with one.\n"
    "What begins with a digit and is no number (an address, say) may stand without quotes; what\n"
    "begins with a colon needs them.\n"
    ".SS Units\n"
    "A duration is a whole number with\n"
    ".BR ms \", \" s \", \" m \" or \" h ,\n"
    "a size one with\n"
    ".BR B \", \" KiB \", \" MiB \", \" GiB \", \" KB \", \" MB \" or \" GB .\n"
    "A number without its unit is an error.\n"
    ".SS Substitution\n"
    "In a value\n"
    ".BI ${ NAME }\n"
    "is replaced by a variable of the environment,\n"
    ".BI ${ NAME :\\- default }\n"
    "by the default if there is none, and\n"
    ".BI ${file: /path }\n"
    "by the text of a file, without its last line break.\n"
    ".B $$\n"
    "is one dollar.\n"
    ".SS Paths\n"
    "A path of a file that does not begin with a slash begins in the directory of the "
    "configuration.\n"
    ".SH KEYS\n"
    "A dot goes down into a mapping.\n"
    ".B NAME\n"
    "stands for a name of your choice,\n"
    ".B []\n"
    "for each item of a list.\n";

static const char ending[] =
    ".SH EXAMPLES\n"
    "A file with every key is among the examples beside weir's documentation.\n"
    ".SH SEE ALSO\n"
    ".BR weir (1);\n"
    ".B weir schema\n"
    "prints the same keys as a JSON Schema,\n"
    ".BI \"weir check \" FILE \" \\-\\-dump\"\n"
    "a configuration with every default filled in.\n";

static void manual_table(FILE *out, const struct schema_table *t, const struct path *path);

/* Plain text into roff, in the middle of a line. */
static void put_text(FILE *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\\')
            fputs("\\e", out);
        else if (*c == '-')
            fputs("\\-", out);
        else
            fputc(*c, out);
    }
}

static void put_choices(FILE *out, const struct schema_choice *choices)
{
    const char *separator = "";
    for (const struct schema_choice *c = choices; c->name != NULL; c++) {
        if (c->later)
            continue;
        fputs(separator, out);
        put_text(out, c->name);
        separator = ", ";
    }
}

static void put_scalar(FILE *out, const struct schema_row *row)
{
    if (row->choices != NULL) {
        fputs("one of ", out);
        put_choices(out, row->choices);
        return;
    }
    put_text(out, row->type->name);
    if (row->type->show == NULL)
        return;
    fputs(", ", out);
    row->type->show(row->type, row->min, out);
    fputs(" to ", out);
    row->type->show(row->type, row->max, out);
    if (row->word != NULL)
        fprintf(out, ", or %s", row->word);
}

/* What an item of a list or a map is, after "of". */
static void put_elem(FILE *out, const struct schema_row *elem)
{
    if (elem->shape == SHAPE_SCALAR)
        put_scalar(out, elem);
    else
        fputs("mappings", out);
}

static void put_shape(FILE *out, const struct schema_row *row)
{
    switch (row->shape) {
    case SHAPE_SCALAR:
        put_scalar(out, row);
        return;
    case SHAPE_TABLE:
        fputs("mapping", out);
        if (row->table->short_key != NULL)
            fprintf(out, ", or its %s alone", row->table->short_key);
        return;
    case SHAPE_LIST:
        fputs("list of ", out);
        break;
    case SHAPE_MAP:
        fputs("mapping from names to ", out);
        break;
    }
    put_elem(out, row->items->elem);
    if (row->flags & ROW_SINGLE)
        fputs(row->shape == SHAPE_LIST ? "; one alone will do" : "; a name alone will do", out);
}

static void put_default(FILE *out, const struct schema_row *row)
{
    if (row->flags & ROW_REQUIRED) {
        fputs("; required", out);
    } else if (row->dflt != NULL) {
        fputs("; default ", out);
        put_text(out, row->dflt);
    } else if (row->inherit_from != NULL) {
        fprintf(out, "; default as %s", row->inherit_from);
    }
}

static void put_path(FILE *out, const struct path *path)
{
    if (path->up != NULL)
        put_path(out, path->up);
    fprintf(out, "%s%s", path->separator, path->name);
}

/* A paragraph with the key as its tag. A font of its own keeps a line from being a request. */
static void manual_key(FILE *out, const struct schema_row *row, const struct path *path)
{
    fputs(".TP\n.B ", out);
    put_path(out, path);
    fputs("\n\\fI", out);
    put_shape(out, row);
    put_default(out, row);
    fputs("\\fR.\n", out);
    if (row->doc != NULL) {
        fputs("\\&", out);
        put_text(out, row->doc);
        fputc('\n', out);
    }
    if (row->applies_to != NULL)
        fprintf(out, "Only for %s.\n", row->applies_to);
    if (row->flags & ROW_RESTART)
        fputs("A change takes effect when weir is started again.\n", out);
}

static void manual_row(FILE *out, const struct schema_row *row, const struct path *path)
{
    bool list = row->shape == SHAPE_LIST;
    const struct path item = {path, list ? "" : ".", list ? "[]" : "NAME"};
    manual_key(out, row, path);
    if (row->shape == SHAPE_TABLE)
        manual_table(out, row->table, path);
    else if (row->shape != SHAPE_SCALAR && row->items->elem->shape == SHAPE_TABLE)
        manual_table(out, row->items->elem->table, &item);
}

static void manual_table(FILE *out, const struct schema_table *t, const struct path *path)
{
    for (size_t i = 0; i < t->row_count; i++) {
        const struct path below = {path, path != NULL ? "." : "", t->rows[i].key};
        manual_row(out, &t->rows[i], &below);
    }
}

void config_manual(FILE *out)
{
    fprintf(out,
            ".\\\" SPDX-License-Identifier: Apache-2.0\n"
            ".\\\" Made by `weir schema --man`.\n"
            ".TH WEIR.YAML 5 \"\" \"weir %s\" \"File Formats\"\n",
            WEIR_VERSION);
    fputs(opening, out);
    manual_table(out, schema_root.table, NULL);
    fputs(ending, out);
}
