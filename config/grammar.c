/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is allowed in the texts that have a grammar of their own: names, hosts, paths, fields. What
 * could never match a request is refused with what to write instead, never mended silently. Pure
 * but for what it reports. Control thread.
 */
#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "config/bind.h"
#include "config/mem.h"
#include "config/types.h"
#include "proxy/base/span.h"

#define MAX_NAME 64
#define LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS   "0123456789"

static bool refuse(struct bind *b, const struct tree_node *node, const char *text, const char *why)
{
    bind_error(b, node->pos, "%s: %s", bind_quote(b, text), why);
    return false;
}

static const char *lower(struct bind *b, const char *text)
{
    char *copy = config_mem_dup(b->scratch, text, strlen(text));
    for (char *c = copy; *c != '\0'; c++)
        *c = ascii_lower(*c);
    return copy;
}

/* Names stand in metrics, logs and paths of messages. */
bool grammar_name(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text);
    if (len > 0 && len <= MAX_NAME && strspn(*text, LETTERS DIGITS "_.-") == len)
        return true;
    return refuse(b, node, *text, "a name has 1 to 64 letters, digits, '.', '_' or '-'");
}

/* Brackets and all; inet_ntop gives the one form that is compared. */
static bool grammar_host_v6(struct bind *b, const struct tree_node *node, const char **text)
{
    struct in6_addr addr;
    char canonical[INET6_ADDRSTRLEN];
    size_t len = strlen(*text);
    const char *inner = config_mem_dup(b->scratch, *text + 1, len - 1 - (len > 1));
    if (len < 2 || (*text)[len - 1] != ']' || inet_pton(AF_INET6, inner, &addr) != 1)
        return refuse(b, node, *text, "expected an IPv6 address in brackets, without a port");
    inet_ntop(AF_INET6, &addr, canonical, sizeof(canonical));
    *text = config_mem_printf(b->scratch, "[%s]", canonical);
    return true;
}

bool grammar_host(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *host = *text = lower(b, *text);
    size_t len = strlen(host);
    struct in_addr v4;
    if (*host == '[')
        return grammar_host_v6(b, node, text);
    if (strcmp(host, "*") == 0)
        return refuse(b, node, host, "to match every host, leave the key host out");
    if (strchr(host, ':') != NULL)
        return refuse(b, node, host, "the port plays no part in matching; leave it out");
    if (len > 0 && host[len - 1] == '.')
        return refuse(b, node, host, "leave out the dot at the end");
    size_t wild = span_starts(span_str(host), SPAN_LIT("*.")) ? 2 : 0;
    if (strchr(host + wild, '*') != NULL)
        return refuse(b, node, host, "a '*' can only be the first label, as in *.example.com");
    if (wild == 0 && grammar_host_is_numeric(host, len) && inet_pton(AF_INET, host, &v4) != 1)
        return refuse(b, node, host, "not an IPv4 address, and a name cannot end in a number");
    if (!grammar_host_ok(host + wild, len - wild))
        return refuse(b, node, host,
                      "not a host name; write international names in their xn-- form");
    return true;
}

/* The value of two hex digits, or -1. */
static int hex_pair(const char *s)
{
    int value = 0;
    for (size_t i = 0; i < 2; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *at = s[i] ? strchr(digits, ascii_lower(s[i])) : NULL;
        if (at == NULL)
            return -1;
        value = value * 16 + (int)(at - digits);
    }
    return value;
}

/* Escapes in their normal form (RFC 3986 section 6.2.2): unreserved decoded, others in upper case.
 */
static char *normal_escapes(struct bind *b, const char *path)
{
    char *copy = config_mem_alloc(b->scratch, strlen(path) + 1, 1), *out = copy;
    for (; *path != '\0'; path++) {
        int code = *path == '%' ? hex_pair(path + 1) : -1;
        if (code < 0) {
            *out++ = *path;
            continue;
        }
        if (code != 0 && strchr(LETTERS DIGITS "-._~", code) != NULL)
            *out++ = (char)code;
        else
            out += sprintf(out, "%%%02X", (unsigned)code);
        path += 2;
    }
    return copy;
}

/* Without dot segments (RFC 3986 section 5.2.4), in place. */
static void remove_dots(char *path)
{
    char *out = path, *in = path;
    while (*in != '\0') {
        size_t len = 1 + strcspn(in + 1, "/"); /* one segment with the slash before it */
        bool dot = len == 2 && in[1] == '.';
        bool dots = len == 3 && in[1] == '.' && in[2] == '.';
        if (dots) {
            while (out > path && *--out != '/')
                ;
        }
        if (!dot && !dots) {
            memmove(out, in, len);
            out += len;
        } else if (in[len] == '\0') {
            *out++ = '/';
        }
        in += len;
    }
    *out = '\0';
}

/* Every % begins an escape. */
static bool escapes_ok(const char *path)
{
    for (const char *at = strchr(path, '%'); at != NULL; at = strchr(at + 1, '%'))
        if (hex_pair(at + 1) < 0)
            return false;
    return true;
}

bool grammar_path(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *path = *text;
    if (*path != '/')
        return refuse(b, node, path, "a path begins with '/'");
    if (strpbrk(path, "?#") != NULL)
        return refuse(b, node, path, "'?' and '#' end the path, so they cannot be in one");
    if (path[strspn(path, LETTERS DIGITS "-._~!$&'()*+,;=:@/%")] != '\0')
        return refuse(b, node, path, "percent-encode what cannot be in a path, such as %20");
    if (!escapes_ok(path))
        return refuse(b, node, path, "'%' has to be followed by two hexadecimal digits");
    char *normal = normal_escapes(b, path);
    remove_dots(normal);
    if (strcmp(normal, path) != 0) {
        bind_error(b, node->pos,
                   "%s never matches, as paths are compared in their normal form; write %s",
                   bind_quote(b, path), bind_quote(b, normal));
        return false;
    }
    return true;
}

bool grammar_field_name(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *name = *text = lower(b, *text);
    if (*name == '\0' || name[strspn(name, LETTERS DIGITS "!#$%&'*+-.^_`|~")] != '\0')
        return refuse(b, node, name, "not the name of a header field");
    if (strchr(name, '_') != NULL)
        bind_warn(b, node->pos,
                  "never matches: fields with '_' in their name are dropped; did you mean '-'?");
    return true;
}

bool grammar_field_value(struct bind *b, const struct tree_node *node, const char **text)
{
    const char *value = *text;
    struct span trimmed = span_trim(span_str(value));
    for (const char *c = value; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return refuse(b, node, value, "a field's value has no control characters");
    if (trimmed.len != strlen(value))
        return refuse(b, node, value,
                      "never matches, as values are compared without blanks at their ends");
    return true;
}

bool grammar_file(struct bind *b, const struct tree_node *node, const char **text)
{
    if (**text == '\0')
        return refuse(b, node, *text, "expected the path of a file");
    size_t front = **text != '/' ? b->folder.len : 0, len = strlen(*text);
    if (front + len >= PATH_MAX)
        return refuse(b, node, *text, "the path is too long");
    if (front == 0) {
        bind_note_file(b, node->pos, *text);
        return true;
    }
    char *path = config_mem_alloc(b->mem, front + len + 1, 1);
    memcpy(path, b->folder.ptr, front);
    memcpy(path + front, *text, len + 1);
    *text = path;
    bind_note_file(b, node->pos, path);
    return true;
}
