/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulation's state: the endpoints' machines, what each instance of weir knows of them, and the
 * queue of what happens when. world.c makes it; trouble.c changes speeds, kills and adds; run.c has
 * the requests. One thread.
 */
#ifndef BENCH_SIM_WORLD_H
#define BENCH_SIM_WORLD_H

#include "balancer/budget.h"
#include "balancer/lb.h"
#include "bench/sim/run.h"
#include "bench/sim/server.h"

#define SIM_TROUBLES 8

struct sim;

/* Something that happens at a time. Embedded; the node comes first. */
struct sim_timer {
    struct sim_node node;
    void (*fire)(struct sim *sim, struct sim_timer *timer);
};

/* A machine. Several instances of weir may send requests to it. */
struct sim_box {
    struct sim_timer done;  /* of its next job */
    struct sim_timer pause; /* the next one's begin or end */
    struct sim_server server;
    double base, slowed, cold; /* its speed is base / slowed / cold, or 0 while it pauses */
    bool paused, dead;
    uint32_t weight;
    uint32_t in_flight; /* of all instances */
    uint64_t sent;      /* after the warm-up */
};

/* An instance of weir: what its workers share, and they. */
struct sim_instance {
    struct lb_endpoint *endpoints;
    struct lb_group *group;
    struct lb **workers;
    struct lb_budget *budget;
};

struct sim {
    const struct sim_scenario *sc;
    const struct sim_trace *trace;
    struct sim_result *out;
    struct sim_heap timers;
    uint64_t now;    /* ns */
    uint64_t length; /* ns from the first request to the last, about */
    uint32_t count;  /* of boxes */
    struct sim_box *boxes;
    struct sim_instance *instances;
    uint64_t workers; /* of all instances */

    struct lb_rng arrivals, works, keys, places, pauses, speeds, backoffs;
    struct sim_zipf zipf;
    uint32_t *homes; /* [keys]: the endpoint of that key's last request, plus one */

    struct sim_timer arrival, drift;
    struct sim_timer trouble[SIM_TROUBLES]; /* what happens once; trouble.c's */
    uint64_t coming;                        /* requests that have come */
    double mean_gap;                        /* ns between two */
    uint64_t pending;                       /* requests that are neither answered nor given up */
    void *free_requests, *free_jobs;
    void *blocks; /* what those are made of */
};

/* Everything but requests. lb_new and so on with the policy. */
void sim_world_init(struct sim *sim, const struct sim_scenario *sc, const struct sim_trace *trace,
                    const struct lb_policy *policy, uint32_t bound, struct sim_result *out);
void sim_world_fini(struct sim *sim);

/* The worker of that number, counted over all instances. */
static inline struct sim_instance *sim_instance_of(const struct sim *sim, uint32_t worker)
{
    return &sim->instances[worker / (uint32_t)sim->sc->workers];
}

static inline uint32_t sim_worker_in(const struct sim *sim, uint32_t worker)
{
    return worker % (uint32_t)sim->sc->workers;
}

static inline uint64_t sim_now_us(const struct sim *sim)
{
    return sim->now / 1000 + 1; /* 0 is "long ago" to some */
}

static inline void sim_at(struct sim *sim, struct sim_timer *timer, uint64_t ns)
{
    sim_heap_set(&sim->timers, &timer->node, ns);
}

static inline void sim_after(struct sim *sim, struct sim_timer *timer, double ms)
{
    sim_at(sim, timer, sim->now + (uint64_t)(ms * 1e6));
}

/* Its server or speed has changed: when its next job will be done. */
void sim_box_reschedule(struct sim *sim, struct sim_box *box);

/* run.c: a job of an endpoint is done; all of them have died with it. */
void sim_job_done(struct sim *sim, struct sim_timer *timer);
void sim_box_died(struct sim *sim, struct sim_box *box);

/* trouble.c: sets up everything that is to happen. */
void sim_trouble_init(struct sim *sim);

#endif
