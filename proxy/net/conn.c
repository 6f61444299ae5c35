/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection's reading, writing, deadlines and death. Owns the transport, the block that is
 * read into and the queue; must never call up but from conn_run. Reactor's thread.
 */
#include "proxy/net/conn.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/net/pipe.h"
#include "proxy/net/tcp.h"
#include "proxy/net/tls.h"

/* Less room than this in the block, and the next read goes to a fresh one. */
#define READ_ROOM_MIN 4096
/* A body, or a piece of one, up to here may be copied: see conn_send_copy. */
#define COPY_MAX 512

static void conn_run(struct ready *ready);
static void conn_bury(struct grave *grave);
static void conn_late(struct wheel_timer *timer);

static struct conn *conn_of(void *owner)
{
    return CAST_OBJ(conn, owner, CONN_MAGIC);
}

void conn_init(struct conn *c, struct reactor *r, const struct conn_ops *ops,
               uint32_t write_stall_ms)
{
    memset(c, 0, sizeof(*c));
    c->magic = CONN_MAGIC;
    c->reactor = r;
    c->ops = ops;
    c->write_stall_ms = write_stall_ms;
    c->read_deadline = c->write_deadline = NEVER;
    list_init(&c->ready.link);
    c->ready.run = conn_run;
    list_init(&c->grave.link);
    c->grave.bury = conn_bury;
    wheel_timer_init(&c->timer, conn_late);
    chain_init(&c->out);
}

void conn_attach(struct conn *c, struct transport *t)
{
    c->transport = t;
    c->holds |= HOLD_TRANSPORT;
    if (!(c->flags & CONN_CONNECTING))
        t->ops->read(t, true);
}

bool conn_adopt(struct conn *c, int fd, bool is_unix)
{
    struct transport *t = tcp_adopt(c->reactor, fd, is_unix, &conn_transport_events, c);
    if (t == NULL)
        return false;
    conn_attach(c, t);
    return true;
}

int conn_dial(struct conn *c, const struct net_addr *to, uint32_t within_ms)
{
    int err = 0;
    struct transport *t =
        c->reactor->dial(c->reactor, to, within_ms, &conn_transport_events, c, &err);
    if (t == NULL)
        return err;
    c->flags |= CONN_CONNECTING;
    conn_attach(c, t);
    return 0;
}

/* ---- TLS ---- */

/* What TLS begins with must not have ended already; the transport tells of an end only once. */
static bool conn_securable(struct conn *c)
{
    CHECK(!conn_closed(c) && c->in_pipe == NULL);
    if (!(c->flags & (CONN_EOF | CONN_ERROR)))
        return true;
    if (!(c->flags & CONN_ERROR))
        c->error = UV_ECONNRESET;
    c->flags |= CONN_ERROR;
    conn_wake(c);
    return false;
}

static void conn_secured(struct conn *c, struct transport *t)
{
    if (t != NULL) {
        c->transport = t;
        c->flags |= CONN_CONNECTING;
        return;
    }
    c->flags |= CONN_ERROR;
    c->error = UV_ENOMEM;
    conn_wake(c);
}

void conn_secure_server(struct conn *c, struct tls_server_ctx *ctx)
{
    CHECK(!(c->flags & CONN_CONNECTING) && chain_empty(&c->out));
    if (!conn_securable(c))
        return;
    conn_secured(c, tls_wrap_server(c->transport, ctx, conn_input(c), &conn_transport_events, c));
    conn_discard(c);
    c->in_keep = c->in_pos;
    conn_release_input(c);
}

void conn_secure_client(struct conn *c, struct tls_client_ctx *ctx, uint32_t endpoint,
                        const struct net_addr *to)
{
    if (conn_securable(c))
        conn_secured(c, tls_wrap_client(c->transport, ctx, endpoint, to, c->flags & CONN_CONNECTING,
                                        &c->out, &conn_transport_events, c));
}

const struct tls_info *conn_tls(const struct conn *c)
{
    return tls_info(c->transport);
}

/* ---- printing ---- */

struct bit_name {
    unsigned bit;
    const char *name;
};

