/* SPDX-License-Identifier: Apache-2.0 */
/* What is believed of answers. Owns references of them; must never lose what is in use to a
 * failure or to one empty answer. One thread. */
#include "proxy/discovery/belief.h"

#include <string.h>

#include "config/config.h"
#include "proxy/base/check.h"

/* It would take all endpoints away. */
static bool is_loss(const struct belief *b, const struct config_endpoints *answer)
{
    return answer->count == 0 && b->held != NULL && b->held->count > 0;
}

/* Where it is from *at on, which is then behind it; NULL: it is not. */
static const struct config_endpoint *find(const struct config_endpoints *set, size_t *at,
                                          const struct config_endpoint *wanted)
{
    while (*at < set->count) {
        const struct config_endpoint *e = &set->items[(*at)++];
        if (strcmp(e->address.text, wanted->address.text) == 0)
            return e;
    }
    return NULL;
}

static bool takes_work(const struct config_endpoint *e)
{
    return e != NULL && !e->drain && e->weight > 0;
}

/* Whether somebody has to be left alone soon. That one of another order says so, too, costs nothing
 * but the wait. */
static bool is_leaving(const struct config_endpoints *held, const struct config_endpoints *coming)
{
    size_t at = 0;
    for (size_t i = 0; held != NULL && i < held->count; i++)
        if (takes_work(&held->items[i]) && !takes_work(find(coming, &at, &held->items[i])))
            return true;
    return false;
}

static void forget(struct belief *b)
{
    config_endpoints_unref(TAKE(b->coming));
    b->asked = b->confirmed = b->leaving = false;
}

static bool same(const struct config_endpoints *a, const struct config_endpoints *b)
{
    return a != NULL && b != NULL && a->hash == b->hash;
}

void belief_answer(struct belief *b, struct config_endpoints *answer, uint64_t now_ms)
{
    bool loss = is_loss(b, answer);
    if (same(b->held, answer)) {
        forget(b);
        config_endpoints_unref(answer);
    } else if (same(b->coming, answer)) {
        b->confirmed |= loss && now_ms >= b->since_ms + BELIEF_CONFIRM_MS;
        config_endpoints_unref(answer);
    } else {
        if (b->coming == NULL || loss || is_loss(b, b->coming))
            b->since_ms = now_ms;
        forget(b);
        b->coming = answer;
        b->last_ms = now_ms;
        b->leaving = is_leaving(b->held, answer);
    }
}

void belief_certain(struct belief *b)
{
    b->confirmed |= b->coming != NULL && is_loss(b, b->coming);
}

uint64_t belief_due_ms(const struct belief *b)
{
    if (b->coming == NULL)
        return BELIEF_NEVER;
    if (b->held == NULL || b->confirmed)
        return 0;
    if (is_loss(b, b->coming))
        return b->asked ? BELIEF_NEVER : b->since_ms + BELIEF_CONFIRM_MS;
    uint64_t settled = b->last_ms + BELIEF_SETTLE_MS;
    uint64_t most = b->since_ms + (b->leaving ? BELIEF_SETTLE_MS : BELIEF_AT_MOST_MS);
    return settled < most ? settled : most;
}

enum belief_step belief_step(struct belief *b, uint64_t now_ms)
{
    if (now_ms < belief_due_ms(b) || b->coming == NULL)
        return BELIEF_WAIT;
    if (is_loss(b, b->coming) && !b->confirmed) {
        b->asked = true;
        return BELIEF_ASK;
    }
    config_endpoints_unref(b->held);
    b->held = TAKE(b->coming);
    b->confirmed = false;
    return BELIEF_USE;
}

void belief_fini(struct belief *b)
{
    forget(b);
    config_endpoints_unref(TAKE(b->held));
}
