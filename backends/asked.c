/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knobs from fields, from the query and from the flags, and the handler from the path. Never knows
 * which protocol the request came by. Its worker's thread only.
 */
#include "backends/asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/check.h"

#define FAULT_FIELD "x-fault-"
#define FAULT_PARAM "fault-"
#define LEDGER_LINE 4096

static bool has_prefix(struct span s, struct span prefix)
{
    return s.len > prefix.len && span_eq_nocase(span_of(s.ptr, prefix.len), prefix);
}

void asked_complain(struct asked *a, struct span part, const char *why)
{
    int n = part.len < 64 ? (int)part.len : 64;
    a->wrong = true;
    free(a->complaint);
    if (asprintf(&a->complaint, "%.*s: %s\n", n, part.ptr, why) < 0)
        a->complaint = NULL;
}

const char *asked_complaint(const struct asked *a)
{
    return a->complaint ? a->complaint : "out of memory\n";
}

static struct knobs *own_knobs(struct asked *a)
{
    if (!a->own)
        a->own = calloc(1, sizeof(*a->own));
    return a->own;
}

void asked_field(struct asked *a, struct span name, struct span value)
{
    if (!has_prefix(name, SPAN_LIT(FAULT_FIELD)))
        return;
    size_t skip = sizeof(FAULT_FIELD) - 1;
    const char *why = "out of memory";
    if (own_knobs(a))
        why = knobs_set(a->own, span_of(name.ptr + skip, name.len - skip), value);
    if (why)
        asked_complain(a, name, why);
}

/* Decodes %XX and + of a query parameter; what doesn't fit is cut, and no knob is that long. */
static struct span query_decode(struct span in, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len && n < room; i++) {
        char c = in.ptr[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && in.len - i > 2) {
            char hex[3] = {in.ptr[i + 1], in.ptr[i + 2], '\0'}, *end;
            long v = strtol(hex, &end, 16);
            if (end == hex + 2) {
                c = (char)v;
                i += 2;
            }
        }
        out[n++] = c;
    }
    return span_of(out, n);
}

static void take_param(struct asked *a, struct knobs *k, struct span param)
{
    if (!has_prefix(param, SPAN_LIT(FAULT_PARAM)))
        return;
    char text[KNOB_TEXT_MAX + 64];
    const char *equals = memchr(param.ptr, '=', param.len);
    size_t skip = sizeof(FAULT_PARAM) - 1;
    size_t name_len = equals ? (size_t)(equals - param.ptr) : param.len;
    struct span value = span_of(NULL, 0);
    if (equals)
        value = query_decode(span_of(equals + 1, param.len - name_len - 1), text, sizeof(text));
    const char *why = knobs_set(k, span_of(param.ptr + skip, name_len - skip), value);
    if (why)
        asked_complain(a, span_of(param.ptr, name_len), why);
}

/* What fields set stays, for they say most exactly what is wanted. */
static void take_query(struct asked *a, struct span query)
{
    struct knobs from_query = {.set = 0};
    while (query.len > 0) {
        const char *amp = memchr(query.ptr, '&', query.len);
        size_t n = amp ? (size_t)(amp - query.ptr) : query.len;
        take_param(a, &from_query, span_of(query.ptr, n));
        query = amp ? span_of(amp + 1, query.len - n - 1) : span_of(NULL, 0);
    }
    if (from_query.set && own_knobs(a))
        knobs_merge(a->own, &from_query);
}

/* The flags' knobs if they hold for this request. */
static const struct knobs *default_knobs(struct service *service)
{
    const struct options *opt = service->opt;
    if (!opt->faults.set)
        return NULL;
    if (opt->fault_every == 1)
        return &opt->faults;
    uint32_t turn = atomic_fetch_add_explicit(&service->fault_turn, 1, memory_order_relaxed) + 1;
    return turn % opt->fault_every == 0 ? &opt->faults : NULL;
}

/* Without the query, scheme and authority. */
static struct span path_of(struct span target)
{
    struct span path = target;
    const char *query = path.len ? memchr(path.ptr, '?', path.len) : NULL;
    if (query)
        path.len = (size_t)(query - path.ptr);
    if (path.len && path.ptr[0] != '/') { /* absolute-form: http://host/path */
        const char *authority = memmem(path.ptr, path.len, "://", 3);
        size_t skip = authority ? (size_t)(authority + 3 - path.ptr) : path.len;
        const char *slash = memchr(path.ptr + skip, '/', path.len - skip);
        path = slash ? span_of(slash, (size_t)(path.ptr + path.len - slash)) : SPAN_LIT("/");
    }
    return path;
}

/* The path is prefix or goes on behind it with a slash. */
static bool under(struct span path, struct span prefix)
{
    return span_starts(path, prefix) && (path.len == prefix.len || path.ptr[prefix.len] == '/');
}

static enum handler pick_handler(struct asked *a, struct span path)
{
    struct span bytes = SPAN_LIT("/bytes/");
    if (span_eq(path, SPAN_LIT("/healthz")))
        return HANDLER_HEALTH;
    if (under(path, SPAN_LIT("/echo")))
        return HANDLER_ECHO;
    if (under(path, SPAN_LIT("/sink")))
        return HANDLER_SINK;
    if (span_eq(path, SPAN_LIT("/stats")))
        return HANDLER_STATS;
    if (!span_starts(path, bytes))
        return HANDLER_TEXT;
    if (!parse_number(span_of(path.ptr + bytes.len, path.len - bytes.len), &a->bytes))
        asked_complain(a, path, "expected /bytes/N");
    return HANDLER_BYTES;
}

/* One write a line, so that lines of several threads and processes don't mix, and what was read
 * before a SIGKILL is there. */
static void ledger_write(int ledger, struct span method, struct span target, struct span id)
{
    char line[LEDGER_LINE];
    int n = snprintf(line, sizeof(line), "%.*s %.*s %.*s\n", (int)method.len, method.ptr,
                     (int)target.len, target.ptr, id.len ? (int)id.len : 1, id.len ? id.ptr : "-");
    CHECK(n > 0 && (size_t)n < sizeof(line)); /* a tool of tests: they keep it short */
    CHECK(write(ledger, line, (size_t)n) == n);
}

void asked_settle(struct asked *a, struct service *service, struct span method, struct span target,
                  struct span id)
{
    if (service->ledger >= 0)
        ledger_write(service->ledger, method, target, id);
    const char *query = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    if (query)
        take_query(a, span_of(query + 1, (size_t)(target.ptr + target.len - query - 1)));
    const struct knobs *defaults = default_knobs(service);
    if (a->own && defaults)
        knobs_merge(a->own, defaults);
    a->knobs = a->own ? a->own : defaults;
    a->handler = pick_handler(a, path_of(target));
    if (a->wrong)
        a->handler = HANDLER_ERROR;
}

void asked_reset(struct asked *a)
{
    free(a->own);
    free(a->complaint);
    *a = (struct asked){.wrong = false};
}
