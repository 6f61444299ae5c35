/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator, against what queueing theory says of pools that can be calculated; and what it
 * shows of the policies. Fixed seeds: a run either passes always or never.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balancer/hash.h"
#include "balancer/lb.h"
#include "bench/sim/run.h"
#include "bench/sim/server.h"
#include "proxy/base/check.h"

/* A scenario of the defaults and what the words say: "name=value name=value". */
static struct sim_scenario scenario(const char *words)
{
    struct sim_scenario sc;
    char copy[400], err[200], *rest = copy;
    sim_scenario_init(&sc);
    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        char *equals = strchr(word, '=');
        assert_non_null(equals);
        *equals = '\0';
        if (!sim_scenario_set(&sc, word, equals + 1, err, sizeof(err)))
            fail_msg("%s", err);
    }
    assert_true(sim_scenario_check(&sc, err, sizeof(err)));
    return sc;
}

static struct sim_result result;

static const struct sim_result *simulate(const char *words, const struct lb_policy *policy,
                                         uint32_t bound)
{
    struct sim_scenario sc = scenario(words);
    sim_run(&sc, NULL, policy, bound, &result);
    return &result;
}

static double ms(const struct sim_result *r, double share)
{
    return (double)hist_quantile(&r->latency, share) / 1e6;
}

static double tries(const struct sim_result *r)
{
    return (double)r->attempts / (double)r->requests;
}

/* Of the requests that came in these slices. */
static double answered(const struct sim_result *r, int from, int to)
{
    uint64_t requests = 0, good = 0;
    for (int i = from; i < to; i++) {
        requests += r->slices[i].requests;
        good += r->slices[i].answered;
    }
    return (double)good / (double)requests;
}

/* ---- its parts ---- */

static void test_the_heap_gives_the_smallest_first_and_equals_in_order(void **state)
{
    enum { N = 1000 };
    static struct sim_node nodes[N];
    static uint64_t keys[N];
    struct sim_heap heap = {0};
    struct lb_rng rng;
    uint64_t last = 0, key = 0;
    const struct sim_node *before = NULL, *top;
    uint32_t left = 0;
    (void)state;
    lb_rng_seed(&rng, 1);
    for (int i = 0; i < N; i++)
        sim_heap_set(&heap, &nodes[i], 1000);
    for (int i = 0; i < N; i++)
        sim_heap_set(&heap, &nodes[i], keys[i] = lb_rng_below(&rng, 100));
    for (int i = 0; i < N; i += 3)
        sim_heap_remove(&heap, &nodes[i]);
    sim_heap_remove(&heap, &nodes[0]);
    while ((top = sim_heap_top(&heap, &key)) != NULL) {
        assert_true(key >= last && key == keys[top - nodes]);
        assert_true(before == NULL || key > last || top > before);
        before = top;
        last = key;
        sim_heap_remove(&heap, &nodes[top - nodes]);
        left++;
    }
    assert_int_equal(left, N - 334);
    sim_heap_fini(&heap);
}

static void test_a_server_of_one_core_takes_jobs_in_turn(void **state)
{
    struct sim_server s;
    struct sim_job a = {.work = 100}, b = {.work = 50};
    (void)state;
    sim_server_init(&s, 1, false, 1);
    assert_true(sim_server_due(&s) == SIM_NEVER);
    sim_server_start(&s, &a, 1000);
    sim_server_start(&s, &b, 1010);
    assert_int_equal(sim_server_due(&s), 1100);
    assert_ptr_equal(sim_server_done(&s, 1100), &a);
    assert_int_equal(sim_server_due(&s), 1150);
    assert_ptr_equal(sim_server_done(&s, 1150), &b);
    assert_int_equal(sim_server_jobs(&s), 0);
    sim_server_fini(&s);
}

