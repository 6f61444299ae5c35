/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine behind an endpoint: so many cores of one speed, which either take jobs one after
 * another (first come, first served) or share themselves among all jobs. Its speed may change at
 * any moment; 0 is a pause. Times and work are nanoseconds; work is what a core of speed 1 does in
 * that time. Borrows the jobs. One thread.
 */
#ifndef BENCH_SIM_SERVER_H
#define BENCH_SIM_SERVER_H

#include "bench/sim/heap.h"

#define SIM_NEVER UINT64_MAX

struct sim_job {
    struct sim_node node; /* while it is being worked on */
    struct sim_job *next; /* while it waits */
    uint64_t work;
    void *owner; /* who waits for it; NULL: nobody any more */
};

struct sim_server {
    struct sim_heap running; /* by what `attained` will be when a job is done */
    struct sim_job *head, **tail;
    uint32_t waiting;
    uint32_t cores;
    bool shared; /* the cores are, by all jobs */
    double speed;
    double attained; /* the work that each job which was there all the time has got */
    uint64_t at;     /* ... until then */
};

void sim_server_init(struct sim_server *s, uint32_t cores, bool shared, double speed);
void sim_server_fini(struct sim_server *s);

/* Jobs that are there: being worked on, or waiting. */
uint32_t sim_server_jobs(const struct sim_server *s);

/* A job has come. job->work is set. */
void sim_server_start(struct sim_server *s, struct sim_job *job, uint64_t now);

void sim_server_set_speed(struct sim_server *s, double speed, uint64_t now);

/* When the next job will be done, if nothing changes until then; SIM_NEVER. */
uint64_t sim_server_due(const struct sim_server *s);

/* That moment has come: the job that is done. There must be one. */
struct sim_job *sim_server_done(struct sim_server *s, uint64_t now);

/* Takes out some job, done or not; NULL if there is none. */
struct sim_job *sim_server_evict(struct sim_server *s, uint64_t now);

#endif
