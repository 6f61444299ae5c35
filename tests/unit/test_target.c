/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets and hosts, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/target.h"

/* Both buffers are on the heap and exactly as large as promised, so that ASan sees one byte more.
 */
struct parsed {
    char *raw, *scratch;
    struct target target;
    enum target_error error;
};

static struct parsed parse_bytes(struct span raw, bool is_connect, bool is_options)
{
    struct parsed p = {.raw = malloc(raw.len + !raw.len), .scratch = malloc(raw.len + !raw.len)};
    assert_non_null(p.raw);
    assert_non_null(p.scratch);
    memcpy(p.raw, raw.ptr, raw.len);
    p.error = target_parse(span_of(p.raw, raw.len), is_connect, is_options, p.scratch, raw.len,
                           &p.target);
    return p;
}

static void parsed_fini(struct parsed *p)
{
    free(p->raw);
    free(p->scratch);
}

static void assert_span(struct span got, const char *want, const char *what, const char *of)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("%s of \"%s\": got \"%.*s\", want \"%s\"", what, of, (int)got.len, got.ptr, want);
}

static void paths_have_one_normal_form(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *path;
    } rows[] = {
        {"/", "/"},
        {"/a", "/a"},
        {"/a/", "/a/"},
        {"/a/b/c.html", "/a/b/c.html"},
        {"//", "//"},
        {"//a//b//", "//a//b//"},
        {"/.", "/"},
        {"/..", "/"},
        {"/./", "/"},
        {"/../", "/"},
        {"/../..", "/"},
        {"/../../../etc/passwd", "/etc/passwd"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/../", "/"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/b/../c", "/a/c"},
        {"/a/b/../../c", "/c"},
        {"/a/b/c/./../../g", "/a/g"},
        {"/mid/content=5/../6", "/mid/6"},
        {"/a//../b", "/a/b"},
        {"/a//..", "/a/"},
        {"//..", "/"},
        {"//../x", "/x"},
        {"///../x", "//x"},
        {"/.//x", "//x"},
        {"/a/..//x", "//x"},
        {"/...", "/..."},
        {"/.../x", "/.../x"},
        {"/.a", "/.a"},
        {"/..a/x", "/..a/x"},
        {"/a./b", "/a./b"},
        {"/a../b", "/a../b"},
        {"/.well-known/acme", "/.well-known/acme"},
        {"/a..", "/a.."},
        {"/a.", "/a."},
        {"/%2e", "/"},
        {"/%2E%2e", "/"},
        {"/a/%2e%2e", "/"},
        {"/a/%2E./b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/a/%2e/b", "/a/b"},
        {"/a/%2e%2e%2e/b", "/a/.../b"},
        {"/a/.%2ex/b", "/a/..x/b"},
        {"/a/..%2e", "/a/..."},
        {"/a/.%41", "/a/.A"},
        {"/.%8A/..%2F", "/.%8A/..%2F"},
        {"/a/x.%2e/../b", "/a/b"},
        {"/%41%5a%61%7A%30%39%2d%2E%5f%7e", "/AZaz09-._~"},
        {"/%7euser", "/~user"},
        {"/a%2fb", "/a%2Fb"},
        {"/a%2Fb", "/a%2Fb"},
        {"/a/..%2fb", "/a/..%2Fb"},
        {"/a/%2e%2e%2fb", "/a/..%2Fb"},
        {"/a%2f..%2fb/../c", "/c"},
        {"/%2f../x", "/%2F../x"},
        {"/%2f/../x", "/x"},
        {"/%5c..%5cx", "/%5C..%5Cx"},
        {"/%00", "/%00"},
        {"/%0d%0aX:%20y", "/%0D%0AX:%20y"},
        {"/%c3%a9", "/%C3%A9"},
        {"/%C3%A9", "/%C3%A9"},
        {"/%ff/..", "/"},
        {"/%252e%252e/x", "/%252e%252e/x"},
        {"/%25%32%65/x", "/%252e/x"},
        {"/%3f%23", "/%3F%23"},
        {"/%3F/%23/%25", "/%3F/%23/%25"},
        {"/%21", "/%21"},
        {"/!$&'()*+,;=:@", "/!$&'()*+,;=:@"},
        {"/;x=1/..;/y", "/;x=1/..;/y"},
        {"/a:b@c", "/a:b@c"},
        {"/%2e%2e/%2e%2e/", "/"},
        {"/a/b/c/d/../../../../../../e", "/e"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_bytes(span_str(rows[i].raw), false, false);
        if (p.error)
            fail_msg("\"%s\": %s", rows[i].raw, target_error_text(p.error));
        assert_int_equal(p.target.form, TARGET_ORIGIN);
        assert_span(p.target.path, rows[i].path, "path", rows[i].raw);
        assert_false(p.target.has_query);
        assert_int_equal(p.target.authority.len, 0);
        assert_int_equal(p.target.scheme.len, 0);
        /* A path that was normal is not copied. */
        if (strcmp(rows[i].raw, rows[i].path) == 0)
            assert_ptr_equal(p.target.path.ptr, p.raw);
        parsed_fini(&p);
    }
}

