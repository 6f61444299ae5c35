/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn's I/O: reading, the loop that makes all progress, writing, and its ends. Knows nothing of
 * HTTP but whose turn it is. Never blocks. Its worker's thread only.
 */
#include "backends/conn.h"

#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "backends/h2.h"
#include "backends/request.h"
#include "backends/respond.h"
#include "backends/tls.h"
#include "backends/tunnel.h"

#define LINGER_MS   1000 /* how long a closed conn is read so that the peer gets our last bytes */
#define TURN_WRITES 8    /* of one conn before the others get their turn */

static struct conn *handle_conn(const uv_handle_t *handle)
{
    return CAST_OBJ(conn, handle->data, CONN_MAGIC);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle_conn(handle);
    if (--c->open_handles > 0)
        return;
    respond_reset(c);
    request_reset(c);
    h2_free(c->h2);
    tls_free(c->tls);
    free(c->in.block);
    c->magic = 0;
    free(c);
}

static bool begin_close(struct conn *c)
{
    if (c->phase == CONN_CLOSED)
        return false;
    c->phase = CONN_CLOSED;
    list_unlink(&c->link);
    list_unlink(&c->yielding);
    stats_add(&c->worker->stats->open, UINT64_MAX); /* minus one */
    uv_close((uv_handle_t *)&c->timer, on_closed);
    return true;
}

void conn_close(struct conn *c)
{
    if (begin_close(c))
        uv_close(&c->io.handle, on_closed);
}

/* The peer left; if that cut an exchange short, it is counted. */
static void note_abort(struct conn *c)
{
    bool serving = c->phase == CONN_HTTP || c->end == END_STALL;
    bool within = c->req.started || c->resp.state != RESP_NONE;
    if (c->phase == CONN_H2)
        serving = within = h2_busy(c->h2);
    if (!serving || c->aborted || !within)
        return;
    c->aborted = true;
    stats_add(&c->worker->stats->aborted, 1);
}

static int conn_fd(const struct conn *c)
{
    uv_os_fd_t fd = -1;
    uv_fileno(&c->io.handle, &fd);
    return fd;
}

static void on_timer(uv_timer_t *timer);

static void conn_wait(struct conn *c, enum conn_wait wait, uint64_t ms)
{
    c->wait = wait;
    list_unlink(&c->yielding);
    if (ms > 0) { /* the loop's clock is of the turn's begin, in whole ms: never fire too early */
        uv_update_time(&c->worker->loop);
        ms++;
    }
    uv_timer_start(&c->timer, on_timer, ms, 0);
}

void conn_wait_response(struct conn *c, uint64_t ms)
{
    conn_wait(c, WAIT_RESPONSE, ms);
}

/*
 * An RST throws away what the kernel still has to send. A cut promises the bytes before it, so it
 * waits for the peer's kernel to have them. A Unix socket has no RST: it is closed.
 */
static void conn_reset(struct conn *c)
{
    int unsent = 0;
    if (c->worker->is_unix) {
        conn_close(c);
    } else if (ioctl(conn_fd(c), SIOCOUTQ, &unsent) == 0 && unsent > 0) {
        conn_wait(c, WAIT_DRAINED, 1);
    } else if (begin_close(c) && uv_tcp_close_reset(&c->io.tcp, on_closed) != 0) {
        uv_close(&c->io.handle, on_closed);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *c = handle_conn((uv_handle_t *)timer);
    enum conn_wait wait = c->wait;
    c->wait = WAIT_NONE;
    if (wait == WAIT_RESPONSE)
        conn_run(c);
    else if (wait == WAIT_DRAINED)
        conn_reset(c);
    else if (wait != WAIT_NONE)
        conn_close(c);
}

/* True if closing now would make the kernel answer the peer's next bytes with an RST. */
static bool more_to_come(const struct conn *c)
{
    if (c->eof)
        return false;
    return c->bad || c->in.pos < c->in.len || (c->req.started && !c->req.ended) ||
           c->phase == CONN_WEBSOCKET || c->phase == CONN_H2;
}

static void swallow(struct conn *c)
{
    c->phase = CONN_SWALLOW;
    c->in.head = c->in.pos = c->in.len;
}

/* All output is on the wire. */
static void conn_finish(struct conn *c)
{
    switch (c->end) {
    case END_CLOSE:
        if (!more_to_come(c)) {
            conn_close(c);
            break;
        }
        shutdown(conn_fd(c), SHUT_WR);
        swallow(c);
        conn_wait(c, WAIT_LINGER, LINGER_MS);
        break;
    case END_RESET:
        conn_reset(c);
        break;
    case END_HALF_CLOSE:
        shutdown(conn_fd(c), SHUT_WR);
        swallow(c);
        break;
    case END_STALL:
        swallow(c);
        break;
    case END_NONE:
        break;
    }
}

static void conn_broken(struct conn *c)
{
    note_abort(c);
    conn_close(c);
}

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = handle_conn((uv_handle_t *)write->handle);
    free(TAKE(c->unwritten));
    c->writing = false;
    if (c->phase == CONN_CLOSED)
        return;
    if (status < 0)
        conn_broken(c);
    else
        conn_run(c);
}

