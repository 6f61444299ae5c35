/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A conn: one accepted connection with its parser, the request that is being read, the response
 * that is being sent, and its ends. It owns a buffer only while there are bytes that it can't
 * pass on: input that must wait, or output that the peer doesn't take yet.
 *
 * Parser callbacks only record. All progress is made by conn_run(), which advances the response
 * and the input step by step into the worker's output and writes that once.
 *
 * Its worker's thread only.
 */
#ifndef WEIR_BACKENDS_CONN_H
#define WEIR_BACKENDS_CONN_H

#include <llhttp.h>

#include "backends/asked.h"
#include "backends/worker.h"
#include "backends/ws.h"

/* What the bytes that arrive are. */
enum conn_phase {
    CONN_HTTP, /* 1.x */
    CONN_H2,
    CONN_RAW_ECHO,  /* after 101 to Upgrade: echo */
    CONN_WEBSOCKET, /* after 101 to Upgrade: websocket */
    CONN_SWALLOW,   /* thrown away until the peer ends: stalled, half-closed or lingering */
    CONN_CLOSED     /* waits for libuv to let go of the handles */
};

/* What happens to the conn once all output is on the wire. */
enum conn_end { END_NONE, END_CLOSE, END_RESET, END_STALL, END_HALF_CLOSE };

/* What the conn waits for; its one timer runs for it, unless it only yields its turn. */
enum conn_wait { WAIT_NONE, WAIT_RESPONSE, WAIT_IDLE, WAIT_LINGER, WAIT_DRAINED };

/* Input: the worker's buffer within a read callback, else the conn's own block, or nothing. */
struct input {
    char *data;
    char *block; /* NULL or IN_CAP bytes of the conn's own */
    size_t head; /* where the request head that is being read begins */
    size_t pos;  /* up to here it is parsed */
    size_t len;
};

/* A part of the head, by offset from its begin, since the input may move. */
struct part {
    uint32_t at, len;
};

struct request {
    bool started;             /* its first byte was parsed */
    bool in_head;             /* and not yet the end of its head */
    bool head_seen, end_seen; /* recorded by the parser, not yet acted on */
    bool ended;
    bool has_body, has_length, keep_alive, expects_continue;
    uint8_t method, major, minor;
    enum conn_phase upgrade; /* CONN_HTTP: none that we know */
    uint64_t content_length;
    uint64_t body_bytes;
    size_t head_len;
    struct part target, name, value, content_type, ws_key, id;
    struct asked asked;
};

enum response_state {
    RESP_NONE,
    RESP_HEAD,   /* the head comes next */
    RESP_BODY,   /* then content from text or the pattern */
    RESP_STREAM, /* or content from the request, as it arrives */
    RESP_DONE    /* sent, but the request has not ended */
};

enum framing { FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_CLOSE };

struct response {
    enum response_state state;
    enum framing framing;
    enum conn_end cut_end; /* what happens at the cut */
    struct cut cut;
    uint16_t status;
    bool no_body; /* HEAD, 204, 304 and 101: the head is all */
    bool keep_alive;
    const char *content_type; /* NULL: text/plain */
    const char *text;         /* the content, NULL: the pattern */
    char *owned;    /* what text or content_type points at, or the accept key; freed with it */
    char *trailers; /* an echo's trailers as they arrived; owned */
    size_t trailers_len;
    uint64_t len, off;   /* content: in total and sent */
    uint64_t chunk_left; /* of the chunk that is being sent */
};

#define CONN_MAGIC MAGIC('b', 'c', 'o', 'n')

struct conn {
    uint32_t magic;
    enum conn_phase phase;
    enum conn_end end;
    enum conn_wait wait;
    struct worker *worker;
    struct list_node link;     /* in worker->conns */
    struct list_node yielding; /* in worker->yielding, or in none */
    bool fresh;                /* nothing was read yet: it may be HTTP/2 */
    bool eof;                  /* the peer sends no more */
    bool writing;              /* a write is under way: nothing may be added */
    bool reading;
    bool bad;     /* the parser gave up */
    bool aborted; /* counted as such */
    uint8_t open_handles;
    uint64_t served;
    uint64_t idle_ms; /* 0: never */
    struct input in;
    char *unwritten; /* what the write under way sends; owned */
    struct request req;
    struct response resp;
    struct ws_echo ws;
    struct h2 *h2;   /* NULL, or the session of CONN_H2; owned */
    struct tls *tls; /* NULL: plain; owned */
    llhttp_t parser;
    uv_write_t write;
    uv_timer_t timer;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } io;
};

/* Accepts one conn from the worker's listener and starts reading. Out of memory: refuses it. */
void conn_accept(struct worker *w);

/* Does all that can be done now; what is left waits for the peer, or for the timer. */
void conn_run(struct conn *c);

/* Ends the conn now and without a word; idempotent. It is freed when libuv lets go of it. */
void conn_close(struct conn *c);

/* Runs the response on after ms milliseconds. */
void conn_wait_response(struct conn *c, uint64_t ms);

static inline struct output *conn_out(struct conn *c)
{
    return &c->worker->out;
}

/* Where a part of the head is. Valid until the head has ended and conn_run() returns. */
static inline struct span conn_part(const struct conn *c, struct part p)
{
    return span_of(c->in.data + c->in.head + p.at, p.len);
}

#endif
