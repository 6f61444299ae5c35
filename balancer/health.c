/* SPDX-License-Identifier: Apache-2.0 */
/* Thresholds and times of health checks. Owns nothing; must never read a clock. One thread. */
#include "balancer/health.h"

#include "proxy/base/check.h"

static uint32_t interval_ms(const struct lb_health *h, const struct lb_health_rules *rules)
{
    return lb_health_usable(h) ? rules->every_ms : rules->out_ms;
}

void lb_health_init(struct lb_health *h, const struct lb_health_rules *rules, bool must_pass,
                    uint32_t nth, uint64_t now_us)
{
    CHECK(rules->down_after >= 1 && rules->up_after >= 1 && rules->jitter <= LB_HEALTH_JITTER_MAX);
    CHECK(rules->every_ms >= 1 && rules->out_ms >= 1);
    *h = (struct lb_health){.state = must_pass ? LB_HEALTH_UNPROVEN : LB_HEALTH_UNKNOWN,
                            .since_us = now_us};
    /* Multiples of the golden ratio: the gaps between n of them are of three sizes at most. */
    uint32_t place = nth * UINT32_C(0x9e3779b9);
    h->slot_ms = now_us / 1000 + ((uint64_t)interval_ms(h, rules) * place >> 32);
}

static void enter(struct lb_health *h, enum lb_health_state state, uint64_t now_us)
{
    h->state = (uint8_t)state;
    h->run = 0;
    h->since_us = now_us;
}

static enum lb_health_news passed_now(struct lb_health *h, const struct lb_health_rules *rules,
                                      uint64_t now_us)
{
    switch (h->state) {
    case LB_HEALTH_UNKNOWN:
        enter(h, LB_HEALTH_UP, now_us);
        break;
    case LB_HEALTH_UP:
        h->run = 0;
        break;
    case LB_HEALTH_DOWN:
        if (++h->run < rules->up_after)
            break;
        enter(h, LB_HEALTH_UP, now_us);
        return LB_HEALTH_WENT_UP;
    case LB_HEALTH_UNPROVEN: /* once is enough: nothing was seen that speaks against it */
        enter(h, LB_HEALTH_UP, now_us);
        return LB_HEALTH_WENT_UP;
    }
    return LB_HEALTH_SAME;
}

static enum lb_health_news failed_now(struct lb_health *h, const struct lb_health_rules *rules,
                                      uint64_t now_us)
{
    if (!lb_health_usable(h)) {
        h->run = 0;
        return LB_HEALTH_SAME;
    }
    if (++h->run < rules->down_after)
        return LB_HEALTH_SAME;
    enter(h, LB_HEALTH_DOWN, now_us);
    return LB_HEALTH_WENT_DOWN;
}

enum lb_health_news lb_health_result(struct lb_health *h, const struct lb_health_rules *rules,
                                     bool passed, uint64_t now_us)
{
    return passed ? passed_now(h, rules, now_us) : failed_now(h, rules, now_us);
}

uint64_t lb_health_next_ms(struct lb_health *h, const struct lb_health_rules *rules,
                           uint64_t now_ms, uint64_t draw)
{
    uint64_t interval = interval_ms(h, rules), at = h->slot_ms + interval;
    if (now_ms >= at + interval)
        at += (now_ms - at) / interval * interval;
    h->slot_ms = at;
    return at + draw % (interval * rules->jitter / 100 + 1);
}
