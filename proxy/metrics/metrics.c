/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of all metrics, and those of weir's own life. Reads the workers' shards without
 * stopping them, so that counters may be of slightly different moments. The label sets are closed:
 * routes, pools, reasons; no label comes from a request. Control thread.
 */
#include "proxy/metrics/metrics.h"

#include "proxy/runtime_centre.h"
#include "proxy/metrics/families.h"
#include "proxy/takeover.h"

static void centre(struct text *t, struct runtime_centre_status status)
{
    text_single(t, "weir_config_failing", "gauge",
                "Whether the key that the configuration comes from cannot be read, or is gone.",
                status.error != NULL);
    text_single(t, "weir_config_revision", "gauge",
                "The revision of that key which serves; 0: a copy that was kept.", status.revision);
}

static void reloads(struct text *t, const struct reload_stats *r)
{
    text_head(t, "weir_reloads_total", "counter", "Reloads of the configuration, by result.");
    text_line(t, "weir_reloads_total{result=\"done\"} %" PRIu64 "\n", r->done);
    text_line(t, "weir_reloads_total{result=\"failed\"} %" PRIu64 "\n", r->failed);
    text_single(t, "weir_reload_failed", "gauge",
                "Whether the last reload failed, so that the configuration before serves.",
                r->last_failed);
    if (r->last_s != 0)
        text_single(t, "weir_reload_timestamp_seconds", "gauge",
                    "When the last reload ended, well or not, in Unix time.", r->last_s);
    text_single(t, "weir_generation", "gauge",
                "What serves: 1 + reloads and changes of endpoints so far.", r->generation);
    text_single(
        t, "weir_generations", "gauge",
        "Configurations in use: the one that serves, and those whose requests have not ended.",
        r->generations);
}

static void canaries(struct text *t, const struct admin_view *v)
{
    struct canary_state state = {.share = 0};
    if (v->canary != NULL)
        canary_read(v->canary, &state);
    text_head(t, "weir_canaries_total", "counter",
              "Reloads that were tried first, by what came of it.");
    text_line(t, "weir_canaries_total{result=\"promoted\"} %" PRIu64 "\n", v->reloads.promoted);
    text_line(t, "weir_canaries_total{result=\"rolled_back\"} %" PRIu64 "\n",
              v->reloads.rolled_back);
    text_head(
        t, "weir_canary_share", "gauge",
        "The part of new requests that begins with the configuration on trial; 0: there is none.");
    text_line(t, "weir_canary_share %.6g\n", (double)state.share / TRIAL_ALL);
}

static void kept(struct text *t, const struct admin_view *v)
{
    text_head(t, "weir_reload_worker_seconds", "gauge",
              "How long the last reload has kept a worker from its connections, at most.");
    for (unsigned w = 0; w < v->n_workers; w++)
        text_line(t, "weir_reload_worker_seconds{worker=\"%u\"} %.6f\n", w,
                  (double)counter_get(&v->workers[w].stats.kept_us) / 1e6);
}

static void upgrades(struct text *t, const struct admin_view *v)
{
    text_single(t, "weir_upgrades", "gauge",
                "Binary upgrades since the first start, of which this process is the last.",
                takeover_count());
    text_single(t, "weir_upgrades_failed_total", "counter",
                "Binary upgrades by this process that came to nothing.", v->upgrades_failed);
}

void metrics_write(const struct admin_view *v, struct buf_pool *pool, struct chain *out)
{
    struct text t = {.pool = pool, .out = out};
    text_head(&t, "weir_build_info", "gauge", "What is running.");
    text_line(&t, "weir_build_info{version=\"%s\"} 1\n", WEIR_VERSION);
    text_single(&t, "weir_workers", "gauge", "Data-plane threads.", v->n_workers);
    reloads(&t, &v->reloads);
    if (v->centre != NULL)
        centre(&t, runtime_centre_status(v->centre));
    canaries(&t, v);
    kept(&t, v);
    upgrades(&t, v);
    metrics_traffic(&t, v);
    metrics_pools(&t, v);
    metrics_endpoints(&t, v);
    metrics_registry(&t, v);
    metrics_tls(&t, v);
    metrics_process(&t, v);
    block_drop(t.block);
}
