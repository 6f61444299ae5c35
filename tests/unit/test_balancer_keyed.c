/* SPDX-License-Identifier: Apache-2.0 */
/* ring_hash and maglev: who gets which key, what moves when, bounds. Fixed seeds. */
#include "tests/unit/test_balancer_pool.h"

static const struct lb_policy *const keyed[] = {&lb_ring_hash, &lb_maglev};

#define FOR_BOTH(policy)                                            \
    for (const struct lb_policy *policy = keyed[0]; policy != NULL; \
         policy = policy == keyed[0] ? keyed[1] : NULL)

static uint64_t key_of(uint32_t k)
{
    return lb_hash(&k, sizeof(k));
}

static int32_t pick_key(struct lb *lb, uint32_t k)
{
    return lb_pick(lb, key_of(k), NULL, 1);
}

/* Where keys 0..n go. */
static int32_t *map_keys(struct lb *lb, uint32_t n)
{
    int32_t *where = malloc(n * sizeof(*where));
    assert_non_null(where);
    for (uint32_t k = 0; k < n; k++)
        where[k] = pick_key(lb, k);
    return where;
}

/* The most keys of one over its part of them by weight. */
static double max_over_mean(const struct test_pool *p, const int32_t *where, uint32_t n)
{
    uint32_t *seen = calloc(p->count, sizeof(*seen));
    double total = 0, worst = 0;
    for (uint32_t k = 0; k < n; k++)
        seen[where[k]]++;
    for (uint32_t i = 0; i < p->count; i++)
        total += share(p, i);
    for (uint32_t i = 0; i < p->count; i++) {
        double over = seen[i] / (n * share(p, i) / total);
        worst = over > worst ? over : worst;
    }
    free(seen);
    return worst;
}

static void test_a_key_goes_to_one_endpoint_in_every_worker(void **state)
{
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(50, NULL);
        struct lb *a = pool_lb(&p, policy, 1), *b = pool_lb(&p, policy, 2);
        for (uint32_t k = 0; k < 1000; k++) {
            int32_t i = pick_key(a, k);
            assert_int_equal(i, pick_key(a, k));
            assert_int_equal(i, pick_key(b, k));
        }
        lb_free(a);
        lb_free(b);
        pool_free(&p);
    }
}

/* Another process may hear of the endpoints in another order. */
static void test_the_order_of_the_endpoints_does_not_matter(void **state)
{
    enum { COUNT = 40, KEYS = 5000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(COUNT, NULL), q = pool_new(COUNT, NULL);
        for (uint32_t i = 0; i < COUNT; i++)
            q.list[i] = &q.endpoints[COUNT - 1 - i];
        struct lb *a = pool_lb(&p, policy, 1), *b = pool_lb(&q, policy, 1);
        for (uint32_t k = 0; k < KEYS; k++)
            assert_int_equal(pick_key(a, k), COUNT - 1 - pick_key(b, k));
        lb_free(a);
        lb_free(b);
        pool_free(&p);
        pool_free(&q);
    }
}

static void test_without_a_key_everybody_gets_requests(void **state)
{
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(10, NULL);
        struct lb *lb = pool_lb(&p, policy, 1);
        uint32_t seen[10] = {0};
        for (int k = 0; k < 10000; k++)
            seen[pick(lb)]++;
        for (int i = 0; i < 10; i++)
            assert_in_range(seen[i], 700, 1300);
        lb_free(lb);
        pool_free(&p);
    }
}

/*
 * 160 points each make parts whose deviation is about 1/sqrt(160) = 8% of the mean; the largest of
 * 100 lies below four of them. Maglev's slots differ by one: 2% is the noise of the keys.
 */
static void test_keys_are_shared_evenly(void **state)
{
    enum { COUNT = 100, KEYS = 1000000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(COUNT, NULL);
        struct lb *lb = pool_lb(&p, policy, 1);
        int32_t *where = map_keys(lb, KEYS);
        double worst = max_over_mean(&p, where, KEYS);
        print_message("%s: the fullest of %d has %.3f times the mean\n", policy->name, COUNT,
                      worst);
        assert_true(worst < (policy == &lb_maglev ? 1.04 : 1.32));
        free(where);
        lb_free(lb);
        pool_free(&p);
    }
}

/*
 * Of an endpoint with n of many points the part of the ring has a variance of 1/n of its mean's
 * square; the keys' lots add 1 over the keys that it has in the mean.
 */
