/* SPDX-License-Identifier: Apache-2.0 */
/* POST /plan. Owns nothing; must never change anything. Control thread. */
#include "proxy/admin_plan.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/admin_body.h"
#include "proxy/base/mem.h"
#include "proxy/plan.h"

#define NAME_MAX_BYTES 4096
#define BODY_MAX       ((size_t)16 << 20) /* as large as a configuration may be */

/* ---- who is there ---- */

static uint64_t listener_conns(const void *ctx, size_t listener)
{
    const struct admin_view *v = ctx;
    uint64_t n = 0;
    for (unsigned w = 0; w < v->n_workers; w++)
        n += counter_get(&v->workers[w].latest->listeners[listener].at->conns);
    return n;
}

static uint64_t route_requests(const void *ctx, size_t route)
{
    const struct admin_view *v = ctx;
    uint32_t row = v->snapshot->routes[route].row;
    uint64_t n = 0;
    for (unsigned w = 0; w < v->n_workers; w++)
        n += counter_get(&v->workers[w].latest->rows[row]->in_flight);
    return n;
}

static const struct config_endpoints *found(const void *ctx, size_t pool)
{
    const struct admin_view *v = ctx;
    return v->snapshot->pools[pool]->found;
}

static uint64_t endpoint_requests(const void *ctx, size_t pool, size_t endpoint)
{
    const struct admin_view *v = ctx;
    return lb_endpoint_in_flight(&v->snapshot->pools[pool]->endpoints[endpoint].lb);
}

static uint64_t pool_conns_now(const void *ctx, size_t pool)
{
    const struct admin_view *v = ctx;
    uint64_t n = 0;
    for (unsigned w = 0; w < v->n_workers; w++)
        n += counter_get(&v->workers[w].latest->pool_stats[pool]->conns);
    return n;
}

/* ---- the page ---- */

struct planning {
    bool json;
    char name[NAME_MAX_BYTES];
};

static void on_body(const struct admin_ask *ask, void *ctx, struct span body)
{
    const struct planning *p = ctx;
    const struct plan_live live = {
        ask->view->snapshot, listener_conns, route_requests, found,
        endpoint_requests,   pool_conns_now, ask->view,
    };
    unsigned status;
    struct span said = ask->view->plan(ask->view->ctx, &live, p->name, body, p->json, &status);
    struct span type = status == 200 && p->json ? SPAN_LIT("application/json")
                                                : SPAN_LIT("text/plain; charset=utf-8");
    admin_text(ask, status, type, said);
    free((char *)(uintptr_t)said.ptr);
}

bool admin_plan(const struct admin_ask *ask)
{
    char as[8];
    struct span query = ask->request->query;
    if (ask->request->body == BODY_NONE) {
        admin_say(ask, 400, "the body is to be a configuration\n");
        return true;
    }
    struct planning *p = mem_need(calloc(1, sizeof(*p)));
    p->json = admin_parameter(&query, "as", as, sizeof(as)) && strcmp(as, "json") == 0;
    query = ask->request->query;
    if (!admin_parameter(&query, "file", p->name, sizeof(p->name)))
        strcpy(p->name, "(body)");
    admin_body(ask, BODY_MAX, on_body, p);
    return false;
}
