/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648 section 4). Pure; any thread. */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

/* The length of n bytes once they are encoded. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

/* Writes BASE64_LEN(bytes.len) characters, with padding and no NUL. */
void base64_encode(struct span bytes, char *out);

/* Writes at most room bytes, of which there are 3 for 4 characters at most. Padding may be missing.
 * False: it is none, or does not fit. */
bool base64_decode(struct span text, char *out, size_t room, size_t *len);

#endif
