/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers of the distributions that a simulation needs, out of a generator with a seed.
 * One thread.
 */
#ifndef BENCH_SIM_DICE_H
#define BENCH_SIM_DICE_H

#include <stdint.h>

#include "balancer/rng.h"

/* What a request's work is like; each has the mean 1. */
enum sim_shape {
    SIM_CONSTANT,
    SIM_EXPONENTIAL,
    SIM_LOGNORMAL, /* tail: sigma of the logarithm */
    SIM_PARETO,    /* tail: alpha, above 1; cut at 10,000 times the smallest */
};

/* Above 0 and below 1. */
double sim_dice_unit(struct lb_rng *rng);

/* Exponential of mean 1. */
double sim_dice_wait(struct lb_rng *rng);

double sim_dice_shape(struct lb_rng *rng, enum sim_shape shape, double tail);

/* Keys 0..n of a Zipf distribution: the k-th is asked for in proportion to 1 / (k + 1)^s. */
struct sim_zipf {
    uint32_t n;
    double *until; /* [n]: the probability of all keys up to this one */
};

void sim_zipf_init(struct sim_zipf *z, uint32_t n, double s);
void sim_zipf_fini(struct sim_zipf *z);
uint32_t sim_zipf_draw(const struct sim_zipf *z, struct lb_rng *rng);

#endif
