/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of HTTP/2 (RFC 9113): a conn that a client opened, its requests all at once, each
 * as a stream. Reactor's thread.
 */
#ifndef WEIR_HTTP_H2_SERVER_H
#define WEIR_HTTP_H2_SERVER_H

#include "proxy/http/client_conn.h"
#include "proxy/http/h1_parser.h"
#include "proxy/http/stream.h"
#include "proxy/net/conn.h"

struct h2_server;

/* Shared by all conns of a worker; must outlive them. Times in ms, sizes in bytes. */
struct h2_server_options {
    struct h1_limits limits;
    uint32_t head_ms, idle_ms, body_ms, write_stall_ms; /* as HTTP/1's */
    uint32_t max_streams;                               /* of a conn, at once; H2_MAX_STREAMS */
    uint32_t stream_window, conn_window; /* bytes held of a request; on their way of all */
    const struct http_service *service;
    void *ctx;
};

/* What a configuration that is silent means. */
#define H2_MAX_STREAMS   100
#define H2_STREAM_WINDOW 65536
#define H2_CONN_WINDOW   (1024 * 1024)

/* Of a stream's window what it has from its start, and what all streams of a conn may have beyond
 * that: no more than 2 MiB of bodies wait on a conn. */
#define H2_FIRST_WINDOW 16384
#define H2_WIDE_BYTES   (8 * (H2_STREAM_WINDOW - H2_FIRST_WINDOW))

/* conns: the list that the conn is kept in while it lives. The caller attaches its conn to a
 * transport, or hands another over to it (conn_hand_over), with the client's preface unread. */
struct h2_server *h2_server_new(struct reactor *r, const struct h2_server_options *options,
                                const struct http_peer *peer, struct list_node *conns);
struct conn *h2_server_conn(struct h2_server *srv);

/* Its place in the list given to h2_server_new. */
struct client_conn *h2_server_client(struct h2_server *srv);

#endif
