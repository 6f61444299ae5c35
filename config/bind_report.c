/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the binder words what it reports: paths, quoted values, suggestions. Must not print what a
 * terminal would obey: quoted text is made printable. Control thread.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/bind.h"
#include "config/errors.h"
#include "config/mem.h"

#define QUOTE_BYTES 60

static const char key_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

static const char *path_text(struct bind *b, const struct bind_path *p)
{
    if (p == NULL)
        return "";
    const char *up = path_text(b, p->up);
    if (p->key == NULL)
        return config_mem_printf(b->scratch, "%s[%zu]", up, p->index);
    bool bare = p->key[0] != '\0' && p->key[strspn(p->key, key_letters)] == '\0';
    return config_mem_printf(b->scratch, "%s%s%s", up, *up ? "." : "",
                             bare ? p->key : bind_quote(b, p->key));
}

const char *bind_path_text(struct bind *b)
{
    return path_text(b, b->path);
}

static void report(struct bind *b, enum config_severity severity, struct config_pos pos,
                   const char *fmt, va_list args)
{
    const char *path = config_errors_full(b->errs) ? NULL : bind_path_text(b);
    config_errors_vadd(b->errs, severity, pos, path, fmt, args);
}

void bind_error(struct bind *b, struct config_pos pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(b, CONFIG_ERROR, pos, fmt, args);
    va_end(args);
}

void bind_warn(struct bind *b, struct config_pos pos, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    report(b, CONFIG_WARNING, pos, fmt, args);
    va_end(args);
}

/* Writes the character at `text` printably; returns how many of its bytes were dealt with. */
static size_t quote_char(char **out, const char *text)
{
    unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];
    if (c == '"' || c == '\\') {
        *out += sprintf(*out, "\\%c", c);
    } else if (c < 0x20 || c == 0x7f) {
        *out += sprintf(*out, "\\x%02x", c);
    } else if (c == 0xc2 && next < 0xa0) { /* U+0080 to U+009F: controls */
        *out += sprintf(*out, "\\x%02x\\x%02x", c, next);
        return 2;
    } else {
        *(*out)++ = (char)c;
    }
    return 1;
}

const char *bind_quote(struct bind *b, const char *text)
{
    char buf[QUOTE_BYTES * 4 + 16];
    char *out = buf;
    size_t len = 0;
    *out++ = '"';
    while (text[len] != '\0' && len < QUOTE_BYTES)
        len += quote_char(&out, text + len);
    /* Cut between characters, not inside one. */
    while (text[len] != '\0' && ((unsigned char)text[len] & 0xc0) == 0x80 && out > buf + 1) {
        out--;
        len--;
    }
    out += sprintf(out, "\"%s", text[len] != '\0' ? "..." : "");
    return config_mem_dup(b->scratch, buf, (size_t)(out - buf));
}

const char *bind_found(struct bind *b, const struct tree_node *node)
{
    if (node->kind == TREE_LIST)
        return "a list";
    if (node->kind == TREE_MAP)
        return "a mapping";
    switch (tree_looks(node)) {
    case TREE_LOOKS_NULL:
        return "nothing";
    case TREE_LOOKS_BOOL:
    case TREE_LOOKS_OLD_BOOL:
        return config_mem_printf(b->scratch, "the boolean %s", node->text);
    case TREE_LOOKS_NUMBER:
        return config_mem_printf(b->scratch, "the number %.60s", node->text);
    case TREE_LOOKS_STRING:
        break;
    }
    return bind_quote(b, node->text);
}

const char *bind_suggestion(struct bind *b, const struct suggest *s)
{
    if (s->best == NULL)
        return "";
    return config_mem_printf(b->scratch, "; did you mean \"%s\"?", s->best);
}
