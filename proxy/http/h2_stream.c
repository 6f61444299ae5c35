/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of an HTTP/2 session: what came in on the way up, what goes out on the way to frames,
 * their clocks and their end. Owns the streams' memory; up-calls are made by h2_stream_deliver
 * only. Conn's thread.
 */
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/http/h2_session.h"

/* A piece of a body that is less than this part of the block it came in is copied to others of its
 * kind: a peer that sends one byte a frame does not make us hold a slice and a block for each. A
 * frame of the usual 16 KiB in a big block is more. */
#define SMALL_PART 5

static void stream_late(struct wheel_timer *timer);

struct h2_stream *h2_stream_of(struct stream *base)
{
    CHECK(base->magic == STREAM_MAGIC);
    return CONTAINER_OF(base, h2_stream, base);
}

struct h2_stream *h2_stream_new(struct h2_session *h, int32_t id)
{
    struct h2_stream *s = reactor_alloc(h->conn->reactor, SLAB_H2_STREAM, sizeof(*s));
    memset(s, 0, sizeof(*s));
    s->base = (struct stream){.magic = STREAM_MAGIC, .ops = h->ops->stream};
    s->session = h;
    s->id = id;
    s->rx_deadline = s->tx_deadline = NEVER;
    list_init(&s->link);
    list_init(&s->ready);
    wheel_timer_init(&s->timer, stream_late);
    list_push_back(&h->streams, &s->link);
    h->n_streams++;
    return s;
}

/* What a stream has once it is wide. */
static uint32_t more_window(const struct h2_config *config)
{
    return config->stream_window - config->first_window;
}

static void heads_free(struct h2_stream *s)
{
    struct reactor *r = s->session->conn->reactor;
    while (s->n_heads > 0)
        reactor_free(r, SLAB_HEAD, s->heads[--s->n_heads]);
    reactor_free(r, SLAB_HEAD, TAKE(s->filling));
    reactor_free(r, SLAB_HEAD, TAKE(s->head));
    reactor_free(r, SLAB_HEAD, TAKE(s->trailers));
    chain_clear(&s->text);
}

void h2_stream_free(struct h2_stream *s)
{
    struct h2_session *h = s->session;
    struct reactor *r = h->conn->reactor;
    CHECK(!s->owned && h->section != s);
    heads_free(s);
    chain_clear(&s->rx);
    chain_clear(&s->tx);
    block_drop(TAKE(s->small));
    recycle_put(&r->pieces, TAKE(s->tx_trailers));
    wheel_remove(&r->wheel, &s->timer);
    if (s->wide)
        h->wide -= more_window(h->config);
    list_unlink(&s->ready);
    list_unlink(&s->link);
    h->n_streams--;
    s->base.magic = 0;
    reactor_free(r, SLAB_H2_STREAM, s);
    if (list_empty(&h->streams) && conn_closed(h->conn))
        conn_unhold(h->conn);
}

void h2_stream_mark(struct h2_stream *s)
{
    if (!list_linked(&s->ready))
        list_push_back(&s->session->ready, &s->ready);
    if (!conn_closed(s->session->conn))
        conn_wake(s->session->conn);
}

/* nghttp2 can still be asked about it. */
static bool stream_live(const struct h2_stream *s)
{
    return !s->closed && !s->session->dead && s->id > 0;
}

void h2_stream_reset(struct h2_stream *s, uint32_t code)
{
    if (s->reset || !stream_live(s))
        return;
    s->reset = true;
    chain_clear(&s->tx);
    nghttp2_submit_rst_stream(s->session->ng, NGHTTP2_FLAG_NONE, s->id, code);
    conn_wake(s->session->conn);
}

bool h2_stream_unsent(const struct h2_stream *s)
{
    return s->id <= 0 ||
           (stream_live(s) && nghttp2_session_find_stream(s->session->ng, s->id) == NULL);
}

