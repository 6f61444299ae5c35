/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of keys of etcd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/etcd_url.h"
#include "proxy/base/check.h"

static void test_one_server(void **state)
{
    struct etcd_url url;
    const char *why;
    (void)state;
    assert_true(etcd_url_parse(&url, "etcd://127.0.0.1:23790/weir/weir.yaml", &why));
    assert_string_equal(url.name, "etcd://127.0.0.1:23790/weir/weir.yaml");
    assert_string_equal(url.etcd.prefix, "/weir/weir.yaml");
    assert_int_equal(url.etcd.server_count, 1);
    assert_string_equal(url.etcd.servers[0].host, "127.0.0.1");
    assert_int_equal(url.etcd.servers[0].port, 23790);
    assert_false(url.etcd.tls.enabled);
    assert_null(url.etcd.user);
    etcd_url_fini(&url);
}

static void test_all_there_is(void **state)
{
    struct etcd_url url;
    const char *why;
    (void)state;
    assert_true(etcd_url_parse(&url,
                               "etcds://a,[::1]:1,b:65535/k?ca=/x/ca.pem&cert=c&key=k&sni=n&user=u"
                               "&password_file=p=q",
                               &why));
    assert_string_equal(url.name, "etcds://a,[::1]:1,b:65535/k");
    assert_string_equal(url.etcd.prefix, "/k");
    assert_int_equal(url.etcd.server_count, 3);
    assert_string_equal(url.etcd.servers[0].host, "a");
    assert_int_equal(url.etcd.servers[0].port, ETCD_PORT);
    assert_string_equal(url.etcd.servers[1].host, "::1");
    assert_int_equal(url.etcd.servers[1].port, 1);
    assert_int_equal(url.etcd.servers[2].port, 65535);
    assert_true(url.etcd.tls.enabled && url.etcd.tls.verify);
    assert_string_equal(url.etcd.tls.ca.text, "/x/ca.pem");
    assert_string_equal(url.etcd.tls.cert.text, "c");
    assert_string_equal(url.etcd.tls.key.text, "k");
    assert_string_equal(url.etcd.tls.sni, "n");
    assert_string_equal(url.etcd.user, "u");
    assert_string_equal(url.etcd.password_file.text, "p=q");
    etcd_url_fini(&url);
}

static void test_what_is_none(void **state)
{
    static const char *const texts[] = {
        "",
        "etcd",
        "http://a/b",
        "etcd://",
        "etcd://a",
        "etcd:///b",
        "etcd://a/",
        "etcd://a/?user=x",
        "etcd://:1/b",
        "etcd://a:/b",
        "etcd://a:0/b",
        "etcd://a:65536/b",
        "etcd://a:1x/b",
        "etcd://a,/b",
        "etcd://[::1/b",
        "etcd://[::1]1/b",
        "etcd://[]:1/b",
        "etcd://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/b",
        "etcd://a/b?",
        "etcd://a/b?ca=x",
        "etcds://a/b?ca",
        "etcds://a/b?ca=",
        "etcds://a/b?ca=x&ca=y",
        "etcds://a/b?cert=x",
        "etcds://a/b?key=x",
        "etcd://a/b?user=x",
        "etcd://a/b?password_file=x",
        "etcd://a/b?password=x",
        "etcds://a/b?ca=x&",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct etcd_url url;
        const char *why;
        if (etcd_url_parse(&url, texts[i], &why) || why == NULL)
            fail_msg("%s is taken for a URL", texts[i]);
        etcd_url_fini(&url);
    }
}

static void test_a_key_is_bounded(void **state)
{
    char text[2048] = "etcd://a/";
    struct etcd_url url;
    const char *why;
    (void)state;
    memset(text + 9, 'x', CONFIG_ETCD_KEY_MAX - 1);
    assert_true(etcd_url_parse(&url, text, &why));
    etcd_url_fini(&url);
    strcat(text, "x");
    assert_false(etcd_url_parse(&url, text, &why));
    etcd_url_fini(&url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_server),
        cmocka_unit_test(test_all_there_is),
        cmocka_unit_test(test_what_is_none),
        cmocka_unit_test(test_a_key_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
