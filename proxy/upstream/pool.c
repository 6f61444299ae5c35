/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's view of a pool. Owns the balancer and the idle conns; must never hand out a conn that
 * is closed or has unread input. Reactor's thread.
 */
#include "proxy/upstream/pool.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define POOL_MAGIC   MAGIC('p', 'o', 'o', 'l')
#define LEARN_MIN_MS 100 /* an earlier close is a restart, not a habit */

struct pool_endpoint {
    uint32_t magic;
    struct pool_view *view;
    struct list_node idle; /* the one used last is first */
    uint32_t n_idle;
    uint32_t index;
    uint64_t idle_ms;
};

struct pool_view {
    struct reactor *reactor;
    const struct pool_spec *spec;
    struct pool_stats *stats;
    struct lb *lb;
    uint32_t conns;
    bool closing;
    struct pool_endpoint endpoints[];
};

struct pool_view *pool_view_new(struct reactor *r, const struct pool_spec *spec,
                                struct pool_stats *stats, uint64_t seed)
{
    size_t n = spec->n_endpoints;
    struct pool_view *view = mem_need(calloc(1, sizeof(*view) + n * sizeof(view->endpoints[0])));
    struct lb_endpoint **shared = mem_need(calloc(n, sizeof(struct lb_endpoint *)));
    view->reactor = r;
    view->spec = spec;
    view->stats = stats;
    for (uint32_t i = 0; i < n; i++) {
        struct pool_endpoint *ep = &view->endpoints[i];
        shared[i] = &spec->endpoints[i].lb;
        *ep = (struct pool_endpoint){
            .magic = POOL_MAGIC, .view = view, .index = i, .idle_ms = spec->idle_ms};
        list_init(&ep->idle);
    }
    view->lb = lb_new(spec->policy, shared, spec->n_endpoints, seed);
    free(shared);
    return view;
}

void pool_view_free(struct pool_view *view)
{
    if (view == NULL)
        return;
    CHECK(view->conns == 0);
    lb_free(view->lb);
    free(view);
}

struct lb *pool_lb(struct pool_view *view)
{
    return view->lb;
}

const struct pool_spec *pool_spec_of(const struct pool_view *view)
{
    return view->spec;
}

struct pool_stats *pool_stats_of(struct pool_view *view)
{
    return view->stats;
}

uint64_t pool_idle_ms(const struct pool_view *view, uint32_t index)
{
    return view->endpoints[index].idle_ms;
}

/* ---- what conns tell ---- */

static void client_idle(void *ctx, struct h1_client *cl)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    if (ep->view->closing || ep->n_idle >= ep->view->spec->max_idle) {
        h1_client_close(cl, REASON_DONE);
        return;
    }
    list_push_front(&ep->idle, h1_client_link(cl));
    ep->n_idle++;
    h1_client_keep(cl, ep->idle_ms);
}

/* Stay a fifth under what was seen, so that the next request does not meet a closing conn. */
static void client_closes_after(void *ctx, uint64_t ms)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    uint64_t safe = ms - ms / 5;
    if (ms >= LEARN_MIN_MS && safe < ep->idle_ms)
        ep->idle_ms = safe;
}

/* A conn reached what was learnt and was still open: perhaps too much was learnt. */
static void client_outlived(void *ctx)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    uint64_t more = ep->idle_ms + ep->idle_ms / 20 + 1;
    ep->idle_ms = more < ep->view->spec->idle_ms ? more : ep->view->spec->idle_ms;
}

static void client_left(void *ctx)
{
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    CHECK(ep->n_idle > 0);
    ep->n_idle--;
}

static void client_closed(void *ctx, struct h1_client *cl, enum reason reason)
{
    (void)cl;
    struct pool_endpoint *ep = CAST_OBJ(pool_endpoint, ctx, POOL_MAGIC);
    struct counter *reasons = ep->view->stats->reasons;
    if (reasons != NULL && reason_row(reason)->side == SIDE_NONE)
        counter_inc(&reasons[reason]);
    CHECK(ep->view->conns > 0);
    ep->view->conns--;
    counter_dec(&ep->view->stats->conns);
}

static const struct h1_client_owner pool_owner = {
    .idle = client_idle,
    .unlisted = client_left,
    .outlived = client_outlived,
    .closes_after = client_closes_after,
    .closed = client_closed,
};

/* ---- handing out ---- */

static struct h1_client *take_idle(struct pool_endpoint *ep)
{
    struct list_node *node = list_pop_front(&ep->idle);
    if (node == NULL)
        return NULL;
    ep->n_idle--;
    return h1_client_at(node);
}

static struct h1_client *dial(struct pool_endpoint *ep, enum reason *reason)
{
    struct pool_view *view = ep->view;
    int err;
    struct h1_client *cl =
        h1_client_dial(view->reactor, &view->spec->options, &view->spec->endpoints[ep->index].addr,
                       &pool_owner, ep, &err);
    if (cl == NULL) {
        *reason = h1_client_connect_reason(err);
        return NULL;
    }
    view->conns++;
    counter_inc(&view->stats->opened);
    counter_inc(&view->stats->conns);
    return cl;
}

struct stream *pool_open(struct pool_view *view, uint32_t index, bool fresh,
                         struct pool_request *request, enum reason *reason)
{
    CHECK(index < view->spec->n_endpoints && !list_linked(&request->link));
    struct pool_endpoint *ep = &view->endpoints[index];
    struct h1_client *cl = fresh ? NULL : take_idle(ep);
    if (cl != NULL)
        counter_inc(&view->stats->reused);
    else
        cl = dial(ep, reason);
    if (cl == NULL)
        return NULL;
    return h1_client_open(cl, request->stream_events, request->owner, request->response_head_ms);
}

bool pool_shed_idle(struct pool_view *view)
{
    for (uint32_t i = 0; i < view->spec->n_endpoints; i++) {
        struct pool_endpoint *ep = &view->endpoints[i];
        if (list_empty(&ep->idle))
            continue;
        struct list_node *oldest = ep->idle.prev;
        list_unlink(oldest);
        ep->n_idle--;
        h1_client_close(h1_client_at(oldest), REASON_DONE);
        return true;
    }
    return false;
}

void pool_close_idle(struct pool_view *view)
{
    view->closing = true;
    for (uint32_t i = 0; i < view->spec->n_endpoints; i++) {
        struct h1_client *cl;
        while ((cl = take_idle(&view->endpoints[i])) != NULL)
            h1_client_close(cl, REASON_DONE);
    }
}
