/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Response heads, written field by field for the rare answer and copied whole for the usual one.
 * Never reads a request. Its worker's thread only.
 */
#include "backends/head.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#define LINE_MAX_BYTES 512 /* the longest line: --name or a Content-Type is cut to 255 */

static const char *phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } phrases[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {102, "Processing"},
        {103, "Early Hints"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {425, "Too Early"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return "Unnamed";
}

__attribute__((format(printf, 2, 3))) static void line(struct output *out, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof(text));
    output_append(out, text, (size_t)n);
    output_append(out, "\r\n", 2);
}

void head_append_fields(struct output *out, const char *text)
{
    struct span left = span_str(text);
    while (left.len > 0) {
        const char *bar = memchr(left.ptr, '|', left.len);
        size_t n = bar ? (size_t)(bar - left.ptr) : left.len;
        struct span field = span_trim(span_of(left.ptr, n));
        if (field.len)
            line(out, "%.*s", (int)field.len, field.ptr);
        left = bar ? span_of(bar + 1, left.len - n - 1) : span_of(NULL, 0);
    }
}

void head_append_interim(struct conn *c, const struct interim *info)
{
    struct output *out = conn_out(c);
    for (uint32_t i = 0; i < info->count; i++) {
        line(out, "HTTP/1.1 %u %s", info->status[i], phrase(info->status[i]));
        if (info->status[i] == 103)
            line(out, "Link: </style.css>; rel=preload; as=style");
        output_append(out, "\r\n", 2);
    }
}

static void append_framing(struct output *out, const struct response *r)
{
    if (r->status == 204 || r->status == 304)
        return;
    if (r->framing == FRAMING_LENGTH)
        line(out, "Content-Length: %llu", (unsigned long long)r->len);
    else if (r->framing == FRAMING_CHUNKED)
        line(out, "Transfer-Encoding: chunked");
}

static void append_upgrade(const struct conn *c, struct output *out)
{
    line(out, "Connection: Upgrade");
    if (c->req.upgrade == CONN_RAW_ECHO) {
        line(out, "Upgrade: echo");
        return;
    }
    line(out, "Upgrade: websocket");
    line(out, "Sec-WebSocket-Accept: %.*s", WS_ACCEPT_LEN, c->resp.owned);
}

static void append_connection(const struct conn *c, struct output *out, bool http10)
{
    const struct response *r = &c->resp;
    if (!r->keep_alive && !http10)
        line(out, "Connection: close");
    else if (r->keep_alive && c->req.minor == 0)
        line(out, "Connection: keep-alive");
}

void head_append(struct conn *c)
{
    struct output *out = conn_out(c);
    const struct response *r = &c->resp;
    const struct knobs *k = c->req.asked.knobs;
    const char *name = c->worker->service->opt->name;
    bool http10 = knobs_has(k, KNOB_HTTP10) && k->http10;

    line(out, "HTTP/1.%d %u %s", http10 ? 0 : 1, r->status, phrase(r->status));
    line(out, "Date: %s", c->worker->date);
    if (r->status != 101) {
        line(out, "Content-Type: %.255s", r->content_type ? r->content_type : "text/plain");
        append_framing(out, r);
    }
    if (name)
        line(out, "X-Backend: %s", name);
    if (knobs_has(k, KNOB_FIELDS))
        head_append_fields(out, k->fields.text);
    if (r->status == 101)
        append_upgrade(c, out);
    else
        append_connection(c, out, http10);
    output_append(out, "\r\n", 2);
}

#define DATE_AT (sizeof("HTTP/1.1 200 OK\r\nDate: ") - 1)

static bool canned_make(struct canned *made, const struct options *opt, const char *connection)
{
    size_t body_len = strlen(opt->body);
    size_t room = 1024 + body_len;
    made->data = malloc(room);
    if (!made->data)
        return false;
    int n = snprintf(made->data, room,
                     "HTTP/1.1 200 OK\r\nDate: %*s\r\nContent-Type: text/plain\r\n"
                     "Content-Length: %zu\r\n%s%s%s%s\r\n",
                     DATE_LEN, "", body_len, opt->name ? "X-Backend: " : "",
                     opt->name ? opt->name : "", opt->name ? "\r\n" : "", connection);
    CHECK(n > 0 && (size_t)n + body_len <= room);
    made->head_len = (size_t)n;
    memcpy(made->data + made->head_len, opt->body, body_len);
    made->len = made->head_len + body_len;
    return true;
}

bool canned_init(struct worker *w)
{
    static const char *const connection[CANNED_KINDS] = {
        [CANNED_KEEP] = "",
        [CANNED_CLOSE] = "Connection: close\r\n",
        [CANNED_KEEP_10] = "Connection: keep-alive\r\n",
    };
    for (size_t i = 0; i < CANNED_KINDS; i++)
        if (!canned_make(&w->canned[i], w->service->opt, connection[i]))
            return false;
    canned_set_date(w);
    return true;
}

void canned_fini(struct worker *w)
{
    for (size_t i = 0; i < CANNED_KINDS; i++)
        free(w->canned[i].data);
}

void canned_set_date(struct worker *w)
{
    struct timeval now;
    struct tm tm;
    gettimeofday(&now, NULL);
    gmtime_r(&now.tv_sec, &tm);
    /* The locale is never set, so these are the C locale's English names. */
    size_t n = strftime(w->date, sizeof(w->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    CHECK(n == DATE_LEN);
    for (size_t i = 0; i < CANNED_KINDS; i++)
        memcpy(w->canned[i].data + DATE_AT, w->date, DATE_LEN);
}
