/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The response's way: settled by respond_begin(), then head, content and end in steps, with the
 * cuts, pauses and framings that the knobs ask for. The usual answer takes none of that: it is
 * copied whole. Never reads, writes or closes. Its worker's thread only.
 */
#include "backends/respond.h"

#include <stdio.h>
#include <stdlib.h>

#include "backends/content.h"
#include "backends/head.h"
#include "backends/request.h"

#define PIECE_MAX    (64u << 10)
#define TRAILERS_MAX (8u << 10)

static void set_text(struct response *r, const char *text, size_t len)
{
    r->text = text;
    r->len = len;
}

/* Content that the response owns; without memory for it the answer is empty. */
static void set_owned(struct response *r, const char *text, size_t len)
{
    r->owned = malloc(len + 1);
    if (!r->owned) {
        set_text(r, "", 0);
        return;
    }
    memcpy(r->owned, text, len);
    r->owned[len] = '\0';
    set_text(r, r->owned, len);
}

static bool echoes_body_only(const struct request *req)
{
    return req->method == HTTP_POST || req->method == HTTP_PUT || req->method == HTTP_PATCH;
}

/* The body alone under its own type, or behind a dump of the head. */
static void set_echo(struct conn *c)
{
    struct response *r = &c->resp;
    struct request *req = &c->req;
    struct span head = span_of(c->in.data + c->in.head, req->head_len);
    if (echoes_body_only(req)) {
        struct span type = conn_part(c, req->content_type);
        if (type.len)
            set_owned(r, type.ptr, type.len);
        r->content_type = type.len && r->owned ? r->owned : "application/octet-stream";
        set_text(r, "", 0);
    } else {
        while (head.len && (head.ptr[0] == '\r' || head.ptr[0] == '\n'))
            head = span_of(head.ptr + 1, head.len - 1); /* empty lines before the request */
        set_owned(r, head.ptr, head.len);
    }
    r->len += req->content_length;
}

static void set_content(struct conn *c)
{
    struct response *r = &c->resp;
    if (c->req.asked.handler == HANDLER_ECHO) {
        set_echo(c);
        return;
    }
    struct content made = content_make(&c->req.asked, c->worker->service, c->req.body_bytes);
    if (made.status != 200)
        r->status = (uint16_t)made.status;
    r->text = made.text;
    r->len = made.len;
    r->owned = made.owned;
    r->content_type = made.type;
}

static void set_framing(struct conn *c)
{
    struct response *r = &c->resp;
    const struct knobs *k = c->req.asked.knobs;
    bool chunked = knobs_has(k, KNOB_TRAILERS);
    if (c->req.asked.handler == HANDLER_ECHO)
        chunked = chunked || !c->req.has_length;
    else
        chunked = chunked || knobs_has(k, KNOB_CHUNK_SIZE);
    bool may_chunk = c->req.minor == 1 && !asked_flag(&c->req.asked, KNOB_HTTP10);
    if (asked_flag(&c->req.asked, KNOB_NO_LENGTH) || (chunked && !may_chunk))
        r->framing = FRAMING_CLOSE;
    else
        r->framing = chunked ? FRAMING_CHUNKED : FRAMING_LENGTH;
    r->no_body = c->req.method == HTTP_HEAD || r->status == 204 || r->status == 304;
    r->keep_alive = c->req.keep_alive && r->framing != FRAMING_CLOSE &&
                    !asked_flag(&c->req.asked, KNOB_HTTP10) &&
                    !asked_flag(&c->req.asked, KNOB_CONNECTION_CLOSE);
}

static void set_cut(struct conn *c)
{
    struct response *r = &c->resp;
    const struct knobs *k = c->req.asked.knobs;
    if (knobs_has(k, KNOB_RESET))
        r->cut = k->reset, r->cut_end = END_RESET;
    else if (knobs_has(k, KNOB_CLOSE))
        r->cut = k->close, r->cut_end = END_CLOSE;
    else if (knobs_has(k, KNOB_STALL))
        r->cut = k->stall, r->cut_end = END_STALL;
}

/* True if the request is an upgrade that we take; the response is 101 then. */
static bool set_upgrade(struct conn *c)
{
    struct request *req = &c->req;
    struct response *r = &c->resp;
    if (req->upgrade == CONN_HTTP || req->minor != 1 || req->asked.handler == HANDLER_ERROR ||
        knobs_has(req->asked.knobs, KNOB_STATUS) || asked_flag(&req->asked, KNOB_NO_UPGRADE))
        return false;
    if (req->upgrade == CONN_WEBSOCKET) {
        char accept[WS_ACCEPT_LEN];
        if (req->ws_key.len == 0 || req->method != HTTP_GET)
            return false;
        ws_accept(conn_part(c, req->ws_key), accept);
        set_owned(r, accept, sizeof(accept));
        if (!r->owned)
            return false;
    }
    req->asked.handler = HANDLER_UPGRADE;
    r->status = 101;
    r->no_body = r->keep_alive = true;
    return true;
}

