/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that change while weir runs. The directories they are in are watched, and every few seconds
 * it is looked whether a file is another one, or has another time or size (file_state.h), which
 * also finds a symlink that was swapped (as Kubernetes does) and what no watch can be set on. What
 * has changed and has come to rest is to be read; what could not be made use of is read again when
 * it changes, or in a minute. The loop's thread.
 */
#ifndef WEIR_WATCH_FILE_WATCH_H
#define WEIR_WATCH_FILE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/list.h"

struct file_watch;
struct file_watched;

/* Who reads them. Called from the loop; neither begins nor ends the watch of a file. */
struct file_reader {
    /* The state of everything that is read together, now. */
    uint64_t (*state)(struct file_watched *it);
    /* Reads it. False: it is no good. *state: as of which it was read, if that is another state
     * than the one that was told last. */
    bool (*read)(struct file_watched *it, uint64_t *state);
};

/* What is read together; a part of its reader, and private to file_watch.c but for failed. */
struct file_watched {
    const struct file_reader *reader;
    struct list_node link;
    uint64_t read;     /* the state that was read last, good or not */
    uint64_t seen;     /* the state last seen */
    unsigned restless; /* looks for which it has kept changing */
    uint64_t tried_ms;
    bool failed; /* what is there was no good when it was read last */
};

/* Watches nothing yet. Never NULL. */
struct file_watch *file_watch_new(uv_loop_t *loop);

/* it: was read already, in that state; failed: in vain. Its memory stays the caller's. */
void file_watch_add(struct file_watch *watch, struct file_watched *it,
                    const struct file_reader *reader, uint64_t state, bool failed);

/* It was read in that state, good or not, by somebody who was asked to. */
void file_watch_was_read(struct file_watched *it, uint64_t state);

/* Fine if it is not watched, but zeroed or removed. */
void file_watch_remove(struct file_watched *it);

/* The directories: each path that is named between the two calls is watched (itself, if it is a
 * directory, else the one that it is in), and no other. NULL is no path. */
void file_watch_paths_begin(struct file_watch *watch);
void file_watch_path(struct file_watch *watch, const char *path);
void file_watch_paths_end(struct file_watch *watch);

/* Nothing is watched any more. It frees itself once the loop has run. NULL is fine. */
void file_watch_end(struct file_watch *watch);

#endif
