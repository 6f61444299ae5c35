/* SPDX-License-Identifier: Apache-2.0 */
/*
 * W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/): reading traceparent, and
 * writing the one that goes on. Pure; any thread.
 */
#ifndef WEIR_HTTP_TRACE_CONTEXT_H
#define WEIR_HTTP_TRACE_CONTEXT_H

#include "proxy/http/msg.h"

enum { TRACE_ID = 32, SPAN_ID = 16, TRACEPARENT = 55 };

/* Which traces are recorded: as OpenTelemetry's TraceIdRatioBased, or, unless it is alone, as its
 * ParentBased(root = TraceIdRatioBased). */
struct trace_sampler {
    uint64_t below; /* the last 63 bits of the ids of those; TRACE_ALL: whatever they are */
    bool alone;     /* also of traces that have begun elsewhere */
};

#define TRACE_ALL (UINT64_C(1) << 63)

/* below, for so many of a million. */
static inline uint64_t trace_below(uint32_t millionths)
{
    return (uint64_t)((__uint128_t)TRACE_ALL * millionths / 1000000);
}

/* One request's place in a trace. */
struct trace {
    char text[TRACEPARENT]; /* traceparent, of weir's own span or one that is part of it */
    char span[SPAN_ID];     /* weir's own */
    char parent[SPAN_ID];   /* the client's, if has_parent */
    bool has_parent;
    bool sampled;
};

/* Reads a traceparent (section 3.2): 00, or a later version that begins in the same way. False: it
 * is none, and has to be ignored together with tracestate. Sets all but our span and its text. */
bool trace_parse(struct span traceparent, struct trace *trace);

/* Makes the request a part of its client's trace, with a span of its own; if it is of none, begins
 * one. Changes nothing in the head. random: three numbers. */
void trace_begin(const struct http_head *head, struct trace *trace,
                 const struct trace_sampler *sampler, const uint64_t random[3]);

/* The head tells of that trace: its traceparent is text, and it has tracestate only if it was its
 * client's. The trace has to live as long as the head. */
void trace_forward(struct http_head *head, const struct trace *trace);

/* Text is that of another span within weir's own: what is written of the head from now on has it.
 * id: a random number, not 0. */
void trace_within(struct trace *trace, uint64_t id);

static inline struct span trace_id_of(const struct trace *trace)
{
    return span_of(trace->text + 3, TRACE_ID);
}

static inline struct span trace_span_of(const struct trace *trace)
{
    return span_of(trace->span, SPAN_ID);
}

#endif
