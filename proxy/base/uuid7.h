/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUID version 7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, then 74 random bits.
 *
 * One generator a thread. Its identifiers are strictly increasing, within a millisecond too
 * (section 6.2, method 2: the random bits grow by a random step). The random bits come from a fast
 * generator that is seeded once from the kernel: unique, but not secret. No system call an
 * identifier.
 */
#ifndef WEIR_BASE_UUID7_H
#define WEIR_BASE_UUID7_H

#include <stdbool.h>
#include <stdint.h>

#define UUID7_LEN 36

struct uuid7 {
    uint64_t state[4]; /* xoshiro256** */
    uint64_t last_ms;
    uint64_t high; /* the 12 bits after the version */
    uint64_t low;  /* the 62 bits after the variant */
};

/* Seeds from getrandom(2). False with errno set if the kernel gives no randomness. */
bool uuid7_init(struct uuid7 *gen);

/*
 * Writes the 36 characters of the next identifier, lower case, without a NUL. A clock that steps
 * back by up to 10 s does not break the order; after a larger step the order starts anew.
 */
void uuid7_format(struct uuid7 *gen, uint64_t unix_ms, char out[UUID7_LEN]);

#endif
