/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said about listeners that are wrong: addresses, trusted peers, TLS.
 */
#include "tests/unit/test_config.h"

#define LISTEN_EXPECTED \
    "expected an address such as \":8000\", 127.0.0.1:8000 or \"unix:/run/weir.sock\""

static void test_listener_addresses(void **state)
{
    CASES({LISTENER("localhost:80"),
           "t:1:19: error: listeners.web: \"localhost:80\": a name cannot "
           "be listened on; write 127.0.0.1 or [::1]"},
          {LISTENER("web.example:80"),
           "t:1:19: error: listeners.web: \"web.example:80\": the host has to be an IP address, or "
           "left out for every address"},
          {LISTENER("\"*:80\""), "t:1:19: error: listeners.web: \"*:80\": for every address leave "
                                 "the host out, such as \":8000\""},
          {LISTENER("\":65536\""), "t:1:19: error: listeners.web: \":65536\": the port has to be a "
                                   "number from 0 to 65535"},
          {LISTENER("\":080\""), "t:1:19: error: listeners.web: \":080\": the port has to be a "
                                 "number from 0 to 65535"},
          {LISTENER("\":http\""), "t:1:19: error: listeners.web: \":http\": the port has to be a "
                                  "number from 0 to 65535"},
          {LISTENER("8000"),
           "t:1:19: error: listeners.web: " LISTEN_EXPECTED "; found the number 8000"},
          {LISTENER("{ via: true }"),
           "t:1:19: error: listeners.web: the key \"bind\" is missing: The address to listen on; "
           "\":8000\" is every address, IPv6 too."},
          {LISTENER(""), "t:1:20: error: listeners.web: " LISTEN_EXPECTED "; found nothing"},
          {LISTENER("\"unix:run/x\""), "t:1:19: error: listeners.web: \"unix:run/x\": expected an "
                                       "absolute path, such as unix:/run/weir.sock"},
          {LISTENER("{ bind: \":80\", mode: \"0660\" }"),
           "t:1:40: error: listeners.web.mode: only for a listener on a unix: socket"},
          {LISTENER("{ bind: \"unix:/x\", mode: 0660 }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found the number 0660; to mean the text, write it in quotes: \"0660\""},
          {LISTENER("{ bind: \"unix:/x\", mode: \"0888\" }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found \"0888\""},
          {LISTENER("{ bind: \"unix:/x\", mode: \"1777\" }"),
           "t:1:44: error: listeners.web.mode: expected permissions in quotes, such as \"0660\"; "
           "found \"1777\""},
          {"admin: { listen: \"localhost:1\" }\n" REST,
           "t:1:18: error: admin.listen: \"localhost:1\": a name cannot be listened on; write "
           "127.0.0.1 or [::1]"});
}

static void test_socket_path_has_to_fit(void **state)
{
    (void)state;
    char path[108], yaml[512], said[512];
    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[107] = '\0';
    snprintf(yaml, sizeof(yaml), LISTENER("\"unix:%s\""), path);
    config_free(load_good(yaml));
    snprintf(yaml, sizeof(yaml), LISTENER("\"unix:%sx\""), path);
    snprintf(
        said, sizeof(said),
        "t:1:19: error: listeners.web: \"unix:%.55s\"...: the path of a socket has at most 107 "
        "bytes\n",
        path);
    expect_messages(yaml, said);
}

static void test_one_address_for_two_listeners(void **state)
{
    CASES({"version: 1\nlisteners: { a: \":80\", b: \":81\", c: \":80\" }\n" ROUTES POOLS,
           "t:2:37: error: listeners.c: \":80\" is the address of listeners.a already (line 2)"},
          {"version: 1\nlisteners: { a: \"[::1]:80\", b: \"[0:0::1]:80\" }\n" ROUTES POOLS,
           "t:2:32: error: listeners.b: \"[::1]:80\" is the address of listeners.a already (line "
           "2)"},
          {"version: 1\nlisteners: { a: \"unix:/x\", b: \"unix:/x\" }\n" ROUTES POOLS,
           "t:2:31: error: listeners.b: \"/x\" is the address of listeners.a already (line 2)"},
          {"version: 1\nlisteners: { a: 127.0.0.1:9900 }\nadmin: {}\n" ROUTES POOLS,
           "t:3:8: error: admin.listen: \"127.0.0.1:9900\" is the address of listeners.a already "
           "(line 2)"},
          {"version: 1\nlisteners: { a: 127.0.0.1:0, b: 127.0.0.1:0 }\n" ROUTES POOLS, ""},
          {"version: 1\nlisteners: { a: 127.0.0.1:80, b: 127.0.0.2:80 }\n" ROUTES POOLS, ""});
}

static void test_trusted_proxies(void **state)
{
    CASES(
        {LISTENER("{ bind: \":1\", trusted_proxies: [10.0.0.0/33, 10.0.0.1/8, x, \"::/129\"] }"),
         "t:1:51: error: listeners.web.trusted_proxies[0]: \"10.0.0.0/33\": expected a number from "
         "0 to 32 after the slash\n"
         "t:1:64: error: listeners.web.trusted_proxies[1]: \"10.0.0.1/8\" has bits set after the "
         "first 8; write \"10.0.0.0/8\"\n"
         "t:1:76: error: listeners.web.trusted_proxies[2]: expected a network such as 10.0.0.0/8, "
         "an IP address, or unix; found \"x\"\n"
         "t:1:79: error: listeners.web.trusted_proxies[3]: \"::/129\": expected a number from 0 to "
         "128 after the slash"},
        {LISTENER("{ bind: \":1\", trusted_proxies: [10.0.0.0/, 10.0.0.0/08, \"fe80::1/10\"] }"),
         "t:1:51: error: listeners.web.trusted_proxies[0]: \"10.0.0.0/\": expected a number from 0 "
         "to 32 after the slash\n"
         "t:1:62: error: listeners.web.trusted_proxies[1]: \"10.0.0.0/08\": expected a number from "
         "0 to 32 after the slash\n"
         "t:1:75: error: listeners.web.trusted_proxies[2]: \"fe80::1/10\" has bits set after the "
         "first 10; write \"fe80::/10\""},
        {LISTENER("{ bind: \":1\", trusted_proxies: [unix] }"),
         "t:1:51: warning: listeners.web: trusts \"unix\", where no peer of \":1\" comes from"},
        {LISTENER("{ bind: \"unix:/x\", trusted_proxies: \"::/0\" }"),
         "t:1:55: warning: listeners.web: trusts \"::/0\", where no peer of \"unix:/x\" comes "
         "from"},
        {LISTENER("{ bind: \":1\", trusted_proxies: [0.0.0.0/0, \"::/0\", 10.0.0.1/32] }"), ""});
}

static void test_tls_of_listeners(void **state)
{
    CASES(
        {LISTENER("{ bind: \":1\", tls: true }"),
         "t:1:38: error: listeners.web.tls: expected the path of a certificate, or of a directory "
         "of them; found the boolean true; to mean the text, write it in quotes: \"true\""},
        {LISTENER("{ bind: \":1\", tls: { certs: [] } }"),
         "t:1:47: error: listeners.web.tls.certs: expected at least one file or directory"},
        {LISTENER("{ bind: \":1\", tls: [a, a] }"),
         "t:1:42: error: listeners.web.tls: \"a\" is listed twice"},
        {LISTENER("{ bind: \":1\", tls: { client_ca: a } }"),
         "t:1:38: error: listeners.web.tls: the key \"certs\" is missing: Certificates with their "
         "chains (PEM): files, whose keys are beside them as NAME.key, or directories of those. "
         "The name that a client asks for picks one, else the first."},
        {LISTENER("{ bind: \":1\", tls: { certs: a, client_auth: optional } }"),
         "t:1:63: error: listeners.web.tls.client_auth: only for a listener with client_ca"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, min_version: 1.1 } }"),
         "t:1:63: error: listeners.web.tls.min_version: expected one of 1.2, 1.3; found the number "
         "1.1; did you mean \"1.2\"?"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, alpn: [h2, h2] } }"),
         "t:1:61: error: listeners.web.tls.alpn: \"h2\" is listed twice"},
        {LISTENER("{ bind: \":1\", tls: { certs: a, keylog: k } }"),
         "t:1:58: warning: listeners.web.tls: whoever can read \"k\" can read all that is sent on "
         "this listener"},
        {LISTENER("{ bind: \":1\", tls: a, redirect_https: true }"),
         "t:1:57: error: listeners.web: redirect_https would redirect to itself: it is for a "
         "listener without tls"});
}

static void test_proxy_protocol_of_clients(void **state)
{
    CASES({LISTENER("{ bind: \":1\", proxy_protocol: {} }"),
           "t:1:49: error: listeners.web.proxy_protocol: the key \"from\" is missing: Peers that "
           "have to begin with the header; others are served without one."},
          {LISTENER("{ bind: \":1\", proxy_protocol: { from: [] } }"),
           "t:1:57: error: listeners.web.proxy_protocol.from: expected at least one network"},
          {LISTENER("{ bind: \":1\", proxy_protocol: unix }"),
           "t:1:49: warning: listeners.web: expects a PROXY header from \"unix\", where no peer of "
           "\":1\" comes from"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener_addresses),
        cmocka_unit_test(test_socket_path_has_to_fit),
        cmocka_unit_test(test_one_address_for_two_listeners),
        cmocka_unit_test(test_trusted_proxies),
        cmocka_unit_test(test_tls_of_listeners),
        cmocka_unit_test(test_proxy_protocol_of_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
