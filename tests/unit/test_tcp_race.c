/* SPDX-License-Identifier: Apache-2.0 */
/* A host with two addresses, over real sockets: which of them a conn comes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/reactor.h"
#include "proxy/net/tcp.h"
#include "proxy/net/tcp_race.h"

#define FILL 4 /* conns that a queue for one does not take */

struct place {
    struct net_addr addr;
    int fd;
    int fill[FILL];
};

struct fixture {
    struct reactor r;
    struct place first, second;
    struct transport *transport;
    unsigned connected;
    int status;
    uint32_t within_ms;
    uint64_t begun_ms, took_ms;
    bool closed;
    uv_timer_t timer;
};

/* ---- the transport's owner ---- */

static struct span on_buffer(void *owner, struct block **pipe)
{
    (void)owner;
    (void)pipe;
    return span_of(NULL, 0);
}

static void on_read(void *owner, ssize_t n)
{
    (void)owner;
    (void)n;
}

static void on_writable(void *owner)
{
    (void)owner;
}

static void on_connected(void *owner, int status)
{
    struct fixture *f = owner;
    f->connected++;
    f->status = status;
    f->took_ms = uv_hrtime() / 1000000 - f->begun_ms;
    f->transport->ops->close(f->transport, false);
}

static void on_closed(void *owner)
{
    ((struct fixture *)owner)->closed = true;
}

static const struct transport_events events = {.buffer = on_buffer,
                                               .read = on_read,
                                               .writable = on_writable,
                                               .connected = on_connected,
                                               .closed = on_closed};

/* ---- places ---- */

/* A port that is ours and refuses until it listens. */
static void place_init(struct place *p, const char *host)
{
    assert_true(net_addr_ip(&p->addr, host, 0));
    p->fd = socket(p->addr.u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(p->fd >= 0 && bind(p->fd, &p->addr.u.sa, p->addr.len) == 0);
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&bound, &len), 0);
    net_addr_from(&p->addr, (struct sockaddr *)&bound, len);
    memset(p->fill, -1, sizeof(p->fill));
}

/* So full that a connect neither succeeds nor fails. */
static void place_silent(struct place *p)
{
    assert_int_equal(listen(p->fd, 0), 0);
    for (int i = 0; i < FILL; i++) {
        p->fill[i] = socket(p->addr.u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(p->fill[i], &p->addr.u.sa, p->addr.len);
    }
}

static void place_fini(struct place *p)
{
    for (int i = 0; i < FILL; i++)
        if (p->fill[i] >= 0)
            close(p->fill[i]);
    close(p->fd);
}

static bool has_conn(const struct place *p)
{
    int fd = accept(p->fd, NULL, NULL);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    place_init(&f->first, "127.0.0.1");
    place_init(&f->second, "127.0.0.2");
    f->first.addr.also = &f->second.addr;
    f->within_ms = 1000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    place_fini(&f->first);
    place_fini(&f->second);
    reactor_fini(&f->r);
    free(f);
    return 0;
}

static void begin(struct fixture *f)
{
    int err = 0;
    f->begun_ms = uv_hrtime() / 1000000;
    f->transport = tcp_dial(&f->r, &f->first.addr, f->within_ms, &events, f, &err);
    assert_non_null(f->transport);
}

static void dial(struct fixture *f)
{
    begin(f);
    reactor_run(&f->r);
    assert_true(f->closed && f->connected == 1);
}

/* ---- the tests ---- */

static void test_the_first_that_answers_is_taken_alone(void **state)
{
    struct fixture *f = *state;
    listen(f->first.fd, 8);
    listen(f->second.fd, 8);
    dial(f);
    assert_int_equal(f->status, 0);
    assert_true(has_conn(&f->first));
    assert_false(has_conn(&f->second));
}

static void test_one_that_refuses_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    listen(f->second.fd, 8);
    dial(f);
    assert_int_equal(f->status, 0);
    assert_true(has_conn(&f->second));
}

static void test_one_that_is_silent_has_some_time_for_itself(void **state)
{
    struct fixture *f = *state;
    place_silent(&f->first);
    listen(f->second.fd, 8);
    dial(f);
    assert_int_equal(f->status, 0);
    assert_true(f->took_ms >= TCP_RACE_MS);
    assert_true(has_conn(&f->second));
}

/* Who waits for less than that still has both tried. */
static void test_who_is_in_a_hurry_has_the_second_tried_in_time(void **state)
{
    struct fixture *f = *state;
    place_silent(&f->first);
    listen(f->second.fd, 8);
    f->within_ms = 200;
    begin(f);
    assert_true(wheel_next_ms(&f->r.wheel) <= f->r.now_ms + 100 + WHEEL_TICK_MS);
    reactor_run(&f->r);
    assert_int_equal(f->status, 0);
    assert_true(f->took_ms >= 100);
    assert_true(has_conn(&f->second));
}

static void test_if_both_refuse_that_is_said_once(void **state)
{
    struct fixture *f = *state;
    dial(f);
    assert_int_equal(f->status, UV_ECONNREFUSED);
}

/* There is a route to nowhere: connect itself says no. */
static void test_one_that_cannot_even_be_tried(void **state)
{
    struct fixture *f = *state;
    assert_true(net_addr_ip(&f->first.addr, "255.255.255.255", 80));
    f->first.addr.also = &f->second.addr;
    listen(f->second.fd, 8);
    dial(f);
    assert_int_equal(f->status, 0);
    assert_true(has_conn(&f->second));
}

/* The second has failed by now; the first goes on, and its queue has room again. */
static void on_room(uv_timer_t *timer)
{
    struct fixture *f = timer->data;
    assert_int_equal(f->connected, 0);
    while (has_conn(&f->first))
        ;
    uv_close((uv_handle_t *)timer, NULL);
}

static void after(struct fixture *f, uint64_t ms, uv_timer_cb then)
{
    uv_timer_init(&f->r.loop, &f->timer);
    f->timer.data = f;
    uv_timer_start(&f->timer, then, ms, 0);
}

static void test_a_second_that_refuses_ends_nothing(void **state)
{
    struct fixture *f = *state;
    place_silent(&f->first);
    after(f, TCP_RACE_MS + 50, on_room);
    dial(f);
    assert_int_equal(f->status, 0);
    assert_false(has_conn(&f->second));
}

static void on_timer(uv_timer_t *timer)
{
    struct fixture *f = timer->data;
    f->transport->ops->close(f->transport, false);
    uv_close((uv_handle_t *)timer, NULL);
}

static void close_after(struct fixture *f, uint64_t ms)
{
    place_silent(&f->first);
    place_silent(&f->second);
    after(f, ms, on_timer);
    begin(f);
    reactor_run(&f->r);
    assert_true(f->closed);
    assert_int_equal(f->connected, 0);
}

static void test_one_is_closed_before_the_second_begins(void **state)
{
    close_after(*state, 10);
}

static void test_both_are_closed_while_they_connect(void **state)
{
    close_after(*state, TCP_RACE_MS + 50);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_first_that_answers_is_taken_alone),
        T(test_one_that_refuses_is_not_waited_for),
        T(test_one_that_is_silent_has_some_time_for_itself),
        T(test_who_is_in_a_hurry_has_the_second_tried_in_time),
        T(test_if_both_refuse_that_is_said_once),
        T(test_one_that_cannot_even_be_tried),
        T(test_a_second_that_refuses_ends_nothing),
        T(test_one_is_closed_before_the_second_begins),
        T(test_both_are_closed_while_they_connect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
