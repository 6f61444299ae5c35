/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about routes that are wrong, and about those that never win.
 */
#include "tests/unit/test_config.h"

static void test_matching_hosts(void **state)
{
    CASES(
        {MATCH("host: \"*\""), "t:1:36: error: routes[0].match.host: \"*\": to match every host, "
                               "leave the key host out"},
        {MATCH("host: a:80"), "t:1:36: error: routes[0].match.host: \"a:80\": the port plays no "
                              "part in matching; leave it out"},
        {MATCH("host: a.example."),
         "t:1:36: error: routes[0].match.host: \"a.example.\": leave out the dot at the end"},
        {MATCH("host: \"a.*.example\""),
         "t:1:36: error: routes[0].match.host: \"a.*.example\": a '*' can only be the first label, "
         "as in *.example.com"},
        {MATCH("host: \"*a.example\""),
         "t:1:36: error: routes[0].match.host: \"*a.example\": a '*' can only be the first label, "
         "as in *.example.com"},
        {MATCH("host: b\xc3\xbc"
               "cher.example"),
         "t:1:36: error: routes[0].match.host: \"b\xc3\xbc"
         "cher.example\": not a host name; write "
         "international names in their xn-- form"},
        {MATCH("host: 300.1.1.1"), "t:1:36: error: routes[0].match.host: \"300.1.1.1\": not an "
                                   "IPv4 address, and a name cannot end in a number"},
        {MATCH("host: \"[::1\""), "t:1:36: error: routes[0].match.host: \"[::1\": expected an "
                                  "IPv6 address in brackets, without a port"},
        {MATCH("host: \"[\""), "t:1:36: error: routes[0].match.host: \"[\": expected an IPv6 "
                               "address in brackets, without a port"},
        {MATCH("host: []"), "t:1:36: error: routes[0].match.host: expected at least one host; "
                            "without the key, every host matches"},
        {MATCH("host: [a.b, c.d, A.B]"),
         "t:1:47: error: routes[0].match.host: \"a.b\" is listed twice"},
        {MATCH("host: {}"), "t:1:36: error: routes[0].match.host: expected a list, or one item "
                            "alone; found a mapping"},
        {MATCH("host: [127.0.0.1, \"[::1]\", a_b, \"*.x\"]"), ""});
}

static void test_matching_paths(void **state)
{
    CASES(
        {MATCH("path: x"), "t:1:36: error: routes[0].match.path: \"x\": a path begins with '/'"},
        {MATCH("path: /x?y"), "t:1:36: error: routes[0].match.path: \"/x?y\": '?' and '#' end the "
                              "path, so they cannot be in one"},
        {MATCH("path: \"/x y\""), "t:1:36: error: routes[0].match.path: \"/x y\": percent-encode "
                                  "what cannot be in a path, such as %20"},
        {MATCH("path: /%zz"), "t:1:36: error: routes[0].match.path: \"/%zz\": '%' has to be "
                              "followed by two hexadecimal digits"},
        {MATCH("path: /a/./b"), "t:1:36: error: routes[0].match.path: \"/a/./b\" never matches, as "
                                "paths are compared in their normal form; write \"/a/b\""},
        {MATCH("path: /a/b/../.."), "t:1:36: error: routes[0].match.path: \"/a/b/../..\" never "
                                    "matches, as paths are compared in their normal form; write "
                                    "\"/\""},
        {MATCH("path: /../a//.."), "t:1:36: error: routes[0].match.path: \"/../a//..\" never "
                                   "matches, as paths are compared in their normal form; write "
                                   "\"/a/\""},
        {MATCH("path: /%7euser/%2fx/%41"),
         "t:1:36: error: routes[0].match.path: \"/%7euser/%2fx/%41\" never matches, as paths are "
         "compared in their normal form; write \"/~user/%2Fx/A\""},
        {MATCH("path: { exact: a }"),
         "t:1:45: error: routes[0].match.path.exact: \"a\": a path begins with '/'"},
        {MATCH("path: { exact: /a, prefix: /b }"),
         "t:1:36: error: routes[0].match.path: expected exactly one of the keys exact, prefix"},
        {MATCH("path: {}"),
         "t:1:36: error: routes[0].match.path: expected exactly one of the keys exact, prefix"},
        {MATCH("path: [/a]"), "t:1:36: error: routes[0].match.path: expected a prefix alone, "
                              "{ exact: /path } or { prefix: /path }; found a list"},
        {MATCH("path: /a//b/%2F/...;v=1"), ""});
}

