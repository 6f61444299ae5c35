/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of a canary: by how much its requests may be worse than those of the configuration that
 * serves. Pure: no clock, no I/O, no memory of its own.
 *
 *   5xx<+1%   answers of 5xx: at most one in a hundred more than beside it
 *   5xx<2%    ... of all of its own
 *   p99<+20%  how long 99 of 100 answers take to begin: at most a fifth longer than beside it
 *   p99<300ms ... in any case; p50 and p90 likewise
 *
 * While it runs, a rule is broken when that is hardly chance; at its end, by what was seen.
 */
#ifndef WEIR_GUARD_H
#define WEIR_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/span.h"

#define GUARD_RULES   8
#define GUARD_BUCKETS 256 /* eight for each power of two: up to 2^32 us, an hour */
#define GUARD_LEAST   5   /* requests that it takes to judge */
#define GUARD_TEXT    192

struct guard_rule {
    uint8_t percent; /* which of the latencies: 50, 90, 99; 0: answers of 5xx */
    bool relative;   /* to what is beside it */
    double most;     /* 5xx: a part of all. Latencies: relative: a part of the other, else us */
};

struct guard {
    struct guard_rule rules[GUARD_RULES];
    unsigned n; /* 0: nothing is looked at */
};

/* What came of requests. */
struct guard_seen {
    uint64_t requests, errors; /* the second: of 5xx */
    uint64_t buckets[GUARD_BUCKETS];
};

/* "5xx<+1%,p99<+20%". False with what is wrong in why. */
bool guard_parse(struct span text, struct guard *guard, char why[GUARD_TEXT]);

/* Whether a rule is broken, and by what. last: no more will be seen. */
bool guard_broken(const struct guard *guard, const struct guard_seen *canary,
                  const struct guard_seen *beside, bool last, char why[GUARD_TEXT]);

/* Where a latency is counted, and the largest that is counted there. */
unsigned guard_bucket(uint64_t us);
uint64_t guard_bucket_us(unsigned bucket);

/* What so many percent of the requests did not take longer than; 0: there was none. */
uint64_t guard_quantile_us(const struct guard_seen *seen, unsigned percent);

#endif
