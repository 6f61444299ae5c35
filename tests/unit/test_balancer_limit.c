/* SPDX-License-Identifier: Apache-2.0 */
/* The adaptive limit, against simulated servers that get slower when they have too much to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "balancer/limit.h"

#define MS UINT64_C(1000)

static const struct lb_limit_rule RULE = {.min = 4, .max = 1000, .start = 20};

/* Serves `cores` requests at once, each in `service_us`; the others wait: with n of them in flight
 * each takes so much longer (Little's law). */
struct server {
    double cores, service_us;
};

static double latency_of(const struct server *s, double n)
{
    return n <= s->cores ? s->service_us : s->service_us * n / s->cores;
}

/* So many windows with as many clients as that; the limit after them. */
static double run(struct lb_limit_state *state, const struct server *s, double clients,
                  unsigned windows)
{
    for (unsigned i = 0; i < windows; i++) {
        double n = clients < state->limit ? clients : state->limit;
        lb_limit_step(&RULE, state,
                      &(struct lb_limit_window){.mean_us = latency_of(s, n), .peak = (uint32_t)n});
    }
    return state->limit;
}

static void assert_between(double value, double least, double most)
{
    if (value < least || value > most)
        fail_msg("%g is not from %g to %g", value, least, most);
}

static void test_it_finds_what_a_server_can_take(void **state)
{
    (void)state;
    double cores[] = {10, 50, 200};
    for (unsigned i = 0; i < 3; i++) {
        struct lb_limit_state s = {.limit = RULE.start};
        struct server server = {cores[i], 10000};
        run(&s, &server, 5, 100);
        double limit = run(&s, &server, 1e6, 600); /* a minute */
        assert_between(limit, cores[i], 3 * cores[i]);
    }
}

static void test_it_stays_there_for_long(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {50, 10000};
    run(&s, &server, 5, 100);
    assert_between(run(&s, &server, 1e6, 3000), 50, 150); /* five minutes without a pause */
    run(&s, &server, 20, 600);
    assert_between(run(&s, &server, 1e6, 100), 50, 120);
}

static void test_work_that_becomes_harder_is_usual_in_the_end(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {100, 10000};
    run(&s, &server, 1e6, 600);
    server.service_us = 20000;
    run(&s, &server, 1e6, 100);
    assert_true(run(&s, &server, 1e6, 2000) >= 100);
}

static void test_few_requests_do_not_raise_it(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {1000, 10000};
    assert_true(run(&s, &server, 5, 10000) == RULE.start);
}

static void test_a_server_that_gets_slower_gets_fewer_within_seconds(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {100, 10000};
    double before = run(&s, &server, 1e6, 300);
    server.cores = 10;
    double after = run(&s, &server, 1e6, 30);
    assert_true(after < before / 3);
    assert_between(after, RULE.min, 40);
}

static void test_and_more_again_when_it_recovers(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {10, 10000};
    run(&s, &server, 1e6, 600);
    server.cores = 100;
    assert_true(run(&s, &server, 1e6, 300) >= 100);
}

static void test_slow_answers_alone_are_no_reason(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server server = {100, 2000000}; /* it takes its time, always */
    assert_true(run(&s, &server, 1e6, 300) >= 100);
}

static void test_an_endpoint_that_says_it_is_too_much_is_believed(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = 100};
    for (unsigned i = 0; i < 10; i++)
        lb_limit_step(&RULE, &s,
                      &(struct lb_limit_window){.mean_us = 1000, .peak = 10, .overloaded = true});
    assert_between(s.limit, 70, 90);
}

static void test_it_stays_within_its_bounds(void **state)
{
    (void)state;
    struct lb_limit_state s = {.limit = RULE.start};
    struct server endless = {1e9, 1000}, tiny = {0.1, 1000};
    assert_true(run(&s, &endless, 1e6, 3000) == RULE.max);
    s = (struct lb_limit_state){.limit = RULE.start, .long_us = 1, .windows = 20};
    assert_true(run(&s, &tiny, 1e6, 100) >= RULE.min);
}