static void test_matching_methods_and_headers(void **state)
{
    CASES(
        {MATCH("method: get"), "t:1:38: error: routes[0].match.method: expected a method such as "
                               "GET; found \"get\"; did you mean \"GET\"?"},
        {MATCH("method: CONNECT"), "t:1:38: error: routes[0].match.method: expected a method such "
                                   "as GET; found \"CONNECT\""},
        {MATCH("method: [GET, PUT, GET]"),
         "t:1:49: error: routes[0].match.method: \"GET\" is listed twice"},
        {MATCH("headers: {}"), "t:1:39: error: routes[0].match.headers: expected at least one "
                               "field; without the key, every request matches"},
        {MATCH("headers: { \"a b\": x }"), "t:1:41: error: routes[0].match.headers.\"a b\": \"a "
                                           "b\": not the name of a header field"},
        {MATCH("headers: { x-a: 1, x-b: true, x-c: }"),
         "t:1:46: error: routes[0].match.headers.x-a: expected the value of a header field; found "
         "the number 1; to mean the text, write it in quotes: \"1\"\n"
         "t:1:54: error: routes[0].match.headers.x-b: expected the value of a header field; found "
         "the boolean true; to mean the text, write it in quotes: \"true\"\n"
         "t:1:65: error: routes[0].match.headers.x-c: expected the value of a header field; found "
         "nothing"},
        {MATCH("headers: { x-a: \" x\" }"),
         "t:1:46: error: routes[0].match.headers.x-a: \" x\": never matches, as values are "
         "compared without blanks at their ends"},
        {MATCH("headers: { x-a: \"x\\ry\" }"),
         "t:1:46: error: routes[0].match.headers.x-a: \"x\\x0dy\": a field's value has no control "
         "characters"},
        {MATCH("headers: { x-a: a, X-A: b }"),
         "t:1:49: error: routes[0].match.headers: \"x-a\" is listed twice; the names of fields do "
         "not depend on case"},
        {MATCH("headers: { x_tier: a }"),
         "t:1:41: warning: routes[0].match.headers.x_tier: never matches: fields with '_' in their "
         "name are dropped; did you mean '-'?"});
}

#define TWO(first, second)                                                                \
    "routes:\n- { name: one, to: app, match: {" first "} }\n- { to: app, match: {" second \
    "} }\nversion: 1\n" LISTENERS POOLS

#define NEVER                                                                                      \
    "t:3:3: warning: routes[1]: never wins: all that it matches is taken by earlier routes, such " \
    "as \"one\" at line 2"

static void test_routes_that_never_win(void **state)
{
    CASES({TWO("", ""), NEVER}, {TWO("", "path: /"), NEVER}, {TWO("path: /a", "path: /a/"), NEVER},
          {TWO("path: /a", "path: { prefix: /a }"), NEVER},
          {TWO("path: { exact: /a }", "path: { exact: /a }"), NEVER},
          {TWO("host: [a.b, c.d]", "host: C.d"), NEVER},
          {TWO("method: [GET, PUT]", "method: PUT"), NEVER},
          {TWO("headers: { a: x, b: y }", "headers: { B: y, A: x }"), NEVER},
          {TWO("host: a.b, path: /x, method: GET, headers: { a: x }",
               "host: a.b, path: /x, method: GET, headers: { a: x }"),
           NEVER});
}

static void test_routes_that_win_somewhere(void **state)
{
    CASES({TWO("", "path: /a"), ""}, {TWO("path: /a", ""), ""},
          {TWO("path: /a", "path: { exact: /a }"), ""},
          {TWO("path: { exact: /a }", "path: /a"), ""},
          {TWO("path: { exact: /a }", "path: { exact: /a/ }"), ""},
          {TWO("path: /a", "path: /ab"), ""}, {TWO("host: a.b", ""), ""},
          {TWO("", "host: a.b"), ""}, {TWO("host: a.b", "host: [a.b, c.d]"), ""},
          {TWO("host: \"*.b\"", "host: a.b"), ""}, {TWO("method: GET", ""), ""},
          {TWO("", "method: GET"), ""}, {TWO("method: GET", "method: [GET, PUT]"), ""},
          {TWO("headers: { a: x }", "headers: { a: y }"), ""},
          {TWO("headers: { a: x }", "headers: { a: x, b: y }"), ""},
          {TWO("headers: { a: x, b: y }", "headers: { a: x }"), ""});
}

static void test_route_that_several_together_leave_nothing(void **state)
{
    CASES({"routes:\n- { to: app, match: { host: [a, b], method: GET } }\n"
           "- { to: app, match: { host: [b, a], method: PUT } }\n"
           "- { to: app, match: { host: [a, b], method: [PUT, GET] } }\n"
           "- { to: app, match: { host: [a, c], method: [PUT, GET] } }\n"
           "version: 1\n" LISTENERS POOLS,
           "t:4:3: warning: routes[2]: never wins: all that it matches is taken by earlier routes, "
           "such as \"route-1\" at line 2"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matching_hosts),
        cmocka_unit_test(test_matching_paths),
        cmocka_unit_test(test_matching_methods_and_headers),
        cmocka_unit_test(test_routes_that_never_win),
        cmocka_unit_test(test_routes_that_win_somewhere),
        cmocka_unit_test(test_route_that_several_together_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
