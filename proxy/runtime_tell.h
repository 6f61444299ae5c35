/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to say of a configuration that serves, or that does not. Control thread. */
#ifndef WEIR_RUNTIME_TELL_H
#define WEIR_RUNTIME_TELL_H

#include "proxy/runtime_state.h"

/* To the log. */
void runtime_log_listener(const struct runtime *rt, size_t i);
void runtime_log_summary(const struct runtime *rt);

/* The whole file or none of it: whoever waits for it must not read half. False: the log says why.
 */
bool runtime_write_ready_file(const struct runtime *rt);

/* The errors of a reload as lines, malloc'd; in the log, too. */
char *runtime_tell_errors(const struct config_errors *errs);

#endif
