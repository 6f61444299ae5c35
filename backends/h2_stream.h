/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of HTTP/2 and its session, as h2.c (which reads) and h2_answer.c (which answers) see
 * them. Their worker's thread only.
 */
#ifndef WEIR_BACKENDS_H2_STREAM_H
#define WEIR_BACKENDS_H2_STREAM_H

#include <nghttp2/nghttp2.h>

#include "backends/conn.h"
#include "backends/content.h"

#define H2_MAGIC        MAGIC('b', 'h', '2', ' ')
#define H2_STREAM_MAGIC MAGIC('b', 'h', '2', 's')

struct h2 {
    uint32_t magic;
    struct conn *conn;
    nghttp2_session *session;
    struct list_node streams;
    struct list_node news;    /* streams with something new to act on */
    struct list_node waiting; /* streams that wait for the clock */
    uint64_t next_due;        /* of these, in ns; UINT64_MAX: none */
    uint64_t requests;
    bool may_write; /* something happened since there was no frame to send */
};

/* Bytes that grow. */
struct bytes {
    char *data;
    size_t len, room;
};

struct h2_stream {
    uint32_t magic;
    int32_t id;
    struct h2 *h2;
    struct list_node link;                      /* in h2->streams */
    struct list_node news;                      /* in h2->news, or in none */
    struct list_node waiting;                   /* in h2->waiting, or in none */
    struct bytes head;                          /* `name: value` lines, as they came */
    struct part method, path, type, request_id; /* in the head */
    struct asked asked;
    bool settled, ended; /* the head, and all of the request, has come */
    bool counted;        /* its head was acted on */
    bool begun;          /* the answer is under way, or waits for its delay */
    bool head_sent;
    bool discards; /* the answer has no body, and what should stream back is thrown away */
    bool deferred; /* nghttp2 asks for no more content until it is told to */
    bool has_length, expects_continue;
    uint64_t content_length, body_bytes;
    struct bytes kept;       /* of what streams back: not yet sent */
    size_t kept_at;          /* how much of it was sent */
    size_t dump_len;         /* so much of what goes back is the head, and no body */
    struct bytes trailers;   /* of the request, as lines */
    struct content *content; /* NULL if it streams back, or before the answer; owned */
    uint64_t off;            /* content sent */
    struct cut cut;
    enum conn_end cut_end;
    uint64_t due; /* in ns: when what waits goes on, or a slow body's next piece may leave */
};

/* Makes room and appends. False when out of memory. */
bool bytes_append(struct bytes *b, const char *ptr, size_t len);

/* The head has come; nothing if it was said before. */
void h2_answer_head(struct h2_stream *s);

/* The request is over, and no answer was begun. */
void h2_answer_end(struct h2_stream *s);

/* More to stream back may have come, or its end. */
void h2_answer_more(struct h2_stream *s);

/* Streams whose time has come go on. */
void h2_answer_due(struct h2 *h);

/* Whether its body goes back to the peer. */
static inline bool h2_streams_back(const struct h2_stream *s)
{
    return s->asked.handler == HANDLER_ECHO || s->asked.handler == HANDLER_GRPC;
}

static inline struct span h2_part(const struct h2_stream *s, struct part p)
{
    return span_of(s->head.data + p.at, p.len);
}

#endif
