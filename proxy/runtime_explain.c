/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request explained by a worker that has just begun: every part of a split in turn, since nobody
 * draws. Owns the snapshot and the balancers that it makes for it. Control thread.
 */
#include "proxy/runtime_explain.h"

#include <stdlib.h>
#include <uv.h>

#include "config/config.h"
#include "proxy/base/mem.h"
#include "proxy/explain.h"
#include "proxy/runtime_build.h"

struct offline {
    const struct snapshot *snap;
    struct lb **balancers; /* by pool */
};

static struct lb *balancer_of(void *ctx, int32_t pool)
{
    struct offline *o = ctx;
    if (o->balancers[pool] == NULL)
        o->balancers[pool] = lb_new(o->snap->pools[pool]->balance, 0);
    return o->balancers[pool];
}

static uint64_t no_hedge(void *ctx, int32_t pool)
{
    (void)ctx;
    (void)pool;
    return 0;
}

/* One plan for each part of the route that gets requests, or one if there is none. */
static unsigned make_answers(struct offline *o, const struct explain_question *q, uint64_t now_us,
                             struct explain_answer **answers)
{
    struct explain_source source = {
        .lb = balancer_of, .hedge_us = no_hedge, .ctx = o, .choose = true, .now_us = now_us};
    struct explain_plan first;
    unsigned n = 0;
    explain_plan_make(&first, o->snap, q, &source);
    const struct route *route = first.route;
    uint32_t parts = route != NULL && route->total_weight > 0 ? route->n_targets : 1;
    explain_plan_fini(&first);
    *answers = mem_need(calloc(parts, sizeof(**answers)));
    for (uint32_t i = 0; i < parts; i++) {
        if (route != NULL && route->total_weight > 0 && route->targets[i].weight == 0)
            continue;
        source.part = i;
        (*answers)[n].answered = true;
        explain_plan_make(&(*answers)[n++].plan, o->snap, q, &source);
    }
    return n;
}

static void explain(struct offline *o, const struct explain_question *q, bool json, bool all)
{
    struct explain_answer *answers;
    struct explanation e = {.question = q, .most = all, .now_us = uv_hrtime() / 1000};
    e.n_answers = make_answers(o, q, e.now_us, &answers);
    e.answers = answers;
    if (json) {
        size_t len;
        char *text = json_whole(explanation_write, &e, &len);
        fwrite(text, 1, len, stdout);
        free(text);
    } else {
        explanation_print(stdout, &e);
    }
    for (unsigned i = 0; i < e.n_answers; i++)
        explain_plan_fini(&answers[i].plan);
    free(answers);
}

bool runtime_explain(const struct config *cfg, const struct explain_ask *ask, bool json, bool all,
                     struct config_errors *errs, char **error)
{
    struct snapshot *snap = runtime_build(cfg, cfg->workers > 0 ? cfg->workers : 1, NULL, errs);
    struct explain_question q;
    if (snap == NULL)
        return false;
    bool ok = explain_question_init(&q, snap, ask, error);
    if (ok) {
        struct offline o = {snap, mem_need(calloc(snap->n_pools, sizeof(struct lb *)))};
        explain(&o, &q, json, all);
        for (size_t i = 0; i < snap->n_pools; i++)
            lb_free(o.balancers[i]);
        free(o.balancers);
        explain_question_fini(&q);
    }
    snapshot_unref(snap);
    return ok;
}
