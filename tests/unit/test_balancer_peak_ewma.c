/* SPDX-License-Identifier: Apache-2.0 */
/* peak_ewma, and the latencies that it goes by. Fixed seeds, a clock of the test's. */
#include "tests/unit/test_balancer_pool.h"

#include <math.h>
#include <pthread.h>

#include "balancer/latency.h"

#define MS     1000
#define SECOND (1000 * MS)
#define START  (UINT64_C(3600) * SECOND)

static bool near(double a, double b)
{
    return fabs(a - b) <= 0.002 * b + 1; /* a tick of 1 ms in 10 s, twice */
}

/* What is expected of one that is compared: with itself, which begins it. */
static float latency_of(struct lb_endpoint *ep, uint64_t now_us)
{
    float expected[2];
    lb_latency_of_two(ep, ep, now_us, expected);
    assert_true(expected[0] == expected[1]);
    return lb_latency_expected(ep, now_us);
}

/* BEHAVIOUR 7: decay 10 s, initial 30 ms. */
static void test_starts_at_30_ms_and_falls_from_the_first_look_on(void **state)
{
    struct lb_endpoint ep;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    assert_true(near(latency_of(&ep, START), 30 * MS));
    assert_true(near(latency_of(&ep, START + 10 * SECOND), 30 * MS * exp(-1)));
    assert_true(near(latency_of(&ep, START + 30 * SECOND), 30 * MS * exp(-3)));
}

/* BEHAVIOUR 7: peaks replace at once. */
static void test_a_peak_replaces_and_less_is_averaged(void **state)
{
    struct lb_endpoint ep;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    lb_latency_seen(&ep, 400 * MS, START);
    assert_true(near(latency_of(&ep, START), 400 * MS));
    lb_latency_seen(&ep, 100 * MS, START + 5 * SECOND);
    double is = 100 * MS + 300 * MS * exp(-0.5);
    assert_true(near(latency_of(&ep, START + 5 * SECOND), is));
    lb_latency_seen(&ep, 50 * MS, START + 10 * SECOND);
    is = 50 * MS + (is - 50 * MS) * exp(-0.5);
    assert_true(near(latency_of(&ep, START + 10 * SECOND), is));
}

/* Against what is expected by now: 300 ms are a peak once a second has become less. */
static void test_a_peak_is_one_against_what_is_expected_now(void **state)
{
    struct lb_endpoint ep;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    lb_latency_seen(&ep, SECOND, START);
    lb_latency_seen(&ep, 300 * MS, START + 20 * SECOND);
    assert_true(near(latency_of(&ep, START + 20 * SECOND), 300 * MS));
}

/* Ten thousand answers a second: each moves the average by nearly nothing, and all of them do. */
static void test_many_small_steps_add_up(void **state)
{
    struct lb_endpoint ep;
    uint64_t t = START;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    lb_latency_seen(&ep, 100 * MS, t);
    for (; t < START + 20 * SECOND; t += 100)
        lb_latency_seen(&ep, 90 * MS, t);
    assert_true(fabs(latency_of(&ep, t) - (90 + 10 * exp(-2)) * MS) < 30);
}

static void test_what_was_given_up_only_makes_it_worse(void **state)
{
    struct lb_endpoint ep;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    lb_latency_seen(&ep, 100 * MS, START);
    lb_latency_at_least(&ep, 10 * MS, START);
    lb_latency_at_least(&ep, 0, START);
    assert_true(near(latency_of(&ep, START), 100 * MS));
    lb_latency_at_least(&ep, 200 * MS, START);
    assert_true(near(latency_of(&ep, START), 200 * MS));
}

/* Another worker read its clock before, and its ticks may have turned over. */
static void test_clocks_that_are_apart_and_that_turn_over(void **state)
{
    const uint64_t over = UINT64_C(1) << 42; /* 2^32 ticks */
    struct lb_endpoint ep;
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    lb_latency_seen(&ep, 100 * MS, START);
    assert_true(near(latency_of(&ep, START - 5 * SECOND), 100 * MS));
    lb_latency_seen(&ep, 100 * MS, START - 5 * SECOND);
    assert_true(near(latency_of(&ep, START + 10 * SECOND), 100 * MS * exp(-1)));
    /* Asked again after fifty days. */
    assert_true(near(latency_of(&ep, over - 5 * SECOND), 0));
    lb_latency_seen(&ep, 200 * MS, over - 5 * SECOND);
    assert_true(near(latency_of(&ep, over + 5 * SECOND), 200 * MS * exp(-1)));
}

static void answer(struct lb *lb, uint32_t i, enum lb_outcome outcome, uint64_t us, uint64_t now)
{
    struct lb_lease lease = {0};
    lb_started(lb, &lease, i, now - us);
    lb_finished(&lease, outcome, us, now);
}

