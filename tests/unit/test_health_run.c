/* SPDX-License-Identifier: Apache-2.0 */
/* Health checks over a clock and sockets of the test's own, none of which ever connects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "balancer/group.h"
#include "balancer/policy.h"
#include "proxy/base/check.h"
#include "proxy/upstream/health.h"

enum { ENDPOINTS = 100, START = 1000, EVERY = 5000 }; /* ms */

static uint64_t clock_ns;
static int dial_error;

static uint64_t test_hrtime(void)
{
    return clock_ns;
}

static struct transport *test_dial(struct reactor *r, const struct net_addr *to, uint32_t within_ms,
                                   const struct transport_events *events, void *owner, int *err)
{
    (void)r;
    (void)to;
    (void)within_ms;
    (void)events;
    (void)owner;
    *err = dial_error;
    return NULL;
}

struct fixture {
    struct reactor r;
    struct pool_spec pool;
    struct health_spec spec;
    struct health *health;
};

static void set_time(struct fixture *f, uint64_t ms)
{
    clock_ns = ms * 1000000;
    f->r.now_ms = ms;
    wheel_advance(&f->r.wheel, ms);
    reactor_dispatch(&f->r);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    f->r.hrtime = test_hrtime;
    f->r.dial = test_dial;
    wheel_init(&f->r.wheel, 0);
    set_time(f, START);
    f->spec = (struct health_spec){
        .kind = HEALTH_TCP,
        .timeout_ms = 1000,
        .rules = {.down_after = 3, .up_after = 2, .every_ms = EVERY, .out_ms = EVERY},
    };
    f->pool = (struct pool_spec){.name = "p", .n_endpoints = ENDPOINTS, .health = &f->spec};
    f->pool.endpoints = aligned_alloc(LB_CACHE_LINE, ENDPOINTS * sizeof(f->pool.endpoints[0]));
    assert_non_null(f->pool.endpoints);
    memset(f->pool.endpoints, 0, ENDPOINTS * sizeof(f->pool.endpoints[0]));
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        struct endpoint_spec *ep = &f->pool.endpoints[i];
        assert_true(net_addr_ip(&ep->addr, "127.0.0.1", (uint16_t)(i + 1)));
        net_addr_print(&ep->addr, ep->text);
        lb_endpoint_init(&ep->lb, i, i, 1);
    }
    f->pool.balance = pool_balance(lb_policy_find("p2c"), NULL, f->pool.endpoints, ENDPOINTS);
    struct pool_spec *pool = &f->pool;
    f->health = health_new(&f->r, 1);
    health_use(f->health, &pool, 1);
    health_start(f->health);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    health_close(f->health);
    health_free(f->health);
    reactor_fini(&f->r);
    lb_group_free(f->pool.balance);
    free(f->pool.endpoints);
    free(f);
    return 0;
}

/* How many have this mark. */
static uint32_t marked(const struct fixture *f, uint32_t mark)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        n += (lb_group_marks(f->pool.balance, i) & mark) != 0;
    return n;
}

/* To the end of this round of all of them: right before the first is due again. */
static void go_on(struct fixture *f, unsigned round)
{
    while (f->r.now_ms + 20 < START + round * (uint64_t)EVERY)
        set_time(f, f->r.now_ms + 20);
}

static void refused_three_times_is_down(void **state)
{
    struct fixture *f = *state;
    const struct health_counts *counts = health_counts(f->health, 0);
    dial_error = UV_ECONNREFUSED;
    go_on(f, 2);
    assert_int_equal(counts->failed[REASON_CONNECT_REFUSED], 2 * ENDPOINTS);
    assert_int_equal(marked(f, LB_DOWN), 0);
    go_on(f, 3);
    assert_int_equal(counts->failed[REASON_CONNECT_REFUSED], 3 * ENDPOINTS);
    assert_int_equal(marked(f, LB_DOWN), ENDPOINTS);
    assert_int_equal(health_of(f->health, 0, 7)->state, LB_HEALTH_DOWN);
}

static void a_check_that_weir_has_no_descriptor_for_says_nothing(void **state)
{
    struct fixture *f = *state;
    const struct health_counts *counts = health_counts(f->health, 0);
    dial_error = UV_EMFILE;
    go_on(f, 4);
    assert_int_equal(counts->skipped, 4 * ENDPOINTS);
    assert_int_equal(marked(f, LB_DOWN), 0);
    assert_int_equal(health_of(f->health, 0, 7)->state, LB_HEALTH_UNKNOWN);
}

static void checks_are_spread_over_their_interval(void **state)
{
    struct fixture *f = *state;
    const struct health_counts *counts = health_counts(f->health, 0);
    uint64_t before = 0, most = 0;
    dial_error = UV_ECONNREFUSED;
    for (unsigned i = 1; i < 25; i++) {
        set_time(f, START + i * EVERY / 25 - 20);
        uint64_t now = counts->failed[REASON_CONNECT_REFUSED];
        most = now - before > most ? now - before : most;
        before = now;
    }
    assert_in_range(most, ENDPOINTS / 25, ENDPOINTS / 25 * 3 / 2);
}

/* A thread that was held up finds all of them due. */
static void all_at_once_take_turns(void **state)
{
    struct fixture *f = *state;
    const struct health_counts *counts = health_counts(f->health, 0);
    dial_error = UV_ECONNREFUSED;
    set_time(f, START + EVERY - 20);
    assert_int_equal(counts->failed[REASON_CONNECT_REFUSED], ENDPOINTS);
}

static void after_its_close_nothing_is_checked(void **state)
{
    struct fixture *f = *state;
    dial_error = UV_ECONNREFUSED;
    health_close(f->health);
    health_close(f->health);
    go_on(f, 1);
    assert_int_equal(health_counts(f->health, 0)->failed[REASON_CONNECT_REFUSED], 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refused_three_times_is_down),
        TEST(a_check_that_weir_has_no_descriptor_for_says_nothing),
        TEST(checks_are_spread_over_their_interval),
        TEST(all_at_once_take_turns),
        TEST(after_its_close_nothing_is_checked),
    };
    return cmocka_run_group_tests_name("running health checks", tests, NULL, NULL);
}
