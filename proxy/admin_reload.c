/* SPDX-License-Identifier: Apache-2.0 */
/* The admin's pages of reloads. Owns those who wait for one; must never wait itself. Control
 * thread. */
#include "proxy/admin_reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/runtime_centre.h"
#include "proxy/generation.h"
#include "proxy/reply.h"

#define TEXT 128 /* the longest value of a parameter, with its NUL */

/* ---- POST /reload ---- */

/* Who asked for a reload and waits for its end. */
struct reload_waiter {
    struct admin_waiter base;
    struct list_node link;
    uint64_t reload;
};

static void reload_waiter_gone(struct admin_waiter *base)
{
    struct reload_waiter *w = CONTAINER_OF(base, reload_waiter, base);
    list_unlink(&w->link);
    free(w);
}

static void reload_wait(const struct admin_ask *ask, struct list_node *waiting,
                        const struct canary_ask *canary)
{
    struct reload_waiter *w = mem_need(calloc(1, sizeof(*w)));
    list_init(&w->link);
    list_push_back(waiting, &w->link);
    w->reload = ask->view->reload(ask->view->ctx, canary);
    admin_wait(ask, &w->base, reload_waiter_gone);
}

static bool parameter(const struct admin_ask *ask, const char *name, char out[TEXT])
{
    struct span query = ask->request->query;
    return admin_parameter(&query, name, out, TEXT);
}

/* How it is tried, if it is to be. False: what is asked for is wrong, and why says how. */
static bool read_canary(const struct admin_ask *ask, struct canary_ask *to, char why[GUARD_TEXT])
{
    char share[TEXT], time[TEXT], guard[TEXT];
    bool guarded = parameter(ask, "guard", guard), timed = parameter(ask, "for", time);
    *to = (struct canary_ask){.share = 0};
    if (!parameter(ask, "canary", share)) {
        snprintf(why, GUARD_TEXT, "for and guard are a canary's: how many requests is it to get?");
        return !guarded && !timed;
    }
    if (!timed) {
        snprintf(why, GUARD_TEXT, "for how long? for=30s says so");
        return false;
    }
    for (char *c = guard; guarded && *c != '\0'; c++)
        if (*c == ' ') /* as a plus is read that was not encoded */
            *c = '+';
    return canary_parse(share, time, guarded ? guard : NULL, to, why);
}

bool admin_reload(const struct admin_ask *ask, struct list_node *waiting)
{
    struct canary_ask canary;
    char why[GUARD_TEXT];
    if (ask->view->reload == NULL)
        admin_say(ask, 409, "there is no file to read again\n");
    else if (!ask->view->ready)
        admin_say(ask, 503, ask->view->starting ? "starting\n" : "shutting down\n");
    else if (!read_canary(ask, &canary, why))
        admin_say(ask, 400, "%s\n", why);
    else {
        reload_wait(ask, waiting, canary.share > 0 ? &canary : NULL);
        return false;
    }
    return true;
}

static char *reload_answer(const struct admin_view *view, bool done, const char *said)
{
    size_t size = (said != NULL ? strlen(said) : 0) + 80;
    char *text = mem_need(malloc(size));
    int n = snprintf(text, size, "%s", said != NULL ? said : "");
    snprintf(text + n, size - (size_t)n, "%sgeneration %llu serves\n",
             done ? "" : "nothing has changed; ", (unsigned long long)view->reloads.generation);
    return text;
}

void admin_reload_over(struct reactor *r, const struct admin_view *view, struct list_node *waiting,
                       uint64_t reload, bool done, const char *said)
{
    if (list_empty(waiting))
        return;
    char *text = reload_answer(view, done, said);
    list_for_each_safe (node, waiting) {
        struct reload_waiter *w = CONTAINER_OF(node, reload_waiter, link);
        if (w->reload > reload)
            continue;
        struct admin_ask ask = admin_waiter_ask(&w->base);
        admin_text(&ask, done ? 200 : 422, SPAN_LIT("text/plain; charset=utf-8"), span_str(text));
        admin_waiter_end(&w->base, REASON_DONE);
        reload_waiter_gone(&w->base);
    }
    free(text);
    reactor_dispatch(r);
}

/* ---- /generations ---- */

static void write_seen(struct json *j, const char *key, const struct guard_seen *seen)
{
    json_key(j, key);
    json_object_begin(j);
    json_key(j, "answers");
    json_u64(j, seen->requests);
    json_key(j, "5xx");
    json_u64(j, seen->errors);
    json_key(j, "p50_ms");
    json_ms(j, guard_quantile_us(seen, 50));
    json_key(j, "p99_ms");
    json_ms(j, guard_quantile_us(seen, 99));
    json_object_end(j);
}

static void write_canary(struct json *j, const struct canary *canary)
{
    struct canary_state state;
    canary_read(canary, &state);
    char share[16];
    int len = snprintf(share, sizeof(share), "%.6g", (double)state.share / TRIAL_ALL);
    json_key(j, "share");
    json_number(j, span_of(share, (size_t)len));
    json_key(j, "left_ms");
    json_u64(j, state.left_ms);
    write_seen(j, "seen", &state.seen);
    write_seen(j, "beside", &state.beside);
}

static void write_generation(struct json *j, const struct admin_view *view,
                             const struct generation *g)
{
    bool newest = g->link.next == view->generations, trial = view->canary != NULL && newest;
    bool serves = g->number == view->reloads.generation;
    json_object_begin(j);
    json_key(j, "generation");
    json_u64(j, g->number);
    json_key(j, "state");
    json_cstring(j, trial ? "canary" : serves ? "serves" : "ends");
    json_key(j, "since");
    json_u64(j, g->since_s);
    json_key(j, "age_ms");
    json_u64(j, (uv_hrtime() / 1000 - g->since_us) / 1000);
    json_key(j, "exchanges");
    json_u64(j, generation_exchanges(g));
    if (trial)
        write_canary(j, view->canary);
    json_object_end(j);
}

static void write_last(struct json *j, const struct reload_stats *r)
{
    json_object_begin(j);
    json_key(j, "result");
    json_cstring(j, r->last_failed ? "failed" : "done");
    json_key(j, "at");
    json_u64(j, r->last_s);
    json_key(j, "said");
    json_cstring(j, r->said != NULL ? r->said : "");
    json_object_end(j);
}

/* Only where it is no file. */
static void write_centre(struct json *j, const struct runtime_centre *centre)
{
    struct runtime_centre_status status = runtime_centre_status(centre);
    json_key(j, "from");
    json_object_begin(j);
    json_key(j, "key");
    json_cstring(j, runtime_centre_name(centre));
    json_key(j, "revision");
    json_u64(j, status.revision);
    json_key(j, "error");
    if (status.error != NULL)
        json_cstring(j, status.error);
    else
        json_null(j);
    json_object_end(j);
}

static void write_generations(struct json *j, const void *ctx)
{
    const struct admin_view *view = ctx;
    json_object_begin(j);
    json_key(j, "generations");
    json_array_begin(j);
    list_for_each (node, view->generations)
        write_generation(j, view, CONTAINER_OF(node, generation, link));
    json_array_end(j);
    if (view->centre != NULL)
        write_centre(j, view->centre);
    json_key(j, "last_reload");
    if (view->reloads.last_s != 0)
        write_last(j, &view->reloads);
    else
        json_null(j);
    json_object_end(j);
}

void admin_generations(const struct admin_ask *ask)
{
    admin_json(ask, 200, write_generations, ask->view);
}
