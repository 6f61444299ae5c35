/* SPDX-License-Identifier: Apache-2.0 */
/* Outlier detection: going out, coming back, comparing, telling. A clock of the test's. */
#include "tests/unit/test_balancer_pool.h"

#include <pthread.h>

#include "balancer/outlier.h"
#include "balancer/state.h"

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)
#define START  (100 * SECOND)

static const struct lb_outlier_options defaults = {
    .mode = LB_RULE_ENFORCE,
    .errors = 5,
    .max = 50,
    .eject_us = 30 * SECOND,
    .max_eject_us = 300 * SECOND,
    .success_rate = {LB_RULE_ENFORCE, 190, 5, 100, 0},
    .latency = {LB_RULE_ENFORCE, 300, 3, 100, 5 * MS},
};

static struct test_pool watched(uint32_t count, const struct lb_outlier_options *options)
{
    struct test_pool p = pool_new(count, NULL);
    lb_outlier_attach(pool_group(&p, &lb_random), options);
    return p;
}

/* An attempt at i that is not a probe. */
static bool attempt(struct lb *lb, uint32_t i, enum lb_outcome outcome, uint64_t us, uint64_t now)
{
    struct lb_lease lease = {0};
    lb_started(lb, &lease, i, now);
    return lb_finished(&lease, outcome, us, now);
}

static bool fails(struct lb *lb, uint32_t i, unsigned times, uint64_t now)
{
    bool news = false;
    for (unsigned n = 0; n < times; n++)
        news = attempt(lb, i, LB_ERROR, MS, now);
    return news;
}

static bool is_out(const struct test_pool *p, uint32_t i)
{
    return lb_group_marks(p->group, i) & LB_EJECTED;
}

static uint64_t counted(const struct test_pool *p, enum lb_cause cause, enum lb_result result)
{
    return lb_outlier_count(p->group, cause, result);
}

static struct lb_ejection known(const struct test_pool *p, uint32_t i, uint64_t now)
{
    struct lb_ejection e;
    assert_true(lb_outlier_read(p->group, i, now, &e));
    return e;
}

static void count_told(void *ctx, uint32_t index)
{
    (void)index;
    ++*(unsigned *)ctx;
}

static unsigned sweep(struct test_pool *p, uint64_t now)
{
    unsigned told = 0;
    lb_outlier_sweep(p->group, now, count_told, &told);
    return told;
}

/* BEHAVIOUR 8: 5 consecutive 5xx, resets or timeouts. */
static void test_what_counts_in_a_row(void **state)
{
    static const struct {
        enum lb_outcome outcome;
        bool fails;
    } cases[] = {
        {LB_OK, false},       {LB_OVERLOADED, false},    {LB_UNAVAILABLE, true},
        {LB_ERROR, true},     {LB_CONNECT_FAILED, true}, {LB_FAILED, true},
        {LB_TIMED_OUT, true}, {LB_CANCELLED, false},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct test_pool p = watched(2, &defaults);
        struct lb *lb = pool_lb(&p, &lb_random, 1);
        for (int n = 0; n < 4; n++)
            assert_false(attempt(lb, 0, cases[k].outcome, MS, START));
        assert_false(is_out(&p, 0));
        assert_int_equal(attempt(lb, 0, cases[k].outcome, MS, START), cases[k].fails);
        assert_int_equal(is_out(&p, 0), cases[k].fails);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_an_answer_begins_the_row_again_and_a_cancelled_attempt_does_not(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    assert_false(fails(lb, 0, 4, START));
    attempt(lb, 0, LB_OK, MS, START);
    assert_false(fails(lb, 0, 4, START));
    attempt(lb, 0, LB_CANCELLED, MS, START);
    assert_true(fails(lb, 0, 1, START));
    assert_true(is_out(&p, 0));
    assert_false(fails(lb, 0, 20, START)); /* it is out already */
    assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_EJECTED), 1);
    lb_free(lb);
    pool_free(&p);
}

static void test_the_row_is_counted_over_all_workers(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *a = pool_lb(&p, &lb_random, 1), *b = pool_lb(&p, &lb_random, 2);
    (void)state;
    assert_false(fails(a, 0, 3, START));
    assert_true(fails(b, 0, 2, START));
    for (int n = 0; n < 50; n++)
        assert_int_equal(lb_pick(a, 0, NULL, START), 1);
    lb_free(a);
    lb_free(b);
    pool_free(&p);
}

