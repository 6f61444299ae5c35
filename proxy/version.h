/* SPDX-License-Identifier: Apache-2.0 */
/* What this weir is made of: for `weir version`. Any thread. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <stdbool.h>
#include <stdio.h>

/* Writes weir's version, those of the libraries that it runs with, what it speaks and how it was
 * built: a line each, or one JSON object. */
void version_print(FILE *out, bool json);

#endif
