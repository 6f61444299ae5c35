/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to an upstream and its answer, whose heads are as in HTTP/1, over HTTP/2: upgrades are
 * extended CONNECTs there (RFC 8441). Conn's thread.
 */
#ifndef WEIR_HTTP_H2_REQUEST_H
#define WEIR_HTTP_H2_REQUEST_H

#include "proxy/http/h2_session.h"

/* Is it to be an extended CONNECT, if the upstream has that? Only its settings tell. */
bool h2_request_extends(const struct http_head *head);

/* Gives it to nghttp2: an upgrade that the upstream has no extended CONNECT for is left out, as any
 * server may. A failure is told by the next turn. */
void h2_request_submit(struct h2_stream *s, const struct http_head *head);

/* Makes a final head that came in what it would be in HTTP/1. */
void h2_answer_settle(struct h2_stream *s, struct http_head *head);

/* Submits the upgrades that wait for the peer's settings, once those are there. */
void h2_request_unhold(struct h2_session *h);

#endif