static void test_a_shared_server_gives_all_the_same(void **state)
{
    struct sim_server s;
    struct sim_job a = {.work = 100}, b = {.work = 50};
    (void)state;
    sim_server_init(&s, 1, true, 1);
    sim_server_start(&s, &a, 0);
    sim_server_start(&s, &b, 50); /* 50 are left of a: both have 50 to go, at half the speed */
    assert_int_equal(sim_server_due(&s), 150);
    assert_ptr_equal(sim_server_done(&s, 150), &a);
    assert_int_equal(sim_server_due(&s), 150);
    assert_ptr_equal(sim_server_done(&s, 150), &b);
    sim_server_fini(&s);
}

static void test_a_pause_stops_the_work_and_a_slower_speed_stretches_it(void **state)
{
    struct sim_server s;
    struct sim_job a = {.work = 100};
    (void)state;
    sim_server_init(&s, 2, true, 1);
    sim_server_start(&s, &a, 0);
    sim_server_set_speed(&s, 0, 40);
    assert_true(sim_server_due(&s) == SIM_NEVER);
    sim_server_set_speed(&s, 0.5, 1000);
    assert_int_equal(sim_server_due(&s), 1120);
    assert_ptr_equal(sim_server_evict(&s, 1100), &a);
    assert_null(sim_server_evict(&s, 1100));
    sim_server_fini(&s);
}

static void test_the_dice_have_the_means_they_should(void **state)
{
    static const struct {
        enum sim_shape shape;
        double tail, within;
    } all[] = {{SIM_CONSTANT, 1, 0},
               {SIM_EXPONENTIAL, 1, 0.01},
               {SIM_LOGNORMAL, 1, 0.01},
               {SIM_PARETO, 1.5, 0.03}};
    enum { N = 1000000 };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct lb_rng rng;
        double sum = 0;
        lb_rng_seed(&rng, 5);
        for (int k = 0; k < N; k++)
            sum += sim_dice_shape(&rng, all[i].shape, all[i].tail);
        assert_true(fabs(sum / N - 1) <= all[i].within);
    }
}

static void test_zipf_has_its_proportions(void **state)
{
    enum { N = 1000000, KEYS = 1000 };
    static uint32_t seen[KEYS];
    struct sim_zipf z;
    struct lb_rng rng;
    double whole = 0;
    (void)state;
    lb_rng_seed(&rng, 5);
    sim_zipf_init(&z, KEYS, 1);
    for (int k = 0; k < N; k++)
        seen[sim_zipf_draw(&z, &rng)]++;
    for (int k = 0; k < KEYS; k++)
        whole += 1.0 / (k + 1);
    for (int k = 0; k < 20; k++)
        assert_true(fabs(seen[k] / (N / whole / (k + 1)) - 1) < 0.05);
    sim_zipf_fini(&z);
}

/* ---- theory ---- */

/* M/M/1: the mean is service / (1 - load). With shared cores it is so for every distribution. */
static void test_random_is_as_many_queues_of_their_own(void **state)
{
    const struct sim_result *r;
    (void)state;
    r = simulate("endpoints=10 cores=1 sharing=fifo service=exponential load=0.8", &lb_random, 0);
    assert_true(fabs(hist_mean(&r->latency) / 1e6 / 50 - 1) < 0.03);
    r = simulate("endpoints=10 cores=1 sharing=shared service=lognormal load=0.8", &lb_random, 0);
    assert_true(fabs(hist_mean(&r->latency) / 1e6 / 50 - 1) < 0.03);
    assert_int_equal(r->requests, 900000);
    assert_int_equal(r->answered, r->requests);
}

/* Pollaczek and Khinchine: constant work waits half as long as exponential work. */
static void test_constant_work_waits_half_as_long(void **state)
{
    const struct sim_result *r =
        simulate("endpoints=10 cores=1 sharing=fifo service=constant load=0.8", &lb_random, 0);
    (void)state;
    assert_true(fabs(hist_mean(&r->latency) / 1e6 / (10 + 20) - 1) < 0.03);
}

