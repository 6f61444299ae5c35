/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about pools that are wrong: endpoints, TLS and PROXY headers to them, pools that
 * nobody needs.
 */
#include "tests/unit/test_config.h"

static void test_endpoint_addresses(void **state)
{
    CASES({ENDPOINT("localhost"), "t:1:16: error: pools.app[0]: " ENDPOINT_EXPECTED
                                  "; found \"localhost\", which has no port"},
          {ENDPOINT("\":80\""), "t:1:16: error: pools.app[0]: \":80\": the host is "
                                "missing; for this machine write 127.0.0.1"},
          {ENDPOINT("a:0"), "t:1:16: error: pools.app[0]: \"a:0\": the port has to be a "
                            "number from 1 to 65535"},
          {ENDPOINT("1.2.3.256:80"),
           "t:1:16: error: pools.app[0]: \"1.2.3.256:80\": the host is not an IPv4 "
           "address, and a name cannot end in a number"},
          {ENDPOINT("a..b:80"), "t:1:16: error: pools.app[0]: \"a..b:80\": the host is "
                                "neither an IP address nor a valid name"},
          {ENDPOINT("-a:80"), "t:1:16: error: pools.app[0]: \"-a:80\": the host is neither "
                              "an IP address nor a valid name"},
          {ENDPOINT("a b:80"), "t:1:16: error: pools.app[0]: \"a b:80\": the host is "
                               "neither an IP address nor a valid name"},
          {ENDPOINT("\"::1:80\""),
           "t:1:16: error: pools.app[0]: \"::1:80\": an IPv6 address needs brackets and a "
           "port, such as \"[::1]:80\""},
          {ENDPOINT("\"http://a:80\""),
           "t:1:16: error: pools.app[0]: \"http://a:80\": expected one colon, between host "
           "and port; write IPv6 addresses in brackets and no http://"},
          {ENDPOINT("\"[::1]\""), "t:1:16: error: pools.app[0]: \"[::1]\": expected an "
                                  "IPv6 address and a port, such as \"[::1]:8080\""},
          {ENDPOINT("\"[1.2.3.4]:80\""), "t:1:16: error: pools.app[0]: \"[1.2.3.4]:80\": "
                                         "what is in brackets is not an IPv6 address"},
          {ENDPOINT("{ address: 10.0.0.1 }"),
           "t:1:27: error: pools.app[0].address: " ENDPOINT_EXPECTED
           "; found \"10.0.0.1\", which has no port"},
          {ENDPOINT("{ weight: 1 }"),
           "t:1:16: error: pools.app[0]: the key \"address\" is missing: Host and port, or "
           "unix:/path; a host name is resolved once, when loading."},
          {ENDPOINT("a:1, b:1, a:1"), "t:1:26: warning: pools.app: \"a:1\" is listed twice; for a "
                                      "larger share, give it a weight"},
          {ENDPOINT("a.example.:1, xn--a:1, a_b:1"), ""});
}

static void test_missing_pools(void **state)
{
    CASES({ROUTE("{ to: ap }"),
           "t:1:16: error: routes[0].to: no pool named \"ap\"; did you mean \"app\"?"},
          {ROUTE("{ to: { app: 1, shop: 1 } }"),
           "t:1:26: error: routes[0].to: no pool named \"shop\""},
          {"version: 1\n" LISTENERS "routes:\n  - to: app\n  - match: { path: /c }\n"
           "    to: chekout\npools:\n  app: [a:1]\n  checkout: [a:1]\n",
           "t:6:9: error: routes[1].to: no pool named \"chekout\"; did you mean \"checkout\"?"},
          {"version: 1\n" LISTENERS ROUTES "pools: {}\n",
           "t:4:8: error: pools: expected at least one pool, such as app: [127.0.0.1:8080]"});
}

