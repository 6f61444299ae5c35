/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a good file becomes: defaults, every key, short forms; and the other ways to give one.
 */
#include "tests/unit/test_config.h"

#include <fcntl.h>
#include <unistd.h>

#include "proxy/base/check.h"

static void test_smallest_file_has_every_default(void **state)
{
    (void)state;
    struct config *c = load_good(REST);
    assert_int_equal(c->version, 1);
    assert_int_equal(c->workers, 0);
    assert_int_equal(c->shutdown_ms, 30000);
    assert_false(c->admin.enabled);
    assert_int_equal(c->log_level, CONFIG_LOG_INFO);
    assert_false(c->access_log.enabled);
    assert_int_equal(c->limits.connections, 20000);
    assert_int_equal(c->limits.header_bytes, 32 * 1024);
    assert_int_equal(c->limits.headers, 100);
    assert_int_equal(c->limits.target_bytes, 8 * 1024);
    assert_true(c->limits.body_bytes == CONFIG_NONE);
    assert_int_equal(c->limits.buffer, 64 * 1024);
    assert_int_equal(c->timeouts.request_head, 10000);
    assert_int_equal(c->timeouts.client_idle, 75000);
    assert_int_equal(c->timeouts.request_body, 60000);
    assert_int_equal(c->timeouts.response_head, 60000);
    assert_int_equal(c->timeouts.response_idle, 60000);
    assert_true(c->timeouts.request == CONFIG_NONE);
    assert_int_equal(c->timeouts.upgraded, 3600000);
    assert_int_equal(c->timeouts.write_stall, 60000);
    config_free(c);
}

static void test_smallest_listener_route_and_pool(void **state)
{
    (void)state;
    struct config *c = load_good(REST);
    assert_int_equal(c->listener_count, 1);
    const struct config_listener *l = &c->listeners[0];
    assert_string_equal(l->name, "web");
    assert_string_equal(l->bind.text, ":8000");
    assert_string_equal(l->bind.host, "");
    assert_int_equal(l->bind.port, 8000);
    assert_int_equal(l->trusted_count, 0);
    assert_false(l->forwarded);
    assert_false(l->via);
    assert_int_equal(c->route_count, 1);
    const struct config_route *r = &c->routes[0];
    assert_string_equal(r->name, "route-1");
    assert_int_equal(r->match.host_count + r->match.method_count + r->match.header_count, 0);
    assert_null(r->match.path.exact);
    assert_null(r->match.path.prefix);
    assert_int_equal(r->to_count, 1);
    assert_string_equal(r->to[0].name, "app");
    assert_int_equal(r->to[0].pool, 0);
    assert_int_equal(r->to[0].weight, 1);
    assert_true(r->request_ms == CONFIG_NONE);
    assert_int_equal(r->try_ms, 60000);
    assert_int_equal(r->retry.attempts, 1);
    assert_int_equal(c->pool_count, 1);
    const struct config_pool *p = &c->pools[0];
    assert_string_equal(p->name, "app");
    assert_string_equal(p->balance.policy, "p2c");
    assert_false(p->balance.key.enabled);
    assert_int_equal(p->slow_start_ms, 0);
    assert_int_equal(p->connect_ms, 1000);
    assert_int_equal(p->idle_ms, 55000);
    assert_int_equal(p->max_idle, 256);
    assert_int_equal(p->ping_ms, 30000);
    assert_int_equal(p->endpoint_count, 1);
    assert_int_equal(p->endpoints[0].weight, 1);
    assert_string_equal(p->endpoints[0].address.host, "127.0.0.1");
    assert_int_equal(p->endpoints[0].address.port, 8080);
    config_free(c);
}

