/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 tells of a session: frames, fields and data. Owns nothing; only writes down, and
 * must never call up. Conn's thread.
 */
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/http/h2_session.h"

/* What is inflated of one header section, in limits.header_bytes, before it counts as a bomb. */
#define SECTION_TIMES 4

static struct h2_session *session_of(void *user_data)
{
    return user_data;
}

static struct h2_stream *find(struct h2_session *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->ng, id);
}

/* From a callback: the session ends here. */
static int stop(struct h2_session *h, enum reason reason)
{
    if (h->error == REASON_NONE)
        h->error = (uint16_t)reason;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int count(struct h2_session *h, enum h2_flood_kind kind)
{
    enum reason bad = REASON_NONE;
    if (h->ops->server)
        bad = h2_flood_count(&h->flood, kind, reactor_now(h->conn->reactor));
    return bad == REASON_NONE ? 0 : stop(h, bad);
}

/* ---- what nghttp2 tells: frames ---- */

/* RFC 9113 section 5.1.1: what a client has skipped it can't open any more. To nghttp2 it is a
 * stream that is over, of which frames may be on their way. */
static int check_number(struct h2_session *h, int32_t id)
{
    if (id > h->last_id) {
        if (id > h->last_id + 2) {
            h->skipped_from = h->last_id + 2;
            h->skipped_to = id;
        }
        h->last_id = id;
    }
    return id >= h->skipped_from && id < h->skipped_to ? stop(h, (enum reason)h->ops->broken) : 0;
}

static uint32_t peer_window(const struct h2_session *h)
{
    return nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
}

/* The largest initial window that leaves that of every stream below 2^31. */
static uint32_t window_borne(const struct h2_session *h)
{
    int32_t most = 0;
    for (struct list_node *it = h->streams.next; it != &h->streams; it = it->next) {
        const struct h2_stream *s = CONTAINER_OF(it, h2_stream, link);
        int32_t n = s->closed ? 0 : nghttp2_session_get_stream_remote_window_size(h->ng, s->id);
        most = n > most ? n : most;
    }
    return (uint32_t)INT32_MAX - (uint32_t)most + peer_window(h);
}

/* RFC 9113 section 6.9.2: an error of the conn, where nghttp2 resets the stream. */
static void on_settings(struct h2_session *h, bool ack)
{
    if (ack) {
        h2_stream_settled(h);
        return;
    }
    h->told = true;
    if (peer_window(h) > h->window_borne)
        nghttp2_session_terminate_session(h->ng, NGHTTP2_FLOW_CONTROL_ERROR);
}

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    switch (hd->type) {
    case NGHTTP2_DATA:
        h->news = true;
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)
                   ? count(h, FLOOD_EMPTY_DATA)
                   : 0;
    case NGHTTP2_HEADERS:
        h->news = true;
        h2_flood_section(&h->flood);
        return h->ops->server ? check_number(h, hd->stream_id) : 0;
    case NGHTTP2_CONTINUATION:
        return count(h, FLOOD_CONTINUATION);
    case NGHTTP2_RST_STREAM:
        return count(h, FLOOD_RESET);
    case NGHTTP2_SETTINGS:
        if (hd->flags & NGHTTP2_FLAG_ACK)
            return 0;
        h->window_borne = window_borne(h);
        return count(h, FLOOD_SETTINGS);
    case NGHTTP2_PING:
        return hd->flags & NGHTTP2_FLAG_ACK ? 0 : count(h, FLOOD_PING);
    case NGHTTP2_WINDOW_UPDATE:
        return count(h, FLOOD_WINDOW);
    case NGHTTP2_GOAWAY:
    case NGHTTP2_PUSH_PROMISE: /* an error that nghttp2 sees to */
        return 0;
    default:
        return count(h, FLOOD_PRIORITY);
    }
}

static void on_rst(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_stream *s = find(h, frame->hd.stream_id);
    uint32_t code = frame->rst_stream.error_code;
    /* RFC 9113 section 8.1; but a tunnel's other half would end in nothing. */
    bool whole = s != NULL && s->rx_end && code == NGHTTP2_NO_ERROR && !s->tunnel;
    if (s != NULL && !s->released && !whole)
        h2_stream_fail(s, h->ops->reset(s, code), true);
}

static void on_goaway(struct h2_session *h, const nghttp2_goaway *goaway)
{
    h->goaway_got = true;
    h->goaway_last = goaway->last_stream_id;
    h->goaway_code = goaway->error_code;
}

/* Its text lies between that of the heads before it and that of the one that has just come. */
static void drop_last_head(struct h2_stream *s)
{
    struct chain kept;
    size_t before = 0;
    reactor_free(s->session->conn->reactor, SLAB_HEAD, s->heads[--s->n_heads]);
    for (unsigned i = 0; i < s->n_heads; i++)
        before += s->text_of[i];
    chain_init(&kept);
    chain_move_bytes(&kept, &s->text, before);
    chain_drop(&s->text, s->text_of[s->n_heads]);
    chain_move(&kept, &s->text);
    chain_move(&s->text, &kept);
}

