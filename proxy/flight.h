/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight recorder: what became of the latest requests that failed, were tried again or were
 * slow, each with its whole timeline. One ring for each worker and kind, so that a flood of one
 * kind does not push out the others. Its memory is fixed, and is not touched before it is used.
 *
 * One thread puts records in; any thread may read them meanwhile, and is told when what it has read
 * was overwritten. Nobody waits, and putting one in allocates nothing and makes no system call.
 */
#ifndef WEIR_FLIGHT_H
#define WEIR_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/reason.h"
#include "proxy/base/span.h"

enum {
    FLIGHT_LEGS = 8,     /* that are kept of one request */
    FLIGHT_BYTES = 1024, /* of all its texts */
};

#define FLIGHT_NEVER UINT32_MAX

enum flight_kind {
    FLIGHT_FAILED,  /* weir or an endpoint could not serve it */
    FLIGHT_CLIENT,  /* its client has gone, or asked for what there is not */
    FLIGHT_RETRIED, /* it went well, but took more than one attempt */
    FLIGHT_SLOW,    /* it went well, but took long */
    FLIGHT_KINDS,
};

enum flight_text {
    FLIGHT_ID,
    FLIGHT_PEER,
    FLIGHT_LISTENER,
    FLIGHT_METHOD,
    FLIGHT_HOST,
    FLIGHT_PATH, /* with the query */
    FLIGHT_ROUTE,
    FLIGHT_POOL,
    FLIGHT_TEXTS,
};

/* One attempt at one endpoint. Times in µs since the request arrived, FLIGHT_NEVER: it did not come
 * to that; what took over 71 minutes is shown as that. */
struct flight_leg {
    uint64_t span;     /* of its trace; 0: it has none of its own */
    uint32_t sent;     /* bytes of the request's body that left for it; UINT32_MAX: 4 GiB or more */
    uint32_t endpoint; /* its index in the pool; of a record: which of its texts */
    uint32_t start_us, head_us, end_us;
    uint32_t reached_us; /* its endpoint took the conn for it: with TLS, the handshake began */
    uint32_t up_us;      /* its conn came up for it */
    uint16_t reason;     /* why it ended; REASON_DONE: it was answered to the end */
    uint16_t status;     /* of its answer, or 0 */
    uint8_t version;     /* of HTTP, that its answer came by: 10, 11, 20; 0: none came */
    bool reused : 1;     /* the conn had served before */
    bool also : 1;       /* the conn led to the other address of its endpoint */
    bool hedge : 1;      /* it was begun beside another one */
    bool note : 1;       /* no attempt, but why there was no other */
    bool tls : 1;        /* its endpoint speaks TLS */
};

/* Its place in a trace (proxy/http/trace_context.h): ids as they are written. */
struct flight_trace {
    bool there, has_parent;
    char id[32];     /* of the trace */
    char span[16];   /* of the request here */
    char parent[16]; /* of what it is a part of, if has_parent */
};

struct flight_place {
    uint16_t at, len;
};

struct flight {
    uint64_t time_us;  /* Unix time of its arrival */
    uint64_t total_us; /* these, since then */
    uint64_t queue_us; /* until its turn; only of pools with limits, see queued */
    uint64_t head_us;  /* until the head of the answer that was passed on; 0: there was none */
    uint64_t bytes_in, bytes_out;
    uint32_t attempts; /* as the access log counts them */
    uint16_t status;   /* as in the access log */
    uint16_t reason;   /* enum reason */
    uint16_t used;     /* of bytes */
    uint8_t kind;      /* enum flight_kind */
    uint8_t protocol;  /* 10, 11, 20 */
    uint8_t n_legs, legs_lost;
    bool queued;      /* its pool has limits */
    bool whole;       /* the request had come to its end */
    bool cut;         /* the client had seen a part of an answer that never became whole */
    bool short_texts; /* some text is not shown to its end */
    struct flight_trace trace;
    struct flight_place texts[FLIGHT_TEXTS], endpoints[FLIGHT_LEGS];
    struct flight_leg legs[FLIGHT_LEGS];
    _Alignas(8) char bytes[FLIGHT_BYTES];
};

const char *flight_kind_name(enum flight_kind kind);

/* µs as a leg has them. */
static inline uint32_t flight_us(uint64_t us)
{
    return us < FLIGHT_NEVER - 1 ? (uint32_t)us : FLIGHT_NEVER - 1;
}

/* Empties it: no texts, no legs; the rest is zero. */
void flight_init(struct flight *f);

/* Sets a text, or a part of it if it is long. Once each. */
void flight_set_text(struct flight *f, enum flight_text which, struct span text);

/* Adds a leg with its endpoint's text, behind all other texts. With more than there is room for,
 * the first ones and the last one are kept, and the others are counted as lost: the last one
 * counts. Of a leg with `also` the other address stands behind that text, after FLIGHT_ALSO. */
#define FLIGHT_ALSO "\n"
void flight_add_leg(struct flight *f, const struct flight_leg *leg, struct span endpoint);

/* As long as the record. */
struct span flight_text(const struct flight *f, enum flight_text which);
struct span flight_endpoint(const struct flight *f, const struct flight_leg *leg);
/* Where its conn led: that, or the endpoint's other address. */
struct span flight_address(const struct flight *f, const struct flight_leg *leg);

/* ---- the rings of one worker ---- */

struct flight_ring;

/* For size records of each kind. NULL: size is 0, or there is no memory. */
struct flight_ring *flight_ring_new(uint32_t size);
void flight_ring_free(struct flight_ring *ring);

/* Puts a record in, over the oldest of its kind. The owner's thread only. */
void flight_ring_put(struct flight_ring *ring, const struct flight *f);

/* The record of that kind before which `later` newer ones were put in. False: there is none, or it
 * was overwritten just now. Any thread. */
bool flight_ring_read(const struct flight_ring *ring, enum flight_kind kind, uint32_t later,
                      struct flight *out);

/* Records that were put in so far; that fit; bytes of all. Any thread; of NULL: 0. */
uint64_t flight_ring_count(const struct flight_ring *ring, enum flight_kind kind);
uint32_t flight_ring_size(const struct flight_ring *ring);
uint64_t flight_ring_bytes(const struct flight_ring *ring);

#endif
