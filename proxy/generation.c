/* SPDX-License-Identifier: Apache-2.0 */
/* Making and ending generations. Owns the workers' views; must never wait. Control thread. */
#include "proxy/generation.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

static const struct snapshot *snapshot_of(const struct generation *g)
{
    return g != NULL ? g->snapshot : NULL;
}

static struct snapshot_view *latest_of(const struct worker *w, const struct generation *before)
{
    return before != NULL ? w->latest : NULL;
}

static void discard_views(struct generation *g, struct worker *workers,
                          const struct generation *before, const struct snapshot_match *match)
{
    for (unsigned i = 0; i < g->n_workers; i++)
        if (g->views[i] != NULL)
            snapshot_view_discard(TAKE(g->views[i]), latest_of(&workers[i], before), match);
}

static void close_sockets(const int *sockets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sockets[i] >= 0)
            close(sockets[i]);
}

/* True: every worker has a view with what TLS it needs. */
static bool make_views(struct generation *g, struct worker *workers,
                       const struct generation *before, const struct snapshot_match *match,
                       const int *sockets, struct lb_rng *rng, char **error)
{
    size_t n = g->snapshot->n_listeners;
    for (unsigned i = 0; i < g->n_workers; i++) {
        struct worker *w = &workers[i];
        struct snapshot_view *latest = latest_of(w, before);
        g->views[i] = snapshot_view_new(w, g->snapshot, latest, match, sockets + i * n, rng);
        if (!snapshot_view_secure(g->views[i], latest, match, error)) {
            close_sockets(sockets + (i + 1) * n, (g->n_workers - i - 1) * n);
            return false;
        }
    }
    return true;
}

struct generation *generation_new(struct worker *workers, unsigned n, struct snapshot *snap,
                                  const struct generation *before, uint64_t number,
                                  const int *sockets, char **error)
{
    struct snapshot_match match;
    struct lb_rng rng;
    struct generation *g = mem_need(calloc(1, sizeof(*g)));
    g->number = number;
    g->since_us = uv_hrtime() / 1000;
    g->since_s = (uint64_t)time(NULL);
    g->snapshot = snapshot_ref(snap);
    g->n_workers = n;
    g->views = mem_need(calloc(n, sizeof(g->views[0])));
    list_init(&g->link);
    lb_rng_seed(&rng, uv_hrtime());
    snapshot_match_init(&match, snap, snapshot_of(before));
    bool ok = make_views(g, workers, before, &match, sockets, &rng, error);
    if (!ok) {
        discard_views(g, workers, before, &match);
        generation_free(TAKE(g));
    }
    snapshot_match_fini(&match);
    return g;
}

void generation_start(struct generation *g, struct worker *workers, bool alone)
{
    for (unsigned i = 0; i < g->n_workers; i++) {
        g->views[i]->alone = alone;
        worker_change(&workers[i], g->views[i], TRIAL_ALL);
    }
}

void generation_try(struct generation *g, struct worker *workers, uint32_t share,
                    struct trial_stats *trials)
{
    for (unsigned i = 0; i < g->n_workers; i++) {
        g->views[i]->trials[0] = &trials[2 * i];
        g->views[i]->trials[1] = &trials[2 * i + 1];
        worker_change(&workers[i], g->views[i], share);
    }
}

bool generation_taken(const struct generation *g)
{
    for (unsigned i = 0; i < g->n_workers; i++)
        if (g->views[i] != NULL && !atomic_load(&g->views[i]->taken))
            return false;
    return true;
}

bool generation_sweep(struct generation *g)
{
    bool empty = true;
    for (unsigned i = 0; i < g->n_workers; i++) {
        if (g->views[i] != NULL && atomic_load(&g->views[i]->left))
            snapshot_view_free(TAKE(g->views[i]));
        empty &= g->views[i] == NULL;
    }
    return empty;
}

uint64_t generation_exchanges(const struct generation *g)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < g->n_workers; i++)
        if (g->views[i] != NULL)
            n += counter_get(&g->views[i]->exchanges);
    return n;
}

void generation_free(struct generation *g)
{
    CHECK(generation_sweep(g));
    list_unlink(&g->link);
    snapshot_unref(g->snapshot);
    free(g->views);
    free(g);
}