/* BEHAVIOUR 7: lower EWMA x (in flight + 1) of two draws wins. */
static void test_the_one_that_answers_sooner_wins(void **state)
{
    struct test_pool p = pool_new(2, NULL);
    struct lb *lb = pool_lb(&p, &lb_peak_ewma, 1);
    struct lb_lease leases[16] = {0};
    (void)state;
    answer(lb, 0, LB_OK, 80 * MS, START);
    answer(lb, 1, LB_OK, 35 * MS, START);
    for (int k = 0; k < 100; k++)
        assert_int_equal(lb_pick(lb, 0, NULL, START), 1);
    /* 35 ms * (2 + 1) is more than 80 ms, 35 * (1 + 1) is not. */
    lb_started(lb, &leases[0], 1, START);
    for (int k = 0; k < 100; k++)
        assert_int_equal(lb_pick(lb, 0, NULL, START), 1);
    lb_started(lb, &leases[1], 1, START);
    for (int k = 0; k < 100; k++)
        assert_int_equal(lb_pick(lb, 0, NULL, START), 0);
    lb_lease_drop(&leases[0], START);
    lb_lease_drop(&leases[1], START);
    lb_free(lb);
    pool_free(&p);
}

/* BEHAVIOUR 7: a 429/503 is charged 5 s. */
static void test_failures_are_charged_five_seconds(void **state)
{
    static const enum lb_outcome bad[] = {LB_OVERLOADED, LB_CONNECT_FAILED, LB_FAILED,
                                          LB_TIMED_OUT};
    struct test_pool p = pool_new(4, NULL);
    struct lb *lb = pool_lb(&p, &lb_peak_ewma, 1);
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        answer(lb, i, bad[i], MS, START);
        assert_true(near(latency_of(&p.endpoints[i], START), 5 * SECOND));
    }
    answer(lb, 3, LB_TIMED_OUT, 9 * SECOND, START);
    assert_true(near(latency_of(&p.endpoints[3], START), 9 * SECOND));
    lb_free(lb);
    pool_free(&p);
}

static void test_equals_are_shared_by_weight(void **state)
{
    const uint32_t weights[] = {6, 3, 1};
    struct test_pool p = pool_new(3, weights);
    struct lb *lb = pool_lb(&p, &lb_peak_ewma, 1);
    uint32_t seen[3] = {0};
    (void)state;
    for (int k = 0; k < 100000; k++)
        seen[lb_pick(lb, 0, NULL, START)]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 9500 * weights[i], 10500 * weights[i]);
    lb_free(lb);
    pool_free(&p);
}

/* One of ten is ten times as slow: it is left with a small part, and the rest share evenly. Then
 * it recovers, and after some time of forgetting gets its part again. */
static void test_a_slow_one_is_spared_until_it_is_fast_again(void **state)
{
    enum { COUNT = 10, STEP = 500, SLOTS = 64 };
    struct test_pool p = pool_new(COUNT, NULL);
    struct lb *lb = pool_lb(&p, &lb_peak_ewma, 1);
    struct lb_lease leases[SLOTS] = {0};
    uint64_t ends[SLOTS] = {0}, takes[SLOTS] = {0}, now = START;
    uint32_t slow[3] = {0}, all[3] = {0};
    (void)state;
    for (uint64_t k = 0; k < 180000; k++, now += STEP) { /* 90 s */
        unsigned phase = (unsigned)(k / 60000);
        for (uint32_t s = 0; s < SLOTS; s++)
            if (lb_lease_started(&leases[s]) && ends[s] <= now)
                lb_finished(&leases[s], LB_OK, takes[s], now);
        uint32_t free_slot = 0;
        while (free_slot < SLOTS && lb_lease_started(&leases[free_slot]))
            free_slot++;
        if (free_slot == SLOTS)
            continue;
        uint32_t i = (uint32_t)lb_pick(lb, 0, NULL, now);
        takes[free_slot] = phase == 1 && i == 4 ? 50 * MS : 5 * MS;
        ends[free_slot] = now + takes[free_slot];
        lb_started(lb, &leases[free_slot], i, now);
        if (k % 60000 >= 40000) { /* the last third of each phase */
            slow[phase] += i == 4;
            all[phase]++;
        }
    }
    for (uint32_t s = 0; s < SLOTS; s++)
        lb_lease_drop(&leases[s], now);
    print_message("the slow one's part: %.2f%%, %.2f%%, %.2f%%\n", 100.0 * slow[0] / all[0],
                  100.0 * slow[1] / all[1], 100.0 * slow[2] / all[2]);
    assert_true(slow[0] > all[0] * 0.07 && slow[0] < all[0] * 0.13);
    assert_true(slow[1] < all[1] * 0.02);
    assert_true(slow[2] > all[2] * 0.05 && slow[2] < all[2] * 0.13);
    lb_free(lb);
    pool_free(&p);
}

