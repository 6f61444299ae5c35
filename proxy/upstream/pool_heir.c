/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One view of a pool after another: what goes over to the next. Owns nothing; must never move a
 * conn to where it would have been made in another way. Reactor's thread.
 */
#include "proxy/upstream/pool_state.h"

#include <string.h>

/* Whether wherever conns of the one lead, the other's may. */
static bool leads_there(const struct endpoint_spec *from, const struct endpoint_spec *to)
{
    return from->also.len == 0 || (from->also.len == to->also.len &&
                                   memcmp(&from->also.u, &to->also.u, from->also.len) == 0);
}

struct pool_endpoint *pool_heir(const struct pool_endpoint *ep)
{
    const struct pool_view *view = ep->view;
    const struct pool_view *heir = view->over ? view->stats->heir : NULL;
    if (heir == NULL || heir->closing || heir->spec->conns != view->spec->conns)
        return NULL;
    const struct endpoint_spec *from = &view->spec->endpoints[ep->index];
    int32_t i = pool_find(heir->spec, from);
    return i >= 0 && leads_there(from, &heir->spec->endpoints[i]) ? &heir->endpoints[i] : NULL;
}

void pool_conn_moved(const struct pool_endpoint *from, const struct pool_endpoint *to)
{
    to->view->conns++;
    pool_conn_left(from->view);
}

static struct list_node *last_of(const struct list_node *head)
{
    return head->prev != head ? head->prev : NULL;
}

static void endpoint_learn(struct pool_endpoint *to, const struct pool_endpoint *from)
{
    to->spoke_h1 = from->spoke_h1;
    to->takes = from->takes;
    if (from->idle_ms < from->view->spec->idle_ms && from->idle_ms < to->idle_ms)
        to->idle_ms = from->idle_ms;
}

/* Its conns that are idle or have room, the one used last in the end, go where they all go now. */
static void endpoint_pass_on(struct pool_endpoint *ep)
{
    if (list_empty(&ep->idle) && list_empty(&ep->h2) && ep->takes == 0 &&
        ep->idle_ms == ep->view->spec->idle_ms)
        return; /* as most of ten thousand: nothing is known of it */
    struct pool_endpoint *heir = pool_heir(ep);
    struct list_node *node;
    if (heir == NULL)
        return;
    endpoint_learn(heir, ep);
    while ((node = last_of(&ep->idle)) != NULL) {
        list_unlink(node);
        ep->n_idle--;
        pool_h1_idle(ep, h1_client_at(node));
    }
    while ((node = last_of(&ep->h2)) != NULL)
        pool_h2_room(ep, h2_client_at(node));
}

static void pool_pass_on(struct pool_view *view)
{
    view->over = true;
    for (uint32_t i = 0; i < view->spec->n_endpoints; i++)
        endpoint_pass_on(&view->endpoints[i]);
}

void pool_take_over(struct pool_view *view)
{
    struct pool_view *was = view->stats->heir;
    view->stats->heir = view;
    view->over = false;
    if (was == NULL || was == view)
        return;
    if (view->latencies != NULL && view->latencies->total == 0 && was->latencies != NULL &&
        view->latencies->percent == was->latencies->percent)
        *view->latencies = *was->latencies;
    pool_pass_on(was);
}

void pool_step_down(struct pool_view *view)
{
    if (view->stats->heir == view)
        view->stats->heir = NULL;
    else if (view->conns > 0)
        pool_pass_on(view);
}