/* Every key once, none with its default. */
static const char everything[] =
    "version: 1\n"
    "workers: 3\n"
    "shutdown: 0s\n"
    "admin: { listen: \":9901\" }\n"
    "log: { level: error }\n"
    "access_log: { path: /tmp/a.log, format: \"{status} $$x\" }\n"
    "limits:\n"
    "  connections: 10\n"
    "  header_bytes: 2KiB\n"
    "  headers: 256\n"
    "  target_bytes: 64B\n"
    "  body_bytes: 3GB\n"
    "  buffer: 4096B\n"
    "timeouts:\n"
    "  request_head: 1ms\n"
    "  client_idle: 2s\n"
    "  request_body: 3m\n"
    "  response_head: 4h\n"
    "  response_idle: 5s\n"
    "  request: 6s\n"
    "  upgraded: 7s\n"
    "  write_stall: 8s\n"
    "  tls_handshake: 9s\n"
    "listeners:\n"
    "  v6: { bind: \"[::1]:0\", via: true, forwarded: true }\n"
    "  sock:\n"
    "    bind: \"unix:/run/weir.sock\"\n"
    "    mode: \"600\"\n"
    "    trusted_proxies: unix\n"
    "  lb:\n"
    "    bind: 0.0.0.0:80\n"
    "    trusted_proxies: [10.0.0.0/8, \"fe80::/10\", \"::1\"]\n"
    "    redirect_https: true\n"
    "    proxy_protocol: { from: [10.0.0.0/8, \"::1\"] }\n"
    "  tls:\n"
    "    bind: :443\n"
    "    tls:\n"
    "      certs: [/etc/weir/certs/, a.pem]\n"
    "      client_ca: ca.pem\n"
    "      client_auth: optional\n"
    "      min_version: 1.3\n"
    "      ocsp: /a b.der\n"
    "      alpn: [http/1.1]\n"
    "routes:\n"
    "  - name: first\n"
    "    match:\n"
    "      host: [Shop.Example, \"*.shop.example\", \"[0:0::1]\"]\n"
    "      path: { exact: /a }\n"
    "      method: [GET, M-SEARCH]\n"
    "      headers: { X-Tier: gold, x-b: \"\" }\n"
    "    to: { b: 0, a: 1000000 }\n"
    "    timeout: { request: none, try: 9s }\n"
    "    retry: { attempts: 10 }\n"
    "  - match: { host: one.example, path: /p, method: PUT }\n"
    "    to: a\n"
    "  - match: { path: { prefix: /q/ } }\n"
    "    to: { b: 1, c: 1, d: 1 }\n"
    "pools:\n"
    "  a:\n"
    "    - localhost:1\n"
    "    - { address: \"[fd00::7]:65535\", weight: 1000 }\n"
    "    - \"unix:/run/a b.sock\"\n"
    "  b:\n"
    "    endpoints: [{ address: a_b.example:80, weight: 0 }, 1.2.3.4:5]\n"
    "    balance: least_conn\n"
    "    upstream: { connect: 10ms, idle: 1h, max_idle: 0, ping: none, protocol: h1, "
    "proxy_protocol: v2,\n"
    "      tls: { sni: B.example, ca: b.pem, cert: c.pem, key: k.pem } }\n"
    "  c: { endpoints: [c:1], upstream: { protocol: h2, tls: true } }\n"
    "  d: { endpoints: [d:1], upstream: { tls: false } }\n";

static void test_every_key_of_the_process(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->shutdown_ms, 0);
    assert_true(c->admin.enabled);
    assert_string_equal(c->admin.listen.host, "127.0.0.1");
    assert_int_equal(c->admin.listen.port, 9901);
    assert_int_equal(c->log_level, CONFIG_LOG_ERROR);
    assert_true(c->access_log.enabled);
    assert_string_equal(c->access_log.path, "/tmp/a.log");
    assert_int_equal(c->access_log.format.kind, CONFIG_FORMAT_TEMPLATE);
    assert_string_equal(c->access_log.format.text, "{status} $x");
    assert_int_equal(c->limits.connections, 10);
    assert_int_equal(c->limits.header_bytes, 2048);
    assert_int_equal(c->limits.headers, 256);
    assert_int_equal(c->limits.target_bytes, 64);
    assert_int_equal(c->limits.body_bytes, UINT64_C(3000000000));
    assert_int_equal(c->limits.buffer, 4096);
    assert_int_equal(c->timeouts.request_head, 1);
    assert_int_equal(c->timeouts.client_idle, 2000);
    assert_int_equal(c->timeouts.request_body, 180000);
    assert_int_equal(c->timeouts.response_head, 4 * 3600000);
    assert_int_equal(c->timeouts.response_idle, 5000);
    assert_int_equal(c->timeouts.request, 6000);
    assert_int_equal(c->timeouts.upgraded, 7000);
    assert_int_equal(c->timeouts.write_stall, 8000);
    assert_int_equal(c->timeouts.tls_handshake, 9000);
    config_free(c);
}