static const struct bit_name flag_names[] = {
    {CONN_CONNECTING, "connecting"}, {CONN_CONNECTED, "connected"},   {CONN_EOF, "eof"},
    {CONN_ERROR, "error"},           {CONN_BROKEN, "broken"},         {CONN_SHUT, "shut"},
    {CONN_READ_LATE, "read_late"},   {CONN_WRITE_LATE, "write_late"}, {CONN_BULK, "bulk"},
    {CONN_CLOSED, "closed"},
};
static const struct bit_name pause_names[] = {{PAUSE_CREDIT, "credit"}, {PAUSE_FULL, "full"}};
static const struct bit_name hold_names[] = {{HOLD_TRANSPORT, "transport"},
                                             {HOLD_SESSION, "session"}};

/* "a|b", or "-" for none. */
static const char *print_bits(unsigned bits, const struct bit_name *names, size_t n, char out[96])
{
    size_t at = 0;
    snprintf(out, 96, "-");
    for (size_t i = 0; i < n && at < 96; i++)
        if (bits & names[i].bit)
            at += (size_t)snprintf(out + at, 96 - at, "%s%s", at > 0 ? "|" : "", names[i].name);
    return out;
}

const char *conn_print(const struct conn *c, char out[CONN_PRINT])
{
    char flags[96], pause[96], holds[96];
    snprintf(out, CONN_PRINT, "flags=%s pause=%s holds=%s in=%zu out=%zu%s%s",
             print_bits(c->flags, flag_names, ARRAY_LEN(flag_names), flags),
             print_bits(c->pause, pause_names, ARRAY_LEN(pause_names), pause),
             print_bits(c->holds, hold_names, ARRAY_LEN(hold_names), holds), conn_input(c).len,
             c->out.bytes, c->error != 0 ? " error=" : "",
             c->error != 0 ? uv_err_name(c->error) : "");
    return out;
}

/* ---- deadlines ---- */

static void conn_arm(struct conn *c)
{
    uint64_t at = c->read_deadline < c->write_deadline ? c->read_deadline : c->write_deadline;
    if (conn_closed(c))
        return;
    if (at == NEVER)
        wheel_cancel(&c->timer);
    else
        wheel_set(&c->reactor->wheel, &c->timer, at);
}

static void conn_late(struct wheel_timer *timer)
{
    struct conn *c = CONTAINER_OF(timer, conn, timer);
    uint64_t now = reactor_now(c->reactor);
    if (c->read_deadline <= now) {
        c->read_deadline = NEVER;
        c->flags |= CONN_READ_LATE;
    }
    if (c->write_deadline <= now) {
        c->write_deadline = NEVER;
        c->flags |= CONN_WRITE_LATE;
    }
    conn_arm(c);
    conn_wake(c);
}

void conn_expect(struct conn *c, uint64_t ms)
{
    c->flags &= (uint16_t)~CONN_READ_LATE;
    c->read_deadline = ms == NEVER ? NEVER : reactor_now(c->reactor) + ms;
    conn_arm(c);
}

/* ---- reading ---- */

/* Reads into this block from now on; what must stay together moves along. */
static void conn_move_input(struct conn *c, struct block *to)
{
    struct block *old = c->in;
    uint32_t kept = old->used - c->in_keep;
    if (kept > 0) {
        memcpy(to->data, old->data + c->in_keep, kept);
        to->used = kept;
        c->ops->moved(c, to->data - (old->data + c->in_keep));
    }
    c->in_pos -= c->in_keep;
    c->in_keep = 0;
    c->in = to;
    block_drop(old);
}

/* The block is full, or nearly. */
static void conn_fresh_block(struct conn *c)
{
    uint32_t kept = c->in->used - c->in_keep;
    bool big = kept + READ_ROOM_MIN > BLOCK_BYTES / 2 || c->flags & CONN_BULK;
    struct block *fresh = block_get(&c->reactor->bufs, big);
    if (kept <= fresh->cap)
        conn_move_input(c, fresh);
    else /* the session bounds heads and pipelining to less */
        block_drop(fresh);
}

void conn_rest_input(struct conn *c)
{
    if (c->in == NULL || c->in->refs > 1 || c->in->cap < BLOCK_REST_BYTES)
        return;
    uint32_t kept = c->in->used - c->in_keep;
    if (kept > 0 && kept <= BLOCK_REST_BYTES - sizeof(struct block))
        conn_move_input(c, block_get_rest(&c->reactor->bufs));
}

