/* SPDX-License-Identifier: Apache-2.0 */
/* The retry budget: how many retries are allowed, when they come back, and over workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "balancer/budget.h"
#include "balancer/rng.h"

#define SECOND UINT64_C(1000000)

static struct lb_budget *budget_new(uint32_t workers)
{
    struct lb_budget_rule rule = lb_budget_default();
    return lb_budget_new(&rule, workers);
}

static void requests(struct lb_budget *b, uint32_t worker, uint32_t n, uint64_t now_us)
{
    for (uint32_t i = 0; i < n; i++)
        lb_budget_request(b, worker, now_us);
}

/* How many retries are allowed now, one after another. */
static uint32_t allowed(struct lb_budget *b, uint32_t worker, uint64_t now_us)
{
    uint32_t n = 0;
    while (n < 1000000 && lb_budget_retry(b, worker, now_us))
        n++;
    return n;
}

static void test_the_default_is_a_fifth_over_ten_seconds_and_ten_a_second(void **state)
{
    (void)state;
    struct lb_budget_rule rule = lb_budget_default();
    assert_int_equal(rule.percent, 20);
    assert_int_equal(rule.window_us, 10 * SECOND);
    assert_int_equal(rule.min_rate, 10);
}

static void test_a_fifth_of_the_requests_of_the_window(void **state)
{
    (void)state;
    struct lb_budget *b = budget_new(1);
    for (uint64_t s = 0; s < 10; s++)
        requests(b, 0, 1000, s * SECOND);
    assert_int_equal(allowed(b, 0, 9 * SECOND), 2000);
    /* The first second's requests are no longer in it, and all the retries are. */
    assert_int_equal(allowed(b, 0, 10 * SECOND), 0);
    requests(b, 0, 1005, 10 * SECOND);
    assert_int_equal(allowed(b, 0, 10 * SECOND), 1);
    lb_budget_free(b);
}

static void test_few_requests_have_ten_retries_a_second(void **state)
{
    (void)state;
    struct lb_budget *b = budget_new(1);
    requests(b, 0, 1, 0);
    assert_int_equal(allowed(b, 0, 0), 100); /* ten seconds' worth */
    assert_int_equal(allowed(b, 0, 10 * SECOND - 1), 0);
    assert_int_equal(allowed(b, 0, 10 * SECOND), 100);
    lb_budget_free(b);
}

/* Not the sum of both. */
static void test_the_larger_limit_counts(void **state)
{
    (void)state;
    struct lb_budget *b = budget_new(1);
    requests(b, 0, 499, 0);
    assert_int_equal(allowed(b, 0, 0), 100);
    requests(b, 0, 11, 0);
    assert_int_equal(allowed(b, 0, 0), 2);
    lb_budget_free(b);
}

static void test_all_workers_share_it(void **state)
{
    (void)state;
    struct lb_budget *b = budget_new(3);
    requests(b, 0, 5000, 0);
    assert_int_equal(allowed(b, 2, 0), 1000);
    assert_int_equal(allowed(b, 0, 0), 0);
    requests(b, 1, 50, SECOND);
    assert_int_equal(allowed(b, 0, SECOND), 10);
    assert_int_equal(allowed(b, 2, SECOND), 0);
    lb_budget_free(b);
}

static void test_of_nothing_comes_nothing(void **state)
{
    (void)state;
    struct lb_budget_rule none = {.percent = 0, .min_rate = 0, .window_us = SECOND};
    struct lb_budget *b = lb_budget_new(&none, 1);
    requests(b, 0, 100000, 0);
    assert_int_equal(allowed(b, 0, 0), 0);
    lb_budget_free(b);
    lb_budget_free(NULL);
}

/* Whenever a retry was allowed, those of the ten seconds until then are a fifth of the requests of
 * the same ten seconds, or a hundred. */
static void test_any_window_holds(void **state)
{
    enum { SECONDS = 400 };
    static uint32_t came[SECONDS], again[SECONDS];
    (void)state;
    struct lb_budget *b = budget_new(4);
    struct lb_rng rng;
    lb_rng_seed(&rng, 7);
    for (uint64_t s = 0; s < SECONDS; s++) {
        uint32_t n = (uint32_t)lb_rng_below(&rng, s % 60 < 30 ? 3000 : 20);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t now = s * SECOND + i * SECOND / n;
            uint32_t worker = (uint32_t)lb_rng_below(&rng, 4);
            lb_budget_request(b, worker, now);
            came[s]++;
            for (uint32_t tries = 0; tries < 3; tries++) /* nearly everything fails */
                again[s] += lb_budget_retry(b, worker, now);
        }
    }
    for (uint32_t s = 10; s < SECONDS; s++) {
        uint32_t in = 0, out = 0;
        for (uint32_t i = s - 9; i <= s; i++)
            in += came[i], out += again[i];
        assert_true(again[s] == 0 || out <= 100 || out * 5 <= in);
    }
    lb_budget_free(b);
}

