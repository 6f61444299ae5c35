/* SPDX-License-Identifier: Apache-2.0 */
/* Effective weights: marks, panic, backups, levels, zones, slow start. A clock of the test's. */
#include "tests/unit/test_balancer_pool.h"

#include <math.h>

#include "balancer/shares.h"

#define SECOND UINT64_C(1000000)

/* The parts of all requests, in per mille, that endpoints get at a time. */
static struct lb_shares parts(struct test_pool *p, uint64_t now_us, int *per_mille)
{
    struct lb_shares s;
    uint32_t *weights = calloc(p->count, sizeof(*weights));
    assert_non_null(weights);
    lb_shares_of(pool_group(p, &lb_random), now_us, weights, &s);
    uint64_t total = 0;
    uint32_t eligible = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        total += weights[i];
        eligible += weights[i] > 0;
    }
    assert_int_equal(s.total, total);
    assert_int_equal(s.eligible, eligible);
    for (uint32_t i = 0; i < p->count; i++)
        per_mille[i] = total > 0 ? (int)lround(1000.0 * weights[i] / (double)total) : 0;
    free(weights);
    return s;
}

#define EXPECT_PARTS(p, now, ...)                                \
    do {                                                         \
        const int expected_[] = {__VA_ARGS__};                   \
        int got_[ARRAY_LEN(expected_)];                          \
        assert_int_equal((p)->count, ARRAY_LEN(expected_));      \
        parts(p, now, got_);                                     \
        assert_memory_equal(got_, expected_, sizeof(expected_)); \
    } while (0)

static void mark(struct test_pool *p, uint32_t i, enum lb_mark mark)
{
    lb_group_mark(pool_group(p, &lb_random), i, mark, true, 1);
}

static void unmark(struct test_pool *p, uint32_t i, enum lb_mark mark, uint64_t now_us)
{
    lb_group_mark(pool_group(p, &lb_random), i, mark, false, now_us);
}

static void test_as_configured_while_nothing_is_wrong(void **state)
{
    const uint32_t weights[] = {5, 0, 3, 1};
    struct test_pool p = pool_new(4, weights);
    uint32_t got[4] = {0};
    struct lb_shares s;
    (void)state;
    lb_shares_of(pool_group(&p, &lb_random), 1, got, &s);
    assert_memory_equal(got, weights, sizeof(weights)); /* not only the same ratios */
    assert_true(s.changed && !s.panic && !s.backups);
    assert_true(s.due_us == LB_NEVER && s.reserve == 0);
    lb_shares_of(p.group, 1, got, &s);
    assert_false(s.changed);
    pool_free(&p);
}

static void test_each_mark_takes_an_endpoint_out(void **state)
{
    static const enum lb_mark marks[] = {LB_DRAINED, LB_UNPROVEN, LB_DOWN, LB_EJECTED};
    struct test_pool p = pool_new(4, NULL);
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(marks); k++) {
        mark(&p, 1, marks[k]);
        EXPECT_PARTS(&p, 1, 333, 0, 333, 333);
        unmark(&p, 1, marks[k], 1);
    }
    mark(&p, 1, LB_DOWN); /* one does not hide another */
    mark(&p, 1, LB_DRAINED);
    unmark(&p, 1, LB_DOWN, 1);
    EXPECT_PARTS(&p, 1, 333, 0, 333, 333);
    unmark(&p, 1, LB_DRAINED, 1);
    EXPECT_PARTS(&p, 1, 250, 250, 250, 250);
    pool_free(&p);
}

/* BEHAVIOUR 7: panic below 50% usable; explicit drain never ignored. */
static void test_panic_below_half_overrules_outlier_verdicts_only(void **state)
{
    struct test_pool p = pool_new(5, NULL);
    int got[5];
    (void)state;
    mark(&p, 0, LB_EJECTED);
    mark(&p, 1, LB_EJECTED);
    assert_false(parts(&p, 1, got).panic);
    EXPECT_PARTS(&p, 1, 0, 0, 333, 333, 333);
    mark(&p, 2, LB_DOWN);
    assert_true(parts(&p, 1, got).panic); /* two of five */
    EXPECT_PARTS(&p, 1, 250, 250, 0, 250, 250);
    mark(&p, 3, LB_DRAINED); /* does not count: one of four is left */
    EXPECT_PARTS(&p, 1, 333, 333, 0, 0, 333);
    mark(&p, 1, LB_DOWN);
    EXPECT_PARTS(&p, 1, 500, 0, 0, 0, 500);
    mark(&p, 4, LB_EJECTED); /* nobody at all is left */
    EXPECT_PARTS(&p, 1, 500, 0, 0, 0, 500);
    pool_free(&p);
}