static void test_every_key_of_listeners(void **state)
{
    (void)state;
    static const uint8_t loopback[16] = {[15] = 1}, ten[4] = {10};
    struct config *c = load_good(everything);
    assert_int_equal(c->listener_count, 4);
    const struct config_listener *v6 = &c->listeners[0], *sock = &c->listeners[1],
                                 *lb = &c->listeners[2];
    assert_int_equal(v6->bind.kind, CONFIG_ADDR_TCP);
    assert_string_equal(v6->bind.host, "::1");
    assert_int_equal(v6->bind.port, 0);
    assert_true(v6->via && v6->forwarded);
    assert_int_equal(sock->bind.kind, CONFIG_ADDR_UNIX);
    assert_string_equal(sock->bind.path, "/run/weir.sock");
    assert_null(sock->bind.host);
    assert_int_equal(sock->mode, 0600);
    assert_int_equal(sock->trusted_count, 1);
    assert_int_equal(sock->trusted[0].kind, CONFIG_CIDR_UNIX);
    assert_int_equal(lb->trusted_count, 3);
    assert_int_equal(lb->trusted[0].kind, CONFIG_CIDR_V4);
    assert_int_equal(lb->trusted[0].bits, 8);
    assert_memory_equal(lb->trusted[0].addr, ten, 4);
    assert_int_equal(lb->trusted[1].kind, CONFIG_CIDR_V6);
    assert_int_equal(lb->trusted[1].bits, 10);
    assert_int_equal(lb->trusted[2].bits, 128);
    assert_memory_equal(lb->trusted[2].addr, loopback, 16);
    assert_true(lb->redirect_https.enabled && lb->proxy_protocol.enabled && !lb->tls.enabled);
    assert_int_equal(lb->redirect_https.port, 443);
    assert_false(v6->redirect_https.enabled || v6->proxy_protocol.enabled);
    assert_int_equal(lb->proxy_protocol.from_count, 2);
    assert_memory_equal(lb->proxy_protocol.from[1].addr, loopback, 16);
    config_free(c);
}

static void test_every_key_of_tls(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    const struct config_tls_server *tls = &c->listeners[3].tls;
    assert_true(tls->enabled);
    assert_int_equal(tls->cert_count, 2);
    assert_string_equal(tls->certs[0].text, "/etc/weir/certs/");
    assert_string_equal(tls->certs[1].text, "a.pem");
    assert_string_equal(tls->client_ca.text, "ca.pem");
    assert_int_equal(tls->client_auth, CONFIG_CLIENT_OPTIONAL);
    assert_int_equal(tls->min_version, CONFIG_TLS_1_3);
    assert_string_equal(tls->ocsp.text, "/a b.der");
    assert_null(tls->keylog.text);
    assert_int_equal(tls->alpn_count, 1);
    assert_string_equal(tls->alpn[0].text, "http/1.1");
    config_free(c);
}

static void test_defaults_of_tls(void **state)
{
    (void)state;
    struct config *c =
        load_good("version: 1\nlisteners: { web: { bind: \":443\", tls: a.pem } }\n" ROUTES
                  "pools: { app: { endpoints: [app:1], upstream: { tls: {} } } }\n");
    const struct config_tls_server *tls = &c->listeners[0].tls;
    const struct config_tls_client *up = &c->pools[0].tls;
    assert_true(tls->enabled);
    assert_int_equal(tls->cert_count, 1);
    assert_null(tls->client_ca.text);
    assert_int_equal(tls->min_version, CONFIG_TLS_1_2);
    assert_int_equal(tls->alpn_count, 0);
    assert_int_equal(c->timeouts.tls_handshake, 10000);
    assert_true(up->enabled && up->verify);
    assert_null(up->sni);
    assert_null(up->ca.text);
    assert_int_equal(c->pools[0].protocol, CONFIG_PROTOCOL_AUTO);
    assert_int_equal(c->pools[0].proxy_protocol, CONFIG_PROXY_NONE);
    config_free(c);
}