/* BEHAVIOUR 8: never the last endpoint. */
static void test_the_last_endpoint_is_never_ejected(void **state)
{
    struct lb_outlier_options all = defaults;
    all.max = 100;
    struct test_pool one = watched(1, &all), three = watched(3, &all);
    struct lb *lb1 = pool_lb(&one, &lb_random, 1), *lb3 = pool_lb(&three, &lb_random, 1);
    (void)state;
    assert_false(fails(lb1, 0, 10, START));
    assert_false(is_out(&one, 0));
    assert_int_equal(counted(&one, LB_CAUSE_ERRORS, LB_RESULT_HELD), 2);
    lb_group_mark(three.group, 1, LB_DOWN, true, START); /* that is no other one */
    assert_true(fails(lb3, 0, 5, START));
    assert_false(fails(lb3, 2, 5, START));
    lb_group_mark(three.group, 1, LB_DOWN, false, START);
    assert_true(fails(lb3, 2, 5, START)); /* who was spared is looked at again */
    lb_free(lb1);
    lb_free(lb3);
    pool_free(&one);
    pool_free(&three);
}

/* BEHAVIOUR 8: at most 50%. */
static void test_no_more_than_max_are_out_but_one_always_may(void **state)
{
    static const struct {
        uint32_t endpoints, max, out;
    } cases[] = {{2, 50, 1},  {3, 50, 1}, {4, 50, 2}, {10, 50, 5},
                 {10, 25, 2}, {10, 1, 1}, {5, 100, 4}};
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct lb_outlier_options options = defaults;
        options.max = cases[k].max;
        struct test_pool p = watched(cases[k].endpoints, &options);
        struct lb *lb = pool_lb(&p, &lb_random, 1);
        for (uint32_t i = 0; i < p.count; i++)
            fails(lb, i, 5, START);
        assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_EJECTED), cases[k].out);
        assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_HELD), p.count - cases[k].out);
        lb_free(lb);
        pool_free(&p);
    }
}

/* The pick that lets one request through, and that attempt. */
static void probe(struct lb *lb, struct lb_lease *lease, uint32_t i, uint64_t now)
{
    assert_int_equal(lb_pick(lb, 0, NULL, now), i);
    lb_started(lb, lease, i, now);
    assert_true(lease->probe);
}

/* BEHAVIOUR 8: comes back with a single probe request. */
static void test_one_request_is_let_through_and_brings_it_back(void **state)
{
    struct test_pool p = watched(2, &defaults);
    p.options.slow_start_us = 0;
    struct lb *a = pool_lb(&p, &lb_random, 1), *b = pool_lb(&p, &lb_random, 2);
    struct lb_lease lease = {0};
    uint64_t due = START + 30 * SECOND;
    (void)state;
    fails(a, 0, 5, START);
    for (int n = 0; n < 50; n++)
        assert_int_equal(lb_pick(a, 0, NULL, due - 1), 1);
    probe(a, &lease, 0, due);
    for (int n = 0; n < 50; n++) { /* nobody else, while it is asked */
        assert_int_equal(lb_pick(a, 0, NULL, due + SECOND), 1);
        assert_int_equal(lb_pick(b, 0, NULL, due + SECOND), 1);
    }
    assert_true(known(&p, 0, due).probing);
    assert_true(lb_answered(&lease, LB_OK, due + SECOND)); /* its body may take hours */
    assert_false(is_out(&p, 0));
    assert_false(lb_finished(&lease, LB_OK, SECOND, due + 2 * SECOND));
    assert_true(atomic_load(&p.endpoints[0].warm_us) == due + SECOND);
    assert_false(fails(a, 0, 4, due + SECOND)); /* the old row is over */
    lb_free(a);
    lb_free(b);
    pool_free(&p);
}

