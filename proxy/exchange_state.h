/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange's state. Private to exchange.c, exchange_admit.c, exchange_attempt.c and
 * exchange_end.c, which change it, and of exchange_log.c and exchange_flight.c, which tell it.
 */
#ifndef WEIR_EXCHANGE_STATE_H
#define WEIR_EXCHANGE_STATE_H

#include "proxy/base/check.h"
#include "balancer/queue.h"
#include "proxy/flight.h"
#include "proxy/http/trace_context.h"
#include "proxy/worker.h"

#define EXCHANGE_MAGIC MAGIC('e', 'x', 'c', 'h')

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
    uint64_t span;              /* that its endpoint was told, or 0: recorded exchanges only */
    uint64_t reached_us;        /* once it is over: when its endpoint took the conn, TLS or not */
    uint64_t connected_us;      /* ... and when that came up; 0: it had, or did not */
    uint16_t status;            /* of that head */
    uint16_t rated;      /* what it says of the endpoint; of a gRPC call: what its own does */
    bool status_follows; /* in the trailers: it is a gRPC call */
    bool hedge;          /* it was begun beside another one */
    bool reused;         /* once it is over: its conn had served before */
    bool also;           /* ... and led to its endpoint's other address */
    bool told;           /* how it ended is among the legs */
    uint8_t version;     /* of HTTP, of that head */
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
    bool late, due;            /* which of the timers has come */
    bool hedged;               /* a second endpoint was asked at once with the first */
    bool stays;                /* what it waits for is the endpoint of its session */
    bool traced;               /* it has a trace */
    bool recorded;             /* ... that is recorded: each attempt has a span of its own */
    bool admitted;             /* it has its place among those that the pool takes at once */
    uint8_t n_legs, legs_lost; /* of legs; and those that had no place there */
    struct worker *worker;
    struct snapshot_view *view; /* that it began with */
    const struct snapshot *snapshot;
    const struct listener_spec *listener;
    struct stream *client;
    struct http_head *request;
    const struct http_peer *peer;
    const struct route *route;
    struct pool_view *pool;
    int32_t pool_index;          /* -1: none chosen */
    struct admission *admission; /* NULL: the pool takes any number */
    uint64_t admitted_us;
    uint64_t key;  /* what the pool balances by; 0: none */
    int32_t stuck; /* the endpoint that its cookie names, or LB_NONE */
    uint32_t attempts, retries;
    uint16_t last;     /* enum reason: why there is, or will be, another attempt */
    uint32_t next;     /* the endpoint that the next attempt goes to, once its time has come */
    uint64_t credited; /* the most of the request's body that left in any attempt */
    struct chain replay;
    struct http_head *trailers; /* that came while there was no stream to send them on, or NULL */
    struct block *trailers_text;
    struct block *scratch; /* long values of forwarding fields */
    uint64_t start_us, first_byte_us;
    uint64_t bytes_in, bytes_out;
    struct span id;
    struct attempt *attempt; /* whose answer is, or will be, passed on: one of */
    struct attempt tries[2]; /* the second is for hedging: undefined unless hedged */

    /* From here on, and from the second try, nothing is zeroed: each has an init of its own. */
    struct lb_tried tried;
    struct ready ready;
    struct grave grave;
    struct wheel_timer timer; /* the whole request; in a tunnel: idle */
    struct wheel_timer pause; /* until the next attempt, which may be a hedge */
    struct lb_waiter waiter;  /* for its turn, in a pool with admission; and whose turn that is: */
    uint64_t turn_key;        /* 0: nobody's in particular */
    char own_id[UUID7_LEN];
    struct trace trace;
    struct flight_leg legs[FLIGHT_LEGS - 1]; /* attempts that have failed; the last is not here */
};

/* So much of it, from its beginning, is zeroed for a request. */
#define EXCHANGE_ZEROED offsetof(struct exchange, tries[1])

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
    return x->hedged && lb_lease_started(&other->lease) ? other : NULL;
}

static inline const struct retry_rule *retry_rule_of(const struct exchange *x)
{
    return &x->snapshot->routes[x->route->index].retry;
}

/* How many there are of its route. */
static inline struct counter *exchange_route_gauge(const struct exchange *x)
{
    return &x->view->rows[x->snapshot->routes[x->route->index].row]->in_flight;
}

/* Moves the idle deadline of a tunnel. */
static inline void exchange_touch(struct exchange *x)
{
    struct reactor *r = &x->worker->reactor;
    wheel_set(&r->wheel, &x->timer, reactor_now(r) + x->snapshot->upgraded_ms);
}

#endif
