/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peak_ewma: of two different endpoints drawn by weight, the one that is expected to answer sooner:
 * its latency (latency.h) times the requests in flight with the new one, where in flight counts
 * over the endpoint's weight by the mean weight. At a tie the first draw. O(1) a pick. One
 * worker's thread.
 *
 * A failure counts as 5 s: that an endpoint refuses fast must not make it the best of all.
 */
#include <math.h>

#include "balancer/draw.h"
#include "balancer/latency.h"

static void ewma_init(void *local, const struct lb_view *v, uint64_t seed)
{
    lb_draw_init(local, v, seed);
}

static void ewma_changed(void *local, const struct lb_view *v)
{
    lb_draw_changed(local, v);
}

/* Latency * (in flight / (weight / mean weight) + 1), without the division by the weight. */
static double cost(const struct lb_view *v, uint32_t i, float latency)
{
    double busy = (double)lb_view_in_flight(v, i) * (double)v->total_weight;
    double one = (double)v->weights[i] * v->eligible;
    return (double)latency * (busy + one);
}

static bool sooner(const struct lb_view *v, uint32_t a, uint32_t b, uint64_t now_us)
{
    float expected[2];
    lb_latency_of_two(v->endpoints[a], v->endpoints[b], now_us, expected);
    return cost(v, a, expected[0]) * v->weights[b] < cost(v, b, expected[1]) * v->weights[a];
}

static int32_t ewma_pick(void *local, const struct lb_view *v, uint64_t key,
                         const struct lb_tried *tried, uint64_t now_us)
{
    (void)key;
    int32_t a = tried == NULL ? lb_draw_any(local) : lb_draw_other(local, v, tried, LB_NONE);
    int32_t b = a == LB_NONE ? LB_NONE : lb_draw_other(local, v, tried, a);
    return b != LB_NONE && sooner(v, (uint32_t)b, (uint32_t)a, now_us) ? b : a;
}

static void ewma_finished(void *local, const struct lb_view *v, uint32_t i, uint32_t in_flight,
                          enum lb_outcome outcome, uint64_t latency_us, uint64_t now_us)
{
    struct lb_endpoint *ep = v->endpoints[i];
    (void)local, (void)in_flight;
    switch (outcome) {
    case LB_OK:
    case LB_ERROR:
        lb_latency_seen(ep, latency_us, now_us);
        break;
    case LB_CANCELLED:
        lb_latency_at_least(ep, latency_us, now_us);
        break;
    case LB_OVERLOADED:
    case LB_UNAVAILABLE:
    case LB_CONNECT_FAILED:
    case LB_FAILED:
    case LB_TIMED_OUT:
        lb_latency_seen(ep, latency_us > LB_LATENCY_PENALTY_US ? latency_us : LB_LATENCY_PENALTY_US,
                        now_us);
        break;
    }
}

static void ewma_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                        double *scores)
{
    (void)local, (void)key;
    for (uint32_t i = 0; i < v->count; i++) {
        double busy = (double)lb_view_in_flight(v, i) * (double)v->total_weight;
        double one = (double)v->weights[i] * v->eligible;
        double ms = (double)lb_latency_expected(v->endpoints[i], now_us) / 1000;
        scores[i] = v->weights[i] > 0 ? ms * (busy / one + 1) : NAN;
    }
}

const struct lb_policy lb_peak_ewma = {
    .name = "peak_ewma",
    .score_is = "expected latency times requests in flight with this one, in ms: of two that are "
                "drawn by weight, the lower wins",
    .local_size = lb_draw_size,
    .init = ewma_init,
    .changed = ewma_changed,
    .pick = ewma_pick,
    .finished = ewma_finished,
    .scores = ewma_scores,
};
