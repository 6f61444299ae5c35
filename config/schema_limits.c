/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a pool's limits and of its queue. Constant data; any thread. */
#include "config/bind.h"
#include "config/rows.h"

#define QUEUE_MAX  256
#define QUEUE_WAIT (2 * SECOND)

static const struct schema_choice orders[] = {
    {.name = "adaptive", .value = CONFIG_ORDER_ADAPTIVE},
    {.name = "fifo", .value = CONFIG_ORDER_FIFO},
    {0},
};

static const struct schema_row queue_rows[] = {
    {INT("max", config_queue, max), .dflt = "256", .min = 1, .max = 1000000, .word = "none",
     .word_value = 0,
     .doc = "How many requests may wait, beyond which 503 is answered; none: at once."},
    {DURATION("wait", config_queue, wait_ms), .dflt = "2s", .min = 10 * MS, .max = HOUR,
     .doc = "How long one may wait before 503 is answered."},
    {SCALAR("order", config_queue, order, enum config_order, type_enum), .choices = orders,
     .dflt = "adaptive",
     .doc = "adaptive (the oldest first; the newest first, and for a twentieth of wait, once the "
            "queue has not been empty for as long as wait) or fifo (always the oldest)."},
    {.key = "key",
     .shape = SHAPE_TABLE,
     .flags = ROW_SWITCH,
     .table = &schema_key,
     .offset = FIELD(config_queue, key, struct config_key),
     .present_offset = FIELD(config_queue, key.enabled, bool),
     .doc = "What those have in common that share a turn, so that nobody waits behind all that "
            "somebody else sends; that of balance if not given."},
};

const struct schema_table schema_queue = {
    .expected = "a number, none, or a mapping such as { max: 256, wait: 2s }",
    ROWS(queue_rows),
    .short_key = "max",
    .own = true,
};

static const struct schema_choice modes[] = {
    {.name = "none", .value = CONFIG_LIMIT_NONE},
    {.name = "adaptive", .value = CONFIG_LIMIT_ADAPTIVE},
    {0},
};

static bool is_adaptive(const void *obj)
{
    const struct config_limit *limit = obj;
    return limit->mode == CONFIG_LIMIT_ADAPTIVE;
}

#define ADAPTIVE .applies = is_adaptive, .applies_to = "mode: adaptive"

static const struct schema_row limit_rows[] = {
    {SCALAR("mode", config_limit, mode, enum config_limit_mode, type_enum), .choices = modes,
     .dflt = "none",
     .doc = "adaptive (as many requests at once as the pool answers without getting slower, "
            "within max_requests) or none."},
    {INT("min", config_limit, min), ADAPTIVE, .dflt = "4", .min = 1, .max = 1000000,
     .doc = "The fewest that are let through at once."},
    {INT("start", config_limit, start), ADAPTIVE, .dflt = "20", .min = 1, .max = 1000000,
     .doc = "How many before anything is known, within min and max_requests."},
};

const struct schema_table schema_limit = {
    .expected = "adaptive or none, or a mapping such as { mode: adaptive, min: 10 }",
    ROWS(limit_rows),
    .short_key = "mode",
    .own = true,
};

static bool limits_conns(const struct config_pool *pool)
{
    for (size_t i = 0; i < pool->endpoint_count; i++)
        if (pool->endpoints[i].max_connections != 0)
            return true;
    return pool->max_connections != 0;
}

static bool is_limited(const struct config_pool *pool)
{
    for (size_t i = 0; i < pool->endpoint_count; i++)
        if (pool->endpoints[i].max_requests != 0)
            return true;
    return pool->max_requests != 0 || limits_conns(pool) || pool->limit.mode != CONFIG_LIMIT_NONE;
}

static void check_adaptive(struct bind *b, const struct config_pool *pool)
{
    const struct config_limit *limit = &pool->limit;
    if (limit->mode != CONFIG_LIMIT_ADAPTIVE)
        return;
    if (pool->max_requests != 0 && limit->min > pool->max_requests)
        bind_error(b, limit->pos,
                   "at least %u requests (limit.min) cannot be let through where max_requests is "
                   "%u; lower the one, or raise the other",
                   limit->min, pool->max_requests);
}

/* What shares a connection is not limited by their number. */
static void check_conns(struct bind *b, const struct config_pool *pool)
{
    bool h2 = pool->protocol == CONFIG_PROTOCOL_H2 ||
              (pool->protocol == CONFIG_PROTOCOL_AUTO && pool->tls.enabled);
    if (h2 && limits_conns(pool))
        bind_error(b, pool->pos,
                   "max_connections is for HTTP/1, where a connection serves one request at a "
                   "time, and this pool may speak HTTP/2; give it max_requests, or "
                   "upstream.protocol: h1");
}

void schema_give_queue(struct config_pool *pool)
{
    if (!pool->queue.enabled && is_limited(pool))
        pool->queue = (struct config_queue){
            .pos = pool->pos, .enabled = true, .max = QUEUE_MAX, .wait_ms = QUEUE_WAIT};
}

void schema_check_limits(struct bind *b, struct config_pool *pool)
{
    check_adaptive(b, pool);
    check_conns(b, pool);
    if (pool->queue.enabled && !is_limited(pool) && pool->file.text == NULL)
        bind_error(b, pool->queue.pos,
                   "there is nothing to wait for: the pool has no limit; give it or its endpoints "
                   "max_requests or max_connections, or limit: adaptive, or leave queue out");
    schema_give_queue(pool);
}
