/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests a pool can take at once, learnt from how long they take: while those of the
 * last moment take as long as those of the last minute, it may be some more; the longer they take,
 * the fewer. No request is ever held back only to measure (Netflix concurrency-limits, Gradient2).
 *
 * One for a pool. Each sample is a few relaxed atomics; whoever brings the last one of a window
 * computes the next limit, and nobody waits for that. Never does I/O or reads a clock. Any thread.
 */
#ifndef WEIR_BALANCER_LIMIT_H
#define WEIR_BALANCER_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LB_LIMIT_WINDOW_US 100000
#define LB_LIMIT_SAMPLES   10  /* that a window has at least */
#define LB_LIMIT_LONG      600 /* windows: what is usual */
#define LB_LIMIT_TOLERANCE 1.5 /* times as long as usual is as usual */
#define LB_LIMIT_OVERLOADS 10  /* percent of a window's answers that make it one of overload */
#define LB_LIMIT_HEADROOM  4   /* requests that may wait at the endpoints */

struct lb_limit_rule {
    uint32_t min, max, start; /* 1 <= min <= start <= max */
};

/* What is known, between two windows. */
struct lb_limit_state {
    double limit;
    double long_us;   /* mean latency over LB_LIMIT_LONG windows */
    uint32_t windows; /* so far, up to that */
};

/* What was seen in one. */
struct lb_limit_window {
    double mean_us;
    uint32_t peak;   /* most in flight */
    bool overloaded; /* many said so, or did not answer in time */
};

/* The next limit. Pure. */
void lb_limit_step(const struct lb_limit_rule *rule, struct lb_limit_state *state,
                   const struct lb_limit_window *window);

struct lb_limit {
    struct lb_limit_rule rule;
    struct lb_limit_state state; /* of whoever holds busy */
    atomic_flag busy;
    _Atomic uint64_t begun_us; /* the window; 0: none yet */
    _Atomic uint64_t sum_us;
    _Atomic uint32_t samples, overloads, peak;
};

void lb_limit_init(struct lb_limit *l, const struct lb_limit_rule *rule);

/* It comes in the place of another, which may be in use, and goes on with what that has learnt, as
 * far as its own rule allows. Returns the limit. Before anybody uses it. */
uint32_t lb_limit_follow(struct lb_limit *l, struct lb_limit *before);

/*
 * A request took so long until its answer began; in_flight: how many there were, with it.
 * overloaded: the endpoint said that it has too much to do, or did not answer in time. Returns the
 * new limit, or 0 if there is none now. now_us: a monotonic clock that all workers have in common.
 */
uint32_t lb_limit_sample(struct lb_limit *l, uint64_t latency_us, uint32_t in_flight,
                         bool overloaded, uint64_t now_us);

#endif
