/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests on an upstream conn of HTTP/2: what their verbs become, and what the session tells
 * of them. Owns nothing; must never end the conn. Reactor's thread.
 */
#include "proxy/http/h2_client_state.h"
#include "proxy/http/h2_request.h"
#include "proxy/net/tls.h"

/* ---- verbs ---- */

static void stream_clock(struct h2_stream *s, uint64_t ms)
{
    s->rx_deadline = ms == NEVER ? NEVER : reactor_now(s->session->conn->reactor) + ms;
    h2_stream_arm(s);
}

void h2_client_expect_head(struct h2_stream *s)
{
    if (h2_client_of_stream(s)->connected && !s->rx_final)
        stream_clock(s, s->asked.head_ms);
}

static void op_send_head(struct stream *base, const struct http_head *head)
{
    struct h2_stream *s = h2_stream_of(base);
    s->to_head = head->is_head;
    s->asked.expects = head->expect_continue;
    s->asked.upgrade = head->upgrade;
    if (s->asked.expects)
        h2_client_expect_head(s);
    if (h2_request_extends(head) && !s->session->told)
        s->asked.held = head; /* its owner keeps it as long as the stream */
    else
        h2_request_submit(s, head);
}

static void op_send_body(struct stream *base, struct chain *body)
{
    struct h2_stream *s = h2_stream_of(base);
    if (s->asked.expects) { /* it did not wait */
        s->asked.expects = false;
        if (!s->rx_final)
            stream_clock(s, NEVER);
    }
    h2_stream_send_body(base, body);
}

static void op_send_end(struct stream *base, const struct http_head *trailers)
{
    struct h2_stream *s = h2_stream_of(base);
    s->asked.whole = true;
    s->asked.since_ms = reactor_now(s->session->conn->reactor);
    h2_client_expect_head(s);
    /* A request for a tunnel has ended; the tunnel has not begun. */
    if (s->tx_end || (!s->tunnel && (s->extended || s->asked.held != NULL)))
        return;
    h2_stream_send_end(base, trailers);
}

/* Since when this request was waited for in vain. */
static uint64_t waited_since(const struct h2_stream *s, enum reason reason)
{
    const struct h2_client *cl = h2_client_of_stream(s);
    return reason == REASON_RESPONSE_IDLE_TIMEOUT
               ? reactor_now(cl->conn.reactor) - cl->options->response_idle_ms
               : s->asked.since_ms;
}

static void op_release(struct stream *base, enum reason reason)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_client *cl = h2_client_of_stream(s);
    if (reason == REASON_DONE)
        cl->served++;
    else if (reason_row(reason)->status == 504 && !conn_closed(&cl->conn))
        h2_client_doubt(cl, waited_since(s, reason));
    if (s->id <= 0) /* nghttp2 does not know of it */
        s->closed = true;
    h2_stream_release(base, reason);
}

static const struct tls_info *op_tls(const struct stream *base)
{
    const struct h2_stream *s = CONTAINER_OF(base, h2_stream, base);
    return conn_tls(s->session->conn);
}

const struct stream_ops h2_client_stream_ops = {
    .send_head = op_send_head,
    .send_body = op_send_body,
    .send_end = op_send_end,
    .credit = h2_stream_credit,
    .release = op_release,
    .tls = op_tls,
};

/* ---- what the session tells ---- */

static void stream_refuse(struct h2_stream *s, enum reason reason)
{
    h2_stream_reset(s, NGHTTP2_CANCEL);
    h2_stream_fail(s, reason, true);
}

static void on_interim(struct h2_stream *s, const struct http_head *head)
{
    if (head->status == 100 && s->asked.expects) {
        s->asked.expects = false;
        if (!s->asked.whole) /* the upstream has said its word; the client's body is awaited */
            stream_clock(s, NEVER);
    }
}

static void on_head(struct h2_stream *s, enum reason reason)
{
    struct http_head *head = s->head;
    s->base.answered = true;
    if (reason != REASON_NONE) {
        stream_refuse(s, reason);
        return;
    }
    if (head->status < 200)
        on_interim(s, head);
    else
        h2_answer_settle(s, head);
    s->base.events->head(&s->base, head);
}

static enum reason on_reset(const struct h2_stream *s, uint32_t code)
{
    if (code == NGHTTP2_CANCEL)
        return REASON_UPSTREAM_CANCELLED;
    if (code != NGHTTP2_REFUSED_STREAM)
        return REASON_UPSTREAM_STREAM_RESET;
    return s->session->goaway_got && s->id > s->session->goaway_last ? REASON_UPSTREAM_GOAWAY
                                                                     : REASON_UPSTREAM_REFUSED;
}

static enum reason on_late(const struct h2_stream *s)
{
    return s->rx_final ? REASON_RESPONSE_IDLE_TIMEOUT : REASON_RESPONSE_HEAD_TIMEOUT;
}

const struct h2_session_ops h2_client_session_ops = {
    .stream = &h2_client_stream_ops,
    .head = on_head,
    .reset = on_reset,
    .late = on_late,
    .broken = REASON_BAD_RESPONSE,
    .bad_stream = REASON_BAD_RESPONSE,
    .stalled = REASON_UPSTREAM_WRITE_STALL,
};
