/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of HTTP/1: a conn that a client opened, its requests one after the other, each as
 * a stream. Reactor's thread.
 */
#ifndef WEIR_HTTP_H1_SERVER_H
#define WEIR_HTTP_H1_SERVER_H

#include "proxy/http/client_conn.h"
#include "proxy/http/h1_parser.h"
#include "proxy/http/stream.h"
#include "proxy/net/conn.h"

struct h1_server;

/* Shared by all conns of a worker; must outlive them. Times in ms, sizes in bytes. */
struct h1_server_options {
    struct h1_limits limits;
    uint32_t head_ms, idle_ms, body_ms, write_stall_ms;
    size_t buffer; /* body bytes held for a request */
    const struct http_service *service;
    void *ctx;
};

/* Takes over an accepted socket. conns: the list that the conn is kept in while it lives. False:
 * the descriptor is closed and service->closed is not called. */
bool h1_server_accept(struct reactor *r, const struct h1_server_options *options, int fd,
                      bool is_unix, const struct http_peer *peer, struct list_node *conns);

/* The same without a transport: the caller attaches its conn to one, or hands another over to it
 * (conn_hand_over). */
struct h1_server *h1_server_new(struct reactor *r, const struct h1_server_options *options,
                                const struct http_peer *peer, struct list_node *conns);
struct conn *h1_server_conn(struct h1_server *srv);

/* Its place in the list given to h1_server_accept. */
struct client_conn *h1_server_client(struct h1_server *srv);

#endif
