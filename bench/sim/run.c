/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of a simulation: they come, are sent by the policy, are answered or fail, and are
 * tried again within the budget. Owns requests and jobs. No I/O, no clock. One thread.
 */
#include "bench/sim/run.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/hash.h"
#include "bench/sim/world.h"
#include "proxy/base/mem.h"

#define BLOCK 256 /* objects that are allocated at once */

enum state {
    WAITS,  /* for its answer, or until its timer says that it waited too long */
    FAILS,  /* its timer says when that comes out */
    PAUSES, /* before its next try */
};

struct request {
    struct sim_timer timer;
    enum state state;
    enum lb_outcome outcome; /* while it fails */
    uint32_t worker;
    uint32_t attempts;
    uint32_t endpoint; /* of the last try */
    uint32_t slice;
    bool counted;
    uint32_t number_of_key; /* of all that there are */
    uint64_t key;
    uint64_t work;
    uint64_t came, sent; /* ns */
    struct sim_job *job;
    struct lb_lease lease;
    struct lb_tried tried;
};

/* ---- memory: free lists, in blocks that the world frees ---- */

static void *take(struct sim *sim, void **list, size_t size)
{
    if (*list == NULL) {
        char *block = mem_need(calloc(1, sizeof(max_align_t) + BLOCK * size));
        *(void **)block = sim->blocks;
        sim->blocks = block;
        for (size_t i = 0; i < BLOCK; i++) {
            void **item = (void **)(block + sizeof(max_align_t) + i * size);
            *item = *list;
            *list = item;
        }
    }
    void *item = *list;
    *list = *(void **)item;
    memset(item, 0, size);
    return item;
}

static void give(void **list, void *item)
{
    *(void **)item = *list;
    *list = item;
}

/* ---- the end of requests and tries ---- */

static void request_end(struct sim *sim, struct request *r, bool answered)
{
    struct sim_slice *slice = &sim->out->slices[r->slice];
    double ms = (double)(sim->now - r->came) / 1e6;
    sim_heap_remove(&sim->timers, &r->timer.node);
    slice->requests++;
    slice->answered += answered;
    if (answered && ms > slice->worst_ms)
        slice->worst_ms = ms;
    if (r->counted) {
        sim->out->requests++;
        sim->out->answered += answered;
        sim->out->attempts += r->attempts;
        if (answered)
            hist_add(&sim->out->latency, sim->now - r->came);
    }
    sim->pending--;
    give(&sim->free_requests, r);
}

static void try_end(struct sim *sim, struct request *r, enum lb_outcome outcome)
{
    sim->boxes[r->endpoint].in_flight--;
    lb_finished(&r->lease, outcome, (sim->now - r->sent) / 1000, sim_now_us(sim));
    if (r->job != NULL)
        r->job->owner = NULL; /* the endpoint does not know, and works on */
    r->job = NULL;
}

static bool may_retry(struct sim *sim, const struct request *r)
{
    const struct sim_scenario *sc = sim->sc;
    if (r->attempts > (uint32_t)sc->retries)
        return false;
    return sc->budget >= 100 || lb_budget_retry(sim_instance_of(sim, r->worker)->budget,
                                                sim_worker_in(sim, r->worker), sim_now_us(sim));
}

static void try_failed(struct sim *sim, struct request *r, enum lb_outcome outcome)
{
    try_end(sim, r, outcome);
    if (!may_retry(sim, r)) {
        request_end(sim, r, false);
        return;
    }
    double most = sim->sc->backoff_ms * (double)(1u << (r->attempts - 1));
    lb_tried_add(&r->tried, r->endpoint);
    r->state = PAUSES;
    sim_after(sim, &r->timer, most * sim_dice_unit(&sim->backoffs));
}

/* ---- tries ---- */

static void fails_soon(struct sim *sim, struct request *r, enum lb_outcome outcome)
{
    r->state = FAILS;
    r->outcome = outcome;
    sim_after(sim, &r->timer, sim->sc->fail_ms);
}

