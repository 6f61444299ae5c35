/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of an HTTP/1 client conn and of its stream. Private to h1_server.c, which reads
 * requests and owns the conn, and h1_server_stream.c, which answers them. Reactor's thread.
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

/* ---- h1_server_stream.c ---- */

/* The stream of the request whose head the parser has, which it takes; the conn must have none. It
 * is freed by its release. */
struct h1_stream *h1_stream_open(struct h1_server *srv);

/* ---- h1_server.c: what becomes of the conn when its stream is gone. None of them calls up. ----
 */

/* The request is answered and read: on to the next, or the end. asked: it was the client who wanted
 * the end, so that nothing more of its is on the way. */
void h1_server_next(struct h1_server *srv, bool keep, bool asked);

/* The request is answered: the rest of it is read and thrown away, up to a bound. */
void h1_server_drain(struct h1_server *srv);

/* Sends our end, then reads on for a while: closing a socket with unread bytes in it sends an RST,
 * which can take our answer away from the client (RFC 9112 section 9.6). */
void h1_server_linger(struct h1_server *srv, enum reason reason);

/* Closes for reason once everything queued has gone out. reset: the client is to see that something
 * is missing. */
void h1_server_close_flushed(struct h1_server *srv, enum reason reason, bool reset);

#endif
