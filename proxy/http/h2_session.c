/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn's nghttp2 session: its life and its end, bytes in and frames out. Owns the session and its
 * streams. Conn's thread.
 */
#include "proxy/http/h2_session.h"

#include <pthread.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

/* Answers to PING and SETTINGS that may wait, and above which queue nothing more is read. */
#define ACKS_MAX  256
#define QUEUE_MAX 512
/* Of the number of a setting nghttp2 sends 16 bits and looks at 32. */
#define UNKNOWN 0x10000

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

/* What is the same for all sessions; nghttp2 copies from it. Made once, and kept. */
static struct {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
} common;

static void set_option(nghttp2_option *o)
{
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_builtin_recv_extension_type(o, NGHTTP2_PRIORITY_UPDATE);
    /* h2_flood counts them, and says so in its own words. */
    nghttp2_option_set_stream_reset_rate_limit(o, 1000000, 1000000);
    nghttp2_option_set_max_continuations(o, 1000);
}

static void make_common(void)
{
    common.callbacks = h2_callbacks_new();
    if (common.callbacks == NULL || nghttp2_option_new(&common.option) != 0)
        mem_out();
    set_option(common.option);
}

void h2_session_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, make_common) == 0);
}

const char *h2_library_version(void)
{
    return nghttp2_version(0)->version_str;
}

/* How many streams a peer takes until it has said so is each client's own guess. */
static nghttp2_option *client_option(const struct h2_session *h)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    set_option(o);
    nghttp2_option_set_peer_max_concurrent_streams(o, h->config->max_streams);
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
    h2_session_setup();
    if (h->ops->server)
        return nghttp2_session_server_new3(&h->ng, common.callbacks, h, common.option, &mem) == 0;
    nghttp2_option *option = client_option(h);
    int rv = NGHTTP2_ERR_NOMEM;
    if (option != NULL)
        rv = nghttp2_session_client_new3(&h->ng, common.callbacks, h, option, &mem);
    nghttp2_option_del(option);
    return rv == 0;
}

static bool submit_settings(struct h2_session *h, const nghttp2_settings_entry *extra, size_t n)
{
    const struct h2_config *config = h->config;
    nghttp2_settings_entry all[8] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, config->first_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, config->limits.header_bytes},
    };
    size_t at = 2;
    if (h->ops->server) /* we refuse what is above it; nghttp2, if it knew, would end the conn */
        all[at++] = (nghttp2_settings_entry){UNKNOWN | NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                             config->max_streams};
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

bool h2_session_waits(const struct h2_session *h)
{
    return h->dead || conn_input(h->conn).len > 0 || nghttp2_session_want_write(h->ng);
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

/* Pulls frames from nghttp2 into the conn's queue. */
static void session_write(struct h2_session *h)
{
    struct conn *c = h->conn;
    while (!h->dead && conn_unsent(c) < H2_OUT_MAX && nghttp2_session_want_write(h->ng)) {
        const uint8_t *bytes;
        struct block *block;
        h->sent_data = false;
        ssize_t n = nghttp2_session_mem_send(h->ng, &bytes);
        if (n == 0 && !h->sent_data)
            break;
        if (n > 0) {
            char *at = conn_reserve(c, (size_t)n, &block);
            memcpy(at, bytes, (size_t)n);
            conn_wrote(c, block, at, (size_t)n);
        } else if (n < 0) {
            session_broken(h, n);
        }
    }
}

static void turn(struct h2_session *h)
{
    struct conn *c = h->conn;
    session_read(h);
    do {
        deliver_all(h);
        if (conn_closed(c))
            return;
        session_write(h);
        if (!h->dead && h2_session_over(h)) {
            h->dead = true;
            end_streams(h, h->closing != REASON_NONE ? (enum reason)h->closing
                                                     : (enum reason)h->ops->broken);
        }
    } while (!list_empty(&h->ready));
}

void h2_session_turn(struct h2_session *h)
{
    turn(h);
    if (!conn_closed(h->conn))
        conn_unwake(h->conn); /* nothing is left of what its own up-calls have asked for */
}
