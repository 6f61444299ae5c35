/* SPDX-License-Identifier: Apache-2.0 */
/* From a checked configuration to a serving process. Control thread. */
#ifndef WEIR_RUNTIME_H
#define WEIR_RUNTIME_H

struct config;
struct runtime_centre;
struct config_errors;

/* Where a configuration comes from, and from where again to reload: one of them, or neither. */
struct runtime_origin {
    const char *file;
    struct runtime_centre *centre; /* stays the caller's */
};

/* Runs until told to stop by a signal (see control.h). cfg: taken over. ready_file: NULL, or where
 * to write which addresses are bound once all workers listen. launcher: see launcher.h; taken over,
 * or -1. Problems are added to errs, with their position in the file; the caller prints them when 1
 * is returned. */
int runtime_run(struct config *cfg, const struct runtime_origin *from, const char *ready_file,
                int launcher, struct config_errors *errs);

#endif
