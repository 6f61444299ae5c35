/* SPDX-License-Identifier: Apache-2.0 */
/* Trace contexts: which traceparent counts, and what goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/http/trace_context.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"
#define ALL   1000000
#define GOOD  "00-" TRACE "-" SPAN "-01"

static const uint64_t ours[] = {0x1111111111111111, 0x2222222222222222, 0x3333333333333333};

static void which_traceparent_counts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok, sampled;
    } table[] = {
        {GOOD, true, true},
        {"00-" TRACE "-" SPAN "-00", true, false},
        {"00-" TRACE "-" SPAN "-03", true, true}, /* flags that nobody knows yet */
        {"00-" TRACE "-" SPAN "-fe", true, false},
        {"01-" TRACE "-" SPAN "-01", true, true},
        {"cc-" TRACE "-" SPAN "-01-what-the-future-brings", true, true},
        {"cc-" TRACE "-" SPAN "-01-", true, true},
        {"", false, false},
        {"00", false, false},
        {GOOD "-extra", false, false},
        {GOOD "x", false, false},
        {"cc-" TRACE "-" SPAN "-01x", false, false},
        {"cc-" TRACE "-" SPAN "-01.x", false, false},
        {"ff-" TRACE "-" SPAN "-01", false, false},
        {"0-" TRACE "-" SPAN "-01-", false, false},
        {"0g-" TRACE "-" SPAN "-01", false, false},
        {"00_" TRACE "-" SPAN "-01", false, false},
        {"00-" TRACE "_" SPAN "-01", false, false},
        {"00-" TRACE "-" SPAN "_01", false, false},
        {"00-" TRACE "-" SPAN "-0", false, false},
        {"00-" TRACE "-" SPAN "-0x", false, false},
        {"00-4BF92f3577b34da6a3ce929d0e0e4736-" SPAN "-01", false, false},
        {"00-" TRACE "-00F067aa0ba902b7-01", false, false},
        {"00-00000000000000000000000000000000-" SPAN "-01", false, false},
        {"00-" TRACE "-0000000000000000-01", false, false},
        {"00-" TRACE "-" SPAN "-0A", false, false},
        {" " GOOD, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct trace trace = {.sampled = false};
        if (trace_parse(span_str(table[i].text), &trace) != table[i].ok)
            fail_msg("%s", table[i].text);
        if (!table[i].ok)
            continue;
        assert_int_equal(trace.sampled, table[i].sampled);
        assert_true(span_eq(trace_id_of(&trace), SPAN_LIT(TRACE)));
        assert_memory_equal(trace.parent, SPAN, SPAN_ID);
    }
}

/* What a head with these fields goes on with: its traceparent, and whether tracestate is there. */
static void pass(struct trace *trace, const char *const fields[][2], uint32_t sample,
                 const char *want, bool want_state)
{
    struct http_head head;
    unsigned parents = 0, states = 0;
    http_head_init(&head);
    for (size_t i = 0; fields[i][0] != NULL; i++)
        http_head_add(&head, field_lookup(span_str(fields[i][0])), span_str(fields[i][0]),
                      span_str(fields[i][1]));
    const struct trace_sampler sampler = {trace_below(sample), false};
    trace_begin(&head, trace, &sampler, ours);
    trace_forward(&head, trace);
    for (unsigned i = 0; i < head.n_fields; i++) {
        const struct http_field *f = &head.fields[i];
        if (f->flags & FIELD_DROPPED)
            continue;
        if (f->id == FIELD_TRACEPARENT) {
            assert_true(span_eq(field_value(f), span_str(want)));
            parents++;
        }
        states += span_eq_nocase(field_name(f), SPAN_LIT("tracestate"));
    }
    assert_int_equal(parents, 1);
    assert_int_equal(states, want_state);
}

#define MADE "00-11111111111111112222222222222222-3333333333333333-"

static void a_client_s_trace_goes_on_with_a_span_of_ours(void **state)
{
    (void)state;
    struct trace trace;
    const char *const fields[][2] = {{"TraceParent", GOOD}, {"tracestate", "a=1"}, {NULL, NULL}};
    pass(&trace, fields, 0, "00-" TRACE "-3333333333333333-01", true);
    assert_true(trace.has_parent && trace.sampled);
    const char *const later[][2] = {{"traceparent", "cc-" TRACE "-" SPAN "-08-more"}, {NULL, NULL}};
    pass(&trace, later, ALL, "00-" TRACE "-3333333333333333-00", false);
}

