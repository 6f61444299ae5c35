/* SPDX-License-Identifier: Apache-2.0 */
/* The adaptive limit. Owns nothing; no I/O, no clock, nobody waits. Any thread. */
#include "balancer/limit.h"

#include "proxy/base/check.h"

#define SMOOTHING  0.2 /* the part of a step that is made at once */
#define STEEPEST   0.5 /* however long requests take */
#define BACKOFF    0.9 /* when an endpoint says that it is too much */
#define WARM       10  /* windows of which the mean is plain */
#define FORGETTING 0.95
#define DOUBT      10 /* times slower is learnt what the limit may have made itself */

/* What is usual: a plain mean first, then an exponential one. At the limit requests take longer
 * because they are so many; were that usual soon, the limit would grow and grow. But it may be that
 * the work has become harder, so it is learnt in the end. */
static void learn(struct lb_limit_state *s, double mean_us, bool at_limit)
{
    if (s->windows < LB_LIMIT_LONG)
        s->windows++;
    double part = s->windows <= WARM ? 1.0 / s->windows : 2.0 / (LB_LIMIT_LONG + 1);
    if (at_limit && s->windows > WARM && mean_us > s->long_us)
        part /= DOUBT;
    s->long_us += (mean_us - s->long_us) * part;
    if (s->long_us > 2 * mean_us) /* it was slow for long, and is not any more */
        s->long_us *= FORGETTING;
}

static double clamp(double value, double min, double max)
{
    return value < min ? min : value > max ? max : value;
}

void lb_limit_step(const struct lb_limit_rule *rule, struct lb_limit_state *state,
                   const struct lb_limit_window *window)
{
    double mean_us = window->mean_us > 1 ? window->mean_us : 1;
    bool at_limit = window->peak >= state->limit / 2;
    learn(state, mean_us, at_limit);
    if (!window->overloaded && !at_limit) /* too few to find out what would be too many */
        return;
    double gradient = clamp(LB_LIMIT_TOLERANCE * state->long_us / mean_us, STEEPEST, 1);
    double next = state->limit * gradient + LB_LIMIT_HEADROOM;
    if (window->overloaded)
        next = clamp(next, 0, state->limit * BACKOFF);
    state->limit += (next - state->limit) * SMOOTHING;
    state->limit = clamp(state->limit, rule->min, rule->max);
}

void lb_limit_init(struct lb_limit *l, const struct lb_limit_rule *rule)
{
    CHECK(rule->min >= 1 && rule->min <= rule->start && rule->start <= rule->max);
    *l = (struct lb_limit){.rule = *rule, .state = {.limit = rule->start}};
    atomic_flag_clear(&l->busy);
}

uint32_t lb_limit_follow(struct lb_limit *l, struct lb_limit *before)
{
    while (atomic_flag_test_and_set_explicit(&before->busy, memory_order_acquire))
        ; /* a few dozen instructions of whoever computes a window */
    l->state = before->state;
    atomic_flag_clear_explicit(&before->busy, memory_order_release);
    l->state.limit = clamp(l->state.limit, l->rule.min, l->rule.max);
    return (uint32_t)l->state.limit;
}

static void raise(_Atomic uint32_t *most, uint32_t value)
{
    uint32_t now = atomic_load_explicit(most, memory_order_relaxed);
    while (value > now && !atomic_compare_exchange_weak_explicit(
                              most, &now, value, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Has the window what it takes? The first sample begins the first one. */
static bool is_over(struct lb_limit *l, uint64_t now_us)
{
    uint64_t begun = atomic_load_explicit(&l->begun_us, memory_order_relaxed);
    if (begun == 0) {
        atomic_compare_exchange_strong_explicit(&l->begun_us, &begun, now_us, memory_order_relaxed,
                                                memory_order_relaxed);
        return false;
    }
    return now_us >= begun + LB_LIMIT_WINDOW_US &&
           atomic_load_explicit(&l->samples, memory_order_relaxed) >= LB_LIMIT_SAMPLES;
}

/* A sample that comes in between may count for this window and its latency for the next: among
 * these many it does not matter. */
static void take(struct lb_limit *l, struct lb_limit_window *window)
{
    uint32_t n = atomic_exchange_explicit(&l->samples, 0, memory_order_relaxed);
    uint64_t sum = atomic_exchange_explicit(&l->sum_us, 0, memory_order_relaxed);
    window->mean_us = (double)sum / (n > 0 ? n : 1);
    window->peak = atomic_exchange_explicit(&l->peak, 0, memory_order_relaxed);
    /* A few tell of a route, or of one endpoint of many. */
    uint64_t overloads = atomic_exchange_explicit(&l->overloads, 0, memory_order_relaxed);
    window->overloaded = overloads * 100 > (uint64_t)n * LB_LIMIT_OVERLOADS;
}

uint32_t lb_limit_sample(struct lb_limit *l, uint64_t latency_us, uint32_t in_flight,
                         bool overloaded, uint64_t now_us)
{
    struct lb_limit_window window;
    uint32_t limit = 0;
    atomic_fetch_add_explicit(&l->sum_us, latency_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->samples, 1, memory_order_relaxed);
    raise(&l->peak, in_flight);
    if (overloaded)
        atomic_fetch_add_explicit(&l->overloads, 1, memory_order_relaxed);
    if (!is_over(l, now_us) || atomic_flag_test_and_set_explicit(&l->busy, memory_order_acquire))
        return 0;
    if (is_over(l, now_us)) { /* nobody else has done it meanwhile */
        atomic_store_explicit(&l->begun_us, now_us, memory_order_relaxed);
        take(l, &window);
        lb_limit_step(&l->rule, &l->state, &window);
        limit = (uint32_t)l->state.limit;
    }
    atomic_flag_clear_explicit(&l->busy, memory_order_release);
    return limit;
}