/* Counts end at 2^24 - 1 a tenth and worker: a busier one may retry less than it might. */
static void test_counts_do_not_wrap(void **state)
{
    (void)state;
    struct lb_budget *b = budget_new(1);
    requests(b, 0, (1u << 24) + 5, 0);
    assert_true(lb_budget_retry(b, 0, 0));
    assert_int_equal(allowed(b, 0, 10 * SECOND), 100); /* nothing has spilled into the next */
    lb_budget_free(b);
}

enum { THREADS = 4, EACH = 50000 };

struct shared {
    struct lb_budget *budget;
    _Atomic uint32_t retries;
};

struct worker {
    pthread_t thread;
    struct shared *shared;
    uint32_t number;
};

static void *work(void *arg)
{
    const struct worker *w = arg;
    for (uint32_t i = 0; i < EACH; i++) {
        lb_budget_request(w->shared->budget, w->number, SECOND);
        w->shared->retries += lb_budget_retry(w->shared->budget, w->number, SECOND);
    }
    return NULL;
}

static void test_workers_at_once_keep_to_it(void **state)
{
    (void)state;
    struct shared shared = {.budget = budget_new(THREADS)};
    struct worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    uint32_t due = THREADS * EACH / 5;
    assert_in_range(shared.retries, due - due / 100, due + due / 100);
    lb_budget_free(shared.budget);
}

static void test_what_was_spent_stays_spent_in_the_budget_that_follows(void **state)
{
    (void)state;
    struct lb_budget_rule rule = {.percent = 20, .min_rate = 0, .window_us = 10 * SECOND};
    struct lb_budget *before = lb_budget_new(&rule, 2), *b = lb_budget_new(&rule, 2);
    requests(before, 0, 50, SECOND);
    requests(before, 1, 50, SECOND);
    for (unsigned i = 0; i < 12; i++)
        assert_true(lb_budget_retry(before, i % 2, SECOND));
    lb_budget_follow(b, before);
    assert_int_equal(allowed(b, 0, SECOND), 8);
    rule.window_us = 20 * SECOND; /* its parts are others */
    struct lb_budget *longer = lb_budget_new(&rule, 2);
    lb_budget_follow(longer, before);
    assert_int_equal(allowed(longer, 0, SECOND), 0);
    lb_budget_free(before);
    lb_budget_free(b);
    lb_budget_free(longer);
}

static void test_what_is_left_is_what_may_be_spent(void **state)
{
    (void)state;
    struct lb_budget_rule rule = lb_budget_default();
    struct lb_budget *b = lb_budget_new(&rule, 2);
    assert_int_equal(lb_budget_left(b, 0), 100); /* ten seconds' worth of the least rate */
    requests(b, 0, 600, 0);
    requests(b, 1, 400, 0);
    assert_int_equal(lb_budget_left(b, 0), 200);
    for (unsigned i = 0; i < 150; i++)
        assert_true(lb_budget_retry(b, i % 2, 0));
    assert_int_equal(lb_budget_left(b, 0), 50);
    assert_int_equal(allowed(b, 1, 0), 50);
    assert_int_equal(lb_budget_left(b, 0), 0);
    assert_int_equal(lb_budget_left(b, 10 * SECOND), 100);
    lb_budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_default_is_a_fifth_over_ten_seconds_and_ten_a_second),
        cmocka_unit_test(test_a_fifth_of_the_requests_of_the_window),
        cmocka_unit_test(test_few_requests_have_ten_retries_a_second),
        cmocka_unit_test(test_the_larger_limit_counts),
        cmocka_unit_test(test_all_workers_share_it),
        cmocka_unit_test(test_what_is_left_is_what_may_be_spent),
        cmocka_unit_test(test_of_nothing_comes_nothing),
        cmocka_unit_test(test_any_window_holds),
        cmocka_unit_test(test_counts_do_not_wrap),
        cmocka_unit_test(test_workers_at_once_keep_to_it),
        cmocka_unit_test(test_what_was_spent_stays_spent_in_the_budget_that_follows),
    };
    return cmocka_run_group_tests_name("retry budget", tests, NULL, NULL);
}
