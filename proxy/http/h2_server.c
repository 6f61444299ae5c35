/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of one HTTP/2 client conn: how they are answered, and how the conn lives and ends. Owns
 * the conn and its session; must never make an up-call but from server_process and server_abort.
 * Reactor's thread.
 */
#include "proxy/http/h2_server.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/http/h2_session.h"

#define H2_SERVER_MAGIC MAGIC('h', '2', 's', 'v')
#define SETTINGS_MS     10000 /* for the client to acknowledge ours */
#define DRAIN_MS        1000  /* for the answer to the ping behind the first GOAWAY */

enum server_state {
    SERVER_OPEN,
    SERVER_NOTICE, /* the first GOAWAY is sent: requests that are on their way are still taken */
    SERVER_DRAIN,  /* the real one: what is in progress is finished */
    SERVER_LINGER, /* our end is sent; reads until the client's end */
};

struct h2_server {
    struct conn conn;
    uint32_t magic;
    uint8_t state; /* enum server_state */
    bool served;   /* a request came: now the idle timeout counts */
    bool pinged;   /* in SERVER_NOTICE */
    uint16_t reason;
    uint32_t discarded;
    uint64_t settle_by, section_by, notice_by, idle_by; /* ms of reactor_now, or NEVER */
    const struct h2_server_options *options;
    struct client_conn client;
    struct h2_config config;
    struct h2_session session;
};

static const struct conn_ops server_conn_ops;
static const struct client_conn_ops server_client_ops;
static const struct h2_session_ops server_session_ops;

/* Which states may follow which; the trace is what `log: debug` shows. */
static void server_set_state(struct h2_server *srv, enum server_state state)
{
    static const char *const names[] = {"open", "notice", "drain", "linger"};
    CHECK(state > srv->state);
    log_debug("client conn %p: %s -> %s", (void *)&srv->conn, names[srv->state], names[state]);
    srv->state = (uint8_t)state;
}

static struct h2_server *server_of(struct conn *c)
{
    struct h2_server *srv = CONTAINER_OF(c, h2_server, conn);
    CHECK(srv->magic == H2_SERVER_MAGIC);
    return srv;
}

static struct h2_server *server_of_stream(struct h2_stream *s)
{
    return server_of(s->session->conn);
}

/* ---- life ---- */

static struct h2_config config_of(const struct h2_server_options *options)
{
    return (struct h2_config){
        .limits = options->limits,
        .max_streams = options->max_streams,
        .stream_window = options->stream_window,
        .conn_window = options->conn_window,
        .first_window =
            options->stream_window < H2_FIRST_WINDOW ? options->stream_window : H2_FIRST_WINDOW,
        .wide_bytes = H2_WIDE_BYTES,
        .body_ms = options->body_ms,
        .stall_ms = options->write_stall_ms,
    };
}

