/* SPDX-License-Identifier: Apache-2.0 */
/* The table of reasons says nothing that contradicts itself, RFC 9209 or the retry rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/reason.h"

/* RFC 9209 section 2.3, the types of errors that a proxy may name. */
static const char *const proxy_status_errors[] = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
};

#define for_each_reason(r) for (unsigned r = REASON_NONE + 1; r < REASON_COUNT; r++)

static void none_is_the_empty_row(void **state)
{
    (void)state;
    const struct reason_row *row = reason_row(REASON_NONE);
    assert_int_equal(REASON_NONE, 0);
    assert_string_equal(row->name, "");
    assert_int_equal(row->status, 0);
    assert_int_equal(row->side, SIDE_NONE);
    assert_int_equal(row->retry, RETRY_NEVER);
}

/* Names are label values and a quoted string of Proxy-Status: nothing to escape, ever. */
static void names_are_unique_and_plain(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        const char *name = reason_row(i)->name;
        size_t len = strlen(name);
        assert_in_range(len, 3, 40);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"), len);
        assert_true(name[0] != '_' && name[len - 1] != '_');
        for (unsigned k = 1; k < i; k++)
            assert_string_not_equal(name, reason_row(k)->name);
    }
}

static void every_row_has_a_sentence(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        if (i == REASON_DONE) /* nobody is told about that */
            continue;
        const char *text = reason_row(i)->text;
        assert_true(strlen(text) > 10);
        assert_null(strpbrk(text, "\"\\\r\n"));
    }
}

static void a_status_is_one_that_fits_the_side(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        const struct reason_row *row = reason_row(i);
        switch (row->side) {
        case SIDE_CLIENT: /* its fault, or something that weir does not speak */
            assert_true((row->status >= 400 && row->status < 500) || row->status == 501 ||
                        row->status == 505);
            break;
        case SIDE_GONE: /* nobody is there to be answered; 499 is for the log */
            assert_true(row->status == 0 || row->status == 499);
            break;
        case SIDE_UPSTREAM:
            assert_true(row->status == 502 || row->status == 504);
            break;
        case SIDE_WEIR:
            assert_true(row->status == 404 || row->status == 500 || row->status == 503 ||
                        row->status == 504);
            break;
        default:
            assert_int_equal(row->side, SIDE_NONE);
            assert_int_equal(row->status, 0);
        }
    }
}

static void only_a_failed_attempt_may_be_retried(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        const struct reason_row *row = reason_row(i);
        assert_in_range(row->retry, RETRY_NEVER, RETRY_ELSEWHERE);
        if (row->retry != RETRY_NEVER)
            assert_int_equal(row->side, SIDE_UPSTREAM);
    }
}

/* Nobody else's conn is counted by itself. */
static void only_what_clients_do_ends_a_conn_that_counts(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        const struct reason_row *row = reason_row(i);
        if (row->count == COUNT_CONN)
            assert_true(row->side == SIDE_CLIENT || row->side == SIDE_GONE);
        else
            assert_int_equal(row->count, COUNT_EXCHANGE);
    }
}

static void a_reply_carries_an_error_of_rfc_9209(void **state)
{
    (void)state;
    for_each_reason(i)
    {
        const struct reason_row *row = reason_row(i);
        bool known = row->error[0] == '\0';
        for (size_t k = 0; k < ARRAY_LEN(proxy_status_errors) && !known; k++)
            known = strcmp(row->error, proxy_status_errors[k]) == 0;
        assert_true(known);
        bool authored = row->status != 0 && row->status != 499;
        assert_int_equal(row->error[0] != '\0', authored);
    }
}

/* What users see of it, as documented. */
static void statuses_are_the_documented_ones(void **state)
{
    (void)state;
    static const struct {
        enum reason reason;
        unsigned status;
        const char *name;
    } rows[] = {
        {REASON_BAD_VERSION, 505, "bad_version"},
        {REASON_UNKNOWN_METHOD, 501, "unknown_method"},
        {REASON_UNKNOWN_CODING, 501, "unknown_coding"},
        {REASON_TARGET_TOO_LONG, 414, "target_too_long"},
        {REASON_HEAD_TOO_LARGE, 431, "head_too_large"},
        {REASON_TOO_MANY_FIELDS, 431, "too_many_fields"},
        {REASON_BODY_TOO_LARGE, 413, "body_too_large"},
        {REASON_CONNECT_METHOD, 405, "connect_method"},
        {REASON_HEAD_TIMEOUT, 408, "head_timeout"},
        {REASON_BODY_TIMEOUT, 408, "body_timeout"},
        {REASON_NO_ROUTE, 404, "no_route"},
        {REASON_NO_ENDPOINT, 503, "no_endpoint"},
        {REASON_CONNECT_REFUSED, 502, "connect_refused"},
        {REASON_CONNECT_FAILED, 502, "connect_failed"},
        {REASON_CONNECT_TIMEOUT, 504, "connect_timeout"},
        {REASON_UPSTREAM_RESET, 502, "upstream_reset"},
        {REASON_UPSTREAM_CLOSED, 502, "upstream_closed"},
        {REASON_RESPONSE_HEAD_TIMEOUT, 504, "response_head_timeout"},
        {REASON_RESPONSE_IDLE_TIMEOUT, 504, "response_idle_timeout"},
        {REASON_REQUEST_TIMEOUT, 504, "request_timeout"},
        {REASON_BAD_RESPONSE, 502, "bad_response"},
        {REASON_RESPONSE_HEAD_TOO_LARGE, 502, "response_head_too_large"},
        {REASON_RESPONSE_INCOMPLETE, 502, "response_incomplete"},
        {REASON_CONNECTION_LIMIT, 503, "connection_limit"},
        {REASON_DRAINING, 503, "draining"},
        {REASON_INTERNAL, 500, "internal"},
        {REASON_BAD_HOST, 400, "bad_host"},
        {REASON_BAD_FIELD, 400, "bad_field"},
        {REASON_LENGTH_CONFLICT, 400, "length_conflict"},
        {REASON_CLIENT_CLOSED, 499, "client_closed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(reason_row(rows[i].reason)->name, rows[i].name);
        assert_int_equal(reason_row(rows[i].reason)->status, rows[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_the_empty_row),
        cmocka_unit_test(names_are_unique_and_plain),
        cmocka_unit_test(every_row_has_a_sentence),
        cmocka_unit_test(a_status_is_one_that_fits_the_side),
        cmocka_unit_test(only_a_failed_attempt_may_be_retried),
        cmocka_unit_test(only_what_clients_do_ends_a_conn_that_counts),
        cmocka_unit_test(a_reply_carries_an_error_of_rfc_9209),
        cmocka_unit_test(statuses_are_the_documented_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
