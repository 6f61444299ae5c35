/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy has to know of gRPC (grpc.io, "gRPC over HTTP2"): which requests are calls, how long
 * the caller waits, what became of it, and how weir's own errors are told to one. Pure; any thread.
 */
#ifndef WEIR_HTTP_GRPC_H
#define WEIR_HTTP_GRPC_H

#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

/* Of grpc's statuscodes.md. */
enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

/* A POST whose Content-Type is application/grpc, bare, with a +suffix or with parameters. gRPC-Web
 * is none: its answers look different. */
bool grpc_is_call(const struct http_head *request);

/* The time that the caller gives a call, in ms, rounded up. False: it is no call, or it names none,
 * or what it names is malformed. */
bool grpc_timeout(const struct http_head *request, uint64_t *ms);

/* The status code that a response has in its head, if it has nothing else, or in its trailers;
 * UNKNOWN if that is no number. False: there is none. */
bool grpc_status(const struct http_head *head, unsigned *code);

/* What it would be as an HTTP status, as Envoy has it: 503 for UNAVAILABLE. */
unsigned grpc_http_status(unsigned code);

/* Is it an answer that is nothing but the status UNAVAILABLE? */
bool grpc_unavailable(const struct http_head *response);

/* The status code for a reason that has an HTTP status. */
unsigned grpc_status_of(enum reason reason);

#endif
