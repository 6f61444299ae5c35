/* SPDX-License-Identifier: Apache-2.0 */
/* The moving average of an endpoint's latency. Owns nothing; never locks. Any thread. */
#include "balancer/latency.h"

#include <math.h>
#include <string.h>

#define TICK_BITS 10         /* a tick is 1024 us: 32 bits of them are 50 days */
#define AHEAD_MAX (1u << 16) /* ticks: a minute */

/*
 * The lower half is a float, whose 24 bits tell a change of one in ten million: with integers,
 * answers that come every tick would move an average of a millisecond by less than one unit, that
 * is never. It is positive, so no state but the initial one is 0.
 */
static uint64_t pack(float us, uint32_t tick)
{
    uint32_t bits;
    memcpy(&bits, &us, sizeof(bits));
    return (uint64_t)tick << 32 | bits;
}

static float value_of(uint64_t state)
{
    uint32_t bits = (uint32_t)state;
    float us;
    memcpy(&us, &bits, sizeof(us));
    return us;
}

/* Ticks since the state's time; 0 if that is a little ahead: another worker's clock may have been
 * read later than ours. */
static uint32_t ticks_since(uint64_t state, uint32_t tick)
{
    uint32_t ago = tick - (uint32_t)(state >> 32);
    return ago < UINT32_MAX - AHEAD_MAX ? ago : 0;
}

/* How much of what was known then still counts. */
static float weight_left(uint32_t ticks)
{
    return ticks > 0 ? expf((float)ticks * (-(float)(1 << TICK_BITS) / LB_LATENCY_DECAY_US)) : 1;
}

static uint64_t begin(struct lb_endpoint *ep, uint32_t tick)
{
    uint64_t none = 0, first = pack(LB_LATENCY_INITIAL_US, tick);
    return atomic_compare_exchange_strong_explicit(&ep->latency, &none, first, memory_order_relaxed,
                                                   memory_order_relaxed)
               ? first
               : none;
}

static uint64_t begun(struct lb_endpoint *ep, uint32_t tick)
{
    uint64_t state = atomic_load_explicit(&ep->latency, memory_order_relaxed);
    return state != 0 ? state : begin(ep, tick);
}

void lb_latency_of_two(struct lb_endpoint *a, struct lb_endpoint *b, uint64_t now_us,
                       float expected[2])
{
    uint32_t tick = (uint32_t)(now_us >> TICK_BITS);
    uint64_t states[2] = {begun(a, tick), begun(b, tick)};
    uint32_t ago[2] = {ticks_since(states[0], tick), ticks_since(states[1], tick)};
    unsigned older = ago[1] > ago[0];
    expected[0] = value_of(states[0]);
    expected[1] = value_of(states[1]);
    expected[older] *= weight_left(ago[older] - ago[!older]);
}

float lb_latency_expected(const struct lb_endpoint *ep, uint64_t now_us)
{
    uint64_t state = atomic_load_explicit(&ep->latency, memory_order_relaxed);
    uint32_t tick = (uint32_t)(now_us >> TICK_BITS);
    return state != 0 ? value_of(state) * weight_left(ticks_since(state, tick))
                      : LB_LATENCY_INITIAL_US;
}

static void record(struct lb_endpoint *ep, uint64_t us, uint64_t now_us, bool only_worse)
{
    uint32_t tick = (uint32_t)(now_us >> TICK_BITS);
    float sample = us > 0 ? (float)us : 1;
    uint64_t state = atomic_load_explicit(&ep->latency, memory_order_relaxed), next;
    do {
        uint64_t known = state != 0 ? state : pack(LB_LATENCY_INITIAL_US, tick);
        uint32_t ago = ticks_since(known, tick);
        float old = value_of(known), left = weight_left(ago);
        /* A peak is one against what is expected now, not against what was when it was seen. */
        bool peak = sample >= old * left;
        if (only_worse && !peak)
            return;
        next = pack(peak ? sample : sample + (old - sample) * left, (uint32_t)(known >> 32) + ago);
    } while (!atomic_compare_exchange_weak_explicit(&ep->latency, &state, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

void lb_latency_seen(struct lb_endpoint *ep, uint64_t us, uint64_t now_us)
{
    record(ep, us, now_us, false);
}

void lb_latency_at_least(struct lb_endpoint *ep, uint64_t us, uint64_t now_us)
{
    record(ep, us, now_us, true);
}

void lb_latency_follow(struct lb_endpoint *ep, const struct lb_endpoint *was)
{
    atomic_store_explicit(&ep->latency, atomic_load_explicit(&was->latency, memory_order_relaxed),
                          memory_order_relaxed);
}
