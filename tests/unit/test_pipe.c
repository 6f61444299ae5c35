/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes that carry bodies, between real sockets: whose they are, what is in them, and that a conn
 * reads into one only what nobody has to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/net/conn.h"
#include "proxy/net/pipe.h"

enum { BODY = 40000 };

struct fixture {
    struct reactor r;
    int from[2], to[2]; /* 0: weir's end, 1: the peer's */
    struct conn conns[2];
    struct chain taken; /* what came in a pipe: a session takes it at once */
    char body[BODY], got[BODY];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->from), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->to), 0);
    for (int i = 0; i < BODY; i++)
        f->body[i] = (char)(i % 61 + i / 61);
    *state = f;
    return 0;
}

/* reactor_fini checks that every pipe is back. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        if (f->from[i] >= 0)
            close(f->from[i]);
        if (f->to[i] >= 0)
            close(f->to[i]);
    }
    reactor_fini(&f->r);
    free(f);
    return 0;
}

static struct block *filled(struct fixture *f, size_t n)
{
    struct block *pipe = pipe_get(&f->r);
    assert_non_null(pipe);
    assert_int_equal(write(f->from[1], f->body, n), n);
    pipe->cap = BODY;
    assert_int_equal(pipe_fill(pipe, f->from[0]), n);
    assert_int_equal(pipe->used, n);
    return pipe;
}

static void bytes_pass_in_parts_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct block *pipe = filled(f, BODY);
    assert_int_equal(pipe_drain(pipe, f->to[0], 1000, true), 1000);
    assert_int_equal(pipe->used, BODY - 1000);
    assert_int_equal(pipe_drain(pipe, f->to[0], BODY - 1000, false), BODY - 1000);
    assert_int_equal(pipe->used, 0);
    assert_int_equal(recv(f->to[1], f->got, BODY, MSG_WAITALL), BODY);
    assert_memory_equal(f->got, f->body, BODY);
    block_drop(pipe);
}

static void no_more_is_taken_than_the_cap(void **state)
{
    struct fixture *f = *state;
    struct block *pipe = pipe_get(&f->r);
    assert_int_equal(write(f->from[1], f->body, 500), 500);
    pipe->cap = 100;
    assert_int_equal(pipe_fill(pipe, f->from[0]), 100);
    assert_int_equal(recv(f->from[0], f->got, BODY, 0), 400);
    assert_memory_equal(f->got, f->body + 100, 400);
    block_drop(pipe);
}

static void nothing_and_an_end_differ(void **state)
{
    struct fixture *f = *state;
    struct block *pipe = pipe_get(&f->r);
    pipe->cap = 100;
    assert_int_equal(pipe_fill(pipe, f->from[0]), UV_EAGAIN);
    shutdown(f->from[1], SHUT_WR);
    assert_int_equal(pipe_fill(pipe, f->from[0]), 0);
    assert_int_equal(pipe->used, 0);
    block_drop(pipe);
}

static void an_empty_pipe_is_kept_and_a_full_one_closed(void **state)
{
    struct fixture *f = *state;
    struct block *pipe = pipe_get(&f->r), *again;
    block_drop(pipe);
    assert_int_equal(f->r.pipes.n_free, 1);
    again = filled(f, 100);
    assert_ptr_equal(again, pipe);
    assert_int_equal(f->r.pipes.n_free, 0);
    block_drop(again);
    assert_int_equal(f->r.pipes.n_free, 0);
    assert_int_equal(f->r.pipes.out, 0);
    again = pipe_get(&f->r); /* nothing of the old one's bytes is in it */
    again->cap = 100;
    assert_int_equal(pipe_fill(again, f->from[0]), UV_EAGAIN);
    block_drop(again);
}

static void pipes_are_few(void **state)
{
    struct fixture *f = *state;
    struct block *pipes[PIPES_MAX];
    for (int i = 0; i < PIPES_MAX; i++)
        assert_non_null(pipes[i] = pipe_get(&f->r));
    assert_null(pipe_get(&f->r));
    block_drop(pipes[0]);
    assert_non_null(pipes[0] = pipe_get(&f->r));
    for (int i = 0; i < PIPES_MAX; i++)
        block_drop(pipes[i]);
    assert_true(f->r.pipes.n_free > 0 && f->r.pipes.n_free < PIPES_MAX);
}

