/* SPDX-License-Identifier: Apache-2.0 */
/* What fetch.c and fetch_client.c share. Reactor's thread. */
#ifndef WEIR_UPSTREAM_FETCH_STATE_H
#define WEIR_UPSTREAM_FETCH_STATE_H

#include "proxy/base/list.h"
#include "proxy/http/h1_client.h"
#include "proxy/net/dns_channel.h"
#include "proxy/net/tls_ctx.h"
#include "proxy/upstream/fetch.h"

#define FETCH_CLIENT_MAGIC MAGIC('f', 't', 'c', 'l')
#define FETCH_MAGIC        MAGIC('f', 't', 'c', 'h')

#define FETCH_WHY 512

struct fetch_client {
    uint32_t magic;
    struct reactor *reactor;
    struct fetch_url url;
    char authority[FETCH_AUTHORITY];
    struct tls_client_ctx *tls;           /* of new conns; NULL: none yet, or plain */
    char tls_why[FETCH_WHY];              /* why the last handshake failed */
    char tls_wanted[FETCH_WHY / 2 + 100]; /* what to see to then */
    struct list_node fetches;             /* that have not ended */
    uint32_t n_fetches;                   /* that exist */
    bool ended;
    struct ready ready; /* to free it */
};

enum fetch_phase {
    FETCH_BEGINS,
    FETCH_LOOKS_UP,
    FETCH_DIALS, /* the next of its addresses */
    FETCH_ASKS,  /* the stream is open */
    FETCH_FAILS, /* for why */
    FETCH_OVER,
};

struct fetch {
    uint32_t magic;
    uint8_t phase; /* enum fetch_phase */
    bool late;     /* its time has passed */
    struct fetch_client *client;
    struct list_node link; /* of the client's */
    const struct fetch_events *events;
    void *ctx;
    struct span method, target, body;
    struct fetch_field *fields;
    size_t n_fields;
    char *bytes; /* of all these */
    uint32_t head_ms, idle_ms;
    uint64_t connect_by, end_by; /* ms; NEVER */
    struct h1_client_options options;
    struct net_addr *addresses;
    size_t n_addresses, next;
    struct dns_channel *channel; /* or NULL */
    struct stream *stream;       /* or NULL */
    uint32_t conns;              /* that exist: they use the options */
    struct wheel_timer timer;
    struct ready ready; /* what is next, or to free it */
    char why[FETCH_WHY];
};

/* It has left its client, whom it tells so with its last breath. */
void fetch_client_left(struct fetch_client *client);

#endif
