/* SPDX-License-Identifier: Apache-2.0 */
/* The timing wheel, told by stories and by a naive reference that keeps every deadline in an array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/wheel.h"

#define HOUR UINT64_C(3600000)

struct probe {
    struct wheel_timer timer;
    struct wheel *wheel;
    struct probe *other;
    unsigned fired;
    uint64_t next_ms;
};

static void probe_fire(struct wheel_timer *t)
{
    CONTAINER_OF(t, probe, timer)->fired++;
}

static void probe_init(struct probe *p, struct wheel *w, void (*fire)(struct wheel_timer *))
{
    *p = (struct probe){.wheel = w};
    wheel_timer_init(&p->timer, fire);
}

/* Wakes only when the wheel asks for it, as a uv_timer would; returns when p fired. */
static uint64_t run_until_fired(struct wheel *w, struct probe *p, unsigned *wakes)
{
    unsigned before = p->fired;
    *wakes = 0;
    for (;;) {
        uint64_t next = wheel_next_ms(w);
        assert_true(next != WHEEL_NEVER);
        wheel_advance(w, next);
        ++*wakes;
        assert_true(*wakes < 100);
        if (p->fired > before)
            return next;
    }
}

static void a_deadline_fires_at_the_first_tick_after_it(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, 5, 1000, 16 * 63, HOUR * 74 - 3, UINT64_C(1) << 40};
    static const uint64_t delays[] = {
        1,    15,    16,       17,       100,      1000,      1023,      1024,      1025,
        5000, 60000, HOUR / 2, HOUR * 2, HOUR * 5, HOUR * 48, HOUR * 74, HOUR * 75, HOUR * 1000};
    for (size_t s = 0; s < ARRAY_LEN(starts); s++)
        for (size_t d = 0; d < ARRAY_LEN(delays); d++) {
            struct wheel w;
            struct probe p;
            unsigned wakes;
            wheel_init(&w, starts[s]);
            probe_init(&p, &w, probe_fire);
            uint64_t deadline = starts[s] + delays[d];
            wheel_set(&w, &p.timer, deadline);
            uint64_t at = run_until_fired(&w, &p, &wakes);
            assert_in_range(at, deadline, deadline + WHEEL_TICK_MS - 1);
            /* One look a level on the way down, and one a span of 74 hours. */
            assert_in_range(wakes, 1, WHEEL_LEVELS + 1 + delays[d] / (HOUR * 74));
            assert_false(wheel_armed(&p.timer));
            assert_true(wheel_next_ms(&w) == WHEEL_NEVER);
            wheel_fini(&w);
        }
}

static void a_later_deadline_is_only_stored(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 0);
    probe_init(&p, &w, probe_fire);
    wheel_set(&w, &p.timer, 1000);
    uint64_t linked = p.timer.linked_ms;
    wheel_set(&w, &p.timer, 90000);
    assert_int_equal(p.timer.linked_ms, linked);
    wheel_advance(&w, 2000);
    assert_int_equal(p.fired, 0);
    assert_true(p.timer.linked_ms >= 90000);
    wheel_advance(&w, 89999);
    assert_int_equal(p.fired, 0);
    wheel_advance(&w, 90000 + WHEEL_TICK_MS);
    assert_int_equal(p.fired, 1);
    wheel_fini(&w);
}

static void an_earlier_deadline_is_moved_at_once(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 0);
    probe_init(&p, &w, probe_fire);
    wheel_set(&w, &p.timer, 90000);
    wheel_set(&w, &p.timer, 160);
    assert_int_equal(wheel_next_ms(&w), 160);
    wheel_advance(&w, 159);
    assert_int_equal(p.fired, 0);
    wheel_advance(&w, 160);
    assert_int_equal(p.fired, 1);
    assert_true(wheel_next_ms(&w) == WHEEL_NEVER);
    wheel_fini(&w);
}

static void what_one_advance_does_not_fire_is_due_at_once(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p[5];
    wheel_init(&w, 0);
    for (int i = 0; i < 5; i++) {
        probe_init(&p[i], &w, probe_fire);
        wheel_set(&w, &p[i].timer, 160);
    }
    wheel_advance_some(&w, 160, 2);
    assert_int_equal(p[0].fired + p[1].fired + p[2].fired + p[3].fired + p[4].fired, 2);
    assert_int_equal(wheel_next_ms(&w), 160);
    wheel_remove(&w, &p[2].timer);
    wheel_set(&w, &p[3].timer, 5000); /* only stored: it still waits among those that are due */
    wheel_advance_some(&w, 160, 2);
    assert_int_equal(p[2].fired, 0);
    assert_int_equal(p[3].fired, 0);
    assert_int_equal(p[4].fired, 1);
    assert_true(wheel_next_ms(&w) > 160);
    wheel_advance(&w, 5000 + WHEEL_TICK_MS);
    assert_int_equal(p[3].fired, 1);
    wheel_fini(&w);
}

