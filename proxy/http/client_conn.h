/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker knows of a client conn, whatever it speaks: embedded in front (before the protocol
 * is known), h1_server and h2_server. Worker's thread.
 */
#ifndef WEIR_HTTP_CLIENT_CONN_H
#define WEIR_HTTP_CLIENT_CONN_H

#include "proxy/base/list.h"
#include "proxy/http/stream.h"

struct client_conn;

struct client_conn_ops {
    /* The worker closes: ends it if no request is in progress; what is in progress may finish, and
     * nothing new is taken. */
    void (*close_idle)(struct client_conn *);
    /* Ends it at once, whatever is in progress; the exchanges hear of it. */
    void (*abort)(struct client_conn *, enum reason reason);
};

struct client_conn {
    const struct client_conn_ops *ops;
    struct list_node link; /* in the worker's list, as long as the conn lives */
    struct http_peer peer;
};

static inline struct client_conn *client_conn_at(struct list_node *node)
{
    return CONTAINER_OF(node, client_conn, link);
}

static inline void client_conn_close_idle(struct client_conn *c)
{
    c->ops->close_idle(c);
}

static inline void client_conn_abort(struct client_conn *c, enum reason reason)
{
    c->ops->abort(c, reason);
}

#endif
