/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the load generator that are arithmetic: its histogram, its schedule, its reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bench/load_answer.h"
#include "bench/load_hist.h"
#include "bench/load_schedule.h"
#include "proxy/base/check.h"

/* ---- histogram --------------------------------------------------------------------------------
 */

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_are_within_one_percent_of_sorted_values(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const double shares[] = {0, .01, .5, .9, .99, .999, .9999, 1};
    static uint64_t values[N];
    static struct hist h;
    uint64_t seed = 88172645463325252, sum = 0;

    hist_init(&h);
    for (unsigned i = 0; i < N; i++) {
        values[i] = draw(&seed) >> (21 + draw(&seed) % 43); /* all sizes up to 2^43 */
        hist_add(&h, values[i]);
        sum += values[i];
    }
    qsort(values, N, sizeof(values[0]), compare);
    for (unsigned i = 0; i < ARRAY_LEN(shares); i++) {
        uint64_t rank = (uint64_t)(shares[i] * N), got = hist_quantile(&h, shares[i]);
        uint64_t exact = values[rank ? rank - 1 : 0];
        assert_true(got >= exact);
        assert_true((double)got <= (double)exact * 1.01);
    }
    assert_true(h.count == N && h.sum == sum);
    assert_true(h.min == values[0] && h.max == values[N - 1]);
    assert_true(hist_quantile(&h, 1) == h.max);
}

static void every_value_keeps_its_place_at_the_edges_of_buckets(void **state)
{
    (void)state;
    static struct hist h;

    for (unsigned bit = 0; bit < HIST_MAX_BITS; bit++)
        for (int off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)off;
            hist_init(&h);
            hist_add(&h, value);
            hist_add(&h, UINT64_C(1) << HIST_MAX_BITS); /* so that max hides nothing */
            uint64_t got = hist_quantile(&h, .5);
            assert_true(got >= value && got - value <= value / 128);
        }
}

static void what_is_too_large_is_the_maximum(void **state)
{
    (void)state;
    static struct hist h;

    hist_init(&h);
    assert_true(hist_quantile(&h, .5) == 0);
    hist_add(&h, UINT64_MAX);
    assert_true(hist_quantile(&h, .5) == UINT64_MAX);
    assert_true(hist_at_least(&h, UINT64_C(1) << 40) == 1);
}

static void at_least_counts_only_what_is_sure(void **state)
{
    (void)state;
    static struct hist h;

    hist_init(&h);
    for (uint64_t i = 0; i < 1000; i++)
        hist_add(&h, i * 1000000);
    for (uint64_t ms = 0; ms <= 1000; ms++) {
        uint64_t got = hist_at_least(&h, ms * 1000000), exact = 1000 - ms;
        assert_true(got <= exact);
        assert_true(got >= (ms < 992 ? exact - 1 - ms / 128 : 0));
    }
}

/* ---- schedule ---------------------------------------------------------------------------------
 */

static void due_times_do_not_drift(void **state)
{
    (void)state;
    struct schedule s = schedule_at(1000, 3); /* a third of a second is no whole number */

    for (uint64_t i = 0; i < 3000000; i += 3) {
        uint64_t exact = 1000 + i / 3 * 1000000000;
        uint64_t due = schedule_due(&s, i);
        assert_true(due + 1 >= exact && due <= exact + 1);
    }
    s = schedule_at(0, 48000);
    for (uint64_t i = 1; i < 100000; i++) {
        uint64_t step = schedule_due(&s, i) - schedule_due(&s, i - 1);
        assert_in_range(step, 20832, 20834);
    }
}

static void a_stretch_has_rate_times_seconds_requests(void **state)
{
    (void)state;
    static const double rates[] = {0.5, 1, 3, 700, 12345, 1e6};

    for (unsigned i = 0; i < ARRAY_LEN(rates); i++) {
        struct schedule s = schedule_at(77, rates[i]);
        assert_true(schedule_count(&s, UINT64_C(10000000000)) == (uint64_t)(rates[i] * 10));
        assert_true(schedule_count(&s, 0) == 0);
    }
}

static void a_mix_is_exact_and_evenly_spread(void **state)
{
    (void)state;
    static const unsigned weights[] = {9, 1, 5};
    uint8_t order[15];
    unsigned had[3] = {0};

    schedule_mix(weights, 3, order);
    for (unsigned at = 0; at < 15; at++) {
        had[order[at]]++;
        for (unsigned k = 0; k < 3; k++) { /* never more than one away from its share so far */
            int off = (int)(had[k] * 15) - (int)(weights[k] * (at + 1));
            assert_in_range(off + 15, 0, 30);
        }
    }
    assert_int_equal(had[0], 9);
    assert_int_equal(had[1], 1);
    assert_int_equal(had[2], 5);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

struct story {
    const char *text; /* one answer, and then "!" */
    unsigned status;
    bool close, to_head;
};

static const struct story stories[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", 200, false, false},
    {"HTTP/1.1 200 OK\r\ncontent-LENGTH:0\r\nConnection: close\r\n\r\n!", 200, true, false},
    {"HTTP/1.1 204 No Content\r\n\r\n!", 204, false, false},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n!", 304, false, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n!", 200, false, true},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n!", 101, false, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n.!", 200, true, false},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n.!", 200, false, false},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n"
     "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno!",
     404, false, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n"
     "0\r\nTrailer: 1\r\n\r\n!",
     200, false, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n!", 200, false, false},
};

/* Feeds pieces of `step` bytes, and shows again what was left, as the reader asks for. */
static size_t feed_in_steps(struct answer *a, const char *text, size_t len, size_t step)
{
    size_t used = 0;

    for (size_t seen = step; a->phase < ANSWER_DONE; seen += step) {
        if (seen > len)
            seen = len;
        used += answer_feed(a, text + used, seen - used);
        if (seen == len)
            break;
    }
    return used;
}

static void answers_end_where_they_end_however_they_come(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(stories); i++) {
        const struct story *s = &stories[i];
        size_t len = strlen(s->text);
        for (size_t step = 1; step <= len; step++) {
            struct answer a = {.to_head = s->to_head};
            size_t used = feed_in_steps(&a, s->text, len, step);
            assert_int_equal(a.phase, ANSWER_DONE);
            assert_int_equal(a.status, s->status);
            assert_int_equal(a.close, s->close);
            assert_int_equal(used, len - 1);
        }
    }
}

static void what_is_no_answer_is_bad(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    };
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        struct answer a = {0};
        answer_feed(&a, texts[i], strlen(texts[i]));
        assert_int_equal(a.phase, ANSWER_BAD);
    }
}

static void without_a_length_the_end_of_the_conn_ends_it(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\n\r\nanything\r\n\r\n";
    struct answer a = {0};

    assert_int_equal(answer_feed(&a, text, sizeof(text) - 1), sizeof(text) - 1);
    assert_int_equal(a.phase, ANSWER_TO_END);
    assert_true(a.close);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_one_percent_of_sorted_values),
        cmocka_unit_test(every_value_keeps_its_place_at_the_edges_of_buckets),
        cmocka_unit_test(what_is_too_large_is_the_maximum),
        cmocka_unit_test(at_least_counts_only_what_is_sure),
        cmocka_unit_test(due_times_do_not_drift),
        cmocka_unit_test(a_stretch_has_rate_times_seconds_requests),
        cmocka_unit_test(a_mix_is_exact_and_evenly_spread),
        cmocka_unit_test(answers_end_where_they_end_however_they_come),
        cmocka_unit_test(what_is_no_answer_is_bad),
        cmocka_unit_test(without_a_length_the_end_of_the_conn_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
