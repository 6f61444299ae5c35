/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running sources. Owns them and what is believed; must never lose endpoints because nobody
 * answers. Control thread.
 */
#include "proxy/discovery/discovery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/belief.h"

#define DISCOVERY_MAGIC MAGIC('d', 'i', 's', 'c')

#define AGAIN_MS 2000

struct found {
    struct discovery *owner;
    char *name;
    struct source_spec *spec;
    struct source *source;
    struct belief belief;
    uint64_t answered_ms, since_ms, failed_ms; /* loop's time */
    uint64_t answers, changes, errors;
    char *error;
    const char *note; /* of the last answer */
    bool why_changed; /* why there are none */
    bool answers_now; /* unless it is told right behind the answer that it fails as before */
};

struct discovery {
    uint32_t magic;
    struct source_world world;
    uv_loop_t *loop;
    discovery_changed_fn *changed;
    void *ctx;
    struct found **pools;
    size_t n_pools;
    uint64_t again_ms; /* when it is told once more that there is something else; or BELIEF_NEVER */
    uv_timer_t due;
};

static struct discovery *discovery_of(void *data)
{
    return CAST_OBJ(discovery, data, DISCOVERY_MAGIC);
}

static bool has_some(const struct found *p)
{
    return p->belief.held != NULL && p->belief.held->count > 0;
}

/* ---- what is to be done, and when ---- */

static void schedule(struct discovery *d);

static void works_again(struct found *p)
{
    if (!p->answers_now)
        return;
    log_info("pool \"%s\": %s answers again", p->name, p->spec->text);
    p->answers_now = false;
    free(TAKE(p->error));
}

/* Nobody is mistaken, as far as is known: there is nobody. What fails has been told. */
static void tell_none(const struct found *p)
{
    const struct config_endpoints *held = p->belief.held;
    if (held != NULL && held->count == 0 && p->error == NULL)
        log_warn("pool \"%s\": %s: %s; it has no endpoints", p->name, p->spec->text,
                 p->note != NULL ? p->note : "nobody is there");
}

/* Whether what it holds is new. */
static bool look(struct found *p, uint64_t now_ms)
{
    enum belief_step step;
    bool changed = p->why_changed;
    p->why_changed = false;
    works_again(p);
    while ((step = belief_step(&p->belief, now_ms)) != BELIEF_WAIT) {
        if (step == BELIEF_ASK) {
            p->spec->kind->ask(p->source);
            continue;
        }
        changed = true;
        p->changes++;
        p->since_ms = now_ms;
    }
    if (changed)
        tell_none(p);
    return changed;
}

static void on_due(uv_timer_t *timer)
{
    struct discovery *d = discovery_of(timer->data);
    bool changed = uv_now(d->loop) >= d->again_ms;
    if (changed)
        d->again_ms = BELIEF_NEVER;
    for (size_t i = 0; i < d->n_pools; i++)
        changed |= look(d->pools[i], uv_now(d->loop));
    schedule(d);
    if (changed)
        d->changed(d->ctx);
}

static void schedule(struct discovery *d)
{
    uint64_t due = d->again_ms, now = uv_now(d->loop);
    for (size_t i = 0; i < d->n_pools; i++) {
        struct found *p = d->pools[i];
        uint64_t its = p->why_changed || p->answers_now ? 0 : belief_due_ms(&p->belief);
        due = its < due ? its : due;
    }
    if (due == BELIEF_NEVER)
        uv_timer_stop(&d->due);
    else
        uv_timer_start(&d->due, on_due, due > now ? due - now : 0, 0);
}

void discovery_again(struct discovery *d)
{
    d->again_ms = uv_now(d->loop) + AGAIN_MS;
    schedule(d);
}

/* ---- what sources say ---- */

static void on_answered(struct source *source, struct config_endpoints *all, const char *note)
{
    struct found *p = source->owner;
    uint64_t now = uv_now(p->owner->loop);
    p->answers_now = p->error != NULL;
    p->why_changed |= all->count == 0 && !has_some(p) && (p->error != NULL || p->note != note);
    p->answers++;
    p->note = note;
    p->answered_ms = now;
    belief_answer(&p->belief, all, now);
    schedule(p->owner);
}

/* The same error is told once. */
static void on_failed(struct source *source, const char *why)
{
    struct found *p = source->owner;
    const struct config_endpoints *held = p->belief.held;
    p->errors++;
    p->answers_now = false;
    if (p->error == NULL)
        p->failed_ms = uv_now(p->owner->loop);
    if (p->error != NULL && strcmp(p->error, why) == 0)
        return;
    free(p->error);
    p->error = mem_need(strdup(why));
    p->why_changed = !has_some(p);
    schedule(p->owner);
    if (held != NULL)
        log_error("pool \"%s\": %s: %s; its %zu %s", p->name, p->spec->text, why, held->count,
                  held->count == 1 ? "endpoint stays" : "endpoints stay");
    else
        log_error("pool \"%s\": %s: %s; it has no endpoints yet", p->name, p->spec->text, why);
}

