/* SPDX-License-Identifier: Apache-2.0 */
/* Fetching over real sockets from a server on another thread, which plays what a test wrote. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/addr.h"
#include "proxy/upstream/fetch.h"

#define BYTES 65536

/* ---- URLs ---- */

static void check_url(const char *text, bool tls, const char *host, unsigned port, const char *path,
                      const char *authority)
{
    struct fetch_url url;
    char out[FETCH_AUTHORITY];
    const char *why;
    assert_true(fetch_url_parse(&url, text, &why));
    assert_int_equal(url.tls, tls);
    assert_string_equal(url.host, host);
    assert_int_equal(url.port, port);
    assert_string_equal(url.path, path);
    assert_string_equal(fetch_url_authority(&url, out), authority);
}

static void test_urls_are_read(void **state)
{
    (void)state;
    check_url("http://a", false, "a", 80, "", "a");
    check_url("HTTPS://A.Example/", true, "a.example", 443, "", "a.example");
    check_url("https://[::1]:6443/k8s/c-1//", true, "::1", 6443, "/k8s/c-1", "[::1]:6443");
    check_url("http://127.0.0.1:80/x", false, "127.0.0.1", 80, "/x", "127.0.0.1");
    check_url("https://[fd00::1]", true, "fd00::1", 443, "", "[fd00::1]");
}

static void test_what_is_no_url_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "it begins with neither http:// nor https://"},
        {"ftp://a", "it begins with neither http:// nor https://"},
        {"http://", "its host is neither a name nor an address"},
        {"http:///a", "its host is neither a name nor an address"},
        {"http://a b", "its host is neither a name nor an address"},
        {"http://[::1", "its host is neither a name nor an address"},
        {"http://[a]", "its host is neither a name nor an address"},
        {"http://[::1]x", "its host is neither a name nor an address"},
        {"http://me:secret@a", "it has a user or a password, which does not go there"},
        {"http://a:", "its port is not a number from 1 to 65535"},
        {"http://a:0", "its port is not a number from 1 to 65535"},
        {"http://a:65536", "its port is not a number from 1 to 65535"},
        {"http://a:99999999999", "its port is not a number from 1 to 65535"},
        {"http://a?b", "it has a query or a fragment, which does not go there"},
        {"http://a/b?c", "it has a query or a fragment, which does not go there"},
        {"http://a/b c", "its path has a byte that has to be escaped (%20)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fetch_url url;
        const char *why = NULL;
        assert_false(fetch_url_parse(&url, cases[i][0], &why));
        assert_string_equal(why, cases[i][1]);
    }
}

/* ---- the rig ---- */

/* Takes one conn, reads until the request is there, sends each part, and closes. */
struct server {
    pthread_t thread;
    int fd;
    uint16_t port;
    const char *wanted;   /* what the request ends with */
    const char *parts[4]; /* one write each */
    size_t flood;         /* bytes of 'x' behind them */
    bool silent;          /* it answers nothing, and waits for the client's end */
    char request[BYTES];
    size_t len;
};

static void flood(int fd, size_t n)
{
    char bytes[4096];
    memset(bytes, 'x', sizeof(bytes));
    for (ssize_t sent = 1; n > 0 && sent > 0; n -= sent > 0 ? (size_t)sent : 0)
        sent = send(fd, bytes, n < sizeof(bytes) ? n : sizeof(bytes), MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    ssize_t n = 1;
    while (n > 0 && strstr(s->request, s->wanted) == NULL) {
        n = read(fd, s->request + s->len, sizeof(s->request) - 1 - s->len);
        s->len += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(s->parts) && s->parts[i] != NULL; i++)
        if (send(fd, s->parts[i], strlen(s->parts[i]), MSG_NOSIGNAL) < 0)
            break;
    flood(fd, s->flood);
    while (s->silent && read(fd, s->request, 1) > 0)
        ;
    close(fd);
    return NULL;
}

static void server_listen(struct server *s)
{
    struct net_addr at;
    socklen_t len = sizeof(at.u);
    assert_true(net_addr_ip(&at, "127.0.0.1", 0));
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, &at.u.sa, at.len), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, &at.u.sa, &len), 0);
    s->port = net_addr_port(&at);
    if (s->wanted == NULL)
        s->wanted = "\r\n\r\n";
}

