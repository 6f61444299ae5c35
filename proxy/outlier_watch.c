/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of outlier detection, one for each pool that has it. Control thread. */
#include "proxy/outlier_watch.h"

#include <stdlib.h>

#include "balancer/outlier.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

struct watched {
    uv_timer_t timer;
    const struct pool_spec *pool;
};

struct outlier_watch {
    size_t n;
    struct watched pools[];
};

void outlier_tell(const struct pool_spec *pool, uint32_t index, uint64_t now_us)
{
    struct lb_ejection e;
    char text[LB_EJECTION_TEXT];
    const char *endpoint = pool->endpoints[index].text;
    if (!lb_outlier_read(pool->balance, index, now_us, &e))
        return;
    if (!e.out) {
        log_info("pool %s: %s is back: it has answered", pool->name, endpoint);
        return;
    }
    uint64_t left = e.until_us > now_us ? e.until_us - now_us : 0;
    log_warn("pool %s: %s %s for %.1f s: %s", pool->name, endpoint,
             e.observed ? "would be ejected" : "is ejected", (double)left / 1e6,
             lb_ejection_text(&e, text));
}

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static void on_found(void *ctx, uint32_t index)
{
    outlier_tell(ctx, index, now_us());
}

static void on_timer(uv_timer_t *timer)
{
    const struct watched *w = timer->data;
    lb_outlier_sweep(w->pool->balance, now_us(), on_found, (void *)(uintptr_t)w->pool);
}

struct outlier_watch *outlier_watch_new(uv_loop_t *loop, const struct snapshot *snap)
{
    struct outlier_watch *watch =
        mem_need(calloc(1, sizeof(*watch) + snap->n_pools * sizeof(watch->pools[0])));
    for (size_t i = 0; i < snap->n_pools; i++) {
        const struct pool_spec *pool = &snap->pools[i];
        if (pool->balance->outlier == NULL)
            continue;
        struct watched *w = &watch->pools[watch->n++];
        w->pool = pool;
        w->timer.data = w;
        uv_timer_init(loop, &w->timer);
        uv_timer_start(&w->timer, on_timer, pool->outlier_ms, pool->outlier_ms);
    }
    return watch;
}

void outlier_watch_close(struct outlier_watch *watch)
{
    for (size_t i = 0; watch != NULL && i < watch->n; i++)
        if (!uv_is_closing((uv_handle_t *)&watch->pools[i].timer))
            uv_close((uv_handle_t *)&watch->pools[i].timer, NULL);
}

void outlier_watch_free(struct outlier_watch *watch)
{
    free(watch);
}