struct h2_server *h2_server_new(struct reactor *r, const struct h2_server_options *options,
                                const struct http_peer *peer, struct list_node *conns)
{
    static const nghttp2_settings_entry extra[] = {
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    struct h2_server *srv = reactor_alloc(r, SLAB_H2_SERVER, sizeof(*srv));
    memset(srv, 0, sizeof(*srv));
    conn_init(&srv->conn, r, &server_conn_ops, options->write_stall_ms);
    srv->magic = H2_SERVER_MAGIC;
    srv->options = options;
    srv->config = config_of(options);
    client_conn_init(&srv->client, &server_client_ops, peer, conns);
    if (!h2_session_init(&srv->session, &srv->conn, &server_session_ops, &srv->config, extra,
                         ARRAY_LEN(extra)))
        mem_out();
    srv->settle_by = reactor_now(r) + SETTINGS_MS;
    srv->section_by = srv->notice_by = srv->idle_by = NEVER;
    conn_expect(&srv->conn, options->head_ms);
    return srv;
}

struct conn *h2_server_conn(struct h2_server *srv)
{
    return &srv->conn;
}

struct client_conn *h2_server_client(struct h2_server *srv)
{
    return &srv->client;
}

static void server_free(struct conn *c)
{
    struct h2_server *srv = server_of(c);
    h2_session_fini(&srv->session);
    list_unlink(&srv->client.link);
    srv->magic = 0;
    srv->options->service->closed(srv->options->ctx, &srv->client.peer,
                                  (enum reason)srv->conn.close_reason);
    reactor_free(c->reactor, SLAB_H2_SERVER, srv);
}

/* ---- clocks ---- */

/* Sets *by when the state of affairs begins that it bounds, and clears it when that is over. */
static void bound(uint64_t *by, bool on, uint64_t now, uint64_t ms)
{
    if (!on)
        *by = NEVER;
    else if (*by == NEVER)
        *by = now + ms;
}

static uint64_t nearest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void server_arm(struct h2_server *srv)
{
    struct conn *c = &srv->conn;
    const struct h2_session *h = &srv->session;
    uint64_t now = reactor_now(c->reactor);
    if (conn_closed(c) || srv->state == SERVER_LINGER)
        return;
    /* It begins when the last answer has left; what else is sent (an answer to PING) is no reason
     * to begin anew. */
    bool idle = h->n_streams == 0 && !h->in_section &&
                (!srv->served || srv->idle_by != NEVER || conn_unsent(c) == 0);
    if (h->settled)
        srv->settle_by = NEVER;
    bound(&srv->section_by, h->in_section, now, srv->options->head_ms);
    bound(&srv->idle_by, idle, now, srv->served ? srv->options->idle_ms : srv->options->head_ms);
    uint64_t at =
        nearest(nearest(srv->settle_by, srv->notice_by), nearest(srv->section_by, srv->idle_by));
    conn_expect(c, at == NEVER ? NEVER : at > now ? at - now : 0);
}

/* ---- the end ---- */

/* Everything queued goes out, then our end; then it reads on for a while: closing a socket with
 * unread bytes in it sends an RST, which can take our last frames away from the client. */
static void server_linger(struct h2_server *srv, enum reason reason)
{
    server_set_state(srv, SERVER_LINGER);
    srv->reason = (uint16_t)reason;
    conn_send_end(&srv->conn);
    conn_resume(&srv->conn, PAUSE_FULL);
    conn_expect(&srv->conn, conn_unsent(&srv->conn) > 0 ? NEVER : CLIENT_LINGER_MS);
    conn_wake(&srv->conn);
}

static void server_discard(struct h2_server *srv)
{
    struct conn *c = &srv->conn;
    srv->discarded += (uint32_t)conn_discard(c);
    if (!(c->flags & (CONN_EOF | CONN_READ_LATE)) && srv->discarded <= CLIENT_LINGER_BYTES)
        conn_resume(c, PAUSE_FULL); /* TLS may have filled the block before this turn */
    else if (conn_unsent(c) == 0 || c->flags & CONN_READ_LATE)
        conn_close(c, (enum reason)srv->reason, false);
    else
        conn_pause(c, PAUSE_FULL); /* the last frames first */
}

/* Nothing new is taken. In two steps, so that no request that is on its way is lost (RFC 9113
 * section 6.8): a GOAWAY that still allows all of them, and after a round trip the real one. */
static void server_notice(struct h2_server *srv)
{
    if (srv->state != SERVER_OPEN || srv->session.dead)
        return;
    server_set_state(srv, SERVER_NOTICE);
    nghttp2_submit_shutdown_notice(srv->session.ng);
    srv->notice_by = reactor_now(srv->conn.reactor) + DRAIN_MS;
    srv->reason = REASON_DRAINING;
    conn_wake(&srv->conn);
}

/* Behind the GOAWAY, which nghttp2 would let it overtake. */
static void server_ping(struct h2_server *srv)
{
    static const uint8_t word[8] = "goaway";
    srv->pinged = true;
    srv->session.pong = false;
    nghttp2_submit_ping(srv->session.ng, NGHTTP2_FLAG_NONE, word);
    conn_wake(&srv->conn);
}

static void server_drain(struct h2_server *srv)
{
    nghttp2_session *ng = srv->session.ng;
    server_set_state(srv, SERVER_DRAIN);
    srv->notice_by = NEVER;
    nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(ng),
                          NGHTTP2_NO_ERROR, NULL, 0);
    conn_wake(&srv->conn);
}