static void respond_begin(struct conn *c)
{
    struct response *r = &c->resp;
    const struct knobs *k = c->req.asked.knobs;
    set_cut(c);
    if (!set_upgrade(c)) {
        r->status = knobs_has(k, KNOB_STATUS) ? (uint16_t)k->status : 200;
        set_content(c);
        set_framing(c);
    }
    r->state = RESP_HEAD;
    if (knobs_has(k, KNOB_DELAY) && k->delay_ms)
        conn_wait_response(c, k->delay_ms);
}

void respond_error(struct conn *c, unsigned status, const char *text)
{
    struct response *r = &c->resp;
    respond_reset(c);
    r->status = (uint16_t)status;
    set_text(r, text, strlen(text));
    c->req.asked.handler = HANDLER_ERROR;
    r->state = RESP_HEAD;
}

static void count_status(struct conn *c, unsigned status)
{
    CHECK(status < STATS_STATUSES);
    if (c->req.asked.handler != HANDLER_STATS)
        stats_add(&c->worker->stats->statuses[status], 1);
}

static void next_request(struct conn *c)
{
    respond_reset(c);
    request_reset(c);
}

/* The response's last byte is in the output. */
static void finish(struct conn *c)
{
    const struct knobs *k = c->req.asked.knobs;
    c->served++;
    if (!c->resp.keep_alive || (knobs_has(k, KNOB_CLOSE_AFTER) && c->served >= k->close_after))
        c->end = END_CLOSE;
    c->resp.state = RESP_DONE;
    if (c->req.ended)
        next_request(c);
}

/* The usual answer to a usual request: one copy. */
static void respond_canned(struct conn *c)
{
    const struct request *req = &c->req;
    enum canned_kind kind = CANNED_KEEP;
    if (!req->keep_alive)
        kind = CANNED_CLOSE;
    else if (req->minor == 0)
        kind = CANNED_KEEP_10;
    const struct canned *canned = &c->worker->canned[kind];
    output_append(conn_out(c), canned->data,
                  req->method == HTTP_HEAD ? canned->head_len : canned->len);
    count_status(c, 200);
    c->resp.keep_alive = req->keep_alive;
    finish(c);
}