static void server_start(struct server *s)
{
    server_listen(s);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* What came of a fetch. */
struct rig {
    struct reactor r;
    struct fetch_client *client;
    struct fetch *fetch;
    unsigned status, heads, ends, gone;
    uint32_t retry_after_ms;
    char type[64];
    char body[BYTES];
    size_t len;
    size_t cancel_at; /* bytes; 0: never */
    bool cancel_head; /* at the head of the answer */
    bool whole;       /* of an answer */
    char why[512];    /* "": it is complete */
};

/* The rig ends with what it asked for. */
static void leave(struct rig *rig)
{
    fetch_client_end(rig->client);
    rig->client = NULL;
}

static void on_head(void *ctx, const struct fetch_head *head)
{
    struct rig *rig = ctx;
    rig->heads++;
    rig->status = head->status;
    rig->retry_after_ms = head->retry_after_ms;
    snprintf(rig->type, sizeof(rig->type), "%.*s", (int)head->content_type.len,
             head->content_type.ptr);
    if (rig->cancel_head)
        leave(rig);
}

static void on_data(void *ctx, struct span bytes)
{
    struct rig *rig = ctx;
    assert_true(bytes.len > 0);
    size_t n = bytes.len < BYTES - rig->len ? bytes.len : BYTES - rig->len;
    memcpy(rig->body + rig->len, bytes.ptr, n);
    rig->len += n;
    if (rig->cancel_at > 0 && rig->len >= rig->cancel_at)
        leave(rig);
}

static void on_end(void *ctx, const char *why)
{
    struct rig *rig = ctx;
    rig->ends++;
    if (why != NULL)
        snprintf(rig->why, sizeof(rig->why), "%s", why);
    leave(rig);
}

static void on_gone(void *ctx)
{
    ((struct rig *)ctx)->gone++;
}

static const struct fetch_events events = {
    .head = on_head, .data = on_data, .end = on_end, .gone = on_gone};

static void on_whole(void *ctx, const struct fetch_answer *answer)
{
    struct rig *rig = ctx;
    rig->ends++;
    rig->status = answer->head.status;
    assert_int_equal(answer->body.ptr[answer->body.len], 0);
    rig->len = answer->body.len;
    memcpy(rig->body, answer->body.ptr, rig->len);
    snprintf(rig->why, sizeof(rig->why), "%s", answer->why != NULL ? answer->why : "");
    leave(rig);
}

static struct rig *rig_new(const char *url_text)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct fetch_url url;
    const char *why;
    assert_int_equal(reactor_init(&rig->r), 0);
    assert_true(fetch_url_parse(&url, url_text, &why));
    rig->client = fetch_client_new(&rig->r, &url);
    return rig;
}

static struct rig *rig_at(const char *host, uint16_t port, const char *path)
{
    char url[256];
    snprintf(url, sizeof(url), "http://%s:%u%s", host, port, path);
    return rig_new(url);
}

static void rig_free(struct rig *rig)
{
    reactor_fini(&rig->r);
    free(rig);
}

static const struct fetch_request get = {.method = SPAN_LIT("GET"), .target = SPAN_LIT("/a?b=c")};

static void run(struct rig *rig, const struct fetch_request *request)
{
    rig->fetch = rig->whole ? fetch_whole(rig->client, request, 100, on_whole, rig)
                            : fetch_begin(rig->client, request, &events, rig);
    assert_int_equal(rig->ends + rig->heads, 0);
    reactor_run(&rig->r);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/x\r\n\r\n"

/* ---- answers ---- */

static void test_a_request_is_written_exactly_and_its_answer_comes_in_pieces(void **state)
{
    struct server s = {.parts = {CHUNKED, "3\r\nabc\r\n", "2\r\nde\r\n0\r\n\r\n"}};
    char wanted[512];
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "/base/");
    run(rig, &get);
    server_end(&s);
    snprintf(wanted, sizeof(wanted),
             "GET /base/a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: weir/" WEIR_VERSION
             "\r\nConnection: close\r\n\r\n",
             s.port);
    assert_string_equal(s.request, wanted);
    assert_int_equal(rig->status, 200);
    assert_string_equal(rig->type, "text/x");
    assert_int_equal(rig->len, 5);
    assert_memory_equal(rig->body, "abcde", 5);
    assert_string_equal(rig->why, "");
    assert_int_equal(rig->heads + rig->ends + rig->gone, 3);
    rig_free(rig);
}

