/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket's key and answer: the vectors of RFC 6455, and who needs which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/websocket.h"

#define RFC_KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define RFC_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static void the_answer_is_that_of_the_rfc(void **state)
{
    /* Those beside the first were made by another program; they end at every place of a block. */
    static const struct {
        const char *key, *accept;
    } rows[] = {
        {RFC_KEY, RFC_ACCEPT},
        {"", "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w="},
        {"k", "cai0HFWL7DEHZkyHxdyv1Pn3R6M="},
        {"kkkkkkkkkkkkkkkkkk", "qChxkF3JDYNASeew3saQqqTWi7o="},
        {"kkkkkkkkkkkkkkkkkkk", "tWclcP21hrR+xgjYVswtQRW71GQ="},
        {"kkkkkkkkkkkkkkkkkkkk", "tSsjsIAvEVIQ+IC5K8+T/OkG8nU="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkk", "qUNe7W8rvas6tQS5F4QBTf/JpvE="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkk", "x9bmfLYIxLMaaT5h0sFuRlAhhb8="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkk", "23YR1Db+zw7wlQpr5c9wffHlaIs="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
         "d3g+v0T8vq/Wjewzan1FGbXRhkk="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
         "kkk",
         "LY9EluoxzTck+ySKVLqXrQNaqCc="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
         "kkkk",
         "OlyDH6wkbrkWbIFLI9V2r4u7Uus="},
        {"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
         "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
         "kkkkkkkkkkkkkkkkkkkkkk",
         "HXr7Nbki1tHdEVpq+a7G7IV4VJU="},
    };
    char out[WEBSOCKET_ACCEPT];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        websocket_accept(span_str(rows[i].key), out);
        assert_memory_equal(out, rows[i].accept, sizeof(out));
    }
}

static void a_key_is_16_random_bytes(void **state)
{
    char a[WEBSOCKET_KEY], b[WEBSOCKET_KEY];
    (void)state;
    assert_true(websocket_key(a));
    assert_true(websocket_key(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_equal(a + 22, "==", 2);
    for (size_t i = 0; i < 22; i++)
        assert_true(a[i] != '\0' &&
                    strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                           a[i]) != NULL);
}

static struct http_head *head(unsigned version, const char *upgrade, const char *name,
                              const char *value)
{
    struct http_head *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    http_head_init(h);
    h->version = (uint8_t)version;
    h->upgrade = span_str(upgrade);
    http_head_add(h, FIELD_OTHER, SPAN_LIT("sec-websocket-version"), SPAN_LIT("13"));
    if (name != NULL)
        http_head_add(h, FIELD_OTHER, span_str(name), span_str(value));
    return h;
}

static void only_what_comes_by_http_2_needs_a_key(void **state)
{
    static const struct {
        unsigned version;
        const char *upgrade, *name;
        bool needs;
    } rows[] = {
        {20, "websocket", NULL, true},
        {20, "WebSocket", NULL, true},
        {20, "websocket", "Sec-WebSocket-Key", false},
        {20, "connect-udp", NULL, false},
        {20, "", NULL, false},
        {11, "websocket", NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head *h = head(rows[i].version, rows[i].upgrade, rows[i].name, RFC_KEY);
        assert_int_equal(websocket_needs_key(h), rows[i].needs);
        free(h);
    }
}

static void only_what_comes_back_by_http_2_needs_an_answer(void **state)
{
    static const struct {
        unsigned version;
        const char *request_field, *upgrade, *response_field;
        bool needs;
    } rows[] = {
        {20, "sec-websocket-key", "websocket", NULL, true},
        {20, NULL, "websocket", NULL, false},
        {20, "sec-websocket-key", "websocket", "sec-websocket-accept", false},
        {20, "sec-websocket-key", "other", NULL, false},
        {11, "sec-websocket-key", "websocket", NULL, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct span key = span_of(NULL, 0);
        struct http_head *request = head(11, "websocket", rows[i].request_field, RFC_KEY);
        struct http_head *response =
            head(rows[i].version, rows[i].upgrade, rows[i].response_field, "x");
        assert_int_equal(websocket_needs_accept(request, response, &key), rows[i].needs);
        assert_int_equal(span_eq(key, SPAN_LIT(RFC_KEY)), rows[i].needs);
        free(request);
        free(response);
    }
}

static void the_answer_is_taken_out_once(void **state)
{
    (void)state;
    struct http_head *h = head(11, "websocket", "Sec-WebSocket-Accept", RFC_ACCEPT);
    assert_true(websocket_take_accept(h, RFC_ACCEPT));
    assert_int_equal(h->fields[0].flags, 0);
    assert_int_equal(h->fields[1].flags, FIELD_DROPPED);
    http_head_add(h, FIELD_OTHER, SPAN_LIT("sec-websocket-accept"), SPAN_LIT(RFC_ACCEPT));
    assert_false(websocket_take_accept(h, RFC_ACCEPT));
    free(h);
    h = head(11, "websocket", "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO=");
    assert_false(websocket_take_accept(h, RFC_ACCEPT));
    free(h);
    h = head(11, "websocket", NULL, NULL);
    assert_false(websocket_take_accept(h, RFC_ACCEPT));
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_is_that_of_the_rfc),
        cmocka_unit_test(a_key_is_16_random_bytes),
        cmocka_unit_test(only_what_comes_by_http_2_needs_a_key),
        cmocka_unit_test(only_what_comes_back_by_http_2_needs_an_answer),
        cmocka_unit_test(the_answer_is_taken_out_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
