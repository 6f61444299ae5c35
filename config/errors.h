/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What config/ itself needs of the list of errors, beyond the API in config.h. Control thread.
 */
#ifndef WEIR_CONFIG_ERRORS_H
#define WEIR_CONFIG_ERRORS_H

#include <stdarg.h>
#include <stdbool.h>

#include "config/config.h"

void config_errors_vadd(struct config_errors *errs, enum config_severity severity,
                        struct config_pos pos, const char *path, const char *fmt, va_list args)
    __attribute__((format(printf, 5, 0)));

/* Whether further messages are only counted, so that composing them is in vain. */
bool config_errors_full(const struct config_errors *errs);

/* Sorts `from` into the order of its file and moves all its messages behind those of `to`. */
void config_errors_move(struct config_errors *to, struct config_errors *from);

#endif