static void keep_head(struct h2_stream *s)
{
    size_t before = 0;
    if (s->n_heads == H2_HEADS) /* interim ones nobody has had time for; the last is newer */
        drop_last_head(s);
    for (unsigned i = 0; i < s->n_heads; i++)
        before += s->text_of[i];
    s->text_of[s->n_heads] = s->text.bytes - before;
    s->heads[s->n_heads++] = TAKE(s->filling);
}

static void end_request(struct h2_session *h, struct h2_stream *s, bool end_stream)
{
    enum reason bad = h2_read_request(&h->reading, end_stream);
    switch (bad) {
    case REASON_BAD_FIELD: /* RFC 9113 section 8.1.1: it is malformed */
    case REASON_BAD_HOST:
    case REASON_MISSING_HOST:
    case REASON_BAD_CONTENT_LENGTH:
        h2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
        s->malformed = true;
        break;
    default:
        break;
    }
    s->refused = (uint16_t)bad;
    s->rx_final = true;
    s->extended = bad == REASON_NONE && h->reading.has_protocol;
    keep_head(s);
}

static void end_response(struct h2_session *h, struct h2_stream *s, bool end_stream)
{
    enum reason bad = h2_read_response(&h->reading, s->to_head, end_stream);
    if (bad == REASON_NONE && s->filling->status < 200 && ++s->asked.interims > H2_INTERIMS_MAX)
        bad = REASON_BAD_RESPONSE;
    if (bad != REASON_NONE) {
        h2_stream_fail(s, bad, true);
        h2_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    s->rx_final = s->filling->status >= 200;
    keep_head(s);
}

static void end_section(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_stream *s = TAKE(h->section);
    bool end_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    h->in_section = false;
    if (s == NULL)
        return;
    if (h->reading.trailers) {
        enum reason bad = h2_read_trailers(&h->reading);
        if (bad != REASON_NONE)
            h2_stream_fail(s, h->ops->server ? bad : h->ops->bad_stream, false);
    } else if (h->ops->server) {
        end_request(h, s, end_stream);
    } else {
        end_response(h, s, end_stream);
    }
    s->rx_end |= end_stream;
    h2_stream_mark(s);
}

static int end_data(struct h2_session *h, const nghttp2_frame *frame)
{
    struct h2_stream *s = find(h, frame->hd.stream_id);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        if (s != NULL) {
            s->rx_end = true;
            h2_stream_mark(s);
        }
        return 0;
    }
    bool padding = frame->hd.length > 0 && frame->hd.length == frame->data.padlen;
    return padding ? count(h, FLOOD_EMPTY_DATA) : 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        end_section(h, frame);
        return 0;
    case NGHTTP2_DATA:
        return end_data(h, frame);
    case NGHTTP2_RST_STREAM:
        on_rst(h, frame);
        return 0;
    case NGHTTP2_SETTINGS:
        on_settings(h, frame->hd.flags & NGHTTP2_FLAG_ACK);
        return 0;
    case NGHTTP2_PING:
        h->pong |= frame->hd.flags & NGHTTP2_FLAG_ACK;
        return 0;
    case NGHTTP2_GOAWAY:
        on_goaway(h, &frame->goaway);
        return 0;
    case NGHTTP2_PRIORITY_UPDATE: /* RFC 9218 section 7.1, which nghttp2 forgives */
        return ((const nghttp2_ext_priority_update *)frame->ext.payload)->stream_id == 0
                   ? stop(h, (enum reason)h->ops->broken)
                   : 0;
    default:
        return 0;
    }
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error,
                            void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h->in_section = false;
    struct h2_stream *s = frame->hd.stream_id != 0 ? find(h, frame->hd.stream_id) : NULL;
    log_debug("%s conn %p: frame %u of stream %d is invalid: %s", h->conn->ops->name,
              (void *)h->conn, frame->hd.type, (int)frame->hd.stream_id, nghttp2_strerror(error));
    if (s != NULL && error != NGHTTP2_ERR_REFUSED_STREAM)
        h2_stream_malformed(s);
    return 0;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    bool end_stream = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
        if (end_stream && frame->hd.stream_id != 0) {
            struct h2_stream *s = find(h, frame->hd.stream_id);
            if (s != NULL) {
                s->tx_done = true;
                h2_stream_mark(s);
            }
        }
        return 0;
    case NGHTTP2_GOAWAY:
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
            h->closing = h->ops->broken;
        return 0;
    case NGHTTP2_RST_STREAM: /* that the peer made us send; our own cuts are none of these */
        switch (frame->rst_stream.error_code) {
        case NGHTTP2_NO_ERROR:
        case NGHTTP2_INTERNAL_ERROR:
        case NGHTTP2_CANCEL:
            return 0;
        default:
            return count(h, FLOOD_RESET);
        }
    default:
        return 0;
    }
}

