/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about retries, and what is said about it. */
#include "balancer/budget.h"
#include "tests/unit/test_config.h"

#define BUDGET(text)                                                 \
    "pools: { app: { endpoints: [a:1], retry_budget: " text " } }\n" \
    "version: 1\n" LISTENERS ROUTES

static struct config *load(const char *yaml)
{
    struct config *cfg;
    char *said = load_messages(yaml, strlen(yaml), &cfg);
    assert_string_equal(said, "");
    free(said);
    return cfg;
}

static void test_the_budget_is_on_unless_told_otherwise(void **state)
{
    (void)state;
    struct config *cfg = load_good("version: 1\n" LISTENERS ROUTES POOLS);
    struct lb_budget_rule rule = lb_budget_default();
    const struct config_retry_budget *b = &cfg->pools[0].retry_budget;
    assert_int_equal(b->ratio, rule.percent);
    assert_int_equal(b->min, rule.min_rate);
    assert_true(b->window_ms * 1000 == rule.window_us);
    config_free(cfg);
}

static void test_a_budget_alone_or_in_a_mapping(void **state)
{
    (void)state;
    struct config *cfg = load(BUDGET("5%"));
    assert_int_equal(cfg->pools[0].retry_budget.ratio, 5);
    assert_int_equal(cfg->pools[0].retry_budget.min, 10);
    config_free(cfg);
    cfg = load(BUDGET("none"));
    assert_int_equal(cfg->pools[0].retry_budget.ratio, CONFIG_RATIO_ANY);
    config_free(cfg);
    cfg = load(BUDGET("{ ratio: 0%, min: 3/s, window: 1m }"));
    assert_int_equal(cfg->pools[0].retry_budget.ratio, 0);
    assert_int_equal(cfg->pools[0].retry_budget.min, 3);
    assert_true(cfg->pools[0].retry_budget.window_ms == 60000);
    config_free(cfg);
}

static void test_what_is_wrong_with_a_budget(void **state)
{
    (void)state;
    CASES({BUDGET("20"), "t:1:49: error: pools.app.retry_budget: the number 20 needs a unit: %; "
                         "expected a percentage such as 125%"},
          {BUDGET("101%"), "t:1:49: error: pools.app.retry_budget: 101% is out of range; expected "
                           "0% to 100%, or none"},
          {BUDGET("{ min: 10 }"),
           "t:1:56: error: pools.app.retry_budget.min: the number 10 needs a unit: /s; expected "
           "a rate such as 10/s"},
          {BUDGET("{ min: 10/m }"), "t:1:56: error: pools.app.retry_budget.min: unknown unit in "
                                    "\"10/m\"; the units are /s"},
          {BUDGET("{ window: 1ms }"),
           "t:1:59: error: pools.app.retry_budget.window: 1ms is out of range; expected 1s to 1h"},
          {BUDGET("{ percent: 20% }"),
           "t:1:51: error: pools.app.retry_budget.percent: unknown key; the keys here are ratio, "
           "min, window"});
}

#define RETRY(text) ROUTE("{ to: app, retry: " text " }")

static void test_one_retry_unless_told_otherwise(void **state)
{
    (void)state;
    struct config *cfg = load_good("version: 1\n" LISTENERS ROUTES POOLS);
    const struct config_retry *r = &cfg->routes[0].retry;
    assert_int_equal(r->attempts, 1);
    assert_true(r->when_count == 0 && r->method_count == 0 && !r->same_endpoint);
    assert_true(r->backoff_ms == 25 && r->max_backoff_ms == 250 && r->retry_after_ms == 1000);
    assert_int_equal(cfg->pools[0].hedge, 0);
    config_free(cfg);
}

static void test_retries_alone_or_in_a_mapping(void **state)
{
    (void)state;
    struct config *cfg = load(RETRY("3"));
    assert_int_equal(cfg->routes[0].retry.attempts, 3);
    config_free(cfg);
    cfg = load(RETRY("none"));
    assert_int_equal(cfg->routes[0].retry.attempts, 0);
    config_free(cfg);
    cfg = load(RETRY("{ when: [unavailable, 502, \"503\"], methods: POST, backoff: 0ms }"));
    const struct config_retry *r = &cfg->routes[0].retry;
    assert_int_equal(r->when_count, 3);
    assert_string_equal(r->when[1].text, "502");
    assert_string_equal(r->when[2].text, "503");
    assert_int_equal(r->method_count, 1);
    assert_true(r->backoff_ms == 0);
    config_free(cfg);
}

static void test_what_is_wrong_with_retries(void **state)
{
    (void)state;
    CASES({RETRY("{ when: [conect] }"),
           "t:1:37: error: routes[0].retry.when[0]: expected one of connect, reset, timeout, "
           "unavailable, 408, 409, 425, 429, 500, 502, 503, 504; found \"conect\"; did you mean "
           "\"connect\"?"},
          {RETRY("{ when: [503, 503] }"),
           "t:1:42: error: routes[0].retry.when[1]: \"503\" is listed twice; first in line 1"},
          {RETRY("{ when: [] }"),
           "t:1:36: error: routes[0].retry.when: expected at least one condition, such as connect "
           "or 503; for no retries, set attempts: 0"},
          {RETRY("{ methods: GET }"), "t:1:39: error: routes[0].retry.methods: expected one of "
                                      "POST, PATCH; found \"GET\""},
          {RETRY("{ when: [reset, unavailable] }"),
           "t:1:44: error: routes[0].retry: calls of gRPC are POSTs, which are not sent twice "
           "unless the route says so; add methods: POST if doing them twice does no harm, or leave "
           "unavailable out"},
          {RETRY("{ backoff: 1s }"),
           "t:1:39: error: routes[0].retry: backoff is longer than max_backoff, the longest that "
           "it becomes; raise max_backoff, or lower backoff"},
          {POOL("{ endpoints: [a:1], hedge: 100% }"),
           "t:1:42: error: pools.app.hedge: 100% is out of range; expected 50% to 99%, or none"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_budget_is_on_unless_told_otherwise),
        cmocka_unit_test(test_a_budget_alone_or_in_a_mapping),
        cmocka_unit_test(test_what_is_wrong_with_a_budget),
        cmocka_unit_test(test_one_retry_unless_told_otherwise),
        cmocka_unit_test(test_retries_alone_or_in_a_mapping),
        cmocka_unit_test(test_what_is_wrong_with_retries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
