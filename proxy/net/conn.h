/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transport connection, either side: its transport, the block that is being read into, the
 * chain that is being written, its two deadlines and its death. A session (front, h1_server,
 * h2_server, h1_client, h2_client, probe) embeds it and speaks the protocol.
 *
 * What the transport tells is only recorded in the flags, and makes the conn ready. The dispatch
 * loop then calls ops->process, writes what was queued, and calls ops->flushed if that got
 * anywhere. After conn_close neither is called again; ops->free is the last call, when no callback
 * can come and the session holds nothing any more.
 *
 * Reactor's thread.
 */
#ifndef WEIR_NET_CONN_H
#define WEIR_NET_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/reason.h"
#include "proxy/net/reactor.h"
#include "proxy/net/transport.h"

struct conn;

struct conn_ops {
    const char *name; /* of the session, for logs */
    /* From the dispatch loop: new bytes, an end, an error, a deadline or new credit may be there.
     * May make up-calls; may close the conn. */
    void (*process)(struct conn *);
    /* n bytes of what was queued have left since the last call. May make up-calls; may close. */
    void (*flushed)(struct conn *, size_t n);
    /* The bytes from conn_keep on are about to move by delta (to a larger or fresher block). */
    void (*moved)(struct conn *, ptrdiff_t delta);
    /* From the graveyard: give the memory back. */
    void (*free)(struct conn *);
};

enum conn_flag {
    CONN_CONNECTING = 1 << 0,
    CONN_EOF = 1 << 1,        /* the peer's end was read */
    CONN_ERROR = 1 << 2,      /* reading or connecting failed: conn->error */
    CONN_READ_LATE = 1 << 3,  /* the read deadline passed */
    CONN_WRITE_LATE = 1 << 4, /* the write deadline passed */
    CONN_SHUT = 1 << 5,       /* our end was sent, or will be once all is written */
    CONN_CLOSED = 1 << 6,
    CONN_BULK = 1 << 7,      /* the last read filled its buffer: read into big blocks */
    CONN_CONNECTED = 1 << 8, /* a dialled conn came up */
    CONN_BROKEN = 1 << 9,    /* writing failed: nothing more is sent, but reading goes on */
    CONN_TOUCHED = 1 << 10,  /* the transport took a byte since the session cleared this */
};

/* Why reading is paused; it goes on when no bit is left. */
enum conn_pause {
    PAUSE_CREDIT = 1 << 0, /* the other side has not yet taken what was read */
    PAUSE_FULL = 1 << 1,   /* pipelined requests fill the block */
};

/* What keeps the memory: the conn is freed when none is left. */
enum conn_hold {
    HOLD_TRANSPORT = 1 << 0,
    HOLD_SESSION = 1 << 1, /* the session's: a stream of it is still referred to */
};

struct conn {
    uint32_t magic;
    uint16_t flags; /* enum conn_flag */
    uint8_t pause;  /* enum conn_pause */
    uint8_t holds;  /* enum conn_hold */
    int error;      /* a libuv error */
    uint16_t close_reason;
    struct reactor *reactor;
    const struct conn_ops *ops;
    struct transport *transport;
    struct ready ready;
    struct grave grave;
    struct wheel_timer timer;
    uint64_t read_deadline, write_deadline; /* ms of reactor_now; NEVER = none */
    struct block *in;                       /* being read into; NULL when there is nothing */
    struct block *in_pipe;                  /* bytes of a body behind those in it, or NULL */
    uint32_t in_pos;                        /* consumed up to here */
    uint32_t in_keep;                       /* bytes from here on move along to a new block */
    uint32_t read_cap;                      /* most bytes to read at once; 0 = no bound */
    uint32_t pipe_cap;                      /* the same for bytes that come in a pipe */
    struct block *own;                      /* that heads and framing are written into, or NULL */
    struct chain out;                       /* queued, not yet taken by the transport */
    uint32_t write_stall_ms;
    uint32_t opaque; /* see conn_opaque */
};

#define CONN_MAGIC MAGIC('c', 'o', 'n', 'n')

/* Prepares the struct; the transport comes with conn_attach or conn_dial. write_stall_ms: how long
 * queued bytes may make no progress; 0 = for ever. */
void conn_init(struct conn *c, struct reactor *r, const struct conn_ops *ops,
               uint32_t write_stall_ms);

/* Takes over an accepted socket and begins to read. False: fd is closed, the conn is unused. */
bool conn_adopt(struct conn *c, int fd, bool is_unix);

/* Begins to connect; what is queued until then is sent once it is up. 0 or a libuv error.
 * within_ms: see tcp_dial; the deadline is the session's. */
struct net_addr;
int conn_dial(struct conn *c, const struct net_addr *to, uint32_t within_ms);

/* From now on this conn speaks TLS (tls.h), and is CONN_CONNECTING until the handshake is done:
 * then CONN_CONNECTED is set, or CONN_ERROR with conn->error. What was read and not consumed are
 * the first bytes of the handshake. Nothing may be queued or in a pipe. If there is no memory the
 * conn has CONN_ERROR at once. The deadline for the handshake is the session's. */
