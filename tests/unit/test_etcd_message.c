/* SPDX-License-Identifier: Apache-2.0 */
/* What is said to etcd's gateway, and what is read of its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/base64.h"
#include "proxy/base/check.h"
#include "proxy/discovery/etcd_message.h"

/* ---- base64 ---- */

static void expect_encoded(struct span bytes, const char *expected)
{
    char text[64] = "", back[64];
    size_t len;
    base64_encode(bytes, text);
    assert_string_equal(text, expected);
    assert_int_equal(strlen(text), BASE64_LEN(bytes.len));
    assert_true(base64_decode(span_str(text), back, bytes.len, &len));
    assert_true(span_eq(span_of(back, len), bytes));
    if (bytes.len > 0)
        assert_false(base64_decode(span_str(text), back, bytes.len - 1, &len));
}

/* RFC 4648 section 10. */
static void test_base64(void **state)
{
    (void)state;
    expect_encoded(SPAN_LIT(""), "");
    expect_encoded(SPAN_LIT("f"), "Zg==");
    expect_encoded(SPAN_LIT("fo"), "Zm8=");
    expect_encoded(SPAN_LIT("foo"), "Zm9v");
    expect_encoded(SPAN_LIT("foob"), "Zm9vYg==");
    expect_encoded(SPAN_LIT("foobar"), "Zm9vYmFy");
    expect_encoded(SPAN_LIT("\xff\xfe\xfb\x00"), "//77AA==");
}

static void test_what_is_no_base64(void **state)
{
    char out[16];
    size_t len;
    (void)state;
    assert_false(base64_decode(SPAN_LIT("Zm9 v"), out, sizeof(out), &len));
    assert_false(base64_decode(SPAN_LIT("Zm=v"), out, sizeof(out), &len));
    assert_false(base64_decode(SPAN_LIT("Zm9-"), out, sizeof(out), &len));
    assert_true(base64_decode(SPAN_LIT("Zm8"), out, sizeof(out), &len)); /* no padding */
    assert_int_equal(len, 2);
}

/* ---- requests ---- */

static void expect_text(char *text, const char *expected)
{
    assert_string_equal(text, expected);
    free(text);
}

static void test_requests(void **state)
{
    (void)state;
    expect_text(etcd_ask_range(SPAN_LIT("/a/"), SPAN_LIT("/a0"), 7, 500),
                "{\"key\":\"L2Ev\",\"range_end\":\"L2Ew\",\"revision\":\"7\",\"limit\":\"500\"}");
    expect_text(etcd_ask_range(SPAN_LIT("k"), SPAN_LIT(""), 0, 1),
                "{\"key\":\"aw==\",\"range_end\":\"\",\"revision\":\"0\",\"limit\":\"1\"}");
    expect_text(etcd_ask_watch(SPAN_LIT("/a/"), SPAN_LIT("/a0"), 18446744073709551615u),
                "{\"create_request\":{\"key\":\"L2Ev\",\"range_end\":\"L2Ew\","
                "\"start_revision\":\"18446744073709551615\",\"progress_notify\":true,"
                "\"fragment\":true}}");
    expect_text(etcd_ask_token(SPAN_LIT("weir"), SPAN_LIT("a\"\\\n\x01")),
                "{\"name\":\"weir\",\"password\":\"a\\\"\\\\\\n\\u0001\"}");
}

static void expect_end(struct span prefix, struct span expected)
{
    size_t len;
    char *end = etcd_range_end(prefix, &len);
    assert_true(span_eq(span_of(end, len), expected));
    free(end);
}

static void test_the_end_of_a_prefix(void **state)
{
    (void)state;
    expect_end(SPAN_LIT("/a/"), SPAN_LIT("/a0"));
    expect_end(SPAN_LIT("a\xff\xff"), SPAN_LIT("b"));
    expect_end(SPAN_LIT("\xc3\xbf"), SPAN_LIT("\xc3\xc0"));
}

/* ---- answers ---- */

struct notes {
    char text[512];
    size_t len;
};

static void note(void *ctx, const struct etcd_kv *kv)
{
    struct notes *n = ctx;
    assert_int_equal(kv->key.ptr[kv->key.len], '\0');
    assert_int_equal(kv->value.ptr[kv->value.len], '\0');
    n->len += (size_t)snprintf(n->text + n->len, sizeof(n->text) - n->len, "%s%s=%s@%llu ",
                               kv->deleted ? "-" : "", kv->key.ptr, kv->value.ptr,
                               (unsigned long long)kv->revision);
    assert_true(n->len < sizeof(n->text));
}

static struct etcd_said read_text(const char *text, const char *kvs)
{
    struct notes notes = {0};
    struct etcd_said said;
    etcd_read(span_str(text), &said, note, &notes);
    assert_string_equal(notes.text, kvs);
    return said;
}

static void expect_error(const char *text, enum etcd_error error, const char *words)
{
    struct etcd_said said = read_text(text, "");
    assert_int_equal(said.error, error);
    assert_string_equal(said.text, words);
}

static void test_a_list(void **state)
{
    struct etcd_said said =
        read_text("{\"header\":{\"cluster_id\":\"324952591200643719\",\"revision\":\"4\"},\"kvs\":["
                  "{\"key\":\"L2EvMQ==\",\"mod_revision\":\"2\",\"value\":\"MTI3LjAuMC4xOjgx\"},"
                  "{\"key\":\"L2EvMg==\",\"mod_revision\":\"3\"}],\"more\":true,\"count\":\"3\"}",
                  "/a/1=127.0.0.1:81@2 /a/2=@3 ");
    (void)state;
    assert_int_equal(said.error, ETCD_FINE);
    assert_int_equal(said.revision, 4);
    assert_true(said.more);
    said = read_text("{\"header\":{\"revision\":\"9\"}}", "");
    assert_int_equal(said.error, ETCD_FINE);
    assert_int_equal(said.revision, 9);
    assert_false(said.more || said.created || said.cancelled);
}