static void queries_pass_untouched(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *path, *query;
    } rows[] = {
        {"/?", "/", ""},
        {"/x?", "/x", ""},
        {"/x?y", "/x", "y"},
        {"/x??", "/x", "?"},
        {"/x?a=/../b&c=./", "/x", "a=/../b&c=./"},
        {"/..?..", "/", ".."},
        {"/.?/./", "/", "/./"},
        {"/a/..?%2e%7e%2F", "/", "%2e%7e%2F"},
        {"/%2e?%2e", "/", "%2e"},
        {"/x?!$&'()*+,;=:@/?-._~", "/x", "!$&'()*+,;=:@/?-._~"},
        {"/x?q=%00%ff", "/x", "q=%00%ff"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_bytes(span_str(rows[i].raw), false, false);
        assert_int_equal(p.error, TARGET_OK);
        assert_span(p.target.path, rows[i].path, "path", rows[i].raw);
        assert_true(p.target.has_query);
        assert_span(p.target.query, rows[i].query, "query", rows[i].raw);
        parsed_fini(&p);
    }
}

static void absolute_form_names_an_authority(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *scheme, *authority, *path, *query;
    } rows[] = {
        {"http://h", "http", "h", "/", NULL},
        {"http://h/", "http", "h", "/", NULL},
        {"http://h?q", "http", "h", "/", "q"},
        {"http://h?", "http", "h", "/", ""},
        {"http://h?/../", "http", "h", "/", "/../"},
        {"HTTP://H/x", "http", "H", "/x", NULL},
        {"hTTpS://h:443/x?y", "https", "h:443", "/x", "y"},
        {"http://h:/x", "http", "h:", "/x", NULL},
        {"http://h:0/x", "http", "h:0", "/x", NULL},
        {"http://127.0.0.1:80//x", "http", "127.0.0.1:80", "//x", NULL},
        {"http://[::1]:8080/x", "http", "[::1]:8080", "/x", NULL},
        {"http://[::1]", "http", "[::1]", "/", NULL},
        {"http://h/a/%2e%2e/b?c", "http", "h", "/b", "c"},
        {"http://h/..", "http", "h", "/", NULL},
        {"http://h//", "http", "h", "//", NULL},
        {"http://a_b.%41/x", "http", "a_b.%41", "/x", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_bytes(span_str(rows[i].raw), false, false);
        if (p.error)
            fail_msg("\"%s\": %s", rows[i].raw, target_error_text(p.error));
        assert_int_equal(p.target.form, TARGET_ABSOLUTE);
        assert_span(p.target.scheme, rows[i].scheme, "scheme", rows[i].raw);
        assert_span(p.target.authority, rows[i].authority, "authority", rows[i].raw);
        assert_span(p.target.path, rows[i].path, "path", rows[i].raw);
        assert_int_equal(p.target.has_query, rows[i].query != NULL);
        assert_span(p.target.query, rows[i].query, "query", rows[i].raw);
        parsed_fini(&p);
    }
}

