/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of HTTP/2 (RFC 9113 section 8) to and from http_head, as if they had come by HTTP/1: pseudo
 * fields become the request line's facts and a Host field, cookie crumbs one Cookie field. nghttp2
 * has already judged names, values and the order of pseudo fields; what follows from the whole head
 * is judged here, with the reasons of h1_head.h. Conn's thread; never calls up.
 */
#ifndef WEIR_HTTP_H2_HEAD_H
#define WEIR_HTTP_H2_HEAD_H

#include <nghttp2/nghttp2.h>

#include "proxy/base/buf.h"
#include "proxy/base/reason.h"
#include "proxy/base/recycle.h"
#include "proxy/http/h1_parser.h"
#include "proxy/http/msg.h"

/* A head, or a trailer section, while its fields come in. */
struct h2_reading {
    struct http_head *head; /* being filled; the caller's */
    struct chain *text;     /* holds the memory of its spans; the caller's */
    struct block **block;   /* where text is copied to: one for all heads of a conn */
    struct buf_pool *pool;
    const struct h1_limits *limits;
    struct span scheme, path, protocol, status, host, authority;
    size_t bytes;    /* of the section, as HTTP/1 would count them */
    unsigned crumbs; /* Cookie fields */
    uint16_t error;  /* enum reason; sticky, but fields are still counted */
    bool has_protocol, has_host, trailers;
};

/* A field name or value. */
struct h2_text {
    struct span span;
    bool lasting; /* its memory outlives every head */
};

/* head must be empty (http_head_init). A request's keeps a place for Host in front. */
void h2_read_begin(struct h2_reading *in, bool request, bool trailers);

/* Takes the next field; secret: its sender wants it in nobody's HPACK table. */
void h2_read_field(struct h2_reading *in, struct h2_text name, struct h2_text value, bool secret);

/* All fields of a request are there. An extended CONNECT (RFC 8441) becomes a GET with upgrade. */
enum reason h2_read_request(struct h2_reading *in, bool end_stream);

/* All fields of a response; to_head: it answers HEAD. */
enum reason h2_read_response(struct h2_reading *in, bool to_head, bool end_stream);

/* All fields of a trailer section. */
enum reason h2_read_trailers(struct h2_reading *in);

/* ---- the other way ---- */

#define H2_NV_MAX (HTTP_MAX_FIELDS + HTTP_EXTRA_FIELDS + 5)

/* The fields of head without those that HTTP/2 knows no place for (RFC 9113 section 8.2.2), from nv
 * on; nghttp2 turns names into lower case. Returns how many. */
size_t h2_write_fields(const struct http_head *head, nghttp2_nv *nv);

/* A response; nv: H2_NV_MAX of them; digits: memory for the status. */
size_t h2_write_response(const struct http_head *head, nghttp2_nv *nv, char digits[3]);

/* A request; path: memory for path and query, head->path.len + head->query.len + 1 bytes. Its
 * upgrade, if there is one, becomes an extended CONNECT. scheme: "http" or "https". */
size_t h2_write_request(const struct http_head *head, struct span scheme, nghttp2_nv *nv,
                        char *path);

/* Trailers that have to wait until the body has left. */
struct h2_trailers {
    size_t n;
    nghttp2_nv nv[];
};

/* A copy of them in one piece, or NULL if none are left. recycle_put it. */
struct h2_trailers *h2_trailers_copy(struct recycle *pieces, const struct http_head *head);

#endif
