/* SPDX-License-Identifier: Apache-2.0 */
/* When the requests of an open loop are due, and which kind of a mix comes when. */
#ifndef BENCH_LOAD_SCHEDULE_H
#define BENCH_LOAD_SCHEDULE_H

#include <stdint.h>

struct schedule {
    uint64_t start_ns;
    double interval_ns;
};

struct schedule schedule_at(uint64_t start_ns, double per_second);

/* When request `i` is due. Computed from i each time, so that no rounding adds up. */
uint64_t schedule_due(const struct schedule *s, uint64_t i);

/* How many requests are due in a stretch of so many nanoseconds. */
uint64_t schedule_count(const struct schedule *s, uint64_t ns);

/* Fills order[0..sum of the weights) with the indexes of the weights, each as often as its weight
 * says and as evenly spread as can be. */
void schedule_mix(const unsigned *weights, unsigned n, uint8_t *order);

#endif