static void test_every_key_of_routes(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    const struct config_route *r = c->routes;
    assert_int_equal(c->route_count, 3);
    assert_string_equal(r[0].name, "first");
    assert_int_equal(r[0].match.host_count, 3);
    assert_string_equal(r[0].match.hosts[0].text, "shop.example");
    assert_string_equal(r[0].match.hosts[1].text, "*.shop.example");
    assert_string_equal(r[0].match.hosts[2].text, "[::1]");
    assert_string_equal(r[0].match.path.exact, "/a");
    assert_null(r[0].match.path.prefix);
    assert_int_equal(r[0].match.method_count, 2);
    assert_string_equal(r[0].match.methods[1].text, "M-SEARCH");
    assert_int_equal(r[0].match.header_count, 2);
    assert_string_equal(r[0].match.headers[0].name, "x-tier");
    assert_string_equal(r[0].match.headers[0].value, "gold");
    assert_string_equal(r[0].match.headers[1].value, "");
    assert_int_equal(r[0].to_count, 2);
    assert_string_equal(r[0].to[0].name, "b");
    assert_int_equal(r[0].to[0].pool, 1);
    assert_int_equal(r[0].to[0].weight, 0);
    assert_int_equal(r[0].to[1].pool, 0);
    assert_int_equal(r[0].to[1].weight, 1000000);
    assert_true(r[0].request_ms == CONFIG_NONE);
    assert_int_equal(r[0].try_ms, 9000);
    assert_int_equal(r[0].retry.attempts, 10);
    assert_string_equal(r[1].name, "route-2");
    assert_string_equal(r[1].match.path.prefix, "/p");
    assert_string_equal(r[1].match.hosts[0].text, "one.example");
    assert_string_equal(r[1].match.methods[0].text, "PUT");
    assert_int_equal(r[1].request_ms, 6000);
    assert_int_equal(r[1].try_ms, 4 * 3600000);
    assert_string_equal(r[2].match.path.prefix, "/q/");
    config_free(c);
}

static void test_every_key_of_pools(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    assert_int_equal(c->pool_count, 4);
    const struct config_pool *a = &c->pools[0], *b = &c->pools[1];
    assert_int_equal(a->endpoint_count, 3);
    assert_string_equal(a->endpoints[0].address.host, "localhost");
    assert_string_equal(a->endpoints[1].address.host, "fd00::7");
    assert_int_equal(a->endpoints[1].address.port, 65535);
    assert_int_equal(a->endpoints[1].weight, 1000);
    assert_int_equal(a->endpoints[2].address.kind, CONFIG_ADDR_UNIX);
    assert_string_equal(a->endpoints[2].address.path, "/run/a b.sock");
    assert_string_equal(b->endpoints[0].address.host, "a_b.example");
    assert_int_equal(b->endpoints[0].weight, 0);
    assert_string_equal(b->balance.policy, "least_conn");
    assert_int_equal(b->connect_ms, 10);
    assert_int_equal(b->idle_ms, 3600000);
    assert_int_equal(b->max_idle, 0);
    assert_int_equal(b->ping_ms, 0);
    assert_int_equal(b->protocol, CONFIG_PROTOCOL_H1);
    assert_int_equal(b->proxy_protocol, CONFIG_PROXY_V2);
    assert_true(b->tls.enabled && b->tls.verify);
    assert_string_equal(b->tls.sni, "B.example");
    assert_string_equal(b->tls.ca.text, "b.pem");
    assert_string_equal(b->tls.cert.text, "c.pem");
    assert_string_equal(b->tls.key.text, "k.pem");
    assert_int_equal(c->pools[2].protocol, CONFIG_PROTOCOL_H2);
    assert_true(c->pools[2].tls.enabled);
    assert_false(a->tls.enabled || c->pools[3].tls.enabled);
    config_free(c);
}

static void check_pos(struct config_pos pos, uint32_t line, uint32_t column)
{
    assert_string_equal(pos.file, "t");
    assert_int_equal(pos.line, line);
    assert_int_equal(pos.column, column);
}

static void test_everything_knows_where_it_was_written(void **state)
{
    (void)state;
    struct config *c = load_good(everything);
    check_pos(c->pos, 1, 1);
    check_pos(c->admin.listen.pos, 4, 18);
    check_pos(c->access_log.format.pos, 6, 41);
    check_pos(c->listeners[1].pos, 26, 3);
    check_pos(c->listeners[1].bind.pos, 27, 11);
    check_pos(c->listeners[1].trusted[0].pos, 29, 22);
    check_pos(c->listeners[2].trusted[1].pos, 32, 35);
    check_pos(c->routes[0].pos, 45, 5);
    check_pos(c->routes[0].match.hosts[1].pos, 47, 28);
    check_pos(c->routes[0].match.headers[1].pos, 50, 32);
    check_pos(c->routes[0].to[1].pos, 51, 17);
    check_pos(c->pools[1].pos, 63, 3);
    check_pos(c->pools[0].endpoints[1].address.pos, 61, 18);
    check_pos(c->pools[0].endpoints[2].address.pos, 62, 7);
    config_free(c);
}

