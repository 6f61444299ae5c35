/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets and accepting, on loopback and in a directory of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/listen.h"
#include "proxy/net/passed.h"

enum { CLIENTS = 40 };

struct fixture {
    struct reactor r;
    struct listener l;
    struct conn_budget budget;
    struct net_addr bound;
    bool refuse; /* what accepted answers */
    int late;    /* result of connecting while it accepts */
    unsigned n_accepted, n_over, n_paused;
    int accepted[CLIENTS], clients[CLIENTS];
    int pause_error;
    struct net_addr peer;
    char dir[64], path[100];
};

static bool on_accepted(struct listener *l, int fd, const struct net_addr *peer, bool over)
{
    struct fixture *f = l->owner;
    assert_true(f->n_accepted < CLIENTS);
    f->n_over += over;
    f->peer = *peer;
    if (f->refuse)
        close(fd);
    f->accepted[f->n_accepted++] = f->refuse ? -1 : fd;
    return !f->refuse;
}

static void on_pausing(struct listener *l, int error)
{
    struct fixture *f = l->owner;
    f->n_paused++;
    f->pause_error = error;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    strcpy(f->dir, "/tmp/weir-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
    memset(f->clients, -1, sizeof(f->clients));
    f->l.watch.fd = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    listener_close(&f->l);
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (f->clients[i] >= 0)
            close(f->clients[i]);
        if (i < f->n_accepted && f->accepted[i] >= 0)
            close(f->accepted[i]);
    }
    unlink(f->path);
    rmdir(f->dir);
    reactor_fini(&f->r);
    free(f);
    return 0;
}

static int tcp_socket(struct net_addr *bound)
{
    struct net_addr any;
    assert_true(net_addr_ip(&any, "127.0.0.1", 0));
    int fd = listen_socket(&any, true, 0);
    assert_true(fd >= 0);
    listen_bound(fd, bound);
    return fd;
}

static void start(struct fixture *f, uint32_t max)
{
    f->budget.max = max;
    f->l.accepted = on_accepted;
    f->l.pausing = on_pausing;
    f->l.owner = f;
    assert_int_equal(listener_start(&f->l, &f->r, tcp_socket(&f->bound), &f->budget), 0);
}

