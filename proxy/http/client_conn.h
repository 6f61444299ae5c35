/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker knows of a client conn, whatever it speaks: embedded in front (before the protocol
 * is known), h1_server and h2_server. Worker's thread.
 */
#ifndef WEIR_HTTP_CLIENT_CONN_H
#define WEIR_HTTP_CLIENT_CONN_H

#include "proxy/base/list.h"
#include "proxy/http/stream.h"
#include "proxy/net/conn.h"
#include "proxy/net/tls.h"

struct client_conn;

struct client_conn_ops {
    /* The worker closes: ends it if no request is in progress; what is in progress may finish, and
     * nothing new is taken. */
    void (*close_idle)(struct client_conn *);
    /* The worker takes no new conns, and this one is to end without a loss: tells the client, if
     * that can be told between requests (HTTP/2). Else the next answer says so. NULL: it can't. */
    void (*leave)(struct client_conn *);
    /* Ends it at once, whatever is in progress; the exchanges hear of it. */
    void (*abort)(struct client_conn *, enum reason reason);
};

struct client_conn {
    const struct client_conn_ops *ops;
    struct list_node link; /* in the worker's list, as long as the conn lives */
    struct http_peer peer;
};

/* How long (ms), and for how many bytes, a conn that has sent its end still reads, so that no RST
 * takes what it has sent away from the client. */
#define CLIENT_LINGER_MS    2000
#define CLIENT_LINGER_BYTES (256 * 1024)

/* Puts it at the end of a list; list_unlink of its link takes it out. */
static inline void client_conn_init(struct client_conn *c, const struct client_conn_ops *ops,
                                    const struct http_peer *peer, struct list_node *conns)
{
    c->ops = ops;
    c->peer = *peer;
    list_init(&c->link);
    list_push_back(conns, &c->link);
}

/* Why a client's conn that has CONN_ERROR or CONN_BROKEN is over. */
static inline enum reason client_conn_error(const struct conn *c)
{
    const struct tls_info *tls = conn_tls(c);
    return tls != NULL && tls->rekey_flood ? REASON_TLS_REKEY_FLOOD : REASON_CLIENT_RESET;
}

static inline struct client_conn *client_conn_at(struct list_node *node)
{
    return CONTAINER_OF(node, client_conn, link);
}

static inline void client_conn_close_idle(struct client_conn *c)
{
    c->ops->close_idle(c);
}

static inline void client_conn_leave(struct client_conn *c)
{
    if (c->ops->leave != NULL)
        c->ops->leave(c);
}

static inline void client_conn_abort(struct client_conn *c, enum reason reason)
{
    c->ops->abort(c, reason);
}

#endif