static void test_everything_survives_a_dump(void **state)
{
    (void)state;
    check_reload(everything);
}

static void test_default_is_where_its_mapping_is(void **state)
{
    (void)state;
    struct config *c = load_good("admin: {}\n" REST);
    assert_true(c->admin.enabled);
    assert_string_equal(c->admin.listen.text, "127.0.0.1:9900");
    check_pos(c->admin.listen.pos, 1, 8);
    config_free(c);
}

static void test_short_forms_mean_the_long_ones(void **state)
{
    (void)state;
    static const struct {
        const char *brief, *full;
    } pairs[] = {
        {"log: debug\n" REST, "log: { level: debug }\n" REST},
        {"access_log: /dev/stdout\n" REST,
         "access_log: { path: /dev/stdout, format: json }\n" REST},
        {REST, "version: 1\nlisteners: { web: { bind: \":8000\" } }\n" ROUTES POOLS},
        {REST, "version: 1\n" LISTENERS "routes: [{ to: { app: 1 } }]\n" POOLS},
        {REST, "version: 1\n" LISTENERS ROUTES "pools: { app: { endpoints: "
               "[{ address: 127.0.0.1:8080, weight: 1 }] } }\n"},
        {"version: 1\nlisteners: { web: { bind: \":1\", tls: a, proxy_protocol: \"::1\" } "
         "}\n" ROUTES "pools: { app: { endpoints: [a:1], upstream: { tls: true } } }\n",
         "version: 1\nlisteners: { web: { bind: \":1\", tls: { certs: [a] }, "
         "proxy_protocol: { from: [\"::1\"] } } }\n" ROUTES
         "pools: { app: { endpoints: [a:1], upstream: { tls: { enabled: true } } } }\n"},
        {"version: 1\n" LISTENERS "routes: [{ to: app, match: { path: /x, host: a.b, method: GET } "
         "}]\n" POOLS,
         "version: 1\n" LISTENERS "routes: [{ to: app, match: { path: { prefix: /x }, "
         "host: [a.b], method: [GET] } }]\n" POOLS},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct config *brief = load_good(pairs[i].brief), *full = load_good(pairs[i].full);
        char *x = dump_text(brief), *y = dump_text(full);
        assert_string_equal(x, y);
        free(x);
        free(y);
        config_free(brief);
        config_free(full);
    }
}

static void test_anchors_and_aliases_share_values(void **state)
{
    (void)state;
    struct config *c = load_good("version: 1\n" LISTENERS "routes: [{ to: a }, "
                                 "{ match: { path: /b }, to: b }]\n"
                                 "pools:\n  a: &p [127.0.0.1:80, &e 127.0.0.1:81]\n  b: *p\n"
                                 "timeouts: { request: &t 5s, upgraded: *t }\n");
    assert_int_equal(c->pools[1].endpoint_count, 2);
    assert_string_equal(c->pools[1].endpoints[1].address.text, "127.0.0.1:81");
    assert_int_equal(c->timeouts.upgraded, 5000);
    config_free(c);
}

static void test_byte_order_mark_is_skipped(void **state)
{
    (void)state;
    config_free(load_good("\xef\xbb\xbf" REST));
}

static void test_command_line_makes_a_configuration(void **state)
{
    (void)state;
    static const char *const to[] = {"127.0.0.1:8080", "unix:/run/${x}.sock"};
    struct config_errors errs = {0};
    struct config *c;
    assert_int_equal(config_load_proxy(":8000", to, 2, &c, &errs), 0);
    assert_int_equal(errs.count, 0);
    assert_string_equal(c->pos.file, "(command line)");
    assert_string_equal(c->listeners[0].bind.text, ":8000");
    assert_int_equal(c->pools[0].endpoint_count, 2);
    assert_string_equal(c->pools[0].endpoints[0].address.text, "127.0.0.1:8080");
    assert_string_equal(c->pools[0].endpoints[1].address.path, "/run/${x}.sock");
    assert_int_equal(c->routes[0].to[0].pool, 0);
    assert_false(c->admin.enabled);
    config_free(c);
}

static void check_command_line(const char *from, const char *const *to, size_t count,
                               const char *expected)
{
    struct config_errors errs = {0};
    struct config *c;
    assert_int_equal(config_load_proxy(from, to, count, &c, &errs), -1);
    assert_null(c);
    char *said = messages_text(&errs);
    assert_string_equal(said, expected);
    free(said);
}