/* A body that streams goes through a pipe, once what was read before is consumed, and not for a few
 * bytes. What was in the pipe before is taken when it is read: the session is awake, and reading
 * pauses before there is nowhere to go with it. */
static struct block *conn_pipe(struct conn *c)
{
    uint32_t most = c->opaque < c->pipe_cap ? c->opaque : c->pipe_cap;
    if (most < PIPE_MIN || (c->in != NULL && c->in_keep != c->in->used))
        return NULL;
    if (c->in_pipe == NULL)
        c->in_pipe = pipe_get(c->reactor);
    if (c->in_pipe == NULL)
        return NULL;
    CHECK(c->in_pipe->used == 0);
    conn_release_input(c);
    c->in_pipe->cap = most < PIPE_MOST ? most : PIPE_MOST;
    return c->in_pipe;
}

static struct span conn_buffer(void *owner, struct block **pipe)
{
    struct conn *c = conn_of(owner);
    DCHECK(conn_piped(c) == 0); /* the session takes it before anything else happens */
    if (pipe != NULL && c->flags & CONN_BULK && (*pipe = conn_pipe(c)) != NULL)
        return span_of(NULL, 0);
    if (c->in == NULL) {
        c->in = block_get(&c->reactor->bufs, c->flags & CONN_BULK);
        c->in_pos = c->in_keep = 0;
    } else if (c->in_keep == c->in->used && c->in->refs == 1) {
        if (c->flags & CONN_BULK && c->in->cap < BLOCK_BYTES) {
            block_drop(c->in);
            c->in = block_get(&c->reactor->bufs, true);
        }
        c->in->used = c->in_pos = c->in_keep = 0;
    }
    if (block_room(c->in) < READ_ROOM_MIN)
        conn_fresh_block(c);
    size_t room = block_room(c->in);
    if (room == 0) /* the session must take something first; it resumes */
        conn_pause(c, PAUSE_FULL);
    if (c->read_cap != 0 && room > c->read_cap)
        room = c->read_cap;
    return span_of(c->in->data + c->in->used, room);
}

static void conn_read(void *owner, ssize_t n)
{
    struct conn *c = conn_of(owner);
    if (conn_piped(c) > 0) {
        c->opaque -= (uint32_t)n;
        if (n < PIPE_MIN)
            c->flags &= (uint16_t)~CONN_BULK;
    } else if (n == 0) {
        block_drop(TAKE(c->in_pipe));
        conn_release_input(c);
        return;
    } else if (n > 0) {
        uint32_t room = block_room(c->in);
        c->in->used += (uint32_t)n;
        c->opaque = 0; /* until somebody has looked at them */
        if ((uint32_t)n == room || (size_t)n == c->read_cap)
            c->flags |= CONN_BULK;
        else if (n < BLOCK_BYTES / 4)
            c->flags &= (uint16_t)~CONN_BULK;
    } else if (n == UV_EOF) {
        c->flags |= CONN_EOF;
    } else {
        c->flags |= CONN_ERROR;
        c->error = (int)n;
    }
    conn_wake(c);
}

void conn_consume(struct conn *c, size_t n, const char *keep)
{
    CHECK(c->in != NULL && c->in_pos + n <= c->in->used);
    c->in_pos += (uint32_t)n;
    c->in_keep = keep != NULL ? (uint32_t)(keep - c->in->data) : c->in_pos;
}

void conn_take_pipe(struct conn *c, struct chain *to)
{
    struct block *pipe = TAKE(c->in_pipe);
    chain_append(to, pipe, pipe->data, pipe->used);
    block_drop(pipe);
}

size_t conn_discard(struct conn *c)
{
    size_t n = conn_input(c).len + conn_piped(c);
    if (c->in != NULL)
        conn_consume(c, conn_input(c).len, NULL);
    block_drop(TAKE(c->in_pipe));
    return n;
}

void conn_release_input(struct conn *c)
{
    if (c->in == NULL || c->in_keep != c->in->used)
        return;
    block_drop(TAKE(c->in));
    c->in_pos = c->in_keep = 0;
}

