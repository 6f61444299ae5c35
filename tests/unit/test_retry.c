/* SPDX-License-Identifier: Apache-2.0 */
/* The retry rule, the whole truth table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/retry.h"

enum { FACTS = 1 << 7 };

static struct retry_facts facts_of(enum reason reason, unsigned bits)
{
    return (struct retry_facts){.reason = reason,
                                .idempotent = bits & 1,
                                .committed = bits & 2,
                                .replayable = bits & 4,
                                .reused = bits & 8,
                                .answered = bits & 16,
                                .attempts_left = bits & 32 ? 3 : 0,
                                .wanted = bits & 64};
}

/* RFC 9110 section 9.2.2 and BEHAVIOUR in words, not in the code's order. */
static enum retry_verdict expected(const struct retry_facts *f)
{
    switch (reason_row(f->reason)->retry) {
    case RETRY_UNSENT:
        break;
    case RETRY_AGAIN:
        return f->committed || !f->replayable ? RETRY_NO : RETRY_SAME;
    case RETRY_IDEMPOTENT:
    case RETRY_ELSEWHERE:
        if (!f->idempotent)
            return RETRY_NO;
        break;
    default:
        return RETRY_NO;
    }
    if (f->committed || !f->replayable)
        return RETRY_NO;
    bool stale = f->reused && !f->answered && reason_row(f->reason)->retry != RETRY_ELSEWHERE;
    return stale ? RETRY_SAME : f->wanted && f->attempts_left > 0 ? RETRY_OTHER : RETRY_NO;
}

static void every_row_of_the_truth_table(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
        for (unsigned bits = 0; bits < FACTS; bits++) {
            struct retry_facts f = facts_of((enum reason)reason, bits);
            if (retry_verdict(&f) != expected(&f))
                fail_msg("%s, facts %#x: %d, want %d", reason_row((enum reason)reason)->name, bits,
                         retry_verdict(&f), expected(&f));
        }
    }
}

static void nothing_is_retried_once_the_client_has_seen_a_byte(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
        for (unsigned bits = 0; bits < FACTS; bits++) {
            struct retry_facts f = facts_of((enum reason)reason, bits);
            f.committed = true;
            assert_int_equal(retry_verdict(&f), RETRY_NO);
        }
    }
}

/* What users would be hurt by, one row at a time. */
static void the_rows_that_matter(void **state)
{
    (void)state;
    static const struct {
        struct retry_facts facts;
        enum retry_verdict want;
    } rows[] = {
        /* refused: nothing was sent, so even a POST goes elsewhere */
        {{.reason = REASON_CONNECT_REFUSED, .replayable = true, .attempts_left = 1}, RETRY_OTHER},
        {{.reason = REASON_CONNECT_TIMEOUT, .replayable = true, .attempts_left = 1}, RETRY_OTHER},
        {{.reason = REASON_CONNECT_REFUSED, .replayable = true}, RETRY_NO},
        /* a POST that may have been processed is not sent twice, stale conn or not */
        {{.reason = REASON_UPSTREAM_RESET, .replayable = true, .attempts_left = 1}, RETRY_NO},
        {{.reason = REASON_UPSTREAM_CLOSED, .replayable = true, .reused = true, .attempts_left = 1},
         RETRY_NO},
        /* unless not a byte of it was written */
        {{.reason = REASON_UPSTREAM_UNSENT, .replayable = true, .reused = true}, RETRY_SAME},
        /* a GET on a stale conn is no failure of the endpoint and costs no attempt */
        {{.reason = REASON_UPSTREAM_CLOSED, .idempotent = true, .replayable = true, .reused = true},
         RETRY_SAME},
        /* a GET on a fresh conn is a failure of the endpoint */
        {{.reason = REASON_UPSTREAM_CLOSED,
          .idempotent = true,
          .replayable = true,
          .attempts_left = 1},
         RETRY_OTHER},
        /* half a head was there, of which the client has seen nothing; the conn was not stale */
        {{.reason = REASON_UPSTREAM_RESET,
          .idempotent = true,
          .replayable = true,
          .reused = true,
          .answered = true,
          .attempts_left = 1},
         RETRY_OTHER},
        {{.reason = REASON_UPSTREAM_RESET,
          .replayable = true,
          .answered = true,
          .attempts_left = 1},
         RETRY_NO},
        /* a body that is gone cannot be sent again */
        {{.reason = REASON_CONNECT_REFUSED, .idempotent = true, .attempts_left = 1}, RETRY_NO},
        /* a stopped process accepts and says nothing: elsewhere, never there on a fresh conn */
        {{.reason = REASON_RESPONSE_HEAD_TIMEOUT,
          .idempotent = true,
          .replayable = true,
          .reused = true,
          .attempts_left = 1},
         RETRY_OTHER},
        {{.reason = REASON_RESPONSE_HEAD_TIMEOUT,
          .idempotent = true,
          .replayable = true,
          .reused = true},
         RETRY_NO},
        {{.reason = REASON_RESPONSE_HEAD_TIMEOUT, .replayable = true, .attempts_left = 1},
         RETRY_NO},
        {{.reason = REASON_BAD_RESPONSE,
          .idempotent = true,
          .replayable = true,
          .attempts_left = 1},
         RETRY_NO},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct retry_facts facts = rows[i].facts;
        facts.wanted = true;
        assert_int_equal(retry_verdict(&facts), rows[i].want);
    }
}

