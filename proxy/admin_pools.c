/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools and endpoints for an operator. Owns nothing; must never make a worker wait, whose balancers
 * find out by themselves. Control thread.
 */
#include "proxy/admin_pools.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proxy/admin_guard.h"
#include "proxy/base/log.h"
#include "proxy/pool_state.h"
#include "proxy/reply.h"

#define WEIGHT_MAX 1000 /* as in the configuration */

struct page {
    const struct admin_ask *ask;
    uint64_t now_us;
};

/* ---- answers ---- */

/* ---- what there is to say ---- */

/* With where its endpoints come from, in *source. */
static void state_of(struct pool_state *state, struct discovery_status *source,
                     const struct discovery *d, const struct pool_spec *pool, uint64_t now_us)
{
    pool_state_init(state, pool, now_us);
    if (discovery_status(d, pool->name, source))
        state->source = source;
}

struct snapshot_state {
    const struct snapshot *snap;
    const struct discovery *discovery;
    uint64_t now_us;
};

static void write_all(struct json *j, const void *ctx)
{
    const struct snapshot_state *at = ctx;
    json_array_begin(j);
    for (size_t i = 0; i < at->snap->n_pools; i++) {
        struct pool_state state;
        struct discovery_status source;
        state_of(&state, &source, at->discovery, at->snap->pools[i], at->now_us);
        pool_state_write(j, &state, NULL);
        pool_state_fini(&state);
    }
    json_array_end(j);
    json_raw(j, "\n", 1);
}

static void show_all(const struct page *p)
{
    admin_json(
        p->ask, 200, write_all,
        &(struct snapshot_state){p->ask->view->snapshot, p->ask->view->discovery, p->now_us});
}

static void write_one(struct json *j, const void *state)
{
    pool_state_write(j, state, NULL);
    json_raw(j, "\n", 1);
}

static void show_pool(const struct page *p, const struct pool_spec *pool)
{
    struct pool_state state;
    struct discovery_status source;
    state_of(&state, &source, p->ask->view->discovery, pool, p->now_us);
    admin_json(p->ask, 200, write_one, &state);
    pool_state_fini(&state);
}

struct endpoint_of {
    const struct pool_state *state;
    uint32_t index;
};

static void write_endpoint(struct json *j, const void *ctx)
{
    const struct endpoint_of *at = ctx;
    pool_state_write_endpoint(j, at->state, at->index, NULL);
    json_raw(j, "\n", 1);
}

static void show_endpoint(const struct page *p, const struct pool_spec *pool, uint32_t i)
{
    struct pool_state state;
    pool_state_init(&state, pool, p->now_us);
    admin_json(p->ask, 200, write_endpoint, &(struct endpoint_of){&state, i});
    pool_state_fini(&state);
}

/* ---- what may be done ---- */

static void drain(const struct page *p, const struct pool_spec *pool, uint32_t i, bool on)
{
    char name[ENDPOINT_NAME];
    bool was = (lb_group_marks(pool->balance, i) & LB_DRAINED) != 0;
    lb_group_mark(pool->balance, i, LB_DRAINED, on, p->now_us);
    if (was != on)
        log_info("pool %s: %s is %s", pool->name, endpoint_name(&pool->endpoints[i], name),
                 on ? "drained, says the admin" : "not drained any more, says the admin");
}

static void set_weight(const struct page *p, const struct pool_spec *pool, uint32_t i,
                       uint32_t weight)
{
    char name[ENDPOINT_NAME];
    (void)p;
    if (lb_group_weight(pool->balance, i) == weight)
        return;
    lb_group_set_weight(pool->balance, i, weight);
    log_info("pool %s: %s has weight %u, says the admin", pool->name,
             endpoint_name(&pool->endpoints[i], name), weight);
}

/* Digits alone, 0 to WEIGHT_MAX. */
static bool weight_of(struct span text, uint32_t *weight)
{
    *weight = 0;
    for (size_t k = 0; k < text.len; k++) {
        if (text.ptr[k] < '0' || text.ptr[k] > '9' || k >= 4)
            return false;
        *weight = *weight * 10 + (uint32_t)(text.ptr[k] - '0');
    }
    return text.len > 0 && *weight <= WEIGHT_MAX;
}

/* ---- who asks for what ---- */