struct tls_server_ctx;
struct tls_client_ctx;
struct tls_info;
void conn_secure_server(struct conn *c, struct tls_server_ctx *ctx);

/* The same for a conn that was just dialled: right after conn_dial, or after what is to go before
 * the handshake was queued. See tls_wrap_client. */
void conn_secure_client(struct conn *c, struct tls_client_ctx *ctx, uint32_t endpoint,
                        const struct net_addr *to);

/* Whether it leads to the other address of the host that was dialled. Once it is up. */
static inline bool conn_also(const struct conn *c)
{
    return c->transport != NULL && c->transport->also;
}

/* NULL: it does not speak TLS, or its transport is gone. */
const struct tls_info *conn_tls(const struct conn *c);

/* For tests: over a transport made elsewhere. events for it: conn_transport_events. */
extern const struct transport_events conn_transport_events;
void conn_attach(struct conn *c, struct transport *t);

/* Unconsumed bytes. Valid until the next turn. */
static inline struct span conn_input(const struct conn *c)
{
    return c->in == NULL ? span_of(NULL, 0)
                         : span_of(c->in->data + c->in_pos, c->in->used - c->in_pos);
}

/* Marks n bytes as consumed. keep: NULL, or from where on bytes must stay together because the
 * session has spans into an incomplete head; ops->moved tells when they move. */
void conn_consume(struct conn *c, size_t n, const char *keep);

/* At least the next n bytes, of those that were not read yet, nobody has to look at: they may come
 * in a pipe. Said before every read of which it is true; 0: not any more. */
static inline void conn_opaque(struct conn *c, uint64_t n)
{
    c->opaque = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

/* Its transport takes bytes in a pipe, and gives them so. */
static inline bool conn_splices(const struct conn *c)
{
    return c->transport != NULL && c->transport->ops->splices;
}

/* How many bytes came in a pipe; they come after conn_input, which is empty then. */
static inline size_t conn_piped(const struct conn *c)
{
    return c->in_pipe != NULL ? c->in_pipe->used : 0;
}

/* Appends them to the chain. */
void conn_take_pipe(struct conn *c, struct chain *to);

/* Throws away what was read and not consumed; returns how much that is. */
size_t conn_discard(struct conn *c);

/* Lets go of the block if nothing in it is unconsumed: an idle conn owns no buffer. */
void conn_release_input(struct conn *c);

/* A part of a message waits for the rest of it: if it is short and nobody else looks at it, it
 * moves (ops->moved) to a block of its size, so that who sends slowly does not hold a whole one. */
void conn_rest_input(struct conn *c);

/* Room for n more bytes, at most CONN_RESERVE_MAX, in the conn's own block. conn_wrote queues those
 * of them that were used. */
#define CONN_RESERVE_MAX (BLOCK_BIG_BYTES - sizeof(struct block))
char *conn_reserve(struct conn *c, size_t n, struct block **block);
void conn_wrote(struct conn *c, struct block *block, const char *at, size_t n);

/* Queues the whole chain; it is empty afterwards. */
void conn_send(struct conn *c, struct chain *chain);

/* Queues our end after everything else. */
void conn_send_end(struct conn *c);

/* Bytes that are queued. */
static inline size_t conn_unsent(const struct conn *c)
{
    return c->out.bytes;
}

/* Sets or clears pause bits and adjusts the transport. */
void conn_pause(struct conn *c, enum conn_pause bit);
void conn_resume(struct conn *c, enum conn_pause bit);

/* The read deadline, in ms from now, or NEVER. Later is free. */
void conn_expect(struct conn *c, uint64_t ms);

/* Asks for ops->process in this dispatch. */
static inline void conn_wake(struct conn *c)
{
    reactor_ready(c->reactor, &c->ready);
}

/* From ops->process, which has seen to everything: takes that back. What is queued is flushed after
 * process anyway. */
static inline void conn_unwake(struct conn *c)
{
    list_unlink(&c->ready.link);
}

/* Begins to die; idempotent; the first reason stays. reset: the peer is to see an error. Never
 * calls up. What is queued is dropped. */
void conn_close(struct conn *c, enum reason reason, bool reset);

static inline bool conn_closed(const struct conn *c)
{
    return c->flags & CONN_CLOSED;
}

/* Itself in one line, for logs and debuggers; always NUL-terminated. Returns out. */
#define CONN_PRINT 256
const char *conn_print(const struct conn *c, char out[CONN_PRINT]);

/* Another session takes over: the transport and what was read and not consumed move from one conn
 * to another, which was only initialised; it is woken. Nothing may be queued or in a pipe. from
 * dies as by conn_close, but for the transport. */
void conn_hand_over(struct conn *from, struct conn *to);

/* Sets or clears the session's hold on the memory. */
void conn_hold(struct conn *c);
void conn_unhold(struct conn *c);

#endif
