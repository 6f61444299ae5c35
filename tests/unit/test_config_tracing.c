/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says about traces, and what is said about it. */
#include "tests/unit/test_config.h"

#define TRACING(text) "tracing: " text "\nversion: 1\n" LISTENERS ROUTES POOLS

static void test_defaults(void **state)
{
    (void)state;
    struct config *cfg = load_good("version: 1\n" LISTENERS ROUTES POOLS);
    assert_false(cfg->tracing.enabled);
    config_free(cfg);
    cfg = load_good(TRACING("{}"));
    assert_true(cfg->tracing.enabled && !cfg->tracing.export.enabled);
    assert_int_equal(cfg->tracing.sample, 10000);
    assert_int_equal(cfg->tracing.parent, CONFIG_TRACE_FOLLOW);
    assert_string_equal(cfg->tracing.service, "weir");
    config_free(cfg);
    cfg = load_good(TRACING("{ export: 'http://[::1]:4318' }"));
    const struct config_trace_export *to = &cfg->tracing.export;
    assert_true(to->enabled && to->ca.text == NULL && to->header_count == 0);
    assert_string_equal(to->url, "http://[::1]:4318");
    assert_int_equal(to->batch, 512);
    assert_true(to->every_ms == 1000 && to->timeout_ms == 10000);
    config_free(cfg);
}

static void test_shares(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t millionths;
    } table[] = {{"0%", 0},         {"100%", 1000000}, {"100.0000%", 1000000}, {"0.0001%", 1},
                 {"12.5%", 125000}, {"0.1%", 1000},    {"33.3333%", 333333}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char yaml[512], *dump;
        size_t len;
        snprintf(yaml, sizeof(yaml), TRACING("{ sample: %s }"), table[i].text);
        struct config *cfg = load_good(yaml);
        assert_int_equal(cfg->tracing.sample, table[i].millionths);
        FILE *out = open_memstream(&dump, &len);
        config_dump(cfg, out);
        fclose(out);
        struct config *again = load_good(dump);
        assert_int_equal(again->tracing.sample, table[i].millionths);
        free(dump);
        config_free(again);
        config_free(cfg);
    }
}

#define SAMPLE(text, found)                                                       \
    {                                                                             \
        TRACING("{ sample: " text " }"), "t:1:20: error: tracing.sample: " found, \
    }
#define EXPORT(text) TRACING("{ export: " text " }")

static void test_what_is_wrong(void **state)
{
    (void)state;
    CASES(SAMPLE("100.0001%", "100.0001% is out of range; expected 0% to 100%"),
          SAMPLE("0.00001%", "expected a percentage such as 10% or 0.5%; found \"0.00001%\""),
          SAMPLE("1.%", "expected a percentage such as 10% or 0.5%; found \"1.%\""),
          SAMPLE(".5%", "expected a percentage such as 10% or 0.5%; found \".5%\""),
          SAMPLE("5", "expected a percentage such as 10% or 0.5%; found the number 5"),
          {TRACING("{ parent: both }"),
           "t:1:20: error: tracing.parent: expected follow or ignore; found \"both\""},
          {TRACING("{ service: '' }"),
           "t:1:21: error: tracing.service: the name of a service has 1 to 255 characters"},
          {EXPORT("{ batch: 1 }"),
           "t:1:20: error: tracing.export: the key \"to\" is missing: A collector that takes OTLP "
           "over HTTP; /v1/traces goes behind it."},
          {EXPORT("collector:4318"),
           "t:1:20: error: tracing.export: \"collector:4318\" is no URL such as "
           "http://localhost:4318"},
          {EXPORT("'http://a?b'"),
           "t:1:20: error: tracing.export: \"http://a?b\" is no URL such as "
           "http://localhost:4318"},
          {EXPORT("{ to: 'http://a', headers: { Host: b } }"),
           "t:1:49: error: tracing.export: weir writes the field host itself"},
          {EXPORT("{ to: 'http://a', ca: x.pem }"),
           "t:1:42: warning: tracing.export: of no use with http:"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
