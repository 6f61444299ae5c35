/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions by token: who is found, how fast, and when a session moves on. */
#include "tests/unit/test_balancer_pool.h"

#include "balancer/sticky.h"
#include "proxy/base/check.h"

static void token_of(uint32_t i, char out[LB_TOKEN_LEN])
{
    char text[LB_TOKEN_LEN + 1];
    snprintf(text, sizeof(text), "%016llx%016llx", (unsigned long long)lb_hash_pair(i, 1),
             (unsigned long long)lb_hash_pair(i, 2));
    memcpy(out, text, LB_TOKEN_LEN);
}

static struct test_pool pool_sticky(uint32_t count, const uint32_t *weights)
{
    struct test_pool p = pool_new(count, weights);
    char(*tokens)[LB_TOKEN_LEN] = malloc((size_t)count * LB_TOKEN_LEN);
    assert_non_null(tokens);
    for (uint32_t i = 0; i < count; i++)
        token_of(i, tokens[i]);
    lb_sticky_attach(pool_group(&p, &lb_round_robin), tokens);
    free(tokens);
    return p;
}

static int32_t find(const struct test_pool *p, uint32_t i)
{
    char token[LB_TOKEN_LEN];
    token_of(i, token);
    return lb_sticky_find(p->group, token, LB_TOKEN_LEN);
}

static void test_everybody_is_found_and_nobody_else(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 1000, 10000};
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct test_pool p = pool_sticky(counts[k], NULL);
        for (uint32_t i = 0; i < counts[k]; i++) {
            char token[LB_TOKEN_LEN];
            token_of(i, token);
            assert_memory_equal(lb_sticky_token(p.group, i), token, LB_TOKEN_LEN);
            assert_int_equal(find(&p, i), i);
            assert_int_equal(find(&p, counts[k] + i), LB_NONE);
        }
        assert_int_equal(lb_sticky_find(p.group, "", 0), LB_NONE);
        assert_int_equal(lb_sticky_find(p.group, lb_sticky_token(p.group, 0), LB_TOKEN_LEN - 1),
                         LB_NONE);
        pool_free(&p);
    }
}

static void test_the_first_of_equal_tokens_has_it(void **state)
{
    struct test_pool p = pool_new(3, NULL);
    char tokens[3][LB_TOKEN_LEN];
    (void)state;
    memset(tokens, 'a', sizeof(tokens));
    tokens[0][0] = 'b';
    lb_sticky_attach(pool_group(&p, &lb_p2c), tokens);
    assert_int_equal(lb_sticky_find(p.group, tokens[2], LB_TOKEN_LEN), 1);
    pool_free(&p);
}

static int32_t stuck(struct lb *lb, int32_t i, const struct lb_tried *tried)
{
    return lb_pick_stuck(lb, i, 0, tried, 1);
}

static void test_a_session_stays_unless_its_endpoint_is_out(void **state)
{
    static const struct {
        enum lb_mark mark;
        bool stays;
    } rows[] = {{LB_DRAINED, true}, {LB_UNPROVEN, false}, {LB_DOWN, false}, {LB_EJECTED, false}};
    struct test_pool p = pool_sticky(4, NULL);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        assert_int_equal(stuck(lb, 2, NULL), 2);
        lb_group_mark(p.group, 2, rows[k].mark, true, 1);
        for (int n = 0; n < 8; n++) {
            assert_int_not_equal(stuck(lb, LB_NONE, NULL), 2);
            assert_int_equal(stuck(lb, 2, NULL) == 2, rows[k].stays);
        }
        lb_group_mark(p.group, 2, rows[k].mark, false, 1);
    }
    lb_group_mark(p.group, 2, LB_DRAINED, true, 1);
    lb_group_mark(p.group, 2, LB_DOWN, true, 1);
    assert_int_not_equal(stuck(lb, 2, NULL), 2); /* nobody is served by who is down */
    lb_free(lb);
    pool_free(&p);
}

static void test_a_session_stays_where_weight_is_gone(void **state)
{
    struct test_pool p = pool_sticky(3, NULL);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    (void)state;
    lb_group_set_weight(p.group, 1, 0);
    for (int n = 0; n < 6; n++) {
        assert_int_equal(stuck(lb, 1, NULL), 1);
        assert_int_not_equal(stuck(lb, LB_NONE, NULL), 1);
    }
    lb_free(lb);
    pool_free(&p);
}