/* In a rolling restart most of those that are out are well, and one that is not has to go. */
static void test_who_is_out_longest_is_asked_at_once_when_there_is_no_room(void **state)
{
    struct test_pool p = watched(4, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t now = START + SECOND;
    (void)state;
    assert_true(fails(lb, 2, 5, START));
    assert_true(fails(lb, 0, 5, START + 1));
    assert_false(fails(lb, 1, 5, now)); /* half of them are out */
    probe(lb, &lease, 2, now);
    assert_true(lb_finished(&lease, LB_FAILED, MS, now)); /* not well yet; it was early */
    assert_int_equal(known(&p, 2, now).times, 1);
    assert_true(known(&p, 2, now).until_us == now + 30 * SECOND);
    assert_false(fails(lb, 1, 5, now));
    for (int n = 0; n < 50; n++) /* the next is not asked for a second */
        assert_false(is_out(&p, (uint32_t)lb_pick(lb, 0, NULL, now + SECOND - 1)));
    now += SECOND;
    assert_false(fails(lb, 1, 5, now));
    probe(lb, &lease, 0, now);
    assert_true(lb_finished(&lease, LB_OK, MS, now));
    assert_false(is_out(&p, 0));
    assert_true(fails(lb, 1, 5, now));
    assert_false(fails(lb, 3, 5, now));
    probe(lb, &lease, 2, now); /* the last one was well */
    assert_true(lb_finished(&lease, LB_OK, MS, now));
    lb_free(lb);
    pool_free(&p);
}

/* BEHAVIOUR 8: ejected 30 s x times, up to 300 s. */
static void test_a_probe_that_fails_means_longer_each_time(void **state)
{
    static const unsigned seconds[] = {30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300};
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t now = START;
    (void)state;
    fails(lb, 0, 5, now);
    for (size_t k = 0; k < ARRAY_LEN(seconds); k++) {
        assert_int_equal(known(&p, 0, now).times, k + 1);
        assert_int_equal(lb_pick(lb, 0, NULL, now + seconds[k] * SECOND - 1), 1);
        now += seconds[k] * SECOND;
        probe(lb, &lease, 0, now);
        assert_true(lb_finished(&lease, LB_TIMED_OUT, 0, now));
        assert_true(is_out(&p, 0));
    }
    struct lb_ejection e = known(&p, 0, now);
    assert_int_equal(e.cause, LB_CAUSE_PROBE);
    assert_int_equal(e.last, LB_TIMED_OUT);
    assert_int_equal(counted(&p, LB_CAUSE_PROBE, LB_RESULT_EJECTED), ARRAY_LEN(seconds));
    lb_free(lb);
    pool_free(&p);
}

static void test_a_probe_without_an_answer_decides_nothing(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t due = START + 30 * SECOND;
    (void)state;
    fails(lb, 0, 5, START);
    probe(lb, &lease, 0, due);
    assert_false(lb_finished(&lease, LB_CANCELLED, 0, due + SECOND));
    assert_true(is_out(&p, 0));
    probe(lb, &lease, 0, due + SECOND); /* the next request is one */
    lb_lease_drop(&lease, due + SECOND);
    probe(lb, &lease, 0, due + SECOND); /* one that never ends */
    assert_int_equal(lb_pick(lb, 0, NULL, due + 2 * SECOND), 1);
    assert_int_equal(lb_pick(lb, 0, NULL, due + SECOND + LB_PROBE_US), 0);
    lb_lease_drop(&lease, due + SECOND + LB_PROBE_US);
    lb_free(lb);
    pool_free(&p);
}

/* Else it would stay out for another minute, and another. */
static void test_a_probe_that_is_not_begun_is_the_next_requests(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t now = START + 30 * SECOND;
    (void)state;
    fails(lb, 0, 5, START);
    assert_int_equal(lb_pick(lb, 0, NULL, now), 0);
    lb_unpicked(lb, now); /* no descriptor is left, say */
    assert_false(known(&p, 0, now).probing);
    probe(lb, &lease, 0, now);
    assert_true(lb_finished(&lease, LB_OK, MS, now));
    lb_free(lb);
    pool_free(&p);
}

static void test_one_that_has_all_the_requests_it_may_is_asked_when_it_has_room(void **state)
{
    struct test_pool p = pool_new(2, NULL);
    struct lb_lease old = {0}, lease = {0};
    uint64_t now = START + 30 * SECOND;
    (void)state;
    p.endpoints[0].most = 1;
    lb_outlier_attach(pool_group(&p, &lb_random), &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    fails(lb, 0, 5, START);
    lb_started(lb, &old, 0, START); /* and hangs */
    for (int n = 0; n < 50; n++)
        assert_int_equal(lb_pick(lb, 0, NULL, now), 1);
    assert_false(known(&p, 0, now).probing);
    lb_unpicked(lb, now);
    assert_false(lb_finished(&old, LB_CANCELLED, MS, now));
    now += SECOND;
    probe(lb, &lease, 0, now);
    assert_true(lb_finished(&lease, LB_OK, MS, now));
    lb_free(lb);
    pool_free(&p);
}

static void test_one_without_weight_is_not_looked_for_by_each_pick(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t now = START + 30 * SECOND;
    (void)state;
    fails(lb, 0, 5, START);
    lb_group_set_weight(p.group, 0, 0);
    assert_int_equal(lb_pick(lb, 0, NULL, now), 1);
    assert_true(atomic_load(&p.group->probe_us) == now + SECOND);
    lb_group_set_weight(p.group, 0, 1);
    probe(lb, &lease, 0, now + SECOND);
    assert_true(lb_finished(&lease, LB_OK, MS, now + SECOND));
    lb_free(lb);
    pool_free(&p);
}

static void test_a_retry_and_another_mark_are_no_probe(void **state)
{
    struct test_pool p = watched(3, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_tried tried = {0};
    uint64_t due = START + 30 * SECOND;
    (void)state;
    fails(lb, 0, 5, START);
    lb_tried_add(&tried, 1);
    assert_int_equal(lb_pick(lb, 0, &tried, due), 2);
    lb_group_mark(p.group, 0, LB_DOWN, true, due);
    for (int n = 0; n < 20; n++)
        assert_int_not_equal(lb_pick(lb, 0, NULL, due), 0);
    lb_group_mark(p.group, 0, LB_DOWN, false, due);
    assert_int_equal(lb_pick(lb, 0, NULL, due + 2 * SECOND), 0);
    lb_free(lb);
    pool_free(&p);
}

static void test_an_ejected_one_is_asked_before_a_request_is_given_up(void **state)
{
    struct test_pool p = watched(4, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_tried tried = {0};
    (void)state;
    fails(lb, 0, 5, START);
    fails(lb, 3, 5, START);
    lb_group_mark(p.group, 3, LB_DOWN, true, START); /* for that there is another reason */
    lb_tried_add(&tried, 1);
    assert_int_equal(lb_pick(lb, 0, &tried, START), 2);
    lb_tried_add(&tried, 2);
    assert_int_equal(lb_pick(lb, 0, &tried, START), 0);
    assert_false(attempt(lb, 0, LB_OK, MS, START)); /* that is no probe */
    assert_true(is_out(&p, 0));
    lb_tried_add(&tried, 0);
    assert_int_equal(lb_pick(lb, 0, &tried, START), LB_NONE);
    lb_free(lb);
    pool_free(&p);
}

static void test_times_are_forgotten_while_it_serves(void **state)
{
    struct test_pool p = watched(2, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_lease lease = {0};
    uint64_t due = START + 30 * SECOND;
    (void)state;
    fails(lb, 0, 5, START);
    sweep(&p, due);
    assert_int_equal(known(&p, 0, due).times, 1);
    probe(lb, &lease, 0, due);
    lb_finished(&lease, LB_OK, MS, due);
    fails(lb, 0, 5, due); /* at once: twice as long */
    assert_int_equal(known(&p, 0, due).times, 2);
    assert_true(known(&p, 0, due).until_us == due + 60 * SECOND);
    probe(lb, &lease, 0, due + 60 * SECOND);
    lb_finished(&lease, LB_OK, MS, due + 60 * SECOND);
    sweep(&p, due);
    sweep(&p, due);
    fails(lb, 0, 5, due);
    assert_int_equal(known(&p, 0, due).times, 1);
    lb_free(lb);
    pool_free(&p);
}

static void test_observing_counts_as_often_as_it_would_eject(void **state)
{
    struct lb_outlier_options observe = defaults;
    observe.mode = LB_RULE_OBSERVE;
    struct test_pool p = watched(2, &observe);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    assert_true(fails(lb, 0, 5, START));
    assert_false(fails(lb, 0, 20, START + 29 * SECOND));
    assert_false(is_out(&p, 0));
    assert_true(known(&p, 0, START + 29 * SECOND).out && known(&p, 0, START).observed);
    assert_false(known(&p, 0, START + 30 * SECOND).out);
    assert_true(fails(lb, 0, 5, START + 30 * SECOND));
    assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_OBSERVED), 2);
    assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_EJECTED), 0);
    for (int n = 0, seen = 0; n < 50 && seen == 0; n++)
        seen += lb_pick(lb, 0, NULL, START + 40 * SECOND) == 0;
    lb_free(lb);
    pool_free(&p);
}

/* ---- comparing ---- */

/* So many requests of each endpoint, of which so many fail, well mixed. */
static void requests(struct lb *lb, uint32_t n, const uint32_t *failures, uint32_t each)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < each; k++)
            attempt(lb, i,
                    k * failures[i] / each != (k + 1) * failures[i] / each ? LB_ERROR : LB_OK, MS,
                    START);
}

