/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See notes.h. Owns nothing: it is embedded. One thread.
 */
#include "tests/unit/notes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

void notes_add(struct notes *n, const char *format, ...)
{
    va_list args;
    size_t len = strlen(n->log);
    if (n->quiet)
        return;
    va_start(args, format);
    len += (size_t)vsnprintf(n->log + len, sizeof(n->log) - len, format, args);
    va_end(args);
    assert_true(len < sizeof(n->log));
}

const char *notes_take(struct notes *n)
{
    static char taken[sizeof(n->log)];
    memcpy(taken, n->log, sizeof(taken));
    n->log[0] = '\0';
    return taken;
}

size_t notes_body(struct notes *n, struct chain *body)
{
    size_t bytes = body->bytes;
    for (const struct slice *s = body->head; s != NULL; s = s->next) {
        assert_true(n->body_len + s->len < sizeof(n->body));
        memcpy(n->body + n->body_len, s->ptr, s->len);
        n->body_len += s->len;
    }
    n->body[n->body_len] = '\0';
    chain_clear(body);
    return bytes;
}

void notes_end(struct notes *n, const struct http_head *trailers)
{
    notes_add(n, "end");
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        notes_add(n, " %.*s", trailers->fields[i].name_len, trailers->fields[i].name);
    notes_add(n, "|");
}