/* Keeps what the peer didn't take; libuv writes it when there is room again. */
static void write_rest(struct conn *c, const char *ptr, size_t len)
{
    c->unwritten = malloc(len);
    if (!c->unwritten) {
        conn_close(c);
        return;
    }
    memcpy(c->unwritten, ptr, len);
    uv_buf_t buf = uv_buf_init(c->unwritten, (unsigned)len);
    c->writing = true;
    if (uv_write(&c->write, &c->io.stream, &buf, 1, on_written) != 0) {
        c->writing = false;
        free(TAKE(c->unwritten));
        conn_broken(c);
    }
}

/* The output as it goes on the wire; false if that can't be. */
static bool seal(struct conn *c, struct span *wire)
{
    struct output *out = conn_out(c);
    *wire = span_of(out->data, out->len);
    out->len = 0;
    if (!c->tls)
        return true;
    bool ok = tls_write(c->tls, wire->ptr, wire->len);
    if (c->end == END_CLOSE || c->end == END_HALF_CLOSE)
        tls_end(c->tls);
    *wire = tls_output(c->tls);
    return ok;
}

/* Writes the output. True if all of it is on the wire and the conn lives. */
static bool conn_flush(struct conn *c)
{
    struct span wire;
    CHECK(!c->writing || conn_out(c)->len == 0);
    if (c->phase == CONN_CLOSED || c->writing) {
        conn_out(c)->len = 0;
        return false;
    }
    if (!seal(c, &wire)) {
        conn_broken(c);
        return false;
    }
    if (wire.len == 0)
        return true;
    uv_buf_t buf = uv_buf_init((char *)wire.ptr, (unsigned)wire.len);
    int n = uv_try_write(&c->io.stream, &buf, 1);
    size_t sent = n > 0 ? (size_t)n : 0;
    if (n < 0 && n != UV_EAGAIN)
        conn_broken(c);
    else if (sent < wire.len)
        write_rest(c, wire.ptr + sent, wire.len - sent);
    if (c->tls)
        tls_output_done(c->tls);
    return sent == wire.len;
}

/* True if input would be thrown away: a body whose request was answered early. */
static bool discards(const struct conn *c)
{
    enum response_state state = c->resp.state;
    return (state == RESP_HEAD || state == RESP_BODY || state == RESP_DONE) && !c->req.ended &&
           c->req.asked.handler != HANDLER_ECHO;
}

static struct span unread(const struct conn *c)
{
    return span_of(c->in.data + c->in.pos, c->in.len - c->in.pos);
}

static bool takes_input(const struct conn *c)
{
    if (c->in.pos == c->in.len || c->bad)
        return false;
    if (c->phase == CONN_RAW_ECHO || c->phase == CONN_WEBSOCKET || c->phase == CONN_H2)
        return !c->writing;
    if (c->phase != CONN_HTTP || (c->fresh && h2_preface(unread(c)) == PREFACE_MAYBE))
        return false;
    if (discards(c))
        return true;
    return !c->writing && (c->resp.state == RESP_NONE || c->resp.state == RESP_STREAM ||
                           c->resp.state == RESP_DONE);
}

static bool responds(const struct conn *c)
{
    if (c->writing)
        return false;
    return c->phase == CONN_H2 ? h2_ready(c->h2) : c->phase == CONN_HTTP && respond_ready(c);
}

static void take_bad(struct conn *c)
{
    if (c->resp.state != RESP_NONE)
        c->end = END_CLOSE; /* what was sent of the response stays visibly incomplete */
    else
        respond_error(c, 400, llhttp_errno_name(llhttp_get_errno(&c->parser)));
}

/* The first bytes tell HTTP/2, which begins with the same ones under TLS as without. */
static void step_first(struct conn *c)
{
    c->fresh = false;
    if (h2_preface(unread(c)) != PREFACE_YES)
        return;
    c->h2 = h2_new(c);
    c->phase = CONN_H2;
    if (!c->h2)
        c->end = END_CLOSE;
}

