/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing scalars so that loading reads the same text again. Pure but for the FILE. Control thread.
 */
#ifndef WEIR_CONFIG_EMIT_H
#define WEIR_CONFIG_EMIT_H

#include <stdint.h>
#include <stdio.h>

/*
 * A YAML scalar for UTF-8 text without NUL: bare if it is a word that nobody could take for
 * anything else, in double quotes otherwise, a dollar sign doubled.
 */
void emit_text(FILE *out, const char *text);

/* A mapping's key: as emit_text, but nothing is substituted in keys, so a dollar stays one. */
void emit_key(FILE *out, const char *text);

struct schema_row;

/* A document that the row, a table, describes: loading it makes the same of it. */
void emit_row(FILE *out, const struct schema_row *row, const void *obj);

/* A number for what a dump of the row would say; obj: the struct it is in. */
uint64_t emit_hash(const struct schema_row *row, const void *obj);

#endif