static void without_descriptors_there_is_none_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct block *pipe = pipe_get(&f->r);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_null(pipe);
    assert_null(pipe_get(&f->r)); /* it is not tried at every read */
    f->r.pipes.wait_until = 0;
    assert_non_null(pipe = pipe_get(&f->r));
    block_drop(pipe);
}

static void bytes_come_back_to_memory_in_their_place(void **state)
{
    struct fixture *f = *state;
    struct chain c;
    struct block *pipe = filled(f, BODY);
    size_t n = 0;
    chain_init(&c);
    chain_append(&c, pipe, pipe->data, BODY);
    block_drop(pipe);
    chain_copy_in(&c, &f->r.bufs, "tail", 4);
    while (c.head->block->piped) {
        chain_unpipe(&c, &f->r.bufs);
        assert_false(c.head->block->piped);
        memcpy(f->got + n, c.head->ptr, c.head->len);
        n += c.head->len;
        chain_drop(&c, c.head->len);
        assert_int_equal(c.bytes, BODY - n + 4);
    }
    assert_int_equal(n, BODY);
    assert_memory_equal(f->got, f->body, BODY);
    assert_int_equal(c.bytes, 4);
    assert_memory_equal(c.head->ptr, "tail", 4);
    chain_clear(&c);
    assert_int_equal(f->r.pipes.n_free, 1);
}

/* ---- conns ---- */

static void on_process(struct conn *c)
{
    struct fixture *f = CONTAINER_OF(c->reactor, fixture, r);
    if (conn_piped(c) > 0)
        conn_take_pipe(c, &f->taken);
}

static void on_flushed(struct conn *c, size_t n)
{
    (void)c;
    (void)n;
}

static void on_free(struct conn *c)
{
    (void)c;
}

static const struct conn_ops ops = {
    .name = "test",
    .process = on_process,
    .flushed = on_flushed,
    .free = on_free,
};

static void adopt(struct fixture *f)
{
    for (int i = 0; i < 2; i++) {
        int *fd = i == 0 ? &f->from[0] : &f->to[0];
        conn_init(&f->conns[i], &f->r, &ops, 0);
        assert_true(conn_adopt(&f->conns[i], *fd, true));
        *fd = -1;
    }
    chain_init(&f->taken);
    f->conns[0].flags |= CONN_BULK;
    f->conns[0].pipe_cap = BODY;
}

static void finish(struct fixture *f)
{
    chain_clear(&f->taken);
    conn_close(&f->conns[0], REASON_DONE, false);
    conn_close(&f->conns[1], REASON_DONE, false);
    reactor_run(&f->r);
}

static void feed(struct fixture *f, size_t n)
{
    struct conn *c = &f->conns[0];
    size_t want = conn_input(c).len + f->taken.bytes + n;
    assert_int_equal(write(f->from[1], f->body, n), n);
    while (conn_input(c).len + f->taken.bytes < want)
        reactor_turn(&f->r);
}

static void a_conn_shows_what_is_not_opaque(void **state)
{
    struct fixture *f = *state;
    adopt(f);
    feed(f, 20000);
    assert_int_equal(conn_input(&f->conns[0]).len, 20000);
    assert_int_equal(f->taken.bytes, 0);
    conn_opaque(&f->conns[0], BODY); /* nor what comes behind bytes that are still to be seen */
    feed(f, 10000);
    assert_int_equal(conn_input(&f->conns[0]).len, 30000);
    finish(f);
}

