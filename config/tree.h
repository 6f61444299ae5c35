/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as a tree that knows where everything was written. Knows nothing of what the
 * document means; keys keep their order and may repeat, values are not substituted. A node that is
 * reached by an alias is the anchor's own node, so the tree is a graph without cycles, and what it
 * would be if it were written out is bounded by CONFIG_MAX_NODES. Control thread.
 */
#ifndef WEIR_CONFIG_TREE_H
#define WEIR_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum tree_kind {
    TREE_SCALAR,
    TREE_LIST,
    TREE_MAP,
};

struct tree_pair {
    struct tree_node *key; /* a scalar */
    struct tree_node *value;
};

struct tree_node {
    enum tree_kind kind;
    struct config_pos pos;
    const char *text;         /* scalar: UTF-8 without NUL */
    bool plain;               /* scalar: written without quotes, so that it may be a number */
    bool typeless;            /* scalar: a default or substituted; whatever it looks like is fine */
    struct tree_node **items; /* list */
    struct tree_pair *pairs;  /* map */
    size_t count;             /* of items or pairs */
    size_t cost;              /* of this one and all below, as if written out; see tree.c */
};

/* What YAML takes an unquoted scalar for. */
enum tree_looks {
    TREE_LOOKS_NULL,
    TREE_LOOKS_BOOL,
    TREE_LOOKS_OLD_BOOL, /* yes, no, on, off: booleans in YAML 1.1, strings in 1.2 */
    TREE_LOOKS_NUMBER,
    TREE_LOOKS_STRING,
};

/*
 * Parses any bytes. The tree is allocated from mem and points to `name`. NULL if they are not one
 * YAML document within the bounds; then errs says why.
 */
struct tree_node *tree_parse(struct config_mem *mem, const char *name, const char *bytes,
                             size_t len, struct config_errors *errs);

/* What an unquoted text would be; the core schema of YAML 1.2 plus the old booleans. */
enum tree_looks tree_text_looks(const char *text);

/* The same of a scalar; quoted ones are strings. */
enum tree_looks tree_looks(const struct tree_node *scalar);

/* The value of a key, or NULL. `map` may be NULL or no map. */
struct tree_node *tree_get(const struct tree_node *map, const char *key);

#endif
