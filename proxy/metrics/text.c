/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus text. Owns the block it writes to; knows no metric. Control thread. */
#include "proxy/metrics/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "proxy/base/check.h"

#define LINE_MAX_BYTES 4096

void text_line(struct text *t, const char *format, ...)
{
    if (t->block == NULL || block_room(t->block) < LINE_MAX_BYTES) {
        block_drop(t->block);
        t->block = block_get(t->pool, false);
    }
    char *at = t->block->data + t->block->used;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(at, LINE_MAX_BYTES, format, args);
    va_end(args);
    CHECK(n >= 0);
    size_t len = n < LINE_MAX_BYTES ? (size_t)n : LINE_MAX_BYTES - 1;
    chain_append(t->out, t->block, at, len);
    t->block->used += (uint32_t)len;
}

const char *text_label(struct span value, char out[TEXT_LABEL])
{
    size_t n = 0;
    for (size_t i = 0; i < value.len && n < TEXT_LABEL - 4; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"' || c == '\n')
            out[n++] = '\\';
        out[n++] = c == '\n' ? 'n' : c;
    }
    out[n] = '\0';
    return out;
}

void text_head(struct text *t, const char *name, const char *type, const char *help)
{
    text_line(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void text_single(struct text *t, const char *name, const char *type, const char *help, uint64_t n)
{
    text_head(t, name, type, help);
    text_line(t, "%s %" PRIu64 "\n", name, n);
}
