/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that weir writes itself: errors with Proxy-Status (RFC 9209), and the admin's pages. */
#ifndef WEIR_REPLY_H
#define WEIR_REPLY_H

#include "proxy/http/stream.h"
#include "proxy/net/reactor.h"

/* Sends a whole error response for a reason that has a status, and ends the message; the caller
 * releases the stream. A gRPC call is told by grpc-status. request may be half parsed. id: empty
 * when there is none. detail: what else there is to say of the reason, printable ASCII; or NULL.
 * Returns the length of the body that was sent. */
size_t reply_error(struct reactor *r, struct stream *s, const struct http_head *request,
                   enum reason reason, const char *detail, struct span id);

/* The HTTP status of that response: 200 for a gRPC call, which has its own. */
unsigned reply_status(const struct http_head *request, enum reason reason);

/* Answers 308 with the request's own target at https:// and this port, and ends the message. False:
 * the request names no host, and nothing was sent. *scratch: NULL or a block of the caller's, who
 * drops it after the stream. */
bool reply_to_https(struct reactor *r, struct stream *s, const struct http_head *request,
                    uint32_t port, struct block **scratch);

/* Sends a whole 405 that names the methods there are, such as "GET, HEAD". */
void reply_not_allowed(struct reactor *r, struct stream *s, struct span allow);

struct reply_field {
    struct span name, value;
};

/* Sends a whole response with n more fields, and ends the message. body is emptied. */
void reply_send_fields(struct reactor *r, struct stream *s, unsigned status,
                       struct span content_type, const struct reply_field *fields, unsigned n,
                       struct chain *body);

/* The same without them. */
void reply_send(struct reactor *r, struct stream *s, unsigned status, struct span content_type,
                struct chain *body);

#endif