static void asterisk_is_for_options(void **state)
{
    (void)state;
    struct parsed p = parse_bytes(SPAN_LIT("*"), false, true);
    assert_int_equal(p.error, TARGET_OK);
    assert_int_equal(p.target.form, TARGET_ASTERISK);
    assert_span(p.target.path, "*", "path", "*");
    assert_int_equal(p.target.authority.len, 0);
    parsed_fini(&p);

    p = parse_bytes(SPAN_LIT("http://h:80"), false, true);
    assert_int_equal(p.error, TARGET_OK);
    assert_int_equal(p.target.form, TARGET_ASTERISK);
    assert_span(p.target.path, "*", "path", "http://h:80");
    assert_span(p.target.authority, "h:80", "authority", "http://h:80");
    parsed_fini(&p);

    /* RFC 9112 section 3.2.4: only an empty path without a query is one. */
    static const char *const others[] = {"http://h/", "http://h?q", "http://h?"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        p = parse_bytes(span_str(others[i]), false, true);
        assert_int_equal(p.error, TARGET_OK);
        assert_int_equal(p.target.form, TARGET_ABSOLUTE);
        assert_span(p.target.path, "/", "path", others[i]);
        parsed_fini(&p);
    }
}

static void authority_form_is_for_connect(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum target_error error;
    } rows[] = {
        {"h:443", TARGET_OK},
        {"[2001:db8::1]:443", TARGET_OK},
        {"127.0.0.1:1", TARGET_OK},
        {"h:65535", TARGET_OK},
        {"h", TARGET_ERR_AUTHORITY},
        {"h:", TARGET_ERR_AUTHORITY},
        {"h:0", TARGET_ERR_AUTHORITY},
        {"h:65536", TARGET_ERR_AUTHORITY},
        {"h:443/", TARGET_ERR_AUTHORITY},
        {"u@h:443", TARGET_ERR_AUTHORITY},
        {"http://h:443", TARGET_ERR_AUTHORITY},
        {"/x", TARGET_ERR_FORM},
        {"*", TARGET_ERR_FORM},
        {":443", TARGET_ERR_AUTHORITY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_bytes(span_str(rows[i].raw), true, false);
        if (p.error != rows[i].error)
            fail_msg("\"%s\": %s", rows[i].raw, target_error_text(p.error));
        if (!p.error) {
            assert_int_equal(p.target.form, TARGET_AUTHORITY);
            assert_span(p.target.authority, rows[i].raw, "authority", rows[i].raw);
            assert_int_equal(p.target.path.len, 0);
        }
        parsed_fini(&p);
    }
}

