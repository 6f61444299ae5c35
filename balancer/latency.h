/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long an endpoint takes to answer: a moving average that forgets with time, and that a slower
 * answer replaces at once ("peak EWMA", as Finagle and Linkerd have it). Without answers it falls
 * towards 0, so that whoever was slow is asked again some day.
 *
 * It is one for all workers: an endpoint of ten thousand gets too few requests of each worker to
 * learn from, and the readers and reloads want one number. Value and time are one 64-bit atomic,
 * on the line that in_flight has brought into the cache anyway, changed by compare and swap. Any
 * thread.
 */
#ifndef WEIR_BALANCER_LATENCY_H
#define WEIR_BALANCER_LATENCY_H

#include "balancer/endpoint.h"

#define LB_LATENCY_DECAY_US   10000000 /* in which what was known loses 63% of its weight */
#define LB_LATENCY_INITIAL_US 30000    /* of an endpoint that nobody has asked yet */
#define LB_LATENCY_PENALTY_US 5000000  /* what a failure counts as, at least */

/* What is to be expected of each of two now, in a unit that is theirs for this comparison: which of
 * them is lower, and by what factor, is a matter of what is known of them and not of when one asks
 * (but within the moment that another worker's clock may be ahead). Forgetting each by itself would
 * round each by itself, and of two that are almost equal now this and now that one were sooner. The
 * first call for an endpoint is when the initial value begins to fall. */
void lb_latency_of_two(struct lb_endpoint *a, struct lb_endpoint *b, uint64_t now_us,
                       float expected[2]);

/* What is to be expected of one, in microseconds; it does not begin by that. */
float lb_latency_expected(const struct lb_endpoint *ep, uint64_t now_us);

/* An answer took so long. */
void lb_latency_seen(struct lb_endpoint *ep, uint64_t us, uint64_t now_us);

/* It is the one that was, of another group: what is known of it goes on. Nobody asks it yet. */
void lb_latency_follow(struct lb_endpoint *ep, const struct lb_endpoint *was);

/* It has taken so long and there is no answer: that can only make the average worse. */
void lb_latency_at_least(struct lb_endpoint *ep, uint64_t us, uint64_t now_us);

#endif