static void what_the_route_wants(void **state)
{
    (void)state;
    const struct retry_rule connect = {.on = RETRY_ON_CONNECT}, all = {.on = RETRY_ON_DEFAULT},
                            timeout = {.on = RETRY_ON_TIMEOUT};
    assert_true(retry_wanted(&connect, REASON_CONNECT_REFUSED));
    assert_true(retry_wanted(&connect, REASON_UPSTREAM_TLS_FAILED));
    assert_false(retry_wanted(&connect, REASON_UPSTREAM_RESET));
    assert_false(retry_wanted(&connect, REASON_RESPONSE_HEAD_TIMEOUT));
    assert_true(retry_wanted(&all, REASON_UPSTREAM_RESET));
    assert_true(retry_wanted(&timeout, REASON_RESPONSE_HEAD_TIMEOUT));
    assert_false(retry_wanted(&timeout, REASON_CONNECT_REFUSED));
    assert_false(retry_wanted(&all, REASON_NO_MEMORY));
    struct retry_rule post = {.methods = {SPAN_LIT("POST")}, .n_methods = 1};
    assert_true(retry_repeatable(&post, SPAN_LIT("POST")));
    assert_false(retry_repeatable(&post, SPAN_LIT("PATCH")));
    assert_false(retry_repeatable(&all, SPAN_LIT("POST")));
}

static void which_answers_are_tried_again(void **state)
{
    (void)state;
    static struct http_head head;
    struct retry_rule rule = {.on = RETRY_ON_DEFAULT};
    for (unsigned status = 200; status < 700; status++)
        assert_false(retry_has_status(&rule, status));
    rule.statuses[(503 - RETRY_STATUS_MIN) / 64] |= UINT64_C(1) << (503 - RETRY_STATUS_MIN) % 64;
    for (unsigned status = 100; status < 700; status++)
        assert_int_equal(retry_has_status(&rule, status), status == 503);
    http_head_init(&head);
    head.status = 503;
    assert_int_equal(retry_answer(&rule, &head), REASON_UPSTREAM_STATUS);
    head.status = 200;
    assert_int_equal(retry_answer(&rule, &head), REASON_NONE);
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("Grpc-Status"), SPAN_LIT("14"));
    assert_int_equal(retry_answer(&rule, &head), REASON_NONE);
    rule.on |= RETRY_ON_UNAVAILABLE;
    assert_int_equal(retry_answer(&rule, &head), REASON_UPSTREAM_UNAVAILABLE);
    head.body = BODY_CHUNKED; /* a message comes first */
    assert_int_equal(retry_answer(&rule, &head), REASON_NONE);
}

static void how_long_an_answer_asks_to_wait(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t ms;
    } rows[] = {
        {"0", 0},
        {"1", 1000},
        {"120", 120000},
        {"999999999", 999999999000},
        {"1000000000", UINT64_MAX},
        {"", UINT64_MAX},
        {"-1", UINT64_MAX},
        {"1.5", UINT64_MAX},
        {"Fri, 31 Dec 1999 23:59:59 GMT", UINT64_MAX},
    };
    static struct http_head head;
    http_head_init(&head);
    assert_true(retry_after_ms(&head) == 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        http_head_init(&head);
        http_head_add(&head, FIELD_RETRY_AFTER, SPAN_LIT("Retry-After"), span_str(rows[i].value));
        assert_true(retry_after_ms(&head) == rows[i].ms);
    }
}

static void the_pause_doubles_up_to_a_bound(void **state)
{
    (void)state;
    const struct retry_rule rule = {.backoff_ms = 25, .max_backoff_ms = 250},
                            none = {.max_backoff_ms = 250};
    static const uint64_t want[] = {25, 50, 100, 200, 250, 250};
    for (unsigned n = 0; n < ARRAY_LEN(want); n++)
        assert_true(retry_backoff_ms(&rule, n) == want[n]);
    assert_true(retry_backoff_ms(&rule, 31) == 250);
    assert_true(retry_backoff_ms(&rule, 4000000000) == 250);
    assert_true(retry_backoff_ms(&none, 3) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_truth_table),
        cmocka_unit_test(nothing_is_retried_once_the_client_has_seen_a_byte),
        cmocka_unit_test(the_rows_that_matter),
        cmocka_unit_test(what_the_route_wants),
        cmocka_unit_test(which_answers_are_tried_again),
        cmocka_unit_test(how_long_an_answer_asks_to_wait),
        cmocka_unit_test(the_pause_doubles_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
