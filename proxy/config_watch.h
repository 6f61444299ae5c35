/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's file, which is read again when it has changed and has come to rest
 * (watch/file_watch.h), if it says so itself. Control thread.
 */
#ifndef WEIR_CONFIG_WATCH_H
#define WEIR_CONFIG_WATCH_H

#include <stdint.h>
#include <uv.h>

struct config_watch;

/* Watches nothing yet. changed: told, from the loop, that the file is to be read. Never NULL. */
struct config_watch *config_watch_new(uv_loop_t *loop, void (*changed)(void *ctx), void *ctx);

/* Watches the file at path, which was read in that state (file_state.h), or nothing for NULL. The
 * path is copied. Not after config_watch_close; fine from within changed. */
void config_watch_use(struct config_watch *watch, const char *path, uint64_t state);

/* The file that is watched was read in that state, and is no good; what is watched stays. */
void config_watch_failed(struct config_watch *watch, uint64_t state);

/* Stops; the loop must run before config_watch_free. NULL is fine for both. */
void config_watch_close(struct config_watch *watch);
void config_watch_free(struct config_watch *watch);

#endif