static double points_seen(const uint32_t *seen, uint32_t from, uint32_t to)
{
    double sum = 0, squares = 0, n = to - from;
    for (uint32_t i = from; i < to; i++) {
        sum += seen[i];
        squares += (double)seen[i] * seen[i];
    }
    double mean = sum / n;
    return 1 / ((squares / n - mean * mean) / (mean * mean) - 1 / mean);
}

/* BEHAVIOUR 7: 160 points a unit of weight. */
static void test_a_unit_of_weight_has_160_points(void **state)
{
    enum { COUNT = 2000, HALF = COUNT / 2, KEYS = 3000000 };
    static uint32_t weights[COUNT], seen[COUNT];
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        weights[i] = i < HALF ? 1 : 2;
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, &lb_ring_hash, 1);
    for (uint32_t k = 0; k < KEYS; k++)
        seen[pick_key(lb, k)]++;
    assert_in_range((unsigned)points_seen(seen, 0, HALF), 140, 180);
    assert_in_range((unsigned)points_seen(seen, HALF, COUNT), 270, 370);
    lb_free(lb);
    pool_free(&p);
}

struct point {
    uint32_t place;
    uint32_t endpoint;
    uint64_t id;
};

static int by_place(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* The first point at or behind a place, going round. */
static uint32_t owner_by_definition(const struct point *points, uint32_t n, uint32_t place)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (points[middle].place < place)
            low = middle + 1;
        else
            high = middle;
    }
    return points[low < n ? low : 0].endpoint;
}

/* However the ring finds it: at each point, just before and just behind it. */
static void test_a_key_belongs_to_the_next_point_of_the_ring(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 17, 128, 1000};
    enum { POINTS = 160 };
    (void)state;
    for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
        struct test_pool p = pool_new(counts[c], NULL);
        struct lb *lb = pool_lb(&p, &lb_ring_hash, 1);
        uint32_t n = p.count * POINTS;
        struct point *points = calloc(n, sizeof(*points));
        assert_non_null(points);
        for (uint32_t k = 0; k < n; k++) {
            uint64_t id = p.list[k / POINTS]->id;
            uint32_t place = (uint32_t)(lb_hash_pair(id, k % POINTS) >> 32);
            points[k] = (struct point){.place = place, .endpoint = k / POINTS, .id = id};
        }
        qsort(points, n, sizeof(*points), by_place);
        for (uint32_t k = 0; k < 3 * n; k++) {
            uint32_t place = points[k / 3].place + k % 3 - 1;
            uint64_t key = (uint64_t)place << 32 | 1;
            assert_int_equal(lb_pick(lb, key, NULL, 1), owner_by_definition(points, n, place));
        }
        free(points);
        lb_free(lb);
        pool_free(&p);
    }
}

/* BEHAVIOUR 7: ring_hash and maglev are weighted. */
static void test_keys_are_shared_by_weight(void **state)
{
    static const uint32_t weights[] = {10, 20, 40, 80, 10, 160};
    enum { KEYS = 400000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(6, weights);
        struct lb *lb = pool_lb(&p, policy, 1);
        int32_t *where = map_keys(lb, KEYS);
        assert_true(max_over_mean(&p, where, KEYS) < (policy == &lb_maglev ? 1.02 : 1.2));
        free(where);
        lb_free(lb);
        pool_free(&p);
    }
}

/* The part of the keys of those that stay which go elsewhere when the last of 1,000 is taken off
 * the list. */
static double moved_when_one_leaves(const struct lb_policy *policy)
{
    enum { COUNT = 1000, KEYS = 200000 };
    struct test_pool p = pool_new(COUNT, NULL), q = pool_new(COUNT - 1, NULL);
    struct lb *a = pool_lb(&p, policy, 1), *b = pool_lb(&q, policy, 1);
    uint32_t moved = 0, others = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        int32_t i = pick_key(a, k);
        others += i != COUNT - 1;
        moved += i != COUNT - 1 && pick_key(b, k) != i;
    }
    lb_free(a);
    lb_free(b);
    pool_free(&p);
    pool_free(&q);
    return (double)moved / others;
}

static void test_of_the_ring_only_the_leavers_keys_move(void **state)
{
    (void)state;
    assert_true(moved_when_one_leaves(&lb_ring_hash) == 0);
}