void respond_on_head(struct conn *c)
{
    struct request *req = &c->req;
    if (req->major != 1 || req->minor > 1) {
        respond_error(c, 505, "only HTTP/1.0 and HTTP/1.1\n");
        return;
    }
    if (req->method == HTTP_CONNECT) {
        respond_error(c, 405, "CONNECT is for proxies\n");
        return;
    }
    request_settle(c);
    if (req->asked.handler != HANDLER_STATS) {
        stats_add(&c->worker->stats->requests, 1);
        if (c->served)
            stats_add(&c->worker->stats->reused, 1);
    }
    bool early = asked_flag(&req->asked, KNOB_EARLY);
    if (req->expects_continue && req->has_body && req->minor == 1 && !early)
        output_append(conn_out(c), "HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (early || req->asked.handler == HANDLER_ECHO)
        respond_begin(c);
}

static void end_body(struct conn *c)
{
    struct response *r = &c->resp;
    struct output *out = conn_out(c);
    if (r->cut.where == CUT_IN_BODY) { /* behind all content, before what ends it */
        c->end = r->cut_end;
        return;
    }
    if (r->framing == FRAMING_CHUNKED && !r->no_body) {
        output_append(out, "0\r\n", 3);
        if (knobs_has(c->req.asked.knobs, KNOB_TRAILERS))
            head_append_fields(out, c->req.asked.knobs->trailers.text);
        output_append(out, r->trailers, r->trailers_len);
        output_append(out, "\r\n", 2);
    }
    finish(c);
}

void respond_on_end(struct conn *c)
{
    struct response *r = &c->resp;
    c->req.ended = true;
    if (r->state == RESP_STREAM)
        end_body(c);
    else if (r->state == RESP_DONE)
        next_request(c);
    else if (r->state == RESP_NONE && c->req.asked.handler == HANDLER_TEXT && !c->req.asked.knobs &&
             c->req.upgrade == CONN_HTTP)
        respond_canned(c);
    else if (r->state == RESP_NONE)
        respond_begin(c);
}

/* Up to the cut; true if it was reached. */
static bool cut_reached(struct conn *c, uint64_t off)
{
    const struct response *r = &c->resp;
    if (r->cut.where != CUT_IN_BODY || off < r->cut.bytes)
        return false;
    c->end = r->cut_end;
    return true;
}

static void chunk_begin(struct output *out, uint64_t len)
{
    char line[24];
    int n = snprintf(line, sizeof(line), "%llx\r\n", (unsigned long long)len);
    output_append(out, line, (size_t)n);
}

void respond_stream(struct conn *c, const char *ptr, size_t len)
{
    struct response *r = &c->resp;
    struct output *out = conn_out(c);
    if (r->state != RESP_STREAM || r->no_body || c->end != END_NONE || len == 0)
        return;
    size_t n = len;
    if (r->cut.where == CUT_IN_BODY && r->cut.bytes - r->off < n)
        n = (size_t)(r->cut.bytes - r->off);
    if (r->framing == FRAMING_CHUNKED)
        chunk_begin(out, len);
    output_append(out, ptr, n);
    r->off += n;
    if (!cut_reached(c, r->off) && r->framing == FRAMING_CHUNKED)
        output_append(out, "\r\n", 2);
}

void respond_trailer(struct conn *c, const char *ptr, size_t len)
{
    struct response *r = &c->resp;
    if (r->state != RESP_STREAM)
        return;
    if (!r->trailers)
        r->trailers = malloc(TRAILERS_MAX);
    if (!r->trailers || len > TRAILERS_MAX - r->trailers_len) {
        c->bad = true;
        return;
    }
    memcpy(r->trailers + r->trailers_len, ptr, len);
    r->trailers_len += len;
}

bool respond_ready(const struct conn *c)
{
    enum response_state state = c->resp.state;
    return c->wait != WAIT_RESPONSE && (state == RESP_HEAD || state == RESP_BODY);
}

/* The head is out: on to the content, wherever it comes from. */
static void step_content(struct conn *c)
{
    struct response *r = &c->resp;
    if (c->req.asked.handler == HANDLER_ECHO) {
        r->state = RESP_STREAM;
        if (r->text && !cut_reached(c, 0))
            respond_stream(c, r->text, (size_t)(r->len - c->req.content_length));
        if (c->req.ended && c->end == END_NONE)
            end_body(c);
    } else if (r->no_body) {
        end_body(c);
    } else {
        r->state = RESP_BODY;
    }
}

static void step_head(struct conn *c)
{
    struct response *r = &c->resp;
    struct output *out = conn_out(c);
    if (r->cut.where == CUT_BEFORE_HEAD) {
        c->end = r->cut_end;
        return;
    }
    if (knobs_has(c->req.asked.knobs, KNOB_INFO) && c->req.minor == 1)
        head_append_interim(c, &c->req.asked.knobs->info);
    size_t begin = out->len;
    head_append(c);
    if (r->cut.where == CUT_IN_HEAD) {
        out->len = begin + (out->len - begin) / 2;
        c->end = r->cut_end;
        return;
    }
    count_status(c, r->status);
    if (r->status == 101) {
        r->state = RESP_DONE;
        c->phase = c->req.upgrade;
    } else {
        step_content(c);
    }
}

/* How much content the next step sends: a piece, within the chunk and up to the cut. */
static size_t piece_size(const struct conn *c)
{
    const struct response *r = &c->resp;
    const struct knobs *k = c->req.asked.knobs;
    uint64_t n = r->len - r->off;
    if (r->framing == FRAMING_CHUNKED && n > r->chunk_left)
        n = r->chunk_left;
    if (knobs_has(k, KNOB_SLOW)) {
        uint64_t piece = r->framing == FRAMING_CHUNKED ? n : 1;
        if (knobs_has(k, KNOB_SLOW_BYTES))
            piece = k->slow_bytes;
        n = n < piece ? n : piece;
    }
    if (r->cut.where == CUT_IN_BODY && n > r->cut.bytes - r->off)
        n = r->cut.bytes - r->off;
    return n < PIECE_MAX ? (size_t)n : PIECE_MAX;
}

static void step_body(struct conn *c)
{
    struct response *r = &c->resp;
    struct output *out = conn_out(c);
    const struct knobs *k = c->req.asked.knobs;
    bool chunked = r->framing == FRAMING_CHUNKED;
    if (r->off == r->len) {
        end_body(c);
        return;
    }
    if (chunked && r->chunk_left == 0) {
        uint64_t left = r->len - r->off;
        r->chunk_left = left;
        if (knobs_has(k, KNOB_CHUNK_SIZE) && k->chunk_size < left)
            r->chunk_left = k->chunk_size;
        chunk_begin(out, r->chunk_left);
    }
    size_t n = piece_size(c);
    if (r->text)
        output_append(out, r->text + r->off, n);
    else
        pattern_fill(output_extend(out, n), r->off, n);
    r->off += n;
    if (chunked) {
        r->chunk_left -= n;
        if (r->chunk_left == 0)
            output_append(out, "\r\n", 2);
    }
    if (!cut_reached(c, r->off) && knobs_has(k, KNOB_SLOW) && r->off < r->len)
        conn_wait_response(c, k->slow_ms);
}

void respond_step(struct conn *c)
{
    if (c->resp.state == RESP_HEAD)
        step_head(c);
    else
        step_body(c);
}

void respond_reset(struct conn *c)
{
    free(c->resp.owned);
    free(c->resp.trailers);
    c->resp = (struct response){.state = RESP_NONE};
}
