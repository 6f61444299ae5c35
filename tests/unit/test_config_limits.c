/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about limits and queues, and what is said about it. */
#include "tests/unit/test_config.h"

#define LIMITS(text)                                   \
    "pools: { app: { endpoints: [a:1], " text " } }\n" \
    "version: 1\n" LISTENERS ROUTES

static void test_there_is_no_limit_and_no_queue_unless_one_is_given(void **state)
{
    (void)state;
    struct config *cfg = load_good("version: 1\n" LISTENERS ROUTES POOLS);
    const struct config_pool *pool = &cfg->pools[0];
    assert_int_equal(pool->max_requests, 0);
    assert_int_equal(pool->limit.mode, CONFIG_LIMIT_NONE);
    assert_false(pool->queue.enabled);
    config_free(cfg);
}

static void assert_queue(const char *yaml, uint32_t max, uint64_t wait_ms, enum config_order order)
{
    struct config *cfg = load_good(yaml);
    const struct config_queue *queue = &cfg->pools[0].queue;
    assert_true(queue->enabled);
    assert_int_equal(queue->max, max);
    assert_true(queue->wait_ms == wait_ms);
    assert_int_equal(queue->order, order);
    config_free(cfg);
}

static void test_what_is_over_a_limit_waits(void **state)
{
    (void)state;
    assert_queue(LIMITS("max_requests: 5"), 256, 2000, CONFIG_ORDER_ADAPTIVE);
    assert_queue(LIMITS("max_requests: 5, queue: {}"), 256, 2000, CONFIG_ORDER_ADAPTIVE);
    assert_queue(LIMITS("limit: adaptive, queue: 9"), 9, 2000, CONFIG_ORDER_ADAPTIVE);
    assert_queue(LIMITS("limit: adaptive, queue: none"), 0, 2000, CONFIG_ORDER_ADAPTIVE);
    assert_queue(LIMITS("max_requests: 5, queue: { max: 7, wait: 30s, order: fifo }"), 7, 30000,
                 CONFIG_ORDER_FIFO);
}

static void test_whose_turn_and_how_the_limit_is_found(void **state)
{
    (void)state;
    struct config *cfg =
        load_good(LIMITS("max_requests: 50, limit: { mode: adaptive, min: 2, start: 9 },"
                         " queue: { key: { header: X-User } }"));
    const struct config_pool *pool = &cfg->pools[0];
    assert_int_equal(pool->max_requests, 50);
    assert_int_equal(pool->limit.mode, CONFIG_LIMIT_ADAPTIVE);
    assert_int_equal(pool->limit.min, 2);
    assert_int_equal(pool->limit.start, 9);
    assert_true(pool->queue.key.enabled);
    config_free(cfg);
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    CASES(
        {LIMITS("queue: 5"),
         "t:1:42: error: pools.app: there is nothing to wait for: the pool has no limit; give it "
         "or its endpoints max_requests or max_connections, or limit: adaptive, or leave queue "
         "out"},
        {LIMITS("max_connections: 3, upstream: { protocol: h2 }"),
         "t:1:15: error: pools.app: max_connections is for HTTP/1, where a connection serves one "
         "request at a time, and this pool may speak HTTP/2; give it max_requests, or "
         "upstream.protocol: h1"},
        {LIMITS("max_requests: 3, limit: adaptive"),
         "t:1:59: error: pools.app: at least 4 requests (limit.min) cannot be let through where "
         "max_requests is 3; lower the one, or raise the other"},
        {LIMITS("max_requests: 0"), "t:1:49: error: pools.app.max_requests: 0 is out of range; "
                                    "expected 1 to 1000000, or none"},
        {LIMITS("limit: { min: 3 }"),
         "t:1:49: error: pools.app.limit.min: only for mode: adaptive"},
        {LIMITS("max_requests: 3, queue: { wait: 5 }"),
         "t:1:67: error: pools.app.queue.wait: the number 5 needs a unit: ms, s, m or h; expected "
         "a duration such as 500ms, 10s or 5m"},
        {LIMITS("max_requests: 3, queue: { order: lifo }"),
         "t:1:68: error: pools.app.queue.order: expected one of adaptive, fifo; found \"lifo\"; "
         "did you mean \"fifo\"?"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_is_no_limit_and_no_queue_unless_one_is_given),
        cmocka_unit_test(test_what_is_over_a_limit_waits),
        cmocka_unit_test(test_whose_turn_and_how_the_limit_is_found),
        cmocka_unit_test(test_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