static void on_certain(struct source *source)
{
    struct found *p = source->owner;
    belief_certain(&p->belief);
    schedule(p->owner);
}

static const struct source_events events = {
    .answered = on_answered, .failed = on_failed, .certain = on_certain};

/* ---- life ---- */

struct discovery *discovery_new(const struct source_world *world, discovery_changed_fn *changed,
                                void *ctx)
{
    struct discovery *d = mem_need(calloc(1, sizeof(*d)));
    d->magic = DISCOVERY_MAGIC;
    d->world = *world;
    d->loop = &world->reactor->loop;
    d->changed = changed;
    d->ctx = ctx;
    d->again_ms = BELIEF_NEVER;
    uv_timer_init(d->loop, &d->due);
    d->due.data = d;
    return d;
}

static struct found *found_new(struct discovery *d, const struct discovery_pool *pool)
{
    struct found *p = mem_need(calloc(1, sizeof(*p)));
    p->owner = d;
    p->name = mem_need(strdup(pool->name));
    p->spec = source_spec_ref(pool->spec);
    p->answered_ms = p->since_ms = uv_now(d->loop);
    p->source = p->spec->kind->start(&d->world, source_spec_ref(p->spec), &events, p);
    return p;
}

static void found_end(struct found *p)
{
    if (p == NULL)
        return;
    p->spec->kind->stop(p->source);
    belief_fini(&p->belief);
    source_spec_unref(p->spec);
    free(p->name);
    free(p->error);
    free(p);
}

static size_t find(const struct discovery *d, const char *name)
{
    size_t i = 0;
    while (i < d->n_pools && (d->pools[i] == NULL || strcmp(d->pools[i]->name, name) != 0))
        i++;
    return i;
}

/* The one that goes on, or a new one, which begins with what the pool has: traffic goes on until it
 * has answered. */
static struct found *take(struct discovery *d, const struct discovery_pool *pool)
{
    size_t i = find(d, pool->name);
    struct found *was = i < d->n_pools ? d->pools[i] : NULL;
    if (was != NULL && was->spec->identity == pool->spec->identity)
        return TAKE(d->pools[i]);
    struct found *p = found_new(d, pool);
    if (pool->has != NULL && pool->has->count > 0)
        p->belief.held = config_endpoints_ref(pool->has);
    return p;
}

void discovery_use(struct discovery *d, const struct discovery_pool *pools, size_t n)
{
    struct found **next = mem_need(calloc(n + 1, sizeof(struct found *)));
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (pools[i].spec != NULL)
            next[count++] = take(d, &pools[i]);
    for (size_t i = 0; i < d->n_pools; i++)
        found_end(d->pools[i]);
    free(d->pools);
    d->pools = next;
    d->n_pools = count;
    schedule(d);
}

struct config_endpoints *discovery_endpoints(const struct discovery *d, const char *pool,
                                             const struct source_spec *spec)
{
    size_t i = find(d, pool);
    if (i == d->n_pools || d->pools[i]->spec->identity != spec->identity)
        return NULL;
    return d->pools[i]->belief.held;
}

size_t discovery_missing(const struct discovery *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_pools; i++)
        n += d->pools[i]->belief.held == NULL;
    return n;
}

bool discovery_status(const struct discovery *d, const char *pool, struct discovery_status *out)
{
    size_t i = d != NULL ? find(d, pool) : 0;
    if (d == NULL || i == d->n_pools)
        return false;
    const struct found *p = d->pools[i];
    uint64_t now = uv_now(d->loop);
    *out = (struct discovery_status){
        .spec = p->spec,
        .known = p->belief.held != NULL,
        .count = p->belief.held != NULL ? p->belief.held->count : 0,
        .age_ms = now - p->answered_ms,
        .since_ms = now - p->since_ms,
        .answers = p->answers,
        .changes = p->changes,
        .errors = p->errors,
        .error = p->error,
        .note = p->note,
        .failed_ms = p->error != NULL ? now - p->failed_ms : 0,
    };
    return true;
}

void discovery_tell(const struct source_spec *spec, const char *said, char out[DISCOVERY_WHY])
{
    snprintf(out, DISCOVERY_WHY, "%s: %s", spec->text,
             said != NULL ? said : "it has not answered yet");
    for (char *c = out; *c != '\0'; c++)
        if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
            *c = *c == '"' ? '\'' : '?';
}

bool discovery_why_none(const struct discovery *d, const char *pool, char out[DISCOVERY_WHY])
{
    size_t i = find(d, pool);
    const struct found *p = i < d->n_pools ? d->pools[i] : NULL;
    out[0] = '\0';
    if (p == NULL || has_some(p))
        return false;
    discovery_tell(p->spec, p->error != NULL ? p->error : p->note, out);
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct discovery *d = discovery_of(handle->data);
    d->magic = 0;
    free(d);
}

void discovery_end(struct discovery *d)
{
    if (d == NULL)
        return;
    discovery_use(d, NULL, 0);
    free(d->pools);
    uv_close((uv_handle_t *)&d->due, on_closed);
}
