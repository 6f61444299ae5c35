/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to wait after a failure: longer and longer, and never in step with others, as each wait
 * is drawn between the shortest and three times the one before ("decorrelated jitter"). Pure: the
 * draw is an argument. One thread.
 */
#ifndef WEIR_DISCOVERY_BACKOFF_H
#define WEIR_DISCOVERY_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MIN_MS 800
#define BACKOFF_MAX_MS 30000

/* All zero: nothing has failed. */
struct backoff {
    uint64_t last_ms;
};

/* It has failed (again): for how long to wait, BACKOFF_MIN_MS to BACKOFF_MAX_MS. draw: 64 uniform
 * bits. */
uint64_t backoff_next(struct backoff *b, uint64_t draw);

/* It has worked. */
static inline void backoff_reset(struct backoff *b)
{
    b->last_ms = 0;
}

#endif
