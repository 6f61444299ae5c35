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

#define ATTEMPT_MAGIC MAGIC('t', 'r', 'y', '_')

/* One try at one endpoint: it runs while its lease is started. */
struct attempt {
    uint32_t magic;
    uint32_t endpoint;
    struct exchange *exchange;
    struct stream *upstream;  /* NULL while it waits for one, too */
    struct pool_request wish; /* for that stream */
    struct lb_lease lease;
    uint64_t start_us, head_us; /* when it began, and had its final head; or 0 */
    uint64_t drained;           /* body bytes that left in this attempt */
    uint16_t status;            /* of that head */
    bool hedge;                 /* it was begun beside another one */
};

struct exchange {
    uint32_t magic;
    uint16_t status;   /* that the client saw, or 499 */
    bool replayable;   /* replay holds the body from its first byte */
    bool committed;    /* the client has seen, or will see, a byte of the final response */
    bool interim;      /* ... or of a 1xx: no other attempt, but an answer of ours may follow */
    bool request_done; /* the request came whole; in a tunnel: the client has ended its direction */
    bool response_done;
    bool tunnel;
    bool finished;
    bool late, due; /* which of the timers has come */
    bool hedged;    /* a second endpoint was asked at once with the first */
    bool reused;    /* the attempt that answered ran on a conn that had served before */
    struct worker *worker;
    struct snapshot *snapshot;
    const struct listener_spec *listener;
    struct stream *client;
    struct http_head *request;
    const struct http_peer *peer;
    const struct route *route;
    struct pool_view *pool;
    int32_t pool_index;      /* -1: none chosen */
    uint64_t key;            /* what the pool balances by; 0: none */
    int32_t stuck;           /* the endpoint that its cookie names, or LB_NONE */
    struct attempt *attempt; /* whose answer is, or will be, passed on: one of */
    struct attempt tries[2]; /* the second is for hedging */
    uint32_t attempts, retries;
    uint32_t next;     /* the endpoint that the next attempt goes to, once its time has come */
    uint64_t credited; /* the most of the request's body that left in any attempt */
    struct lb_tried tried;
    struct chain replay;
    struct http_head *trailers; /* that came while there was no stream to send them on, or NULL */
    struct block *trailers_text;
    struct block *scratch; /* long values of forwarding fields */
    struct ready ready;
    struct grave grave;
    struct wheel_timer timer; /* the whole request; in a tunnel: idle */
    struct wheel_timer pause; /* until the next attempt, which may be a hedge */
    uint64_t start_us, first_byte_us;
    uint64_t connected_us; /* when the conn that answered came up */
    uint64_t bytes_in, bytes_out;
    struct span id;
    uint16_t trail_len;
    char own_id[UUID7_LEN];
    char trail[TRAIL_BYTES]; /* last: it is not zeroed */
};

/* That of a client's stream. */
static inline struct exchange *exchange_of(const struct stream *s)
{
    return CAST_OBJ(exchange, s->owner, EXCHANGE_MAGIC);
}

/* The attempt that was begun beside this one, if it runs; or NULL. */
static inline struct attempt *attempt_rival(const struct attempt *a)
{
    struct exchange *x = a->exchange;
    struct attempt *other = &x->tries[a == &x->tries[0]];
    return lb_lease_started(&other->lease) ? other : NULL;
}

static inline const struct retry_rule *retry_rule_of(const struct exchange *x)
{
    return &x->snapshot->routes[x->route->index].retry;
}

/* Moves the idle deadline of a tunnel. */
static inline void exchange_touch(struct exchange *x)
{
    struct reactor *r = &x->worker->reactor;
    wheel_set(&r->wheel, &x->timer, reactor_now(r) + x->snapshot->upgraded_ms);
}

#endif
