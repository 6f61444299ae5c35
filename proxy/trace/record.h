/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker tells the control thread of a request that is traced: its flight record and what
 * only a trace wants to know. Records go through a ring for each worker, one producer and one
 * consumer; nobody waits, nothing is allocated. What finds no room is dropped and counted.
 */
#ifndef WEIR_TRACE_RECORD_H
#define WEIR_TRACE_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/byte_ring.h"
#include "proxy/base/span.h"
#include "proxy/base/stats.h"
#include "proxy/flight.h"

#define TRACE_RING_BYTES (1u << 20)

enum {
    TRACE_STATE_MAX = 512, /* of tracestate: longer ones are left out (W3C section 3.3.1.5) */
    TRACE_AGENT_MAX = 256, /* of User-Agent: of longer ones so much is told */
};

struct trace_record {
    uint32_t size;         /* of all of it: a multiple of 8 */
    uint16_t state, agent; /* lengths of two texts, which follow the flight's in this order */
    bool https;            /* how the client came */
    struct flight flight;  /* with a trace; of its bytes only what is used */
};

/* How many spans it comes to: weir's own, and one for each attempt. */
unsigned trace_record_spans(const struct trace_record *record);

/* tracestate as it came, or nothing; User-Agent. As long as the record. */
struct span trace_record_state(const struct trace_record *record);
struct span trace_record_agent(const struct trace_record *record);

struct trace_ring {
    struct byte_ring bytes;
    uv_async_t *bell;       /* rung when the ring is half full; NULL: nobody is there */
    atomic_bool rung;       /* and the consumer has not looked since */
    struct counter dropped; /* spans; the producer's */
};

/* False if out of memory. Memory that is never used is never touched. */
bool trace_ring_init(struct trace_ring *ring, size_t bytes, uv_async_t *bell);
void trace_ring_fini(struct trace_ring *ring);

/* Producer. state: at most TRACE_STATE_MAX; of agent TRACE_AGENT_MAX are taken. False: dropped. */
bool trace_ring_put(struct trace_ring *ring, const struct flight *flight, bool https,
                    struct span state, struct span agent);

/* Consumer: shows records, the oldest first, until there are none or take returns false, and frees
 * those for which it returned true. True: it has taken all that there were. */
bool trace_ring_take(struct trace_ring *ring,
                     bool (*take)(void *ctx, const struct trace_record *record), void *ctx);

#endif
