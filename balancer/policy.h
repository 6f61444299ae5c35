/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a policy chooses an endpoint: the vtable, and the view of a pool that it chooses from. A
 * policy is pure: its memory is handed to it, the time is an argument, and it neither allocates
 * nor does I/O, so that the workers, the unit tests and a simulator run the same code. Callers use
 * lb.h; only policies and it read this vtable. A view and a policy's memory belong to one worker.
 */
#ifndef WEIR_BALANCER_POLICY_H
#define WEIR_BALANCER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/group.h"
#include "balancer/tried.h"

#define LB_NONE (-1) /* what a pick returns when there is nobody to pick */
#define LB_FULL (-2) /* ... or only endpoints that have as many requests as they may */

/* How an attempt ended, as far as a policy may care. */
enum lb_outcome {
    LB_OK,             /* a response came, of whatever status but the next three */
    LB_OVERLOADED,     /* 429, or refused for now */
    LB_UNAVAILABLE,    /* 503 */
    LB_ERROR,          /* another 5xx */
    LB_CONNECT_FAILED, /* refused, unreachable, connect timeout: no request was seen by it */
    LB_FAILED,         /* reset, closed early, bad response */
    LB_TIMED_OUT,      /* too slow */
    LB_CANCELLED,      /* we gave it up (client gone, lost a hedge): says nothing of the endpoint */
};

/* A name for logs and tests: "ok", "overloaded", ... */
const char *lb_outcome_name(enum lb_outcome outcome);

/*
 * What a worker sees of a pool. Read-only to policies; written by lb.c only. Health, slow start,
 * zones, priority levels and backups all come down to one number for each endpoint (shares.h):
 * the weight with which it takes part. Only their ratios matter.
 */
struct lb_view {
    const struct lb_group *group;
    struct lb_endpoint *const *endpoints; /* the group's; index in here = index everywhere */
    uint32_t count;
    uint32_t eligible;     /* how many have a weight above 0 */
    uint64_t total_weight; /* of those */
    uint32_t *weights;     /* effective ones, 0..LB_WEIGHT_MAX; 0: not to be picked */
};

/* The weight that i takes part with: 0 if it may not be picked, for whatever cause. */
static inline uint32_t lb_view_share(const struct lb_view *v, uint32_t i)
{
    return v->weights[i];
}

static inline uint32_t lb_view_in_flight(const struct lb_view *v, uint32_t i)
{
    return lb_endpoint_in_flight(v->endpoints[i]);
}

/*
 * A policy. Every slot but table_new, started and finished must be there. `local` is its per-worker
 * memory, zeroed, aligned for any type, freed by lb.h without asking. Times are microseconds of a
 * monotonic clock of the caller's choice.
 */
struct lb_policy {
    const char *name;     /* as in the configuration's balance: */
    bool uses_key;        /* whether pick looks at key; the caller need not make one otherwise */
    const char *score_is; /* what scores are, and which of them wins: for people */

    /* Once for a group, before any worker: what all of them read, in one piece of malloc's, which
       the group frees. */
    void *(*table_new)(const struct lb_group *group);

    /* Bytes of local for a view of count endpoints, whatever their weights become. */
    size_t (*local_size)(uint32_t count);

    /* Once, on zeroed memory, when weights are set. Seeds differ by worker, so
       that workers don't march in step; equal seeds give equal picks. */
    void (*init)(void *local, const struct lb_view *view, uint64_t seed);

    /* Before the next pick after any weight changed (many changes, one call). Keeps
       what it learnt; O(count log count) at most. */
    void (*changed)(void *local, const struct lb_view *view);

    /* An index with a share > 0 that is not in tried, or LB_NONE. Called only when view->eligible
       > 0. key: hash of what should stick to one endpoint, 0 = none; tried: NULL = empty. */
    int32_t (*pick)(void *local, const struct lb_view *view, uint64_t key,
                    const struct lb_tried *tried, uint64_t now_us);

    /* An attempt at i began; in_flight counts it already and is what the shared counter became. */
    void (*started)(void *local, const struct lb_view *view, uint32_t i, uint32_t in_flight,
                    uint64_t now_us);

    /* It ended; in_flight no longer counts it. latency_us: from started to the response's head. */
    void (*finished)(void *local, const struct lb_view *view, uint32_t i, uint32_t in_flight,
                     enum lb_outcome outcome, uint64_t latency_us, uint64_t now_us);

    /* For explaining: what the next pick for the key would compare, of each endpoint; NAN: nothing.
       Changes nothing; may take time in proportion to count. */
    void (*scores)(const void *local, const struct lb_view *view, uint64_t key, uint64_t now_us,
                   double *scores);
};

/* Scores of policies that ask who is less busy: requests in flight over weight. */
void lb_scores_busy(const struct lb_view *view, double *scores);

extern const struct lb_policy lb_round_robin; /* smooth weighted; nginx's order */
extern const struct lb_policy lb_least_conn;  /* least in flight over weight, ties in turn */
extern const struct lb_policy lb_random;      /* by weight */
extern const struct lb_policy lb_p2c;         /* of two by weight, the less busy one */
extern const struct lb_policy lb_peak_ewma;   /* of two by weight, the one that answers sooner */
extern const struct lb_policy lb_ring_hash;   /* by key: the next one clockwise */
extern const struct lb_policy lb_maglev;      /* by key: a table of equal slots */

/* The policy of that name (NUL-terminated, exact), or NULL. */
const struct lb_policy *lb_policy_find(const char *name);

/* The i-th policy, from 0, in the order that help lists them; NULL past the last. */
const struct lb_policy *lb_policy_at(size_t i);

#endif