static void test_success_rates_are_compared(void **state)
{
    static const struct {
        const char *what;
        uint32_t n, each, failures[8];
        int out; /* -1: nobody */
    } cases[] = {
        {"one of five fails a third", 5, 200, {0, 0, 66, 0, 0}, 2},
        {"no more than the gap", 5, 200, {0, 0, 9, 0, 0}, -1},
        {"four are not enough", 4, 200, {0, 0, 66, 0}, -1},
        {"nor are 99 requests", 5, 99, {0, 0, 33, 0, 0}, -1},
        {"all are as bad", 6, 200, {60, 62, 58, 61, 59, 60}, -1},
        {"one fails more than the many", 8, 200, {20, 22, 18, 120, 19, 21, 20, 20}, 3},
        {"evenly spread", 5, 200, {0, 10, 20, 30, 40}, -1},
    };
    struct lb_outlier_options options = defaults;
    options.errors = 0;
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct test_pool p = watched(cases[k].n, &options);
        struct lb *lb = pool_lb(&p, &lb_random, 1);
        requests(lb, cases[k].n, cases[k].failures, cases[k].each);
        sweep(&p, START);
        for (uint32_t i = 0; i < cases[k].n; i++)
            if (is_out(&p, i) != ((int)i == cases[k].out))
                fail_msg("%s: endpoint %u", cases[k].what, i);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_latencies_are_compared(void **state)
{
    static const struct {
        const char *what;
        uint32_t n;
        uint64_t us[8];
        int out;
    } cases[] = {
        {"four times the median", 3, {20 * MS, 80 * MS, 20 * MS}, 1},
        {"twice is allowed", 3, {20 * MS, 40 * MS, 20 * MS}, -1},
        {"two cannot be compared", 2, {20 * MS, 80 * MS}, -1},
        {"what nobody would notice", 3, {100, 4000, 100}, -1},
        {"a pool that differs a lot",
         7,
         {5 * MS, 10 * MS, 20 * MS, 40 * MS, 80 * MS, 160 * MS, 320 * MS},
         -1},
        {"a fast one is fine", 5, {20 * MS, 21 * MS, 1 * MS, 19 * MS, 20 * MS}, -1},
        {"an even number", 4, {20 * MS, 22 * MS, 21 * MS, 900 * MS}, 3},
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct test_pool p = watched(cases[k].n, &defaults);
        struct lb *lb = pool_lb(&p, &lb_random, 1);
        for (uint32_t i = 0; i < cases[k].n; i++)
            for (int r = 0; r < 100; r++)
                attempt(lb, i, LB_OK, cases[k].us[i], START);
        assert_int_equal(sweep(&p, START), cases[k].out >= 0);
        for (uint32_t i = 0; i < cases[k].n; i++)
            if (is_out(&p, i) != ((int)i == cases[k].out))
                fail_msg("%s: endpoint %u", cases[k].what, i);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_a_few_slow_answers_make_no_slow_endpoint(void **state)
{
    struct test_pool p = watched(3, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        for (int r = 0; r < 100; r++)
            attempt(lb, i, LB_OK, i == 1 && r < 5 ? 60 * SECOND : 20 * MS, START);
    assert_int_equal(sweep(&p, START), 0); /* though its mean is 150 times the others' */
    lb_free(lb);
    pool_free(&p);
}

static void test_each_sweep_looks_at_what_is_new(void **state)
{
    const uint32_t failures[] = {0, 0, 66, 0, 0};
    struct lb_outlier_options options = defaults;
    options.errors = 0;
    options.success_rate.mode = LB_RULE_OBSERVE;
    struct test_pool p = watched(5, &options);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    requests(lb, 5, failures, 200);
    assert_int_equal(sweep(&p, START), 1);
    assert_int_equal(counted(&p, LB_CAUSE_SUCCESS_RATE, LB_RESULT_OBSERVED), 1);
    assert_false(is_out(&p, 2));
    assert_int_equal(sweep(&p, START + 60 * SECOND), 0);
    requests(lb, 5, failures, 200);
    assert_int_equal(sweep(&p, START + 60 * SECOND), 1);
    lb_free(lb);
    pool_free(&p);
}

static void test_the_worst_go_first(void **state)
{
    const uint64_t us[] = {20 * MS, 200 * MS, 20 * MS, 400 * MS, 20 * MS, 20 * MS, 20 * MS};
    struct lb_outlier_options options = defaults;
    options.max = 15;
    struct test_pool p = watched(7, &options);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    for (uint32_t i = 0; i < 7; i++)
        for (int r = 0; r < 100; r++)
            attempt(lb, i, LB_OK, us[i], START);
    assert_int_equal(sweep(&p, START), 1);
    assert_true(is_out(&p, 3) && !is_out(&p, 1));
    assert_int_equal(counted(&p, LB_CAUSE_LATENCY, LB_RESULT_HELD), 1);
    lb_free(lb);
    pool_free(&p);
}

/* ---- threads ---- */

enum { THREADS = 3, PER_THREAD = 30000, ENDPOINTS = 6 };

struct busy {
    pthread_t thread;
    struct test_pool *pool;
    uint64_t seed;
    _Atomic uint64_t *now_us;
};

/* Endpoints 0 and 1 fail, most of the time. */
static void *keep_busy(void *arg)
{
    struct busy *b = arg;
    struct lb *lb = lb_new(b->pool->group, b->seed);
    struct lb_rng rng;
    lb_rng_seed(&rng, b->seed);
    for (int n = 0; n < PER_THREAD; n++) {
        struct lb_lease lease = {0};
        uint64_t now = atomic_fetch_add(b->now_us, 100);
        int32_t i = lb_pick(lb, 0, NULL, now);
        if (i == LB_NONE)
            continue;
        lb_started(lb, &lease, (uint32_t)i, now);
        bool bad = i < 2 && lb_rng_below(&rng, 10) > 0;
        if (n % 3 == 0)
            lb_answered(&lease, bad ? LB_ERROR : LB_OK, now);
        lb_finished(&lease, bad ? LB_ERROR : n % 11 == 0 ? LB_CANCELLED : LB_OK, MS, now);
    }
    lb_free(lb);
    return NULL;
}

static void check_agreement(const struct test_pool *p, uint64_t now)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        struct lb_ejection e = known(p, i, now);
        assert_int_equal(e.out && !e.observed, is_out(p, i));
        assert_int_equal(lb_endpoint_in_flight(&p->endpoints[i]), 0);
        out += is_out(p, i);
    }
    assert_true(out <= ENDPOINTS / 2);
}

static void test_threads_agree_on_who_is_out(void **state)
{
    struct lb_outlier_options options = defaults;
    options.eject_us = options.max_eject_us = 10 * MS;
    struct test_pool p = watched(ENDPOINTS, &options);
    struct busy busy[THREADS];
    _Atomic uint64_t now = START;
    (void)state;
    for (uint64_t t = 0; t < THREADS; t++) {
        busy[t] = (struct busy){.pool = &p, .seed = t + 1, .now_us = &now};
        assert_int_equal(pthread_create(&busy[t].thread, NULL, keep_busy, &busy[t]), 0);
    }
    for (int n = 0; n < 200; n++) {
        struct lb_state states[ENDPOINTS];
        uint32_t weights[ENDPOINTS];
        struct lb_shares pool;
        sweep(&p, atomic_load(&now));
        lb_states(p.group, atomic_load(&now), states, weights, &pool);
    }
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(busy[t].thread, NULL), 0);
    check_agreement(&p, atomic_load(&now));
    assert_true(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_EJECTED) > 0);
    assert_true(counted(&p, LB_CAUSE_PROBE, LB_RESULT_EJECTED) > 0);
    pool_free(&p);
}