static void what_the_grammar_lacks_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum target_error error;
    } rows[] = {
        {"", TARGET_ERR_EMPTY},
        {"*", TARGET_ERR_FORM},
        {"**", TARGET_ERR_FORM},
        {"*/x", TARGET_ERR_FORM},
        {"x", TARGET_ERR_FORM},
        {"x/y", TARGET_ERR_FORM},
        {"?x", TARGET_ERR_FORM},
        {"h:80", TARGET_ERR_FORM},
        {"h.example:80/x", TARGET_ERR_FORM},
        {"http:/h/x", TARGET_ERR_FORM},
        {"http:h", TARGET_ERR_FORM},
        {"http:", TARGET_ERR_FORM},
        {"\\x", TARGET_ERR_FORM},
        {" /x", TARGET_ERR_FORM},
        {"ftp://h/x", TARGET_ERR_SCHEME},
        {"ws://h/x", TARGET_ERR_SCHEME},
        {"://h/x", TARGET_ERR_SCHEME},
        {"httpss://h/x", TARGET_ERR_SCHEME},
        {"http ://h/x", TARGET_ERR_SCHEME},
        {"http://", TARGET_ERR_AUTHORITY},
        {"http:///x", TARGET_ERR_AUTHORITY},
        {"http://:80/x", TARGET_ERR_AUTHORITY},
        {"http://u@h/x", TARGET_ERR_AUTHORITY},
        {"http://u:p@h/x", TARGET_ERR_AUTHORITY},
        {"http://@h/x", TARGET_ERR_AUTHORITY},
        {"http://h:80:80/x", TARGET_ERR_AUTHORITY},
        {"http://h:-1/x", TARGET_ERR_AUTHORITY},
        {"http://h:99999/x", TARGET_ERR_AUTHORITY},
        {"http://h:8a/x", TARGET_ERR_AUTHORITY},
        {"http://h\\x/", TARGET_ERR_AUTHORITY},
        {"http://h %20/", TARGET_ERR_AUTHORITY},
        {"http://[::1/x", TARGET_ERR_AUTHORITY},
        {"http://[::1]x/", TARGET_ERR_AUTHORITY},
        {"http://h%2/x", TARGET_ERR_AUTHORITY},
        {"http://h#f", TARGET_ERR_BYTE},
        {"http://h/x#f", TARGET_ERR_BYTE},
        {"http://h?x#f", TARGET_ERR_BYTE},
        {"/#", TARGET_ERR_BYTE},
        {"/x#y", TARGET_ERR_BYTE},
        {"/x?y#z", TARGET_ERR_BYTE},
        {"/ x", TARGET_ERR_BYTE},
        {"/x y", TARGET_ERR_BYTE},
        {"/x\ty", TARGET_ERR_BYTE},
        {"/x\r", TARGET_ERR_BYTE},
        {"/x\n", TARGET_ERR_BYTE},
        {"/x\x01", TARGET_ERR_BYTE},
        {"/x\x7f", TARGET_ERR_BYTE},
        {"/\xc3\xa9", TARGET_ERR_BYTE},
        {"/x?\xc3\xa9", TARGET_ERR_BYTE},
        {"/\"", TARGET_ERR_BYTE},
        {"/<", TARGET_ERR_BYTE},
        {"/>", TARGET_ERR_BYTE},
        {"/[", TARGET_ERR_BYTE},
        {"/]", TARGET_ERR_BYTE},
        {"/\\", TARGET_ERR_BYTE},
        {"/^", TARGET_ERR_BYTE},
        {"/`", TARGET_ERR_BYTE},
        {"/{", TARGET_ERR_BYTE},
        {"/|", TARGET_ERR_BYTE},
        {"/}", TARGET_ERR_BYTE},
        {"/x?[", TARGET_ERR_BYTE},
        {"/x?|", TARGET_ERR_BYTE},
        {"/../\\", TARGET_ERR_BYTE},
        {"/%2e%2e/x#", TARGET_ERR_BYTE},
        {"/%", TARGET_ERR_PERCENT},
        {"/%2", TARGET_ERR_PERCENT},
        {"/%2/", TARGET_ERR_PERCENT},
        {"/%g0", TARGET_ERR_PERCENT},
        {"/%0g", TARGET_ERR_PERCENT},
        {"/%%20", TARGET_ERR_PERCENT},
        {"/%u0041", TARGET_ERR_PERCENT},
        {"/%-1", TARGET_ERR_PERCENT},
        {"/a/../%", TARGET_ERR_PERCENT},
        {"/x?%", TARGET_ERR_PERCENT},
        {"/x?%4", TARGET_ERR_PERCENT},
        {"/x?%4x", TARGET_ERR_PERCENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse_bytes(span_str(rows[i].raw), false, false);
        if (p.error != rows[i].error)
            fail_msg("\"%s\": got \"%s\", want \"%s\"", rows[i].raw, target_error_text(p.error),
                     target_error_text(rows[i].error));
        parsed_fini(&p);
    }
    struct parsed p = parse_bytes(SPAN_LIT("/a\0b"), false, false);
    assert_int_equal(p.error, TARGET_ERR_BYTE);
    parsed_fini(&p);
}

