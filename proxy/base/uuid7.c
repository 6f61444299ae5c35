/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDv7. Owns the layout of the bits and the order of what one generator hands out; must never
 * make a system call after uuid7_init. Each generator belongs to one thread.
 */
#include "proxy/base/uuid7.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define HIGH_BITS    12
#define LOW_BITS     62
#define ROLLBACK_MS  10000
#define MASK(n_bits) ((UINT64_C(1) << (n_bits)) - 1)

bool uuid7_init(struct uuid7 *gen)
{
    ssize_t n;
    memset(gen, 0, sizeof *gen);
    do
        n = getrandom(gen->state, sizeof gen->state, 0);
    while (n < 0 && errno == EINTR);
    /* Up to 256 bytes come whole. The all-zero state is the one that xoshiro never leaves. */
    gen->state[0] |= 1;
    return n == (ssize_t)sizeof gen->state;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* xoshiro256** 1.0 by David Blackman and Sebastiano Vigna, public domain. */
static uint64_t next_random(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* A new millisecond. The top bit stays clear as room for the steps within it. */
static void start_ms(struct uuid7 *gen, uint64_t unix_ms)
{
    gen->last_ms = unix_ms;
    gen->high = next_random(gen->state) >> (64 - (HIGH_BITS - 1));
    gen->low = next_random(gen->state) & MASK(LOW_BITS);
}

/* Another one of the same millisecond: a random step upwards. */
static void step(struct uuid7 *gen)
{
    gen->low += (next_random(gen->state) >> 32) + 1;
    if (gen->low <= MASK(LOW_BITS))
        return;
    gen->low &= MASK(LOW_BITS);
    if (++gen->high > MASK(HIGH_BITS))
        start_ms(gen, gen->last_ms + 1);
}

/* Two digits for each value of a byte. */
#define HEX_1(d) \
    d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7" d "8" d "9" d "a" d "b" d "c" d "d" d "e" d "f"
static const char hex_pairs[] =
    HEX_1("0") HEX_1("1") HEX_1("2") HEX_1("3") HEX_1("4") HEX_1("5") HEX_1("6") HEX_1("7")
        HEX_1("8") HEX_1("9") HEX_1("a") HEX_1("b") HEX_1("c") HEX_1("d") HEX_1("e") HEX_1("f");

/* For each request: without a loop, as every caller knows how many there are. */
static inline __attribute__((always_inline)) char *put_hex(char *out, uint64_t v, unsigned digits)
{
#pragma GCC unroll 6
    for (unsigned i = digits / 2; i-- > 0; out += 2)
        memcpy(out, hex_pairs + 2 * (v >> (8 * i) & 255), 2);
    return out;
}

void uuid7_format(struct uuid7 *gen, uint64_t unix_ms, char out[UUID7_LEN])
{
    if (unix_ms > gen->last_ms || unix_ms + ROLLBACK_MS < gen->last_ms)
        start_ms(gen, unix_ms);
    else
        step(gen);
    uint64_t variant = UINT64_C(2) << LOW_BITS | gen->low;
    out = put_hex(out, gen->last_ms >> 16, 8);
    *out++ = '-';
    out = put_hex(out, gen->last_ms, 4);
    *out++ = '-';
    out = put_hex(out, UINT64_C(7) << HIGH_BITS | gen->high, 4);
    *out++ = '-';
    out = put_hex(out, variant >> 48, 4);
    *out++ = '-';
    put_hex(out, variant, 12);
}