/* The paper's figure 12: some 2% at a table of this size and a thousand backends. */
static void test_of_maglev_at_most_two_percent_of_the_others_keys_move(void **state)
{
    (void)state;
    double moved = moved_when_one_leaves(&lb_maglev);
    print_message("maglev: %.3f%% of the others' keys move\n", 100 * moved);
    assert_true(moved < 0.02);
}

static void test_who_is_out_for_a_while_gets_its_keys_back_and_no_other_moves(void **state)
{
    enum { COUNT = 100, KEYS = 50000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(COUNT, NULL);
        struct lb *lb = pool_lb(&p, policy, 1);
        int32_t *before = map_keys(lb, KEYS);
        uint32_t heirs[COUNT] = {0}, lost = 0;
        set_usable(&p, 7, false);
        for (uint32_t k = 0; k < KEYS; k++) {
            int32_t i = pick_key(lb, k);
            if (before[k] != 7)
                assert_int_equal(i, before[k]);
            else
                heirs[i]++, lost++;
        }
        uint32_t most = 0;
        for (int i = 0; i < COUNT; i++)
            most = heirs[i] > most ? heirs[i] : most;
        assert_int_equal(heirs[7], 0);
        assert_true(most < lost / 10); /* and they are spread */
        set_usable(&p, 7, true);
        for (uint32_t k = 0; k < KEYS; k++)
            assert_int_equal(pick_key(lb, k), before[k]);
        free(before);
        lb_free(lb);
        pool_free(&p);
    }
}

/* A key goes to an endpoint that warms up once, and stays; others do not move. */
static void test_keys_move_one_way_in_slow_start(void **state)
{
    enum { COUNT = 20, KEYS = 40000, WINDOW = 1000000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(COUNT, NULL);
        p.options.slow_start_us = WINDOW;
        struct lb *lb = pool_lb(&p, policy, 1);
        int32_t *home = map_keys(lb, KEYS);
        static bool there[KEYS];
        uint32_t due = 0, before = 0;
        memset(there, 0, sizeof(there));
        for (uint32_t k = 0; k < KEYS; k++)
            due += home[k] == 3;
        lb_group_mark(p.group, 3, LB_DOWN, true, 1);
        lb_group_mark(p.group, 3, LB_DOWN, false, 10);
        for (uint64_t t = 0; t <= 12; t++) {
            uint32_t has = 0;
            for (uint32_t k = 0; k < KEYS; k++) {
                int32_t i = lb_pick(lb, key_of(k), NULL, 10 + t * WINDOW / 10);
                if (home[k] != 3)
                    assert_int_equal(i, home[k]);
                assert_true(i == 3 || !there[k]);
                there[k] = i == 3;
                has += i == 3;
            }
            double part = t < 1 ? 0.1 : t > 10 ? 1 : (double)t / 10;
            assert_true(has >= before && has > due * (part - 0.08) && has < due * (part + 0.05));
            before = has;
        }
        assert_int_equal(before, due);
        free(home);
        lb_free(lb);
        pool_free(&p);
    }
}

/* BEHAVIOUR 7: both with bound (bounded loads). */
static void test_nobody_ever_exceeds_the_bound(void **state)
{
    enum { COUNT = 30, LEASES = 400, STEPS = 60000 };
    (void)state;
    FOR_BOTH(policy)
    {
        for (uint32_t bound = 101; bound < 200; bound += 24) { /* 101%, 125%, ... */
            uint32_t weights[COUNT];
            for (uint32_t i = 0; i < COUNT; i++)
                weights[i] = 1 + i % 3;
            struct test_pool p = pool_new(COUNT, weights);
            p.options.bound = bound;
            struct lb *lb = pool_lb(&p, policy, 1);
            const struct lb_view *v = lb_view_of(lb);
            struct lb_lease leases[LEASES] = {0};
            struct lb_rng rng;
            uint64_t out = 0;
            lb_rng_seed(&rng, 3);
            for (int k = 0; k < STEPS; k++) {
                struct lb_lease *lease = &leases[lb_rng_below(&rng, LEASES)];
                if (lb_lease_started(lease)) {
                    lb_lease_drop(lease, 0);
                    out--;
                    continue;
                }
                /* Half of the requests ask for one and the same key. */
                uint32_t key = k % 2 ? 0 : (uint32_t)lb_rng_below(&rng, 1000);
                int32_t i = pick_key(lb, key);
                out++;
                uint64_t most = (out * bound * v->weights[i] + 100 * v->total_weight - 1) /
                                (100 * v->total_weight);
                lb_started(lb, lease, (uint32_t)i, 0);
                assert_true(lb_endpoint_in_flight(&p.endpoints[i]) <= most);
            }
            for (size_t k = 0; k < LEASES; k++)
                lb_lease_drop(&leases[k], 0);
            assert_true(atomic_load(&p.group->in_flight) == 0);
            lb_free(lb);
            pool_free(&p);
        }
    }
}

