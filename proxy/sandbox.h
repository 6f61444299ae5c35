/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process that somebody else has come to command could do. Three walls, each as far as this
 * kernel has it: no_new_privs (no program gives rights back), landlock (files are those of the
 * folders that were named), seccomp (only calls that weir makes; fewer for workers, which know
 * every socket and no file). Once entered it is for good, and for all threads that are made
 * afterwards. Control thread, but for what says so.
 */
#ifndef WEIR_SANDBOX_H
#define WEIR_SANDBOX_H

#include <stdbool.h>

enum sandbox_use {
    SANDBOX_READ,  /* the file, and all that is in its folder, as files are replaced by others */
    SANDBOX_WRITE, /* the same, to be written and made anew, too */
    SANDBOX_FILE,  /* this file alone, to be read and written */
};

struct sandbox;

struct sandbox *sandbox_new(void);
void sandbox_free(struct sandbox *s);

/* Before it is entered. A directory stands for what is in it. What is not there is left out. */
void sandbox_allow(struct sandbox *s, const char *path, enum sandbox_use use);

/* Enters it; the log says which walls there are, and why one is not. What fails is left out: it
 * is no reason not to serve. */
void sandbox_enter(struct sandbox *s);

/* Whether this build and this kernel have landlock. */
bool sandbox_can_wall(void);

/* Whether files were walled off, so that what others may read can be refused here. */
bool sandbox_has_walls(void);

/* A worker's thread begins: it needs less. That thread. */
void sandbox_enter_worker(void);

/* The walls that there may be in this build and on this kernel, at most SANDBOX_WALLS, in words
 * that live as long as the process. Returns how many. */
#define SANDBOX_WALLS 3
unsigned sandbox_features(const char *words[SANDBOX_WALLS]);

#endif
