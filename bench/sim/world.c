/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a simulation and takes it down. Owns all memory of it. One thread. */
#include "bench/sim/world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/hash.h"
#include "proxy/base/mem.h"

#define WEIGHT_OF_ONE 100 /* of a speed of 1, where weights are as speeds */

/* Streams of random numbers of their own, so that what a policy does to one shifts no other. */
static void seed_all(struct sim *sim)
{
    struct lb_rng *const all[] = {&sim->arrivals, &sim->works,  &sim->keys,    &sim->places,
                                  &sim->pauses,   &sim->speeds, &sim->backoffs};
    for (uint64_t i = 0; i < ARRAY_LEN(all); i++)
        lb_rng_seed(all[i], lb_hash_pair((uint64_t)sim->sc->seed, i + 1));
}

/* Log-uniform from 1 / sqrt(speeds) to sqrt(speeds). */
static double draw_speed(struct sim *sim)
{
    return pow(sim->sc->speeds, sim_dice_unit(&sim->speeds) - 0.5);
}

static void box_init(struct sim *sim, struct sim_box *box)
{
    const struct sim_scenario *sc = sim->sc;
    *box = (struct sim_box){.base = draw_speed(sim), .slowed = 1, .cold = 1, .weight = 1};
    if (sc->weighted)
        box->weight = (uint32_t)lround(fmax(1, WEIGHT_OF_ONE * box->base));
    sim_server_init(&box->server, (uint32_t)sc->cores, sc->sharing, box->base);
    box->done.fire = sim_job_done;
}

static void instance_init(struct sim *sim, struct sim_instance *in, uint32_t number,
                          const struct lb_policy *policy, uint32_t bound)
{
    const struct sim_scenario *sc = sim->sc;
    uint32_t n = sim->count, workers = (uint32_t)sc->workers;
    struct lb_options options = {.bound = bound,
                                 .slow_start_us = (uint64_t)(sc->slow_start_s * 1e6)};
    struct lb_budget_rule rule = lb_budget_default();
    struct lb_endpoint **list = mem_need(malloc(n * sizeof(struct lb_endpoint *)));
    in->endpoints = mem_need(aligned_alloc(LB_CACHE_LINE, n * sizeof(*in->endpoints)));
    for (uint32_t i = 0; i < n; i++) {
        lb_endpoint_init(&in->endpoints[i], lb_hash_pair(i, 0), i, sim->boxes[i].weight);
        list[i] = &in->endpoints[i];
    }
    in->group = lb_group_new(policy, &options, list, n);
    free(list);
    in->workers = mem_need(calloc(workers, sizeof(struct lb *)));
    for (uint32_t w = 0; w < workers; w++)
        in->workers[w] = lb_new(in->group, lb_hash_pair((uint64_t)sc->seed, number * workers + w));
    rule.percent = (uint32_t)sc->budget;
    rule.min_rate = (uint32_t)sc->budget_min;
    in->budget = lb_budget_new(&rule, workers);
}

static void instance_fini(struct sim *sim, struct sim_instance *in)
{
    for (uint32_t w = 0; w < (uint32_t)sim->sc->workers; w++)
        lb_free(in->workers[w]);
    free(in->workers);
    lb_budget_free(in->budget);
    lb_group_free(in->group);
    free(in->endpoints);
}

/* How far apart requests come, and for how long. */
static void load_init(struct sim *sim)
{
    const struct sim_scenario *sc = sim->sc;
    double speed = 0;
    for (uint32_t i = 0; i < sim->count; i++)
        speed += sim->boxes[i].base;
    sim->mean_gap = sc->service_ms * 1e6 / (sc->load * speed * sc->cores);
    sim->length = sim->trace != NULL ? sim->trace->requests[sim->trace->count - 1].at + 1
                                     : (uint64_t)(sim->mean_gap * sc->requests) + 1;
}

static void keys_init(struct sim *sim)
{
    size_t keys = sim->trace != NULL ? sim->trace->keys : (size_t)sim->sc->keys;
    if (keys == 0)
        return;
    sim->homes = mem_need(calloc(keys, sizeof(*sim->homes)));
    if (sim->trace == NULL)
        sim_zipf_init(&sim->zipf, (uint32_t)keys, sim->sc->zipf);
}

void sim_world_init(struct sim *sim, const struct sim_scenario *sc, const struct sim_trace *trace,
                    const struct lb_policy *policy, uint32_t bound, struct sim_result *out)
{
    uint32_t instances = (uint32_t)sc->instances;
    *sim = (struct sim){.sc = sc, .trace = trace, .out = out, .count = (uint32_t)sc->endpoints};
    sim->workers = (uint64_t)(sc->instances * sc->workers);
    seed_all(sim);
    sim->boxes = mem_need(calloc(sim->count, sizeof(*sim->boxes)));
    for (uint32_t i = 0; i < sim->count; i++)
        box_init(sim, &sim->boxes[i]);
    load_init(sim);
    keys_init(sim);
    sim->instances = mem_need(calloc(instances, sizeof(*sim->instances)));
    for (uint32_t i = 0; i < instances; i++)
        instance_init(sim, &sim->instances[i], i, policy, bound);
    sim_trouble_init(sim);
}

void sim_world_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < (uint32_t)sim->sc->instances; i++)
        instance_fini(sim, &sim->instances[i]);
    free(sim->instances);
    for (uint32_t i = 0; i < sim->count; i++)
        sim_server_fini(&sim->boxes[i].server);
    free(sim->boxes);
    free(sim->homes);
    sim_zipf_fini(&sim->zipf);
    sim_heap_fini(&sim->timers);
    while (sim->blocks != NULL) {
        void *next = *(void **)sim->blocks;
        free(sim->blocks);
        sim->blocks = next;
    }
}

void sim_box_reschedule(struct sim *sim, struct sim_box *box)
{
    uint64_t due = sim_server_due(&box->server);
    if (due == SIM_NEVER)
        sim_heap_remove(&sim->timers, &box->done.node);
    else
        sim_at(sim, &box->done, due);
}
