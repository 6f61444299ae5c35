/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations that nobody wrote as a file: a verb's options stand for them. Control thread.
 */
#ifndef WEIR_CONFIG_WRITTEN_H
#define WEIR_CONFIG_WRITTEN_H

#include <stdio.h>

#include "config/config.h"

#define COMMAND_LINE "(command line)" /* in the place of the file's name */

/* Loads what `write` writes of `from`, as config_load_text does. `name` puts the options that are
 * meant in the place of the paths and lines of errors. */
int config_load_written(void (*write)(FILE *out, const void *from), const void *from,
                        void (*name)(struct config_errors *errs), struct config **out,
                        struct config_errors *errs);

#endif