static void give_job(struct sim *sim, struct request *r, struct sim_box *box)
{
    struct sim_job *job = take(sim, &sim->free_jobs, sizeof(*job));
    job->work = r->work;
    job->owner = r;
    r->job = job;
    sim_server_start(&box->server, job, sim->now);
    sim_box_reschedule(sim, box);
}

static void arrive(struct sim *sim, struct request *r, struct sim_box *box)
{
    const struct sim_scenario *sc = sim->sc;
    uint32_t full = (uint32_t)(sc->cores + sc->queue);
    bool hangs = box->dead && sc->dead_how == SIM_HANG;
    r->state = WAITS;
    if (box->dead && !hangs) {
        fails_soon(sim, r, sc->dead_how == SIM_ERROR ? LB_OVERLOADED : LB_CONNECT_FAILED);
        return;
    }
    if (sc->queue > 0 && sim_server_jobs(&box->server) >= full) {
        fails_soon(sim, r, LB_OVERLOADED);
        return;
    }
    if (!hangs)
        give_job(sim, r, box);
    if (sc->timeout_ms > 0)
        sim_after(sim, &r->timer, sc->timeout_ms);
}

/* More in flight than the bound allows: ceil(bound * all * its part). */
static bool above_bound(uint32_t bound, const struct lb_view *v, uint32_t i)
{
    uint64_t all = atomic_load_explicit(&v->group->in_flight, memory_order_relaxed);
    uint64_t whole = 100 * v->total_weight;
    uint64_t most = (all * bound * v->weights[i] + whole - 1) / whole;
    return lb_view_in_flight(v, i) > most;
}

static void count_try(struct sim *sim, const struct request *r, struct sim_box *box)
{
    struct sim_result *out = sim->out;
    out->slices[r->slice].attempts++;
    if (++box->in_flight > out->busiest && r->counted)
        out->busiest = box->in_flight;
    box->sent += r->counted;
    if (out->bound > 0 && above_bound(out->bound, lb_view_of(r->lease.lb), r->endpoint))
        out->above++;
    if (sim->homes == NULL || r->attempts > 1)
        return;
    uint32_t *home = &sim->homes[r->number_of_key];
    if (*home != 0 && r->counted) {
        out->followed++;
        out->strayed += *home != r->endpoint + 1;
    }
    *home = r->endpoint + 1;
}

static void try_again(struct sim *sim, struct request *r)
{
    struct lb *lb = sim_instance_of(sim, r->worker)->workers[sim_worker_in(sim, r->worker)];
    int32_t i = lb_pick(lb, r->key, lb_tried_empty(&r->tried) ? NULL : &r->tried, sim_now_us(sim));
    if (i == LB_NONE && !lb_tried_empty(&r->tried)) {
        lb_tried_clear(&r->tried);
        i = lb_pick(lb, r->key, NULL, sim_now_us(sim));
    }
    if (i == LB_NONE) {
        request_end(sim, r, false);
        return;
    }
    struct sim_box *box = &sim->boxes[i];
    r->endpoint = (uint32_t)i;
    r->attempts++;
    r->sent = sim->now;
    lb_started(lb, &r->lease, r->endpoint, sim_now_us(sim));
    count_try(sim, r, box);
    arrive(sim, r, box);
}

static void request_timer(struct sim *sim, struct sim_timer *timer)
{
    struct request *r = CONTAINER_OF(timer, request, timer);
    switch (r->state) {
    case WAITS:
        try_failed(sim, r, LB_TIMED_OUT);
        break;
    case FAILS:
        try_failed(sim, r, r->outcome);
        break;
    case PAUSES:
        try_again(sim, r);
        break;
    }
}

/* ---- what endpoints do ---- */

void sim_job_done(struct sim *sim, struct sim_timer *timer)
{
    struct sim_box *box = CONTAINER_OF(timer, sim_box, done);
    struct sim_job *job = sim_server_done(&box->server, sim->now);
    struct request *r = job->owner;
    if (r != NULL) {
        try_end(sim, r, LB_OK);
        request_end(sim, r, true);
    }
    give(&sim->free_jobs, job);
    sim_box_reschedule(sim, box);
}

