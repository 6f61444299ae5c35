/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2's session: its callbacks record what has come, h2_input() acts on it afterwards, and
 * h2_output() takes frames one by one. Never reads or writes a socket. Its worker's thread only.
 */
#include "backends/h2.h"

#include <stdlib.h>
#include <string.h>

#include "backends/h2_stream.h"

#define STREAMS_MAX   256
#define STREAM_WINDOW (256u << 10) /* what a stream holds at most of a body that streams back */
#define CONN_WINDOW   (1 << 20)
#define NS_PER_MS     UINT64_C(1000000)

enum preface h2_preface(struct span bytes)
{
    struct span whole = SPAN_LIT(NGHTTP2_CLIENT_MAGIC);
    size_t n = bytes.len < whole.len ? bytes.len : whole.len;
    if (n == 0)
        return PREFACE_MAYBE;
    if (memcmp(bytes.ptr, whole.ptr, n) != 0)
        return PREFACE_NO;
    return n == whole.len ? PREFACE_YES : PREFACE_MAYBE;
}

bool bytes_append(struct bytes *b, const char *ptr, size_t len)
{
    if (len > b->room - b->len) {
        size_t room = b->room ? b->room : 256;
        while (room - b->len < len)
            room *= 2;
        char *data = realloc(b->data, room);
        if (!data)
            return false;
        b->data = data;
        b->room = room;
    }
    if (len)
        memcpy(b->data + b->len, ptr, len);
    b->len += len;
    return true;
}

static struct h2_stream *find(nghttp2_session *session, int32_t id)
{
    void *data = nghttp2_session_get_stream_user_data(session, id);
    return data ? CAST_OBJ(h2_stream, data, H2_STREAM_MAGIC) : NULL;
}

static void stream_free(struct h2_stream *s)
{
    list_unlink(&s->link);
    list_unlink(&s->news);
    list_unlink(&s->waiting);
    asked_reset(&s->asked);
    free(s->head.data);
    free(s->kept.data);
    free(s->trailers.data);
    if (s->content)
        free(s->content->owned);
    free(s->content);
    s->magic = 0;
    free(s);
}

static void tell(struct h2_stream *s)
{
    if (!list_linked(&s->news))
        list_push_back(&s->h2->news, &s->news);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h = CAST_OBJ(h2, user, H2_MAGIC);
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    s->magic = H2_STREAM_MAGIC;
    s->id = frame->hd.stream_id;
    s->h2 = h;
    list_init(&s->news);
    list_init(&s->waiting);
    list_init(&s->link);
    list_push_back(&h->streams, &s->link);
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

/* Appends a field's line; where its value is. */
static bool keep_field(struct bytes *to, struct span name, struct span value, struct part *at)
{
    bool ok = bytes_append(to, name.ptr, name.len) && bytes_append(to, ": ", 2);
    *at = (struct part){(uint32_t)to->len, (uint32_t)value.len};
    return ok && bytes_append(to, value.ptr, value.len) && bytes_append(to, "\r\n", 2);
}

static void take_field(struct h2_stream *s, struct span name, struct span value, struct part at)
{
    if (span_eq(name, SPAN_LIT(":method")))
        s->method = at;
    else if (span_eq(name, SPAN_LIT(":path")))
        s->path = at;
    else if (span_eq(name, SPAN_LIT("content-type")))
        s->type = at;
    else if (span_eq(name, SPAN_LIT("x-request-id")))
        s->request_id = at;
    else if (span_eq(name, SPAN_LIT("content-length")))
        s->has_length = parse_number(value, &s->content_length);
    else if (span_eq(name, SPAN_LIT("expect")))
        s->expects_continue = span_eq_nocase(value, SPAN_LIT("100-continue"));
    else
        asked_field(&s->asked, name, value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2_stream *s = find(session, frame->hd.stream_id);
    struct span key = span_of((const char *)name, name_len);
    struct span text = span_of((const char *)value, value_len);
    struct part at;
    (void)flags, (void)user;
    if (!s)
        return 0;
    if (!keep_field(s->settled ? &s->trailers : &s->head, key, text, &at))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!s->settled)
        take_field(s, key, text, at);
    return 0;
}

/* What the head asks for. An echo of other than a body begins with the head. */
static bool settle(struct h2_stream *s)
{
    s->settled = true;
    asked_settle(&s->asked, s->h2->conn->worker->service, h2_part(s, s->method),
                 h2_part(s, s->path), h2_part(s, s->request_id));
    if (s->asked.handler != HANDLER_ERROR &&
        span_starts(h2_part(s, s->type), SPAN_LIT("application/grpc")))
        s->asked.handler = HANDLER_GRPC;
    struct span method = h2_part(s, s->method);
    bool body_only = span_eq(method, SPAN_LIT("POST")) || span_eq(method, SPAN_LIT("PUT")) ||
                     span_eq(method, SPAN_LIT("PATCH"));
    if (s->asked.handler != HANDLER_ECHO || body_only)
        return true;
    bool ok =
        bytes_append(&s->kept, s->head.data, s->head.len) && bytes_append(&s->kept, "\r\n", 2);
    s->dump_len = s->kept.len;
    return ok;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s = find(session, frame->hd.stream_id);
    (void)user;
    if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (!s->settled && !settle(s))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        s->ended = true;
    tell(s);
    return 0;
}

/*
 * What streams back is kept, and gives its stream room again when it was sent. The conn's window is
 * given back at once, so that no stream holds up another.
 */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct h2 *h = CAST_OBJ(h2, user, H2_MAGIC);
    struct h2_stream *s = find(session, id);
    (void)flags;
    nghttp2_session_consume_connection(session, len);
    if (!s)
        return 0;
    s->body_bytes += len;
    stats_add(&h->conn->worker->stats->body_bytes_in, len);
    if (!h2_streams_back(s)) {
        nghttp2_session_consume_stream(session, id, len);
        return 0;
    }
    return bytes_append(&s->kept, (const char *)data, len) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct h2_stream *s = find(session, id);
    (void)error, (void)user;
    if (s)
        stream_free(s);
    return 0;
}