void conn_pause(struct conn *c, enum conn_pause bit)
{
    if (c->pause == 0 && !conn_closed(c) && !(c->flags & CONN_CONNECTING))
        c->transport->ops->read(c->transport, false);
    c->pause |= (uint8_t)bit;
}

void conn_resume(struct conn *c, enum conn_pause bit)
{
    if (!(c->pause & bit))
        return;
    c->pause &= (uint8_t)~bit;
    if (c->pause == 0 && !conn_closed(c) && !(c->flags & (CONN_EOF | CONN_ERROR | CONN_CONNECTING)))
        c->transport->ops->read(c->transport, true);
}

/* ---- writing ---- */

char *conn_reserve(struct conn *c, size_t n, struct block **block)
{
    if (c->own == NULL || block_room(c->own) < n) {
        block_drop(c->own);
        c->own = block_get(&c->reactor->bufs, n > BLOCK_BYTES - sizeof(struct block));
        CHECK(n <= c->own->cap);
    }
    *block = c->own;
    return c->own->data + c->own->used;
}

void conn_wrote(struct conn *c, struct block *block, const char *at, size_t n)
{
    block->used += (uint32_t)n;
    if (!(c->flags & (CONN_CLOSED | CONN_BROKEN))) {
        chain_append(&c->out, block, at, n);
    } else {
        block_drop(TAKE(c->own));
    }
    conn_wake(c);
}

/* Is there room for n bytes right behind the last queued one? */
static bool conn_has_room_behind(const struct conn *c, size_t n)
{
    const struct slice *last = c->out.tail;
    return c->own != NULL && last != NULL && last->ptr + last->len == c->own->data + c->own->used &&
           block_room(c->own) >= n;
}

/* A few bytes behind a head or a chunk's size cost less to copy than to refer to: the kernel gets
 * one piece and not two, and a peer that sends one byte a chunk does not make us hold a slice and a
 * block for each. */
static void conn_send_copy(struct conn *c, struct chain *chain)
{
    for (const struct slice *s = chain->head; s != NULL; s = s->next) {
        char *to = c->own->data + c->own->used;
        memcpy(to, s->ptr, s->len);
        c->own->used += (uint32_t)s->len;
        chain_append(&c->out, c->own, to, s->len);
    }
    chain_clear(chain);
}

/* Whether its bytes are in memory: what comes in a pipe comes alone. */
static bool chain_visible(const struct chain *chain)
{
    return chain->head == NULL || !chain->head->block->piped;
}

void conn_send(struct conn *c, struct chain *chain)
{
    if (c->flags & (CONN_CLOSED | CONN_BROKEN)) {
        chain_clear(chain);
        return;
    }
    if (chain->bytes <= COPY_MAX && chain_visible(chain) && conn_has_room_behind(c, chain->bytes))
        conn_send_copy(c, chain);
    else
        chain_move(&c->out, chain);
    conn_wake(c);
}

void conn_send_end(struct conn *c)
{
    c->flags |= CONN_SHUT;
    conn_wake(c);
}

/* The peer takes no more bytes; what it sent before may still wait to be read. */
static void conn_broken(struct conn *c, int error)
{
    c->flags |= CONN_BROKEN;
    if (!(c->flags & CONN_ERROR))
        c->error = error;
    chain_clear(&c->out);
    c->write_deadline = NEVER;
    conn_wake(c);
}

/* A peer that takes nothing for write_stall_ms is as good as gone. */
static void conn_stall_clock(struct conn *c, bool progress)
{
    if (c->write_stall_ms == 0)
        return;
    if (chain_empty(&c->out)) {
        if (c->write_deadline == NEVER)
            return;
        c->write_deadline = NEVER;
    } else if (progress || c->write_deadline == NEVER) {
        c->write_deadline = reactor_now(c->reactor) + c->write_stall_ms;
    } else {
        return;
    }
    conn_arm(c);
}

/* Writes what it can. Returns how many bytes have left. */
static size_t conn_flush(struct conn *c)
{
    ssize_t n = 0;
    if (c->flags & (CONN_CONNECTING | CONN_ERROR | CONN_BROKEN))
        return 0;
    if (!chain_empty(&c->out)) {
        n = c->transport->ops->write(c->transport, &c->out, c->flags & CONN_SHUT);
        if (n < 0) {
            conn_broken(c, (int)n);
            return 0;
        }
        if (n > 0)
            c->flags |= CONN_TOUCHED;
        conn_stall_clock(c, n > 0);
        if (chain_empty(&c->out))
            block_drop(TAKE(c->own));
    }
    if ((c->flags & CONN_SHUT) && chain_empty(&c->out))
        c->transport->ops->shutdown(c->transport);
    return (size_t)n;
}

