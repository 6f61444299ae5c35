/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Substitution in values: ${NAME}, ${NAME:-default}, ${file:/path}; $$ is one dollar. It is done
 * once: what was substituted is not looked at again. Reads the environment and files, the latter
 * only if they are regular, small and UTF-8. Control thread.
 */
#ifndef WEIR_CONFIG_SUBST_H
#define WEIR_CONFIG_SUBST_H

#include <stdbool.h>

#include "config/tree.h"

struct bind;

/* Writes the scalar with everything substituted to *out. False: that failed and was reported. */
bool subst_scalar(struct bind *b, const struct tree_node *in, struct tree_node *out);

/* Whether bytes are valid UTF-8 without NUL. */
bool subst_utf8_ok(const char *bytes, size_t len);

#endif