/* One usable of 10,000: its turn would not come within the tries. */
static void test_the_last_of_many_is_found(void **state)
{
    enum { COUNT = 10000 };
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(COUNT, NULL);
        struct lb *lb = pool_lb(&p, policy, 1);
        for (uint32_t i = 0; i < COUNT; i++)
            set_usable(&p, i, i == 4711);
        for (uint32_t k = 0; k < 20; k++)
            assert_int_equal(pick_key(lb, k), 4711);
        set_usable(&p, 815, true);
        struct lb_tried t = {0};
        lb_tried_add(&t, 4711);
        assert_int_equal(lb_pick(lb, key_of(1), &t, 1), 815);
        lb_tried_add(&t, 815);
        assert_int_equal(lb_pick(lb, key_of(1), &t, 1), LB_NONE);
        lb_free(lb);
        pool_free(&p);
    }
}

static void test_an_address_listed_twice_gets_keys_twice(void **state)
{
    (void)state;
    FOR_BOTH(policy)
    {
        struct test_pool p = pool_new(3, NULL);
        p.endpoints[2].id = p.endpoints[0].id;
        struct lb *lb = pool_lb(&p, policy, 1);
        int32_t *where = map_keys(lb, 30000);
        assert_true(max_over_mean(&p, where, 30000) < 1.3);
        free(where);
        lb_free(lb);
        pool_free(&p);
    }
}

/* Huge weights without a common factor: the ring stays within its size, and the parts right. */
static void test_a_ring_of_large_weights(void **state)
{
    enum { COUNT = 2000, KEYS = 1000000 };
    static uint32_t weights[COUNT];
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        weights[i] = 500 + i % 501;
    struct test_pool p = pool_new(COUNT, weights);
    struct lb *lb = pool_lb(&p, &lb_ring_hash, 1);
    int32_t *where = map_keys(lb, KEYS);
    assert_true(max_over_mean(&p, where, KEYS) < 1.35);
    free(where);
    lb_free(lb);
    pool_free(&p);
}

static void test_hashes_are_those_of_xxhash_and_never_none(void **state)
{
    (void)state;
    assert_true(lb_hash("", 0) == UINT64_C(0x2d06800538d394c2)); /* XXH3_64bits of nothing */
    assert_true(lb_hash("a", 1) != lb_hash("b", 1));
    assert_true(lb_hash_pair(1, 2) != lb_hash_pair(2, 1));
    assert_int_equal(lb_hash_below(0, 7), 0);
    assert_int_equal(lb_hash_below(UINT64_MAX, 7), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes_are_those_of_xxhash_and_never_none),
        cmocka_unit_test(test_a_key_goes_to_one_endpoint_in_every_worker),
        cmocka_unit_test(test_the_order_of_the_endpoints_does_not_matter),
        cmocka_unit_test(test_without_a_key_everybody_gets_requests),
        cmocka_unit_test(test_keys_are_shared_evenly),
        cmocka_unit_test(test_a_unit_of_weight_has_160_points),
        cmocka_unit_test(test_a_key_belongs_to_the_next_point_of_the_ring),
        cmocka_unit_test(test_keys_are_shared_by_weight),
        cmocka_unit_test(test_of_the_ring_only_the_leavers_keys_move),
        cmocka_unit_test(test_of_maglev_at_most_two_percent_of_the_others_keys_move),
        cmocka_unit_test(test_who_is_out_for_a_while_gets_its_keys_back_and_no_other_moves),
        cmocka_unit_test(test_keys_move_one_way_in_slow_start),
        cmocka_unit_test(test_nobody_ever_exceeds_the_bound),
        cmocka_unit_test(test_the_last_of_many_is_found),
        cmocka_unit_test(test_an_address_listed_twice_gets_keys_twice),
        cmocka_unit_test(test_a_ring_of_large_weights),
    };
    return cmocka_run_group_tests_name("balancing by key", tests, NULL, NULL);
}
