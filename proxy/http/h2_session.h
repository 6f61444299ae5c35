/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both sides of HTTP/2 share: an nghttp2 session on a conn, and its streams as struct stream.
 * Embedded in h2_server and h2_client, which own the conn and say what a head is for.
 *
 * nghttp2's callbacks only write down in h2_stream and put it in the ready list. Up-calls are made
 * by h2_session_turn, with no frame of nghttp2's beneath; a stream may be released within each. Its
 * memory goes when the owner has released it and nghttp2 has closed it, from the dispatch loop.
 *
 * Bodies come in as slices of the conn's block. What was handed up and not yet credited is what
 * flow control holds back of the stream; the conn's window is given back as bytes come, so that
 * streams whose bodies nobody takes hold up no other. What a conn may hold is therefore the sum of
 * its streams' windows, which are small until a body turns out to be large. On the way out frames
 * are pulled from nghttp2 only while the conn has less than H2_OUT_MAX bytes queued. Conn's thread.
 */
#ifndef WEIR_HTTP_H2_SESSION_H
#define WEIR_HTTP_H2_SESSION_H

#include <nghttp2/nghttp2.h>

#include "proxy/base/list.h"
#include "proxy/http/h2_flood.h"
#include "proxy/http/h2_head.h"
#include "proxy/http/stream.h"
#include "proxy/net/conn.h"

#define H2_OUT_MAX 65536 /* bytes queued in the conn above which no frame is made */
#define H2_HEADS   4     /* interim heads, and the final one, that wait for an up-call */
/* 1xx responses to one request; an upstream that goes on is broken. */
#define H2_INTERIMS_MAX 32

struct h2_session;
struct h2_stream;

/* Shared by all sessions of a kind; must outlive them. */
struct h2_config {
    struct h1_limits limits;
    uint32_t
        max_streams; /* at once: that the peer may open; clients: until it says what it takes */
    uint32_t stream_window, conn_window; /* bytes that are held of a stream; on their way of all */
    /* What a stream begins with; a body that is longer gets the rest of stream_window as well,
     * while all who have that have not more than wide_bytes of it. Clients: stream_window, and 0.
     */
    uint32_t first_window, wide_bytes;
    uint32_t body_ms;  /* between bytes of a body that comes in; 0: for ever */
    uint32_t stall_ms; /* that a stream may wait for the peer's window; same */
};

/* Of the side that embeds the session. */
struct h2_session_ops {
    bool server;
    const struct stream_ops *stream; /* of every stream; most of its rows are below */
    /* Up-call, by h2_session_turn. s->head is complete, or was refused for reason. Server: hands it
     * to the service. Client: hands it up; the head goes after the call. */
    void (*head)(struct h2_stream *s, enum reason reason);
    /* Pure, within nghttp2: what a RST_STREAM of the peer's means. */
    enum reason (*reset)(const struct h2_stream *s, uint32_t code);
    /* Pure: the next of the message did not come in time. NULL: BODY_TIMEOUT. */
    enum reason (*late)(const struct h2_stream *s);
    uint16_t broken;     /* enum reason, for streams: the peer broke the conn's framing */
    uint16_t bad_stream; /* the same, only the stream's */
    uint16_t stalled;    /* no window for too long */
};

