/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is simulated: a flat list of settings, from a YAML file and from name=value words. Each is
 * a row of one table, which parses, checks and documents it. One thread.
 */
#ifndef BENCH_SIM_SCENARIO_H
#define BENCH_SIM_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/sim/dice.h"

enum sim_death {
    SIM_REFUSE, /* no connection */
    SIM_HANG,   /* no answer, ever */
    SIM_ERROR,  /* 503 at once */
};

/* Numbers that count are doubles too, so that one kind of row will do; the table keeps them whole
 * and within their range. Parts are 0..1 of the run. */
struct sim_scenario {
    /* the endpoints */
    double endpoints, cores, queue, speeds, drift_s;
    uint32_t sharing, weighted; /* 0 or 1 */
    /* the proxies */
    double instances, workers, slow_start_s;
    /* the load */
    double requests, load, warmup, service_ms, tail, keys, zipf;
    uint32_t service; /* enum sim_shape */
    uint32_t trace_key;
    char trace[256];
    /* what goes wrong */
    double slow, slow_by, slow_from, slow_until;
    double gc_every_s, gc_ms;
    double dead, dead_from, dead_until, notice_s, fail_ms;
    uint32_t dead_how; /* enum sim_death */
    double added, added_at, cold_by, cold_s;
    /* what is done about it */
    double retries, timeout_ms, backoff_ms, budget, budget_min;
    double seed;
};

/* The table's defaults. */
void sim_scenario_init(struct sim_scenario *sc);

/* name=value. False with a message in err. */
bool sim_scenario_set(struct sim_scenario *sc, const char *name, const char *value, char *err,
                      size_t err_len);

/* A flat YAML mapping. False with a message, which begins with file and line, in err. */
bool sim_scenario_load(struct sim_scenario *sc, const char *path, char *err, size_t err_len);

/* Whether settings fit together. False with a message in err. */
bool sim_scenario_check(const struct sim_scenario *sc, char *err, size_t err_len);

/* How many endpoints a setting such as slow or dead is. */
uint32_t sim_scenario_some(const struct sim_scenario *sc, double some);

/* Every setting with its default and what it is. */
void sim_scenario_help(FILE *out);

#endif
