/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration on trial. Owns what is counted, and a timer; must never touch a worker. Control
 * thread. */
#include "proxy/canary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define CANARY_MAGIC MAGIC('c', 'n', 'r', 'y')
#define LOOK_MS      50

struct canary {
    uint32_t magic;
    struct canary_ask ask;
    unsigned n_workers;
    struct trial_stats *trials;
    uv_timer_t timer;
    uint64_t until_ms; /* of uv_now; 0: not begun */
    struct canary_owner owner;
};

/* ---- what is asked for ---- */

static bool fail(char why[GUARD_TEXT], const char *what, const char *text)
{
    snprintf(why, GUARD_TEXT, "%s: \"%.60s\" is none", what, text);
    return false;
}

static bool parse_share(const char *text, uint32_t *share)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    double percent = strtod(text, &end);
    if (!(percent > 0 && percent < 100) || (strcmp(end, "%") != 0 && *end != '\0'))
        return false;
    *share = (uint32_t)(percent * TRIAL_ALL / 100 + 0.5);
    return *share > 0;
}

static bool parse_time(const char *text, uint64_t *ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}};
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    double n = strtod(text, &end);
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(units); i++) {
        double total = n * units[i].ms;
        if (strcmp(end, units[i].unit) != 0 || !(total >= 1 && total <= (double)CANARY_MS_MAX))
            continue;
        *ms = (uint64_t)total;
        return true;
    }
    return false;
}

bool canary_parse(const char *share, const char *time, const char *guard, struct canary_ask *to,
                  char why[GUARD_TEXT])
{
    *to = (struct canary_ask){.share = 0};
    if (!parse_share(share, &to->share))
        return fail(why, "a share of the requests such as 5%", share);
    if (!parse_time(time, &to->for_ms))
        return fail(why, "a time of at most a day such as 30s", time);
    return guard == NULL || guard_parse(span_str(guard), &to->guard, why);
}

/* ---- while it runs ---- */

static void sum(const struct canary *c, unsigned which, struct guard_seen *out)
{
    *out = (struct guard_seen){.requests = 0};
    for (unsigned w = 0; w < c->n_workers; w++) {
        const struct trial_stats *t = &c->trials[2 * w + which];
        out->errors += counter_get(&t->errors);
        for (unsigned i = 0; i < GUARD_BUCKETS; i++)
            out->buckets[i] += counter_get(&t->buckets[i]);
    }
    for (unsigned i = 0; i < GUARD_BUCKETS; i++)
        out->requests += out->buckets[i];
}

static void on_look(uv_timer_t *timer)
{
    struct canary *c = CAST_OBJ(canary, timer->data, CANARY_MAGIC);
    struct guard_seen seen, beside;
    char why[GUARD_TEXT];
    bool last = uv_now(timer->loop) >= c->until_ms && c->owner.may_pass(c->owner.ctx);
    sum(c, 0, &seen);
    sum(c, 1, &beside);
    bool broken = guard_broken(&c->ask.guard, &seen, &beside, last, why);
    if (!broken && !last)
        return;
    canary_stop(c);
    c->owner.decided(c->owner.ctx, broken ? why : NULL);
}

void canary_begin(struct canary *c)
{
    uv_update_time(c->timer.loop);
    c->until_ms = uv_now(c->timer.loop) + c->ask.for_ms;
    uint64_t look = c->ask.for_ms < LOOK_MS ? c->ask.for_ms : LOOK_MS;
    uv_timer_start(&c->timer, on_look, look, look);
}

void canary_stop(struct canary *c)
{
    uv_timer_stop(&c->timer);
}

void canary_read(const struct canary *c, struct canary_state *out)
{
    uint64_t now = uv_now(c->timer.loop);
    out->share = c->ask.share;
    out->left_ms = c->until_ms == 0 ? c->ask.for_ms : c->until_ms > now ? c->until_ms - now : 0;
    sum(c, 0, &out->seen);
    sum(c, 1, &out->beside);
}

struct trial_stats *canary_trials(struct canary *c)
{
    return c->trials;
}

/* ---- life ---- */

struct canary *canary_new(uv_loop_t *loop, const struct canary_ask *ask, unsigned n_workers,
                          const struct canary_owner *owner)
{
    struct canary *c = mem_need(calloc(1, sizeof(*c)));
    c->magic = CANARY_MAGIC;
    c->ask = *ask;
    c->n_workers = n_workers;
    c->trials = mem_need(calloc(2 * (size_t)n_workers, sizeof(c->trials[0])));
    c->owner = *owner;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    return c;
}

static void on_closed(uv_handle_t *handle)
{
    struct canary *c = CAST_OBJ(canary, handle->data, CANARY_MAGIC);
    free(c->trials);
    c->magic = 0;
    free(c);
}

void canary_free(struct canary *c)
{
    if (c != NULL)
        uv_close((uv_handle_t *)&c->timer, on_closed);
}
