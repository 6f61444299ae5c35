/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All jobs that are being worked on get the same, so what one has got since it came is a difference
 * of one number: nothing has to be changed for each when speed or company changes. No I/O, no
 * clock. One thread.
 */
#include "bench/sim/server.h"

#include <math.h>

#include "proxy/base/check.h"

void sim_server_init(struct sim_server *s, uint32_t cores, bool shared, double speed)
{
    *s = (struct sim_server){.cores = cores, .shared = shared, .speed = speed};
    s->tail = &s->head;
}

void sim_server_fini(struct sim_server *s)
{
    sim_heap_fini(&s->running);
}

uint32_t sim_server_jobs(const struct sim_server *s)
{
    return s->running.count + s->waiting;
}

/* Work that one job gets in a nanosecond. */
static double rate(const struct sim_server *s)
{
    bool crowded = s->running.count > s->cores;
    return crowded ? s->speed * s->cores / s->running.count : s->speed;
}

static void advance(struct sim_server *s, uint64_t now)
{
    s->attained += (double)(now - s->at) * rate(s);
    s->at = now;
}

static void work_on(struct sim_server *s, struct sim_job *job)
{
    sim_heap_set(&s->running, &job->node, (uint64_t)s->attained + job->work);
}

void sim_server_start(struct sim_server *s, struct sim_job *job, uint64_t now)
{
    advance(s, now);
    if (s->shared || s->running.count < s->cores) {
        work_on(s, job);
        return;
    }
    job->next = NULL;
    *s->tail = job;
    s->tail = &job->next;
    s->waiting++;
}

void sim_server_set_speed(struct sim_server *s, double speed, uint64_t now)
{
    advance(s, now);
    s->speed = speed;
}

uint64_t sim_server_due(const struct sim_server *s)
{
    uint64_t end;
    if (sim_heap_top(&s->running, &end) == NULL || s->speed <= 0)
        return SIM_NEVER;
    double left = (double)end - s->attained;
    return s->at + (left > 0 ? (uint64_t)ceil(left / rate(s)) : 0);
}

static struct sim_job *take_waiting(struct sim_server *s)
{
    struct sim_job *job = s->head;
    if (job == NULL)
        return NULL;
    s->head = job->next;
    s->waiting--;
    if (s->head == NULL)
        s->tail = &s->head;
    return job;
}

struct sim_job *sim_server_done(struct sim_server *s, uint64_t now)
{
    uint64_t end = 0;
    struct sim_node *node = sim_heap_top(&s->running, &end);
    CHECK(node != NULL);
    advance(s, now);
    if (s->attained < (double)end)
        s->attained = (double)end; /* what rounding left over */
    sim_heap_remove(&s->running, node);
    struct sim_job *next = take_waiting(s);
    if (next != NULL)
        work_on(s, next);
    return CONTAINER_OF(node, sim_job, node);
}

struct sim_job *sim_server_evict(struct sim_server *s, uint64_t now)
{
    uint64_t end;
    struct sim_node *node = sim_heap_top(&s->running, &end);
    advance(s, now);
    if (node == NULL)
        return take_waiting(s);
    sim_heap_remove(&s->running, node);
    return CONTAINER_OF(node, sim_job, node);
}
