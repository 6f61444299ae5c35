/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a registry's state: it is there as a whole or not at all. It is written by libuv's
 * threads, some time after a change, so that many changes are one; by one of them at a time. What
 * cannot be written is tried again, and told once. Control thread.
 */
#ifndef WEIR_DISCOVERY_REGISTRY_FILE_H
#define WEIR_DISCOVERY_REGISTRY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "config/config.h"
#include "config/mem.h"

#define REGISTRY_FILE_WHY 512

/* A file that is not there says that nobody is registered. *mem: the caller's to config_mem_free;
 * may be NULL. False, and nobody is registered: why is one line. */
bool registry_file_read(const char *path, struct config_registered *to, struct config_mem **mem,
                        char why[REGISTRY_FILE_WHY]);

struct registry_file;

/* path is copied. describe: who is registered now, as mem has it; called from the loop and from
 * within _hold and _end. Never NULL. */
struct registry_file *
registry_file_new(uv_loop_t *loop, const char *path,
                  struct config_registered *(*describe)(void *ctx, struct config_mem *mem),
                  void *ctx);

/* It is not written any more what there is: so many entries. */
void registry_file_changed(struct registry_file *f, size_t entries);

/* What is not written yet is, at once; from then on nothing is, until it is released. False: that
 * takes a while; settled follows, whether it could be written or not. May be called again. */
bool registry_file_hold(struct registry_file *f, void (*settled)(void *ctx), void *ctx);
void registry_file_release(struct registry_file *f);

/* Of what was tried last, or NULL; valid until the next try. */
const char *registry_file_error(const struct registry_file *f);
/* How often it could not be written. */
uint64_t registry_file_errors(const struct registry_file *f);

/* Writes what is not written, unless it is held; frees itself once the loop has run. NULL is fine.
 */
void registry_file_end(struct registry_file *f);

#endif
