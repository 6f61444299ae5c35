/* SPDX-License-Identifier: Apache-2.0 */
/* Records of traced requests on their way to the control thread. Owns the rings' memory; must never
 * wait, or allocate when a record is put in. One thread on each side. */
#include "proxy/trace/record.h"

#include <string.h>

#include "proxy/base/check.h"

#define HEAD_BYTES (offsetof(struct trace_record, flight) + offsetof(struct flight, bytes))

unsigned trace_record_spans(const struct trace_record *record)
{
    unsigned spans = 1;
    for (unsigned i = 0; i < record->flight.n_legs; i++)
        spans += !record->flight.legs[i].note;
    return spans;
}

struct span trace_record_state(const struct trace_record *record)
{
    return span_of(record->flight.bytes + record->flight.used, record->state);
}

struct span trace_record_agent(const struct trace_record *record)
{
    return span_of(record->flight.bytes + record->flight.used + record->state, record->agent);
}

bool trace_ring_init(struct trace_ring *ring, size_t bytes, uv_async_t *bell)
{
    *ring = (struct trace_ring){.bell = bell};
    return byte_ring_init(&ring->bytes, bytes);
}

void trace_ring_fini(struct trace_ring *ring)
{
    byte_ring_fini(&ring->bytes);
}

/* ---- the producer ---- */

/* Room for size bytes after the last record, or at the start of the memory. NULL: there is none. */
static char *room_for(struct byte_ring *ring, size_t size)
{
    size_t room;
    char *place = byte_ring_room(ring, &room);
    if (room >= size)
        return place;
    byte_ring_refresh(ring);
    place = byte_ring_room(ring, &room);
    if (room >= size)
        return place;
    place = byte_ring_room_at_start(ring, &room);
    return place != NULL && room >= size ? place : NULL;
}

static void ring_the_bell(struct trace_ring *ring)
{
    size_t half = ring->bytes.cap / 2;
    if (byte_ring_used(&ring->bytes) <= half)
        return;
    byte_ring_refresh(&ring->bytes);
    if (byte_ring_used(&ring->bytes) > half && ring->bell != NULL &&
        !atomic_exchange(&ring->rung, true))
        uv_async_send(ring->bell);
}

static char *put_text(char *at, struct span text)
{
    if (text.len > 0)
        memcpy(at, text.ptr, text.len);
    return at + text.len;
}

static void write_record(char *place, const struct trace_record *head, const struct flight *flight,
                         struct span state, struct span agent)
{
    char *to = place + offsetof(struct trace_record, flight);
    memcpy(place, head, offsetof(struct trace_record, flight));
    memcpy(to, flight, offsetof(struct flight, bytes) + flight->used);
    char *at = put_text(place + HEAD_BYTES + flight->used, state);
    put_text(at, agent);
}

bool trace_ring_put(struct trace_ring *ring, const struct flight *flight, bool https,
                    struct span state, struct span agent)
{
    CHECK(state.len <= TRACE_STATE_MAX);
    if (agent.len > TRACE_AGENT_MAX)
        agent.len = TRACE_AGENT_MAX;
    size_t size = (HEAD_BYTES + flight->used + state.len + agent.len + 7) / 8 * 8;
    struct trace_record head;
    head.size = (uint32_t)size;
    head.state = (uint16_t)state.len;
    head.agent = (uint16_t)agent.len;
    head.https = https;
    char *place = room_for(&ring->bytes, size);
    if (place != NULL) {
        write_record(place, &head, flight, state, agent);
        byte_ring_publish(&ring->bytes, place, size);
    } else {
        head.flight.n_legs = flight->n_legs;
        memcpy(head.flight.legs, flight->legs, sizeof(flight->legs));
        counter_add(&ring->dropped, trace_record_spans(&head));
    }
    ring_the_bell(ring);
    return place != NULL;
}

/* ---- the consumer ---- */

static bool take_piece(struct trace_ring *ring, const struct iovec *piece,
                       bool (*take)(void *ctx, const struct trace_record *record), void *ctx)
{
    const char *at = piece->iov_base, *end = at + piece->iov_len;
    size_t taken = 0;
    while (at + taken < end) {
        const struct trace_record *record = (const void *)(at + taken);
        CHECK(record->size <= (size_t)(end - at) - taken && record->size % 8 == 0);
        if (!take(ctx, record))
            break;
        taken += record->size;
    }
    byte_ring_consume(&ring->bytes, taken);
    return taken == piece->iov_len;
}

bool trace_ring_take(struct trace_ring *ring,
                     bool (*take)(void *ctx, const struct trace_record *record), void *ctx)
{
    struct iovec pieces[2];
    atomic_store(&ring->rung, false);
    int n = byte_ring_peek(&ring->bytes, pieces);
    for (int i = 0; i < n; i++)
        if (!take_piece(ring, &pieces[i], take, ctx))
            return false;
    return true;
}
