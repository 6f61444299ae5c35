/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The random numbers of balancing: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
 * number generators", 2014). Eight bytes of state and no shared one, so that each worker draws
 * without contention and a test or a simulation with a seed repeats exactly. Not for secrets. Owns
 * nothing; one generator belongs to one thread.
 */
#ifndef WEIR_BALANCER_RNG_H
#define WEIR_BALANCER_RNG_H

#include <stdint.h>

struct lb_rng {
    uint64_t state;
};

/* Any seed will do, 0 too; the same seed gives the same numbers. */
static inline void lb_rng_seed(struct lb_rng *rng, uint64_t seed)
{
    rng->state = seed;
}

/* 64 uniform bits. */
static inline uint64_t lb_rng_next(struct lb_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/*
 * A number in [0, n), n >= 1. A multiplication in place of a division; the bias is below n / 2^64,
 * which nothing here can notice.
 */
static inline uint64_t lb_rng_below(struct lb_rng *rng, uint64_t n)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)(((wide)lb_rng_next(rng) * n) >> 64);
}

#endif
