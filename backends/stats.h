/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, one shard a worker. The worker alone adds, without a locked instruction; any thread
 * may read, and sees each counter whole but the set of them not as of one instant.
 */
#ifndef WEIR_BACKENDS_STATS_H
#define WEIR_BACKENDS_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define STATS_STATUSES 600

struct stats {
    _Atomic uint64_t connections;   /* accepted so far */
    _Atomic uint64_t open;          /* of these, still open */
    _Atomic uint64_t requests;      /* whose head was read, but those for /stats */
    _Atomic uint64_t reused;        /* of these, not the first on their conn */
    _Atomic uint64_t aborted;       /* conns that the peer ended within a request or response */
    _Atomic uint64_t body_bytes_in; /* content of requests, without framing */
    _Atomic uint64_t statuses[STATS_STATUSES]; /* heads of final responses sent, 101 included */
};

/* The shard's own worker only. */
static inline void stats_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

#define STATS_JSON_MAX (512 + 32 * STATS_STATUSES)

/* Writes the sum of n shards as one JSON object and a NUL to out; returns the length. */
size_t stats_json(struct stats *const *shards, size_t n, char out[STATS_JSON_MAX]);

#endif
