/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What routing looks at in a request's head: the one way to ask the table, for exchanges and for
 * whoever explains them. Pure; any thread.
 */
#ifndef WEIR_REQUEST_ROUTE_H
#define WEIR_REQUEST_ROUTE_H

#include "proxy/http/msg.h"
#include "proxy/route.h"

static inline unsigned request_field(const void *ctx, struct span name, struct span *value)
{
    const struct http_head *head = ctx;
    unsigned n = 0;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), name) && n++ == 0)
            *value = field_value(&head->fields[i]);
    return n;
}

/* head: as the client sent it; listener: the name of the one that it came by. Both must live as
 * long as the query. */
static inline struct route_query request_query(const struct http_head *head, const char *listener)
{
    return (struct route_query){
        .host = head->authority,
        .path = head->path,
        .method = head->method,
        .listener = span_str(listener),
        .field = request_field,
        .field_ctx = head,
    };
}

#endif