static void dial(struct fixture *f, unsigned i)
{
    f->clients[i] = socket(f->bound.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(f->clients[i] >= 0);
    assert_int_equal(connect(f->clients[i], &f->bound.u.sa, f->bound.len), 0);
}

static void accept_until(struct fixture *f, unsigned n)
{
    while (f->n_accepted < n)
        reactor_turn(&f->r);
}

static void the_kernel_chooses_a_port_that_is_told(void **state)
{
    (void)state;
    struct net_addr bound;
    int fd = tcp_socket(&bound);
    assert_int_not_equal(net_addr_port(&bound), 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void several_sockets_may_share_a_port(void **state)
{
    (void)state;
    struct net_addr bound;
    int a = tcp_socket(&bound);
    int b = listen_socket(&bound, true, 0);
    assert_true(b >= 0);
    assert_int_equal(listen_socket(&bound, false, 0), -1); /* but only those who say so */
    assert_int_equal(errno, EADDRINUSE);
    close(a);
    close(b);
}

static void one_beside_another_listens_once_it_is_used(void **state)
{
    struct fixture *f = *state;
    int listens = -1;
    socklen_t len = sizeof(listens);
    start(f, 10);
    int beside = listen_beside(f->l.watch.fd, &f->bound);
    assert_true(beside >= 0);
    assert_int_equal(getsockopt(beside, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len), 0);
    assert_int_equal(listens, 0); /* clients that wait there would be lost if it came to nothing */
    assert_int_equal(listener_add(&f->l, beside), 0);
    assert_int_equal(listener_socket(&f->l, 0), f->l.watch.fd);
    assert_int_equal(listener_socket(&f->l, 1), beside);
    assert_int_equal(listener_socket(&f->l, 2), -1);
    for (unsigned i = 0; i < 16; i++) /* the kernel spreads them over both */
        dial(f, i);
    accept_until(f, 16);
}

static void one_that_leaves_accepts_nothing_more(void **state)
{
    struct fixture *f = *state;
    start(f, 10);
    assert_int_equal(listener_add(&f->l, listen_beside(f->l.watch.fd, &f->bound)), 0);
    int other = dup(f->l.watch.fd), more = dup(listener_socket(&f->l, 1));
    for (unsigned i = 0; i < 8; i++)
        dial(f, i);
    listener_leave(&f->l);
    reactor_turn(&f->r);
    assert_int_equal(f->n_accepted, 0);
    unsigned waiting = 0;
    for (int fd; (fd = accept4(other, NULL, NULL, SOCK_NONBLOCK)) >= 0; waiting++)
        close(fd);
    for (int fd; (fd = accept4(more, NULL, NULL, SOCK_NONBLOCK)) >= 0; waiting++)
        close(fd);
    assert_int_equal(waiting, 8);
    close(other);
    close(more);
}

static void those_of_a_weir_before_are_found_by_address_or_by_name(void **state)
{
    (void)state;
    struct net_addr asked, chosen;
    net_addr_ip(&asked, "127.0.0.1", 80);
    net_addr_ip(&chosen, "127.0.0.1", 0);
    int a = dup(0), b = dup(0), c = dup(0);
    passed_add(a, "web", "127.0.0.1:80");
    passed_add(b, "web", "127.0.0.1:80");
    passed_add(c, "other", "127.0.0.1:0");
    assert_int_equal(passed_take(&chosen, "web"), -1);
    assert_int_equal(passed_take(&asked, "renamed"), a);
    assert_int_equal(passed_take(&chosen, "other"), c);
    assert_int_equal(passed_take(&chosen, "other"), -1);
    passed_drop(NULL);
    assert_int_equal(fcntl(b, F_GETFD), -1); /* nobody wanted it */
    assert_int_equal(passed_take(&asked, "web"), -1);
    close(a);
    close(c);
}

static void a_unix_socket_has_its_mode(void **state)
{
    struct fixture *f = *state;
    struct net_addr addr;
    struct stat st;
    assert_true(net_addr_unix(&addr, f->path));
    int fd = listen_socket(&addr, false, 0620);
    assert_true(fd >= 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0620);
    assert_int_equal(listen_socket(&addr, false, 0600), -1); /* somebody listens */
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
    fd = listen_socket(&addr, false, 0600); /* nobody does any more */
    assert_true(fd >= 0);
    close(fd);
}

static void a_file_in_the_way_is_not_removed(void **state)
{
    struct fixture *f = *state;
    struct net_addr addr;
    assert_true(net_addr_unix(&addr, f->path));
    int file = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(listen_socket(&addr, false, 0600), -1);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(access(f->path, F_OK), 0);
    close(file);
}

static void what_is_accepted_is_handed_over(void **state)
{
    struct fixture *f = *state;
    start(f, 10);
    dial(f, 0);
    accept_until(f, 1);
    struct sockaddr_in local;
    socklen_t len = sizeof(local);
    assert_int_equal(getsockname(f->clients[0], (struct sockaddr *)&local, &len), 0);
    assert_int_equal(net_addr_port(&f->peer), ntohs(local.sin_port));
    assert_true(fcntl(f->accepted[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(f->accepted[0], F_GETFD) & FD_CLOEXEC);
    int on = 0;
    len = sizeof(on);
    assert_int_equal(getsockopt(f->accepted[0], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_int_equal(on, 1);
    assert_int_equal(f->budget.open, 1);
    assert_int_equal(f->n_over, 0);
}

/* One by one while they come one by one: the call that finds nobody is saved. */
static void batches_grow_with_what_waits(void **state)
{
    struct fixture *f = *state;
    start(f, 1000);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(f->l.batch, 1);
        dial(f, i);
        accept_until(f, i + 1);
    }
    assert_int_equal(f->l.batch, 2);
    dial(f, 8);
    accept_until(f, 9);
    assert_int_equal(f->l.batch, 1); /* the second call found nobody */
    for (unsigned i = 9; i < CLIENTS; i++)
        dial(f, i);
    accept_until(f, CLIENTS); /* what a batch leaves behind comes by itself */
}

static void what_is_not_taken_over_is_given_back(void **state)
{
    struct fixture *f = *state;
    f->refuse = true;
    start(f, 10);
    dial(f, 0);
    accept_until(f, 1);
    assert_int_equal(f->budget.open, 0);
}

/* A few over the limit are taken to be told so, the rest waits in the kernel. */
static void the_budget_pauses_accepting(void **state)
{
    struct fixture *f = *state;
    start(f, 3);
    for (unsigned i = 0; i < CLIENTS; i++)
        dial(f, i);
    while (f->n_paused == 0)
        reactor_turn(&f->r);
    unsigned taken = f->n_accepted;
    assert_true(taken > 3 && taken < CLIENTS);
    assert_int_equal(f->n_over, taken - 3);
    assert_int_equal(f->pause_error, 0);
    assert_int_equal(f->budget.open, taken);
    assert_true(f->l.paused);
    listener_budget_freed(&f->budget);
    f->r.now_ms += 200; /* it looks again by itself, by the clock that this moves on */
    wheel_advance(&f->r.wheel, reactor_now(&f->r));
    accept_until(f, taken + 1);
    assert_int_equal(f->budget.open, taken);
}

/* A client is connected a little before its last word has reached the listener's queue. */
static void await_queue(int fd, unsigned n)
{
    struct tcp_info info;
    do {
        socklen_t len = sizeof(info);
        sched_yield();
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    } while (info.tcpi_unacked < n); /* of a listener: the length of the queue */
}

static void closing_takes_what_is_in_the_queue(void **state)
{
    struct fixture *f = *state;
    start(f, CLIENTS);
    for (unsigned i = 0; i < 5; i++)
        dial(f, i);
    await_queue(f->l.watch.fd, 5);
    listener_close(&f->l);
    assert_int_equal(f->n_accepted, 5);
    assert_int_equal(f->l.watch.fd, -1);
    listener_close(&f->l); /* once is enough */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &f->bound.u.sa, f->bound.len), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
}

/* One more, without waiting for it. What connect(2) tells. */
static bool on_accepted_and_one_comes(struct listener *l, int fd, const struct net_addr *peer,
                                      bool over)
{
    struct fixture *f = l->owner;
    int late = socket(f->bound.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    f->late = connect(late, &f->bound.u.sa, f->bound.len) == 0 ? 0 : errno;
    f->clients[CLIENTS - 1] = late;
    return on_accepted(l, fd, peer, over);
}

static void nobody_comes_while_one_is_closed_that_nobody_else_has(void **state)
{
    struct fixture *f = *state;
    struct tcp_info info;
    socklen_t len = sizeof(info);
    start(f, CLIENTS);
    dial(f, 0);
    f->l.accepted = on_accepted_and_one_comes;
    assert_true(listener_shut(&f->l));
    listener_last_call(); /* it may be in the queue a little later than dial() has returned */
    listener_close(&f->l);
    assert_int_equal(f->n_accepted, 1);
    assert_int_equal(f->late, EINPROGRESS);
    assert_int_equal(getsockopt(f->clients[CLIENTS - 1], IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    assert_int_equal(info.tcpi_state, TCP_SYN_SENT); /* and is refused when it tries again */
}

static void nobody_comes_by_a_path_that_nobody_else_has(void **state)
{
    struct fixture *f = *state;
    assert_true(net_addr_unix(&f->bound, f->path));
    f->budget.max = CLIENTS;
    f->l.accepted = on_accepted_and_one_comes;
    f->l.pausing = on_pausing;
    f->l.owner = f;
    int fd = listen_socket(&f->bound, false, 0600);
    assert_int_equal(listener_start(&f->l, &f->r, fd, &f->budget), 0);
    dial(f, 0);
    assert_false(listener_shut(&f->l)); /* who is refused knows at once */
    listener_close(&f->l);
    assert_int_equal(f->n_accepted, 1);
    assert_int_equal(f->n_paused, 0);
    assert_int_equal(f->late, ECONNREFUSED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_kernel_chooses_a_port_that_is_told),
        TEST(several_sockets_may_share_a_port),
        TEST(one_beside_another_listens_once_it_is_used),
        TEST(one_that_leaves_accepts_nothing_more),
        TEST(those_of_a_weir_before_are_found_by_address_or_by_name),
        TEST(a_unix_socket_has_its_mode),
        TEST(a_file_in_the_way_is_not_removed),
        TEST(what_is_accepted_is_handed_over),
        TEST(batches_grow_with_what_waits),
        TEST(what_is_not_taken_over_is_given_back),
        TEST(the_budget_pauses_accepting),
        TEST(closing_takes_what_is_in_the_queue),
        TEST(nobody_comes_while_one_is_closed_that_nobody_else_has),
        TEST(nobody_comes_by_a_path_that_nobody_else_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
