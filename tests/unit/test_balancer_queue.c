/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of requests: whose turn it is, who has waited too long, who makes room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balancer/queue.h"
#include "balancer/rng.h"

#define WAIT  UINT64_C(2000000)
#define START UINT64_C(1000000)
#define COUNT 300

static struct lb_queue q;
static struct lb_waiter all[COUNT];

static void begin(bool adaptive, bool keyed)
{
    struct lb_queue_rule rule = {.wait_us = WAIT, .adaptive = adaptive, .keyed = keyed};
    lb_queue_init(&q, &rule, 256);
    for (unsigned i = 0; i < COUNT; i++)
        lb_waiter_init(&all[i]);
}

static void end(void)
{
    for (unsigned i = 0; i < COUNT; i++)
        lb_queue_remove(&q, &all[i]);
    assert_int_equal(q.count, 0);
    assert_int_equal(lb_queue_due_us(&q), LB_QUEUE_NEVER);
    lb_queue_fini(&q);
}

/* The number of who is served; -1: nobody waits. */
static int served(uint64_t now_us)
{
    struct lb_waiter *w = lb_queue_first(&q, now_us);
    if (w == NULL)
        return -1;
    lb_queue_serve(&q, w);
    assert_false(lb_waiter_waits(w));
    return (int)(w - all);
}

static void assert_order(const int *order, unsigned n, uint64_t now_us)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(served(now_us), order[i]);
}

static void push(unsigned first, unsigned n, uint64_t key, uint64_t now_us)
{
    for (unsigned i = first; i < first + n; i++)
        lb_queue_push(&q, &all[i], key, now_us);
}

static void test_in_the_order_of_arrival(void **state)
{
    (void)state;
    begin(true, false);
    push(0, 3, 7, START);
    push(3, 1, 8, START + 1); /* keys do not matter */
    lb_queue_remove(&q, &all[1]);
    lb_queue_remove(&q, &all[1]); /* harmless */
    assert_order((int[]){0, 2, 3, -1}, 4, START + WAIT - 1);
    end();
}

static void test_keys_take_turns(void **state)
{
    (void)state;
    begin(true, true);
    push(0, 3, 10, START);
    push(3, 2, 20, START);
    push(5, 1, 30, START);
    assert_int_equal(q.keys, 3);
    assert_order((int[]){0, 3, 5, 1, 4, 2, -1}, 7, START);
    assert_int_equal(q.keys, 0);
    end();
}

static void test_a_key_whose_first_goes_keeps_its_turn(void **state)
{
    (void)state;
    begin(true, true);
    push(0, 3, 10, START);
    push(3, 3, 20, START);
    lb_queue_remove(&q, &all[0]);
    lb_queue_remove(&q, &all[4]);
    assert_order((int[]){1, 3, 2, 5, -1}, 5, START);
    end();
}

static void test_who_has_waited_for_too_long(void **state)
{
    (void)state;
    begin(true, true);
    assert_null(lb_queue_expired(&q, START));
    push(0, 1, 1, START);
    push(1, 1, 2, START + 5);
    assert_int_equal(lb_queue_due_us(&q), START + WAIT);
    assert_null(lb_queue_expired(&q, START + WAIT - 1));
    assert_ptr_equal(lb_queue_expired(&q, START + WAIT), &all[0]);
    lb_queue_remove(&q, &all[0]);
    assert_null(lb_queue_expired(&q, START + WAIT));
    assert_int_equal(lb_queue_due_us(&q), START + 5 + WAIT);
    end();
}

static void test_under_overload_the_newest_is_first_and_waits_for_a_shorter_time(void **state)
{
    (void)state;
    begin(true, false);
    push(0, 2, 0, START);
    push(2, 1, 0, START + WAIT - 1);
    assert_false(lb_queue_overloaded(&q, START + WAIT - 1));
    assert_true(lb_queue_overloaded(&q, START + WAIT));
    push(3, 2, 0, START + WAIT);
    lb_queue_remove(&q, lb_queue_expired(&q, START + WAIT));
    lb_queue_remove(&q, lb_queue_expired(&q, START + WAIT));
    assert_int_equal(lb_queue_due_us(&q), START + WAIT + WAIT / LB_QUEUE_SHORT);
    assert_order((int[]){4, 3, 2, -1}, 4, START + WAIT);
    /* It has been empty. */
    push(0, 2, 0, START + 2 * WAIT);
    assert_false(lb_queue_overloaded(&q, START + 2 * WAIT));
    assert_int_equal(lb_queue_due_us(&q), START + 3 * WAIT);
    assert_order((int[]){0, 1, -1}, 3, START + 2 * WAIT);
    end();
}

static void test_under_overload_keys_take_turns_and_the_newest_of_each_is_first(void **state)
{
    (void)state;
    begin(true, true);
    push(0, 3, 10, START);
    push(3, 2, 20, START);
    assert_order((int[]){2, 4, 1, 3, 0, -1}, 6, START + WAIT);
    end();
}

