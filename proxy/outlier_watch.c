/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of outlier detection, one for each pool that has it. Control thread. */
#include "proxy/outlier_watch.h"

#include <stdlib.h>

#include "balancer/outlier.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/names.h"

struct watched {
    uv_timer_t timer;
    const struct pool_spec *pool;
};

struct outlier_watch {
    uv_loop_t *loop;
    size_t n;
    struct watched **pools;
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

static void on_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_timer_t *)handle, watched, timer));
}

static struct watched *watched_new(uv_loop_t *loop, const struct pool_spec *pool)
{
    struct watched *w = mem_need(calloc(1, sizeof(*w)));
    w->pool = pool;
    w->timer.data = w;
    uv_timer_init(loop, &w->timer);
    uv_timer_start(&w->timer, on_timer, pool->outlier_ms, pool->outlier_ms);
    return w;
}

struct outlier_watch *outlier_watch_new(uv_loop_t *loop)
{
    struct outlier_watch *watch = mem_need(calloc(1, sizeof(*watch)));
    watch->loop = loop;
    return watch;
}

/* The one that is there already, taken out; or NULL. */
static struct watched *take(struct outlier_watch *watch, const struct names *names,
                            const struct pool_spec *pool)
{
    int32_t at;
    for (uint32_t n = 0; (at = names_find_nth(names, pool->name, n)) >= 0; n++)
        if (watch->pools[at] != NULL && watch->pools[at]->pool == pool)
            return TAKE(watch->pools[at]);
    return NULL;
}

void outlier_watch_use(struct outlier_watch *watch, struct pool_spec *const *pools, size_t n)
{
    struct names names = {0};
    struct outlier_watch next = {.loop = watch->loop};
    next.pools = mem_need(calloc(n, sizeof(next.pools[0])));
    for (size_t i = 0; i < watch->n; i++)
        names_add(&names, watch->pools[i]->pool->name, (int32_t)i);
    names_sort(&names);
    for (size_t i = 0; i < n; i++) {
        const struct pool_spec *pool = pools[i];
        if (pool->balance->outlier == NULL)
            continue;
        struct watched *stays = take(watch, &names, pool);
        next.pools[next.n++] = stays != NULL ? stays : watched_new(watch->loop, pool);
    }
    names_fini(&names);
    outlier_watch_close(watch);
    *watch = next;
}

void outlier_watch_close(struct outlier_watch *watch)
{
    for (size_t i = 0; watch != NULL && i < watch->n; i++)
        if (watch->pools[i] != NULL)
            uv_close((uv_handle_t *)&watch->pools[i]->timer, on_closed);
    if (watch != NULL) {
        free(watch->pools);
        watch->pools = NULL;
        watch->n = 0;
    }
}

void outlier_watch_free(struct outlier_watch *watch)
{
    free(watch);
}
