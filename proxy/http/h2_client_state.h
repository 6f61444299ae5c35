/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is inside an upstream conn of HTTP/2, for the files that it is made of: h2_client.c has the
 * conn and its life, h2_client_stream.c the requests on it. Reactor's thread.
 */
#ifndef WEIR_HTTP_H2_CLIENT_STATE_H
#define WEIR_HTTP_H2_CLIENT_STATE_H

#include "proxy/base/check.h"
#include "proxy/http/h2_client.h"
#include "proxy/http/h2_session.h"

#define H2_CLIENT_MAGIC MAGIC('h', '2', 'c', 'l')

enum client_state {
    CLIENT_OPEN,     /* takes streams while there is room */
    CLIENT_RETIRING, /* takes no more, and ends with the last */
    CLIENT_BYE,      /* has none; closes once all is written */
};

struct h2_client {
    struct conn conn;
    uint32_t magic;
    uint8_t state;   /* enum client_state */
    bool connected;  /* the deadline has moved on from connecting */
    bool idle;       /* the deadline is that of an idle conn */
    bool pinged;     /* the deadline is that of the answer to a PING */
    bool asked;      /* a PING has left since the peer's last HEADERS or DATA */
    bool doubted;    /* so has one for a request that was waited for in vain */
    bool doubtful;   /* that one is not answered yet: others had better go elsewhere */
    bool broken;     /* CONN_BROKEN was seen to */
    uint16_t bye;    /* enum reason: why, once it retires */
    uint32_t served; /* streams that were answered whole */
    uint32_t takes;  /* streams at once: what the peer has said last, or is thought to */
    uint64_t sent;   /* bytes that have left, ever */
    uint64_t heard;  /* ms of reactor_now: when bytes came last */
    struct h2_session session;
    struct h2_config config;
    const struct h2_client_options *options;
    const struct h2_client_owner *owner;
    void *ctx;
    struct list_node link;
};

extern const struct stream_ops h2_client_stream_ops;
extern const struct h2_session_ops h2_client_session_ops;

static inline struct h2_client *h2_client_of(struct conn *c)
{
    struct h2_client *cl = CONTAINER_OF(c, h2_client, conn);
    CHECK(cl->magic == H2_CLIENT_MAGIC);
    return cl;
}

static inline struct h2_client *h2_client_of_stream(const struct h2_stream *s)
{
    return h2_client_of(s->session->conn);
}

/* Begins the clock of the response's head, once the conn is up, unless that has come. */
void h2_client_expect_head(struct h2_stream *s);

/* A request ended for want of an answer, which it had waited for since then (ms of reactor_now). */
void h2_client_doubt(struct h2_client *cl, uint64_t since);

#endif
