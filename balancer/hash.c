/* SPDX-License-Identifier: Apache-2.0 */
/* xxHash, compiled in: its header is its library. Owns nothing; any thread. */
#include "balancer/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t lb_hash(const void *bytes, size_t len)
{
    uint64_t hash = XXH3_64bits(bytes, len);
    return hash != 0 ? hash : 1;
}

/* As little-endian bytes, wherever it runs. */
static void put(unsigned char *to, uint64_t n)
{
    for (int k = 0; k < 8; k++)
        to[k] = (unsigned char)(n >> 8 * k);
}

uint64_t lb_hash_pair(uint64_t a, uint64_t b)
{
    unsigned char bytes[16];
    put(bytes, a);
    put(bytes + 8, b);
    return XXH3_64bits(bytes, sizeof(bytes));
}