static void step_input(struct conn *c)
{
    if (c->phase == CONN_H2) {
        h2_input(c->h2);
        return;
    }
    if (c->phase != CONN_HTTP) {
        tunnel_step(c);
        return;
    }
    if (c->wait == WAIT_IDLE) {
        c->wait = WAIT_NONE;
        uv_timer_stop(&c->timer);
    }
    if (c->fresh) {
        step_first(c);
        return;
    }
    request_parse(c);
    if (c->bad) {
        take_bad(c);
        return;
    }
    if (c->req.head_seen) {
        c->req.head_seen = false;
        respond_on_head(c);
    }
    if (c->req.end_seen) {
        c->req.end_seen = false;
        respond_on_end(c);
    }
}

/* One step, if any can be made now. */
static bool conn_step(struct conn *c)
{
    if (c->end != END_NONE)
        return false;
    if (responds(c) && c->phase == CONN_H2)
        h2_output(c->h2);
    else if (responds(c))
        respond_step(c);
    else if (takes_input(c))
        step_input(c);
    else
        return false;
    return true;
}

/* Where the input that is still needed begins. */
static size_t needed_from(const struct conn *c)
{
    return c->req.in_head ? c->in.head : c->in.pos;
}

/* Room behind what is still needed of the input. */
static size_t make_room(struct conn *c)
{
    struct input *in = &c->in;
    size_t from = needed_from(c);
    if (!in->data)
        in->data = c->worker->in;
    if (from == in->len || in->len == IN_CAP) {
        memmove(in->data, in->data + from, in->len - from);
        in->head = 0;
        in->pos -= from;
        in->len -= from;
    }
    return IN_CAP - in->len;
}

/* Decrypts some of what has arrived. True if there is more input than before, or an end of it. */
static bool decrypt(struct conn *c)
{
    size_t room, n;
    if (!c->tls || c->eof || c->end != END_NONE || (room = make_room(c)) == 0)
        return false;
    switch (tls_read(c->tls, c->in.data + c->in.len, room, &n)) {
    case TLS_SOME:
        c->in.len += n;
        return true;
    case TLS_NONE:
        return false;
    case TLS_ENDED:
        note_abort(c);
        c->eof = true;
        return true;
    case TLS_BROKEN:
        note_abort(c);
        c->bad = true; /* the alert that says so must reach the peer */
        c->end = END_CLOSE;
        return true;
    }
    return false;
}

/* Keeps the input that is still needed in a block of the conn's own, and none if there is none. */
static bool keep_input(struct conn *c)
{
    struct input *in = &c->in;
    size_t from = needed_from(c);
    size_t n = in->len - from;
    if (n == 0) {
        free(in->block);
        *in = (struct input){.data = NULL};
        return true;
    }
    if (!in->block) {
        in->block = malloc(IN_CAP);
        if (!in->block)
            return false;
    }
    memmove(in->block, in->data + from, n);
    *in = (struct input){.data = in->block, .block = in->block, .pos = in->pos - from, .len = n};
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle_conn(handle);
    (void)suggested;
    if (c->phase != CONN_SWALLOW && c->in.block && !c->tls)
        *buf = uv_buf_init(c->in.block + c->in.len, (unsigned)(IN_CAP - c->in.len));
    else
        *buf = uv_buf_init(c->worker->in, IN_CAP);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);

/* Reads while there is room for input: pausing costs two epoll_ctl, so it happens only when full.
 */
static void set_reading(struct conn *c)
{
    bool want = !c->eof && c->in.len < IN_CAP;
    if (want == c->reading)
        return;
    c->reading = want;
    if (want)
        uv_read_start(&c->io.stream, on_alloc, on_read);
    else
        uv_read_stop(&c->io.stream);
}

/* Nothing can be done now: what is the conn waiting for? */
static void conn_rest(struct conn *c)
{
    bool idle = c->phase == CONN_HTTP && !c->req.started && c->resp.state == RESP_NONE;
    if (c->eof && !c->writing && c->wait != WAIT_RESPONSE) {
        conn_close(c);
        return;
    }
    if (!keep_input(c)) {
        conn_close(c);
        return;
    }
    if (c->req.in_head && c->in.len == IN_CAP && c->resp.state == RESP_NONE) {
        c->bad = true;
        respond_error(c, 431, "the head is over 64 KiB\n");
        conn_run(c);
        return;
    }
    uint64_t ms;
    if (idle && c->idle_ms && !c->writing && c->wait == WAIT_NONE)
        conn_wait(c, WAIT_IDLE, c->idle_ms);
    else if (c->phase == CONN_H2 && !list_linked(&c->yielding) && h2_waits(c->h2, &ms))
        conn_wait(c, WAIT_RESPONSE, ms);
    set_reading(c);
}

