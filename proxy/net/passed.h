/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets that a service manager has opened before it started weir (sd_listen_fds): the
 * descriptors from 3 on, LISTEN_FDS of them, if LISTEN_PID is this process. They stay open until it
 * ends, so that what comes while weir starts again waits in the kernel. Control thread only.
 */
#ifndef WEIR_NET_PASSED_H
#define WEIR_NET_PASSED_H

#include <stdbool.h>

#include "proxy/net/addr.h"

/* A copy, non-blocking, of the one that listens on this address; -1: none does. */
int passed_socket(const struct net_addr *addr);

/* Whether one does: its path, if it has one, is not ours to remove. */
bool passed_has(const struct net_addr *addr);

#endif