/* ---- telling ---- */

static void test_what_was_seen_is_told(void **state)
{
    static const struct {
        struct lb_ejection e;
        const char *text;
    } cases[] = {
        {{.cause = LB_CAUSE_ERRORS, .last = LB_FAILED, .count = 5},
         "5 failures in a row, the last: failed"},
        {{.cause = LB_CAUSE_PROBE, .last = LB_TIMED_OUT},
         "the request that was let through failed: timed_out"},
        {{.cause = LB_CAUSE_SUCCESS_RATE, .count = 240, .seen = 0.333, .pool = 0.08, .bound = 0.2},
         "33.3% of 240 requests failed; 8.0% on average of the pool, 20.0% allowed"},
        {{.cause = LB_CAUSE_LATENCY, .count = 100, .seen = 80e3, .pool = 20e3, .bound = 60e3},
         "100 answers took 80.0 ms; 20.0 ms in the middle of the pool, 60.0 ms allowed"},
    };
    char text[LB_EJECTION_TEXT];
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++)
        assert_string_equal(lb_ejection_text(&cases[k].e, text), cases[k].text);
}

static void test_a_state_tells_all_of_an_endpoint(void **state)
{
    struct test_pool p = watched(4, &defaults);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    struct lb_state states[4];
    uint32_t weights[4];
    struct lb_shares pool;
    struct lb_lease lease = {0};
    (void)state;
    fails(lb, 1, 5, START);
    lb_group_mark(p.group, 2, LB_DRAINED, true, START + SECOND);
    lb_started(lb, &lease, 3, START);
    lb_states(p.group, START + 2 * SECOND, states, weights, &pool);
    assert_false(pool.panic);
    assert_int_equal(states[0].marks, 0);
    assert_true(states[0].share == 0.5 && states[3].share == 0.5);
    assert_true(states[1].share == 0 && states[2].share == 0);
    assert_int_equal(states[1].marks, LB_EJECTED);
    assert_true(states[1].since_us[3] == START && states[1].ejection.since_us == START);
    assert_true(states[1].ejection.out && states[1].ejection.until_us == START + 30 * SECOND);
    assert_int_equal(states[2].marks, LB_DRAINED);
    assert_true(states[2].since_us[0] == START + SECOND && !states[2].ejection.out);
    assert_int_equal(states[3].in_flight, 1);
    assert_int_equal(states[3].weight, 1);
    assert_true(states[3].ewma_us == 0);
    lb_lease_drop(&lease, START);
    lb_free(lb);
    pool_free(&p);
}

