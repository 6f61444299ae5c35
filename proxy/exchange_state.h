/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange's state. Private to exchange.c, exchange_attempt.c and exchange_end.c, which change
 * it, and exchange_log.c, which tells it.
 */
#ifndef WEIR_EXCHANGE_STATE_H
#define WEIR_EXCHANGE_STATE_H

#include "proxy/base/check.h"
#include "proxy/worker.h"

#define EXCHANGE_MAGIC MAGIC('e', 'x', 'c', 'h')
#define TRAIL_BYTES    256

struct exchange {
    uint32_t magic;
    uint16_t status;   /* that the client saw, or 499 */
    uint16_t rated;    /* what it says of the endpoint; of a gRPC call: what its own comes to */
    bool replayable;   /* replay holds the body from its first byte */
    bool committed;    /* the client has seen, or will see, a byte of the final response */
    bool interim;      /* ... or of a 1xx: no other attempt, but an answer of ours may follow */
    bool request_done; /* the request came whole; in a tunnel: the client has ended its direction */
    bool response_done;
    bool tunnel;
    bool finished;
    bool status_follows; /* in the trailers: it is a gRPC call */
    bool reused;         /* the attempt that answered ran on a conn that had served before */
    struct worker *worker;
    struct snapshot *snapshot;
    const struct listener_spec *listener;
    struct stream *client;
    struct http_head *request;
    const struct http_peer *peer;
    const struct route *route;
    struct pool_view *pool;
    int32_t pool_index; /* -1: none chosen */
    /* the attempt */
    uint32_t endpoint;
    struct stream *upstream;  /* NULL while the attempt is pending, too */
    struct pool_request wish; /* for that stream; it may have to wait */
    struct lb_lease lease;
    uint64_t key;  /* what the pool balances by; 0: none */
    int32_t stuck; /* the endpoint that its cookie names, or LB_NONE */
    uint32_t attempts, retries;
    uint64_t attempt_us;
    uint64_t attempt_drained; /* body bytes that left in this attempt */
    uint64_t credited;        /* the most that left in any */
    struct lb_tried tried;
    struct chain replay;
    struct http_head *trailers; /* that came while the attempt was pending, or NULL */
    struct block *trailers_text;
    struct block *scratch; /* long values of forwarding fields */
    struct ready ready;
    struct grave grave;
    struct wheel_timer timer; /* the whole request; in a tunnel: idle */
    uint64_t start_us, first_byte_us;
    uint64_t connected_us; /* when the conn that answered came up */
    uint64_t bytes_in, bytes_out;
    struct span id;
    uint16_t trail_len;
    char own_id[UUID7_LEN];
    char trail[TRAIL_BYTES]; /* last: it is not zeroed */
};

/* That of a stream, of either side. */
static inline struct exchange *exchange_of(const struct stream *s)
{
    return CAST_OBJ(exchange, s->owner, EXCHANGE_MAGIC);
}

/* Moves the idle deadline of a tunnel. */
static inline void exchange_touch(struct exchange *x)
{
    struct reactor *r = &x->worker->reactor;
    wheel_set(&r->wheel, &x->timer, reactor_now(r) + x->snapshot->upgraded_ms);
}

#endif
