/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two messages of grpc.health.v1.Health/Check, with the five bytes that gRPC puts before each.
 * Pure; any thread.
 */
#ifndef WEIR_UPSTREAM_HEALTH_GRPC_H
#define WEIR_UPSTREAM_HEALTH_GRPC_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/span.h"

/* service: at most HEALTH_GRPC_SERVICE bytes. Returns how many were written. */
#define HEALTH_GRPC_SERVICE 255
#define HEALTH_GRPC_REQUEST (5 + 3 + HEALTH_GRPC_SERVICE)
size_t health_grpc_request(struct span service, char out[HEALTH_GRPC_REQUEST]);

/* Is it one whole message, uncompressed, whose status is SERVING? */
bool health_grpc_serving(struct span response);

#endif
