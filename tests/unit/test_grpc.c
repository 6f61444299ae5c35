/* SPDX-License-Identifier: Apache-2.0 */
/* What is a gRPC call, how long it may take, and what a reason is called there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/grpc.h"

static struct http_head *call(const char *method, const char *type, const char *timeout)
{
    static struct http_head head;
    http_head_init(&head);
    head.method = span_str(method);
    http_head_add(&head, FIELD_HOST, SPAN_LIT("host"), SPAN_LIT("h"));
    if (type != NULL)
        http_head_add(&head, FIELD_CONTENT_TYPE, SPAN_LIT("content-type"), span_str(type));
    if (timeout != NULL)
        http_head_add(&head, FIELD_GRPC_TIMEOUT, SPAN_LIT("grpc-timeout"), span_str(timeout));
    return &head;
}

static void a_call_is_known_by_its_content_type(void **state)
{
    static const char *const calls[] = {"application/grpc",           "application/grpc+proto",
                                        "application/grpc+json",      "Application/GRPC",
                                        "application/grpc;charset=x", "application/grpc ;a=b"};
    static const char *const others[] = {"application/grpc-web", "application/grpc-web+proto",
                                         "application/grp",      "application/grpcx",
                                         "text/plain",           "",
                                         "application/json"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        assert_true(grpc_is_call(call("POST", calls[i], NULL)));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(grpc_is_call(call("POST", others[i], NULL)));
    assert_false(grpc_is_call(call("POST", NULL, NULL)));
    assert_false(grpc_is_call(call("GET", "application/grpc", NULL)));
    assert_false(grpc_is_call(call("", "application/grpc", NULL)));
}

static void timeouts_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {
        {"1H", 3600000},
        {"2M", 120000},
        {"3S", 3000},
        {"4m", 4},
        {"1u", 1},
        {"1000u", 1},
        {"1001u", 2},
        {"1n", 1},
        {"1000000n", 1},
        {"1000001n", 2},
        {"0m", 0},
        {"00000001S", 1000},
        {"99999999H", 99999999ull * 3600000},
        {"99999999n", 100},
    };
    uint64_t ms;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(grpc_timeout(call("POST", "application/grpc", rows[i].text), &ms));
        assert_int_equal(ms, rows[i].ms);
    }
}

static void malformed_timeouts_are_none(void **state)
{
    static const char *const bad[] = {"",    "S",   "1",          "1s",   "1h",  "-1S", "+1S",
                                      "1 S", " 1S", "123456789S", "1.5S", "1SS", "0x1S"};
    uint64_t ms;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(grpc_timeout(call("POST", "application/grpc", bad[i]), &ms));
    assert_false(grpc_timeout(call("POST", "application/grpc", NULL), &ms));
    assert_false(grpc_timeout(call("POST", "text/plain", "1S"), &ms));
}

/* grpc's http-grpc-status-mapping.md, but for what is known better here. */
static void every_reason_with_a_status_has_a_code(void **state)
{
    static const struct {
        enum reason reason;
        unsigned code;
    } rows[] = {
        {REASON_BAD_FIELD, 13},
        {REASON_NO_ROUTE, 12},
        {REASON_NO_ENDPOINT, 14},
        {REASON_CONNECT_REFUSED, 14},
        {REASON_CONNECT_TIMEOUT, 14},
        {REASON_RESPONSE_HEAD_TIMEOUT, 14},
        {REASON_REQUEST_TIMEOUT, 4},
        {REASON_BODY_TIMEOUT, 4},
        {REASON_NO_POOL, 2},
        {REASON_BODY_TOO_LARGE, 2},
        {REASON_UPSTREAM_CANCELLED, 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(grpc_status_of(rows[i].reason), rows[i].code);
    for (unsigned i = 0; i < REASON_COUNT; i++)
        assert_in_range(grpc_status_of(i), 1, 16);
}

static bool status_of(const char *value, unsigned *code)
{
    struct http_head *head = call("POST", "application/grpc", NULL);
    if (value != NULL)
        http_head_add(head, FIELD_GRPC_STATUS, SPAN_LIT("grpc-status"), span_str(value));
    return grpc_status(head, code);
}

static void a_status_is_read_and_what_it_would_be_over_http(void **state)
{
    /* Envoy's table, in words, not in the code's order. */
    static const struct {
        const char *value;
        unsigned code, http;
    } rows[] = {
        {"0", 0, 200},   {"00", 0, 200},  {"14", 14, 503}, {"13", 13, 500}, {"4", 4, 504},
        {"2", 2, 500},   {"15", 15, 500}, {"12", 12, 501}, {"8", 8, 429},   {"5", 5, 404},
        {"3", 3, 400},   {"9", 9, 400},   {"11", 11, 400}, {"6", 6, 409},   {"10", 10, 409},
        {"16", 16, 401}, {"7", 7, 403},   {"1", 1, 499},   {"17", 17, 500}, {"999", 999, 500},
        {"", 2, 500},    {"-1", 2, 500},  {"0x", 2, 500},  {"x0", 2, 500},  {"4294967296", 2, 500},
    };
    unsigned code;
    (void)state;
    assert_false(status_of(NULL, &code));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(status_of(rows[i].value, &code));
        assert_int_equal(code, rows[i].code);
        assert_int_equal(grpc_http_status(code), rows[i].http);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_known_by_its_content_type),
        cmocka_unit_test(timeouts_are_read),
        cmocka_unit_test(malformed_timeouts_are_none),
        cmocka_unit_test(every_reason_with_a_status_has_a_code),
        cmocka_unit_test(a_status_is_read_and_what_it_would_be_over_http),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
