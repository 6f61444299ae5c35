/* SPDX-License-Identifier: Apache-2.0 */
/* See h2_service.h. Owns the conn under test, until it says that it is closed. */
#include "tests/unit/h2_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"

static void put(char *to, size_t size, const char *format, va_list args)
{
    size_t n = strlen(to);
    n += (size_t)vsnprintf(to + n, size - n, format, args);
    assert_true(n < size);
}

static void note(struct h2_service *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void see(struct h2_service *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(struct h2_service *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!f->quiet)
        put(f->log, sizeof(f->log), format, args);
    va_end(args);
}

static void see(struct h2_service *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!f->quiet)
        put(f->seen, sizeof(f->seen), format, args);
    va_end(args);
}

static const char *take(char *from)
{
    static char taken[16384];
    memcpy(taken, from, strlen(from) + 1);
    from[0] = '\0';
    return taken;
}

const char *h2_notes(struct h2_service *f)
{
    return take(f->log);
}

const char *h2_seen(struct h2_service *f)
{
    return take(f->seen);
}

/* ---- the service ---- */

void h2_send_head(struct h2_served *s, unsigned status, enum body_kind body, uint64_t length)
{
    struct http_head *head = calloc(1, sizeof(*head));
    char text[24];
    assert_non_null(head);
    head->status = (uint16_t)status;
    head->minor = 1;
    head->body = (uint8_t)body;
    head->content_length = length;
    if (body == BODY_LENGTH) {
        int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)length);
        http_head_add(head, FIELD_CONTENT_LENGTH, SPAN_LIT("Content-Length"),
                      span_of(text, (size_t)n));
    }
    http_head_add(head, FIELD_CONNECTION, SPAN_LIT("Connection"), SPAN_LIT("x"));
    if (body == BODY_TUNNEL)
        head->upgrade = SPAN_LIT("websocket");
    s->stream->ops->send_head(s->stream, head);
    free(head);
}

void h2_send_bytes(struct h2_served *s, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &s->f->w.r.bufs, bytes, n);
    s->stream->ops->send_body(s->stream, &body);
    assert_true(chain_empty(&body));
}

void h2_send_end(struct h2_served *s)
{
    s->stream->ops->send_end(s->stream, NULL);
}

void h2_release(struct h2_served *s, enum reason reason)
{
    struct stream *stream = TAKE(s->stream);
    stream->ops->release(stream, reason);
}

void h2_answer(struct h2_served *s, const char *body)
{
    h2_send_head(s, 200, BODY_LENGTH, strlen(body));
    h2_send_bytes(s, body, strlen(body));
    h2_send_end(s);
    h2_release(s, REASON_DONE);
}

static void on_body(struct stream *stream, struct chain *body)
{
    struct h2_served *s = stream->owner;
    size_t n = body->bytes;
    for (const struct slice *slice = body->head; slice != NULL; slice = slice->next) {
        for (size_t i = 0; i < slice->len && s->body_len + i + 1 < sizeof(s->body); i++)
            s->body[s->body_len + i] = slice->ptr[i];
        s->body_len += slice->len;
    }
    if (s->f->hold_body)
        chain_move(&s->f->held, body);
    chain_clear(body);
    if (s->f->credit)
        stream->ops->credit(stream, n);
}

static void on_end(struct stream *stream, struct http_head *trailers)
{
    struct h2_served *s = stream->owner;
    note(s->f, "%u end", s->number);
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        note(s->f, " %.*s=%.*s", trailers->fields[i].name_len, trailers->fields[i].name,
             (int)trailers->fields[i].value_len, trailers->fields[i].value);
    note(s->f, "|");
}

static void on_drained(struct stream *stream, size_t n)
{
    struct h2_served *s = stream->owner;
    note(s->f, "%u drained %zu|", s->number, n);
}

static void on_aborted(struct stream *stream, enum reason reason)
{
    struct h2_served *s = stream->owner;
    note(s->f, "%u aborted %s|", s->number, reason_row(reason)->name);
    if (!s->f->keep_on_abort)
        h2_release(s, reason);
}

