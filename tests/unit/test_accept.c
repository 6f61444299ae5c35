/* SPDX-License-Identifier: Apache-2.0 */
/* Accept: which quality a value gives a type, and who gets JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants these four first */
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/accept.h"

static void quality_is_in_thousandths(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        int json;
    } rows[] = {
        {"application/json", 1000},
        {"APPLICATION/JSON", 1000},
        {"text/html, application/json;q=0.5", 500},
        {"application/json ; charset=utf-8 ; q=0.25", 250},
        {"application/json;q=1.000", 1000},
        {"application/json;q=0.123", 123},
        {"application/json;q=0.1234", 123},
        {"application/json;q=0", 0},
        {"application/json;q=1.9", 1000},
        {"application/json;q=", 1000},
        {"application/json;q=x", 1000},
        {"application/json;Q=0.5", 500},
        {"application/json;", 1000},
        {"application/jsonx", -1},
        {"*/*", -1},
        {"", -1},
        {",,;", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (accept_quality(span_str(rows[i].accept), SPAN_LIT("application/json")) != rows[i].json)
            fail_msg("\"%s\" should give %d", rows[i].accept, rows[i].json);
}

static bool prefers(const char *accept)
{
    static struct http_head head;
    http_head_init(&head);
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("A"), SPAN_LIT("application/json"));
    if (accept != NULL)
        http_head_add(&head, FIELD_ACCEPT, SPAN_LIT("Accept"), span_str(accept));
    return accept_prefers_json(&head);
}

static void json_goes_to_who_prefers_it(void **state)
{
    (void)state;
    assert_true(prefers("application/json"));
    assert_true(prefers("application/json, text/plain;q=0.9"));
    assert_true(prefers("text/*;q=0.1, application/json;q=0.2"));
    assert_false(prefers("application/json, text/plain"));
    assert_false(prefers("application/json;q=0.5, text/*"));
    assert_false(prefers("application/json;q=0"));
    assert_false(prefers("*/*"));
    assert_false(prefers(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quality_is_in_thousandths),
        cmocka_unit_test(json_goes_to_who_prefers_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
