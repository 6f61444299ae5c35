/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC as seen from outside. Owns nothing; any thread. */
#include "proxy/http/grpc.h"

#include "proxy/base/check.h"

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

bool grpc_status(const struct http_head *head, unsigned *code)
{
    const struct http_field *f = find(head, FIELD_GRPC_STATUS);
    if (f == NULL)
        return false;
    *code = 0;
    for (unsigned i = 0; i < f->value_len; i++)
        *code = f->value[i] >= '0' && f->value[i] <= '9' && *code < 100
                    ? *code * 10 + (unsigned)(f->value[i] - '0')
                    : 1000;
    if (f->value_len == 0 || *code >= 1000)
        *code = GRPC_UNKNOWN;
    return true;
}

unsigned grpc_http_status(unsigned code)
{
    static const uint16_t statuses[] = {
        [GRPC_OK] = 200,
        [GRPC_CANCELLED] = 499,
        [GRPC_UNKNOWN] = 500,
        [GRPC_INVALID_ARGUMENT] = 400,
        [GRPC_DEADLINE_EXCEEDED] = 504,
        [GRPC_NOT_FOUND] = 404,
        [GRPC_ALREADY_EXISTS] = 409,
        [GRPC_PERMISSION_DENIED] = 403,
        [GRPC_RESOURCE_EXHAUSTED] = 429,
        [GRPC_FAILED_PRECONDITION] = 400,
        [GRPC_ABORTED] = 409,
        [GRPC_OUT_OF_RANGE] = 400,
        [GRPC_UNIMPLEMENTED] = 501,
        [GRPC_INTERNAL] = 500,
        [GRPC_UNAVAILABLE] = 503,
        [GRPC_DATA_LOSS] = 500,
        [GRPC_UNAUTHENTICATED] = 401,
    };
    return code < ARRAY_LEN(statuses) ? statuses[code] : 500;
}

bool grpc_unavailable(const struct http_head *response)
{
    unsigned code;
    return response->body == BODY_NONE && grpc_status(response, &code) && code == GRPC_UNAVAILABLE;
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
