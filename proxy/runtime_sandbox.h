/* SPDX-License-Identifier: Apache-2.0 */
/* What of the machine the configuration needs, when all else is given up. Control thread. */
#ifndef WEIR_RUNTIME_SANDBOX_H
#define WEIR_RUNTIME_SANDBOX_H

#include <stdbool.h>

struct config;
struct config_errors;
struct runtime_origin;

/* Becomes the configured user and enters the sandbox. Sockets are bound, and there is no other
 * thread yet. from, ready_file: see runtime_run. False: added to errs; nobody is to be served. */
bool runtime_sandbox(const struct config *cfg, const struct runtime_origin *from,
                     const char *ready_file, struct config_errors *errs);

/* After a reload has failed: adds how to mend it, if it may have been for the sandbox. */
void runtime_sandbox_hint(struct config_errors *errs, const char *file);

#endif
