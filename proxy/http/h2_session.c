/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn's nghttp2 session: its life, what nghttp2 tells, bytes in and frames out. Owns the session
 * and its streams; callbacks only write down, and never call up. Conn's thread.
 */
#include "proxy/http/h2_session.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"

/* What is inflated of one header section, in limits.header_bytes, before it counts as a bomb. */
#define SECTION_TIMES 4
/* Answers to PING and SETTINGS that may wait, and above which queue nothing more is read. */
#define ACKS_MAX  256
#define QUEUE_MAX 512

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

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    (void)ng;
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)
                   ? count(h, FLOOD_EMPTY_DATA)
                   : 0;
    case NGHTTP2_HEADERS:
        h2_flood_section(&h->flood);
        return 0;
    case NGHTTP2_CONTINUATION:
        return count(h, FLOOD_CONTINUATION);
    case NGHTTP2_RST_STREAM:
        return count(h, FLOOD_RESET);
    case NGHTTP2_SETTINGS:
        return hd->flags & NGHTTP2_FLAG_ACK ? 0 : count(h, FLOOD_SETTINGS);
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
        h->settled |= frame->hd.flags & NGHTTP2_FLAG_ACK;
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

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *h = session_of(user_data);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    h->in_section = true;
    h->section = NULL;
    h->section_bytes = 0;
    struct h2_stream *s;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        s = h2_stream_new(h, frame->hd.stream_id);
        h->opened++;
        h2_flood_stream(&h->flood);
        nghttp2_session_set_stream_user_data(ng, s->id, s);
    } else {
        s = find(h, frame->hd.stream_id);
    }
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
    (void)flags;
    h->section_bytes += n.span.len + v.span.len + 32; /* RFC 9113 section 6.5.2 */
    if (h->section_bytes > (size_t)SECTION_TIMES * h->config->limits.header_bytes + 8192)
        return stop(h, h->ops->server ? REASON_H2_HPACK_BOMB : h->ops->broken);
    if (h->section != NULL)
        h2_read_field(&h->reading, n, v);
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

/* ---- life ---- */

static void *pieces_malloc(size_t size, void *pieces)
{
    return recycle_get(pieces, size);
}

static void pieces_free(void *at, void *pieces)
{
    recycle_put(pieces, at);
}

static void *pieces_calloc(size_t n, size_t size, void *pieces)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    void *at = recycle_get(pieces, n * size);
    return at != NULL ? memset(at, 0, n * size) : NULL;
}

static void *pieces_realloc(void *at, size_t size, void *pieces)
{
    return recycle_resize(pieces, at, size);
}

static nghttp2_session_callbacks *callbacks_new(void)
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

static nghttp2_option *option_new(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE);
    /* h2_flood counts them, and says so in its own words. */
    nghttp2_option_set_stream_reset_rate_limit(o, 1000000, 1000000);
    nghttp2_option_set_max_continuations(o, 1000);
    return o;
}

static bool session_new(struct h2_session *h)
{
    struct recycle *pieces = &h->conn->reactor->pieces;
    nghttp2_mem mem = {.mem_user_data = pieces,
                       .malloc = pieces_malloc,
                       .free = pieces_free,
                       .calloc = pieces_calloc,
                       .realloc = pieces_realloc};
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *option = option_new();
    int rv = NGHTTP2_ERR_NOMEM;
    if (cb != NULL && option != NULL)
        rv = h->ops->server ? nghttp2_session_server_new3(&h->ng, cb, h, option, &mem)
                            : nghttp2_session_client_new3(&h->ng, cb, h, option, &mem);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return rv == 0;
}

static bool submit_settings(struct h2_session *h, const nghttp2_settings_entry *extra, size_t n)
{
    const struct h2_config *config = h->config;
    nghttp2_settings_entry all[8] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, config->stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, config->limits.header_bytes},
    };
    size_t at = 2;
    if (h->ops->server)
        all[at++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, config->max_streams};
    CHECK(n <= 4);
    for (size_t i = 0; i < n; i++)
        all[at++] = extra[i];
    return nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, all, at) == 0 &&
           nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                                 (int32_t)config->conn_window) == 0;
}

bool h2_session_init(struct h2_session *h, struct conn *c, const struct h2_session_ops *ops,
                     const struct h2_config *config, const nghttp2_settings_entry *extra, size_t n)
{
    *h = (struct h2_session){.conn = c, .ops = ops, .config = config};
    list_init(&h->streams);
    list_init(&h->ready);
    h2_flood_init(&h->flood, reactor_now(c->reactor));
    if (!session_new(h) && !(mem_fund_spend(&c->reactor->bufs.fund) && session_new(h)))
        return false;
    if (submit_settings(h, extra, n))
        return true;
    nghttp2_session_del(TAKE(h->ng));
    return false;
}

void h2_session_fini(struct h2_session *h)
{
    CHECK(list_empty(&h->streams));
    block_drop(TAKE(h->text));
    nghttp2_session_del(TAKE(h->ng));
}

/* ---- the end ---- */

static void put32(uint8_t *at, uint32_t n)
{
    at[0] = (uint8_t)(n >> 24);
    at[1] = (uint8_t)(n >> 16);
    at[2] = (uint8_t)(n >> 8);
    at[3] = (uint8_t)n;
}

