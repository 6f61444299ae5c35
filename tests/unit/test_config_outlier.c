/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about outlier detection, and what is said about it. */
#include "tests/unit/test_config.h"

#define OUTLIER(text)                                           \
    "pools: { app: { endpoints: [a:1], outlier: " text " } }\n" \
    "version: 1\n" LISTENERS ROUTES

static struct config *load(const char *yaml)
{
    struct config *cfg;
    char *said = load_messages(yaml, strlen(yaml), &cfg);
    assert_string_equal(said, "");
    free(said);
    return cfg;
}

static void test_it_is_on_unless_told_otherwise(void **state)
{
    (void)state;
    struct config *cfg = load_good("version: 1\n" LISTENERS ROUTES POOLS);
    const struct config_outlier *o = &cfg->pools[0].outlier;
    assert_int_equal(o->mode, CONFIG_OUTLIER_ENFORCE);
    assert_int_equal(o->errors, 5);
    assert_true(o->eject_ms == 30000 && o->max_eject_ms == 300000 && o->interval_ms == 10000);
    assert_int_equal(o->max, 50);
    assert_int_equal(o->success_rate.mode, CONFIG_OUTLIER_ENFORCE);
    assert_int_equal(o->latency.mode, CONFIG_OUTLIER_OBSERVE);
    config_free(cfg);
    cfg = load(OUTLIER("{ errors: 5, eject: 30s, max: 50% }"));
    assert_int_equal(cfg->pools[0].outlier.mode, CONFIG_OUTLIER_ENFORCE);
    config_free(cfg);
}

static void test_modes_alone_or_in_a_mapping(void **state)
{
    (void)state;
    struct config *cfg = load(OUTLIER("none"));
    assert_int_equal(cfg->pools[0].outlier.mode, CONFIG_OUTLIER_NONE);
    config_free(cfg);
    cfg = load(OUTLIER("{ mode: observe, errors: none, success_rate: none,"
                       " latency: { mode: enforce, factor: 200%, least: 1s } }"));
    const struct config_outlier *o = &cfg->pools[0].outlier;
    assert_int_equal(o->mode, CONFIG_OUTLIER_OBSERVE);
    assert_int_equal(o->errors, 0);
    assert_int_equal(o->success_rate.mode, CONFIG_OUTLIER_NONE);
    assert_int_equal(o->latency.mode, CONFIG_OUTLIER_ENFORCE);
    assert_int_equal(o->latency.factor, 200);
    assert_int_equal(o->latency.endpoints, 3);
    assert_true(o->latency.least_ms == 1000);
    config_free(cfg);
}

static void test_what_is_wrong(void **state)
{
    (void)state;
    CASES({OUTLIER("false"),
           "t:1:44: error: pools.app.outlier: expected one of enforce, observe, none; found "
           "the boolean false"},
          {OUTLIER("off"),
           "t:1:44: error: pools.app.outlier: expected one of enforce, observe, none; found "
           "the boolean off"},
          {OUTLIER("{ mode: enforced }"),
           "t:1:52: error: pools.app.outlier.mode: expected one of enforce, observe, none; "
           "found \"enforced\"; did you mean \"enforce\"?"},
          {OUTLIER("{ errors: 0 }"),
           "t:1:54: error: pools.app.outlier.errors: 0 is out of range; expected 1 to 1000, "
           "or none"},
          {OUTLIER("{ max: 0% }"),
           "t:1:51: error: pools.app.outlier.max: 0% is out of range; expected 1% to 100%"},
          {OUTLIER("{ max: 50 }"),
           "t:1:51: error: pools.app.outlier.max: the number 50 needs a unit: %; expected a "
           "percentage such as 125%"},
          {OUTLIER("{ eject: 30 }"),
           "t:1:53: error: pools.app.outlier.eject: the number 30 needs a unit: ms, s, m or "
           "h; expected a duration such as 500ms, 10s or 5m"},
          {OUTLIER("{ eject: 10m }"),
           "t:1:53: error: pools.app.outlier: eject is longer than max_eject, the longest "
           "that it becomes; raise max_eject, or lower eject"},
          {OUTLIER("{ max_eject: 10s }"),
           "t:1:57: error: pools.app.outlier: eject is longer than max_eject, the longest "
           "that it becomes; raise max_eject, or lower eject"},
          {OUTLIER("{ interval: 1ms }"),
           "t:1:56: error: pools.app.outlier.interval: 1ms is out of range; expected 100ms "
           "to 1h"},
          {OUTLIER("{ consecutive: 5 }"),
           "t:1:46: error: pools.app.outlier.consecutive: unknown key; the keys here are "
           "mode, errors, eject, max_eject, max, interval, success_rate, latency"},
          {OUTLIER("{ success_rate: { endpoints: 2 } }"),
           "t:1:73: error: pools.app.outlier.success_rate.endpoints: 2 is out of range; "
           "expected 3 to 1000"},
          {OUTLIER("{ success_rate: { least: 5ms } }"),
           "t:1:62: error: pools.app.outlier.success_rate.least: unknown key; the keys here "
           "are mode, factor, endpoints, requests"},
          {OUTLIER("{ latency: { factor: 100% } }"),
           "t:1:65: error: pools.app.outlier.latency.factor: 100% is out of range; expected "
           "101% to 10000%"},
          {OUTLIER("{ latency: true }"),
           "t:1:55: error: pools.app.outlier.latency: expected one of enforce, observe, "
           "none; found the boolean true"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_on_unless_told_otherwise),
        cmocka_unit_test(test_modes_alone_or_in_a_mapping),
        cmocka_unit_test(test_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
