/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes of keys and of endpoints: xxHash (XXH3, 64 bits), the same on every machine, so that all
 * instances of weir send a key to the same endpoint. Not for secrets, nor against somebody who
 * chooses keys to collide. Pure; any thread.
 */
#ifndef WEIR_BALANCER_HASH_H
#define WEIR_BALANCER_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Never 0, which stands for "no key". */
uint64_t lb_hash(const void *bytes, size_t len);

/* Of two numbers, in this order. */
uint64_t lb_hash_pair(uint64_t a, uint64_t b);

/* Another number for each, fast: the finisher of splitmix64. */
static inline uint64_t lb_hash_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Maps a hash onto [0, n): its upper bits decide. */
static inline uint32_t lb_hash_below(uint64_t hash, uint32_t n)
{
    return (uint32_t)((hash >> 32) * n >> 32);
}

#endif