static void conn_writable(void *owner)
{
    conn_wake(conn_of(owner));
}

static void conn_connected(void *owner, int status)
{
    struct conn *c = conn_of(owner);
    c->flags &= (uint16_t)~CONN_CONNECTING;
    if (status < 0) {
        c->flags |= CONN_ERROR;
        c->error = status;
    } else {
        c->flags |= CONN_CONNECTED;
        if (c->pause == 0)
            c->transport->ops->read(c->transport, true);
    }
    conn_wake(c);
}

/* ---- the dispatch loop and the end ---- */

static void conn_run(struct ready *ready)
{
    struct conn *c = CONTAINER_OF(ready, conn, ready);
    if (conn_closed(c))
        return;
    c->ops->process(c);
    if (conn_closed(c))
        return;
    size_t n = conn_flush(c);
    if (n > 0)
        c->ops->flushed(c, n);
}

static void conn_maybe_bury(struct conn *c)
{
    if (c->holds == 0)
        reactor_bury(c->reactor, &c->grave);
}

void conn_close(struct conn *c, enum reason reason, bool reset)
{
    if (conn_closed(c))
        return;
    if (log_enabled(LOG_DEBUG)) {
        char text[CONN_PRINT];
        log_debug("%s conn %p closes: %s (%s)", c->ops->name, (void *)c, reason_row(reason)->name,
                  conn_print(c, text));
    }
    c->flags |= CONN_CLOSED;
    c->close_reason = (uint16_t)reason;
    c->transport->ops->close(c->transport, reset);
    chain_clear(&c->out);
    block_drop(TAKE(c->in));
    block_drop(TAKE(c->in_pipe));
    block_drop(TAKE(c->own));
    wheel_remove(&c->reactor->wheel, &c->timer);
    list_unlink(&c->ready.link);
}

void conn_hand_over(struct conn *from, struct conn *to)
{
    CHECK(!conn_closed(from) && chain_empty(&from->out) && from->in_pipe == NULL);
    CHECK(to->transport == NULL && to->in == NULL);
    to->transport = TAKE(from->transport);
    to->transport->owner = to;
    to->holds |= HOLD_TRANSPORT;
    to->flags |= from->flags;
    to->error = from->error;
    to->in = TAKE(from->in);
    to->in_pos = to->in_keep = from->in_pos;
    from->flags |= CONN_CLOSED;
    from->holds &= (uint8_t)~HOLD_TRANSPORT;
    block_drop(TAKE(from->own));
    wheel_remove(&from->reactor->wheel, &from->timer);
    list_unlink(&from->ready.link);
    if (from->pause != 0 && !(to->flags & (CONN_EOF | CONN_ERROR | CONN_CONNECTING)))
        to->transport->ops->read(to->transport, true);
    conn_wake(to);
    conn_maybe_bury(from);
}

static void conn_transport_closed(void *owner)
{
    struct conn *c = conn_of(owner);
    CHECK(conn_closed(c) && (c->holds & HOLD_TRANSPORT));
    c->transport = NULL;
    c->holds &= (uint8_t)~HOLD_TRANSPORT;
    conn_maybe_bury(c);
}

void conn_hold(struct conn *c)
{
    c->holds |= HOLD_SESSION;
}

void conn_unhold(struct conn *c)
{
    c->holds &= (uint8_t)~HOLD_SESSION;
    conn_maybe_bury(c);
}

static void conn_bury(struct grave *grave)
{
    struct conn *c = CONTAINER_OF(grave, conn, grave);
    CHECK(c->holds == 0 && conn_closed(c) && !list_linked(&c->ready.link));
    c->magic = 0;
    c->ops->free(c);
}

const struct transport_events conn_transport_events = {
    .buffer = conn_buffer,
    .read = conn_read,
    .writable = conn_writable,
    .connected = conn_connected,
    .closed = conn_transport_closed,
};