static void test_a_session_whose_endpoint_was_tried_goes_on_elsewhere(void **state)
{
    struct test_pool p = pool_sticky(2, NULL);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    struct lb_tried tried = {0};
    (void)state;
    lb_tried_add(&tried, 1);
    assert_int_equal(stuck(lb, 1, &tried), 0);
    lb_tried_add(&tried, 0);
    assert_int_equal(stuck(lb, 1, &tried), LB_NONE);
    lb_free(lb);
    pool_free(&p);
}

/* Being full is not being gone; nor does a newcomer overtake those that wait, of any kind. */
static void test_a_session_whose_endpoint_is_full_may_wait_for_it(void **state)
{
    struct test_pool p = pool_sticky(2, NULL);
    struct lb_tried tried = {0};
    struct lb_lease lease = {0};
    (void)state;
    p.endpoints[1].most = 1;
    lb_group_free(p.group);
    p.group = NULL;
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    assert_int_equal(stuck(lb, 1, NULL), 1);
    lb_started(lb, &lease, 1, 1);
    assert_int_equal(stuck(lb, 1, NULL), LB_FULL);
    lb_tried_add(&tried, 5); /* a retry does not wait */
    assert_int_equal(stuck(lb, 1, &tried), 0);
    assert_true(lb_keeps_session(lb, 1, 1));
    lb_wait(lb, 1);
    lb_wait(lb, 1);
    assert_int_equal(lb_pick_waited(lb, 1, 0, NULL, 1), LB_FULL);
    lb_lease_drop(&lease, 1);
    assert_int_equal(stuck(lb, 1, NULL), LB_FULL);
    for (int n = 0; n < 4; n++)
        assert_int_equal(stuck(lb, LB_NONE, NULL), 0);
    assert_int_equal(lb_pick_waited(lb, 1, 0, NULL, 1), 1);
    assert_false(lb_wait_over(lb, 1));
    assert_true(lb_wait_over(lb, 1));
    lb_group_mark(p.group, 1, LB_DOWN, true, 1);
    assert_false(lb_keeps_session(lb, 1, 1));
    assert_int_equal(lb_pick_waited(lb, 1, 0, NULL, 1), 0);
    lb_free(lb);
    pool_free(&p);
}

/* Of what everybody else gets: a session in a panic stays with who is only ejected. */
static void test_a_session_stays_in_a_panic(void **state)
{
    struct test_pool p = pool_sticky(3, NULL);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    (void)state;
    lb_group_mark(p.group, 0, LB_EJECTED, true, 1);
    assert_int_not_equal(stuck(lb, 0, NULL), 0);
    lb_group_mark(p.group, 1, LB_DOWN, true, 1);
    assert_int_equal(stuck(lb, 0, NULL), 0);
    lb_free(lb);
    pool_free(&p);
}

static void test_a_session_leaves_a_backup_when_its_time_is_over(void **state)
{
    struct test_pool p = pool_sticky(2, NULL);
    (void)state;
    p.endpoints[1].backup = true;
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    lb_group_mark(p.group, 0, LB_DOWN, true, 1);
    assert_int_equal(stuck(lb, 1, NULL), 1);
    lb_group_mark(p.group, 0, LB_DOWN, false, 1);
    assert_int_equal(stuck(lb, 1, NULL), 0);
    lb_free(lb);
    pool_free(&p);
}

/* Sessions go on while nobody gets new ones. */
static void test_sessions_of_a_pool_that_drains(void **state)
{
    struct test_pool p = pool_sticky(2, NULL);
    struct lb *lb = pool_lb(&p, &lb_round_robin, 1);
    (void)state;
    lb_group_mark(p.group, 0, LB_DRAINED, true, 1);
    lb_group_mark(p.group, 1, LB_DRAINED, true, 1);
    assert_int_equal(stuck(lb, LB_NONE, NULL), LB_NONE);
    assert_int_equal(stuck(lb, 0, NULL), 0);
    assert_int_equal(stuck(lb, 1, NULL), 1);
    lb_free(lb);
    pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_is_found_and_nobody_else),
        cmocka_unit_test(test_the_first_of_equal_tokens_has_it),
        cmocka_unit_test(test_a_session_stays_unless_its_endpoint_is_out),
        cmocka_unit_test(test_a_session_stays_where_weight_is_gone),
        cmocka_unit_test(test_a_session_whose_endpoint_was_tried_goes_on_elsewhere),
        cmocka_unit_test(test_a_session_whose_endpoint_is_full_may_wait_for_it),
        cmocka_unit_test(test_a_session_stays_in_a_panic),
        cmocka_unit_test(test_a_session_leaves_a_backup_when_its_time_is_over),
        cmocka_unit_test(test_sessions_of_a_pool_that_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