/* A request that the peer's GOAWAY was faster than, on_stream_close follows; or a section that
 * nghttp2 does not send for its size. */
static int on_frame_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int error,
                             void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    if (frame->hd.type != NGHTTP2_HEADERS || h->ops->server)
        return 0;
    struct h2_stream *s = find(h, frame->hd.stream_id);
    if (s == NULL || s->released)
        return 0;
    if (error == NGHTTP2_ERR_FRAME_SIZE_ERROR)
        h2_stream_fail(s, REASON_HEAD_TOO_LARGE, true);
    else if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_stream_fail(s, h->ops->reset(s, NGHTTP2_REFUSED_STREAM), true);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    struct h2_stream *s = nghttp2_session_get_stream_user_data(ng, id);
    if (s == NULL)
        return 0;
    if (h->section == s)
        h->section = NULL;
    if (!h->ops->server && code == NGHTTP2_REFUSED_STREAM && !s->released)
        h2_stream_fail(s, h->ops->reset(s, code), true); /* by a GOAWAY */
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    h->n_open -= h->ops->server;
    h2_stream_on_closed(s);
    return 0;
}

/* ---- what nghttp2 tells: fields and data ---- */

static struct http_head *head_new(struct h2_session *h)
{
    struct http_head *head = reactor_alloc(h->conn->reactor, SLAB_HEAD, sizeof(*head));
    http_head_init(head);
    return head;
}

static void begin_section(struct h2_session *h, struct h2_stream *s, bool request)
{
    bool trailers = s->rx_final;
    struct http_head **to = trailers ? &s->trailers : &s->filling;
    CHECK(*to == NULL);
    *to = head_new(h);
    h->reading.head = *to;
    h->reading.text = &s->text;
    h->reading.block = &h->text;
    h->reading.pool = &h->conn->reactor->bufs;
    h->reading.limits = &h->config->limits;
    h2_read_begin(&h->reading, request, trailers);
    h->section = s;
}

/* NULL: it is one too many (RFC 9113 section 5.1.2). */
static struct h2_stream *begin_request(struct h2_session *h, int32_t id)
{
    if (h->n_open >= h->config->max_streams) {
        nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return NULL;
    }
    struct h2_stream *s = h2_stream_new(h, id);
    h->n_open++;
    h->opened++;
    h2_flood_stream(&h->flood);
    nghttp2_session_set_stream_user_data(h->ng, id, s);
    return s;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    h->in_section = true;
    h->section = NULL;
    h->section_bytes = 0;
    struct h2_stream *s = frame->headers.cat == NGHTTP2_HCAT_REQUEST
                              ? begin_request(h, frame->hd.stream_id)
                              : find(h, frame->hd.stream_id);
    if (s != NULL && !s->released && !s->malformed && !s->gone && s->trailers == NULL)
        begin_section(h, s, frame->headers.cat == NGHTTP2_HCAT_REQUEST);
    return 0;
}

static struct h2_text text_of(nghttp2_rcbuf *buf)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(buf);
    return (struct h2_text){.span = span_of((const char *)v.base, v.len),
                            .lasting = nghttp2_rcbuf_is_static(buf)};
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    struct h2_text n = text_of(name), v = text_of(value);
    (void)ng;
    (void)frame;
    h->section_bytes += n.span.len + v.span.len + 32; /* RFC 9113 section 6.5.2 */
    if (h->section_bytes > (size_t)SECTION_TIMES * h->config->limits.header_bytes + 8192)
        return stop(h, h->ops->server ? REASON_H2_HPACK_BOMB : h->ops->broken);
    if (h->section != NULL)
        h2_read_field(&h->reading, n, v, flags & NGHTTP2_NV_FLAG_NO_INDEX);
    return 0;
}

/* nghttp2 would ignore the field; to us the message is malformed. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    if (h->section != NULL)
        h2_stream_malformed(h->section);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user_data)
{
    struct h2_session *h = session_of(user_data);
    struct h2_stream *s = find(h, id);
    (void)flags;
    if (s != NULL)
        h2_stream_on_data(s, data, len);
    else
        nghttp2_session_consume_connection(ng, len);
    return 0;
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head,
                        size_t length, nghttp2_data_source *source, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    CHECK(frame->data.padlen == 0);
    h2_flood_data_sent(&h->flood);
    h->sent_data = true;
    return h2_stream_frame(source->ptr, head, length);
}

nghttp2_session_callbacks *h2_callbacks_new(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    return cb;
}
