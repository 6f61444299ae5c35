/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an exchange gets another attempt, where, and when. Owns nothing; must never begin or end
 * an attempt. Worker's thread; called by exchange_attempt.c.
 */
#include "proxy/exchange_retry.h"

#include "proxy/exchange_admit.h"

static bool is_answer(enum reason reason)
{
    return reason == REASON_UPSTREAM_STATUS || reason == REASON_UPSTREAM_UNAVAILABLE;
}

enum retry_verdict retry_judge(const struct attempt *a, enum reason reason, bool reused,
                               bool answered)
{
    const struct exchange *x = a->exchange;
    const struct retry_rule *rule = retry_rule_of(x);
    struct retry_facts facts = {
        .reason = reason,
        .wanted = is_answer(reason) || retry_wanted(rule, reason),
        .idempotent = x->request->idempotent || retry_repeatable(rule, x->request->method),
        .committed = x->committed || x->interim,
        .replayable = x->replayable,
        .reused = reused,
        .answered = answered,
        .attempts_left = rule->attempts - x->retries,
    };
    return retry_verdict(&facts);
}

/* Takes a retry from the pool's budget, if that has one left. */
static bool afford(struct exchange *x)
{
    struct lb_budget *budget = pool_spec_of(x->pool)->budget;
    if (budget == NULL ||
        lb_budget_retry(budget, x->worker->index, reactor_us(&x->worker->reactor)))
        return true;
    counter_inc(&pool_stats_of(x->pool)->denied);
    return false;
}

/* It was the stream that an endpoint over HTTP/2 did not take, for now or on this conn. */
static bool serves_on(enum reason reason)
{
    return reason == REASON_UPSTREAM_REFUSED || reason == REASON_UPSTREAM_GOAWAY;
}

/* One that was not tried yet; the last once more if there is none and it serves on, or the route
 * says so. */
static int32_t pick(struct exchange *x, enum reason reason)
{
    int32_t endpoint = lb_pick_stuck(pool_lb(x->pool), x->stuck, x->key, &x->tried,
                                     reactor_us(&x->worker->reactor));
    bool again = serves_on(reason) || retry_rule_of(x)->same_endpoint;
    return endpoint < 0 && again ? (int32_t)x->attempt->endpoint : endpoint;
}

/* After an answer, of which nothing is left to be passed on, and the pause for another one, whoever
 * has answered may: it was well then, and has had the time that it asked for. */
static int32_t pick_again(struct exchange *x)
{
    lb_tried_clear(&x->tried);
    return lb_pick(pool_lb(x->pool), x->key, &x->tried, reactor_us(&x->worker->reactor));
}

bool retry_place(struct exchange *x)
{
    int32_t endpoint = pick(x, (enum reason)x->last);
    if (endpoint < 0 && is_answer((enum reason)x->last))
        endpoint = pick_again(x);
    if (endpoint < 0 || !lb_claim(pool_lb(x->pool), (uint32_t)endpoint))
        return false;
    x->next = (uint32_t)endpoint;
    return true;
}

enum reason retry_nowhere(const struct exchange *x)
{
    return is_answer((enum reason)x->last) ? REASON_NO_ENDPOINT : (enum reason)x->last;
}

/* Full jitter: anything from nothing to the whole of it. */
static uint64_t pause_of(const struct exchange *x, uint64_t least_ms)
{
    uint64_t most = retry_backoff_ms(retry_rule_of(x), x->retries);
    return least_ms + lb_rng_below(&x->worker->rng, most + 1);
}

enum reason retry_grant(struct exchange *x, enum reason reason, uint64_t least_ms,
                        uint64_t *pause_ms)
{
    *pause_ms = retry_at_once(reason) ? 0 : pause_of(x, least_ms);
    /* What the whole request may take does not suffice for it. */
    bool late = reactor_now(&x->worker->reactor) + *pause_ms >= x->timer.deadline_ms;
    int32_t endpoint = late ? LB_NONE : pick(x, reason);
    if (endpoint < 0)
        return reason;
    bool granted = retry_free(reason) || afford(x);
    if (!granted || *pause_ms > 0) /* it is not to keep a place from others meanwhile */
        exchange_unpick(x);
    if (!granted)
        return REASON_RETRY_BUDGET;
    x->next = (uint32_t)endpoint;
    x->last = (uint16_t)reason;
    x->retries++;
    counter_inc(&pool_stats_of(x->pool)->retries);
    return REASON_NONE;
}

/* Only what can be sent twice at once: it came whole, can be sent again, and changes nothing. A
 * session stays where it is. */
static bool may_hedge(const struct exchange *x)
{
    return !x->hedged && x->retries == 0 && x->request_done && x->replayable && !x->committed &&
           !x->interim && x->request->upgrade.len == 0 && x->stuck == LB_NONE &&
           retry_safe(x->request->method);
}

uint64_t hedge_after_ms(const struct exchange *x)
{
    uint64_t us = lb_quantile_us(pool_latencies(x->pool));
    if (us == 0 || !may_hedge(x) || !lb_lease_started(&x->attempt->lease))
        return 0;
    uint64_t gone = reactor_us(&x->worker->reactor) - x->attempt->start_us;
    return us > gone ? (us - gone + 999) / 1000 : 1;
}

bool hedge_grant(struct exchange *x)
{
    if (!may_hedge(x))
        return false;
    int32_t endpoint =
        lb_pick(pool_lb(x->pool), x->key, &x->tried, reactor_us(&x->worker->reactor));
    if (endpoint < 0)
        return false;
    if (!afford(x)) {
        exchange_unpick(x);
        return false;
    }
    x->next = (uint32_t)endpoint;
    return true;
}
