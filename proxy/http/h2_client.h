/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream side of HTTP/2: a conn that weir opened and that carries many requests at once, each
 * as a stream. Reactor's thread.
 */
#ifndef WEIR_HTTP_H2_CLIENT_H
#define WEIR_HTTP_H2_CLIENT_H

#include "proxy/http/h1_parser.h"
#include "proxy/http/stream.h"
#include "proxy/net/addr.h"
#include "proxy/net/conn.h"

struct h2_client;

/* Shared by all conns of a pool; must outlive them. Times in ms, sizes in bytes. */
struct h2_client_options {
    struct h1_limits limits; /* of response heads */
    uint32_t connect_ms, response_idle_ms, write_stall_ms;
    uint32_t idle_ms;          /* without a stream, and the conn ends */
    uint32_t ping_ms, pong_ms; /* silent for so long: a PING, and its answer within; 0 = none */
    uint32_t max_streams;      /* at once, if the peer allows as many */
    size_t buffer;             /* body bytes held for a response: a stream's window */
    size_t conn_buffer;        /* a conn's window: what may be on its way at once */
};

/* Who keeps the conns. From the dispatch loop; none may open a stream. */
struct h2_client_owner {
    /* It has room again, or has just served its last stream: list it, or let it end. It takes
     * itself out of the list when it has neither any more. */
    void (*room)(void *ctx, struct h2_client *);
    /* Its peer has said how many streams it takes at once, or has changed its mind. */
    void (*takes)(void *ctx, struct h2_client *, uint32_t streams);
    /* The conn is no more: its memory goes after this call. */
    void (*closed)(void *ctx, struct h2_client *, enum reason reason);
};

/* Begins to connect. NULL with *err set to a libuv error if that fails at once. takes: how many
 * streams the peer is thought to take at once, until it says so itself; 0: nobody knows, and all
 * but the first wait for its word. */
struct h2_client *h2_client_dial(struct reactor *r, const struct h2_client_options *options,
                                 uint32_t takes, const struct net_addr *to,
                                 const struct h2_client_owner *owner, void *ctx, int *err);

/* Over a conn that came up elsewhere (conn_hand_over to h2_client_conn), or, for tests, over a
 * transport that is attached to it by the caller. */
struct h2_client *h2_client_new(struct reactor *r, const struct h2_client_options *options,
                                uint32_t takes, const struct h2_client_owner *owner, void *ctx);
struct conn *h2_client_conn(struct h2_client *cl);

/* A conn in no list is another owner's from now on, with options of its own, of which limits and
 * windows are the same. Those who have streams on it do not notice. */
void h2_client_adopt(struct h2_client *cl, const struct h2_client_options *options, void *ctx);

/* Begins a request on a conn that has room; also before it has come up. response_head_ms counts
 * from the request's end. The stream lives until it is released. */
struct stream *h2_client_open(struct h2_client *cl, const struct stream_events *events, void *owner,
                              uint32_t response_head_ms);

/* May another stream be opened? How many are open? Was one served? */
bool h2_client_room(const struct h2_client *cl);
uint32_t h2_client_streams(const struct h2_client *cl);
bool h2_client_served(const struct h2_client *cl);

/* Is the peer's window for the conn nearly used up? A body would wait for what became of others',
 * perhaps for ever. */
bool h2_client_clogged(const struct h2_client *cl);

/* For the list of its owner. */
struct list_node *h2_client_link(struct h2_client *cl);
struct h2_client *h2_client_at(struct list_node *node);

/* Ends an idle conn at once. */
void h2_client_close(struct h2_client *cl, enum reason reason);

/* Takes no more streams, and ends with the last that is open: at once, if there is none. */
void h2_client_retire(struct h2_client *cl, enum reason reason);

#endif
