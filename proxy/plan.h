/* SPDX-License-Identifier: Apache-2.0 */
/* For planning a reload (runtime_plan.h): who is there now. Control thread. */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include <stddef.h>
#include <stdint.h>

struct config_endpoints;
struct snapshot;

/* Indices are those of the snapshot that serves, though some workers may have yet to take it. */
struct plan_live {
    const struct snapshot *snapshot;
    uint64_t (*listener_conns)(const void *ctx, size_t listener);
    uint64_t (*route_requests)(const void *ctx, size_t route);
    /* Of a pool that discovers, what it has found; or NULL. */
    const struct config_endpoints *(*found)(const void *ctx, size_t pool);
    uint64_t (*endpoint_requests)(const void *ctx, size_t pool, size_t endpoint);
    uint64_t (*pool_conns)(const void *ctx, size_t pool);
    const void *ctx;
};

#endif