void h2_stream_withdraw(struct h2_stream *s)
{
    nghttp2_session *ng = s->session->ng;
    CHECK(h2_stream_unsent(s));
    if (stream_live(
            s)) { /* nghttp2 drops its frame once its turn comes, and must not know us then */
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        CHECK(nghttp2_session_set_stream_user_data(ng, s->id, NULL) == 0);
    }
    s->closed = true;
    wheel_cancel(&s->timer);
    h2_stream_mark(s);
}

void h2_stream_fail(struct h2_stream *s, enum reason reason, bool gone)
{
    if (s->gone || (s->error != REASON_NONE && !gone))
        return;
    s->error = (uint16_t)reason;
    s->error_told = false;
    s->gone = gone;
    s->rx_dead = true;
    s->rx_deadline = NEVER;
    h2_stream_mark(s);
}

/* ---- clocks ---- */

static void stream_late(struct wheel_timer *timer)
{
    h2_stream_mark(CONTAINER_OF(timer, h2_stream, timer));
}

void h2_stream_arm(struct h2_stream *s)
{
    uint64_t at = s->rx_deadline < s->tx_deadline ? s->rx_deadline : s->tx_deadline;
    if (at == NEVER || s->closed || s->session->dead)
        wheel_cancel(&s->timer);
    else
        wheel_set(&s->session->conn->reactor->wheel, &s->timer, at);
}

/* A server that answers does not wait for the rest of the request: from then on one clock counts,
 * that of the response at its source. What moves in either direction winds it. */
static bool stream_answers(const struct h2_stream *s)
{
    return s->session->ops->server && s->tx_head;
}

/* The peer is to send more of its body: the clock runs while it may. */
void h2_stream_rx_clock(struct h2_stream *s)
{
    const struct h2_config *config = s->session->config;
    bool waits = s->owned && !s->rx_end && !s->rx_dead && !s->tunnel && !s->rx_hold &&
                 !s->expects && s->rx_final && !stream_answers(s) && config->body_ms != 0 &&
                 s->unconsumed < (s->wide ? config->stream_window : config->first_window) / 2;
    s->rx_deadline = waits ? reactor_now(s->session->conn->reactor) + config->body_ms : NEVER;
    h2_stream_arm(s);
}

/* What is queued is to be framed: the clock runs while something is, or an end, which nghttp2 does
 * not frame without a window either. */
static void tx_clock(struct h2_stream *s)
{
    const struct h2_config *config = s->session->config;
    bool waits = (s->tx.bytes > 0 || s->tx_end) && !s->tx_done && config->stall_ms != 0;
    s->tx_deadline = waits ? reactor_now(s->session->conn->reactor) + config->stall_ms : NEVER;
    h2_stream_arm(s);
}

/* Only the peer's windows count; a conn that does not move has a clock of its own. */
static void tx_late(struct h2_stream *s)
{
    nghttp2_session *ng = s->session->ng;
    bool conn_shut = nghttp2_session_get_remote_window_size(ng) <= 0;
    if (s->tx_done ||
        (!conn_shut && nghttp2_session_get_stream_remote_window_size(ng, s->id) > 0)) {
        tx_clock(s);
        return;
    }
    s->session->no_window |= conn_shut;
    s->tx_deadline = NEVER;
    h2_stream_fail(s, (enum reason)s->session->ops->stalled, true);
    h2_stream_reset(s, NGHTTP2_CANCEL);
}

static void check_clocks(struct h2_stream *s)
{
    const struct h2_session_ops *ops = s->session->ops;
    uint64_t now = reactor_now(s->session->conn->reactor);
    if (s->closed || s->session->dead)
        return;
    if (s->rx_deadline <= now) {
        s->rx_deadline = NEVER;
        h2_stream_fail(s, ops->late != NULL ? ops->late(s) : REASON_BODY_TIMEOUT, false);
    }
    if (s->tx_deadline <= now)
        tx_late(s);
    h2_stream_arm(s);
}

/* ---- what nghttp2 tells: only written down ---- */

