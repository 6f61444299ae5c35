/* SPDX-License-Identifier: Apache-2.0 */
/* `weir explain`: what a configuration does with a request, without serving it. Control thread. */
#ifndef WEIR_RUNTIME_EXPLAIN_H
#define WEIR_RUNTIME_EXPLAIN_H

#include <stdbool.h>

struct config;
struct config_errors;
struct explain_ask;

/* Prints it to stdout, as JSON or as text. all: every route, however many. False: the configuration
 * cannot be served, added to errs; or with *error set to malloc'd text, ask is no question. */
bool runtime_explain(const struct config *cfg, const struct explain_ask *ask, bool json, bool all,
                     struct config_errors *errs, char **error);

#endif
