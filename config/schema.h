/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of the schema. A table of rows describes a mapping; a row describes one key: its
 * shape and type, where in the struct it goes, range, default, documentation. Binding, dumping, the
 * JSON Schema and the manual all walk the same rows. Constant data; any thread.
 */
#ifndef WEIR_CONFIG_SCHEMA_H
#define WEIR_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"

struct bind;
struct schema_row;
struct tree_node;

#define SCHEMA_MAX_ROWS 24 /* in one table */

enum schema_shape {
    SHAPE_SCALAR,
    SHAPE_TABLE, /* a mapping with known keys */
    SHAPE_LIST,
    SHAPE_MAP, /* a mapping of names that the user chooses */
};

enum schema_flag {
    ROW_REQUIRED = 1 << 0,
    ROW_RESTART = 1 << 1, /* a change takes effect when weir starts again, not on reload */
    ROW_SWITCH =
        1 << 2, /* table: absent is off; the bool at present_offset is set when it is there */
    ROW_SINGLE = 1 << 3,  /* list: an item alone will do. map: a name alone will do */
    ROW_LISTEN = 1 << 4,  /* address: to listen on */
    ROW_LOOPBACK = 1 << 5 /* address: without a host it is the loopback, not every address */
};

/* One word of a fixed set. A set ends with a NULL name. */
struct schema_choice {
    const char *name;
    unsigned value;
    bool later; /* known, but not supported by this version */
};

/* A unit and how many of the smallest it is. A set is ordered largest first, ends with a NULL name.
 */
struct schema_unit {
    const char *name;
    uint64_t factor;
};

/* How one kind of scalar is read and written. Called on the control thread only. */
struct schema_type {
    const char *name;                /* in the manual */
    const char *expected;            /* in "expected ..." */
    const char *json_type;           /* in the JSON Schema */
    const char *pattern;             /* of a string in the JSON Schema; NULL: any */
    const struct schema_unit *units; /* numbers with a unit */
    bool any_text;                   /* what looks like a number could be meant, if it is quoted */
    /* Reads the scalar into the field. False: it was wrong, and has been reported. */
    bool (*parse)(struct bind *b, const struct schema_row *row, const struct tree_node *node,
                  void *field);
    /* Writes the field as a YAML scalar that parse reads as the same. */
    void (*print)(const struct schema_row *row, const void *field, FILE *out);
    /* Whether the field was given or has a default. NULL: always. */
    bool (*is_set)(const void *field);
    /* Numbers: writes a value of the row's range. */
    void (*show)(const struct schema_type *type, uint64_t value, FILE *out);
};

struct schema_row {
    const char *key; /* NULL: an item of a list or map, or the document */
    const char *doc; /* one sentence or two, no Markdown */
    enum schema_shape shape;
    unsigned flags;
    const struct schema_type *type;   /* scalar */
    const struct schema_table *table; /* table */
    const struct schema_items *items; /* list, map */
    size_t offset;                    /* of the field; list, map: of the pointer to the items */
    size_t count_offset;              /* list, map: of their number, a size_t */
    size_t present_offset;            /* ROW_SWITCH */
    const char *dflt;                 /* as in the file. NULL: what all bits zero mean */
    const char *inherit_from;         /* the path of the default, if it is another row's value */
    size_t inherit;                   /* its offset in struct config */
    uint64_t min, max;                /* numbers; list, map: how many, 0 for max: any */
    const char *word;                 /* numbers: a word that stands for word_value */
    uint64_t word_value;
    const struct schema_choice *choices;
    const char *expected; /* strings: instead of the type's */
    const char *pattern;  /* strings: instead of the type's */
    /* strings: checks, and may replace the text by its canonical form. Reports like parse. */
    bool (*accept)(struct bind *b, const struct tree_node *node, const char **text);
    bool (*applies)(const void *obj); /* NULL: always */
    const char *applies_to;           /* in "only ..." */
};

struct schema_table {
    const char *expected; /* in "expected ..." */
    const struct schema_row *rows;
    size_t row_count;
    const char *short_key;     /* the key that a value which is no mapping is for; or NULL */
    const char *const *later;  /* keys of later versions, ends with NULL; or NULL */
    bool own;                  /* has a struct with a position; else its rows' are its parent's */
    bool exactly_one;          /* of its keys */
    const char *const *one_of; /* keys, ends with NULL: exactly one of them is there; or NULL */
    /* What needs several rows. Called if none was wrong; reports like parse. obj: the struct. */
    void (*check)(struct bind *b, const struct tree_node *node, void *obj);
};

struct schema_items {
    size_t size;
    const struct schema_row *name; /* map: how its keys are read; or NULL */
    const struct schema_row *elem;
    const char *what;      /* in "expected at least one ..." */
    const char *unique;    /* the message about two alike, after the quoted text; or NULL */
    size_t unique_offset;  /* of the `const char *` that tells them apart */
    bool alike_is_warning; /* two alike are allowed */
};

extern const struct schema_row schema_root;

/* The row of a key in a table, or NULL. */
const struct schema_row *schema_find(const struct schema_table *table, const char *key);

/* The row that a short form stands for, or NULL. */
const struct schema_row *schema_short(const struct schema_table *table);

/* Whether the row's value would be written into a dump: `obj` is the struct it is in. */
bool schema_is_set(const struct schema_row *row, const void *obj);

/* The field of a row in its struct. */
static inline void *schema_field(const struct schema_row *row, const void *obj)
{
    return (char *)(uintptr_t)obj + row->offset;
}

/* The items of a list or map row. */
const char *schema_items_of(const struct schema_row *row, const void *obj, size_t *count);

#endif
