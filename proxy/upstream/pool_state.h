/* SPDX-License-Identifier: Apache-2.0 */
/* What a view keeps of an endpoint. Private to pool.c and pool_heir.c. Reactor's thread. */
#ifndef WEIR_UPSTREAM_POOL_STATE_H
#define WEIR_UPSTREAM_POOL_STATE_H

#include "proxy/base/check.h"
#include "proxy/upstream/pool.h"

#define POOL_MAGIC MAGIC('p', 'o', 'o', 'l')

struct pool_endpoint {
    uint32_t magic;
    struct pool_view *view;
    struct list_node idle; /* the one used last is first */
    uint32_t n_idle;
    uint32_t index;
    struct list_node h2;     /* conns that have room, or are idle, which are last */
    struct list_node probes; /* conns whose protocol is not known yet */
    bool spoke_h1;           /* what the last of them came to */
    uint32_t takes;          /* streams that a conn takes at once, as was said last; 0: unknown */
    uint64_t idle_ms;
};

/* The endpoint that has the conns of one whose view was taken over from, when they are idle. NULL:
 * they stay, or would be good for none. */
struct pool_endpoint *pool_heir(const struct pool_endpoint *ep);

/* A conn is the other view's from now on, and it is a conn of the one no more. */
void pool_conn_moved(const struct pool_endpoint *from, const struct pool_endpoint *to);

/* A view has one conn less. */
void pool_conn_left(struct pool_view *view);

/* A conn of the endpoint's (struct pool_endpoint) is idle, or has room: it is listed, here or with
 * the heir, or closed. */
void pool_h1_idle(void *ctx, struct h1_client *cl);
void pool_h2_room(void *ctx, struct h2_client *cl);

#endif
