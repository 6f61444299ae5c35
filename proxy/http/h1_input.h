/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an HTTP/1 session takes what its conn has read, in memory or in a pipe, to its parser. Conn's
 * thread; never calls up.
 */
#ifndef WEIR_HTTP_H1_INPUT_H
#define WEIR_HTTP_H1_INPUT_H

#include "proxy/http/h1_parser.h"
#include "proxy/http/stream.h"
#include "proxy/net/conn.h"

/* Parses what is there; *used, if asked for, is how much was consumed. False: there is nothing. */
static inline bool h1_input_parse(struct conn *c, struct h1_parser *p, size_t *used)
{
    struct span in = conn_input(c);
    size_t n;
    if (in.len > 0) {
        n = h1_parse(p, c->in, in.ptr, in.len);
        conn_consume(c, n, h1_parser_keep(p));
    } else if ((n = conn_piped(c)) > 0) {
        h1_parser_skip(p, n);
        conn_take_pipe(c, &p->body);
    } else {
        return false;
    }
    if (used != NULL)
        *used = n;
    return true;
}

/* Everything was parsed that may be. A conn with bulk to read learns what of it may come in a pipe.
 */
static inline void h1_input_opaque(struct conn *c, const struct h1_parser *p,
                                   const struct stream *s)
{
    if (c->flags & CONN_BULK)
        conn_opaque(c, s->opaque ? h1_parser_opaque(p) : 0);
}

#endif
