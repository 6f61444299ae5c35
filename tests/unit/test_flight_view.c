/* SPDX-License-Identifier: Apache-2.0 */
/* What a flight record comes to, for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/json.h"
#include "proxy/flight_cause.h"
#include "proxy/flight_view.h"

#define A SPAN_LIT("10.0.0.1:80")
#define B SPAN_LIT("10.0.0.2:80")

static struct flight record(enum flight_kind kind, enum reason reason, unsigned status)
{
    struct flight f;
    flight_init(&f);
    f.kind = (uint8_t)kind;
    f.reason = (uint16_t)reason;
    f.status = (uint16_t)status;
    f.protocol = 11;
    f.total_us = 30000;
    flight_set_text(&f, FLIGHT_ID, SPAN_LIT("id-1"));
    flight_set_text(&f, FLIGHT_POOL, SPAN_LIT("app"));
    return f;
}

static struct flight_leg leg(uint32_t start, uint32_t up, uint32_t head, uint32_t end,
                             enum reason reason)
{
    return (struct flight_leg){.start_us = start,
                               .reached_us = up,
                               .up_us = up,
                               .head_us = head,
                               .end_us = end,
                               .reason = (uint16_t)reason};
}

static void assert_cause(const struct flight *f, const char *want)
{
    char cause[FLIGHT_CAUSE_TEXT];
    assert_string_equal(flight_cause(f, cause), want);
}

static void every_reason_of_an_exchange_has_advice(void **state)
{
    (void)state;
    for (int i = REASON_NONE + 1; i < REASON_DONE; i++) {
        const struct reason_row *row = reason_row((enum reason)i);
        if (row->side == SIDE_NONE)
            continue;
        const char *text = flight_reason_advice((enum reason)i);
        assert_true(strlen(text) > 10);
        assert_non_null(strchr(".", text[strlen(text) - 1]));
    }
}

static void a_cause_names_who_and_where(void **state)
{
    (void)state;
    struct flight f = record(FLIGHT_FAILED, REASON_CONNECT_REFUSED, 502);
    struct flight_leg first = leg(10, FLIGHT_NEVER, FLIGHT_NEVER, 200, REASON_CONNECT_REFUSED);
    flight_add_leg(&f, &first, A);
    assert_cause(&f, "the upstream refused the connection (at 10.0.0.1:80)");
    assert_string_equal(flight_ended_by(REASON_CONNECT_REFUSED), "endpoint");

    f = record(FLIGHT_FAILED, REASON_NO_ENDPOINT, 503);
    assert_cause(&f, "the pool has no usable endpoint (pool app)");

    f = record(FLIGHT_FAILED, REASON_DONE, 503);
    struct flight_leg passed = leg(10, 100, 200, 300, REASON_DONE);
    flight_add_leg(&f, &passed, A);
    assert_cause(&f, "10.0.0.1:80 itself answered 503, and weir passed that on");

    f = record(FLIGHT_CLIENT, REASON_CLIENT_CLOSED, 499);
    struct flight_leg cut = leg(10000, FLIGHT_NEVER, FLIGHT_NEVER, 30000, REASON_CLIENT_CLOSED);
    flight_add_leg(&f, &cut, A);
    assert_cause(
        &f, "the client closed the connection while 10.0.0.1:80 had yet to answer, for 20.0 ms");
    assert_string_equal(flight_ended_by(REASON_CLIENT_CLOSED), "client");

    f = record(FLIGHT_FAILED, REASON_RESPONSE_INCOMPLETE, 200);
    f.cut = true;
    struct flight_leg half = leg(10, 20, 30, 40, REASON_RESPONSE_INCOMPLETE);
    flight_add_leg(&f, &half, A);
    assert_cause(&f, "the upstream's response ended early (at 10.0.0.1:80) in the middle of its "
                     "answer, which was cut");
}

static void a_slow_request_tells_where_its_time_went(void **state)
{
    (void)state;
    static const struct {
        uint32_t queue, start, up, head;
        const char *want;
    } table[] = {
        {0, 10, FLIGHT_NEVER, 29910,
         "29.9 ms, of which 29.9 ms went into waiting for the answer of "},
        {0, 10, 20010, 29900, "29.9 ms, of which 20.0 ms went into connecting to "},
        {20000, 20000, FLIGHT_NEVER, 29900,
         "29.9 ms, of which 20.0 ms went into waiting for its turn in the queue of its pool, "
         "before "},
        {0, 25000, FLIGHT_NEVER, 29900,
         "29.9 ms, of which 25.0 ms went into what came before the attempt at "},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct flight f = record(FLIGHT_SLOW, REASON_DONE, 200);
        char want[FLIGHT_CAUSE_TEXT];
        struct flight_leg only =
            leg(table[i].start, table[i].up, table[i].head, 30000, REASON_DONE);
        f.queued = table[i].queue > 0;
        f.queue_us = table[i].queue;
        f.head_us = table[i].head;
        flight_add_leg(&f, &only, A);
        strcpy(want, "the answer began after ");
        strcat(strcat(want, table[i].want), "10.0.0.1:80");
        assert_cause(&f, want);
        assert_true(strlen(flight_advice(&f)) > 10);
    }
}

static void a_retried_request_tells_why_it_was(void **state)
{
    (void)state;
    struct flight f = record(FLIGHT_RETRIED, REASON_DONE, 200);
    struct flight_leg failed = leg(10, 20, FLIGHT_NEVER, 30, REASON_UPSTREAM_RESET);
    struct flight_leg done = leg(40, 50, 60, 70, REASON_DONE);
    flight_add_leg(&f, &failed, A);
    flight_add_leg(&f, &done, B);
    assert_cause(&f, "the attempt at 10.0.0.1:80 failed (the upstream reset the connection), and "
                     "10.0.0.2:80 answered");
    assert_string_equal(flight_advice(&f), flight_reason_advice(REASON_UPSTREAM_RESET));
}

static void what_a_client_sent_cannot_steer_a_terminal(void **state)
{
    (void)state;
    char out[FLIGHT_TEXT_BYTES];
    struct flight f = record(FLIGHT_CLIENT, REASON_NO_ROUTE, 404);
    flight_set_text(&f, FLIGHT_PATH, SPAN_LIT("/\x1b[2J\xff\x7f"));
    size_t len = flight_print(&f, 0, out, sizeof(out));
    assert_int_equal(len, strlen(out));
    assert_non_null(strstr(out, "/?[2J??"));
    for (size_t i = 0; i < len; i++)
        assert_true(out[i] == '\n' || (out[i] >= ' ' && out[i] <= '~'));
}

static void assert_connect(const struct flight_leg *only, const char *json, const char *text)
{
    char out[FLIGHT_TEXT_BYTES];
    struct json j;
    struct flight f = record(FLIGHT_FAILED, REASON_DONE, 503);
    flight_add_leg(&f, only, A);
    json_init(&j, out, sizeof(out) - 1);
    flight_write(&j, &f, 0);
    out[j.len] = '\0';
    assert_non_null(strstr(out, json));
    flight_print(&f, 0, out, sizeof(out));
    assert_non_null(strstr(out, text));
}

static void connecting_and_the_handshake_are_told_apart(void **state)
{
    (void)state;
    struct flight_leg one = leg(1000, 2500, 9000, 9500, REASON_DONE);
    assert_connect(&one, "\"connect_us\":1500,\"tls_us\":0,\"connected_us\":2500",
                   "+2.500 ms    connected, in 1.500 ms\n      +9.000 ms    answered");
    one.tls = true;
    one.up_us = 6500;
    assert_connect(&one, "\"connect_us\":1500,\"tls_us\":4000,\"connected_us\":6500",
                   "+2.500 ms    connected, in 1.500 ms\n"
                   "      +6.500 ms    TLS is up, in 4.000 ms\n");
    one.up_us = FLIGHT_NEVER;
    assert_connect(&one, "\"connect_us\":1500,\"tls_us\":null,\"connected_us\":null",
                   "+2.500 ms    connected, in 1.500 ms\n      +9.000 ms    answered");
    one.reached_us = FLIGHT_NEVER;
    assert_connect(&one, "\"connect_us\":null,\"tls_us\":null,\"connected_us\":null",
                   "attempt 1 at 10.0.0.1:80\n      +9.000 ms    answered");
    one.reached_us = 10;
    one.reused = true;
    assert_connect(&one, "\"connect_us\":0,\"tls_us\":0,\"connected_us\":null",
                   "on a connection that was there\n      +9.000 ms    answered");
}

static void the_largest_record_has_room(void **state)
{
    (void)state;
    char text[300], out[FLIGHT_TEXT_BYTES];
    struct json j;
    memset(text, 1, sizeof(text)); /* six bytes each, in JSON */
    struct flight f = record(FLIGHT_FAILED, REASON_UPSTREAM_TLS_FAILED, 502);
    f.queued = true;
    f.time_us = UINT64_C(1) << 60;
    f.total_us = f.queue_us = f.head_us = f.bytes_in = f.bytes_out = UINT64_MAX;
    for (int i = 0; i < FLIGHT_TEXTS; i++)
        flight_set_text(&f, (enum flight_text)i, span_of(text, sizeof(text)));
    for (int i = 0; i < FLIGHT_LEGS; i++) {
        struct flight_leg worst = leg(FLIGHT_NEVER - 1, FLIGHT_NEVER - 1, FLIGHT_NEVER - 1,
                                      FLIGHT_NEVER - 1, REASON_UPSTREAM_WRONG_PROTOCOL);
        worst.sent = UINT32_MAX;
        worst.start_us = 0;
        worst.tls = true;
        flight_add_leg(&f, &worst, span_of(text, sizeof(text)));
    }
    json_init(&j, out, sizeof(out));
    flight_write(&j, &f, 1000);
    assert_false(json_truncated(&j));
    assert_true(flight_print(&f, 1000, out, sizeof(out)) < sizeof(out) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_of_an_exchange_has_advice),
        cmocka_unit_test(a_cause_names_who_and_where),
        cmocka_unit_test(a_slow_request_tells_where_its_time_went),
        cmocka_unit_test(a_retried_request_tells_why_it_was),
        cmocka_unit_test(what_a_client_sent_cannot_steer_a_terminal),
        cmocka_unit_test(connecting_and_the_handshake_are_told_apart),
        cmocka_unit_test(the_largest_record_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