struct h2_session {
    struct conn *conn;
    const struct h2_session_ops *ops;
    const struct h2_config *config;
    nghttp2_session *ng;
    struct list_node streams, ready; /* all; those with something to hand up or to settle */
    uint32_t n_streams;
    uint32_t n_open;              /* servers: those of them that nghttp2 knows */
    struct h2_stream *delivering; /* an up-call for it is on the stack */
    struct block *text;           /* that heads are copied into; shared by them */
    struct h2_reading reading;    /* of the header section that comes in */
    struct h2_stream *section;    /* whose; NULL: nobody's, it is only counted */
    size_t section_bytes;
    bool in_section;
    struct h2_flood flood;
    uint16_t error;   /* enum reason: why a callback ended the session, or the session died */
    uint16_t closing; /* enum reason, of a GOAWAY with an error that nghttp2 sent */
    bool dead;        /* nghttp2 is not asked any more */
    bool settled;     /* the peer has acknowledged our settings */
    bool told;        /* and has sent its own */
    bool pong;        /* and our last ping */
    bool news;        /* HEADERS or DATA came since a client looked last */
    bool no_window;   /* a stream has waited in vain for the peer's window for the conn */
    bool sent_data;   /* by the current nghttp2_session_mem_send */
    bool goaway_got;  /* the peer takes no stream above goaway_last */
    int32_t goaway_last;
    uint32_t goaway_code;
    uint64_t opened;       /* streams, in its life */
    uint32_t window_borne; /* that a SETTINGS may give to streams */
    uint32_t wide;         /* bytes of config->wide_bytes that streams have */
    size_t withheld;       /* servers: of the conn's window, until the peer knows our settings */
    /* Servers: the highest number of a stream, and those below it that were skipped last. */
    int32_t last_id, skipped_from, skipped_to;
};

/* What a client remembers of a request. */
struct h2_asked {
    const struct http_head *held; /* an upgrade that waits for the peer's settings */
    struct span upgrade;          /* to what */
    uint64_t head_at;             /* bytes of the conn that leave before the head */
    uint64_t since_ms;            /* when it was opened; once it is whole, when it was that */
    uint32_t head_ms;             /* that the answer's head may take from the request's end */
    uint8_t interims;             /* 1xx answers */
    bool whole;                   /* the request was queued whole */
    bool expects;                 /* its sender waits for a 100: the clock of the answer runs */
};

struct h2_stream {
    struct stream base;
    struct h2_session *session;
    struct list_node link, ready;
    struct wheel_timer timer;          /* the nearer of the two */
    uint64_t rx_deadline, tx_deadline; /* ms of reactor_now, or NEVER */
    struct h2_asked asked;             /* h2_client's own */
    int32_t id;                        /* 0: not submitted yet */
    uint16_t error;                    /* enum reason: the peer's message will not be completed */
    uint8_t n_heads;
    struct http_head *heads[H2_HEADS]; /* complete, not yet handed up */
    size_t text_of[H2_HEADS];          /* bytes of text that each has, in their order */
    struct http_head *filling;         /* the one that comes in */
    uint16_t refused;                  /* enum reason, for heads[0] of a server's */
    struct http_head *head;            /* server: the request's, until release */
    struct http_head *trailers;        /* that came in */
    struct chain text;                 /* that the spans of heads point into */
    struct chain rx, tx;               /* not yet handed up; not yet framed */
    struct block *small;               /* that small pieces of its body are copied into */
    size_t unconsumed;                 /* handed up or in rx, and not credited */
    size_t framed;                     /* queued in the conn since drained was told */
    uint64_t rx_bytes;                 /* of the body that came in */
    struct h2_trailers *tx_trailers;
    bool owned;    /* somebody above has it */
    bool released; /* nobody has it any more */
    bool closed;   /* nghttp2 has no such stream any more */
    bool rx_final; /* the final head came in */
    bool rx_end, rx_end_told;
    bool rx_dead;          /* what still comes in is thrown away */
    bool wide;             /* its window is stream_window, no more first_window */
    bool rx_hold;          /* what comes in waits: a tunnel that is not granted yet */
    bool error_told, gone; /* gone: error is that nothing can be sent any more */
    bool malformed;        /* nghttp2 resets it: whatever is answered is thrown away */
    bool to_head; /* client: it answers HEAD; server: no body follows the response's head */
    bool expects; /* server: the client waits for a 100 before it sends the body */
    bool tunnel, extended;
    bool tx_head;  /* the final head, or the request's, was submitted */
    bool tx_end;   /* queued whole */
    bool tx_done;  /* the end was framed */
    bool deferred; /* nghttp2 waits to be told of more */
    uint8_t cut;   /* code that it is reset with once tx is empty; 0: it is not */
    bool reset;    /* RST_STREAM was submitted */
};

