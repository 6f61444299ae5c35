/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC as seen from outside. Owns nothing; any thread. */
#include "proxy/http/grpc.h"

/* Of grpc's statuscodes.md. */
enum {
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16,
};

#define TIMEOUT_DIGITS 8

static const struct http_field *find(const struct http_head *head, enum field_id id)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == id)
            return &head->fields[i];
    return NULL;
}

bool grpc_is_call(const struct http_head *request)
{
    static const struct span media = {"application/grpc", 16};
    if (!span_eq(request->method, SPAN_LIT("POST")))
        return false;
    const struct http_field *f = find(request, FIELD_CONTENT_TYPE);
    if (f == NULL || f->value_len < media.len ||
        !span_eq_nocase(span_of(f->value, media.len), media))
        return false;
    char next = f->value_len > media.len ? f->value[media.len] : ';';
    return next == ';' || next == '+' || next == ' ' || next == '\t';
}

/* n of a unit in ms, rounded up. False: there is no such unit. */
static bool to_ms(uint64_t n, char unit, uint64_t *ms)
{
    switch (unit) {
    case 'H':
        *ms = n * 3600000;
        return true;
    case 'M':
        *ms = n * 60000;
        return true;
    case 'S':
        *ms = n * 1000;
        return true;
    case 'm':
        *ms = n;
        return true;
    case 'u':
        *ms = (n + 999) / 1000;
        return true;
    case 'n':
        *ms = (n + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}

bool grpc_timeout(const struct http_head *request, uint64_t *ms)
{
    if (!grpc_is_call(request))
        return false;
    const struct http_field *f = find(request, FIELD_GRPC_TIMEOUT);
    if (f == NULL || f->value_len < 2 || f->value_len > TIMEOUT_DIGITS + 1)
        return false;
    uint64_t n = 0;
    for (unsigned i = 0; i + 1 < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(f->value[i] - '0');
    }
    return to_ms(n, f->value[f->value_len - 1], ms);
}

bool grpc_unavailable(const struct http_head *response)
{
    for (unsigned i = 0; response->body == BODY_NONE && i < response->n_fields; i++)
        if (span_eq_nocase(field_name(&response->fields[i]), SPAN_LIT("grpc-status")))
            return span_eq(field_value(&response->fields[i]), SPAN_LIT("14"));
    return false;
}

unsigned grpc_status_of(enum reason reason)
{
    if (reason == REASON_REQUEST_TIMEOUT)
        return GRPC_DEADLINE_EXCEEDED;
    if (reason == REASON_UPSTREAM_CANCELLED)
        return GRPC_CANCELLED;
    switch (reason_row(reason)->status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 408:
        return GRPC_DEADLINE_EXCEEDED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}
