/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration on trial: how long, for which share of the new requests, what they came to beside
 * those of the configuration that serves, and whether its guard holds. Who makes the workers do so
 * is the owner (control.c). Control thread.
 */
#ifndef WEIR_CANARY_H
#define WEIR_CANARY_H

#include <uv.h>

#include "proxy/trial.h"

#define CANARY_MS_MAX (UINT64_C(24) * 3600 * 1000)

/* What is asked for. */
struct canary_ask {
    uint32_t share;  /* of TRIAL_ALL, which it is less than; 0: no canary */
    uint64_t for_ms; /* at most CANARY_MS_MAX */
    struct guard guard;
};

/* Texts such as "5%", "30s" and "5xx<+1%". False with what is wrong in why; guard may be NULL. */
bool canary_parse(const char *share, const char *time, const char *guard, struct canary_ask *to,
                  char why[GUARD_TEXT]);

struct canary;

struct canary_owner {
    /* May it pass now that its time is over? Else it goes on until it may. */
    bool (*may_pass)(void *ctx);
    /* Told once, from the loop: NULL, it has passed; or what is broken. */
    void (*decided)(void *ctx, const char *broken);
    void *ctx;
};

/* Never NULL. */
struct canary *canary_new(uv_loop_t *loop, const struct canary_ask *ask, unsigned n_workers,
                          const struct canary_owner *owner);

/* Two for each worker, zeroed: what its requests and those beside it come to. */
struct trial_stats *canary_trials(struct canary *canary);

/* The clock begins: all workers have it. */
void canary_begin(struct canary *canary);

/* Nothing is decided any more. */
void canary_stop(struct canary *canary);

/* No worker counts any more. Its memory goes with the next turn of the loop. NULL is fine. */
void canary_free(struct canary *canary);

struct canary_state {
    uint32_t share;
    uint64_t left_ms;
    struct guard_seen seen, beside;
};

void canary_read(const struct canary *canary, struct canary_state *out);

#endif