static void test_exactly_half_is_no_panic(void **state)
{
    struct test_pool p = pool_new(4, NULL);
    (void)state;
    mark(&p, 0, LB_EJECTED);
    mark(&p, 1, LB_EJECTED);
    EXPECT_PARTS(&p, 1, 0, 0, 500, 500);
    mark(&p, 2, LB_EJECTED);
    EXPECT_PARTS(&p, 1, 250, 250, 250, 250);
    pool_free(&p);
}

static void test_checks_that_all_fail_leave_nobody(void **state)
{
    struct test_pool p = pool_new(2, NULL);
    (void)state;
    mark(&p, 0, LB_DOWN);
    mark(&p, 1, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 0);
    pool_free(&p);
}

/* BEHAVIOUR 7: backup endpoints only when no other is usable. */
static void test_backups_only_when_no_other_is_usable(void **state)
{
    struct test_pool p = pool_new(4, NULL);
    int got[4];
    (void)state;
    p.endpoints[2].backup = p.endpoints[3].backup = true;
    assert_int_equal(parts(&p, 1, got).reserve, 2);
    EXPECT_PARTS(&p, 1, 500, 500, 0, 0);
    mark(&p, 0, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 1000, 0, 0);
    mark(&p, 1, LB_EJECTED);
    assert_true(parts(&p, 1, got).backups);
    EXPECT_PARTS(&p, 1, 0, 0, 500, 500);
    mark(&p, 2, LB_DOWN);
    mark(&p, 3, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 1000, 0, 0); /* better one that was ejected than nobody */
    pool_free(&p);
}

/* Envoy's worked example: at 1.4, a level with 71% usable carries everything, one with 50% 70%. */
/* BEHAVIOUR 7: priority levels spill at 1.4 overprovisioning. */
static void test_levels_spill_at_1_4(void **state)
{
    struct test_pool p = pool_new(7, NULL);
    (void)state;
    for (uint32_t i = 4; i < 7; i++)
        p.endpoints[i].priority = i == 6 ? 2 : 1;
    EXPECT_PARTS(&p, 1, 250, 250, 250, 250, 0, 0, 0);
    mark(&p, 0, LB_DOWN); /* 75% * 1.4 is enough */
    EXPECT_PARTS(&p, 1, 0, 333, 333, 333, 0, 0, 0);
    mark(&p, 1, LB_DOWN); /* 50% * 1.4 */
    EXPECT_PARTS(&p, 1, 0, 0, 350, 350, 150, 150, 0);
    mark(&p, 4, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 0, 350, 350, 0, 300, 0);
    mark(&p, 5, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 0, 350, 350, 0, 0, 300);
    mark(&p, 2, LB_DOWN);
    mark(&p, 3, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 0, 0, 0, 0, 0, 1000);
    pool_free(&p);
}

static void test_levels_share_what_all_together_cannot_carry(void **state)
{
    struct test_pool p = pool_new(8, NULL);
    (void)state;
    for (uint32_t i = 4; i < 8; i++)
        p.endpoints[i].priority = 1;
    for (uint32_t i = 0; i < 7; i++)
        if (i != 3)
            mark(&p, i, LB_DOWN); /* 35% and 35% */
    EXPECT_PARTS(&p, 1, 0, 0, 0, 500, 0, 0, 0, 500);
    pool_free(&p);
}