void sim_box_died(struct sim *sim, struct sim_box *box)
{
    struct sim_job *job;
    bool hangs = sim->sc->dead_how == SIM_HANG;
    while ((job = sim_server_evict(&box->server, sim->now)) != NULL) {
        struct request *r = job->owner;
        if (r != NULL)
            r->job = NULL;
        if (r != NULL && !hangs)
            try_failed(sim, r, LB_FAILED);
        give(&sim->free_jobs, job);
    }
}

/* ---- arrivals ---- */

static void draw(struct sim *sim, struct request *r)
{
    const struct sim_scenario *sc = sim->sc;
    if (sim->trace != NULL) {
        const struct sim_trace_request *from = &sim->trace->requests[sim->coming];
        r->key = from->key;
        r->number_of_key = from->number_of_key;
        r->work = from->work;
        return;
    }
    r->work = (uint64_t)(sc->service_ms * 1e6 * sim_dice_shape(&sim->works, sc->service, sc->tail));
    if (sc->keys > 0)
        r->number_of_key = sim_zipf_draw(&sim->zipf, &sim->keys);
    r->key = lb_hash_pair(sc->keys > 0 ? r->number_of_key : sim->coming, 1);
}

static uint64_t requests_of(const struct sim *sim)
{
    return sim->trace != NULL ? sim->trace->count : (uint64_t)sim->sc->requests;
}

static void arrival_next(struct sim *sim)
{
    if (sim->coming == requests_of(sim))
        return;
    if (sim->trace != NULL)
        sim_at(sim, &sim->arrival, sim->trace->requests[sim->coming].at);
    else
        sim_at(sim, &sim->arrival,
               sim->now + (uint64_t)(sim->mean_gap * sim_dice_wait(&sim->arrivals)));
}

static void arrival(struct sim *sim, struct sim_timer *timer)
{
    struct request *r = take(sim, &sim->free_requests, sizeof(*r));
    uint64_t n = requests_of(sim);
    (void)timer;
    r->timer.fire = request_timer;
    r->came = sim->now;
    r->worker = (uint32_t)lb_rng_below(&sim->places, sim->workers);
    r->counted = (double)sim->coming >= sim->sc->warmup * (double)n;
    r->slice = (uint32_t)(sim->coming * SIM_SLICES / n);
    draw(sim, r);
    sim->coming++;
    sim->pending++;
    lb_budget_request(sim_instance_of(sim, r->worker)->budget, sim_worker_in(sim, r->worker),
                      sim_now_us(sim));
    try_again(sim, r);
    arrival_next(sim);
}

/* ---- a run ---- */

static double imbalance_of(const struct sim *sim)
{
    double most = 0, sent = 0, weight = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        const struct sim_box *box = &sim->boxes[i];
        double here = (double)box->sent / box->weight;
        most = here > most ? here : most;
        sent += (double)box->sent;
        weight += box->weight;
    }
    return sent > 0 ? most / (sent / weight) : 0;
}

static void play(struct sim *sim)
{
    sim->arrival.fire = arrival;
    arrival_next(sim);
    while (sim->pending > 0 || sim_node_in(&sim->arrival.node)) {
        uint64_t at = 0;
        struct sim_node *node = sim_heap_top(&sim->timers, &at);
        CHECK(node != NULL && at >= sim->now);
        sim->now = at;
        sim_heap_remove(&sim->timers, node);
        struct sim_timer *timer = CONTAINER_OF(node, sim_timer, node);
        timer->fire(sim, timer);
    }
}

void sim_run(const struct sim_scenario *sc, const struct sim_trace *trace,
             const struct lb_policy *policy, uint32_t bound, struct sim_result *out)
{
    struct sim sim;
    *out = (struct sim_result){.policy = policy, .bound = bound};
    hist_init(&out->latency);
    sim_world_init(&sim, sc, trace, policy, bound, out);
    play(&sim);
    out->seconds = (double)sim.now / 1e9;
    out->imbalance = imbalance_of(&sim);
    out->moved = sim_keys_moved(policy, sim.count);
    sim_world_fini(&sim);
}
