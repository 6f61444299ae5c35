/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llhttp's callbacks record where the parts of the head are and that it, or the message, ended;
 * every message and every head with a body pauses the parser, so that acting on it happens outside
 * of llhttp_execute(). Strict parsing, no lenient flag. Never writes. Its worker's thread only.
 */
#include "backends/request.h"

#include "backends/respond.h"

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
    asked_field(&req->asked, name, value);
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

void request_settle(struct conn *c)
{
    struct asked *asked = &c->req.asked;
    asked_settle(asked, c->worker->service, span_str(llhttp_method_name(c->req.method)),
                 conn_part(c, c->req.target), conn_part(c, c->req.id));
    if (knobs_has(asked->knobs, KNOB_IDLE))
        c->idle_ms = asked->knobs->idle_ms;
}

void request_reset(struct conn *c)
{
    asked_reset(&c->req.asked);
    c->req = (struct request){.started = false};
}
