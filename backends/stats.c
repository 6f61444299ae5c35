/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums the shards and prints them. Reads only; any thread.
 */
#include "backends/stats.h"

#include <stdio.h>

#include "proxy/base/check.h"

static uint64_t sum(struct stats *const *shards, size_t n, size_t offset)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        const _Atomic uint64_t *counter =
            (const _Atomic uint64_t *)(const void *)((const char *)shards[i] + offset);
        total += atomic_load_explicit(counter, memory_order_relaxed);
    }
    return total;
}

size_t stats_json(struct stats *const *shards, size_t n, char out[STATS_JSON_MAX])
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
        {"connections", offsetof(struct stats, connections)},
        {"open", offsetof(struct stats, open)},
        {"requests", offsetof(struct stats, requests)},
        {"reused", offsetof(struct stats, reused)},
        {"aborted", offsetof(struct stats, aborted)},
        {"body_bytes_in", offsetof(struct stats, body_bytes_in)},
    };
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        len += (size_t)snprintf(out + len, STATS_JSON_MAX - len, "%s\"%s\":%llu", i ? "," : "{",
                                rows[i].name, (unsigned long long)sum(shards, n, rows[i].offset));
    len += (size_t)snprintf(out + len, STATS_JSON_MAX - len, ",\"responses\":{");
    const char *comma = "";
    for (size_t s = 0; s < STATS_STATUSES; s++) {
        uint64_t count = sum(shards, n, offsetof(struct stats, statuses) + s * sizeof(uint64_t));
        if (count == 0)
            continue;
        len += (size_t)snprintf(out + len, STATS_JSON_MAX - len, "%s\"%zu\":%llu", comma, s,
                                (unsigned long long)count);
        comma = ",";
    }
    len += (size_t)snprintf(out + len, STATS_JSON_MAX - len, "}}\n");
    CHECK(len < STATS_JSON_MAX);
    return len;
}