static void test_a_window_has_a_length_and_a_number_of_samples(void **state)
{
    (void)state;
    struct lb_limit l;
    lb_limit_init(&l, &RULE);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(lb_limit_sample(&l, 10 * MS, 20, false, 1 + i * MS), 0);
    assert_int_equal(lb_limit_sample(&l, 10 * MS, 20, false, 1 + 100 * MS), 20);
    assert_true(l.state.long_us == 10000);
    assert_int_equal(lb_limit_sample(&l, 10 * MS, 20, false, 1 + 500 * MS), 0); /* only one */
    for (unsigned i = 0; i < LB_LIMIT_SAMPLES - 2; i++)
        assert_int_equal(lb_limit_sample(&l, 10 * MS, 20, false, 1 + 501 * MS), 0);
    assert_int_equal(lb_limit_sample(&l, 10 * MS, 20, false, 1 + 502 * MS), 21);
}

/* The limit after ten seconds of so many answers in each window, of which so many say that it is
 * too much, and none takes longer than usual. */
static double limit_with(uint32_t answers, uint32_t overloads)
{
    struct lb_limit l;
    lb_limit_init(&l, &RULE);
    for (uint64_t window = 0; window < 100; window++)
        for (uint32_t i = 0; i <= answers; i++)
            lb_limit_sample(&l, 10 * MS, RULE.start, i < overloads, 1 + window * 100 * MS);
    return l.state.limit;
}

static void test_a_few_that_are_refused_are_not_the_pool(void **state)
{
    (void)state;
    assert_true(limit_with(1000, 0) >= RULE.start);
    assert_true(limit_with(1000, 1) >= RULE.start); /* one route in maintenance, say */
    assert_true(limit_with(1000, 50) >= RULE.start);
    assert_true(limit_with(1000, 300) < RULE.start);
}

static void *sample_main(void *arg)
{
    for (unsigned i = 0; i < 100000; i++) {
        uint32_t limit = lb_limit_sample(arg, 10 * MS, 20, false, 1 + i * MS);
        assert_true(limit <= RULE.max);
    }
    return NULL;
}

static void test_threads_agree(void **state)
{
    (void)state;
    static struct lb_limit l;
    pthread_t threads[4];
    lb_limit_init(&l, &RULE);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sample_main, &l), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_between(l.state.limit, 20, 41); /* until 20 are fewer than half of it */
}

static void test_what_was_learnt_goes_on_in_the_limit_that_follows(void **state)
{
    (void)state;
    struct lb_limit before, l;
    struct lb_limit_rule narrow = {.min = 30, .max = 40, .start = 35};
    lb_limit_init(&before, &RULE);
    before.state = (struct lb_limit_state){.limit = 77.5, .long_us = 9000, .windows = 100};
    lb_limit_init(&l, &RULE);
    assert_int_equal(lb_limit_follow(&l, &before), 77);
    assert_true(l.state.limit == 77.5 && l.state.long_us == 9000 && l.state.windows == 100);
    lb_limit_init(&l, &narrow);
    assert_int_equal(lb_limit_follow(&l, &before), 40);
    before.state.limit = 5;
    assert_int_equal(lb_limit_follow(&l, &before), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_finds_what_a_server_can_take),
        cmocka_unit_test(test_it_stays_there_for_long),
        cmocka_unit_test(test_work_that_becomes_harder_is_usual_in_the_end),
        cmocka_unit_test(test_few_requests_do_not_raise_it),
        cmocka_unit_test(test_a_server_that_gets_slower_gets_fewer_within_seconds),
        cmocka_unit_test(test_and_more_again_when_it_recovers),
        cmocka_unit_test(test_slow_answers_alone_are_no_reason),
        cmocka_unit_test(test_an_endpoint_that_says_it_is_too_much_is_believed),
        cmocka_unit_test(test_a_few_that_are_refused_are_not_the_pool),
        cmocka_unit_test(test_it_stays_within_its_bounds),
        cmocka_unit_test(test_a_window_has_a_length_and_a_number_of_samples),
        cmocka_unit_test(test_threads_agree),
        cmocka_unit_test(test_what_was_learnt_goes_on_in_the_limit_that_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
