/* SPDX-License-Identifier: Apache-2.0 */
/* The time of a closed loop: a warm-up, and the stretch in which answers count. */
#ifndef BENCH_LOAD_STRETCH_H
#define BENCH_LOAD_STRETCH_H

#include "bench/load_report.h"

struct stretch {
    uint64_t from_ns, to_ns; /* what is measured */
    bool running;            /* warm-up or measured: whoever has an answer asks again */
    bool measuring;          /* answers count */
};

/* The warm-up begins. */
void stretch_begin(struct stretch *s, struct net *n);

/* Runs to the end of the stretch, or until a signal comes. r gets seconds and CPU time. What *n has
 * counted then is the result: what is drained afterwards is not part of it. */
void stretch_run(struct stretch *s, struct net *n, struct result *r);

/* Notes an answer that has come: returns whether it counts, and ends the stretch when it is over.
 */
bool stretch_counts(struct stretch *s, const struct net *n);

#endif
