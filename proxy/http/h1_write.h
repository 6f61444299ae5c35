/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 heads and chunk framing to bytes, into a conn's queue. A head is always written anew from
 * its fields, never copied from the wire. One thread: the conn's.
 */
#ifndef WEIR_HTTP_H1_WRITE_H
#define WEIR_HTTP_H1_WRITE_H

#include "proxy/http/msg.h"
#include "proxy/net/conn.h"

/* What the codec adds to the fields of a head. */
struct h1_framing {
    bool chunked;        /* Transfer-Encoding: chunked */
    bool empty;          /* Content-Length: 0 */
    bool close;          /* Connection: close */
    bool keep_alive;     /* Connection: keep-alive */
    struct span upgrade; /* Connection: upgrade, and Upgrade itself */
    /* With an upgrade: Sec-WebSocket-Key of a request, Sec-WebSocket-Accept of a response. */
    struct span websocket;
};

/* Queues a request head: method, path and query of head, HTTP/1.1, its fields that are not dropped.
 */
void h1_write_request(struct conn *c, const struct http_head *head,
                      const struct h1_framing *framing);

/* Queues a response head. */
void h1_write_response(struct conn *c, const struct http_head *head,
                       const struct h1_framing *framing);

/* Queues body bytes, in a chunk of their own if chunked. Empties the chain. */
void h1_write_body(struct conn *c, struct chain *body, bool chunked);

/* Queues the last chunk and the trailers (NULL or empty: none). */
void h1_write_last_chunk(struct conn *c, const struct http_head *trailers);

#endif