/* A level that another can replace is not in a panic. */
static void test_no_panic_while_the_next_level_carries_everything(void **state)
{
    struct test_pool p = pool_new(4, NULL);
    int got[4];
    (void)state;
    p.endpoints[3].priority = 1;
    for (uint32_t i = 0; i < 3; i++)
        mark(&p, i, LB_EJECTED);
    assert_false(parts(&p, 1, got).panic);
    EXPECT_PARTS(&p, 1, 0, 0, 0, 1000);
    pool_free(&p);
}

/* BEHAVIOUR 7: prefer own zone while it can carry its share. */
static void test_the_own_zone_is_preferred_while_it_can_carry_its_share(void **state)
{
    struct test_pool p = pool_new(6, NULL);
    (void)state;
    p.options.zone = 1;
    for (uint32_t i = 0; i < 6; i++)
        p.endpoints[i].zone = (uint8_t)(1 + i / 2); /* 1 1 2 2 3 3 */
    EXPECT_PARTS(&p, 1, 500, 500, 0, 0, 0, 0);
    /* Its part of all requests is a third; it has a fifth of what is usable: three fifths of its
       part. The others have room: two fifths each of the whole, less a third. */
    mark(&p, 0, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 600, 100, 100, 100, 100);
    mark(&p, 2, LB_DOWN); /* one, one and two: three quarters stay, and only one zone has room */
    EXPECT_PARTS(&p, 1, 0, 750, 0, 0, 125, 125);
    mark(&p, 1, LB_DOWN);
    EXPECT_PARTS(&p, 1, 0, 0, 0, 333, 333, 333);
    pool_free(&p);
}

static void test_zones_do_not_matter_to_who_is_in_none(void **state)
{
    struct test_pool p = pool_new(3, NULL);
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        p.endpoints[i].zone = (uint8_t)(1 + i);
    EXPECT_PARTS(&p, 1, 333, 333, 333);
    pool_free(&p);
    p = pool_new(3, NULL);
    p.options.zone = 9; /* of which there is no endpoint */
    for (uint32_t i = 0; i < 3; i++)
        p.endpoints[i].zone = (uint8_t)(1 + i);
    EXPECT_PARTS(&p, 1, 333, 333, 333);
    pool_free(&p);
}

static double part_of(struct test_pool *p, uint32_t i, uint64_t now_us)
{
    uint32_t weights[16] = {0};
    struct lb_shares s;
    lb_shares_of(p->group, now_us, weights, &s);
    return weights[i] / (double)s.total;
}

/* BEHAVIOUR 7: weight x max(10%, elapsed/window), after an add or a recovery. */
static void test_slow_start_goes_from_a_tenth_to_all_of_the_weight(void **state)
{
    enum { COUNT = 10 };
    struct test_pool p = pool_new(COUNT, NULL);
    const uint64_t back = 100 * SECOND, window = 30 * SECOND;
    struct lb_shares s;
    int got[COUNT];
    (void)state;
    p.options.slow_start_us = window;
    mark(&p, 0, LB_DOWN);
    unmark(&p, 0, LB_DOWN, back);
    for (unsigned k = 0; k <= 40; k++) {
        double part = k < 3 ? 0.1 : k < 30 ? k / 30.0 : 1;
        double is = part_of(&p, 0, back + k * SECOND);
        assert_true(fabs(is - part / (COUNT - 1 + part)) < 1e-5);
    }
    s = parts(&p, back, got);
    assert_true(s.due_us > back && s.due_us <= back + window / 30);
    assert_true(parts(&p, back + window, got).due_us == LB_NEVER);
    pool_free(&p);
}

/* BEHAVIOUR 7: slow start: never for a whole pool at once. */
static void test_slow_start_is_never_for_a_whole_pool(void **state)
{
    enum { COUNT = 10 };
    struct test_pool p = pool_new(COUNT, NULL);
    (void)state;
    p.options.slow_start_us = 30 * SECOND;
    for (uint32_t i = 0; i < COUNT; i++)
        lb_group_warm(pool_group(&p, &lb_random), i, 100 * SECOND);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(fabs(part_of(&p, i, 100 * SECOND) - 0.1) < 1e-6);
    pool_free(&p);
}

