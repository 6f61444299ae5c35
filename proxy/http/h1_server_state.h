/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of an HTTP/1 client conn and of its stream. Private to h1_server.c, which reads
 * requests, h1_server_stream.c, which answers them, and h1_server_end.c, which decides what comes
 * after that. Reactor's thread.
 */
#ifndef WEIR_HTTP_H1_SERVER_STATE_H
#define WEIR_HTTP_H1_SERVER_STATE_H

#include "proxy/http/body_flow.h"
#include "proxy/http/h1_server.h"

enum server_state {
    SERVER_OPEN,   /* a request is awaited, read or answered */
    SERVER_DRAIN,  /* answered; the rest of the request is thrown away */
    SERVER_FLUSH,  /* closes once all is written */
    SERVER_LINGER, /* our end is sent; reads until the client's end */
};

enum tx_state { TX_HEAD, TX_BODY, TX_TUNNEL, TX_DONE };

struct h1_stream {
    struct stream base;
    struct h1_server *srv;
    struct http_head *head;
    struct block *block; /* that the head's spans point into */
    struct body_flow flow;
    uint8_t tx;    /* enum tx_state */
    bool rx_done;  /* the request was delivered whole */
    bool rx_dead;  /* it never will be */
    bool chunked;  /* the response is */
    bool no_body;  /* the response has none */
    bool to_close; /* the response ends with the conn */
    bool keep;     /* the conn serves another request afterwards */
    bool expects;  /* the client waits for a 100 before it sends the body */
};

struct h1_server {
    struct conn conn;
    uint32_t magic;
    uint8_t state; /* enum server_state */
    bool served;   /* a request was answered: now the idle timeout counts */
    bool reset;    /* at the end of SERVER_FLUSH */
    uint16_t reason;
    uint32_t discarded; /* bytes thrown away in SERVER_DRAIN and SERVER_LINGER */
    const struct h1_server_options *options;
    struct h1_stream *stream;
    struct client_conn client;
    struct h1_parser *parser; /* NULL while no byte of a request is there */
};

/* A byte of the next request is there. */
static inline bool h1_server_began(const struct h1_server *srv)
{
    return srv->parser != NULL && srv->parser->began;
}

/* The clock of a request's body runs until it is answered. From then on one clock counts, that of
 * the response at its source: what moves in either direction winds it. */
static inline bool h1_server_awaits_body(const struct h1_server *srv)
{
    return srv->stream == NULL || srv->stream->tx == TX_HEAD;
}

#endif
