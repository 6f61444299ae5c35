/* SPDX-License-Identifier: Apache-2.0 */
/* The schedule: pure arithmetic, no clock of its own, no I/O; any thread. */
#include "bench/load_schedule.h"

#include <math.h>

struct schedule schedule_at(uint64_t start_ns, double per_second)
{
    return (struct schedule){.start_ns = start_ns, .interval_ns = 1e9 / per_second};
}

uint64_t schedule_due(const struct schedule *s, uint64_t i)
{
    return s->start_ns + (uint64_t)((double)i * s->interval_ns);
}

uint64_t schedule_count(const struct schedule *s, uint64_t ns)
{
    return (uint64_t)llround((double)ns / s->interval_ns);
}

/* At each place comes the kind that is furthest behind its share. */
void schedule_mix(const unsigned *weights, unsigned n, uint8_t *order)
{
    unsigned total = 0;

    for (unsigned k = 0; k < n; k++)
        total += weights[k];
    for (unsigned at = 0; at < total; at++) {
        unsigned best = 0;
        int64_t best_behind = INT64_MIN;
        for (unsigned k = 0; k < n; k++) {
            int64_t had = 0;
            for (unsigned j = 0; j < at; j++)
                had += order[j] == k;
            int64_t behind = (int64_t)weights[k] * (at + 1) - had * (int64_t)total;
            if (behind > best_behind) {
                best_behind = behind;
                best = k;
            }
        }
        order[at] = (uint8_t)best;
    }
}