static void a_cancelled_timer_stays_linked_and_silent(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 0);
    probe_init(&p, &w, probe_fire);
    wheel_set(&w, &p.timer, 500);
    wheel_cancel(&p.timer);
    assert_false(wheel_armed(&p.timer));
    assert_true(list_linked(&p.timer.link));
    wheel_advance(&w, 10000);
    assert_int_equal(p.fired, 0);
    assert_false(list_linked(&p.timer.link));
    wheel_set(&w, &p.timer, 10500);
    wheel_cancel(&p.timer);
    wheel_set(&w, &p.timer, 10600);
    wheel_advance(&w, 10700);
    assert_int_equal(p.fired, 1);
    wheel_fini(&w);
}

static void a_removed_timer_leaves_nothing_to_wake_for(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p[3];
    static const uint64_t deadlines[] = {500, 70000, HOUR * 200};
    wheel_init(&w, 0);
    for (size_t i = 0; i < 3; i++) {
        probe_init(&p[i], &w, probe_fire);
        wheel_remove(&w, &p[i].timer);
        wheel_set(&w, &p[i].timer, deadlines[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_true(wheel_next_ms(&w) <= deadlines[i] + WHEEL_TICK_MS);
        wheel_remove(&w, &p[i].timer);
        wheel_remove(&w, &p[i].timer);
    }
    assert_true(wheel_next_ms(&w) == WHEEL_NEVER);
    wheel_fini(&w);
}

static void a_passed_deadline_fires_within_one_tick(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 100000);
    probe_init(&p, &w, probe_fire);
    wheel_set(&w, &p.timer, 3);
    assert_in_range(wheel_next_ms(&w), 100001, 100000 + WHEEL_TICK_MS);
    wheel_advance(&w, wheel_next_ms(&w));
    assert_int_equal(p.fired, 1);
    wheel_fini(&w);
}

static void the_clock_may_stand_or_step_back(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 100000);
    probe_init(&p, &w, probe_fire);
    wheel_set(&w, &p.timer, 100100);
    wheel_advance(&w, 50000);
    wheel_advance(&w, 100000);
    assert_int_equal(p.fired, 0);
    wheel_advance(&w, 100112);
    assert_int_equal(p.fired, 1);
    wheel_fini(&w);
}

static void rearm_fire(struct wheel_timer *t)
{
    struct probe *p = CONTAINER_OF(t, probe, timer);
    p->fired++;
    wheel_set(p->wheel, t, 0);
}

static void a_timer_that_rearms_itself_in_the_past_fires_once_an_advance(void **state)
{
    (void)state;
    struct wheel w;
    struct probe p;
    wheel_init(&w, 0);
    probe_init(&p, &w, rearm_fire);
    wheel_set(&w, &p.timer, 10);
    for (unsigned i = 1; i <= 20; i++) {
        wheel_advance(&w, i * 1000);
        assert_int_equal(p.fired, i);
    }
    wheel_remove(&w, &p.timer);
    wheel_fini(&w);
}

static void meddle_remove(struct wheel_timer *t)
{
    struct probe *p = CONTAINER_OF(t, probe, timer);
    p->fired++;
    wheel_remove(p->wheel, &p->other->timer);
    wheel_remove(p->wheel, t);
}

static void meddle_set(struct wheel_timer *t)
{
    struct probe *p = CONTAINER_OF(t, probe, timer);
    p->fired++;
    wheel_set(p->wheel, &p->other->timer, p->next_ms);
}

static void meddle_cancel(struct wheel_timer *t)
{
    struct probe *p = CONTAINER_OF(t, probe, timer);
    p->fired++;
    wheel_cancel(&p->other->timer);
}