static void a_conn_pipes_what_is_opaque_to_another(void **state)
{
    struct fixture *f = *state;
    struct chain body;
    adopt(f);
    conn_opaque(&f->conns[0], 20000);
    feed(f, BODY);
    assert_int_equal(f->taken.bytes, 20000);
    assert_true(f->taken.head->block->piped);
    assert_int_equal(conn_input(&f->conns[0]).len, BODY - 20000); /* the rest is to be seen */
    assert_memory_equal(conn_input(&f->conns[0]).ptr, f->body + 20000, BODY - 20000);
    chain_init(&body);
    chain_copy_in(&body, &f->r.bufs, "4e20\r\n", 6);
    chain_move(&body, &f->taken);
    chain_copy_in(&body, &f->r.bufs, "\r\n", 2);
    conn_send(&f->conns[1], &body);
    reactor_dispatch(&f->r);
    assert_int_equal(recv(f->to[1], f->got, BODY, MSG_WAITALL), 20008);
    assert_memory_equal(f->got, "4e20\r\n", 6);
    assert_memory_equal(f->got + 6, f->body, 20000);
    assert_memory_equal(f->got + 20006, "\r\n", 2);
    finish(f);
}

static void a_slow_reader_leaves_bytes_in_the_pipe(void **state)
{
    struct fixture *f = *state;
    size_t before = 0, n = 0;
    ssize_t one;
    while ((one = send(f->to[0], f->body, 1000, 0)) > 0) /* no room is left */
        before += (size_t)one;
    adopt(f);
    conn_opaque(&f->conns[0], BODY);
    feed(f, BODY);
    conn_send(&f->conns[1], &f->taken);
    reactor_dispatch(&f->r);
    assert_int_equal(conn_unsent(&f->conns[1]), BODY);
    for (; before > 0; before -= (size_t)one)
        assert_true((one = recv(f->to[1], f->got, before < BODY ? before : BODY, 0)) > 0);
    while (n < BODY) {
        if ((one = recv(f->to[1], f->got + n, BODY - n, 0)) > 0)
            n += (size_t)one;
        else
            reactor_turn(&f->r);
    }
    assert_memory_equal(f->got, f->body, BODY);
    assert_int_equal(conn_unsent(&f->conns[1]), 0);
    assert_int_equal(f->r.pipes.out, 0);
    finish(f);
}

static void what_is_in_pipes_ends_with_the_conn(void **state)
{
    struct fixture *f = *state;
    adopt(f);
    conn_opaque(&f->conns[0], BODY);
    feed(f, 20000);
    f->conns[1].flags |= CONN_CONNECTING; /* nothing leaves */
    conn_send(&f->conns[1], &f->taken);
    reactor_dispatch(&f->r);
    assert_int_equal(f->r.pipes.out, 1);
    f->conns[1].flags &= (uint16_t)~CONN_CONNECTING;
    finish(f);
    assert_int_equal(f->r.pipes.out, 0);
    assert_int_equal(f->r.pipes.n_free, 0);
}

static void an_end_is_told_behind_piped_bytes(void **state)
{
    struct fixture *f = *state;
    struct conn *c = &f->conns[0];
    adopt(f);
    conn_opaque(c, BODY);
    feed(f, 20000);
    assert_int_equal(f->taken.bytes, 20000);
    chain_clear(&f->taken);
    shutdown(f->from[1], SHUT_WR);
    while (!(c->flags & (CONN_EOF | CONN_ERROR)))
        reactor_turn(&f->r);
    assert_true(c->flags & CONN_EOF);
    assert_int_equal(f->r.pipes.out, 0);
    finish(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bytes_pass_in_parts_and_in_order),
        TEST(no_more_is_taken_than_the_cap),
        TEST(nothing_and_an_end_differ),
        TEST(an_empty_pipe_is_kept_and_a_full_one_closed),
        TEST(pipes_are_few),
        TEST(without_descriptors_there_is_none_for_a_while),
        TEST(bytes_come_back_to_memory_in_their_place),
        TEST(a_conn_shows_what_is_not_opaque),
        TEST(a_conn_pipes_what_is_opaque_to_another),
        TEST(a_slow_reader_leaves_bytes_in_the_pipe),
        TEST(what_is_in_pipes_ends_with_the_conn),
        TEST(an_end_is_told_behind_piped_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