static void test_nothing_is_attached_for_mode_none(void **state)
{
    struct lb_outlier_options none = defaults;
    struct lb_ejection e;
    none.mode = LB_RULE_NONE;
    struct test_pool p = watched(2, &none);
    struct lb *lb = pool_lb(&p, &lb_random, 1);
    (void)state;
    assert_false(fails(lb, 0, 20, START));
    assert_int_equal(sweep(&p, START), 0);
    assert_false(lb_outlier_read(p.group, 0, START, &e));
    assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_HELD), 0);
    lb_free(lb);
    pool_free(&p);
}

static void test_one_that_is_out_stays_out_in_the_group_that_follows(void **state)
{
    struct test_pool before = watched(4, &defaults), p = watched(4, &defaults);
    struct lb *lb = pool_lb(&before, &lb_random, 1);
    uint64_t later = START + 10 * SECOND;
    (void)state;
    fails(lb, 1, 5, START);
    fails(lb, 2, 5, START + SECOND);
    lb_outlier_follow(p.group, 3, before.group, 1, later);
    lb_outlier_follow(p.group, 0, before.group, 0, later);
    assert_true(is_out(&p, 3) && !is_out(&p, 0) && !is_out(&p, 1) && !is_out(&p, 2));
    assert_true(lb_group_since(p.group, 3, LB_EJECTED) == START);
    struct lb_ejection e = known(&p, 3, later);
    assert_true(e.out && e.times == 1 && e.cause == LB_CAUSE_ERRORS);
    assert_true(e.since_us == START && e.until_us == START + 30 * SECOND);
    assert_int_equal(counted(&p, LB_CAUSE_ERRORS, LB_RESULT_EJECTED), 0); /* nothing is new */
    struct lb *next = pool_lb(&p, &lb_random, 1);
    assert_int_equal(lb_pick(next, 0, NULL, START + 30 * SECOND), 3); /* its probe */
    lb_free(next);
    lb_free(lb);
    pool_free(&p);
    pool_free(&before);
}

