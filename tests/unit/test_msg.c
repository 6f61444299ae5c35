/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: finding, adding and dropping fields; standard phrases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/reason.h"
#include "proxy/http/msg.h"

static struct http_head *head_new(void)
{
    struct http_head *head = malloc(sizeof(*head));
    assert_non_null(head);
    memset(head, 0x5a, sizeof(*head)); /* as a recycled one may be */
    http_head_init(head);
    return head;
}

static void a_new_head_says_nothing(void **state)
{
    (void)state;
    struct http_head *h = head_new();
    assert_int_equal(h->n_fields, 0);
    assert_int_equal(h->status, 0);
    assert_int_equal(h->body, BODY_NONE);
    assert_int_equal(h->content_length, 0);
    assert_false(h->close || h->keep_alive || h->is_head || h->is_connect || h->has_query);
    assert_int_equal(h->method.len + h->target.len + h->authority.len + h->path.len + h->query.len +
                         h->phrase.len + h->upgrade.len,
                     0);
    free(h);
}

static void some_protocols_are_not_upgraded_to(void **state)
{
    static const char *const no[] = {"h2c",     "h2",          "H2C/1",    "x, h2c/1.0",
                                     "http",    "HTTP/2.0",    "HTTP/1.1", "tls",
                                     "TLS/1.0", "tls/1.3 , x", "a,b,Tls"};
    static const char *const yes[] = {"",     "websocket", "h2o",     "h2c2/h2c", "x/http",
                                      "htt",  "https",     "tlsv1",   "h",        "a, b/2",
                                      "/tls", ",",         "webDAV/1"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(http_may_upgrade(span_str(no[i])));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(http_may_upgrade(span_str(yes[i])));
}

static void fields_keep_their_order(void **state)
{
    (void)state;
    struct http_head *h = head_new();
    http_head_add(h, FIELD_OTHER, SPAN_LIT("A"), SPAN_LIT("1"));
    http_head_add(h, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("x"));
    http_head_add(h, FIELD_OTHER, SPAN_LIT("A"), SPAN_LIT(""));
    assert_int_equal(h->n_fields, 3);
    assert_true(span_eq(field_name(&h->fields[0]), SPAN_LIT("A")));
    assert_true(span_eq(field_value(&h->fields[0]), SPAN_LIT("1")));
    assert_int_equal(h->fields[1].id, FIELD_HOST);
    assert_int_equal(h->fields[1].flags, 0);
    assert_int_equal(h->fields[2].value_len, 0);
    free(h);
}

static void finding_passes_over_what_is_dropped(void **state)
{
    (void)state;
    struct http_head *h = head_new();
    assert_null(http_head_find(h, FIELD_VIA));
    http_head_add(h, FIELD_VIA, SPAN_LIT("Via"), SPAN_LIT("a"));
    http_head_add(h, FIELD_DATE, SPAN_LIT("Date"), SPAN_LIT("d"));
    http_head_add(h, FIELD_VIA, SPAN_LIT("Via"), SPAN_LIT("b"));
    assert_ptr_equal(http_head_find(h, FIELD_VIA), &h->fields[0]);
    h->fields[0].flags |= FIELD_DROPPED;
    assert_ptr_equal(http_head_find(h, FIELD_VIA), &h->fields[2]);
    http_head_drop(h, FIELD_VIA);
    assert_null(http_head_find(h, FIELD_VIA));
    assert_ptr_equal(http_head_find(h, FIELD_DATE), &h->fields[1]);
    http_head_add(h, FIELD_VIA, SPAN_LIT("Via"), SPAN_LIT("c"));
    assert_ptr_equal(http_head_find(h, FIELD_VIA), &h->fields[3]);
    free(h);
}

static void weir_may_add_to_a_head_that_is_full(void **state)
{
    (void)state;
    struct http_head *h = head_new();
    for (int i = 0; i < HTTP_MAX_FIELDS + HTTP_EXTRA_FIELDS; i++)
        http_head_add(h, FIELD_OTHER, SPAN_LIT("N"), SPAN_LIT("v"));
    assert_int_equal(h->n_fields, HTTP_MAX_FIELDS + HTTP_EXTRA_FIELDS);
    free(h);
}

static void phrases_are_those_of_rfc_9110(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        const char *phrase;
    } rows[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {103, "Early Hints"},
        {200, "OK"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {0, ""},
        {299, ""},
        {999, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(span_eq(http_status_phrase(rows[i].status), span_str(rows[i].phrase)));
}

/* Whatever weir answers by itself has a phrase. */
static void every_status_of_a_reason_has_a_phrase(void **state)
{
    (void)state;
#define X(id, name, side, status, retry, count, error, text) \
    if ((status) != 0 && (status) != 499)                    \
        assert_true(http_status_phrase(status).len > 0);
    REASONS(X)
#undef X
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_head_says_nothing),
        cmocka_unit_test(some_protocols_are_not_upgraded_to),
        cmocka_unit_test(fields_keep_their_order),
        cmocka_unit_test(finding_passes_over_what_is_dropped),
        cmocka_unit_test(weir_may_add_to_a_head_that_is_full),
        cmocka_unit_test(phrases_are_those_of_rfc_9110),
        cmocka_unit_test(every_status_of_a_reason_has_a_phrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