static void test_a_body_and_fields_go_along(void **state)
{
    struct server s = {
        .wanted = "{\"a\":1}",
        .parts = {"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n", "no"}};
    const struct fetch_field fields[] = {{SPAN_LIT("Authorization"), SPAN_LIT("Bearer x")}};
    const struct fetch_request post = {.method = SPAN_LIT("POST"),
                                       .target = SPAN_LIT("/v3"),
                                       .fields = fields,
                                       .n_fields = 1,
                                       .body = SPAN_LIT("{\"a\":1}")};
    char wanted[512];
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    run(rig, &post);
    server_end(&s);
    snprintf(wanted, sizeof(wanted),
             "POST /v3 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: weir/" WEIR_VERSION
             "\r\nAuthorization: Bearer x\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
             "{\"a\":1}",
             s.port);
    assert_string_equal(s.request, wanted);
    assert_int_equal(rig->status, 429);
    assert_int_equal(rig->retry_after_ms, 7000);
    assert_string_equal(rig->why, "");
    rig_free(rig);
}

static void test_a_name_is_looked_up(void **state)
{
    struct server s = {.parts = {"HTTP/1.1 204 No Content\r\n\r\n"}};
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("localhost", s.port, ""); /* of /etc/hosts */
    run(rig, &get);
    server_end(&s);
    assert_string_equal(rig->why, "");
    assert_int_equal(rig->status, 204);
    rig_free(rig);
}

