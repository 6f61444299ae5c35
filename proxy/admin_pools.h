/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's pages below /pools: what there is to say of pools and their endpoints, as JSON, and
 * what an operator may do to an endpoint:
 *
 *   GET  /pools, /pools/NAME, /pools/NAME/endpoints/ADDRESS
 *   POST /pools/NAME/endpoints/ADDRESS/drain, .../undrain, .../weight/N
 *
 * An address is one as /metrics names it, percent-encoded where a path needs that. A POST answers
 * with what the endpoint is now, and may be repeated. It has to show that no web page sends it: by
 * a field X-Weir or a JSON content type, and by the absence of Origin.
 */
#ifndef WEIR_ADMIN_POOLS_H
#define WEIR_ADMIN_POOLS_H

#include "proxy/http/stream.h"
#include "proxy/snapshot.h"

/* Is it the path of such a page? */
bool admin_pools_path(struct span path);

/* Answers a request for one, and ends the message; the caller releases the stream. Control
 * thread. */
void admin_pools(struct reactor *r, const struct snapshot *snap, struct stream *s,
                 const struct http_head *request);

#endif
