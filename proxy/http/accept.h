/* SPDX-License-Identifier: Apache-2.0 */
/* Content negotiation, as far as weir's own answers need it (RFC 9110 section 12.5.1). Pure. */
#ifndef WEIR_HTTP_ACCEPT_H
#define WEIR_HTTP_ACCEPT_H

#include "proxy/http/msg.h"

/* The quality that an Accept value gives a media type or range, in thousandths; -1: not named. */
int accept_quality(struct span accept, struct span type);

/* Does the request name application/json, and rather than plain text? Ranges do not count: what
 * takes anything gets text. */
bool accept_prefers_json(const struct http_head *request);

#endif