/* False, and answered: the method is another one. */
static bool reads(const struct page *p)
{
    const struct http_head *request = p->ask->request;
    bool ok = span_eq(request->method, SPAN_LIT("GET")) || request->is_head;
    if (!ok)
        reply_not_allowed(p->ask->reactor, p->ask->stream, SPAN_LIT("GET, HEAD"));
    return ok;
}

static bool writes(const struct page *p)
{
    if (span_eq(p->ask->request->method, SPAN_LIT("POST")))
        return admin_guard_write(p->ask);
    reply_not_allowed(p->ask->reactor, p->ask->stream, SPAN_LIT("POST"));
    return false;
}

/* A path's segments: "", "pools", NAME, "endpoints", ADDRESS, VERB, ARGUMENT. */
enum { AT_POOLS = 1, AT_POOL, AT_ENDPOINTS, AT_ENDPOINT, AT_VERB, AT_ARGUMENT, SEGMENTS };

struct place {
    struct span at[SEGMENTS];
    unsigned n; /* SEGMENTS + 1: there are more */
};

/* place: zeroed. */
static void split(struct place *place, struct span path)
{
    struct span segment;
    while (place->n <= SEGMENTS && span_next_piece(&path, '/', &segment)) {
        if (place->n < SEGMENTS)
            place->at[place->n] = segment;
        place->n++;
    }
}

static void obey(const struct page *p, const struct place *place, const struct pool_spec *pool,
                 uint32_t i)
{
    struct span verb = place->at[AT_VERB];
    bool on = span_eq(verb, SPAN_LIT("drain")), off = span_eq(verb, SPAN_LIT("undrain"));
    bool weigh = span_eq(verb, SPAN_LIT("weight"));
    uint32_t weight = 0;
    if (!(on || off || weigh) || place->n != AT_VERB + (weigh ? 2 : 1)) {
        admin_say(p->ask, 404, "no such verb; there are drain, undrain and weight/N\n");
        return;
    }
    if (!writes(p))
        return;
    if (weigh && !weight_of(place->at[AT_ARGUMENT], &weight)) {
        admin_say(p->ask, 400, "a weight is a number from 0 to %d\n", WEIGHT_MAX);
        return;
    }
    if (weigh)
        set_weight(p, pool, i, weight);
    else
        drain(p, pool, i, on);
    show_endpoint(p, pool, i);
}

static const struct pool_spec *find_pool(const struct snapshot *snap, struct span segment)
{
    for (size_t i = 0; i < snap->n_pools; i++)
        if (admin_segment_is(segment, span_str(snap->pools[i]->name)))
            return snap->pools[i];
    return NULL;
}

static int64_t find_endpoint(const struct pool_spec *pool, struct span segment)
{
    char name[ENDPOINT_NAME];
    for (uint32_t i = 0; i < pool->n_endpoints; i++)
        if (admin_segment_is(segment, span_str(endpoint_name(&pool->endpoints[i], name))))
            return i;
    return -1;
}

static void page_of_pool(const struct page *p, const struct place *place,
                         const struct pool_spec *pool)
{
    int64_t endpoint = -1;
    if (place->n == AT_POOL + 1) {
        if (reads(p))
            show_pool(p, pool);
        return;
    }
    if (place->n >= AT_ENDPOINT + 1 && span_eq(place->at[AT_ENDPOINTS], SPAN_LIT("endpoints")))
        endpoint = find_endpoint(pool, place->at[AT_ENDPOINT]);
    if (endpoint < 0)
        admin_say(p->ask, 404, "no such endpoint; /pools/%s lists them\n", pool->name);
    else if (place->n > AT_ENDPOINT + 1)
        obey(p, place, pool, (uint32_t)endpoint);
    else if (reads(p))
        show_endpoint(p, pool, (uint32_t)endpoint);
}

void admin_pools(const struct admin_ask *ask)
{
    const struct page p = {ask, uv_hrtime() / 1000};
    const struct pool_spec *pool;
    struct place place = {0};
    split(&place, ask->request->path);
    if (place.n == AT_POOLS + 1) {
        if (reads(&p))
            show_all(&p);
    } else if ((pool = find_pool(ask->view->snapshot, place.at[AT_POOL])) != NULL) {
        page_of_pool(&p, &place, pool);
    } else {
        admin_say(ask, 404, "no such pool; /pools lists them\n");
    }
}
