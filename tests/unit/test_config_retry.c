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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_budget_is_on_unless_told_otherwise),
        cmocka_unit_test(test_a_budget_alone_or_in_a_mapping),
        cmocka_unit_test(test_what_is_wrong_with_a_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
