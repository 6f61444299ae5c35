/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Substitution. Must never block on what a path names (a pipe, a terminal) nor read without bound.
 * Owns a file only while it reads it. Control thread.
 */
#include "config/subst.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/bind.h"
#include "config/mem.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/base/span.h"

#define MAX_FILE  65536
#define MAX_BYTES ((size_t)1 << 20) /* of all substitutions of a file */

struct subst {
    struct bind *b;
    struct config_pos pos;
    struct config_text text;
};

/* The length of the UTF-8 sequence at s, 0 if there is none that is valid (RFC 3629 section 4). */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
    static const struct {
        unsigned char first, last, low, high;
        size_t len;
    } rows[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (s[0] < rows[i].first || s[0] > rows[i].last)
            continue;
        if (rows[i].len > len || (rows[i].len > 1 && (s[1] < rows[i].low || s[1] > rows[i].high)))
            return 0;
        for (size_t k = 2; k < rows[i].len; k++)
            if ((s[k] & 0xc0) != 0x80)
                return 0;
        return rows[i].len;
    }
    return 0;
}

bool subst_utf8_ok(const char *bytes, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_sequence((const unsigned char *)bytes + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* Opens without blocking and refuses what is not a plain file. -1: reported. */
static int file_open(struct subst *s, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        bind_error(s->b, s->pos, "cannot read %s: %s", bind_quote(s->b, path), strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        bind_error(s->b, s->pos, "cannot read %s: not a regular file", bind_quote(s->b, path));
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Up to `size` bytes; -1: an error, see errno. */
static ssize_t file_read(int fd, char *buf, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* All substitutions together may not make more than a file may hold. */
static bool subst_put(struct subst *s, const char *text, size_t len)
{
    if (len > MAX_BYTES - s->b->substituted) {
        bind_error(s->b, s->pos, "all substitutions together make more than %zu bytes", MAX_BYTES);
        return false;
    }
    s->b->substituted += len;
    return fwrite(text, 1, len, s->text.out) == len;
}

/* `len` and `error` are what reading gave. */
static bool file_accept(struct subst *s, const char *path, const char *buf, ssize_t len, int error)
{
    if (len < 0)
        bind_error(s->b, s->pos, "cannot read %s: %s", bind_quote(s->b, path), strerror(error));
    else if (len > MAX_FILE)
        bind_error(s->b, s->pos, "%s has more than %d bytes", bind_quote(s->b, path), MAX_FILE);
    else if (!subst_utf8_ok(buf, (size_t)len))
        bind_error(s->b, s->pos, "%s is not UTF-8 text", bind_quote(s->b, path));
    else {
        len -= len > 0 && buf[len - 1] == '\n';
        len -= len > 0 && buf[len - 1] == '\r';
        return subst_put(s, buf, (size_t)len);
    }
    return false;
}

static bool subst_file(struct subst *s, const char *path)
{
    if (path[0] != '/') {
        bind_error(s->b, s->pos, "${file:%s}: expected an absolute path, such as ${file:/run/id}",
                   path);
        return false;
    }
    int fd = file_open(s, path);
    if (fd < 0)
        return false;
    char *buf = mem_need(malloc(MAX_FILE + 1));
    ssize_t len = file_read(fd, buf, MAX_FILE + 1);
    int error = errno;
    close(fd);
    bool ok = file_accept(s, path, buf, len, error);
    bind_note_file(s->b, s->pos, path);
    free(buf);
    return ok;
}

static bool is_env_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return *name != '\0' && strchr(letters, *name) != NULL && name[strspn(name, more)] == '\0';
}

/* As in a shell: the default is also for a variable that is set but empty. */
static bool subst_env(struct subst *s, char *name)
{
    char *dflt = strstr(name, ":-");
    if (dflt != NULL) {
        *dflt = '\0';
        dflt += 2;
    }
    if (!is_env_name(name)) {
        bind_error(s->b, s->pos,
                   "expected ${NAME}, ${NAME:-default} or ${file:/path}; a dollar sign before a "
                   "brace is written $$");
        return false;
    }
    const char *value = getenv(name);
    if (dflt != NULL && (value == NULL || *value == '\0'))
        value = dflt;
    if (value == NULL)
        bind_error(s->b, s->pos,
                   "the environment has no variable %s; set it, or give a default: ${%s:-value}",
                   name, name);
    else if (!subst_utf8_ok(value, strlen(value)))
        bind_error(s->b, s->pos, "the environment variable %s is not UTF-8 text", name);
    else
        return subst_put(s, value, strlen(value));
    return false;
}

/* *at points behind "${"; moves it behind the "}". */
static bool subst_reference(struct subst *s, const char **at)
{
    const char *end = strchr(*at, '}');
    if (end == NULL) {
        bind_error(s->b, s->pos,
                   "\"${\" without a \"}\"; a dollar sign before a brace is written $$");
        return false;
    }
    char *what = config_mem_dup(s->b->scratch, *at, (size_t)(end - *at));
    *at = end + 1;
    if (span_starts(span_str(what), SPAN_LIT("file:")))
        return subst_file(s, what + strlen("file:"));
    return subst_env(s, what);
}

static bool subst_text(struct subst *s, const char *text, bool *referred)
{
    while (*text != '\0') {
        if (text[0] == '$' && text[1] == '{') {
            text += 2;
            *referred = true;
            if (!subst_reference(s, &text))
                return false;
        } else {
            fputc(*text, s->text.out);
            text += text[0] == '$' && text[1] == '$' ? 2 : 1;
        }
    }
    return true;
}

bool subst_scalar(struct bind *b, const struct tree_node *in, struct tree_node *out)
{
    *out = *in;
    if (strchr(in->text, '$') == NULL)
        return true;
    struct subst s = {.b = b, .pos = in->pos};
    config_text_open(&s.text, b->scratch);
    bool referred = false, ok = subst_text(&s, in->text, &referred);
    out->text = config_text_close(&s.text);
    out->typeless = in->typeless || referred;
    return ok;
}
