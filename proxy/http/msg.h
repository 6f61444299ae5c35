/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request or response head as every protocol's codec hands it up and takes it: spans into memory
 * that the stream holds, plus a few facts that were parsed from them. Trailers use the fields of
 * one too. Owned by the stream that parsed it. One thread.
 */
#ifndef WEIR_HTTP_MSG_H
#define WEIR_HTTP_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"
#include "proxy/http/fields.h"

#define HTTP_MAX_FIELDS   256 /* a peer may send, whatever the configuration says */
#define HTTP_EXTRA_FIELDS 16  /* weir may add */

enum http_field_flag {
    FIELD_DROPPED = 1 << 0, /* is not forwarded */
    FIELD_H2_ONLY = 1 << 1, /* is forwarded over HTTP/2 only */
    FIELD_SECRET = 1 << 2,  /* HPACK must not remember it (RFC 7541 section 6.2.3) */
};

struct http_field {
    const char *name, *value;
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;    /* enum field_id */
    uint8_t flags; /* enum http_field_flag */
};

/* How the body of a message is delimited where it comes from; the codec it goes to chooses its own
 * way from this. */
enum body_kind {
    BODY_NONE,    /* no body, and none announced */
    BODY_LENGTH,  /* content_length bytes, 0 included */
    BODY_CHUNKED, /* ends by itself */
    BODY_CLOSE,   /* ends with the connection: responses only */
    BODY_TUNNEL,  /* both directions are bytes now (101) */
};

struct http_head {
    /* requests */
    struct span method;
    struct span target;    /* as sent */
    struct span authority; /* of the target, if it has one, else the Host field; may be empty */
    struct span path;      /* normalised; "*" for OPTIONS * */
    struct span query;     /* without the '?' */
    bool has_query;
    bool is_head, is_connect;
    bool idempotent;      /* RFC 9110 section 9.2.2 */
    bool expect_continue; /* the client waits for a 100 */
    /* responses */
    uint16_t status;
    struct span phrase;
    /* both */
    bool secret_line;    /* the first line's parts are what FIELD_SECRET says of a field */
    uint8_t version;     /* of HTTP: 10, 11, 20 */
    uint8_t minor;       /* HTTP/1.x; 1 where there are no such versions */
    uint8_t body;        /* enum body_kind */
    bool close;          /* the sender will not reuse the connection */
    bool keep_alive;     /* the sender asked for it in words (HTTP/1.0) */
    struct span upgrade; /* what Upgrade asks for or grants, if Connection names it; else empty */
    uint64_t content_length;
    uint32_t keep_alive_s; /* Keep-Alive: timeout=, or 0 */
    uint16_t n_fields;
    struct http_field fields[HTTP_MAX_FIELDS + HTTP_EXTRA_FIELDS];
};

static inline struct span field_name(const struct http_field *f)
{
    return span_of(f->name, f->name_len);
}

static inline struct span field_value(const struct http_field *f)
{
    return span_of(f->value, f->value_len);
}

/* An empty head; the fields' memory stays as it is. */
void http_head_init(struct http_head *head);

/* A request's method, and the facts that follow from it. */
void http_head_method(struct http_head *head, struct span method);

/* May a tunnel be asked for to one of these protocols, as Upgrade lists them? Not to HTTP and TLS,
 * by any of their names: requests would pass every check of weir's by. */
bool http_may_upgrade(struct span protocols);

/* Sets the target of a request that weir makes, a path and perhaps a query; it must live as long as
 * the head. */
void http_head_target(struct http_head *head, struct span target);

/* Appends a field that weir adds; the spans must live as long as the head. */
void http_head_add(struct http_head *head, enum field_id id, struct span name, struct span value);

/* The first field of the id that is not dropped, or NULL. */
struct http_field *http_head_find(struct http_head *head, enum field_id id);

/* Drops all fields of the id. */
void http_head_drop(struct http_head *head, enum field_id id);

/* The standard phrase of a status code (RFC 9110 section 15); "" if there is none. */
struct span http_status_phrase(unsigned status);

#endif