static nghttp2_session *session_new(struct h2 *h)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    if (nghttp2_option_new(&option) == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        if (nghttp2_session_server_new2(&session, callbacks, h, option) != 0)
            session = NULL;
        nghttp2_option_del(option);
    }
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

struct h2 *h2_new(struct conn *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
    };
    struct h2 *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->magic = H2_MAGIC;
    h->conn = c;
    h->next_due = UINT64_MAX;
    h->may_write = true;
    list_init(&h->streams);
    list_init(&h->news);
    list_init(&h->waiting);
    h->session = session_new(h);
    if (h->session &&
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ==
            0 &&
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) == 0)
        return h;
    h2_free(h);
    return NULL;
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    list_for_each_safe (it, &h->streams)
        stream_free(CONTAINER_OF(it, h2_stream, link));
    h->magic = 0;
    free(h);
}

static void act(struct h2_stream *s)
{
    h2_answer_head(s);
    if (s->begun)
        h2_answer_more(s);
    else if (s->ended)
        h2_answer_end(s);
}

static void act_on_news(struct h2 *h)
{
    for (struct list_node *it; (it = list_pop_front(&h->news));)
        act(CONTAINER_OF(it, h2_stream, news));
}

static void end_if_over(struct h2 *h)
{
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        h->conn->end = END_CLOSE;
}

void h2_input(struct h2 *h)
{
    struct conn *c = h->conn;
    struct input *in = &c->in;
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)in->data + in->pos,
                                         in->len - in->pos);
    in->pos = in->len;
    h->may_write = true;
    if (n < 0) {
        c->bad = true;
        c->end = END_CLOSE;
        return;
    }
    act_on_news(h);
}

bool h2_ready(const struct h2 *h)
{
    return h->may_write || (h->next_due != UINT64_MAX && uv_hrtime() >= h->next_due);
}

void h2_output(struct h2 *h)
{
    const uint8_t *data;
    h2_answer_due(h);
    ssize_t n = nghttp2_session_mem_send(h->session, &data);
    h->may_write = n > 0;
    if (n > 0)
        output_append(conn_out(h->conn), (const char *)data, (size_t)n);
    else if (n < 0)
        h->conn->end = END_CLOSE;
    else if (h->conn->end == END_NONE)
        end_if_over(h);
}

bool h2_waits(const struct h2 *h, uint64_t *ms)
{
    if (h->next_due == UINT64_MAX)
        return false;
    uint64_t now = uv_hrtime();
    *ms = h->next_due > now ? (h->next_due - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    return true;
}

bool h2_busy(const struct h2 *h)
{
    return !list_empty(&h->streams);
}