/* The table of classes against the grammar of RFC 3986 written out once more. */
static void every_byte_is_in_the_class_the_rfc_says(void **state)
{
    (void)state;
    static const char pchar[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-._~!$&'()*+,;=:@";
    for (unsigned b = 0; b < 256; b++) {
        bool in_path = b && strchr(pchar, (int)b);
        char path[] = {'/', 'x', (char)b, 'y'}, query[] = {'/', '?', (char)b};
        char encoded[8];
        snprintf(encoded, sizeof encoded, "/%%%02x", b);
        struct parsed p = parse_bytes(span_of(path, sizeof path), false, false);
        assert_int_equal(p.error == TARGET_OK, in_path || b == '/' || b == '?');
        parsed_fini(&p);
        p = parse_bytes(span_of(query, sizeof query), false, false);
        assert_int_equal(p.error == TARGET_OK, in_path || b == '/' || b == '?');
        parsed_fini(&p);
        p = parse_bytes(span_str(encoded), false, false);
        assert_int_equal(p.error, TARGET_OK);
        bool unreserved = in_path && !strchr("!$&'()*+,;=:@", (int)b);
        assert_int_equal(p.target.path.len, unreserved ? (b == '.' ? 1 : 2) : 4);
        parsed_fini(&p);
    }
}

static void too_little_scratch_is_an_error_only_if_needed(void **state)
{
    (void)state;
    struct target t;
    char scratch[4];
    assert_int_equal(target_parse(SPAN_LIT("/normal"), false, false, NULL, 0, &t), TARGET_OK);
    assert_int_equal(target_parse(SPAN_LIT("/a/.."), false, false, scratch, 4, &t),
                     TARGET_ERR_SCRATCH);
    assert_int_equal(target_parse(SPAN_LIT("/%41"), false, false, scratch, 4, &t), TARGET_OK);
}

static const struct {
    const char *host;
    bool valid;
    const char *name;
} host_rows[] = {
    {"h", true, "h"},
    {"example.com", true, "example.com"},
    {"EXAMPLE.com:8080", true, "EXAMPLE.com"},
    {"example.com.", true, "example.com."},
    {"h:", true, "h"},
    {"h:0", true, "h"},
    {"h:65535", true, "h"},
    {"h:000080", true, "h"},
    {"123", true, "123"},
    {"1:2", true, "1"},
    {"127.0.0.1", true, "127.0.0.1"},
    {"127.0.0.1:80", true, "127.0.0.1"},
    {"999.1.1.1", true, "999.1.1.1"}, /* a reg-name by the grammar */
    {"a_b-c~d!$&'()*+,;=", true, "a_b-c~d!$&'()*+,;="},
    {"caf%C3%A9.example:1", true, "caf%C3%A9.example"},
    {"[::1]", true, "[::1]"},
    {"[::1]:80", true, "[::1]"},
    {"[::]:", true, "[::]"},
    {"[2001:DB8::ff:1]:65535", true, "[2001:DB8::ff:1]"},
    {"[::ffff:10.0.0.1]", true, "[::ffff:10.0.0.1]"},
    {"[1:2:3:4:5:6:7:8]", true, "[1:2:3:4:5:6:7:8]"},
    {"h:65536", false, NULL},
    {"h:99999999999999999999", false, NULL},
    {"h:4294967376", false, NULL},
    {"h:+80", false, NULL},
    {"h:-80", false, NULL},
    {"h: 80", false, NULL},
    {"h:80 ", false, NULL},
    {"h:80:80", false, NULL},
    {"h:8o", false, NULL},
    {":80", false, NULL},
    {":", false, NULL},
    {" ", false, NULL},
    {" h", false, NULL},
    {"h ", false, NULL},
    {"a b", false, NULL},
    {"a,b c", false, NULL},
    {"h/", false, NULL},
    {"h/x", false, NULL},
    {"h?x", false, NULL},
    {"h#x", false, NULL},
    {"u@h", false, NULL},
    {"u:p@h", false, NULL},
    {"http://h", false, NULL},
    {"h\\x", false, NULL},
    {"h\t", false, NULL},
    {"h\x80", false, NULL},
    {"h\"", false, NULL},
    {"<h>", false, NULL},
    {"{h}", false, NULL},
    {"h%", false, NULL},
    {"h%4", false, NULL},
    {"h%zz", false, NULL},
    {"::1", false, NULL},
    {"[::1", false, NULL},
    {"::1]", false, NULL},
    {"[]", false, NULL},
    {"[]:80", false, NULL},
    {"[::1]80", false, NULL},
    {"[::1]]", false, NULL},
    {"[[::1]]", false, NULL},
    {"[::1]:80x", false, NULL},
    {"[::1]:65536", false, NULL},
    {"x[::1]", false, NULL},
    {"[127.0.0.1]", false, NULL},
    {"[::1::2]", false, NULL},
    {"[:1]", false, NULL},
    {"[1:2:3:4:5:6:7]", false, NULL},
    {"[1:2:3:4:5:6:7:8:9]", false, NULL},
    {"[12345::]", false, NULL},
    {"[g::1]", false, NULL},
    {"[::1%25eth0]", false, NULL},
    {"[fe80::1%eth0]", false, NULL},
    {"[::ffff:256.0.0.1]", false, NULL},
    {"[v1.x]", false, NULL},
    {"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]", false, NULL},
};

static void hosts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(host_rows); i++) {
        size_t len = strlen(host_rows[i].host);
        char *copy = malloc(len);
        assert_non_null(copy);
        memcpy(copy, host_rows[i].host, len);
        struct span host = span_of(copy, len);
        if (host_valid(host, false) != host_rows[i].valid ||
            host_valid(host, true) != host_rows[i].valid)
            fail_msg("\"%s\" should be %s", host_rows[i].host,
                     host_rows[i].valid ? "valid" : "invalid");
        if (host_rows[i].valid)
            assert_span(host_name(host), host_rows[i].name, "name", host_rows[i].host);
        free(copy);
    }
    assert_true(host_valid(SPAN_LIT(""), true));
    assert_false(host_valid(SPAN_LIT(""), false));
    assert_false(host_valid(SPAN_LIT("h\0"), true));
    assert_false(host_valid(SPAN_LIT("[::1\0]"), true));
    assert_int_equal(host_name(SPAN_LIT("")).len, 0);
}

static void every_error_has_a_text(void **state)
{
    (void)state;
    for (unsigned e = TARGET_OK; e <= TARGET_ERR_SCRATCH; e++)
        for (unsigned other = TARGET_OK; other < e; other++)
            assert_string_not_equal(target_error_text(e), target_error_text(other));
    assert_string_equal(target_error_text(1000), "invalid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_one_normal_form),
        cmocka_unit_test(queries_pass_untouched),
        cmocka_unit_test(absolute_form_names_an_authority),
        cmocka_unit_test(asterisk_is_for_options),
        cmocka_unit_test(authority_form_is_for_connect),
        cmocka_unit_test(what_the_grammar_lacks_is_refused),
        cmocka_unit_test(every_byte_is_in_the_class_the_rfc_says),
        cmocka_unit_test(too_little_scratch_is_an_error_only_if_needed),
        cmocka_unit_test(hosts),
        cmocka_unit_test(every_error_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
