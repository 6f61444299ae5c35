/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a pool's sticky sessions. Constant data; any thread. */
#include <string.h>

#include "config/bind.h"
#include "config/rows.h"

#define COOKIE_MAX      64
#define COOKIE_PATH_MAX 256
#define SECRET_MIN      16
#define SECRET_MAX      1024

static const char token_bytes[] = "!#$%&'*+-.^_`|~0123456789"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool accept_cookie(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text);
    if (len >= 1 && len <= COOKIE_MAX && (*text)[strspn(*text, token_bytes)] == '\0')
        return true;
    bind_error(b, node->pos,
               "%s is not the name of a cookie: 1 to %d letters, digits and !#$%%&'*+-.^_`|~",
               bind_quote(b, *text), COOKIE_MAX);
    return false;
}

static bool accept_path(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text), ok = 0;
    while (ok < len && (*text)[ok] > ' ' && (*text)[ok] <= '~' && (*text)[ok] != ';')
        ok++;
    if (**text == '/' && ok == len && len <= COOKIE_PATH_MAX)
        return true;
    bind_error(b, node->pos,
               "%s is not the path of a cookie: it begins with /, has no space, ; or control, and "
               "at most %d bytes",
               bind_quote(b, *text), COOKIE_PATH_MAX);
    return false;
}

/* Not quoted in the message. */
static bool accept_secret(struct bind *b, const struct tree_node *node, const char **text)
{
    size_t len = strlen(*text);
    if (len >= SECRET_MIN && len <= SECRET_MAX)
        return true;
    bind_error(b, node->pos,
               "the secret has %zu bytes; it needs %d to %d, such as those that `openssl rand -hex "
               "32` prints",
               len, SECRET_MIN, SECRET_MAX);
    return false;
}

static const struct schema_row sticky_rows[] = {
    {STRING("cookie", config_sticky, cookie), .flags = ROW_REQUIRED, .accept = accept_cookie,
     .pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$", .expected = "the name of a cookie",
     .doc = "The name of the cookie that weir sets, and by which a client's requests go to the "
            "same endpoint."},
    {DURATION("ttl", config_sticky, ttl_ms), .dflt = "none", .min = SECOND, .max = MAX_TIME,
     .word = "none", .word_value = 0,
     .doc = "After which browsers forget it, counted from when it was set; none: when they end."},
    {STRING("path", config_sticky, path), .dflt = "/", .accept = accept_path,
     .pattern = "^/[!-:<-~]{0,255}$", .expected = "a path", .doc = "Below which it is sent back."},
    {STRING("secret", config_sticky, secret), .accept = accept_secret, .pattern = "^.{16,1024}$",
     .expected = "a secret",
     .doc = "What makes its values unguessable, 16 bytes or more, such as ${file:/path}; the same "
            "on every instance of weir that shares clients. A random one if not given: sessions "
            "end with the process."},
};

const struct schema_table schema_sticky = {
    .expected = "the name of a cookie, or a mapping such as { cookie: weir, ttl: 1h }",
    ROWS(sticky_rows),
    .short_key = "cookie",
    .own = true,
};
