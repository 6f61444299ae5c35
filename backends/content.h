/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer says, by whichever protocol it is said. Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_CONTENT_H
#define WEIR_BACKENDS_CONTENT_H

#include "backends/asked.h"

struct content {
    unsigned status;  /* 200, or 400 for what makes no sense; before the knob */
    const char *type; /* Content-Type */
    const char *text; /* NULL: the pattern */
    char *owned;      /* what text points at, if it was made for this answer */
    uint64_t len;
};

/*
 * The content of every handler that streams nothing back. body_bytes is how long the request's body
 * was. Without memory for it the content is empty.
 */
struct content content_make(const struct asked *a, const struct service *service,
                            uint64_t body_bytes);

/* Writes len bytes of the pattern, from its byte off on. */
void pattern_fill(char *at, uint64_t off, size_t len);

#endif