static void test_warnings_about_pools_and_weights(void **state)
{
    CASES({"version: 1\n" LISTENERS ROUTES "pools:\n  app: [a:1]\n  old: [a:1]\n",
           "t:6:3: warning: pools.old: no route leads to this pool"},
          {ENDPOINT("{ address: a:1, weight: 0 }"),
           "t:1:10: error: pools.app: every endpoint has weight 0, so none would ever get a "
           "request; give one a weight, or say drain: true if they are only to finish what they "
           "have"},
          {ENDPOINT("{ address: a:1, weight: 0 }, b:1"), ""},
          {ENDPOINT("{ address: a:1, drain: true }, { address: b:1, weight: 0 }"),
           "t:1:10: warning: pools.app: every endpoint is drained, so new requests are answered "
           "503"},
          {ENDPOINT("{ address: a:1, drain: true }, { address: b:1, backup: true }"), ""},
          {ROUTE("{ to: { app: 0 } }"),
           "t:1:18: warning: routes[0].to: every pool has weight 0, so all requests are answered "
           "503"},
          /* A wrong reference makes a pool look unused: nothing is said about that. */
          {"version: 1\n" LISTENERS "routes: [{ to: ap }]\n" POOLS,
           "t:3:16: error: routes[0].to: no pool named \"ap\"; did you mean \"app\"?"});
}

static void test_tls_to_upstreams(void **state)
{
    CASES(
        {POOL("{ endpoints: [a:1], upstream: { tls: yes } }"),
         "t:1:52: error: pools.app.upstream.tls: expected true or false; found yes; yes, no, on "
         "and off are not used"},
        {POOL("{ endpoints: [a:1], upstream: { tls: [x] } }"),
         "t:1:52: error: pools.app.upstream.tls: expected true, or a mapping such as { sni: "
         "app.internal, ca: /etc/weir/ca.pem }; found a list"},
        {POOL("{ endpoints: [a:1], upstream: { tls: { sni: 1.2.3.4 } } }"),
         "t:1:59: error: pools.app.upstream.tls.sni: \"1.2.3.4\" is not a host name"},
        {POOL("{ endpoints: [a:1], upstream: { tls: { cert: c } } }"),
         "t:1:60: error: pools.app.upstream.tls: a client certificate is two files: the key "
         "\"key\" is missing"},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: true } }"),
         "t:1:57: error: pools.app: the endpoint \"b:1\" has another host than the first; sni has "
         "to say what the certificates are for"},
        {POOL("{ endpoints: [\"unix:/s\"], upstream: { tls: {} } }"),
         "t:1:58: error: pools.app: the endpoint \"unix:/s\" has no host name; sni has to say "
         "what its certificate is for"},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: { sni: a } } }"), ""},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: false } }"), ""},
        {POOL("{ endpoints: [a:1, b:1], upstream: { tls: { verify: false, ca: x } } }"),
         "t:1:67: warning: pools.app.upstream.tls: whoever can reach the connection can pose as "
         "an endpoint\n"
         "t:1:78: warning: pools.app.upstream.tls: of no use while verify is false"});
}

static void test_proxy_protocol_to_upstreams(void **state)
{
    CASES({POOL("{ endpoints: [a:1], upstream: { protocol: h2, proxy_protocol: v1 } }"),
           "t:1:15: error: pools.app: upstream.proxy_protocol needs a connection for each client, "
           "so it cannot be used with protocol: h2"},
          {POOL("{ endpoints: [a:1], upstream: { proxy_protocol: v3 } }"),
           "t:1:63: error: pools.app.upstream.proxy_protocol: expected one of none, v1, v2; found "
           "\"v3\"; did you mean \"v1\"?"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoint_addresses),
        cmocka_unit_test(test_missing_pools),
        cmocka_unit_test(test_warnings_about_pools_and_weights),
        cmocka_unit_test(test_tls_to_upstreams),
        cmocka_unit_test(test_proxy_protocol_to_upstreams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