/* ---- responses ---- */

/* Whatever is said of it is thrown away. */
static bool stream_mute(const struct h2_stream *s)
{
    return s->closed || s->reset || s->malformed || s->session->dead;
}

static void submit_interim(struct h2_stream *s, const struct http_head *head)
{
    nghttp2_nv nv[H2_NV_MAX];
    char digits[3];
    if (head->status == 100 && s->expects) { /* now the body is the client's affair */
        s->expects = false;
        h2_stream_rx_clock(s);
    } else if (head->status != 100 && conn_unsent(s->session->conn) >= H2_OUT_MAX) {
        return; /* a hint that the client has no time for is none */
    }
    size_t n = h2_write_response(head, nv, digits);
    nghttp2_submit_headers(s->session->ng, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n, NULL);
}

/* What a status means to whom it asked for a tunnel: 200 grants it, and is never a mere answer. */
static void tunnel_status(const struct h2_stream *s, char digits[3])
{
    if (s->tunnel)
        memcpy(digits, "200", 3);
    else if (s->extended && digits[0] == '2')
        memcpy(digits, "502", 3);
}

static void submit_response(struct h2_stream *s, const struct http_head *head)
{
    nghttp2_nv nv[H2_NV_MAX];
    char digits[3];
    nghttp2_data_provider source = h2_stream_source(s);
    size_t n = h2_write_response(head, nv, digits);
    tunnel_status(s, digits);
    if (nghttp2_submit_response(s->session->ng, s->id, nv, n, s->to_head ? NULL : &source) != 0)
        h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static void op_send_head(struct stream *base, const struct http_head *head)
{
    struct h2_stream *s = h2_stream_of(base);
    struct h2_server *srv = server_of_stream(s);
    CHECK(!s->tx_head);
    conn_wake(&srv->conn);
    if (head->status < 200 && head->body != BODY_TUNNEL) {
        if (!stream_mute(s) && head->status != 101)
            submit_interim(s, head);
        return;
    }
    s->tx_head = true;
    h2_stream_rx_clock(s);
    s->tunnel = head->body == BODY_TUNNEL;
    s->to_head = s->head->is_head || head->body == BODY_NONE ||
                 (head->body == BODY_LENGTH && head->content_length == 0);
    if (s->tunnel) {
        s->rx_hold = s->rx_end_told = false;
        h2_stream_mark(s);
    } else if (s->extended) {
        s->rx_dead = true;
    }
    if (!stream_mute(s))
        submit_response(s, head);
    if (!srv->options->service->keep_alive(srv->options->ctx, &srv->client.peer, false))
        server_notice(srv);
}

static const struct stream_ops server_stream_ops = {
    .send_head = op_send_head,
    .send_body = h2_stream_send_body,
    .send_end = h2_stream_send_end,
    .credit = h2_stream_credit,
    .release = h2_stream_release,
};

static void server_head(struct h2_stream *s, enum reason reason)
{
    struct h2_server *srv = server_of_stream(s);
    srv->served = true;
    srv->idle_by = NEVER;
    srv->options->service->request(srv->options->ctx, &s->base, s->head, &srv->client.peer, reason);
}

static enum reason server_reset(const struct h2_stream *s, uint32_t code)
{
    (void)s;
    (void)code;
    return REASON_CLIENT_RESET;
}

static enum reason server_stream_late(const struct h2_stream *s)
{
    (void)s;
    return REASON_BODY_TIMEOUT;
}

static const struct h2_session_ops server_session_ops = {
    .server = true,
    .stream = &server_stream_ops,
    .head = server_head,
    .reset = server_reset,
    .late = server_stream_late,
    .broken = REASON_H2_PROTOCOL_ERROR,
    .bad_stream = REASON_H2_STREAM_ERROR,
    .stalled = REASON_CLIENT_WRITE_STALL,
};

/* ---- what happens ---- */

static void server_late(struct h2_server *srv)
{
    uint64_t now = reactor_now(srv->conn.reactor);
    struct h2_session *h = &srv->session;
    srv->conn.flags &= (uint16_t)~CONN_READ_LATE;
    if (srv->settle_by <= now) {
        h2_session_fail(h, REASON_H2_SETTINGS_TIMEOUT, NGHTTP2_SETTINGS_TIMEOUT);
    } else if (srv->section_by <= now) {
        h2_session_fail(h, REASON_HEAD_TIMEOUT, NGHTTP2_ENHANCE_YOUR_CALM);
    } else if (srv->idle_by <= now) {
        h2_session_fail(h, REASON_IDLE_TIMEOUT, NGHTTP2_NO_ERROR);
    } else if (srv->notice_by <= now) {
        server_drain(srv);
    }
}

/* Why the session is over. */
static enum reason server_verdict(const struct h2_server *srv)
{
    const struct h2_session *h = &srv->session;
    if (h->error != REASON_NONE)
        return (enum reason)h->error;
    if (h->closing != REASON_NONE)
        return (enum reason)h->closing;
    return srv->reason != REASON_NONE ? (enum reason)srv->reason : REASON_CLIENT_CLOSED;
}

static void server_open(struct h2_server *srv)
{
    struct conn *c = &srv->conn;
    if (c->flags & CONN_READ_LATE)
        server_late(srv);
    if (srv->state == SERVER_NOTICE && srv->pinged && srv->session.pong && !srv->session.dead)
        server_drain(srv);
    h2_session_turn(&srv->session);
    if (conn_closed(c))
        return;
    if (c->flags & CONN_EOF) { /* whoever asks and goes is gone, as in HTTP/1 */
        bool idle = srv->session.n_streams == 0;
        enum reason reason = srv->session.dead ? server_verdict(srv) : REASON_CLIENT_CLOSED;
        if (!idle || conn_unsent(c) == 0)
            h2_session_close(&srv->session, reason, false);
        else
            server_linger(srv, reason);
        return;
    }
    if (srv->session.dead && srv->session.n_streams == 0)
        server_linger(srv, server_verdict(srv));
    else if (srv->state == SERVER_NOTICE && !srv->session.dead && !srv->pinged)
        server_ping(srv);
    else if (srv->state == SERVER_NOTICE && srv->session.pong)
        conn_wake(c);
    server_arm(srv);
}

static void server_process(struct conn *c)
{
    struct h2_server *srv = server_of(c);
    if (c->flags & (CONN_ERROR | CONN_BROKEN))
        h2_session_close(&srv->session, client_conn_error(c), false);
    else if (c->flags & CONN_WRITE_LATE)
        h2_session_close(&srv->session, REASON_CLIENT_WRITE_STALL, false);
    else if (srv->state == SERVER_LINGER)
        server_discard(srv);
    else
        server_open(srv);
}

static void server_flushed(struct conn *c, size_t n)
{
    struct h2_server *srv = server_of(c);
    (void)n;
    server_arm(srv);
    if (srv->state == SERVER_LINGER && conn_unsent(c) == 0)
        conn_expect(c, CLIENT_LINGER_MS);
    if (srv->state == SERVER_LINGER || h2_session_waits(&srv->session))
        conn_wake(c);
}

static void server_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c; /* every byte that is given to nghttp2 is consumed: nothing has to move */
    (void)delta;
}

static const struct conn_ops server_conn_ops = {
    .name = "client",
    .process = server_process,
    .flushed = server_flushed,
    .moved = server_moved,
    .free = server_free,
};

static void server_close_idle(struct client_conn *client)
{
    struct h2_server *srv = CONTAINER_OF(client, h2_server, client);
    if (!conn_closed(&srv->conn))
        server_notice(srv);
}

static void server_abort(struct client_conn *client, enum reason reason)
{
    struct h2_server *srv = CONTAINER_OF(client, h2_server, client);
    h2_session_close(&srv->session, reason, false);
}

static const struct client_conn_ops server_client_ops = {
    .close_idle = server_close_idle,
    .leave = server_close_idle,
    .abort = server_abort,
};
