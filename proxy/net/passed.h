/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets that somebody else has opened, of two kinds. A service manager's
 * (sd_listen_fds: the descriptors from 3 on, LISTEN_FDS of them, if LISTEN_PID is this process) are
 * copied, and stay open until the process ends, so that what comes while weir starts again waits in
 * the kernel. Those of the weir that this one takes over from (takeover.h) are taken, and what
 * nobody takes is closed. Control thread only, but for passed_is_managed.
 */
#ifndef WEIR_NET_PASSED_H
#define WEIR_NET_PASSED_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/net/addr.h"

/* A copy, non-blocking, of the manager's that listens on this address; -1: none does. */
int passed_socket(const struct net_addr *addr);

/* Whether its path, if it has one, is not ours to remove: it is the manager's, or another weir
 * listens there by now. */
bool passed_has(const struct net_addr *addr);

/* The manager's, one after the other; -1: that were all. */
int passed_managed(size_t i);

/* Is it one of the manager's, or a copy: does it listen on when weir has closed it? Any thread,
 * once there are workers. */
bool passed_is_managed(int fd);

/* One that another weir passes on: of the manager's. Taken over. Before there are workers. */
void passed_add_managed(int fd);

/* One of its own: of the listener of that name, which was to be on this address. Taken over. */
void passed_add(int fd, const char *name, const char *asked);

/* One for the listener of that name on this address, the caller's from now on; -1: there is none
 * (any more). Only where the kernel chose the port does the name matter. */
int passed_take(const struct net_addr *asked, const char *name);

/* Closes what was not taken, and tells of each socket whose it was, as passed_add was; dropped may
 * be NULL. A path that it has is left to whoever has passed it on. */
void passed_drop(void (*dropped)(const char *name, const char *asked));

/* Another weir has all that this one listens on. */
void passed_on(void);

#endif
