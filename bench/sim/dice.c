/* SPDX-License-Identifier: Apache-2.0 */
/* Distributions by inversion. Owns the table of a Zipf distribution; no I/O. One thread. */
#include "bench/sim/dice.h"

#include <math.h>
#include <stdlib.h>

#include "proxy/base/mem.h"

#define PARETO_CUT 10000.0 /* the largest over the smallest */

double sim_dice_unit(struct lb_rng *rng)
{
    return ((double)(lb_rng_next(rng) >> 11) + 0.5) * 0x1p-53;
}

double sim_dice_wait(struct lb_rng *rng)
{
    return -log(sim_dice_unit(rng));
}

/* Box and Muller's, of which one half is thrown away. */
static double normal(struct lb_rng *rng)
{
    double radius = sqrt(-2 * log(sim_dice_unit(rng)));
    return radius * cos(2 * M_PI * sim_dice_unit(rng));
}

static double pareto(struct lb_rng *rng, double alpha)
{
    double kept = 1 - pow(PARETO_CUT, -alpha);
    double mean = alpha / (alpha - 1) * (1 - pow(PARETO_CUT, 1 - alpha)) / kept;
    return pow(1 - sim_dice_unit(rng) * kept, -1 / alpha) / mean;
}

double sim_dice_shape(struct lb_rng *rng, enum sim_shape shape, double tail)
{
    switch (shape) {
    case SIM_CONSTANT:
        return 1;
    case SIM_EXPONENTIAL:
        return sim_dice_wait(rng);
    case SIM_LOGNORMAL:
        return exp(tail * normal(rng) - tail * tail / 2);
    case SIM_PARETO:
        return pareto(rng, tail);
    }
    return 1;
}

void sim_zipf_init(struct sim_zipf *z, uint32_t n, double s)
{
    double sum = 0;
    z->n = n;
    z->until = mem_need(malloc(n * sizeof(*z->until)));
    for (uint32_t k = 0; k < n; k++)
        z->until[k] = sum += pow(k + 1, -s);
    for (uint32_t k = 0; k < n; k++)
        z->until[k] /= sum;
}

void sim_zipf_fini(struct sim_zipf *z)
{
    free(z->until);
    z->until = NULL;
}

uint32_t sim_zipf_draw(const struct sim_zipf *z, struct lb_rng *rng)
{
    double at = sim_dice_unit(rng);
    uint32_t low = 0, high = z->n - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (z->until[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
