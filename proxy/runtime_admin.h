/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of the admin listener, from their files. For runtime.c; control thread. */
#ifndef WEIR_RUNTIME_ADMIN_H
#define WEIR_RUNTIME_ADMIN_H

#include <stdbool.h>

struct config;
struct config_errors;

/* *token: malloc's, or NULL if none is needed. False: added to errs. */
bool runtime_admin_token(const struct config *cfg, char **token, struct config_errors *errs);

/* The same of the one that is for /registry alone. */
bool runtime_registry_token(const struct config *cfg, char **token, struct config_errors *errs);

#endif