static void copy_piece(struct h2_stream *s, const uint8_t *data, size_t len)
{
    while (len > 0) {
        if (s->small == NULL || block_room(s->small) == 0) {
            block_drop(s->small);
            s->small = block_get(&s->session->conn->reactor->bufs, false);
        }
        size_t n = block_room(s->small) < len ? block_room(s->small) : len;
        char *to = s->small->data + s->small->used;
        memcpy(to, data, n);
        s->small->used += (uint32_t)n;
        chain_append(&s->rx, s->small, to, n);
        data += n;
        len -= n;
    }
}

void h2_stream_on_data(struct h2_stream *s, const uint8_t *data, size_t len)
{
    struct conn *c = s->session->conn;
    s->rx_bytes += len;
    s->expects = false;
    /* Others use the conn too, and behind a proxy they are other clients: a stream's window is what
     * holds its sender. Who does not know of that yet is held by the conn's. */
    if (s->session->ops->server && !s->session->settled)
        s->session->withheld += len;
    else
        nghttp2_session_consume_connection(s->session->ng, len);
    if (s->session->ops->server && !s->tunnel && !s->extended &&
        s->rx_bytes > s->session->config->limits.body_bytes && s->error == REASON_NONE)
        h2_stream_fail(s, REASON_BODY_TOO_LARGE, false);
    if (s->rx_dead || s->released || s->refused != REASON_NONE)
        return;
    s->unconsumed += len;
    if (len >= c->in->cap / SMALL_PART)
        chain_append(&s->rx, c->in, (const char *)data, len);
    else
        copy_piece(s, data, len);
    h2_stream_mark(s);
}

void h2_stream_settled(struct h2_session *h)
{
    struct list_node *it = h->streams.next;
    h->settled = true;
    nghttp2_session_consume_connection(h->ng, h->withheld);
    h->withheld = 0;
    for (; it != &h->streams; it = it->next) /* those that wait for more window */
        h2_stream_mark(CONTAINER_OF(it, h2_stream, link));
}

void h2_stream_malformed(struct h2_stream *s)
{
    struct h2_session *h = s->session;
    if (s->malformed)
        return;
    s->malformed = true;
    if (h->section == s)
        h->section = NULL;
    if (h->ops->server && s->filling != NULL) {
        s->refused = REASON_BAD_FIELD;
        s->heads[s->n_heads++] = TAKE(s->filling);
        h2_stream_mark(s);
    } else if (!s->released) {
        h2_stream_fail(s, (enum reason)h->ops->bad_stream, true);
    }
}

void h2_stream_on_closed(struct h2_stream *s)
{
    s->closed = true;
    wheel_cancel(&s->timer);
    if (!s->malformed && !(s->rx_end && s->tx_done) && !s->released &&
        !(s->rx_end && s->rx_final && !s->session->ops->server))
        h2_stream_fail(s, (enum reason)s->session->ops->bad_stream, true);
    h2_stream_mark(s);
}

/* ---- up ---- */

static void deliver_request(struct h2_stream *s)
{
    enum reason reason = (enum reason)s->refused;
    s->n_heads = 0;
    s->head = s->heads[0];
    if (s->closed && !s->malformed) { /* nobody waits for an answer */
        s->released = true;
        return;
    }
    s->owned = true;
    s->rx_dead |= reason != REASON_NONE;
    s->rx_hold = s->extended;
    s->expects = s->head->expect_continue;
    s->session->ops->head(s, reason);
    if (s->owned && s->extended)
        s->base.events->end(&s->base, NULL);
}

static void deliver_responses(struct h2_stream *s)
{
    struct h2_session *h = s->session;
    while (s->owned && s->n_heads > 0) {
        s->head = s->heads[0];
        size_t text = s->head->status < 200 ? s->text_of[0] : 0;
        s->n_heads--;
        memmove(s->heads, s->heads + 1, s->n_heads * sizeof(s->heads[0]));
        memmove(s->text_of, s->text_of + 1, s->n_heads * sizeof(s->text_of[0]));
        h->ops->head(s, REASON_NONE);
        reactor_free(h->conn->reactor, SLAB_HEAD, TAKE(s->head));
        chain_drop(&s->text, text);
    }
}

