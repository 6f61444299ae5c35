/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration that is a key of etcd, instead of a file: read when weir starts, watched from
 * then on, and applied as a file that is read again. What relative paths in it refer to is the
 * folder that weir was started in. A copy of what served last may be kept in a file, for a start
 * without etcd. Control thread.
 */
#ifndef WEIR_RUNTIME_CENTRE_H
#define WEIR_RUNTIME_CENTRE_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct config_errors;
struct reactor;
struct runtime_centre;

/* url: see etcd_url.h. cache: the file of the copy, or NULL; has to outlive it. NULL with *why, a
 * static text: the URL is none. */
struct runtime_centre *runtime_centre_new(const char *url, const char *cache, const char **why);
/* Once it has stopped. NULL is fine. */
void runtime_centre_free(struct runtime_centre *centre);

/* What it is called in messages. */
const char *runtime_centre_name(const struct runtime_centre *centre);

/* The first, which is waited for, at most so long; from then on the copy will do. Blocks, with a
 * loop of its own. As config_load_file, but errs has nothing else. */
int runtime_centre_first(struct runtime_centre *centre, uint64_t wait_ms, struct config **out,
                         struct config_errors *errs);

/* Watches. changed: there is something to load, or, if asked, it is known whether there is; from
 * the loop. */
void runtime_centre_start(struct runtime_centre *centre, struct reactor *r,
                          void (*changed)(void *ctx, bool asked), void *ctx);
/* The loop has to run before runtime_centre_free. NULL is fine, and one that was not started. */
void runtime_centre_stop(struct runtime_centre *centre);

/* Asks etcd what the key has now; changed follows. */
void runtime_centre_ask(struct runtime_centre *centre);

/* Loads what etcd said last. As config_load_file. */
int runtime_centre_load(struct runtime_centre *centre, struct config **out,
                        struct config_errors *errs);

/* What was loaded last serves: it is the copy from now on. */
void runtime_centre_keep(struct runtime_centre *centre);
/* ... or comes to nothing. */
void runtime_centre_drop(struct runtime_centre *centre);

struct runtime_centre_status {
    uint64_t revision; /* of the key, as it serves; 0: as the copy has it */
    const char *error; /* why etcd cannot be asked, or that the key is gone; or NULL */
};

struct runtime_centre_status runtime_centre_status(const struct runtime_centre *centre);

/* Calls fn for every file that it reads, and for the one that it writes. */
void runtime_centre_files(const struct runtime_centre *centre,
                          void (*fn)(void *ctx, const char *path, bool write), void *ctx);

#endif