static void test_a_whole_answer_is_bounded(void **state)
{
    struct server s = {.parts = {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"}, .flood = 100};
    struct server more = {.parts = {"HTTP/1.1 200 OK\r\n\r\n"}, .flood = (size_t)64 << 20};
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    rig->whole = true;
    run(rig, &get);
    server_end(&s);
    assert_string_equal(rig->why, "");
    assert_int_equal(rig->len, 100);
    rig_free(rig);
    server_start(&more);
    rig = rig_at("127.0.0.1", more.port, "");
    rig->whole = true;
    run(rig, &get);
    server_end(&more);
    char wanted[100];
    snprintf(wanted, sizeof(wanted), "127.0.0.1:%u: the answer has more than 100 bytes", more.port);
    assert_string_equal(rig->why, wanted);
    assert_int_equal(rig->ends, 1);
    rig_free(rig);
}

/* ---- ends ---- */

static void test_it_is_cancelled_from_within_its_own_event(void **state)
{
    struct server s = {.parts = {CHUNKED, "3\r\nabc\r\n3\r\nabc\r\n"}, .flood = 1 << 20};
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    rig->cancel_at = 1;
    run(rig, &get);
    server_end(&s);
    assert_int_equal(rig->ends, 0);
    assert_int_equal(rig->gone, 1);
    assert_null(rig->client);
    rig_free(rig);
}

static void test_it_is_cancelled_at_its_head(void **state)
{
    struct server s = {.parts = {CHUNKED "3\r\nabc\r\n"}, .flood = 1 << 20};
    (void)state;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    rig->cancel_head = true;
    run(rig, &get);
    server_end(&s);
    assert_int_equal(rig->heads, 1);
    assert_int_equal(rig->len + rig->ends, 0);
    assert_int_equal(rig->gone, 1);
    rig_free(rig);
}

static void test_it_is_cancelled_before_it_has_begun(void **state)
{
    (void)state;
    struct rig *rig = rig_at("127.0.0.1", 1, "");
    struct fetch *fetch = fetch_whole(rig->client, &get, 100, on_whole, rig);
    fetch_begin(rig->client, &get, &events, rig);
    fetch_cancel(fetch);
    leave(rig);
    reactor_run(&rig->r);
    assert_int_equal(rig->ends, 0);
    assert_int_equal(rig->gone, 1);
    rig_free(rig);
}

/* Whatever comes, there is one end and a line for people. */
static void check_fails(struct server *s, const struct fetch_request *request, const char *why)
{
    char wanted[256];
    server_start(s);
    struct rig *rig = rig_at("127.0.0.1", s->port, "");
    run(rig, request);
    server_end(s);
    snprintf(wanted, sizeof(wanted), why, s->port);
    assert_string_equal(rig->why, wanted);
    assert_int_equal(rig->ends, 1);
    rig_free(rig);
}

static void test_what_goes_wrong_is_said_in_one_line(void **state)
{
    struct server closes = {.parts = {NULL}};
    struct server cuts = {.parts = {CHUNKED, "5\r\nabc"}};
    struct server odd = {.parts = {"\x15\x03\x03 what\r\n\r\n"}};
    (void)state;
    check_fails(
        &closes, &get,
        "127.0.0.1:%u: the server closed the connection without an answer; see what it logs, "
        "and whether it speaks TLS there (https)");
    check_fails(&cuts, &get,
                "127.0.0.1:%u: the server closed the connection in the middle of its answer");
    check_fails(&odd, &get,
                "127.0.0.1:%u: the answer is no HTTP/1.1; see whether that port speaks TLS, and "
                "whether it is the right one");
}

static void test_time_runs_out(void **state)
{
    struct server silent = {.silent = true};
    struct server stalls = {.parts = {CHUNKED, "3\r\nabc\r\n"}, .silent = true};
    struct fetch_request short_head = get, short_idle = get, short_total = get;
    static const char no_head[] =
        "127.0.0.1:%u: the server takes the request and does not answer; see what it logs";
    (void)state;
    short_idle.idle_ms = 50;
    short_total.total_ms = 50;
    check_fails(&silent, &short_idle, no_head);
    short_head.head_ms = 50;
    short_head.idle_ms = 600000;
    struct server silent_too = {.silent = true};
    check_fails(&silent_too, &short_head, no_head);
    short_idle.idle_ms = 2000; /* its head has to come before that */
    check_fails(&stalls, &short_idle, "127.0.0.1:%u: the server's answer has stalled");
    struct server stalls_too = stalls;
    stalls_too.len = 0;
    memset(stalls_too.request, 0, sizeof(stalls_too.request));
    check_fails(&stalls_too, &short_total, "127.0.0.1: there was no whole answer in time");
}

/* Of one that has ended, and of one that was cancelled, nothing is left in the wheel. */
static void test_a_time_that_was_not_needed(void **state)
{
    struct server s = {.parts = {CHUNKED, "0\r\n\r\n"}};
    struct fetch_request timed = get;
    (void)state;
    timed.total_ms = 60000;
    server_start(&s);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    struct fetch *other = fetch_begin(rig->client, &timed, &events, rig);
    fetch_cancel(other);
    run(rig, &timed);
    server_end(&s);
    assert_string_equal(rig->why, "");
    assert_int_equal(rig->gone, 2);
    struct wheel_timer timer;
    wheel_timer_init(&timer, NULL);
    wheel_set(&rig->r.wheel, &timer, reactor_now(&rig->r) + 60000);
    wheel_remove(&rig->r.wheel, &timer);
    rig_free(rig);
}

static void test_nobody_listens(void **state)
{
    struct server s = {.silent = true};
    char wanted[256];
    (void)state;
    server_listen(&s);
    close(s.fd);
    struct rig *rig = rig_at("127.0.0.1", s.port, "");
    run(rig, &get);
    snprintf(wanted, sizeof(wanted),
             "127.0.0.1:%u: nobody listens there; see whether the server runs, and whether the "
             "port is right",
             s.port);
    assert_string_equal(rig->why, wanted);
    rig_free(rig);
}

static void test_a_ca_that_is_none_changes_nothing(void **state)
{
    char *error = NULL;
    (void)state;
    struct rig *rig = rig_new("https://127.0.0.1:1");
    assert_false(fetch_client_ready(rig->client));
    const struct fetch_tls tls = {.ca_pem = SPAN_LIT("nothing")};
    assert_false(fetch_client_secure(rig->client, &tls, &error));
    assert_string_equal(error, "the CA's data: no certificate in PEM is in this file");
    free(error);
    assert_false(fetch_client_ready(rig->client));
    leave(rig);
    reactor_run(&rig->r);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_are_read),
        cmocka_unit_test(test_what_is_no_url_is_refused_with_the_reason),
        cmocka_unit_test(test_a_request_is_written_exactly_and_its_answer_comes_in_pieces),
        cmocka_unit_test(test_a_body_and_fields_go_along),
        cmocka_unit_test(test_a_name_is_looked_up),
        cmocka_unit_test(test_a_whole_answer_is_bounded),
        cmocka_unit_test(test_it_is_cancelled_from_within_its_own_event),
        cmocka_unit_test(test_it_is_cancelled_at_its_head),
        cmocka_unit_test(test_it_is_cancelled_before_it_has_begun),
        cmocka_unit_test(test_what_goes_wrong_is_said_in_one_line),
        cmocka_unit_test(test_time_runs_out),
        cmocka_unit_test(test_a_time_that_was_not_needed),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_a_ca_that_is_none_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