/* The supermarket model (Mitzenmacher 1996): the mean is the sum of load^(2^i - 2) services. */
static void test_two_choices_wait_as_the_supermarket_model_says(void **state)
{
    double mean = 0;
    const struct sim_result *r;
    (void)state;
    for (int i = 1; i < 12; i++)
        mean += pow(0.9, pow(2, i) - 2);
    r = simulate("endpoints=1000 cores=1 sharing=fifo service=exponential load=0.9 warmup=0.3",
                 &lb_p2c, 0);
    print_message("p2c at 0.9: %.3f services, theory %.3f\n", hist_mean(&r->latency) / 1e7, mean);
    assert_true(fabs(hist_mean(&r->latency) / 1e7 / mean - 1) < 0.03);
}

/* The parts of bins that have at least i balls after n balls into n bins of two choices each, for
 * large n: ds_i/dt = s_(i-1)^2 - s_i^2 (Mitzenmacher's differential equations), up to t = 1. */
static void two_choices_limit(double *s, int bins)
{
    enum { STEPS = 100000 };
    s[0] = 1;
    for (int i = 1; i < bins; i++)
        s[i] = 0;
    for (int step = 0; step < STEPS; step++)
        for (int i = bins - 1; i > 0; i--)
            s[i] += (s[i - 1] * s[i - 1] - s[i] * s[i]) / STEPS;
}

static void test_p2c_fills_bins_as_theory_says(void **state)
{
    enum { N = 100000, BINS = 8 };
    double limit[BINS];
    uint32_t at_least[BINS] = {0}, fullest = 0;
    struct lb_endpoint *all = aligned_alloc(LB_CACHE_LINE, N * sizeof(*all));
    struct lb_endpoint **list = malloc(N * sizeof(*list));
    struct lb_lease *leases = calloc(N, sizeof(*leases));
    (void)state;
    assert_true(all != NULL && list != NULL && leases != NULL);
    for (uint32_t i = 0; i < N; i++) {
        lb_endpoint_init(&all[i], lb_hash_pair(i, 0), i, 1);
        list[i] = &all[i];
    }
    struct lb_group *group = lb_group_new(&lb_p2c, NULL, list, N);
    struct lb *lb = lb_new(group, 4);
    for (uint32_t i = 0; i < N; i++)
        lb_started(lb, &leases[i], (uint32_t)lb_pick(lb, 0, NULL, 1), 1);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t balls = lb_endpoint_in_flight(&all[i]);
        fullest = balls > fullest ? balls : fullest;
        for (uint32_t k = 0; k <= balls && k < BINS; k++)
            at_least[k]++;
    }
    two_choices_limit(limit, BINS);
    for (int i = 1; i < BINS; i++) {
        double expected = limit[i] * N;
        print_message("at least %d: %u bins, theory %.1f\n", i, at_least[i], expected);
        assert_true(fabs(at_least[i] - expected) <= 4 * sqrt(expected) + 1);
    }
    /* Theory expects less than one of a fuller one, and one of this is no miracle. */
    assert_true(limit[fullest] * N > 0.01 && limit[fullest + 1] * N < 1);
    for (uint32_t i = 0; i < N; i++)
        lb_lease_drop(&leases[i], 1);
    lb_free(lb);
    lb_group_free(group);
    free(leases);
    free(list);
    free(all);
}

/* ---- policies ---- */

static void test_peak_ewma_halves_round_robins_p99_with_one_slow_of_ten(void **state)
{
    static const char *const loads[] = {"0.05", "0.3", "0.6"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        char words[128];
        snprintf(words, sizeof(words),
                 "endpoints=10 slow=1 slow_by=10 queue=100 requests=200000 load=%s", loads[i]);
        double turns = ms(simulate(words, &lb_round_robin, 0), 0.99);
        double ewma = ms(simulate(words, &lb_peak_ewma, 0), 0.99);
        print_message("load %s: p99 round_robin %.1f ms, peak_ewma %.1f ms\n", loads[i], turns,
                      ewma);
        assert_true(turns >= 2 * ewma);
    }
}

