/* SPDX-License-Identifier: Apache-2.0 */
/* Waits between failures. Owns nothing; must never wait by itself. Any thread. */
#include "proxy/discovery/backoff.h"

uint64_t backoff_next(struct backoff *b, uint64_t draw)
{
    uint64_t last = b->last_ms > BACKOFF_MIN_MS ? b->last_ms : BACKOFF_MIN_MS;
    uint64_t most = last * 3 < BACKOFF_MAX_MS ? last * 3 : BACKOFF_MAX_MS;
    b->last_ms = BACKOFF_MIN_MS + draw % (most - BACKOFF_MIN_MS + 1);
    return b->last_ms;
}
