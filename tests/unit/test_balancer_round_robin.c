/* SPDX-License-Identifier: Apache-2.0 */
/* round_robin against its definition: a scan that adds, takes the largest and lets it pay. */
#include "tests/unit/test_balancer_pool.h"

#define PHASES 16384 /* starts lie within so many picks of the cycle's head */

/* The definition, slow and obvious. */
struct model {
    uint32_t count;
    int64_t weight[64], value[64], total;
};

static void model_init(struct model *m, const uint32_t *weights, uint32_t count)
{
    *m = (struct model){.count = count};
    for (uint32_t i = 0; i < count; i++)
        m->total += m->weight[i] = weights[i];
}

static int32_t model_pick(struct model *m, const struct lb_tried *tried)
{
    int32_t best = LB_NONE;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->weight[i] > 0 && !lb_tried_has(tried, i) &&
            (best == LB_NONE || m->value[i] + m->weight[i] > m->value[best] + m->weight[best]))
            best = (int32_t)i;
    if (best == LB_NONE)
        return best;
    for (uint32_t i = 0; i < m->count; i++)
        m->value[i] += m->weight[i];
    m->value[best] -= m->total;
    return best;
}

/* A change keeps each value's part of the total. */
static void model_set(struct model *m, uint32_t i, uint32_t weight)
{
    int64_t total = 0;
    m->weight[i] = weight;
    for (uint32_t k = 0; k < m->count; k++)
        total += m->weight[k];
    if (total > 0 && m->total > 0)
        for (uint32_t k = 0; k < m->count; k++)
            m->value[k] = m->value[k] * total / m->total;
    if (total > 0)
        m->total = total;
}

static uint64_t cycle(const uint32_t *weights, uint32_t count)
{
    uint64_t total = 0, unit = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += weights[i];
        uint64_t a = unit, b = weights[i];
        while (b) {
            uint64_t r = a % b;
            a = b, b = r;
        }
        unit = a;
    }
    return total / unit;
}

/* Takes n picks and winds the model on to where those came from; fails if they are nowhere. */
static void follow(struct lb *lb, struct model *m, const uint32_t *weights, uint64_t n)
{
    int32_t *seen = malloc(n * sizeof(*seen));
    int32_t *cyc = malloc((PHASES + n) * sizeof(*cyc));
    uint64_t at;
    for (uint64_t k = 0; k < n; k++)
        seen[k] = pick(lb);
    for (uint64_t k = 0; k < PHASES + n; k++)
        cyc[k] = model_pick(m, NULL);
    for (at = 0; at < PHASES; at++)
        if (memcmp(seen, cyc + at, n * sizeof(*seen)) == 0)
            break;
    assert_true(at < PHASES);
    model_init(m, weights, m->count);
    for (uint64_t k = 0; k < at + n; k++)
        model_pick(m, NULL);
    free(seen);
    free(cyc);
}

/* n picks from the start of the cycle, as letters. */
static void expect_cycle(const uint32_t *weights, uint32_t count, const char *order)
{
    struct test_pool p = pool_new(count, weights);
    size_t n = strlen(order);
    unsigned rotations = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct lb *lb = pool_lb(&p, &lb_round_robin, seed);
        char seen[64], twice[128];
        for (size_t k = 0; k < 2 * n; k++)
            seen[k] = (char)('a' + pick(lb));
        seen[2 * n] = '\0';
        assert_memory_equal(seen, seen + n, n);
        seen[n] = '\0';
        snprintf(twice, sizeof(twice), "%s%s", order, order);
        assert_non_null(strstr(twice, seen));
        rotations |= 1u << (strstr(twice, seen) - twice);
        lb_free(lb);
    }
    assert_int_equal(rotations, (1u << n) - 1); /* every start occurs */
    pool_free(&p);
}

/* BEHAVIOUR 7: with weights 5,1,1 the order is a a b a c a a. */
static void test_the_documented_order(void **state)
{
    (void)state;
    expect_cycle((const uint32_t[]){5, 1, 1}, 3, "aabacaa");
    expect_cycle((const uint32_t[]){50, 10, 10}, 3, "aabacaa");
    expect_cycle((const uint32_t[]){1, 1, 1, 1}, 4, "abcd");
    expect_cycle((const uint32_t[]){3, 2, 1}, 3, "abacba");
    expect_cycle((const uint32_t[]){2, 0, 1}, 3, "aca");
    expect_cycle((const uint32_t[]){0, 7}, 2, "b");
}

/* BEHAVIOUR 7: every pick adds each weight, the largest wins and pays the total. */
static void test_random_weights_follow_the_definition(void **state)
{
    struct lb_rng rng;
    (void)state;
    lb_rng_seed(&rng, 1);
    for (int round = 0; round < 200; round++) {
        uint32_t count = 1 + (uint32_t)lb_rng_below(&rng, 60), weights[64];
        uint64_t top = round % 3 == 0 ? 3 : round % 3 == 1 ? 20 : 1000;
        for (uint32_t i = 0; i < count; i++)
            weights[i] = (uint32_t)lb_rng_below(&rng, top + 1);
        weights[count - 1] |= 1;
        struct test_pool p = pool_new(count, weights);
        struct lb *lb = pool_lb(&p, &lb_round_robin, lb_rng_next(&rng));
        struct model m;
        model_init(&m, weights, count);
        uint64_t n = cycle(weights, count);
        follow(lb, &m, weights, n < 2000 ? n : 2000);
        for (int k = 0; k < 3000; k++)
            assert_int_equal(pick(lb), model_pick(&m, NULL));
        lb_free(lb);
        pool_free(&p);
    }
}

