/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream side of HTTP/1: a conn that weir opened; one request at a time, kept idle in
 * between. Reactor's thread.
 */
#ifndef WEIR_HTTP_H1_CLIENT_H
#define WEIR_HTTP_H1_CLIENT_H

#include "proxy/http/h1_parser.h"
#include "proxy/http/stream.h"
#include "proxy/net/addr.h"
#include "proxy/net/conn.h"

struct h1_client;

/* Shared by all conns of a pool; must outlive them. Times in ms, sizes in bytes. */
struct h1_client_options {
    struct h1_limits limits;
    uint32_t connect_ms, response_idle_ms, write_stall_ms;
    size_t buffer; /* body bytes held for a response */
    bool once;     /* a conn serves one request, and the request says so */
};

/* Who keeps the conns. */
struct h1_client_owner {
    /* The conn served its request and may serve another: keep it, or close it. */
    void (*idle)(void *ctx, struct h1_client *);
    /* An idle conn takes itself out of the list that idle put it in; closed follows. */
    void (*unlisted)(void *ctx);
    /* An idle conn was kept to its end, and the upstream had not closed it before. */
    void (*outlived)(void *ctx);
    /* The upstream says, or showed, that it closes idle conns after ms. */
    void (*closes_after)(void *ctx, uint64_t ms);
    /* The conn is no more: its memory goes after this call. */
    void (*closed)(void *ctx, struct h1_client *, enum reason reason);
};

/* Begins to connect. NULL with *err set to a libuv error if that fails at once. */
struct h1_client *h1_client_dial(struct reactor *r, const struct h1_client_options *options,
                                 const struct net_addr *to, const struct h1_client_owner *owner,
                                 void *ctx, int *err);

/* Over a conn that came up elsewhere (conn_hand_over to h1_client_conn), or, for tests, over a
 * transport that is attached to it by the caller. */
struct h1_client *h1_client_new(struct reactor *r, const struct h1_client_options *options,
                                const struct h1_client_owner *owner, void *ctx);
struct conn *h1_client_conn(struct h1_client *cl);

/* An idle conn, in no list, is another owner's from now on, with options of its own. Its own memory
 * of the upstream stays. */
void h1_client_adopt(struct h1_client *cl, const struct h1_client_options *options, void *ctx);

/* Begins a request on a conn that is fresh or idle. response_head_ms counts from the request's
 * end. The stream lives until it is released. */
struct stream *h1_client_open(struct h1_client *cl, const struct stream_events *events, void *owner,
                              uint32_t response_head_ms);

/* For the idle list of its owner. */
struct list_node *h1_client_link(struct h1_client *cl);
struct h1_client *h1_client_at(struct list_node *node);

/* An idle conn is to be closed once it has been idle for ms. */
void h1_client_keep(struct h1_client *cl, uint64_t ms);

/* Closes an idle conn. */
void h1_client_close(struct h1_client *cl, enum reason reason);

/* What a libuv error of connecting means. */
enum reason h1_client_connect_reason(int error);

#endif
