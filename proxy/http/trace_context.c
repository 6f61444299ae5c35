/* SPDX-License-Identifier: Apache-2.0 */
/* Trace contexts. Owns nothing; must never pass on what it could not read. Any thread. */
#include "proxy/http/trace_context.h"

#include <string.h>

enum { AT_TRACE = 3, AT_SPAN = AT_TRACE + TRACE_ID + 1, AT_FLAGS = AT_SPAN + SPAN_ID + 1 };

static const char digits[] = "0123456789abcdef";

/* -1: it is none; upper case is none, either. */
static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (digit_of(text[i]) < 0)
            return false;
    return true;
}

static bool is_zero(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != '0')
            return false;
    return true;
}

static void put_hex(char *out, uint64_t n)
{
    for (int i = 0; i < 16; i++)
        out[i] = digits[n >> (60 - 4 * i) & 15];
}

static bool has_form(const char *t)
{
    return is_hex(t, 2) && t[2] == '-' && is_hex(t + AT_TRACE, TRACE_ID) && t[AT_SPAN - 1] == '-' &&
           is_hex(t + AT_SPAN, SPAN_ID) && t[AT_FLAGS - 1] == '-' && is_hex(t + AT_FLAGS, 2) &&
           !is_zero(t + AT_TRACE, TRACE_ID) && !is_zero(t + AT_SPAN, SPAN_ID);
}

bool trace_parse(struct span traceparent, struct trace *trace)
{
    const char *t = traceparent.ptr;
    if (traceparent.len < TRACEPARENT || !has_form(t) || memcmp(t, "ff", 2) == 0)
        return false;
    bool longer = traceparent.len > TRACEPARENT;
    if (longer && (memcmp(t, "00", 2) == 0 || t[TRACEPARENT] != '-'))
        return false;
    trace->sampled = digit_of(t[AT_FLAGS + 1]) & 1;
    trace->has_parent = true;
    memcpy(trace->parent, t + AT_SPAN, SPAN_ID);
    memcpy(trace->text, t, TRACEPARENT);
    return true;
}

/* A field that is there twice is none (section 3.2.1: there is one). */
static bool read_client(const struct http_head *head, struct trace *trace)
{
    const struct http_field *found = NULL;
    for (unsigned i = 0; i < head->n_fields; i++) {
        if (head->fields[i].id != FIELD_TRACEPARENT)
            continue;
        if (found != NULL)
            return false;
        found = &head->fields[i];
    }
    return found != NULL && trace_parse(field_value(found), trace);
}

static void drop_state(struct http_head *head)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), SPAN_LIT("tracestate")))
            head->fields[i].flags |= FIELD_DROPPED;
}

static uint64_t get_hex(const char *text)
{
    uint64_t n = 0;
    for (int i = 0; i < 16; i++)
        n = n << 4 | (unsigned)digit_of(text[i]);
    return n;
}

static void begin_trace(struct trace *trace, const uint64_t random[2])
{
    trace->has_parent = false;
    put_hex(trace->text + AT_TRACE, random[0] | (random[0] == 0));
    put_hex(trace->text + AT_TRACE + 16, random[1]);
}

/* low: the last half of the trace's id. */
static bool in_ratio(const struct trace_sampler *sampler, uint64_t low)
{
    return low >> 1 < sampler->below;
}

/* This hop knows version 00 and its one flag. */
static void write_own(struct trace *trace, uint64_t random)
{
    memcpy(trace->text, "00-", 3);
    trace->text[AT_SPAN - 1] = trace->text[AT_FLAGS - 1] = '-';
    put_hex(trace->span, random | (random == 0));
    memcpy(trace->text + AT_SPAN, trace->span, SPAN_ID);
    memcpy(trace->text + AT_FLAGS, trace->sampled ? "01" : "00", 2);
}

void trace_begin(const struct http_head *head, struct trace *trace,
                 const struct trace_sampler *sampler, const uint64_t random[3])
{
    if (!read_client(head, trace)) {
        begin_trace(trace, random);
        trace->sampled = in_ratio(sampler, random[1]);
    } else if (sampler->alone) {
        trace->sampled = in_ratio(sampler, get_hex(trace->text + AT_TRACE + 16));
    }
    write_own(trace, random[2]);
}

void trace_forward(struct http_head *head, const struct trace *trace)
{
    if (!trace->has_parent)
        drop_state(head);
    http_head_drop(head, FIELD_TRACEPARENT);
    http_head_add(head, FIELD_TRACEPARENT, SPAN_LIT("traceparent"),
                  span_of(trace->text, TRACEPARENT));
}

void trace_within(struct trace *trace, uint64_t id)
{
    put_hex(trace->text + AT_SPAN, id);
}
