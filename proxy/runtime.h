/* SPDX-License-Identifier: Apache-2.0 */
/* From a checked configuration to a serving process. Control thread. */
#ifndef WEIR_RUNTIME_H
#define WEIR_RUNTIME_H

struct config;
struct config_errors;

/* Runs until told to stop by a signal (see control.h). ready_file: NULL, or where to write which
 * addresses are bound once all workers listen. Problems are added to errs, with their position in
 * the file; the caller prints them when 1 is returned. */
int runtime_run(const struct config *cfg, const char *ready_file, struct config_errors *errs);

#endif
