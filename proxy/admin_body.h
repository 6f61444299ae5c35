/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a request to the admin listener, as a whole. Control thread. */
#ifndef WEIR_ADMIN_BODY_H
#define WEIR_ADMIN_BODY_H

#include "proxy/admin_page.h"

/* Answers, once: the body is valid during the call, and so is ask, without its request. */
typedef void admin_body_fn(const struct admin_ask *ask, void *ctx, struct span body);

/* Waits for the body and calls done with it; one of more than max bytes is answered 413 instead.
 * ctx is malloc's and is freed behind that, or when the client goes. The page's answer comes
 * later. */
void admin_body(const struct admin_ask *ask, size_t max, admin_body_fn *done, void *ctx);

#endif