/* Small pieces go on in the same block while somebody still holds a part of it. */
static void small_settle(struct h2_stream *s)
{
    if (s->small != NULL && s->small->refs == 1)
        block_drop(TAKE(s->small));
}

/* A request's body that goes on beyond its first window gets the whole one, while there is some. */
static void stream_widen(struct h2_stream *s)
{
    struct h2_session *h = s->session;
    const struct h2_config *config = h->config;
    uint32_t more = more_window(config);
    if (s->wide || more == 0 || !s->owned || s->rx_end || s->rx_dead || !h->settled || h->dead ||
        s->rx_bytes < config->first_window / 2 || more > config->wide_bytes - h->wide ||
        (s->head->body == BODY_LENGTH && s->head->content_length <= config->first_window))
        return;
    s->wide = nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, s->id,
                                                    (int32_t)config->stream_window) == 0;
    h->wide += s->wide ? more : 0;
}

static void deliver_body(struct h2_stream *s)
{
    struct chain body;
    chain_init(&body);
    chain_move(&body, &s->rx);
    h2_stream_rx_clock(s);
    s->base.events->body(&s->base, &body);
    chain_clear(&body);
    small_settle(s);
}

static void deliver_end(struct h2_stream *s)
{
    s->rx_end_told = true;
    s->rx_deadline = NEVER;
    block_drop(TAKE(s->small));
    h2_stream_arm(s);
    s->base.events->end(&s->base, s->trailers);
}

static void deliver_drained(struct h2_stream *s)
{
    size_t n = s->framed;
    s->framed = 0;
    s->base.events->drained(&s->base, n);
}

static void deliver_error(struct h2_stream *s)
{
    s->error_told = true;
    s->base.events->aborted(&s->base, (enum reason)s->error);
}

static void deliver_message(struct h2_stream *s)
{
    bool begins = s->n_heads > 0;
    if (begins && s->session->ops->server)
        deliver_request(s);
    else if (begins)
        deliver_responses(s);
    if (s->owned && s->rx.bytes > 0 && !s->rx_hold)
        deliver_body(s);
    else if (s->owned && begins && s->rx_final)
        h2_stream_rx_clock(s);
    if (s->owned && s->rx_end && !s->rx_end_told && s->rx.bytes == 0 && !s->rx_hold && !s->rx_dead)
        deliver_end(s);
}

/* Nobody above has it: what is left to be said to the peer? */
static void stream_settle(struct h2_stream *s)
{
    if (s->cut != 0 && chain_empty(&s->tx))
        h2_stream_reset(s, s->cut);
    else if (s->tx_done && !s->rx_end) /* the rest of the request is of no use */
        h2_stream_reset(s, NGHTTP2_NO_ERROR);
}

void h2_stream_deliver(struct h2_stream *s)
{
    struct h2_session *h = s->session;
    CHECK(h->delivering == NULL);
    h->delivering = s;
    check_clocks(s);
    if (!conn_closed(h->conn))
        deliver_message(s);
    if (!conn_closed(h->conn))
        stream_widen(s);
    if (s->owned && s->framed > 0 && !conn_closed(h->conn))
        deliver_drained(s);
    if (s->owned && s->error != REASON_NONE && !s->error_told)
        deliver_error(s);
    h->delivering = NULL;
    if (s->owned)
        return;
    if (s->closed || h->dead)
        h2_stream_free(s);
    else if (s->released)
        stream_settle(s);
}

/* ---- down ---- */

static ssize_t source_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    struct h2_stream *s = source->ptr;
    (void)buf;
    (void)user_data;
    if (s->tx.bytes == 0 && !s->tx_end) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = s->tx.bytes < length ? s->tx.bytes : length;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < s->tx.bytes || !s->tx_end)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->tx_trailers != NULL) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(ng, id, s->tx_trailers->nv, s->tx_trailers->n) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_stream_source(struct h2_stream *s)
{
    return (nghttp2_data_provider){.source = {.ptr = s}, .read_callback = source_read};
}

