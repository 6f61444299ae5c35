/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many retries (and hedges) a pool may send, so that a pool in trouble does not get more
 * requests for being in trouble: a part of the requests of the last seconds, or a small rate for
 * pools that have few (Gateway API, GEP-3388).
 *
 * One for a pool. Each worker writes a cell of its own, plainly; whoever wants to retry, which is
 * rare, adds up all of them. So a request costs no locked instruction and no line of another
 * core's. Never does I/O or reads a clock; allocates only when it is made.
 */
#ifndef WEIR_BALANCER_BUDGET_H
#define WEIR_BALANCER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define LB_BUDGET_PERCENT   20
#define LB_BUDGET_WINDOW_US 10000000
#define LB_BUDGET_MIN_RATE  10 /* a second */

struct lb_budget;

struct lb_budget_rule {
    uint32_t percent;   /* of the window's requests; 0..100 */
    uint32_t min_rate;  /* retries a second that are allowed with however few requests; 0..10^6 */
    uint64_t window_us; /* at least 10 */
};

/* The default: 20% over 10 s, or 10 a second. */
struct lb_budget_rule lb_budget_default(void);

/* For so many workers, at least 1. Never NULL. */
struct lb_budget *lb_budget_new(const struct lb_budget_rule *rule, uint32_t workers);

/* It comes in the place of another, which may be in use: what that has counted goes on counting, if
 * their windows are the same. Before anybody uses it. */
void lb_budget_follow(struct lb_budget *budget, const struct lb_budget *before);

/* NULL is fine. */
void lb_budget_free(struct lb_budget *budget);

/* A request has come, of which what follows are retries. Only on that worker's thread, as the next;
 * now_us: a monotonic clock that all workers have in common. */
void lb_budget_request(struct lb_budget *budget, uint32_t worker, uint64_t now_us);

/*
 * Takes a retry from the budget, if there is one left: if, with it, the retries of the window are
 * no more than the larger of both limits allows. The window ends now and moves in tenths, so it
 * has 0.9 to 1 times its length. Workers that ask in the same instant may not see one another:
 * there may be a few too many, about one a worker.
 */
bool lb_budget_retry(struct lb_budget *budget, uint32_t worker, uint64_t now_us);

/* How many retries are left in it, as of now. Any thread. */
uint64_t lb_budget_left(const struct lb_budget *budget, uint64_t now_us);

#endif
