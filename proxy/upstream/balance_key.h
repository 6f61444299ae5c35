/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests have in common that go to the same endpoint: found in a request's head and hashed.
 * Pure; any thread.
 */
#ifndef WEIR_UPSTREAM_BALANCE_KEY_H
#define WEIR_UPSTREAM_BALANCE_KEY_H

#include "proxy/http/msg.h"
#include "proxy/http/stream.h"

enum balance_key_kind {
    BALANCE_KEY_NONE,
    BALANCE_KEY_CLIENT_IP, /* as a trusted peer told it last in X-Forwarded-For, or the conn's */
    BALANCE_KEY_PATH,      /* normalised, without the query */
    BALANCE_KEY_HEADER,    /* the first field of the name */
    BALANCE_KEY_COOKIE,    /* its first value */
    BALANCE_KEY_QUERY,     /* the first value of the parameter, as sent */
};

struct balance_key {
    enum balance_key_kind kind;
    struct span name; /* of the field, cookie or parameter */
};

/* The hash of it; 0 if the request has none, or an empty one. head: as the client sent it, before
 * weir edits it. */
uint64_t balance_key_hash(const struct balance_key *key, const struct http_head *head,
                          const struct http_peer *peer);

#endif