static void test_who_looks_at_the_endpoints_is_faster_than_who_does_not(void **state)
{
    const char *words = "endpoints=50 requests=200000";
    (void)state;
    double random = ms(simulate(words, &lb_random, 0), 0.99);
    double turns = ms(simulate(words, &lb_round_robin, 0), 0.99);
    double two = ms(simulate(words, &lb_p2c, 0), 0.99);
    double least = ms(simulate(words, &lb_least_conn, 0), 0.99);
    assert_true(least < two && two < turns && turns < random);
}

static void test_the_bound_is_never_exceeded(void **state)
{
    static const struct lb_policy *const keyed[] = {&lb_ring_hash, &lb_maglev};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keyed); i++) {
        const char *words = "endpoints=50 cores=8 keys=1000 zipf=1.1 load=0.9 requests=200000";
        const struct sim_result *r = simulate(words, keyed[i], 125);
        assert_int_equal(r->above, 0);
        assert_int_equal(r->answered, r->requests);
        assert_true(r->busiest < 50);
        r = simulate(words, keyed[i], 0);
        assert_true(r->busiest > 1000 && r->strayed == 0 && r->followed > 0);
    }
}

static void test_keys_moved(void **state)
{
    (void)state;
    assert_true(sim_keys_moved(&lb_p2c, 100) < 0);
    for (uint32_t n = 10; n <= 1000; n *= 10) {
        double maglev = sim_keys_moved(&lb_maglev, n);
        print_message("maglev, %u: %.3f%% of the others' keys move\n", n, 100 * maglev);
        assert_true(sim_keys_moved(&lb_ring_hash, n) == 0);
        assert_true(maglev > 0 && maglev <= 0.02);
    }
}

/* ---- trouble ---- */

#define HALF_DEAD \
    "endpoints=10 dead=0.5 timeout_ms=250 retries=3 requests=100000 warmup=0 dead_how="

static void test_a_half_dead_pool_makes_no_retry_storm(void **state)
{
    static const char *const hows[] = {HALF_DEAD "hang", HALF_DEAD "refuse", HALF_DEAD "error"};
    const struct lb_policy *policy;
    (void)state;
    for (size_t p = 0; (policy = lb_policy_at(p)) != NULL; p++)
        for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
            char words[200];
            double most = tries(simulate(hows[i], policy, 0));
            snprintf(words, sizeof(words), "%s queue=50", hows[i]);
            const struct sim_result *r = simulate(words, policy, 0);
            assert_true(most > 1 && most <= 1.2);
            assert_true(tries(r) > 1 && tries(r) <= 1.2);
            assert_true(answered(r, 90, 100) > 0.9);
        }
}

/* The same without a budget, to see that the test above would see one: the storm goes on long
 * after what began it is over. */
static void test_without_a_budget_there_is_a_storm(void **state)
{
    const struct sim_result *r = simulate(HALF_DEAD "hang queue=50 budget=100", &lb_p2c, 0);
    (void)state;
    assert_true(tries(r) > 2);
    assert_true(answered(r, 0, 30) > 0.99);
    assert_true(answered(r, 90, 100) < 0.7);
}

static void test_a_retry_goes_elsewhere(void **state)
{
    const struct sim_result *r =
        simulate("endpoints=4 dead=1 dead_from=0 dead_until=1 load=0.3 retries=1 budget=100 "
                 "requests=20000 warmup=0.5",
                 &lb_random, 0);
    (void)state;
    assert_int_equal(r->answered, r->requests);
    assert_true(fabs(tries(r) - 1.25) < 0.05);
}

static void test_health_checks_take_the_dead_out(void **state)
{
    const struct sim_result *r =
        simulate("endpoints=4 dead=1 dead_from=0.1 dead_until=1 notice_s=1 load=0.3 "
                 "requests=50000 warmup=0.5",
                 &lb_random, 0);
    (void)state;
    assert_int_equal(r->answered, r->requests);
}