/* No stream has anything to expect. */
static void end_streams(struct h2_session *h, enum reason reason)
{
    h->section = NULL;
    h->in_section = false;
    list_for_each_safe (node, &h->streams) {
        struct h2_stream *s = CONTAINER_OF(node, h2_stream, link);
        bool whole = s->rx_end && s->tx_done && s->error == REASON_NONE;
        if (!s->closed && !whole)
            h2_stream_fail(s, reason, true);
        s->closed = true;
        h2_stream_mark(s);
    }
}

void h2_session_fail(struct h2_session *h, enum reason reason, uint32_t code)
{
    uint8_t goaway[17] = {0, 0, 8, NGHTTP2_GOAWAY};
    struct block *block;
    if (h->dead)
        return;
    put32(goaway + 9, (uint32_t)nghttp2_session_get_last_proc_stream_id(h->ng));
    put32(goaway + 13, code);
    char *at = conn_reserve(h->conn, sizeof(goaway), &block);
    memcpy(at, goaway, sizeof(goaway));
    conn_wrote(h->conn, block, at, sizeof(goaway));
    h->dead = true;
    h->error = (uint16_t)reason;
    end_streams(h, reason);
}

bool h2_session_over(const struct h2_session *h)
{
    return h->dead || (!nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng));
}

static void deliver_all(struct h2_session *h)
{
    struct list_node *node;
    while ((node = list_pop_front(&h->ready)) != NULL)
        h2_stream_deliver(CONTAINER_OF(node, h2_stream, ready));
}

void h2_session_close(struct h2_session *h, enum reason reason, bool reset)
{
    if (conn_closed(h->conn))
        return;
    if (!list_empty(&h->streams))
        conn_hold(h->conn);
    conn_close(h->conn, reason, reset);
    h->dead = true;
    end_streams(h, reason);
    if (h->delivering == NULL)
        deliver_all(h);
}

/* ---- bytes in, frames out ---- */

/* An error of nghttp2_session_mem_recv or _send that ends the session. */
static void session_broken(struct h2_session *h, ssize_t error)
{
    enum reason reason = (enum reason)h->error;
    uint32_t code = NGHTTP2_ENHANCE_YOUR_CALM; /* a callback has said why */
    log_debug("%s conn %p: %s", h->conn->ops->name, (void *)h->conn, nghttp2_strerror((int)error));
    if (reason == (enum reason)h->ops->broken) {
        code = NGHTTP2_PROTOCOL_ERROR;
    } else if (reason == REASON_NONE) {
        switch (error) {
        case NGHTTP2_ERR_NOMEM:
            reason = REASON_NO_MEMORY;
            code = NGHTTP2_INTERNAL_ERROR;
            break;
        case NGHTTP2_ERR_FLOODED:
            reason = h->ops->server ? REASON_H2_PING_FLOOD : (enum reason)h->ops->broken;
            break;
        case NGHTTP2_ERR_TOO_MANY_SETTINGS:
            reason = h->ops->server ? REASON_H2_SETTINGS_FLOOD : (enum reason)h->ops->broken;
            break;
        default:
            reason = (enum reason)h->ops->broken;
            code = NGHTTP2_PROTOCOL_ERROR;
        }
    }
    h2_session_fail(h, reason, code);
}

/* Is so much waiting to be written that more requests would only pile up? */
static bool session_full(const struct h2_session *h)
{
    return conn_unsent(h->conn) >= H2_OUT_MAX &&
           nghttp2_session_get_outbound_queue_size(h->ng) > QUEUE_MAX;
}

static void session_read(struct h2_session *h)
{
    struct conn *c = h->conn;
    while (!h->dead && conn_input(c).len > 0) {
        if (session_full(h)) {
            conn_pause(c, PAUSE_FULL);
            return;
        }
        struct span in = conn_input(c);
        ssize_t n = nghttp2_session_mem_recv(h->ng, (const uint8_t *)in.ptr, in.len);
        conn_consume(c, n > 0 ? (size_t)n : in.len, NULL);
        if (n < 0)
            session_broken(h, n);
    }
    if (h->dead)
        conn_discard(c);
    conn_resume(c, PAUSE_FULL);
    if (!h->in_section)
        block_drop(TAKE(h->text)); /* the heads that are in it hold it */
    conn_release_input(c);
}

/* Pulls frames from nghttp2 into the conn's queue. True: there were some. */
static bool session_write(struct h2_session *h)
{
    struct conn *c = h->conn;
    bool any = false;
    while (!h->dead && conn_unsent(c) < H2_OUT_MAX) {
        const uint8_t *bytes;
        struct block *block;
        h->sent_data = false;
        ssize_t n = nghttp2_session_mem_send(h->ng, &bytes);
        if (n == 0 && !h->sent_data)
            break;
        any = true;
        if (n > 0) {
            char *at = conn_reserve(c, (size_t)n, &block);
            memcpy(at, bytes, (size_t)n);
            conn_wrote(c, block, at, (size_t)n);
        } else if (n < 0) {
            session_broken(h, n);
        }
    }
    return any;
}

void h2_session_turn(struct h2_session *h)
{
    struct conn *c = h->conn;
    session_read(h);
    do {
        deliver_all(h);
        if (conn_closed(c))
            return;
        if (!session_write(h) && !h->dead && h2_session_over(h)) {
            h->dead = true;
            end_streams(h, h->closing != REASON_NONE ? (enum reason)h->closing
                                                     : (enum reason)h->ops->broken);
        }
    } while (!list_empty(&h->ready));
}