static void what_cannot_be_read_is_replaced_with_its_state(void **state)
{
    (void)state;
    struct trace trace;
    const char *const none[][2] = {{"tracestate", "a=1"}, {NULL, NULL}};
    const char *const bad[][2] = {{"traceparent", "00-x"}, {"Tracestate", "a=1"}, {NULL, NULL}};
    const char *const two[][2] = {{"traceparent", GOOD}, {"traceparent", GOOD}, {NULL, NULL}};
    pass(&trace, none, ALL, MADE "01", false);
    assert_false(trace.has_parent);
    pass(&trace, bad, 0, MADE "00", false);
    pass(&trace, two, ALL, MADE "01", false);
}

static bool samples(uint64_t low, uint32_t sample)
{
    struct http_head head;
    struct trace trace, again;
    const uint64_t random[] = {0, low, 0};
    const struct trace_sampler sampler = {trace_below(sample), false};
    http_head_init(&head);
    trace_begin(&head, &trace, &sampler, random);
    assert_true(trace_parse(span_of(trace.text, TRACEPARENT), &again)); /* no id is zero */
    assert_int_equal(again.sampled, trace.sampled);
    return trace.sampled;
}

static void a_ratio_of_the_ids_is_sampled(void **state)
{
    (void)state;
    static const struct {
        uint64_t low;
        uint32_t sample;
        bool want;
    } table[] = {
        {0, 0, false},
        {0, 1, true},
        {UINT64_MAX, ALL - 1, false},
        {UINT64_MAX, ALL, true},
        {UINT64_C(1) << 63, 500000, false},
        {(UINT64_C(1) << 63) - 1, 500000, true},
        {UINT64_MAX / 1000000 - 2, 1, true},
        {UINT64_MAX / 1000000, 1, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (samples(table[i].low, table[i].sample) != table[i].want)
            fail_msg("%016llx of %u", (unsigned long long)table[i].low, table[i].sample);
}

static void of_random_ids_as_many_are_sampled_as_is_wanted(void **state)
{
    (void)state;
    static const uint32_t shares[] = {1000, 10000, 250000, 990000};
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        struct lb_rng rng;
        uint32_t sampled = 0;
        lb_rng_seed(&rng, 7);
        for (int n = 0; n < 100000; n++)
            sampled += samples(lb_rng_next(&rng), shares[i]);
        double want = shares[i] / 10.0, off = sampled > want ? sampled - want : want - sampled;
        assert_true(off * off < 16 * want * (1 - want / 100000)); /* four deviations */
    }
}

static void weir_may_decide_alone(void **state)
{
    (void)state;
    struct http_head head;
    struct trace trace;
    const struct trace_sampler all = {TRACE_ALL, true}, none = {0, true};
    http_head_init(&head);
    http_head_add(&head, FIELD_TRACEPARENT, SPAN_LIT("traceparent"), SPAN_LIT(GOOD));
    trace_begin(&head, &trace, &none, ours);
    assert_false(trace.sampled);
    assert_true(trace.has_parent && span_eq(trace_id_of(&trace), SPAN_LIT(TRACE)));
    assert_memory_equal(trace.text, "00-" TRACE "-3333333333333333-00", TRACEPARENT);
    head.fields[0].value = "00-" TRACE "-" SPAN "-00";
    trace_begin(&head, &trace, &all, ours);
    assert_true(trace.sampled);
    /* The last half of its id is 63.987% of all. */
    const struct trace_sampler most = {trace_below(639871), true},
                               fewer = {trace_below(639870), true};
    trace_begin(&head, &trace, &most, ours);
    assert_true(trace.sampled);
    trace_begin(&head, &trace, &fewer, ours);
    assert_false(trace.sampled);
}

static void spans_within_change_what_is_forwarded_and_nothing_else(void **state)
{
    (void)state;
    struct http_head head;
    struct trace trace;
    const struct trace_sampler all = {TRACE_ALL, false};
    http_head_init(&head);
    trace_begin(&head, &trace, &all, ours);
    trace_forward(&head, &trace);
    trace_within(&trace, 0xabc);
    assert_true(span_eq(field_value(http_head_find(&head, FIELD_TRACEPARENT)),
                        SPAN_LIT("00-11111111111111112222222222222222-0000000000000abc-01")));
    assert_true(span_eq(trace_span_of(&trace), SPAN_LIT("3333333333333333")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_traceparent_counts),
        cmocka_unit_test(a_client_s_trace_goes_on_with_a_span_of_ours),
        cmocka_unit_test(what_cannot_be_read_is_replaced_with_its_state),
        cmocka_unit_test(a_ratio_of_the_ids_is_sampled),
        cmocka_unit_test(of_random_ids_as_many_are_sampled_as_is_wanted),
        cmocka_unit_test(weir_may_decide_alone),
        cmocka_unit_test(spans_within_change_what_is_forwarded_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