/* Makes what all sessions share; any thread, any number of times. The first session would do it,
 * but then memory may be short: weir does it while it starts. */
void h2_session_setup(void);

/* The version of nghttp2 that runs. */
const char *h2_library_version(void);

/* Prepares it and queues the settings (a client's: the preface first). extra: settings beyond those
 * that follow from config, n of them at most 4. False: memory is out. */
bool h2_session_init(struct h2_session *h, struct conn *c, const struct h2_session_ops *ops,
                     const struct h2_config *config, const nghttp2_settings_entry *extra, size_t n);

/* No stream may be left. From ops->free of the conn. */
void h2_session_fini(struct h2_session *h);

/* From conn process: reads what is there, makes the up-calls, queues frames, until
 * nothing is left to do. May have closed the conn when it returns. */
void h2_session_turn(struct h2_session *h);

/* From flushed: is there something that the next turn has room for now? */
bool h2_session_waits(const struct h2_session *h);

/* Nothing will be read or written any more, but for what is queued in the conn. */
bool h2_session_over(const struct h2_session *h);

/* Ends the session with a GOAWAY of our own; its streams are aborted by the next turn. code: of RFC
 * 9113 section 7. Idempotent. */
void h2_session_fail(struct h2_session *h, enum reason reason, uint32_t code);

/* Closes the conn; whoever has a stream is told at once (an up-call each). */
void h2_session_close(struct h2_session *h, enum reason reason, bool reset);

/* ---- streams ---- */

/* A stream, not owned yet. A client submits it: see h2_stream_source. */
struct h2_stream *h2_stream_new(struct h2_session *h, int32_t id);
struct h2_stream *h2_stream_of(struct stream *base);

/* Where nghttp2 gets its body from, for nghttp2_submit_request or _response. */
nghttp2_data_provider h2_stream_source(struct h2_stream *s);

/* Rows for a table of stream_ops. */
void h2_stream_send_body(struct stream *base, struct chain *body);
void h2_stream_send_end(struct stream *base, const struct http_head *trailers);
void h2_stream_credit(struct stream *base, size_t n);
void h2_stream_release(struct stream *base, enum reason reason);

/* Nothing more comes of the peer's message. gone: nor can anything be sent. Told by the next turn.
 */
void h2_stream_fail(struct h2_stream *s, enum reason reason, bool gone);

/* Submits a RST_STREAM, once. */
void h2_stream_reset(struct h2_stream *s, uint32_t code);

/* Client: has nghttp2 not begun to send it? */
bool h2_stream_unsent(const struct h2_stream *s);

/* Client: one that is unsent never will be. Whoever owns it has to be told: h2_stream_fail. */
void h2_stream_withdraw(struct h2_stream *s);

/* Puts it in the ready list and wakes the conn. */
void h2_stream_mark(struct h2_stream *s);

/* nghttp2 resets it for what the peer sent. */
void h2_stream_malformed(struct h2_stream *s);

/* The peer is to send more of its body: begins that clock, or stops it while it may not send, and
 * once a server has begun to answer. */
void h2_stream_rx_clock(struct h2_stream *s);

/* Sets its timer for the nearer of its deadlines. */
void h2_stream_arm(struct h2_stream *s);

/* ---- between h2_session.c, h2_callbacks.c and h2_stream.c ---- */

/* NULL: memory is out. */
nghttp2_session_callbacks *h2_callbacks_new(void);

/* The peer has acknowledged our settings: from now on its streams' windows are what they say. */
void h2_stream_settled(struct h2_session *h);

/* Hands up what was written down; settles what was released. */
void h2_stream_deliver(struct h2_stream *s);
void h2_stream_free(struct h2_stream *s);
void h2_stream_on_data(struct h2_stream *s, const uint8_t *data, size_t len);
void h2_stream_on_closed(struct h2_stream *s);
int h2_stream_frame(struct h2_stream *s, const uint8_t head[9], size_t length);

#endif
