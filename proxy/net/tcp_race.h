/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second address of a host that has one of each family ("happy eyeballs", RFC 8305): it is
 * tried once the first has failed or has not answered for a while, and whichever connects first is
 * taken. Reactor's thread.
 */
#ifndef WEIR_NET_TCP_RACE_H
#define WEIR_NET_TCP_RACE_H

#include "proxy/net/addr.h"
#include "proxy/net/reactor.h"

#define TCP_RACE_MS 250 /* that the first has for itself at most */

struct tcp_race;

/* What came of the second: a connected socket, which is the owner's from then on; or -1. The race
 * is gone. Not from within what is below. */
typedef void tcp_race_fn(void *owner, int fd);

/* to is copied. within_ms: for both of them; the second has half of that at least. Never NULL. */
struct tcp_race *tcp_race_new(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                              tcp_race_fn *over, void *owner);

/* The first has failed: there is nothing left to wait for. */
void tcp_race_now(struct tcp_race *race);

/* The first has won, or nobody wants either any more. NULL is fine. */
void tcp_race_end(struct tcp_race *race);

/* A socket that connects. 0: it has; 1: that is under way; else a libuv error. *fd -1: there is
 * not even a socket. */
int tcp_connect(const struct net_addr *to, int *fd);

/* What came of it, once something has happened: 0 or a libuv error. */
int tcp_connect_status(int fd);

#endif