static void test_command_line_names_the_wrong_option(void **state)
{
    (void)state;
    static const char *const to[] = {"app", "127.0.0.1:0"};
    static const char *const binary[] = {"\xff:80"};
    check_command_line(
        "8000", to, 2,
        "(command line): error: --from: expected an address such as \":8000\", "
        "127.0.0.1:8000 or \"unix:/run/weir.sock\"; found \"8000\", which has no "
        "port\n"
        "(command line): error: --to: expected an address such as 127.0.0.1:8080, "
        "\"[::1]:8080\" or \"unix:/run/app.sock\"; found \"app\", which has no port\n"
        "(command line): error: --to: \"127.0.0.1:0\": the port has to be a number "
        "from 1 to 65535\n");
    check_command_line(":8000", NULL, 0,
                       "(command line): error: --to: expected at least one endpoint, such as "
                       "127.0.0.1:8080\n");
    check_command_line(":8000", binary, 1, "(command line): error: --to: not UTF-8 text\n");
}

static void test_file_is_loaded_under_its_name(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, REST, strlen(REST)), (ssize_t)strlen(REST));
    close(fd);
    struct config_errors errs = {0};
    struct config *c;
    assert_int_equal(config_load_file(path, &c, &errs), 0);
    unlink(path);
    assert_int_equal(errs.count, 0);
    assert_string_equal(c->routes[0].pos.file, path);
    config_free(c);
}

static void test_file_that_cannot_be_read(void **state)
{
    (void)state;
    struct config_errors errs = {0};
    struct config *c;
    assert_int_equal(config_load_file("/nonexistent/weir.yaml", &c, &errs), -1);
    assert_null(c);
    assert_int_equal(config_load_file("/", &c, &errs), -1);
    assert_null(c);
    char *said = messages_text(&errs);
    assert_string_equal(said, "/nonexistent/weir.yaml: error: cannot be opened: No such file or "
                              "directory\n/: error: cannot be read: Is a directory\n");
    free(said);
}

static void test_manual_tells_shape_range_and_default(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    config_manual(out);
    assert_int_equal(fclose(out), 0);
    static const char *const lines[] = {
        ".B workers\n\\fIinteger, 1 to 256, or auto; default auto\\fR.\n",
        ".B listeners\n\\fImapping from names to mappings; required\\fR.\n",
        ".B timeouts.request\n\\fIduration, 1ms to 8760h, or none; default none\\fR.\n",
        ".B listeners.NAME.mode\n\\fImode; default 0660\\fR.\n",
        "\nOnly for a listener on a unix: socket.\n",
        ".B routes[].match.host\n\\fIlist of string; one alone will do\\fR.\n",
        (".B routes[].timeout.try\n\\fIduration, 1ms to 8760h; default as "
         "timeouts.response_head\\fR.\n"),
        ".B pools.NAME.balance\n\\fImapping, or its policy alone\\fR.\n",
        (".B pools.NAME.balance.policy\n\\fIone of p2c, round_robin, least_conn, random, "
         "peak_ewma, "
         "ring_hash, maglev; default p2c\\fR.\n"),
        ".B pools.NAME.balance.bound\n\\fIpercentage, 101% to 10000%, or none; default none\\fR.\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        assert_non_null(strstr(text, lines[i]));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_file_has_every_default),
        cmocka_unit_test(test_smallest_listener_route_and_pool),
        cmocka_unit_test(test_every_key_of_the_process),
        cmocka_unit_test(test_every_key_of_listeners),
        cmocka_unit_test(test_every_key_of_routes),
        cmocka_unit_test(test_every_key_of_pools),
        cmocka_unit_test(test_every_key_of_tls),
        cmocka_unit_test(test_defaults_of_tls),
        cmocka_unit_test(test_everything_knows_where_it_was_written),
        cmocka_unit_test(test_everything_survives_a_dump),
        cmocka_unit_test(test_default_is_where_its_mapping_is),
        cmocka_unit_test(test_short_forms_mean_the_long_ones),
        cmocka_unit_test(test_anchors_and_aliases_share_values),
        cmocka_unit_test(test_byte_order_mark_is_skipped),
        cmocka_unit_test(test_command_line_makes_a_configuration),
        cmocka_unit_test(test_command_line_names_the_wrong_option),
        cmocka_unit_test(test_file_is_loaded_under_its_name),
        cmocka_unit_test(test_file_that_cannot_be_read),
        cmocka_unit_test(test_manual_tells_shape_range_and_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
