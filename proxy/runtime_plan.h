/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reload would change: two configurations compared, each by the names and addresses that
 * things keep over a reload, and who is in the midst of it now. Changes nothing. Control thread.
 */
#ifndef WEIR_RUNTIME_PLAN_H
#define WEIR_RUNTIME_PLAN_H

#include "proxy/base/json.h"
#include "proxy/plan.h"

struct config;

enum plan_how { PLAN_ADDED, PLAN_CHANGED, PLAN_REMOVED };

enum plan_kind { PLAN_LISTENER, PLAN_ROUTE, PLAN_POOL, PLAN_ENDPOINT, PLAN_SETTING };

struct plan_change {
    enum plan_how how;
    enum plan_kind kind;
    const char *name, *pool; /* pool: of an endpoint. Borrowed from the configurations */
    bool restart;            /* it takes effect when weir starts again */
    uint64_t in_flight;      /* requests that are there now, and end as they began */
    uint64_t clients;        /* of their conns that would be closed, when they are idle */
    uint64_t upstreams;      /* conns to endpoints that would be, likewise */
};

struct plan {
    struct plan_change *changes;
    size_t n, room;
};

/* Both configurations must live as long as the plan. */
void plan_make(struct plan *plan, const struct config *now, const struct config *next,
               const struct plan_live *live);
void plan_fini(struct plan *plan);

/* As lines. The text is malloc's; never NULL. */
char *plan_text(const struct plan *plan, size_t *len);

/* ctx: the plan. */
void plan_json(struct json *j, const void *ctx);

#endif
