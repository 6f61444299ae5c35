/* SPDX-License-Identifier: Apache-2.0 */
/* The retry rule, the whole truth table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/retry.h"

enum { FACTS = 1 << 6 };

static struct retry_facts facts_of(enum reason reason, unsigned bits)
{
    return (struct retry_facts){.reason = reason,
                                .idempotent = bits & 1,
                                .committed = bits & 2,
                                .replayable = bits & 4,
                                .reused = bits & 8,
                                .answered = bits & 16,
                                .attempts_left = bits & 32 ? 3 : 0};
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
    return stale ? RETRY_SAME : f->attempts_left > 0 ? RETRY_OTHER : RETRY_NO;
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
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(retry_verdict(&rows[i].facts), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_truth_table),
        cmocka_unit_test(nothing_is_retried_once_the_client_has_seen_a_byte),
        cmocka_unit_test(the_rows_that_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
