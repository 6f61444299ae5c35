/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header fields: which names weir knows by number, and what a proxy must do with them. Pure; any
 * thread.
 */
#ifndef WEIR_HTTP_FIELDS_H
#define WEIR_HTTP_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"

/* X(id, lower-case name, hop-by-hop: RFC 9110 section 7.6.1 and the list of BEHAVIOUR 2) */
#define HTTP_FIELDS(X)                                       \
    X(HOST, "host", false)                                   \
    X(CONNECTION, "connection", true)                        \
    X(KEEP_ALIVE, "keep-alive", true)                        \
    X(PROXY_CONNECTION, "proxy-connection", true)            \
    X(TE, "te", true)                                        \
    X(TRANSFER_ENCODING, "transfer-encoding", true)          \
    X(UPGRADE, "upgrade", true)                              \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", true)        \
    X(PROXY_AUTHORIZATION, "proxy-authorization", true)      \
    X(HTTP2_SETTINGS, "http2-settings", true)                \
    X(CONTENT_LENGTH, "content-length", false)               \
    X(CONTENT_TYPE, "content-type", false)                   \
    X(GRPC_TIMEOUT, "grpc-timeout", false)                   \
    X(GRPC_STATUS, "grpc-status", false)                     \
    X(TRACEPARENT, "traceparent", false)                     \
    X(EXPECT, "expect", false)                               \
    X(DATE, "date", false)                                   \
    X(ACCEPT, "accept", false)                               \
    X(USER_AGENT, "user-agent", false)                       \
    X(REFERER, "referer", false)                             \
    X(VIA, "via", false)                                     \
    X(FORWARDED, "forwarded", false)                         \
    X(X_FORWARDED_FOR, "x-forwarded-for", false)             \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", false)         \
    X(X_FORWARDED_HOST, "x-forwarded-host", false)           \
    X(X_REQUEST_ID, "x-request-id", false)                   \
    X(X_CLIENT_CERT_SUBJECT, "x-client-cert-subject", false) \
    X(X_CLIENT_CERT_SAN, "x-client-cert-san", false)         \
    X(TRAILER, "trailer", false)                             \
    X(RETRY_AFTER, "retry-after", false)

enum field_id {
    FIELD_OTHER,
#define X(id, name, hop) FIELD_##id,
    HTTP_FIELDS(X)
#undef X
        FIELD_ID_COUNT
};

/* The number of a name, in any case; FIELD_OTHER for all the rest. */
enum field_id field_lookup(struct span name);

/* Its name, in lower case, which lasts; empty for FIELD_OTHER. */
struct span field_text(enum field_id id);

/* Is its value another one in nearly every message of a conn that many clients share? HPACK's table
 * is not for those: they push out what repeats, and are looked for in vain. */
bool field_varies(enum field_id id);

/* Must a proxy remove it, whatever Connection says? */
bool field_hop_by_hop(enum field_id id);

/* May a Connection field name it for removal? What is meant for every recipient may not be taken
 * away by a peer (RFC 9110 section 7.6.1): not Host, not Authorization, not X-Forwarded-For. */
bool field_removable(struct span name);

/* Is it allowed in a trailer section? Framing, routing and the like are not (RFC 9110 6.5.1). */
bool field_in_trailers(enum field_id id);

/* A token (RFC 9110 section 5.6.2), not empty. */
bool token_valid(struct span s);

#endif
