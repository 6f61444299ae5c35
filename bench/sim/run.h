/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulation: a scenario under one policy. The same requests come at the same times, with the
 * same keys and the same work, whatever the policy is. One thread.
 */
#ifndef BENCH_SIM_RUN_H
#define BENCH_SIM_RUN_H

#include "balancer/policy.h"
#include "bench/load_hist.h"
#include "bench/sim/scenario.h"
#include "bench/sim/trace.h"

#define SIM_SLICES 100 /* of a run, for what goes on over time */

struct sim_slice {
    uint64_t requests, answered, attempts; /* answered: of these requests */
    double worst_ms;
};

struct sim_result {
    const struct lb_policy *policy;
    uint32_t bound;
    double seconds;      /* simulated, until the last answer */
    struct hist latency; /* ns, of requests that were answered, with all their tries */
    uint64_t requests, answered, attempts; /* after the warm-up, as all that follows */
    double imbalance;  /* requests sent to one endpoint over its weight: max over mean */
    uint32_t busiest;  /* the most that were in flight at one endpoint */
    uint64_t above;    /* times that an endpoint had more in flight than the bound allows */
    uint64_t followed; /* requests whose key had come before */
    uint64_t strayed;  /* ... and were sent elsewhere than that */
    double moved;      /* part of others' keys that move when one endpoint is taken away; -1: the
                          policy has no keys */
    struct sim_slice slices[SIM_SLICES];
};

/* trace: NULL, unless the scenario has one. The scenario has been checked. */
void sim_run(const struct sim_scenario *sc, const struct sim_trace *trace,
             const struct lb_policy *policy, uint32_t bound, struct sim_result *out);

/* sim_result.moved, on a pool of n alike endpoints. */
double sim_keys_moved(const struct lb_policy *policy, uint32_t n);

#endif
