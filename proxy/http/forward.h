/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy changes in a head on its way (RFC 9110 section 7.6, RFC 7239): hop-by-hop fields go,
 * forwarding fields come. Edits the head in place: drops by flag, adds at the end. Pure but for the
 * scratch block that long values are built in; one thread.
 */
#ifndef WEIR_HTTP_FORWARD_H
#define WEIR_HTTP_FORWARD_H

#include "proxy/base/buf.h"
#include "proxy/http/stream.h"

struct forward_options {
    bool forwarded; /* emit Forwarded */
    bool via;       /* emit Via */
};

/* The client's own request id if the head has one that is fit to be passed on and logged (1 to 128
 * visible ASCII characters), else made. Valid as long as the head and made. */
struct span request_id_of(struct http_head *head, struct span made);

/*
 * Prepares a request head for the upstream. id: what request_id_of settled on. *scratch: NULL, or a
 * block that the caller owns; taken from pool when needed and then the caller's to drop after the
 * head.
 */
void forward_request(struct http_head *head, const struct http_peer *peer,
                     const struct forward_options *options, struct span id, struct buf_pool *pool,
                     struct block **scratch);

/* Prepares a response head for the client. date: for responses that have none. */
void forward_response(struct http_head *head, const struct forward_options *options,
                      struct span date);

/* Drops what may not stand in a trailer section. */
void forward_trailers(struct http_head *trailers, bool request);

#endif