static void test_a_full_endpoint_refuses(void **state)
{
    const struct sim_result *r =
        simulate("endpoints=2 cores=1 queue=1 load=2 requests=20000", &lb_random, 0);
    (void)state;
    assert_true(r->answered < r->requests * 6 / 10 && r->answered > r->requests * 3 / 10);
    assert_true(ms(r, 1) > 0);
}

static void test_slow_start_spares_the_cold(void **state)
{
#define COLD "endpoints=10 added=2 cold_by=5 cold_s=5 requests=100000 warmup=0.4 load=0.6"
    (void)state;
    double at_once = ms(simulate(COLD, &lb_round_robin, 0), 0.999);
    double slowly = ms(simulate(COLD " slow_start_s=10", &lb_round_robin, 0), 0.999);
    print_message("p99.9: at once %.0f ms, slow start %.0f ms\n", at_once, slowly);
    assert_true(slowly < at_once);
}

static void test_pauses_and_drift_hurt_who_does_not_look(void **state)
{
    const char *words = "endpoints=20 speeds=4 drift_s=5 gc_every_s=5 gc_ms=100 load=0.5 queue=50 "
                        "requests=200000";
    (void)state;
    double turns = ms(simulate(words, &lb_round_robin, 0), 0.99);
    double two = ms(simulate(words, &lb_p2c, 0), 0.99);
    assert_true(turns > 2 * two);
}

static void test_weights_take_speeds_into_account(void **state)
{
    (void)state;
    double blind =
        ms(simulate("speeds=4 load=0.6 queue=100 requests=200000", &lb_round_robin, 0), 0.99);
    double told =
        ms(simulate("speeds=4 load=0.6 queue=100 requests=200000 weighted=yes", &lb_round_robin, 0),
           0.99);
    assert_true(blind > 2 * told);
}

static void test_instances_know_only_their_own(void **state)
{
    (void)state;
    double one = ms(simulate("requests=200000", &lb_least_conn, 0), 0.99);
    double many = ms(simulate("requests=200000 instances=20 workers=1", &lb_least_conn, 0), 0.99);
    assert_true(many > 1.3 * one);
}

/* ---- the whole ---- */

static void test_a_seed_repeats_exactly_and_another_does_not(void **state)
{
    static struct sim_result first;
    const char *words = "endpoints=10 requests=50000 speeds=3 drift_s=3 gc_every_s=2 keys=100 "
                        "dead=3 retries=2 timeout_ms=100 instances=2";
    char other[300];
    (void)state;
    first = *simulate(words, &lb_peak_ewma, 0);
    simulate(words, &lb_peak_ewma, 0);
    assert_memory_equal(&first.latency, &result.latency, sizeof(first.latency));
    assert_memory_equal(first.slices, result.slices, sizeof(first.slices));
    assert_int_equal(first.attempts, result.attempts);
    assert_int_equal(first.strayed, result.strayed);
    snprintf(other, sizeof(other), "%s seed=2", words);
    simulate(other, &lb_peak_ewma, 0);
    assert_true(first.latency.sum != result.latency.sum);
}

