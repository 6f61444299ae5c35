/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets between processes of weir, on a SOCK_SEQPACKET socket of AF_UNIX: some bytes, and with
 * them at most one descriptor. Any thread.
 */
#ifndef WEIR_NET_FD_PACKET_H
#define WEIR_NET_FD_PACKET_H

#include <stddef.h>

#define FD_PACKET_MAX 1024 /* bytes of one */

/* fd: sent along, or -1; stays the caller's. 0 or errno; EAGAIN: a non-blocking socket is full. */
int fd_packet_send(int sock, const void *bytes, size_t len, int fd);

/*
 * Waits for one, unless the socket is non-blocking. *len is how many bytes it has, followed by a
 * NUL; 0: the other side has closed. *fd: what came along, closed on exec and the caller's from now
 * on, or -1. 0 or errno; EMSGSIZE: it does not fit; EMFILE: there is no descriptor left for what
 * came along.
 */
int fd_packet_recv(int sock, char bytes[FD_PACKET_MAX + 1], size_t *len, int *fd);

#endif