static struct lb_tried random_tried(struct lb_rng *rng, uint32_t count)
{
    struct lb_tried t = {0};
    for (uint64_t k = lb_rng_below(rng, 4); k-- > 0;)
        lb_tried_add(&t, (uint32_t)lb_rng_below(rng, count));
    return t;
}

static void test_changes_and_retries_follow_the_definition(void **state)
{
    struct lb_rng rng;
    (void)state;
    lb_rng_seed(&rng, 2);
    for (int round = 0; round < 100; round++) {
        uint32_t count = 1 + (uint32_t)lb_rng_below(&rng, round % 2 ? 60 : 5), weights[64];
        for (uint32_t i = 0; i < count; i++)
            weights[i] = 1 + (uint32_t)lb_rng_below(&rng, 10);
        struct test_pool p = pool_new(count, weights);
        struct lb *lb = pool_lb(&p, &lb_round_robin, lb_rng_next(&rng));
        struct model m;
        model_init(&m, weights, count);
        follow(lb, &m, weights, cycle(weights, count));
        for (int k = 0; k < 2000; k++) {
            uint32_t i = (uint32_t)lb_rng_below(&rng, count);
            struct lb_tried t = {0};
            switch (lb_rng_below(&rng, 20)) {
            case 0:
                set_usable(&p, i, !usable(&p, i));
                model_set(&m, i, share(&p, i));
                break;
            case 1:
                lb_group_set_weight(p.group, i, (uint32_t)lb_rng_below(&rng, 8));
                model_set(&m, i, share(&p, i));
                break;
            case 2:
            case 3:
                t = random_tried(&rng, count);
                break;
            }
            assert_int_equal(lb_pick(lb, 0, &t, 0), model_pick(&m, &t));
        }
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_a_change_and_back_between_picks_is_invisible(void **state)
{
    const uint32_t weights[] = {5, 3, 3, 1};
    struct test_pool p = pool_new(4, weights);
    struct lb *a = pool_lb(&p, &lb_round_robin, 3), *b = pool_lb(&p, &lb_round_robin, 3);
    (void)state;
    for (int k = 0; k < 200; k++) {
        set_usable(&p, 1, false);
        set_usable(&p, 1, true);
        assert_int_equal(pick(a), pick(b));
    }
    lb_free(a);
    lb_free(b);
    pool_free(&p);
}

/* A pool of which something changes all the time must not serve the head of the cycle only. */
static void test_constant_changes_starve_nobody(void **state)
{
    enum { COUNT = 100 };
    uint32_t weights[COUNT], picks[COUNT] = {0}, total = 0;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        total += weights[i] = i % 2 ? 100 : 300;
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 4);
    const uint32_t rounds = 20000;
    for (uint32_t k = 0; k < rounds; k++) {
        lb_group_set_weight(p.group, 0, k % 2 ? 300 : 299);
        picks[pick(lb)]++;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        double due = (double)rounds * weights[i] / total;
        assert_true(picks[i] > due * 0.9 && picks[i] < due * 1.1);
    }
    lb_free(lb);
    pool_free(&p);
}

static void test_workers_do_not_march_in_step(void **state)
{
    struct test_pool p = pool_new(8, NULL);
    unsigned firsts = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct lb *lb = pool_lb(&p, &lb_round_robin, seed);
        firsts |= 1u << pick(lb);
        lb_free(lb);
    }
    assert_int_equal(firsts, 0xff);
    /* A pool that nobody may be picked from at first gets its phase when it can. */
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct lb *lb = pool_lb(&p, &lb_round_robin, seed);
        struct lb *late = pool_lb(&p, &lb_round_robin, seed);
        for (uint32_t i = 0; i < 8; i++)
            set_usable(&p, i, false);
        assert_int_equal(pick(late), LB_NONE);
        for (uint32_t i = 0; i < 8; i++)
            set_usable(&p, i, true);
        assert_int_equal(pick(late), pick(lb));
        lb_free(late);
        lb_free(lb);
    }
    pool_free(&p);
}

static void test_large_pool_keeps_exact_shares(void **state)
{
    enum { COUNT = 10000 };
    static uint32_t weights[COUNT], picks[COUNT];
    uint64_t total = 0;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        total += weights[i] = 1 + i % 50;
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 5);
    for (uint64_t k = 0; k < total; k++)
        picks[pick(lb)]++;
    assert_memory_equal(picks, weights, sizeof(picks)); /* one whole cycle, from wherever */
    lb_free(lb);
    pool_free(&p);
}

static void test_cost(void **state)
{
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_documented_order),
        cmocka_unit_test(test_random_weights_follow_the_definition),
        cmocka_unit_test(test_changes_and_retries_follow_the_definition),
        cmocka_unit_test(test_a_change_and_back_between_picks_is_invisible),
        cmocka_unit_test(test_constant_changes_starve_nobody),
        cmocka_unit_test(test_workers_do_not_march_in_step),
        cmocka_unit_test(test_large_pool_keeps_exact_shares),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests_name("round_robin", tests, NULL, NULL);
}
