/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 messages (RFC 9112) from bytes: llhttp in strict mode, plus every check that a proxy needs
 * and a lenient-by-history parser leaves out. Records, never calls up: after h1_parse the caller
 * looks at what is there. Requests and responses. Pure; one thread.
 *
 * The bytes of an incomplete head (or trailer section) must stay together in one block; the caller
 * asks h1_parser_keep from where on, and tells with h1_parser_moved when they have moved.
 */
#ifndef WEIR_HTTP_H1_PARSER_H
#define WEIR_HTTP_H1_PARSER_H

#include <llhttp.h>
#include <stddef.h>

#include "proxy/base/buf.h"
#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

struct h1_limits {
    uint64_t body_bytes;   /* of a request; UINT64_MAX = none */
    uint32_t header_bytes; /* of a head, and of a trailer section */
    uint32_t target_bytes;
    uint32_t headers; /* fields in a head, at most HTTP_MAX_FIELDS */
};

struct h1_parser {
    llhttp_t ll;
    const struct h1_limits *limits;
    struct slab *heads;         /* where heads come from and go to */
    struct http_head *head;     /* of the current message; TAKE it once head_done */
    struct http_head *trailers; /* or NULL; TAKE it once done */
    struct chain body;          /* what was parsed and not yet taken */
    struct block *block;        /* being parsed */
    const char *start;          /* of the head or the trailer section; NULL when in neither */
    const char *end;            /* of what is being parsed */
    uint64_t body_bytes;
    uint32_t skipped; /* bytes of empty lines before the message, and of chunk extensions in it */
    uint16_t error;   /* enum reason; sticky */
    bool response;
    bool to_head;    /* set by the caller: this response answers HEAD */
    bool to_upgrade; /* set by the caller: this response answers an Upgrade */
    bool line_done;  /* requests: the first line is whole and checked */
    bool in_value;
    char last;        /* byte that was parsed */
    bool head_done;   /* head is complete and checked */
    bool done;        /* the message is complete (BODY_CLOSE and BODY_TUNNEL never are) */
    bool began;       /* a byte of the message was seen */
    bool until_close; /* the body ends with the connection */
    bool raw;         /* the connection is a tunnel now: all bytes are body */
};

/* heads: a slab of struct http_head. limits must outlive the parser. */
void h1_parser_init(struct h1_parser *p, bool response, const struct h1_limits *limits,
                    struct slab *heads);

/* Forgets everything and makes it ready for the next message. fini: gives back all that was not
 * taken. */
void h1_parser_reset(struct h1_parser *p);
void h1_parser_fini(struct h1_parser *p);

/* Takes len bytes at data, which lie in block. Returns how many were consumed: fewer when the
 * message is done or turned into a tunnel, when a request line is incomplete, or on an error. */
size_t h1_parse(struct h1_parser *p, struct block *block, const char *data, size_t len);

/* How many of the bytes that come next are certain to be body, whatever they are; 0 when the parser
 * has to see the next one. */
uint64_t h1_parser_opaque(const struct h1_parser *p);

/* That many of them, at most, were appended to p->body by the caller. */
void h1_parser_skip(struct h1_parser *p, uint64_t n);

/* From where on the bytes must stay together, or NULL: after an error nobody parses on. */
static inline const char *h1_parser_keep(const struct h1_parser *p)
{
    return p->error == REASON_NONE ? p->start : NULL;
}

/* They have moved by delta bytes. */
void h1_parser_moved(struct h1_parser *p, ptrdiff_t delta);

/* A request whose upgrade was granted: from now on all bytes are body. */
void h1_parser_tunnel(struct h1_parser *p);

#endif
