/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a proxy has to know of gRPC (grpc.io, "gRPC over HTTP2"): which requests are calls, how long
 * the caller waits, and how weir's own errors are told to one. Pure; any thread.
 */
#ifndef WEIR_HTTP_GRPC_H
#define WEIR_HTTP_GRPC_H

#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

/* A POST whose Content-Type is application/grpc, bare, with a +suffix or with parameters. gRPC-Web
 * is none: its answers look different. */
bool grpc_is_call(const struct http_head *request);

/* The time that the caller gives a call, in ms, rounded up. False: it is no call, or it names none,
 * or what it names is malformed. */
bool grpc_timeout(const struct http_head *request, uint64_t *ms);

/* Is it an answer that is nothing but the status UNAVAILABLE? */
bool grpc_unavailable(const struct http_head *response);

/* The status code for a reason that has an HTTP status. */
unsigned grpc_status_of(enum reason reason);

#endif
