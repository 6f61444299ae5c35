/* SPDX-License-Identifier: Apache-2.0 */
/* TLS over sockets of the kernel's, and the buffers that it takes. */
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
#include "proxy/net/tcp.h"
#include "proxy/net/tls_ssl.h"
#include "tests/unit/tls_rig.h"

#define BIG 3000000

static struct tls_peers peers;
struct side {
    struct conn conn;
    size_t got, flushed;
    unsigned char sum;
    bool freed, echoes;
};

struct fixture {
    struct reactor r;
    struct ready nothing;
    struct side server, client;
    char *big;
};

static struct side *side_of(struct conn *c)
{
    return CONTAINER_OF(c, side, conn);
}

static void send_bytes(struct side *s, const char *bytes, size_t n)
{
    struct chain chain;
    chain_init(&chain);
    chain_copy_in(&chain, &s->conn.reactor->bufs, bytes, n);
    conn_send(&s->conn, &chain);
}

static void on_process(struct conn *c)
{
    struct side *s = side_of(c);
    struct span in = conn_input(c);
    if (in.len == 0)
        return;
    s->got += in.len;
    for (size_t i = 0; i < in.len; i++)
        s->sum = (unsigned char)(s->sum * 31 + (unsigned char)in.ptr[i]);
    if (s->echoes)
        send_bytes(s, in.ptr, in.len);
    conn_consume(c, in.len, NULL);
    conn_release_input(c);
    conn_resume(c, PAUSE_FULL);
}

static void on_flushed(struct conn *c, size_t n)
{
    side_of(c)->flushed += n;
}

static void on_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c, (void)delta;
}

static void on_free(struct conn *c)
{
    side_of(c)->freed = true;
}

static const struct conn_ops ops = {.name = "side",
                                    .process = on_process,
                                    .flushed = on_flushed,
                                    .moved = on_moved,
                                    .free = on_free};

static int setup_all(void **state)
{
    (void)state;
    tls_peers_init(&peers, TLS_ALPN_H1, TLS_ALPN_H1);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    tls_peers_fini(&peers);
    return 0;
}

static void do_nothing(struct ready *task)
{
    (void)task;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fds[2];
    list_init(&f->nothing.link);
    f->nothing.run = do_nothing;
    f->big = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        f->big[i] = (char)(i * 7 + i / 251);
    assert_int_equal(reactor_init(&f->r), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    conn_init(&f->server.conn, &f->r, &ops, 0);
    conn_init(&f->client.conn, &f->r, &ops, 0);
    assert_true(conn_adopt(&f->server.conn, fds[0], true));
    assert_true(conn_adopt(&f->client.conn, fds[1], true));
    conn_secure_server(&f->server.conn, peers.server);
    conn_secure_client(&f->client.conn, peers.client, 0, NULL);
    reactor_dispatch(&f->r);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    conn_close(&f->client.conn, REASON_DONE, false);
    conn_close(&f->server.conn, REASON_DONE, false);
    reactor_fini(&f->r);
    assert_true(f->client.freed && f->server.freed);
    free(f->big);
    free(f);
    return 0;
}

static void until(struct fixture *f, const size_t *what, size_t n)
{
    reactor_dispatch(&f->r);
    while (*what < n) {
        assert_false((f->server.conn.flags | f->client.conn.flags) & (CONN_ERROR | CONN_EOF));
        reactor_turn(&f->r);
    }
    assert_int_equal(*what, n);
}

static unsigned char sum_of(const char *bytes, size_t n)
{
    unsigned char sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (unsigned char)(sum * 31 + (unsigned char)bytes[i]);
    return sum;
}

static void much_goes_both_ways_at_once(void **state)
{
    struct fixture *f = *state;
    send_bytes(&f->client, f->big, BIG);
    send_bytes(&f->server, f->big, BIG);
    until(f, &f->client.got, BIG);
    until(f, &f->server.got, BIG);
    assert_int_equal(f->client.sum, sum_of(f->big, BIG));
    assert_int_equal(f->server.sum, sum_of(f->big, BIG));
    until(f, &f->client.flushed, BIG);
    assert_int_equal(f->server.flushed, BIG);
    assert_int_equal(atomic_load(&f->r.bufs.blocks), 0);
}

static void a_reader_that_pauses_is_waited_for(void **state)
{
    struct fixture *f = *state;
    send_bytes(&f->server, f->big, BIG);
    for (size_t at = 0; at < BIG; at = f->client.got) {
        reactor_dispatch(&f->r);
        conn_pause(&f->client.conn, PAUSE_CREDIT);
        for (int i = 0; i < 3; i++) {
            reactor_later(&f->r, &f->nothing); /* so that no turn waits */
            reactor_turn(&f->r);
        }
        size_t before = f->client.got;
        conn_resume(&f->client.conn, PAUSE_CREDIT);
        while (f->client.got == before)
            reactor_turn(&f->r);
    }
    assert_int_equal(f->client.sum, sum_of(f->big, BIG));
}

/* What a keep-alive conn does all day. */
static void a_question_and_its_answer_take_no_buffers(void **state)
{
    struct fixture *f = *state;
    unsigned long taken = 0;
    f->server.echoes = true;
    for (size_t i = 1; i <= 110; i++) {
        if (i == 11)
            taken = tls_mem_taken();
        send_bytes(&f->client, f->big, 2000);
        until(f, &f->client.got, i * 2000);
    }
    assert_true(taken > 0);
#if MEM_KEEPS
    assert_int_equal(tls_mem_taken(), taken);
#endif
}

static void an_end_comes_through(void **state)
{
    struct fixture *f = *state;
    send_bytes(&f->client, f->big, BIG);
    conn_send_end(&f->client.conn);
    reactor_dispatch(&f->r);
    while (!(f->server.conn.flags & (CONN_EOF | CONN_ERROR)))
        reactor_turn(&f->r);
    assert_true(f->server.conn.flags & CONN_EOF);
    assert_int_equal(f->server.got, BIG);
}

int main(void)
{
    tls_setup();
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(much_goes_both_ways_at_once),
        T(a_reader_that_pauses_is_waited_for),
        T(a_question_and_its_answer_take_no_buffers),
        T(an_end_comes_through),
#undef T
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