static const struct stream_events events = {
    .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

static void on_request(void *ctx, struct stream *stream, struct http_head *head,
                       const struct http_peer *peer, enum reason reason)
{
    struct h2_service *f = ctx;
    struct h2_served *s = &f->served[f->n_served % H2_STREAMS];
    (void)peer;
    assert_null(s->stream);
    *s = (struct h2_served){.f = f, .stream = stream, .head = head, .number = f->n_served++};
    note(f, "%u %.*s %.*s %s|", s->number, (int)head->method.len,
         head->method.len ? head->method.ptr : "", (int)head->path.len,
         head->path.len ? head->path.ptr : "", reason_row(reason)->name);
    stream->events = &events;
    stream->owner = s;
    if (f->answer_at_once)
        h2_answer(s, "now");
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    (void)promised;
    (void)peer;
    (void)promised;
    return ((struct h2_service *)ctx)->keep;
}

static void on_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct h2_service *f = ctx;
    (void)peer;
    f->srv = NULL;
    note(f, "closed %s|", reason_row(reason)->name);
}

static const struct http_service callbacks = {
    .request = on_request, .keep_alive = on_keep_alive, .closed = on_closed};

/* ---- nghttp2's client ---- */

static int client_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                         size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                         void *user_data)
{
    (void)ng;
    (void)flags;
    see(user_data, "%d %.*s=%.*s|", (int)frame->hd.stream_id, (int)name_len, (const char *)name,
        (int)value_len, (const char *)value);
    return 0;
}

static int client_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    (void)ng;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        see(user_data, "goaway %d %u|", (int)frame->goaway.last_stream_id,
            frame->goaway.error_code);
    if (frame->hd.type <= NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        see(user_data, "%d end|", (int)frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        see(user_data, "%d reset %u|", (int)frame->hd.stream_id, frame->rst_stream.error_code);
    return 0;
}

static int client_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                       size_t len, void *user_data)
{
    struct h2_service *f = user_data;
    (void)flags;
    f->got_body += len;
    if (len <= 64)
        see(f, "%d '%.*s'|", (int)id, (int)len, (const char *)data);
    return f->hold_window ? 0 : nghttp2_session_consume(ng, id, len);
}