static int order_of(struct lb_endpoint *a, struct lb_endpoint *b, uint64_t now)
{
    float expected[2];
    lb_latency_of_two(a, b, now, expected);
    return (expected[0] > expected[1]) - (expected[0] < expected[1]);
}

/* Of two that are almost equal, too: whoever asks what comes next is told what will. */
static void test_who_is_sooner_is_no_matter_of_when_one_asks(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct lb_endpoint ep[2];
        lb_endpoint_init(&ep[0], 1, 0, 1);
        lb_endpoint_init(&ep[1], 1, 0, 1);
        int order = order_of(&ep[0], &ep[1], START);
        assert_int_equal(order, 0);
        for (uint64_t k = 0; k < 20; k++)
            lb_latency_seen(&ep[(k * 7 + seed) % 2], 120 + (k * 31 + seed) % 17,
                            START + (k / 2 + 1) * 1024);
        order = order_of(&ep[0], &ep[1], START + 12 * 1024);
        for (uint64_t tick = 13; tick < 3000; tick++) {
            assert_int_equal(order_of(&ep[0], &ep[1], START + tick * 1024), order);
            assert_int_equal(order_of(&ep[1], &ep[0], START + tick * 1024), -order);
        }
    }
}

/* To one scale, whichever of them was heard of later. */
static void test_two_keep_their_ratio(void **state)
{
    struct lb_endpoint a, b;
    float expected[2];
    (void)state;
    lb_endpoint_init(&a, 1, 0, 1);
    lb_endpoint_init(&b, 1, 0, 1);
    lb_latency_seen(&a, 400 * MS, START);
    lb_latency_seen(&b, 100 * MS, START + 5 * SECOND);
    for (uint64_t t = START + 5 * SECOND; t < START + 60 * SECOND; t += 7 * SECOND) {
        lb_latency_of_two(&a, &b, t, expected);
        assert_true(fabs(expected[0] / expected[1] / (4 * exp(-0.5)) - 1) < 1e-3);
        lb_latency_of_two(&b, &a, t, expected);
        assert_true(fabs(expected[1] / expected[0] / (4 * exp(-0.5)) - 1) < 1e-3);
    }
}

struct teller {
    pthread_t thread;
    struct lb_endpoint *ep;
    float highest;
};

static void *tell(void *arg)
{
    struct teller *t = arg;
    for (uint64_t k = 0; k < 50000; k++) {
        lb_latency_seen(t->ep, 1 + k % 7 * MS, START + k);
        t->highest = fmaxf(t->highest, lb_latency_expected(t->ep, START + k));
    }
    return NULL;
}

static void test_workers_share_what_they_learnt(void **state)
{
    struct lb_endpoint ep;
    struct teller tellers[3] = {{.ep = &ep}, {.ep = &ep}, {.ep = &ep}};
    (void)state;
    lb_endpoint_init(&ep, 1, 0, 1);
    for (int k = 0; k < 3; k++)
        assert_int_equal(pthread_create(&tellers[k].thread, NULL, tell, &tellers[k]), 0);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(pthread_join(tellers[k].thread, NULL), 0);
        assert_true(tellers[k].highest > 0 && tellers[k].highest < 31 * MS);
    }
    assert_true(latency_of(&ep, START + 50000) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_at_30_ms_and_falls_from_the_first_look_on),
        cmocka_unit_test(test_a_peak_replaces_and_less_is_averaged),
        cmocka_unit_test(test_a_peak_is_one_against_what_is_expected_now),
        cmocka_unit_test(test_many_small_steps_add_up),
        cmocka_unit_test(test_what_was_given_up_only_makes_it_worse),
        cmocka_unit_test(test_clocks_that_are_apart_and_that_turn_over),
        cmocka_unit_test(test_the_one_that_answers_sooner_wins),
        cmocka_unit_test(test_failures_are_charged_five_seconds),
        cmocka_unit_test(test_equals_are_shared_by_weight),
        cmocka_unit_test(test_a_slow_one_is_spared_until_it_is_fast_again),
        cmocka_unit_test(test_two_keep_their_ratio),
        cmocka_unit_test(test_who_is_sooner_is_no_matter_of_when_one_asks),
        cmocka_unit_test(test_workers_share_what_they_learnt),
    };
    return cmocka_run_group_tests_name("peak_ewma", tests, NULL, NULL);
}
