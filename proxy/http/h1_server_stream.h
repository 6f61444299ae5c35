/* SPDX-License-Identifier: Apache-2.0 */
/* How a request of an HTTP/1 client conn is answered. Private to h1_server.c. Reactor's thread. */
#ifndef WEIR_HTTP_H1_SERVER_STREAM_H
#define WEIR_HTTP_H1_SERVER_STREAM_H

#include "proxy/http/h1_server_state.h"

/* The stream of the request whose head the parser has, which it takes; the conn must have none. It
 * is freed by its release. */
struct h1_stream *h1_stream_open(struct h1_server *srv);

#endif