static void test_fifo_stays_fifo(void **state)
{
    (void)state;
    begin(false, false);
    push(0, 2, 0, START);
    push(2, 1, 0, START + 10 * WAIT);
    assert_false(lb_queue_overloaded(&q, START + 10 * WAIT));
    assert_order((int[]){0, 1, 2, -1}, 4, START + 10 * WAIT);
    end();
}

static void test_who_makes_room(void **state)
{
    (void)state;
    begin(true, true);
    assert_null(lb_queue_victim(&q, 10, START));
    push(0, 3, 10, START);
    push(3, 2, 20, START);
    assert_null(lb_queue_victim(&q, 10, START)); /* it has most itself */
    assert_null(lb_queue_victim(&q, 20, START)); /* it would have most then */
    assert_ptr_equal(lb_queue_victim(&q, 30, START), &all[2]);
    /* Under overload the oldest goes, for the newcomer is served sooner. */
    assert_ptr_equal(lb_queue_victim(&q, 30, START + WAIT), &all[0]);
    assert_ptr_equal(lb_queue_victim(&q, 20, START + WAIT), &all[3]);
    end();
}

/* Each key gets as much, whatever it asks for; and nobody is served twice or lost. */
static void test_many_keys_in_any_order(void **state)
{
    (void)state;
    struct lb_rng rng;
    uint64_t now_us = START;
    unsigned in = 0, out = 0;
    lb_rng_seed(&rng, 1);
    begin(true, true);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned i = (unsigned)(lb_rng_next(&rng) % COUNT);
        now_us += lb_rng_next(&rng) % 1000;
        if (!lb_waiter_waits(&all[i])) {
            lb_queue_push(&q, &all[i], lb_rng_next(&rng) % 40, now_us);
            in++;
        } else if (step % 3 == 0) {
            lb_queue_remove(&q, &all[i]);
            out++;
        } else {
            out += served(now_us) >= 0;
        }
        struct lb_waiter *late = lb_queue_expired(&q, now_us);
        if (late != NULL) {
            lb_queue_remove(&q, late);
            out++;
        }
        assert_int_equal(q.count, in - out);
        assert_true(q.keys <= 40 && q.keys <= q.count && (q.keys > 0) == (q.count > 0));
    }
    unsigned turns = 0;
    for (uint32_t keys = q.keys; turns < keys; turns++) { /* a round serves each key once */
        struct lb_waiter *w = lb_queue_first(&q, now_us);
        w->until_us = 0; /* seen */
        lb_queue_serve(&q, w);
        for (unsigned i = 0; i < COUNT; i++)
            if (&all[i] != w && !lb_waiter_waits(&all[i]) && all[i].until_us == 0)
                assert_int_not_equal(all[i].key, w->key);
    }
    end();
}

static void test_who_has_waited_elsewhere_waits_only_for_the_rest(void **state)
{
    (void)state;
    begin(false, true);
    push(0, 1, 1, START);
    push(1, 1, 1, START + 10);
    push(2, 1, 2, START + 20);
    lb_queue_remove(&q, &all[1]);
    lb_queue_rejoin(&q, &all[1], 2, START + 30);
    assert_ptr_equal(lb_queue_expired(&q, START + WAIT), &all[0]);
    lb_queue_remove(&q, &all[0]);
    assert_int_equal(lb_queue_due_us(&q), START + 10 + WAIT);
    assert_ptr_equal(lb_queue_expired(&q, START + 10 + WAIT), &all[1]);
    const int order[] = {2, 1}; /* though it comes behind those of its key */
    assert_order(order, 2, START + 30);
    end();
}

static void test_a_key_that_cannot_be_served_is_passed_over(void **state)
{
    (void)state;
    begin(false, true);
    push(0, 2, 1, START);
    push(2, 2, 2, START);
    lb_queue_pass(&q);
    const int order[] = {2, 0, 3, 1};
    assert_order(order, 4, START);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_order_of_arrival),
        cmocka_unit_test(test_keys_take_turns),
        cmocka_unit_test(test_a_key_whose_first_goes_keeps_its_turn),
        cmocka_unit_test(test_who_has_waited_for_too_long),
        cmocka_unit_test(test_under_overload_the_newest_is_first_and_waits_for_a_shorter_time),
        cmocka_unit_test(test_under_overload_keys_take_turns_and_the_newest_of_each_is_first),
        cmocka_unit_test(test_fifo_stays_fifo),
        cmocka_unit_test(test_who_makes_room),
        cmocka_unit_test(test_many_keys_in_any_order),
        cmocka_unit_test(test_who_has_waited_elsewhere_waits_only_for_the_rest),
        cmocka_unit_test(test_a_key_that_cannot_be_served_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
