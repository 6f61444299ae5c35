/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the admin listener's tokens. Owns nothing but what it returns. Control thread. */
#include "proxy/runtime_admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/admin_guard.h"
#include "proxy/base/mem.h"

#define TOKEN_MIN 16 /* bytes: what can be guessed is none */

/* The text without the line break at its end; false: that is no token. */
static bool is_token(char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        text[--len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return len >= TOKEN_MIN && len <= ADMIN_TOKEN_MAX;
}

static bool read_token(const struct config_str *file, const char *key, char **token,
                       struct config_errors *errs)
{
    char text[ADMIN_TOKEN_MAX + 8] = "";
    FILE *in = fopen(file->text, "re");
    size_t n = in != NULL ? fread(text, 1, sizeof(text) - 1, in) : 0;
    int error = in == NULL || ferror(in) ? errno : 0;
    if (in != NULL)
        fclose(in);
    if (error != 0)
        config_errors_add(errs, CONFIG_ERROR, file->pos, key, "cannot read %s: %s", file->text,
                          strerror(error));
    else if (!is_token(text, n))
        config_errors_add(errs, CONFIG_ERROR, file->pos, key,
                          "%s holds no token: that is one line of %d to %d printable ASCII "
                          "characters, no space; `openssl rand -hex 32` makes one",
                          file->text, TOKEN_MIN, ADMIN_TOKEN_MAX);
    else
        *token = mem_need(strdup(text));
    explicit_bzero(text, sizeof(text));
    return *token != NULL;
}

bool runtime_admin_token(const struct config *cfg, char **token, struct config_errors *errs)
{
    const struct config_str *file = &cfg->admin.token_file;
    *token = NULL;
    return !cfg->admin.enabled || file->text == NULL ||
           read_token(file, "admin.token_file", token, errs);
}

bool runtime_registry_token(const struct config *cfg, char **token, struct config_errors *errs)
{
    const struct config_str *file = &cfg->registry_token_file;
    *token = NULL;
    return !cfg->admin.enabled || file->text == NULL ||
           read_token(file, "registry.token_file", token, errs);
}
