/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of an HTTP/1 client conn when its stream is gone. Private to h1_server.c and
 * h1_server_stream.c. Nothing here calls up. Reactor's thread.
 */
#ifndef WEIR_HTTP_H1_SERVER_END_H
#define WEIR_HTTP_H1_SERVER_END_H

#include "proxy/http/h1_server_state.h"

/* Begins the clock of a conn that no request is in progress on. While an answer is on its way only
 * the write stall may end it: the clocks of what comes after it begin when it has left. */
void h1_server_arm(struct h1_server *srv);

/* Frees the parser, if there is one. */
void h1_server_drop_parser(struct h1_server *srv);

/* The request is answered and read: on to the next, or the end. asked: it was the client who wanted
 * the end, so that nothing more of its is on the way. */
void h1_server_next(struct h1_server *srv, bool keep, bool asked);

/* The request is answered: the rest of it is read and thrown away, up to a bound. */
void h1_server_drain(struct h1_server *srv);

/* Sends our end, then reads on for a while: closing a socket with unread bytes in it sends an RST,
 * which can take our answer away from the client (RFC 9112 section 9.6). */
void h1_server_linger(struct h1_server *srv, enum reason reason);

/* Closes for reason once everything queued has gone out. reset: the client is to see that something
 * is missing. */
void h1_server_close_flushed(struct h1_server *srv, enum reason reason, bool reset);

#endif
