/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scalar types that rows are made of. Constant data; their functions run on the control thread.
 */
#ifndef WEIR_CONFIG_TYPES_H
#define WEIR_CONFIG_TYPES_H

#include "config/schema.h"

extern const struct schema_type type_int;      /* uint32_t */
extern const struct schema_type type_percent;  /* uint32_t */
extern const struct schema_type type_share;    /* uint32_t, millionths */
extern const struct schema_type type_rate;     /* uint32_t, a second */
extern const struct schema_type type_duration; /* uint64_t, milliseconds */
extern const struct schema_type type_size;     /* uint64_t, bytes */
extern const struct schema_type type_bool;     /* bool */
extern const struct schema_type type_string;   /* const char * */
extern const struct schema_type type_file;     /* struct config_str */
extern const struct schema_type type_choice;   /* const char *, one of the row's choices */
extern const struct schema_type type_enum;     /* unsigned, the value of one of them */
extern const struct schema_type type_mode;     /* uint32_t, permission bits */
extern const struct schema_type type_format;   /* struct config_format */
extern const struct schema_type type_address;  /* struct config_addr */
extern const struct schema_type type_cidr;     /* struct config_cidr */

/*
 * The text of a scalar that has to be a string. False: it looks like a number, a boolean or
 * nothing, and that has been reported.
 */
bool type_text(struct bind *b, const struct schema_row *row, const struct tree_node *node,
               const char **text);

/* What a row takes, for "expected ...". */
const char *type_expected(const struct schema_row *row);

/* "Expected this, found that." */
void type_mismatch(struct bind *b, const struct schema_row *row, const struct tree_node *node);

/* What strings may be, for schema_row.accept. In grammar.c. */
bool grammar_name(struct bind *b, const struct tree_node *node, const char **text);
bool grammar_host(struct bind *b, const struct tree_node *node, const char **text);
bool grammar_path(struct bind *b, const struct tree_node *node, const char **text);
bool grammar_field_name(struct bind *b, const struct tree_node *node, const char **text);
bool grammar_field_value(struct bind *b, const struct tree_node *node, const char **text);
bool grammar_file(struct bind *b, const struct tree_node *node, const char **text);

/* Whether every label is made of letters, digits, '-' and '_', and the length is allowed. */
bool grammar_host_ok(const char *host, size_t len);

/* Whether it has to be an IPv4 address and cannot be a name: its last label is a number. */
bool grammar_host_is_numeric(const char *host, size_t len);

#endif