/* However few are warm, they get no more than twice their part. */
static void test_those_that_are_warm_are_not_overrun(void **state)
{
    enum { COUNT = 10 };
    (void)state;
    for (uint32_t cold = 1; cold < COUNT; cold++) {
        struct test_pool p = pool_new(COUNT, NULL);
        p.options.slow_start_us = 30 * SECOND;
        for (uint32_t i = 0; i < cold; i++)
            lb_group_warm(pool_group(&p, &lb_random), i, 100 * SECOND);
        double warm = part_of(&p, COUNT - 1, 100 * SECOND);
        double due = 1 / (COUNT - cold + cold * 0.1);
        assert_true(fabs(warm - (due < 0.2 ? due : 0.2)) < 1e-5);
        pool_free(&p);
    }
}

static void test_the_balancer_follows_slow_start_by_itself(void **state)
{
    (void)state;
    for (size_t k = 0; lb_policy_at(k) != NULL; k++) {
        struct test_pool p = pool_new(10, NULL);
        p.options.slow_start_us = 30 * SECOND;
        struct lb *lb = pool_lb(&p, lb_policy_at(k), 1);
        lb_group_mark(p.group, 0, LB_DOWN, true, 100 * SECOND);
        assert_true(lb_pick(lb, 0, NULL, 100 * SECOND) != 0);
        lb_group_mark(p.group, 0, LB_DOWN, false, 100 * SECOND);
        uint32_t picks[4] = {0};
        for (uint64_t n = 0; n < 40000; n++) { /* 0.1 s of each ten: at 0, 10, 20 and 30 s */
            uint64_t now = 100 * SECOND + n / 10000 * 10 * SECOND + n % 10000 * 10;
            picks[n / 10000] += lb_pick(lb, 0, NULL, now) == 0;
        }
        assert_in_range(picks[0], 60, 170);  /* 110 of 10,000 are due */
        assert_in_range(picks[1], 270, 450); /* 357 */
        assert_in_range(picks[2], 560, 810); /* 690 */
        assert_in_range(picks[3], 860, 1140);
        lb_free(lb);
        pool_free(&p);
    }
}

/* A retry finds the backup, or the other zone, when all that have a weight were tried. */
static void test_a_retry_may_go_to_the_reserve(void **state)
{
    (void)state;
    for (size_t k = 0; lb_policy_at(k) != NULL; k++) {
        struct test_pool p = pool_new(3, NULL);
        p.endpoints[2].backup = true;
        struct lb *lb = pool_lb(&p, lb_policy_at(k), 1);
        struct lb_tried t = {0};
        lb_tried_add(&t, 0);
        lb_tried_add(&t, 1);
        assert_int_equal(lb_pick(lb, 0, &t, 1), 2);
        lb_group_mark(p.group, 2, LB_DRAINED, true, 1);
        assert_int_equal(lb_pick(lb, 0, &t, 1), LB_NONE);
        lb_free(lb);
        pool_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_configured_while_nothing_is_wrong),
        cmocka_unit_test(test_each_mark_takes_an_endpoint_out),
        cmocka_unit_test(test_panic_below_half_overrules_outlier_verdicts_only),
        cmocka_unit_test(test_exactly_half_is_no_panic),
        cmocka_unit_test(test_checks_that_all_fail_leave_nobody),
        cmocka_unit_test(test_backups_only_when_no_other_is_usable),
        cmocka_unit_test(test_levels_spill_at_1_4),
        cmocka_unit_test(test_levels_share_what_all_together_cannot_carry),
        cmocka_unit_test(test_no_panic_while_the_next_level_carries_everything),
        cmocka_unit_test(test_the_own_zone_is_preferred_while_it_can_carry_its_share),
        cmocka_unit_test(test_zones_do_not_matter_to_who_is_in_none),
        cmocka_unit_test(test_slow_start_goes_from_a_tenth_to_all_of_the_weight),
        cmocka_unit_test(test_slow_start_is_never_for_a_whole_pool),
        cmocka_unit_test(test_those_that_are_warm_are_not_overrun),
        cmocka_unit_test(test_the_balancer_follows_slow_start_by_itself),
        cmocka_unit_test(test_a_retry_may_go_to_the_reserve),
    };
    return cmocka_run_group_tests_name("effective weights", tests, NULL, NULL);
}
