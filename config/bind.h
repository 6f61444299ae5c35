/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding: walks a parse tree along the schema's rows and fills in the structs. Knows the four
 * shapes a value can have and nothing of any particular key. Reports everything that is wrong, not
 * only the first thing. Control thread.
 */
#ifndef WEIR_CONFIG_BIND_H
#define WEIR_CONFIG_BIND_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/suggest.h"
#include "config/tree.h"
#include "proxy/base/span.h"

struct schema_row;

/* One step of the way from the document to a value, kept on the C stack. */
struct bind_path {
    const struct bind_path *up;
    const char *key; /* NULL: a list's item */
    size_t index;
};

struct bind {
    struct config *cfg;         /* being filled in; rows inherit from what is bound already */
    struct config_mem *mem;     /* of cfg */
    struct config_mem *scratch; /* gone after loading */
    struct config_errors *errs;
    struct span folder; /* of the file, with its last slash; paths in it begin there */
    const struct bind_path *path;
    struct config_pos pos; /* of the mapping that is being bound: where its defaults belong */
    size_t index;          /* of the list item that is being bound */
    size_t substituted;    /* bytes that substitutions made so far */
    bool verbatim;         /* nothing is substituted */
};

/* Fills in cfg from the document. What is left of it after errors is of no use but to bind_check.
 */
void bind_document(struct bind *b, const struct tree_node *root);

/* The same of what a table describes, to *obj. False: something was wrong. */
bool bind_object(struct bind *b, const struct schema_row *row, const struct tree_node *root,
                 void *obj);

/* What no row can say alone: references between pools and routes, and rules that never win. */
void bind_check(struct bind *b);

/* The hook of a route's table: gives it its name if the file did not. */
void bind_check_route(struct bind *b, const struct tree_node *node, void *obj);

/* The configuration names this file. */
void bind_note_file(struct bind *b, struct config_pos pos, const char *path);

/* Reports at pos, about the value that b->path leads to. */
void bind_error(struct bind *b, struct config_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void bind_warn(struct bind *b, struct config_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The path as users write it: routes[2].to. In scratch memory. */
const char *bind_path_text(struct bind *b);

/* The text in quotes, shortened and made printable. In scratch memory. */
const char *bind_quote(struct bind *b, const char *text);

/* What stands there, for "found ...": `the number 5`, `a list`, `"text"`, `nothing`. */
const char *bind_found(struct bind *b, const struct tree_node *node);

/* `; did you mean "x"?`, or nothing. In scratch memory. */
const char *bind_suggestion(struct bind *b, const struct suggest *s);

/* The position of a key's value, or of the mapping if it is not there. */
struct config_pos bind_pos_of(const struct tree_node *map, const char *key, struct config_pos none);

#endif
