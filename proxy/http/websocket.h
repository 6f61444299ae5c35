/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key and its answer in the opening handshake of WebSocket over HTTP/1 (RFC 6455 section 4),
 * which HTTP/2 has not (RFC 8441 section 5): where a proxy has HTTP/1 on one side only, it makes
 * what is missing there. Pure but for the randomness of a key; any thread.
 */
#ifndef WEIR_HTTP_WEBSOCKET_H
#define WEIR_HTTP_WEBSOCKET_H

#include "proxy/http/msg.h"

#define WEBSOCKET_KEY    24 /* characters */
#define WEBSOCKET_ACCEPT 28

#define WEBSOCKET_KEY_FIELD    SPAN_LIT("Sec-WebSocket-Key")
#define WEBSOCKET_ACCEPT_FIELD SPAN_LIT("Sec-WebSocket-Accept")

/* A request that asks for WebSocket as HTTP/2 does it, to go on by HTTP/1: it needs a key. */
bool websocket_needs_key(const struct http_head *request);

/* A 101 as HTTP/2 grants it, to go back by HTTP/1: it needs the answer to *key, the request's. */
bool websocket_needs_accept(const struct http_head *request, const struct http_head *response,
                            struct span *key);

/* A new key, not NUL-terminated. False: there is no randomness to be had. */
bool websocket_key(char out[WEBSOCKET_KEY]);

/* The answer to a key, not NUL-terminated. */
void websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT]);

/* Takes the answer out of a 101, which goes to a client that knows of no key. False: it is not
 * there, not once, or not this one. */
bool websocket_take_accept(struct http_head *response, const char accept[WEBSOCKET_ACCEPT]);

#endif