static ssize_t client_upload(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
                             uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    struct h2_service *f = user_data;
    size_t n = f->upload_len < length ? f->upload_len : length;
    (void)ng;
    (void)id;
    (void)source;
    memcpy(buf, f->upload, n);
    f->upload += n;
    f->upload_len -= n;
    if (f->upload_len == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void client_new(struct h2_service *f)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    assert_int_equal(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(cb, client_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, client_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, client_data);
    assert_int_equal(nghttp2_session_client_new2(&f->ng, cb, f, option), 0);
    nghttp2_submit_settings(f->ng, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
}

/* What the client got and has to say. True: there was something. */
static bool client_step(struct h2_service *f)
{
    const uint8_t *bytes;
    ssize_t n;
    bool any = f->w.got_len > 0;
    if (any)
        assert_true(nghttp2_session_mem_recv(f->ng, (const uint8_t *)f->w.got, f->w.got_len) >= 0);
    wire_take(&f->w);
    while (!f->w.peer_closed && (n = nghttp2_session_mem_send(f->ng, &bytes)) > 0) {
        wire_say_bytes(&f->w, bytes, (size_t)n);
        any = true;
    }
    return any;
}

void h2_run(struct h2_service *f)
{
    do {
        reactor_dispatch(&f->w.r);
        wire_settle(&f->w);
    } while (f->ng != NULL && client_step(f));
}

int32_t h2_ask(struct h2_service *f, const char *const *fields, const char *body, size_t len)
{
    nghttp2_nv nv[64];
    size_t n = 0;
    nghttp2_data_provider source = {.read_callback = client_upload};
    for (; fields[2 * n] != NULL; n++)
        nv[n] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)fields[2 * n],
                             .value = (uint8_t *)(uintptr_t)fields[2 * n + 1],
                             .namelen = strlen(fields[2 * n]),
                             .valuelen = strlen(fields[2 * n + 1])};
    f->upload = body;
    f->upload_len = len;
    int32_t id = nghttp2_submit_request(f->ng, NULL, nv, n, body != NULL ? &source : NULL, NULL);
    assert_true(id > 0);
    h2_run(f);
    return id;
}

int32_t h2_get(struct h2_service *f, const char *path)
{
    const char *fields[] = {":method",   "GET",   ":scheme", "http", ":authority",
                            "h.example", ":path", path,      NULL};
    return h2_ask(f, fields, NULL, 0);
}

int32_t h2_post(struct h2_service *f, const char *path, const char *body, size_t len)
{
    const char *fields[] = {":method",   "POST",  ":scheme", "http", ":authority",
                            "h.example", ":path", path,      NULL};
    return h2_ask(f, fields, body, len);
}

/* ---- a client by hand ---- */

void h2_frame(struct h2_service *f, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
              size_t len)
{
    uint8_t head[9] = {
        (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,       type,       flags,
        (uint8_t)(id >> 24),  (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    wire_say_bytes(&f->w, head, sizeof(head));
    if (len > 0)
        wire_say_bytes(&f->w, payload, len);
    h2_run(f);
}

void h2_preface(struct h2_service *f)
{
    wire_say(&f->w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_frame(f, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

void h2_headers(struct h2_service *f, uint8_t flags, uint32_t id, const char *const *fields)
{
    uint8_t block[8192];
    size_t n = 0;
    for (; fields[0] != NULL; fields += 2) {
        size_t name = strlen(fields[0]), value = strlen(fields[1]);
        assert_true(name < 127 && value < 127 && n + name + value + 3 < sizeof(block));
        block[n++] = 0;
        block[n++] = (uint8_t)name;
        memcpy(block + n, fields[0], name);
        n += name;
        block[n++] = (uint8_t)value;
        memcpy(block + n, fields[1], value);
        n += value;
    }
    h2_frame(f, NGHTTP2_HEADERS, flags, id, block, n);
}

const char *h2_frames(struct h2_service *f)
{
    static const char *const names[] = {"data", "headers", "priority", "reset",  "settings",
                                        "push", "ping",    "goaway",   "window", "continuation"};
    const uint8_t *at = (const uint8_t *)f->w.got, *end = at + f->w.got_len;
    for (; at != NULL && end - at >= 9;) {
        size_t len = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        unsigned id = (unsigned)at[5] << 24 | (unsigned)at[6] << 16 | (unsigned)at[7] << 8 | at[8];
        assert_true(at[3] < ARRAY_LEN(names) && (size_t)(end - at) >= 9 + len);
        see(f, "%s", names[at[3]]);
        if (id != 0)
            see(f, " %u", id);
        if (at[3] == NGHTTP2_RST_STREAM || at[3] == NGHTTP2_GOAWAY)
            see(f, " %u", at[9 + len - 1 - (at[3] == NGHTTP2_GOAWAY ? len - 8 : 0)]);
        if (at[3] <= NGHTTP2_HEADERS && at[4] & NGHTTP2_FLAG_END_STREAM)
            see(f, " end");
        if ((at[3] == NGHTTP2_SETTINGS || at[3] == NGHTTP2_PING) && at[4] & NGHTTP2_FLAG_ACK)
            see(f, " ack");
        see(f, "|");
        at += 9 + len;
    }
    wire_take(&f->w);
    return h2_seen(f);
}

/* ---- a test's life ---- */

static void begin(struct h2_service *f, size_t capacity, bool client)
{
    struct http_peer peer = {.text_len = 0};
    wire_init(&f->w, capacity);
    list_init(&f->conns);
    f->srv = h2_server_new(&f->w.r, &f->options, &peer, &f->conns);
    wire_attach(&f->w, h2_server_conn(f->srv), false);
    if (client) {
        client_new(f);
        h2_run(f);
    }
}

static void end(struct h2_service *f)
{
    if (f->srv != NULL)
        client_conn_abort(h2_server_client(f->srv), REASON_SHUTDOWN);
    wire_settle(&f->w);
    assert_null(f->srv);
    assert_true(list_empty(&f->conns));
    for (unsigned i = 0; i < H2_STREAMS; i++)
        assert_null(f->served[i].stream);
    wire_fini(&f->w);
    nghttp2_session_del(TAKE(f->ng));
}

int h2_setup(void **state)
{
    struct h2_service *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->keep = f->credit = true;
    f->options = (struct h2_server_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = 8192,
                   .target_bytes = 4096,
                   .headers = 100},
        .head_ms = 10000,
        .idle_ms = 75000,
        .body_ms = 60000,
        .write_stall_ms = 30000,
        .max_streams = H2_MAX_STREAMS,
        .stream_window = H2_STREAM_WINDOW,
        .conn_window = H2_CONN_WINDOW,
        .service = &callbacks,
        .ctx = f,
    };
    begin(f, 65536, true);
    *state = f;
    return 0;
}

void h2_rewire(struct h2_service *f, size_t capacity, bool client)
{
    end(f);
    f->log[0] = f->seen[0] = '\0';
    f->n_served = 0;
    begin(f, capacity, client);
}

int h2_teardown(void **state)
{
    struct h2_service *f = *state;
    chain_clear(&f->held);
    f->keep_on_abort = false;
    end(f);
    free(f);
    return 0;
}
