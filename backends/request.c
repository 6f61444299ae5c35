/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llhttp's callbacks record where the parts of the head are and that it, or the message, ended;
 * every message and every head with a body pauses the parser, so that acting on it happens outside
 * of llhttp_execute(). Strict parsing, no lenient flag. Never writes. Its worker's thread only.
 */
#include "backends/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/respond.h"

#define FAULT_FIELD "x-fault-"
#define FAULT_PARAM "fault-"
#define LEDGER_LINE 4096

static struct conn *parser_conn(llhttp_t *parser)
{
    return CAST_OBJ(conn, parser->data, CONN_MAGIC);
}

/* A part may come in several pieces; they follow each other in the input. */
static void part_extend(const struct conn *c, struct part *p, const char *at, size_t len)
{
    size_t offset = (size_t)(at - (c->in.data + c->in.head));
    if (p->len == 0)
        p->at = (uint32_t)offset;
    p->len = (uint32_t)(offset + len - p->at);
}

static bool has_prefix(struct span s, struct span prefix)
{
    return s.len > prefix.len && span_eq_nocase(span_of(s.ptr, prefix.len), prefix);
}

static void complain(struct conn *c, struct span name, const char *why)
{
    int n = name.len < 64 ? (int)name.len : 64;
    snprintf(c->complaint, sizeof(c->complaint), "%.*s: %s\n", n, name.ptr, why);
}

static void take_knob(struct conn *c, struct span name, struct span value)
{
    struct request *req = &c->req;
    if (!req->own_knobs)
        req->own_knobs = calloc(1, sizeof(*req->own_knobs));
    size_t skip = sizeof(FAULT_FIELD) - 1;
    const char *why = "out of memory";
    if (req->own_knobs)
        why = knobs_set(req->own_knobs, span_of(name.ptr + skip, name.len - skip), value);
    if (why)
        complain(c, name, why);
}

/* Of the fields only a few matter, and they are told apart by their length first. */
static void take_field(struct conn *c, struct span name, struct span value)
{
    struct request *req = &c->req;
    switch (name.len) {
    case 6:
        if (span_eq_nocase(name, SPAN_LIT("expect")))
            req->expects_continue = span_eq_nocase(value, SPAN_LIT("100-continue"));
        break;
    case 7:
        if (!span_eq_nocase(name, SPAN_LIT("upgrade")))
            break;
        if (span_eq_nocase(value, SPAN_LIT("echo")))
            req->upgrade = CONN_RAW_ECHO;
        else if (span_eq_nocase(value, SPAN_LIT("websocket")))
            req->upgrade = CONN_WEBSOCKET;
        break;
    case 12:
        if (span_eq_nocase(name, SPAN_LIT("content-type")))
            req->content_type = req->value;
        else if (span_eq_nocase(name, SPAN_LIT("x-request-id")))
            req->id = req->value;
        break;
    case 17:
        if (span_eq_nocase(name, SPAN_LIT("sec-websocket-key")))
            req->ws_key = req->value;
        break;
    default:
        break;
    }
    if (has_prefix(name, SPAN_LIT(FAULT_FIELD)))
        take_knob(c, name, value);
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct conn *c = parser_conn(parser);
    part_extend(c, &c->req.target, at, len);
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct conn *c = parser_conn(parser);
    if (c->req.in_head)
        part_extend(c, &c->req.name, at, len);
    else
        respond_trailer(c, at, len);
    return 0;
}

static int on_field_complete(llhttp_t *parser)
{
    struct conn *c = parser_conn(parser);
    if (!c->req.in_head)
        respond_trailer(c, ": ", 2);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct conn *c = parser_conn(parser);
    if (c->req.in_head)
        part_extend(c, &c->req.value, at, len);
    else
        respond_trailer(c, at, len);
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct conn *c = parser_conn(parser);
    struct request *req = &c->req;
    if (req->in_head) {
        req->value.len = (uint32_t)span_trim(conn_part(c, req->value)).len; /* llhttp leaves OWS */
        take_field(c, conn_part(c, req->name), conn_part(c, req->value));
    } else
        respond_trailer(c, "\r\n", 2);
    req->name = req->value = (struct part){0, 0};
    return 0;
}

static int on_head(llhttp_t *parser)
{
    struct request *req = &parser_conn(parser)->req;
    bool chunked = parser->flags & F_CHUNKED;
    req->in_head = false;
    req->head_seen = true;
    req->method = parser->method;
    req->major = parser->http_major;
    req->minor = parser->http_minor;
    req->keep_alive = llhttp_should_keep_alive(parser);
    req->content_length = chunked ? 0 : parser->content_length;
    req->has_body = chunked || parser->content_length > 0;
    req->has_length = !chunked;
    if (!parser->upgrade || req->has_body)
        req->upgrade = CONN_HTTP;
    return req->has_body ? HPE_PAUSED : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct conn *c = parser_conn(parser);
    c->req.body_bytes += len;
    stats_add(&c->worker->stats->body_bytes_in, len);
    respond_stream(c, at, len);
    return 0;
}