/* Goes on with the conns that let the others have their turn. */
static void on_next_turn(uv_idle_t *idle)
{
    struct worker *w = CAST_OBJ(worker, idle->data, WORKER_MAGIC);
    struct list_node now;
    list_init(&now);
    list_splice_back(&now, &w->yielding);
    uv_idle_stop(&w->next_turn);
    for (struct list_node *it; (it = list_pop_front(&now));) {
        struct conn *c = CONTAINER_OF(it, conn, yielding);
        c->wait = WAIT_NONE;
        conn_run(c);
    }
}

/* A timer of 0 ms would not do: libuv fires one that its own callback starts in the same turn. */
static void conn_yield(struct conn *c)
{
    c->wait = WAIT_RESPONSE;
    list_push_back(&c->worker->yielding, &c->yielding);
    uv_idle_start(&c->worker->next_turn, on_next_turn);
}

void conn_run(struct conn *c)
{
    struct output *out = conn_out(c);
    for (unsigned writes = 0;; writes++) {
        while (out->len < OUT_HIGH && (conn_step(c) || decrypt(c)))
            ;
        bool full = out->len >= OUT_HIGH; /* there may be more input in what is not decrypted */
        bool flushed = conn_flush(c);
        if (c->phase == CONN_CLOSED)
            return;
        if (flushed && c->end != END_NONE && c->phase != CONN_SWALLOW)
            conn_finish(c);
        if (!flushed || c->end != END_NONE || (!responds(c) && !takes_input(c) && !full))
            break;
        if (writes >= TURN_WRITES && responds(c)) {
            conn_yield(c);
            break;
        }
    }
    if (c->phase != CONN_CLOSED)
        conn_rest(c);
}

/*
 * True if the peer is gone for good and not only done with sending. libuv may report an RST that
 * follows data closely as an orderly end, but the kernel still knows.
 */
static bool hung_up(const struct conn *c)
{
    struct pollfd p = {.fd = conn_fd(c)};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

static void on_read_end(struct conn *c, ssize_t status)
{
    c->reading = false;
    c->eof = true;
    if (c->phase == CONN_SWALLOW || status != UV_EOF || hung_up(c)) {
        conn_broken(c);
        return;
    }
    note_abort(c);
    conn_run(c);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = handle_conn((uv_handle_t *)stream);
    if (nread < 0) {
        on_read_end(c, nread);
        return;
    }
    if (nread == 0 || c->phase == CONN_SWALLOW)
        return;
    if (c->tls && !tls_feed(c->tls, buf->base, (size_t)nread)) {
        conn_close(c);
        return;
    }
    if (c->tls)
        ; /* conn_run() takes from there what it has room for */
    else if (c->in.block)
        c->in.len += (size_t)nread;
    else
        c->in = (struct input){.data = buf->base, .len = (size_t)nread};
    conn_run(c);
}

static void on_accept_fault(struct conn *c, enum on_accept what)
{
    if (what == ON_ACCEPT_STALL)
        c->phase = CONN_SWALLOW;
    else if (what == ON_ACCEPT_CLOSE)
        c->end = END_CLOSE;
    else if (what == ON_ACCEPT_RESET)
        c->end = END_RESET;
}

static void conn_init(struct conn *c, struct worker *w)
{
    c->magic = CONN_MAGIC;
    c->worker = w;
    c->open_handles = 2;
    list_init(&c->link);
    list_init(&c->yielding);
    list_push_back(&w->conns, &c->link);
    uv_timer_init(&w->loop, &c->timer);
    if (w->is_unix)
        uv_pipe_init(&w->loop, &c->io.pipe, 0);
    else
        uv_tcp_init(&w->loop, &c->io.tcp);
    c->timer.data = c->io.handle.data = c;
    request_init_parser(c);
    stats_add(&w->stats->connections, 1);
    stats_add(&w->stats->open, 1);
}

void conn_accept(struct worker *w)
{
    const struct options *opt = w->service->opt;
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        return; /* libuv offers the connection again with the next one */
    conn_init(c, w);
    if (uv_accept(&w->listener.stream, &c->io.stream) != 0) {
        conn_close(c);
        return;
    }
    if (w->service->tls && !(c->tls = tls_new(w->service->tls))) {
        conn_close(c);
        return;
    }
    c->fresh = !opt->no_h2;
    if (!w->is_unix)
        uv_tcp_nodelay(&c->io.tcp, 1);
    if (knobs_has(&opt->faults, KNOB_IDLE))
        c->idle_ms = opt->faults.idle_ms;
    on_accept_fault(c, opt->accept);
    conn_run(c);
}
