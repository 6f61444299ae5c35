/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot in service: the views that the workers have of it. There is one that is the newest,
 * and as many older ones as have exchanges that began with them. Control thread.
 */
#ifndef WEIR_GENERATION_H
#define WEIR_GENERATION_H

#include "proxy/worker.h"

struct generation {
    uint64_t number;   /* from 1, in the order of being made */
    uint64_t since_us; /* of a monotonic clock: when it was made */
    uint64_t since_s;  /* Unix time of that */
    struct snapshot *snapshot;
    unsigned n_workers;
    struct snapshot_view **views; /* by worker; NULL: the worker has left it */
    struct list_node link;        /* the owner's */
};

/* The next of workers[0..n), whose latest views are those of before (NULL: they have none).
 * sockets: [worker * n_listeners + listener], taken over; -1: that listener stays. NULL with *error
 * set to malloc'd text: it cannot be done, and nothing has changed. Takes a reference of snap. */
struct generation *generation_new(struct worker *workers, unsigned n, struct snapshot *snap,
                                  const struct generation *before, uint64_t number,
                                  const int *sockets, char **error);

/* The workers are to take it: for all new requests. alone: see snapshot_view. */
void generation_start(struct generation *g, struct worker *workers, bool alone);

/* For a share of them (of TRIAL_ALL), beside those of the one that serves; 0: for none any more.
 * trials: two for each worker, for its own and for the others; they are counted in until the next
 * change is taken. */
void generation_try(struct generation *g, struct worker *workers, uint32_t share,
                    struct trial_stats *trials);

/* Have all workers done what was last asked for? */
bool generation_taken(const struct generation *g);

/* Frees the views that were left. Whether none is there any more. */
bool generation_sweep(struct generation *g);

/* Exchanges that began with it and go on. */
uint64_t generation_exchanges(const struct generation *g);

/* Every view was left. */
void generation_free(struct generation *g);

#endif