static void test_lines_of_a_watch(void **state)
{
    struct etcd_said said =
        read_text("{\"result\":{\"header\":{\"revision\":\"5\"},\"created\":true}}", "");
    (void)state;
    assert_true(said.created && !said.cancelled && said.error == ETCD_FINE);
    said = read_text("{\"result\":{\"header\":{\"revision\":\"6\"},\"fragment\":true,\"events\":["
                     "{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"5\",\"value\":\"Yg==\"}},"
                     "{\"type\":\"PUT\",\"kv\":{\"key\":\"Yg==\",\"mod_revision\":\"6\"}},"
                     "{\"type\":\"DELETE\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"6\"}}]}}",
                     "a=b@5 b=@6 -a=@6 ");
    assert_true(said.error == ETCD_FINE && said.fragment);
    assert_int_equal(said.revision, 6);
    said = read_text("{\"result\":{\"header\":{\"revision\":\"8\"},\"canceled\":true,"
                     "\"compact_revision\":\"4\"}}",
                     "");
    assert_true(said.cancelled);
    assert_int_equal(said.error, ETCD_COMPACTED);
    said = read_text("{\"result\":{\"header\":{\"revision\":\"8\"},\"created\":true,"
                     "\"canceled\":true,\"cancel_reason\":\"rpc error: code = PermissionDenied "
                     "desc = etcdserver: permission denied\"}}",
                     "");
    assert_true(said.created && said.cancelled);
    assert_int_equal(said.error, ETCD_DENIED);
}

static void test_errors(void **state)
{
    (void)state;
    expect_error("{\"error\":\"etcdserver: invalid auth token\",\"code\":16}", ETCD_BAD_TOKEN,
                 "etcdserver: invalid auth token");
    expect_error("{\"error\":\"etcdserver: revision of auth store is old\",\"code\":3}",
                 ETCD_BAD_TOKEN, "etcdserver: revision of auth store is old");
    expect_error("{\"error\":\"etcdserver: user name is empty\"}", ETCD_NO_USER,
                 "etcdserver: user name is empty");
    expect_error("{\"error\":\"etcdserver: authentication is not enabled\"}", ETCD_NOT_LOOKED,
                 "etcdserver: authentication is not enabled");
    expect_error("{\"error\":\"etcdserver: authentication failed, invalid user ID or password\"}",
                 ETCD_BAD_PASSWORD,
                 "etcdserver: authentication failed, invalid user ID or password");
    expect_error("{\"error\":\"etcdserver: mvcc: required revision has been compacted\"}",
                 ETCD_COMPACTED, "etcdserver: mvcc: required revision has been compacted");
    expect_error("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"etcdserver: no "
                 "leader\",\"http_status\":\"Service Unavailable\"}}",
                 ETCD_OTHER, "etcdserver: no leader");
    expect_error("{\"error\":{}}", ETCD_OTHER, "an error without a text");
    expect_error("{\"error\":\"a\\nb\\u00e9\"}", ETCD_OTHER, "a?b??");
}

static void test_tokens(void **state)
{
    char text[4096], longer[3000];
    struct etcd_said said = read_text("{\"header\":{},\"token\":\"abc.18\"}", "");
    (void)state;
    assert_string_equal(said.token, "abc.18");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    snprintf(text, sizeof(text), "{\"token\":\"%s\"}", longer);
    said = read_text(text, "");
    assert_string_equal(said.token, "");
}

static void test_nonsense(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{",
        "nothing",
        "{\"kvs\":{}}",
        "{\"kvs\":[7]}",
        "{\"kvs\":[{}]}",
        "{\"kvs\":[{\"key\":\"*\"}]}",
        "{\"kvs\":[{\"key\":7}]}",
        "{\"kvs\":[{\"key\":\"YQ==\",\"value\":\"*\"}]}",
        "{\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":\"-1\"}]}",
        "{\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":7}]}",
        "{\"header\":{\"revision\":\"99999999999999999999\"}}",
        "{\"header\":{\"revision\":\"7x\"}}",
        "{\"events\":[{\"type\":\"GONE\"}]}",
        "{\"events\":[{\"type\":\"DELETE\"}]}",
        "{\"events\":[{\"type\":7}]}",
        "{\"result\":{\"canceled\":1}}",
        "{\"more\":\"yes\"}",
        "{} {}",
        "{\"header\":{\"revision\":\"7\"}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct etcd_said said = read_text(texts[i], "");
        if (said.error != ETCD_NONSENSE || said.text[0] == '\0')
            fail_msg("%s is taken for an answer", texts[i]);
    }
}

/* What was read before the nonsense has been told. */
static void test_nonsense_at_the_end(void **state)
{
    (void)state;
    struct etcd_said said = read_text("{\"kvs\":[{\"key\":\"YQ==\"},{\"key\":\"*\"}]}", "a=@0 ");
    assert_int_equal(said.error, ETCD_NONSENSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),   cmocka_unit_test(test_what_is_no_base64),
        cmocka_unit_test(test_requests), cmocka_unit_test(test_the_end_of_a_prefix),
        cmocka_unit_test(test_a_list),   cmocka_unit_test(test_lines_of_a_watch),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_nonsense), cmocka_unit_test(test_nonsense_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
