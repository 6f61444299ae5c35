/* SPDX-License-Identifier: Apache-2.0 */
/* Rights of the process, and of a thread. Control thread, but for what says so. */
#ifndef WEIR_PRIVILEGES_H
#define WEIR_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Becomes the user, for good, with the group (NULL: its own and those it is in), and keeps no right
 * of root's but that to listen on ports under 1024. Before there is another thread. Nothing to do
 * for who is that user already. False with why: it is not, or not wholly, done, and nobody should
 * be served.
 */
bool privileges_become(const char *user, const char *group, char *why, size_t size);

/* This thread gives up whatever rights it has, unless it is root's. Any thread. */
void privileges_drop_thread(void);

#endif