static void a_callback_may_do_anything_to_its_neighbours(void **state)
{
    (void)state;
    static const struct {
        void (*fire)(struct wheel_timer *);
        uint64_t next_ms;
        unsigned now, later;
    } rows[] = {{meddle_remove, 0, 0, 0},
                {meddle_cancel, 0, 0, 0},
                {meddle_set, 5000, 0, 1},
                {meddle_set, 90, 1, 1},
                {meddle_set, 1, 0, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct wheel w;
        struct probe a, b;
        wheel_init(&w, 0);
        probe_init(&a, &w, rows[i].fire);
        probe_init(&b, &w, probe_fire);
        a.other = &b;
        a.next_ms = rows[i].next_ms;
        wheel_set(&w, &a.timer, 90);
        wheel_set(&w, &b.timer, 95);
        wheel_advance(&w, 200);
        assert_int_equal(a.fired, 1);
        assert_int_equal(b.fired, rows[i].now);
        wheel_advance(&w, 6000);
        assert_int_equal(b.fired, rows[i].later);
        wheel_fini(&w);
    }
}

static void free_fire(struct wheel_timer *t)
{
    free(CONTAINER_OF(t, probe, timer));
}

static void a_callback_may_free_its_own_timer(void **state)
{
    (void)state;
    struct wheel w;
    wheel_init(&w, 0);
    for (unsigned i = 0; i < 10; i++) {
        struct probe *p = malloc(sizeof *p);
        assert_non_null(p);
        probe_init(p, &w, free_fire);
        wheel_set(&w, &p->timer, 10 + i * 40);
    }
    wheel_advance(&w, 1000);
    wheel_fini(&w);
}

/* The reference: what must have fired after an advance follows from deadlines alone. */
enum { TIMERS = 300, STEPS = 60000 };

struct model {
    struct wheel_timer timer;
    uint64_t due_tick; /* first tick that may fire it; NEVER: must not fire */
    bool fired;
};

static struct wheel model_wheel;
static struct model models[TIMERS];
static uint64_t rng_state;

static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static uint64_t random_delay(void)
{
    return rng() % (UINT64_C(1) << (rng() % 31));
}

static void model_set(struct model *m, uint64_t now_tick, uint64_t deadline)
{
    uint64_t tick = (deadline + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    wheel_set(&model_wheel, &m->timer, deadline);
    m->due_tick = tick > now_tick ? tick : now_tick + 1;
}

static void model_op(struct model *m, uint64_t now_tick, uint64_t now)
{
    switch (rng() % 8) {
    case 0:
        wheel_cancel(&m->timer);
        m->due_tick = WHEEL_NEVER;
        break;
    case 1:
        wheel_remove(&model_wheel, &m->timer);
        m->due_tick = WHEEL_NEVER;
        break;
    case 2:
        model_set(m, now_tick, now > 5000 ? now - rng() % 5000 : 0);
        break;
    default:
        model_set(m, now_tick, now + random_delay());
    }
}

static uint64_t model_now;

/* Half of the callbacks set or drop some timer; the neighbours that were to fire in this same
 * advance then follow their new deadline. */
static void model_fire(struct wheel_timer *t)
{
    struct model *m = CONTAINER_OF(t, model, timer);
    uint64_t tick = model_now / WHEEL_TICK_MS;
    assert_false(m->fired);
    assert_true(m->due_tick <= tick);
    m->fired = true;
    m->due_tick = WHEEL_NEVER;
    if (rng() % 2)
        return;
    struct model *other = &models[rng() % TIMERS];
    if (other->due_tick > tick)
        model_op(other, tick, model_now);
}

static void model_advance(uint64_t now)
{
    model_now = now;
    for (unsigned i = 0; i < TIMERS; i++)
        models[i].fired = false;
    wheel_advance(&model_wheel, now);
    uint64_t tick = now / WHEEL_TICK_MS, earliest = WHEEL_NEVER;
    for (unsigned i = 0; i < TIMERS; i++) {
        assert_true(models[i].due_tick > tick);
        assert_int_equal(wheel_armed(&models[i].timer), models[i].due_tick != WHEEL_NEVER);
        if (models[i].due_tick < earliest)
            earliest = models[i].due_tick;
    }
    uint64_t next = wheel_next_ms(&model_wheel);
    assert_true(next > now);
    if (earliest != WHEEL_NEVER)
        assert_true(next <= earliest * WHEEL_TICK_MS);
}

static void random_operations_match_the_reference(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        rng_state = seed * UINT64_C(0x9e3779b97f4a7c15);
        uint64_t now = rng() % HOUR;
        wheel_init(&model_wheel, now);
        for (unsigned i = 0; i < TIMERS; i++) {
            wheel_timer_init(&models[i].timer, model_fire);
            models[i].due_tick = WHEEL_NEVER;
        }
        for (unsigned step = 0; step < STEPS; step++) {
            if (rng() % 8)
                model_op(&models[rng() % TIMERS], now / WHEEL_TICK_MS, now);
            else if (rng() % 4 || wheel_next_ms(&model_wheel) == WHEEL_NEVER)
                model_advance(now += rng() % (UINT64_C(1) << (rng() % 24)));
            else
                model_advance(now = wheel_next_ms(&model_wheel));
        }
        for (unsigned i = 0; i < TIMERS; i++)
            wheel_remove(&model_wheel, &models[i].timer);
        assert_true(wheel_next_ms(&model_wheel) == WHEEL_NEVER);
        wheel_fini(&model_wheel);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadline_fires_at_the_first_tick_after_it),
        cmocka_unit_test(a_later_deadline_is_only_stored),
        cmocka_unit_test(an_earlier_deadline_is_moved_at_once),
        cmocka_unit_test(what_one_advance_does_not_fire_is_due_at_once),
        cmocka_unit_test(a_cancelled_timer_stays_linked_and_silent),
        cmocka_unit_test(a_removed_timer_leaves_nothing_to_wake_for),
        cmocka_unit_test(a_passed_deadline_fires_within_one_tick),
        cmocka_unit_test(the_clock_may_stand_or_step_back),
        cmocka_unit_test(a_timer_that_rearms_itself_in_the_past_fires_once_an_advance),
        cmocka_unit_test(a_callback_may_do_anything_to_its_neighbours),
        cmocka_unit_test(a_callback_may_free_its_own_timer),
        cmocka_unit_test(random_operations_match_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