static void write_file(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void test_a_recorded_load_is_played_again(void **state)
{
    char path[] = "/tmp/weir-sim-XXXXXX", err[200];
    struct sim_trace trace;
    struct sim_scenario sc = scenario("endpoints=2 cores=1 sharing=fifo warmup=0");
    (void)state;
    /* In the order in which they ended. */
    write_file(
        path,
        "{\"time\":\"2026-11-22T23:59:59.990Z\",\"client\":\"10.0.0.1:5\",\"path\":\"/\\\"a\","
        "\"total_ms\":1.500}\n"
        "{\"time\":\"2026-11-22T23:59:59.980Z\",\"client\":\"[::1]:77\",\"path\":\"/b\","
        "\"total_ms\":30.000}\n"
        "{\"time\":\"2026-11-23T00:00:00.010Z\",\"client\":\"10.0.0.1:6\",\"path\":\"/b\","
        "\"total_ms\":4.000}\n");
    assert_true(sim_trace_load(&trace, path, "client", err, sizeof(err)));
    assert_int_equal(trace.count, 3);
    assert_int_equal(trace.requests[1].at, 10000000);
    assert_int_equal(trace.requests[2].at, 30000000);
    assert_int_equal(trace.requests[0].work, 30000000);
    assert_true(trace.requests[1].key == trace.requests[2].key);
    assert_true(trace.requests[0].key != trace.requests[1].key);
    sim_run(&sc, &trace, &lb_least_conn, 0, &result);
    assert_int_equal(result.answered, 3);
    assert_int_equal(trace.keys, 2);
    assert_int_equal(result.followed, 1);
    assert_int_equal(result.latency.max, 30000000);
    assert_int_equal(result.latency.min, 1500000);
    sim_trace_fini(&trace);
    assert_true(sim_trace_load(&trace, path, "path", err, sizeof(err)));
    assert_true(trace.requests[0].key == trace.requests[2].key);
    sim_trace_fini(&trace);
    unlink(path);
}

static void test_a_log_that_is_none_is_told_with_its_line(void **state)
{
    char path[] = "/tmp/weir-sim-XXXXXX", err[200];
    struct sim_trace trace;
    (void)state;
    write_file(path, "{\"time\":\"2026-11-22T23:59:59.990Z\",\"client\":\"a\",\"total_ms\":1}\n"
                     "{\"time\":\"yesterday\"}\n");
    assert_false(sim_trace_load(&trace, path, "client", err, sizeof(err)));
    assert_non_null(strstr(err, ":2: "));
    unlink(path);
    assert_false(sim_trace_load(&trace, path, "client", err, sizeof(err)));
    assert_non_null(strstr(err, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_heap_gives_the_smallest_first_and_equals_in_order),
        cmocka_unit_test(test_a_server_of_one_core_takes_jobs_in_turn),
        cmocka_unit_test(test_a_shared_server_gives_all_the_same),
        cmocka_unit_test(test_a_pause_stops_the_work_and_a_slower_speed_stretches_it),
        cmocka_unit_test(test_the_dice_have_the_means_they_should),
        cmocka_unit_test(test_zipf_has_its_proportions),
        cmocka_unit_test(test_random_is_as_many_queues_of_their_own),
        cmocka_unit_test(test_constant_work_waits_half_as_long),
        cmocka_unit_test(test_two_choices_wait_as_the_supermarket_model_says),
        cmocka_unit_test(test_p2c_fills_bins_as_theory_says),
        cmocka_unit_test(test_peak_ewma_halves_round_robins_p99_with_one_slow_of_ten),
        cmocka_unit_test(test_who_looks_at_the_endpoints_is_faster_than_who_does_not),
        cmocka_unit_test(test_the_bound_is_never_exceeded),
        cmocka_unit_test(test_keys_moved),
        cmocka_unit_test(test_a_half_dead_pool_makes_no_retry_storm),
        cmocka_unit_test(test_without_a_budget_there_is_a_storm),
        cmocka_unit_test(test_a_retry_goes_elsewhere),
        cmocka_unit_test(test_health_checks_take_the_dead_out),
        cmocka_unit_test(test_a_full_endpoint_refuses),
        cmocka_unit_test(test_slow_start_spares_the_cold),
        cmocka_unit_test(test_pauses_and_drift_hurt_who_does_not_look),
        cmocka_unit_test(test_weights_take_speeds_into_account),
        cmocka_unit_test(test_instances_know_only_their_own),
        cmocka_unit_test(test_a_seed_repeats_exactly_and_another_does_not),
        cmocka_unit_test(test_a_recorded_load_is_played_again),
        cmocka_unit_test(test_a_log_that_is_none_is_told_with_its_line),
    };
    return cmocka_run_group_tests_name("simulator", tests, NULL, NULL);
}