static int on_end(llhttp_t *parser)
{
    parser_conn(parser)->req.end_seen = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_end,
};

void request_init_parser(struct conn *c)
{
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
}

static void request_begin(struct conn *c)
{
    c->req.started = c->req.in_head = true;
    c->in.head = c->in.pos;
}

void request_parse(struct conn *c)
{
    if (!c->req.started)
        request_begin(c);
    size_t n = c->in.len - c->in.pos;
    if (n > FEED_MAX && c->resp.state == RESP_STREAM)
        n = FEED_MAX;
    const char *from = c->in.data + c->in.pos;
    switch (llhttp_execute(&c->parser, from, n)) {
    case HPE_OK:
        c->in.pos += n;
        break;
    case HPE_PAUSED:
        c->in.pos += (size_t)(llhttp_get_error_pos(&c->parser) - from);
        llhttp_resume(&c->parser);
        break;
    case HPE_PAUSED_UPGRADE: /* of a request before this, whose Upgrade we didn't take */
        c->in.pos += (size_t)(llhttp_get_error_pos(&c->parser) - from);
        llhttp_resume_after_upgrade(&c->parser);
        break;
    default:
        c->bad = true;
        break;
    }
    if (c->req.head_seen && c->req.head_len == 0)
        c->req.head_len = c->in.pos - c->in.head;
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

static void take_param(struct conn *c, struct knobs *k, struct span param)
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
        complain(c, span_of(param.ptr, name_len), why);
}

/* What fields set stays, for they say most exactly what is wanted. */
static void take_query(struct conn *c, struct span query)
{
    struct knobs from_query = {.set = 0};
    while (query.len > 0) {
        const char *amp = memchr(query.ptr, '&', query.len);
        size_t n = amp ? (size_t)(amp - query.ptr) : query.len;
        take_param(c, &from_query, span_of(query.ptr, n));
        query = amp ? span_of(amp + 1, query.len - n - 1) : span_of(NULL, 0);
    }
    if (!from_query.set)
        return;
    if (!c->req.own_knobs)
        c->req.own_knobs = calloc(1, sizeof(*c->req.own_knobs));
    if (c->req.own_knobs)
        knobs_merge(c->req.own_knobs, &from_query);
}

/* The flags' knobs if they hold for this request. */
static const struct knobs *default_knobs(struct conn *c)
{
    struct service *service = c->worker->service;
    const struct options *opt = service->opt;
    if (!opt->faults.set)
        return NULL;
    if (opt->fault_every == 1)
        return &opt->faults;
    uint32_t turn = atomic_fetch_add_explicit(&service->fault_turn, 1, memory_order_relaxed) + 1;
    return turn % opt->fault_every == 0 ? &opt->faults : NULL;
}

struct span request_path(const struct conn *c)
{
    struct span path = conn_part(c, c->req.target);
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

static enum handler pick_handler(struct conn *c, struct span path)
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
    if (!parse_number(span_of(path.ptr + bytes.len, path.len - bytes.len), &c->resp.len)) {
        complain(c, path, "expected /bytes/N");
        return HANDLER_ERROR;
    }
    return HANDLER_BYTES;
}

/* One write a line, so that lines of several threads and processes don't mix, and what was read
 * before a SIGKILL is there. */
static void ledger_write(struct conn *c)
{
    const struct request *req = &c->req;
    struct span target = conn_part(c, req->target), id = conn_part(c, req->id);
    char line[LEDGER_LINE];
    int n = snprintf(line, sizeof(line), "%s %.*s %.*s\n", llhttp_method_name(req->method),
                     (int)target.len, target.ptr, id.len ? (int)id.len : 1, id.len ? id.ptr : "-");
    CHECK(n > 0 && (size_t)n < sizeof(line)); /* a tool of tests: they keep it short */
    CHECK(write(c->worker->service->ledger, line, (size_t)n) == n);
}

void request_settle(struct conn *c)
{
    struct request *req = &c->req;
    if (c->worker->service->ledger >= 0)
        ledger_write(c);
    struct span target = conn_part(c, req->target);
    struct span path = request_path(c);
    const char *query = target.len ? memchr(target.ptr, '?', target.len) : NULL;
    if (query)
        take_query(c, span_of(query + 1, (size_t)(target.ptr + target.len - query - 1)));
    const struct knobs *defaults = default_knobs(c);
    if (req->own_knobs && defaults)
        knobs_merge(req->own_knobs, defaults);
    req->knobs = req->own_knobs ? req->own_knobs : defaults;
    if (knobs_has(req->knobs, KNOB_IDLE))
        c->idle_ms = req->knobs->idle_ms;
    req->handler = pick_handler(c, path);
    if (c->complaint[0])
        req->handler = HANDLER_ERROR;
}

void request_reset(struct conn *c)
{
    free(c->req.own_knobs);
    c->req = (struct request){.started = false};
    c->complaint[0] = '\0';
}
