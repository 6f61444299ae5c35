/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and sockets of load_net.c. */
#ifndef BENCH_LOAD_DIAL_H
#define BENCH_LOAD_DIAL_H

#include "bench/load_net.h"

/* Fills family and address from --to; ends the program if it is none. */
void dial_address(struct net *n);

/* Raises RLIMIT_NOFILE; ends the program if it is too low for so many conns. */
void dial_file_limit(unsigned connections);

/* Sets c->fd to a socket that connects or is connected: 0, EINPROGRESS, or why it failed (then
 * fd is -1). */
int dial(struct net *n, struct conn *c);

#endif