static void test_the_rules_of_the_group_that_follows_hold_for_who_is_out(void **state)
{
    struct lb_outlier_options observe = defaults, brief = defaults;
    observe.mode = LB_RULE_OBSERVE;
    brief.eject_us = brief.max_eject_us = SECOND;
    struct test_pool before = watched(4, &defaults);
    struct test_pool p = watched(4, &observe), q = watched(4, &brief), r = watched(2, &defaults);
    struct lb *lb = pool_lb(&before, &lb_random, 1);
    (void)state;
    fails(lb, 0, 5, START);
    fails(lb, 1, 5, START);
    lb_outlier_follow(p.group, 0, before.group, 0, START);
    assert_true(!is_out(&p, 0) && !known(&p, 0, START).out);
    lb_outlier_follow(q.group, 0, before.group, 0, START);
    assert_true(is_out(&q, 0) && known(&q, 0, START).until_us == START + SECOND);
    for (uint32_t i = 0; i < 2; i++) /* max allows one */
        lb_outlier_follow(r.group, i, before.group, i, START);
    assert_true(is_out(&r, 0) && !is_out(&r, 1));
    lb_free(lb);
    pool_free(&p);
    pool_free(&q);
    pool_free(&r);
    pool_free(&before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_counts_in_a_row),
        cmocka_unit_test(test_an_answer_begins_the_row_again_and_a_cancelled_attempt_does_not),
        cmocka_unit_test(test_the_row_is_counted_over_all_workers),
        cmocka_unit_test(test_the_last_endpoint_is_never_ejected),
        cmocka_unit_test(test_no_more_than_max_are_out_but_one_always_may),
        cmocka_unit_test(test_one_request_is_let_through_and_brings_it_back),
        cmocka_unit_test(test_who_is_out_longest_is_asked_at_once_when_there_is_no_room),
        cmocka_unit_test(test_a_probe_that_fails_means_longer_each_time),
        cmocka_unit_test(test_a_probe_without_an_answer_decides_nothing),
        cmocka_unit_test(test_a_probe_that_is_not_begun_is_the_next_requests),
        cmocka_unit_test(test_one_that_has_all_the_requests_it_may_is_asked_when_it_has_room),
        cmocka_unit_test(test_one_without_weight_is_not_looked_for_by_each_pick),
        cmocka_unit_test(test_a_retry_and_another_mark_are_no_probe),
        cmocka_unit_test(test_an_ejected_one_is_asked_before_a_request_is_given_up),
        cmocka_unit_test(test_times_are_forgotten_while_it_serves),
        cmocka_unit_test(test_observing_counts_as_often_as_it_would_eject),
        cmocka_unit_test(test_success_rates_are_compared),
        cmocka_unit_test(test_latencies_are_compared),
        cmocka_unit_test(test_a_few_slow_answers_make_no_slow_endpoint),
        cmocka_unit_test(test_each_sweep_looks_at_what_is_new),
        cmocka_unit_test(test_the_worst_go_first),
        cmocka_unit_test(test_threads_agree_on_who_is_out),
        cmocka_unit_test(test_what_was_seen_is_told),
        cmocka_unit_test(test_a_state_tells_all_of_an_endpoint),
        cmocka_unit_test(test_nothing_is_attached_for_mode_none),
        cmocka_unit_test(test_one_that_is_out_stays_out_in_the_group_that_follows),
        cmocka_unit_test(test_the_rules_of_the_group_that_follows_hold_for_who_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
