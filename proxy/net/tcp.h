/* SPDX-License-Identifier: Apache-2.0 */
/* Transport over a TCP or Unix stream socket that the reactor watches. Reactor's thread. */
#ifndef WEIR_NET_TCP_H
#define WEIR_NET_TCP_H

#include "proxy/net/addr.h"
#include "proxy/net/transport.h"

/* Adopts a connected non-blocking socket. Closes fd and returns NULL on failure. */
struct transport *tcp_adopt(struct reactor *r, int fd, bool is_unix,
                            const struct transport_events *events, void *owner);

/* Begins to connect; events->connected tells the outcome, always in a later callback. NULL with
 * *err set to a libuv error when not even a socket can be had. within_ms: how long the owner will
 * wait, of which the first of two addresses has half for itself at most. */
struct transport *tcp_dial(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                           const struct transport_events *events, void *owner, int *err);

#endif
