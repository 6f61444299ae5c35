/* SPDX-License-Identifier: Apache-2.0 */
/* The greatest common divisor, by which weights and cycles are brought to their lowest terms. Pure.
 */
#ifndef WEIR_BALANCER_GCD_H
#define WEIR_BALANCER_GCD_H

#include <stdint.h>

/* Of 0 and n it is n. */
static inline uint64_t lb_gcd(uint64_t a, uint64_t b)
{
    while (b > 0) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

#endif