/* A DATA frame: its head, and the first length bytes of what is queued. */
int h2_stream_frame(struct h2_stream *s, const uint8_t head[9], size_t length)
{
    struct conn *c = s->session->conn;
    struct block *block;
    struct chain body;
    CHECK(length <= s->tx.bytes);
    char *at = conn_reserve(c, 9, &block);
    memcpy(at, head, 9);
    conn_wrote(c, block, at, 9);
    chain_init(&body);
    chain_move_bytes(&body, &s->tx, length);
    conn_send(c, &body);
    s->framed += length;
    s->tx_done |= head[4] & NGHTTP2_FLAG_END_STREAM;
    if (s->rx_final && s->rx_deadline != NEVER)
        h2_stream_rx_clock(s);
    tx_clock(s);
    h2_stream_mark(s);
    return NGHTTP2_ERR_PAUSE; /* the frame is sent; the caller looks how full the conn is */
}

static void stream_resume(struct h2_stream *s)
{
    if (!s->deferred || !stream_live(s))
        return;
    s->deferred = false;
    nghttp2_session_resume_data(s->session->ng, s->id);
}

void h2_stream_send_body(struct stream *base, struct chain *body)
{
    struct h2_stream *s = h2_stream_of(base);
    if (!stream_live(s) || s->reset || s->malformed || s->tx_end ||
        (s->session->ops->server && s->to_head)) {
        chain_clear(body);
        return;
    }
    bool waited = s->tx.bytes > 0;
    chain_move(&s->tx, body);
    if (!waited)
        tx_clock(s);
    stream_resume(s);
    conn_wake(s->session->conn);
}

void h2_stream_send_end(struct stream *base, const struct http_head *trailers)
{
    struct h2_stream *s = h2_stream_of(base);
    if (s->tx_end)
        return;
    s->tx_end = true;
    if (!stream_live(s) || s->reset || s->malformed || s->tx_done)
        return;
    s->tx_trailers = h2_trailers_copy(&s->session->conn->reactor->pieces, trailers);
    if (s->tx_deadline == NEVER && !(s->session->ops->server && s->to_head))
        tx_clock(s);
    stream_resume(s);
    conn_wake(s->session->conn);
}

void h2_stream_credit(struct stream *base, size_t n)
{
    struct h2_stream *s = h2_stream_of(base);
    if (n > s->unconsumed)
        n = s->unconsumed;
    s->unconsumed -= n;
    if (chain_empty(&s->rx))
        small_settle(s);
    if (s->session->dead || n == 0)
        return;
    nghttp2_session_consume_stream(s->session->ng, s->id, n);
    if (s->rx_deadline == NEVER)
        h2_stream_rx_clock(s);
    conn_wake(s->session->conn);
}

static void forget_input(struct h2_stream *s)
{
    chain_clear(&s->rx);
    block_drop(TAKE(s->small));
    s->unconsumed = 0;
    s->rx_deadline = NEVER;
    h2_stream_arm(s);
}

/* gRPC's clients take CANCEL for DEADLINE_EXCEEDED when theirs has passed, else for CANCELLED. */
static uint8_t cut_code(enum reason reason)
{
    bool cancelled = reason == REASON_REQUEST_TIMEOUT || reason == REASON_UPSTREAM_CANCELLED;
    return cancelled ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR;
}

void h2_stream_release(struct stream *base, enum reason reason)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_session *h = s->session;
    CHECK(s->owned);
    s->owned = false;
    s->released = true;
    s->base.events = NULL;
    forget_input(s);
    if (conn_closed(h->conn)) {
        if (h->delivering != s)
            h2_stream_free(s);
        return;
    }
    if (!s->malformed && !h->ops->server && !(s->tx_end && s->rx_end)) {
        h2_stream_reset(s, NGHTTP2_CANCEL);
    } else if (!s->malformed && !s->tx_end) { /* cut: behind what is queued */
        if (s->gone || reason_row(reason)->side == SIDE_GONE)
            h2_stream_reset(s, NGHTTP2_CANCEL);
        s->cut = cut_code(reason);
    }
    h2_stream_mark(s);
}
