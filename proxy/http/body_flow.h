/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow of a message body between a conn and its stream, both ways: the window of bytes that may
 * still be handed up, and the bytes that were queued and have not yet left. Embedded in a codec's
 * stream. Conn's thread; never calls up.
 */
#ifndef WEIR_HTTP_BODY_FLOW_H
#define WEIR_HTTP_BODY_FLOW_H

#include "proxy/net/conn.h"

struct body_flow {
    int64_t window; /* bytes that may still be handed up; one read may make it negative */
    size_t full;    /* the window when everything that was handed up has left */
    size_t queued;  /* bytes queued and not yet reported as drained */
};

/* To a reader that has taken everything so far this many windows go at once through a pipe: they
 * take no memory of ours. One that is behind gets its bytes from memory, so that a body holds one
 * pipe at most: there are few. */
#define BODY_FLOW_BURST 4

/* Begins a message: at most window bytes are handed up without credit. */
static inline void body_flow_init(struct body_flow *flow, size_t window)
{
    *flow = (struct body_flow){.window = (int64_t)window, .full = window};
}

/* The conn learns how much it may read at once. */
static inline void body_flow_bound(const struct body_flow *flow, struct conn *c)
{
    uint32_t n = flow->window > 0 ? (uint32_t)flow->window : 0;
    c->read_cap = n;
    c->pipe_cap = n >= flow->full ? n * BODY_FLOW_BURST : 0;
}

/* May anything be handed up? */
static inline bool body_flow_open(const struct body_flow *flow)
{
    return flow->window > 0;
}

/* n bytes are about to be handed up. False: the window is used up, and reading pauses. */
static inline bool body_flow_take(struct body_flow *flow, struct conn *c, size_t n)
{
    flow->window -= (int64_t)n;
    if (flow->window <= 0)
        conn_pause(c, PAUSE_CREDIT);
    body_flow_bound(flow, c);
    return flow->window > 0;
}

/* n more bytes may be handed up. True: reading was paused for want of them, and goes on. */
static inline bool body_flow_credit(struct body_flow *flow, struct conn *c, size_t n)
{
    bool was_closed = flow->window <= 0;
    flow->window += (int64_t)n;
    body_flow_bound(flow, c);
    if (!was_closed || flow->window <= 0)
        return false;
    conn_resume(c, PAUSE_CREDIT);
    conn_wake(c); /* bytes that were read already may wait */
    return true;
}

/* No body is in the way any more: reading is bounded by nothing but the block. */
static inline void body_flow_end(struct conn *c)
{
    conn_resume(c, PAUSE_CREDIT);
    c->read_cap = 0;
    conn_opaque(c, 0);
}

/* How many of the queued bytes have certainly left since the last call: what is still here may be
 * framing, but counts as body until it leaves. */
static inline size_t body_flow_drained(struct body_flow *flow, const struct conn *c)
{
    size_t unsent = conn_unsent(c);
    size_t before = flow->queued;
    if (before > unsent)
        flow->queued = unsent;
    return before - flow->queued;
}

#endif
