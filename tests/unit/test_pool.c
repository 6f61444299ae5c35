/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's view of a pool, over real sockets on loopback: which idle conn is taken, how many are
 * kept, for how long, and what is learnt from an upstream that closes first. The upstream is in the
 * test, and so is its end of each; nothing sleeps but where it waits for an event.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/pool_rig.h"

enum { STREAMS = 4 };

struct fixture {
    struct pool_rig rig; /* deaf: the upstream is ours */
    struct http_peer client;
    unsigned ended, aborted;
    enum reason reason;
};

static void on_head(struct stream *s, struct http_head *head)
{
    (void)s;
    (void)head;
}

static void on_body(struct stream *s, struct chain *body)
{
    (void)s;
    (void)body;
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    (void)trailers;
    struct fixture *f = s->owner;
    f->ended++;
    s->ops->release(s, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s;
    (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct fixture *f = s->owner;
    f->aborted++;
    f->reason = reason;
    s->ops->release(s, reason);
}

static const struct stream_events events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

static int setup(void **state)
{
    struct fixture *f = aligned_alloc(alignof(struct fixture), sizeof(*f)); /* atomics have lines */
    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    pool_rig_init(&f->rig);
    f->rig.deaf = true;
    pool_rig_speak(&f->rig, POOL_H1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pool_rig_fini(&f->rig);
    free(f);
    return 0;
}

static struct stream *request(struct fixture *f, bool fresh)
{
    struct pool_request wish = {.stream_events = &events, /* h1 never waits */
                                .owner = f,
                                .client = &f->client,
                                .response_head_ms = 60000};
    list_init(&wish.link);
    struct stream *s = pool_open(f->rig.view, 0, fresh, &wish, &f->reason);
    assert_non_null(s);
    s->ops->send_head(s, &f->rig.head);
    s->ops->send_end(s, NULL);
    reactor_dispatch(&f->rig.r);
    return s;
}

static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* The upstream's end of the next conn. The kernel may take its time with what is sent on loopback,
 * and what is on its way to the upstream wakes no loop of ours. */
static int upstream(struct fixture *f)
{
    while (!readable(f->rig.listener, 1))
        pool_rig_turn(&f->rig);
    return accept(f->rig.listener, NULL, NULL);
}

static void reply(struct fixture *f, int fd, const char *text)
{
    unsigned before = f->ended + f->aborted;
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    while (f->ended + f->aborted == before)
        reactor_turn(&f->rig.r);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void wait_conns(struct fixture *f, uint64_t n)
{
    while (counter_get(&f->rig.stats.conns) != n)
        reactor_turn(&f->rig.r);
}

enum { PATIENCE_MS = 60000 };

static bool gets_request(int fd)
{
    char bytes[64];
    return readable(fd, PATIENCE_MS) && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
}

static void an_idle_conn_is_taken_again(void **state)
{
    struct fixture *f = *state;
    request(f, false);
    int fd = upstream(f);
    for (int i = 0; i < 3; i++) {
        reply(f, fd, OK);
        struct stream *s = request(f, false);
        assert_true(s->reused);
    }
    reply(f, fd, OK);
    assert_int_equal(counter_get(&f->rig.stats.opened), 1);
    assert_int_equal(counter_get(&f->rig.stats.reused), 3);
    assert_int_equal(counter_get(&f->rig.stats.conns), 1);
    close(fd);
}

static void a_fresh_conn_is_fresh(void **state)
{
    struct fixture *f = *state;
    request(f, false);
    int a = upstream(f);
    reply(f, a, OK);
    assert_false(request(f, true)->reused);
    int b = upstream(f);
    reply(f, b, OK);
    assert_int_equal(counter_get(&f->rig.stats.opened), 2);
    assert_int_equal(counter_get(&f->rig.stats.reused), 0);
    close(a);
    close(b);
}

/* The others then get old and go. */
static void the_conn_used_last_is_taken_first(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    request(f, false);
    fds[0] = upstream(f);
    request(f, false);
    fds[1] = upstream(f);
    reply(f, fds[0], OK);
    reply(f, fds[1], OK);
    assert_true(gets_request(fds[0]) && gets_request(fds[1]));
    request(f, false);
    assert_true(gets_request(fds[1]));
    assert_false(readable(fds[0], 0));
    request(f, false);
    assert_true(gets_request(fds[0]));
    reply(f, fds[0], OK);
    reply(f, fds[1], OK);
    close(fds[0]);
    close(fds[1]);
}

static void no_more_are_kept_than_max_idle(void **state)
{
    struct fixture *f = *state;
    int fds[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        request(f, false);
        fds[i] = upstream(f);
    }
    assert_int_equal(counter_get(&f->rig.stats.conns), STREAMS);
    for (int i = 0; i < STREAMS; i++)
        reply(f, fds[i], OK);
    wait_conns(f, f->rig.spec.max_idle);
    for (int i = 0; i < STREAMS; i++)
        close(fds[i]);
}

static void none_are_kept_when_none_may_be(void **state)
{
    struct fixture *f = *state;
    f->rig.spec.max_idle = 0;
    request(f, false);
    int fd = upstream(f);
    reply(f, fd, OK);
    wait_conns(f, 0);
    close(fd);
}

static void idle_conns_that_the_upstream_closes_are_forgotten(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        request(f, false);
        fds[i] = upstream(f);
    }
    reply(f, fds[0], OK);
    reply(f, fds[1], OK);
    close(fds[0]); /* the one that is last in the list */
    wait_conns(f, 1);
    assert_true(request(f, false)->reused);
    reply(f, fds[1], OK);
    close(fds[1]);
    wait_conns(f, 0);
    /* a close at once is a restart, not a habit */
    assert_int_equal(pool_idle_ms(f->rig.view, 0), 55000);
}

static void keep_alive_timeout_lowers_the_idle_time(void **state)
{
    struct fixture *f = *state;
    request(f, false);
    int fd = upstream(f);
    reply(f, fd, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=10\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(pool_idle_ms(f->rig.view, 0), 8000);
    request(f, false);
    reply(f, fd, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=100\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(pool_idle_ms(f->rig.view, 0), 8000); /* a longer one raises nothing */
    close(fd);
}

/* A conn reached the time that was learnt, and was still open. */
static void a_conn_that_outlives_what_was_learnt_raises_it(void **state)
{
    struct fixture *f = *state;
    request(f, false);
    int fd = upstream(f);
    reply(f, fd, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=10\r\nContent-Length: 0\r\n\r\n");
    f->rig.r.now_ms += 8100; /* until the loop looks at the clock again */
    wheel_advance(&f->rig.r.wheel, reactor_now(&f->rig.r));
    reactor_dispatch(&f->rig.r);
    wait_conns(f, 0);
    assert_int_equal(pool_idle_ms(f->rig.view, 0), 8000 + 8000 / 20 + 1);
    close(fd);
}

static void closing_the_idle_ones_leaves_the_busy_ones(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        request(f, false);
        fds[i] = upstream(f);
    }
    reply(f, fds[0], OK);
    pool_close_idle(f->rig.view);
    reactor_dispatch(&f->rig.r);
    wait_conns(f, 1);
    reply(f, fds[1], OK); /* and this one is not kept any more */
    wait_conns(f, 0);
    assert_int_equal(f->ended, 2);
    close(fds[0]);
    close(fds[1]);
}

static void nobody_listens(void **state)
{
    struct fixture *f = *state;
    close(f->rig.listener);
    f->rig.listener = -1;
    request(f, false);
    while (f->aborted == 0)
        reactor_turn(&f->rig.r);
    assert_int_equal(f->reason, REASON_CONNECT_REFUSED);
    wait_conns(f, 0);
}

/* ---- the PROXY protocol ---- */

#define V1        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
#define V2        "\r\n\r\n\0\r\nQUIT\n"
#define CLIENT_V2 V2 "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb"

static void announce(struct fixture *f, enum proxy_header_version version)
{
    struct net_addr from, to;
    pool_view_free(f->rig.view);
    f->rig.spec.options.once = true;
    f->rig.spec.proxy_header = (uint8_t)version;
    pool_rig_speak(&f->rig, POOL_H1);
    assert_true(net_addr_ip(&from, "192.0.2.1", 56324) && net_addr_ip(&to, "198.51.100.2", 443));
    http_peer_init(&f->client, &from, NULL, false);
    http_peer_reached(&f->client, &to);
}

/* The upstream gets these bytes next. Those of a handshake need our loop. */
static void expect_bytes(struct fixture *f, int fd, struct span want)
{
    char got[256];
    size_t n = 0;
    assert_true(want.len <= sizeof(got));
    while (n < want.len) {
        ssize_t more = recv(fd, got + n, want.len - n, MSG_DONTWAIT);
        assert_int_not_equal(more, 0);
        n += more > 0 ? (size_t)more : 0;
        pool_rig_turn(&f->rig);
    }
    assert_memory_equal(got, want.ptr, want.len);
}

static void a_conn_begins_with_the_proxy_header(void **state)
{
    struct fixture *f = *state;
    static const struct span headers[] = {[PROXY_HEADER_V1] = {V1, sizeof(V1) - 1},
                                          [PROXY_HEADER_V2] = {CLIENT_V2, sizeof(CLIENT_V2) - 1}};
    for (unsigned v = PROXY_HEADER_V1; v <= PROXY_HEADER_V2; v++) {
        announce(f, v);
        request(f, false);
        int fd = upstream(f);
        expect_bytes(f, fd, headers[v]);
        expect_bytes(f, fd, SPAN_LIT("GET / HTTP/1.1\r\n"));
        reply(f, fd, OK);
        wait_conns(f, 0);
        close(fd);
    }
}

static void a_client_that_is_not_of_ip_is_unknown(void **state)
{
    struct fixture *f = *state;
    static const struct span headers[] = {[PROXY_HEADER_V1] = SPAN_LIT("PROXY UNKNOWN\r\n"),
                                          [PROXY_HEADER_V2] = SPAN_LIT(V2 "\x20\0\0\0")};
    struct net_addr path;
    assert_true(net_addr_unix(&path, "/run/x"));
    for (unsigned v = PROXY_HEADER_V1; v <= PROXY_HEADER_V2; v++) {
        announce(f, v);
        http_peer_init(&f->client, &path, NULL, false);
        request(f, false);
        int fd = upstream(f);
        expect_bytes(f, fd, headers[v]);
        expect_bytes(f, fd, SPAN_LIT("GET / HTTP/1.1\r\n"));
        reply(f, fd, OK);
        wait_conns(f, 0);
        close(fd);
    }
}

/* It is one client's, and goes with its request. */
static void a_conn_with_a_proxy_header_serves_one_request(void **state)
{
    struct fixture *f = *state;
    announce(f, PROXY_HEADER_V1);
    for (int i = 0; i < 3; i++) {
        assert_false(request(f, false)->reused);
        int fd = upstream(f);
        expect_bytes(f, fd, SPAN_LIT(V1));
        reply(f, fd, OK);
        wait_conns(f, 0);
        close(fd);
    }
    assert_int_equal(counter_get(&f->rig.stats.opened), 3);
    assert_int_equal(counter_get(&f->rig.stats.reused), 0);
}

static void the_proxy_header_is_not_encrypted(void **state)
{
    struct fixture *f = *state;
    f->rig.tls_options = (struct tls_client_options){.server_name = "a.example", .no_verify = true};
    f->rig.spec.tls = &f->rig.tls_options;
    announce(f, PROXY_HEADER_V1);
    request(f, false);
    int fd = upstream(f);
    expect_bytes(f, fd, SPAN_LIT(V1));
    expect_bytes(f, fd, SPAN_LIT("\x16\x03")); /* a ClientHello */
    reply(f, fd, OK);                          /* which is no TLS */
    assert_int_equal(f->reason, REASON_UPSTREAM_TLS_FAILED);
    wait_conns(f, 0);
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_conn_is_taken_again),
        TEST(a_fresh_conn_is_fresh),
        TEST(the_conn_used_last_is_taken_first),
        TEST(no_more_are_kept_than_max_idle),
        TEST(none_are_kept_when_none_may_be),
        TEST(idle_conns_that_the_upstream_closes_are_forgotten),
        TEST(keep_alive_timeout_lowers_the_idle_time),
        TEST(a_conn_that_outlives_what_was_learnt_raises_it),
        TEST(closing_the_idle_ones_leaves_the_busy_ones),
        TEST(nobody_listens),
        TEST(a_conn_begins_with_the_proxy_header),
        TEST(a_client_that_is_not_of_ip_is_unknown),
        TEST(a_conn_with_a_proxy_header_serves_one_request),
        TEST(the_proxy_header_is_not_encrypted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
