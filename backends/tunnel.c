/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo behind a 101. The knobs of the upgrade request hold on: a cut in the body counts echoed
 * bytes. Never reads or writes by itself. Its worker's thread only.
 */
#include "backends/tunnel.h"

#include "backends/respond.h"

/* How many of len bytes may still go out; ends the conn at the cut. */
static size_t until_cut(struct conn *c, size_t len)
{
    struct response *r = &c->resp;
    if (r->cut.where == CUT_IN_BODY && len >= r->cut.bytes - r->off) {
        len = (size_t)(r->cut.bytes - r->off);
        c->end = r->cut_end == END_CLOSE ? END_HALF_CLOSE : r->cut_end;
    }
    r->off += len;
    return len;
}

void tunnel_step(struct conn *c)
{
    struct output *out = conn_out(c);
    struct input *in = &c->in;
    size_t n = in->len - in->pos < FEED_MAX ? in->len - in->pos : FEED_MAX;
    struct span bytes = span_of(in->data + in->pos, n);
    in->pos += n;
    if (c->phase == CONN_RAW_ECHO) {
        output_append(out, bytes.ptr, until_cut(c, n));
        return;
    }
    size_t begin = out->len;
    size_t made = ws_feed(&c->ws, bytes, output_extend(out, n + WS_SLACK));
    out->len = begin + made;
    if (c->ws.closed)
        c->end = END_CLOSE;
    out->len = begin + until_cut(c, made);
}
