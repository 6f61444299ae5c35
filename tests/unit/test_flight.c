/* SPDX-License-Identifier: Apache-2.0 */
/* The flight recorder: what goes in comes out whole, or not at all. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/flight.h"

static struct flight numbered(uint64_t n, enum flight_kind kind)
{
    struct flight f;
    char text[32];
    flight_init(&f);
    f.kind = (uint8_t)kind;
    f.time_us = f.total_us = f.queue_us = f.head_us = f.bytes_in = f.bytes_out = n;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    flight_set_text(&f, FLIGHT_ID, span_str(text));
    for (unsigned i = 0; i < n % (FLIGHT_LEGS + 2); i++) {
        struct flight_leg leg = {
            .sent = (uint32_t)n, .start_us = (uint32_t)n, .reason = REASON_DONE};
        flight_add_leg(&f, &leg, span_str(text));
    }
    return f;
}

static void assert_numbered(const struct flight *f, uint64_t n)
{
    struct flight want = numbered(n, (enum flight_kind)f->kind);
    assert_memory_equal(f, &want, offsetof(struct flight, legs));
    assert_memory_equal(f->legs, want.legs, want.n_legs * sizeof(want.legs[0]));
    assert_memory_equal(f->bytes, want.bytes, want.used);
}

static void a_record_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct flight_ring *ring = flight_ring_new(4);
    struct flight f;
    assert_false(flight_ring_read(ring, FLIGHT_SLOW, 0, &f));
    for (uint64_t n = 1; n <= 100; n++) {
        struct flight in = numbered(n, FLIGHT_SLOW);
        flight_ring_put(ring, &in);
        assert_int_equal(flight_ring_count(ring, FLIGHT_SLOW), n);
        for (uint32_t later = 0; later < 6; later++) {
            bool there = flight_ring_read(ring, FLIGHT_SLOW, later, &f);
            assert_int_equal(there, later < 4 && later < n);
            if (there)
                assert_numbered(&f, n - later);
        }
    }
    flight_ring_free(ring);
}

static void a_flood_of_one_kind_leaves_the_others(void **state)
{
    (void)state;
    struct flight_ring *ring = flight_ring_new(2);
    struct flight f = numbered(7, FLIGHT_FAILED);
    flight_ring_put(ring, &f);
    for (uint64_t n = 0; n < 1000; n++) {
        f = numbered(n, FLIGHT_CLIENT);
        flight_ring_put(ring, &f);
    }
    assert_true(flight_ring_read(ring, FLIGHT_FAILED, 0, &f));
    assert_numbered(&f, 7);
    assert_true(flight_ring_read(ring, FLIGHT_CLIENT, 1, &f));
    assert_numbered(&f, 998);
    flight_ring_free(ring);
}

static void without_a_size_nothing_is_kept(void **state)
{
    (void)state;
    struct flight f;
    assert_null(flight_ring_new(0));
    assert_false(flight_ring_read(NULL, FLIGHT_FAILED, 0, &f));
    assert_int_equal(flight_ring_count(NULL, FLIGHT_FAILED), 0);
    assert_int_equal(flight_ring_size(NULL), 0);
    assert_int_equal(flight_ring_bytes(NULL), 0);
    flight_ring_free(NULL);
}

static void long_texts_are_cut_and_say_so(void **state)
{
    (void)state;
    struct flight f;
    char text[5000];
    memset(text, 'x', sizeof(text));
    flight_init(&f);
    flight_set_text(&f, FLIGHT_ID, span_of(text, 128));
    assert_false(f.short_texts);
    for (int i = FLIGHT_PEER; i < FLIGHT_TEXTS; i++)
        flight_set_text(&f, (enum flight_text)i, span_of(text, sizeof(text)));
    assert_true(f.short_texts);
    for (unsigned i = 0; i < FLIGHT_LEGS + 3; i++) {
        struct flight_leg leg = {.start_us = i};
        flight_add_leg(&f, &leg, span_of(text, 119));
    }
    for (unsigned i = 0; i < FLIGHT_LEGS - 1; i++)
        assert_int_equal(f.legs[i].start_us, i);
    assert_int_equal(f.legs[FLIGHT_LEGS - 1].start_us, FLIGHT_LEGS + 2);
    assert_int_equal(f.n_legs, FLIGHT_LEGS);
    assert_int_equal(f.legs_lost, 3);
    assert_true(f.used <= FLIGHT_BYTES);
    assert_int_equal(flight_text(&f, FLIGHT_ID).len, 128);
}

/* ---- two threads ---- */

struct race {
    struct flight_ring *ring;
    atomic_bool over;
    uint64_t whole;
};

static void *reader(void *arg)
{
    struct race *race = arg;
    struct flight f;
    while (!atomic_load(&race->over))
        for (uint32_t later = 0; later < 2; later++)
            if (flight_ring_read(race->ring, FLIGHT_FAILED, later, &f)) {
                assert_numbered(&f, f.time_us);
                race->whole++;
            }
    return NULL;
}

static void a_reader_never_sees_half_a_record(void **state)
{
    (void)state;
    struct race race = {.ring = flight_ring_new(2)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reader, &race), 0);
    for (uint64_t n = 0; n < 20000; n++) {
        struct flight f = numbered(n, FLIGHT_FAILED);
        flight_ring_put(race.ring, &f);
    }
    atomic_store(&race.over, true);
    pthread_join(thread, NULL);
    flight_ring_free(race.ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_out_as_it_went_in),
        cmocka_unit_test(a_flood_of_one_kind_leaves_the_others),
        cmocka_unit_test(without_a_size_nothing_is_kept),
        cmocka_unit_test(long_texts_are_cut_and_say_so),
        cmocka_unit_test(a_reader_never_sees_half_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
