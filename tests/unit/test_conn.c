/* SPDX-License-Identifier: Apache-2.0 */
/* A conn without a protocol: its queue, its block, its deadlines, its pauses and its death. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/http/body_flow.h"
#include "proxy/base/check.h"
#include "tests/unit/wire.h"

struct fixture {
    struct wire w;
    struct conn conn;
    unsigned processed, freed;
    size_t flushed;
    ptrdiff_t moved;
    bool eat; /* process consumes all input */
    bool close_in_process;
};

static struct fixture *fixture_of(struct conn *c)
{
    return CONTAINER_OF(c, fixture, conn);
}

static void on_process(struct conn *c)
{
    struct fixture *f = fixture_of(c);
    f->processed++;
    if (f->eat && conn_input(c).len > 0)
        conn_consume(c, conn_input(c).len, NULL);
    if (f->close_in_process)
        conn_close(c, REASON_DONE, false);
}

static void on_flushed(struct conn *c, size_t n)
{
    fixture_of(c)->flushed += n;
}

static void on_moved(struct conn *c, ptrdiff_t delta)
{
    fixture_of(c)->moved += delta;
}

static void on_free(struct conn *c)
{
    fixture_of(c)->freed++;
}

static const struct conn_ops ops = {
    .process = on_process, .flushed = on_flushed, .moved = on_moved, .free = on_free};

static void begin(struct fixture *f, size_t capacity, uint32_t write_stall_ms)
{
    wire_init(&f->w, capacity);
    conn_init(&f->conn, &f->w.r, &ops, write_stall_ms);
    wire_attach(&f->w, &f->conn, false);
    f->processed = f->freed = 0;
    f->flushed = 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    begin(f, 1000, 0);
    *state = f;
    return 0;
}

static void end(struct fixture *f)
{
    if (f->freed == 0)
        conn_close(&f->conn, REASON_DONE, false);
    wire_settle(&f->w);
    assert_int_equal(f->freed, 1);
    wire_fini(&f->w);
}

static int teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

static void send_n(struct fixture *f, size_t n)
{
    struct chain c;
    char *bytes = calloc(1, n);
    assert_non_null(bytes);
    chain_init(&c);
    chain_copy_in(&c, &f->w.r.bufs, bytes, n);
    free(bytes);
    conn_send(&f->conn, &c);
    assert_true(chain_empty(&c));
    reactor_dispatch(&f->w.r);
}

static void input_stays_until_it_is_consumed(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "abc");
    wire_say(&f->w, "def");
    struct span in = conn_input(&f->conn);
    assert_int_equal(in.len, 6);
    assert_memory_equal(in.ptr, "abcdef", 6);
    conn_consume(&f->conn, 4, NULL);
    assert_memory_equal(conn_input(&f->conn).ptr, "ef", 2);
    conn_release_input(&f->conn); /* not yet: something is in it */
    assert_non_null(f->conn.in);
    conn_consume(&f->conn, 2, NULL);
    conn_release_input(&f->conn);
    assert_null(f->conn.in);
    assert_int_equal(conn_input(&f->conn).len, 0);
    wire_say(&f->w, "ghi");
    assert_memory_equal(conn_input(&f->conn).ptr, "ghi", 3);
}

/* What is consumed but still referred to moves along, and the session is told by how much. */
static void what_is_kept_moves_to_a_fresh_block(void **state)
{
    struct fixture *f = *state;
    char text[BLOCK_BYTES];
    end(f);
    begin(f, 65536, 0);
    memset(text, 'x', sizeof(text));
    memcpy(text, "keep", 4);
    wire_say_bytes(&f->w, text, BLOCK_BYTES - 2000);
    const char *kept = conn_input(&f->conn).ptr;
    struct block *before = f->conn.in;
    conn_consume(&f->conn, conn_input(&f->conn).len, kept);
    wire_say(&f->w, "more");
    assert_ptr_not_equal(f->conn.in, before);
    assert_memory_equal(f->conn.in->data + f->conn.in_keep, "keepx", 5);
    assert_memory_equal(conn_input(&f->conn).ptr, "more", 4);
    assert_int_equal(f->conn.in_pos - f->conn.in_keep, BLOCK_BYTES - 2000);
    assert_int_not_equal(f->moved, 0);
}

static void a_part_of_a_message_waits_in_a_block_of_its_size(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "done, and a part");
    uintptr_t kept = (uintptr_t)conn_input(&f->conn).ptr + 6;
    conn_consume(&f->conn, 16, conn_input(&f->conn).ptr + 6);
    conn_rest_input(&f->conn);
    assert_int_equal(f->conn.in->cap + sizeof(struct block), BLOCK_REST_BYTES);
    assert_memory_equal(f->conn.in->data + f->conn.in_keep, "and a part", 10);
    assert_int_equal(kept + (uintptr_t)f->moved, (uintptr_t)f->conn.in->data + f->conn.in_keep);
    wire_say(&f->w, " more");
    assert_memory_equal(f->conn.in->data + f->conn.in_keep, "and a part more", 15);
    assert_memory_equal(conn_input(&f->conn).ptr, " more", 5);
}

static void what_somebody_looks_at_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "a part");
    struct block *whole = block_ref(f->conn.in);
    conn_rest_input(&f->conn);
    assert_ptr_equal(f->conn.in, whole);
    block_drop(whole);
}

static void a_long_part_stays_where_it_is(void **state)
{
    struct fixture *f = *state;
    char text[BLOCK_REST_BYTES];
    memset(text, 'x', sizeof(text));
    wire_say_bytes(&f->w, text, sizeof(text));
    struct block *whole = f->conn.in;
    conn_rest_input(&f->conn);
    assert_ptr_equal(f->conn.in, whole);
}

static void reading_is_bounded_by_the_cap(void **state)
{
    struct fixture *f = *state;
    f->conn.read_cap = 3;
    wire_read(&f->w, true);
    wire_say(&f->w, "abcdefgh");
    assert_int_equal(conn_input(&f->conn).len, 8); /* in three reads */
    assert_true(f->processed >= 3);
}

static void reading_goes_on_when_no_pause_is_left(void **state)
{
    struct fixture *f = *state;
    conn_pause(&f->conn, PAUSE_CREDIT);
    conn_pause(&f->conn, PAUSE_FULL);
    wire_say(&f->w, "abc");
    assert_int_equal(conn_input(&f->conn).len, 0);
    conn_resume(&f->conn, PAUSE_FULL);
    wire_settle(&f->w);
    assert_int_equal(conn_input(&f->conn).len, 0);
    conn_resume(&f->conn, PAUSE_FULL); /* twice is once */
    assert_false(pair_reading(f->w.pair, 0));
    conn_resume(&f->conn, PAUSE_CREDIT);
    wire_settle(&f->w);
    assert_int_equal(conn_input(&f->conn).len, 3);
}

static void what_leaves_is_counted(void **state)
{
    struct fixture *f = *state;
    wire_read(&f->w, false);
    send_n(f, 2500);
    assert_int_equal(f->flushed, 1000);
    assert_int_equal(conn_unsent(&f->conn), 1500);
    struct body_flow flow = {.queued = 2000};
    assert_int_equal(body_flow_drained(&flow, &f->conn), 500);
    assert_int_equal(flow.queued, 1500);
    wire_read(&f->w, true);
    assert_int_equal(f->flushed, 2500);
    assert_int_equal(conn_unsent(&f->conn), 0);
    assert_int_equal(body_flow_drained(&flow, &f->conn), 1500);
    assert_int_equal(flow.queued, 0);
    assert_int_equal(f->w.got_len, 2500);
}

static void a_window_pauses_reading_and_credit_resumes_it(void **state)
{
    struct fixture *f = *state;
    struct body_flow flow;
    body_flow_init(&flow, 100);
    assert_true(body_flow_take(&flow, &f->conn, 60));
    assert_int_equal(f->conn.read_cap, 40);
    assert_true(pair_reading(f->w.pair, 0));
    assert_false(body_flow_take(&flow, &f->conn, 50)); /* one read may overdraw it */
    assert_false(body_flow_open(&flow));
    assert_false(pair_reading(f->w.pair, 0));
    assert_false(body_flow_credit(&flow, &f->conn, 10));
    assert_false(pair_reading(f->w.pair, 0));
    assert_true(body_flow_credit(&flow, &f->conn, 1));
    assert_true(pair_reading(f->w.pair, 0));
    assert_false(body_flow_credit(&flow, &f->conn, 5)); /* it was open already */
    body_flow_end(&f->conn);
    assert_int_equal(f->conn.read_cap, 0);
}

static void few_bytes_behind_a_head_become_one_piece_with_it(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t n;
        bool one;
    } bodies[] = {{1, true}, {512, true}, {513, false}};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct block *block;
        struct chain body;
        char text[600] = {0};
        char *head = conn_reserve(&f->conn, 4, &block);
        memcpy(head, "head", 4);
        conn_wrote(&f->conn, block, head, 4);
        chain_init(&body);
        chain_copy_in(&body, &f->w.r.bufs, text, bodies[i].n);
        conn_send(&f->conn, &body);
        assert_true(chain_empty(&body));
        assert_int_equal(f->conn.out.bytes, 4 + bodies[i].n);
        assert_int_equal(f->conn.out.head == f->conn.out.tail, bodies[i].one);
        size_t before = f->w.got_len;
        reactor_dispatch(&f->w.r);
        wire_settle(&f->w);
        assert_int_equal(f->w.got_len - before, 4 + bodies[i].n);
    }
}

static void our_end_follows_what_is_queued(void **state)
{
    struct fixture *f = *state;
    wire_read(&f->w, false);
    conn_send_end(&f->conn);
    send_n(f, 2500);
    assert_false(f->w.got_end);
    wire_read(&f->w, true);
    assert_int_equal(f->w.got_len, 2500);
    assert_true(f->w.got_end);
    f->eat = true; /* the other direction is open */
    wire_say(&f->w, "still here");
    assert_true(f->processed > 0);
}

static void a_read_deadline_is_told_once(void **state)
{
    struct fixture *f = *state;
    conn_expect(&f->conn, 1000);
    wire_pass(&f->w, 900);
    assert_false(f->conn.flags & CONN_READ_LATE);
    conn_expect(&f->conn, 1000); /* later */
    wire_pass(&f->w, 900);
    assert_false(f->conn.flags & CONN_READ_LATE);
    unsigned before = f->processed;
    wire_pass(&f->w, 200);
    assert_true(f->conn.flags & CONN_READ_LATE);
    assert_int_equal(f->processed, before + 1);
    conn_expect(&f->conn, NEVER);
    assert_false(f->conn.flags & CONN_READ_LATE);
    wire_pass(&f->w, 100000);
    assert_int_equal(f->processed, before + 1);
}

static void an_earlier_deadline_wins(void **state)
{
    struct fixture *f = *state;
    conn_expect(&f->conn, 10000);
    conn_expect(&f->conn, 100);
    wire_pass(&f->w, 200);
    assert_true(f->conn.flags & CONN_READ_LATE);
}

static void a_write_that_stalls_is_late(void **state)
{
    struct fixture *f = *state;
    end(f);
    begin(f, 1000, 5000);
    wire_read(&f->w, false);
    send_n(f, 2500);
    wire_pass(&f->w, 4900);
    assert_false(f->conn.flags & CONN_WRITE_LATE);
    wire_pass(&f->w, 200);
    assert_true(f->conn.flags & CONN_WRITE_LATE);
}

static void a_write_that_is_done_is_not_late(void **state)
{
    struct fixture *f = *state;
    end(f);
    begin(f, 1000, 5000);
    send_n(f, 2500);
    wire_settle(&f->w);
    wire_pass(&f->w, 10000);
    assert_false(f->conn.flags & CONN_WRITE_LATE);
}

static void a_broken_write_leaves_the_reading(void **state)
{
    struct fixture *f = *state;
    pair_fail_write(f->w.pair, 0, UV_EPIPE);
    send_n(f, 10);
    assert_true(f->conn.flags & CONN_BROKEN);
    assert_int_equal(f->conn.error, UV_EPIPE);
    assert_int_equal(conn_unsent(&f->conn), 0);
    send_n(f, 10); /* dropped */
    wire_say(&f->w, "last words");
    assert_int_equal(conn_input(&f->conn).len, 10);
}

static void an_end_and_an_error_are_two_things(void **state)
{
    struct fixture *f = *state;
    wire_end(&f->w);
    assert_true(f->conn.flags & CONN_EOF);
    assert_false(f->conn.flags & CONN_ERROR);
    end(f);
    begin(f, 1000, 0);
    wire_close(&f->w, true);
    assert_false(f->conn.flags & CONN_EOF);
    assert_true(f->conn.flags & CONN_ERROR);
    assert_int_equal(f->conn.error, UV_ECONNRESET);
}

static void the_first_reason_to_close_stays(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "unread");
    conn_close(&f->conn, REASON_CLIENT_RESET, false);
    conn_close(&f->conn, REASON_DONE, true);
    assert_int_equal(f->conn.close_reason, REASON_CLIENT_RESET);
    assert_int_equal(f->w.r.bufs.blocks, 0);
    wire_settle(&f->w);
    assert_int_equal(f->freed, 1);
}

static void a_held_conn_outlives_its_transport(void **state)
{
    struct fixture *f = *state;
    conn_hold(&f->conn);
    conn_close(&f->conn, REASON_DONE, false);
    wire_settle(&f->w);
    assert_int_equal(f->freed, 0);
    conn_unhold(&f->conn);
    assert_int_equal(f->freed, 0); /* never inside a call */
    reactor_dispatch(&f->w.r);
    assert_int_equal(f->freed, 1);
}

static void a_conn_may_close_while_it_is_processed(void **state)
{
    struct fixture *f = *state;
    f->close_in_process = true;
    wire_say(&f->w, "x");
    assert_int_equal(f->processed, 1);
    assert_int_equal(f->freed, 1);
}

static void nothing_is_called_after_close(void **state)
{
    struct fixture *f = *state;
    conn_expect(&f->conn, 100);
    send_n(f, 10);
    conn_close(&f->conn, REASON_DONE, false);
    unsigned processed = f->processed;
    size_t flushed = f->flushed;
    conn_wake(&f->conn);
    wire_pass(&f->w, 1000);
    assert_int_equal(f->processed, processed);
    assert_int_equal(f->flushed, flushed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(input_stays_until_it_is_consumed),
        TEST(what_is_kept_moves_to_a_fresh_block),
        TEST(a_part_of_a_message_waits_in_a_block_of_its_size),
        TEST(what_somebody_looks_at_stays_where_it_is),
        TEST(a_long_part_stays_where_it_is),
        TEST(reading_is_bounded_by_the_cap),
        TEST(reading_goes_on_when_no_pause_is_left),
        TEST(what_leaves_is_counted),
        TEST(a_window_pauses_reading_and_credit_resumes_it),
        TEST(few_bytes_behind_a_head_become_one_piece_with_it),
        TEST(our_end_follows_what_is_queued),
        TEST(a_read_deadline_is_told_once),
        TEST(an_earlier_deadline_wins),
        TEST(a_write_that_stalls_is_late),
        TEST(a_write_that_is_done_is_not_late),
        TEST(a_broken_write_leaves_the_reading),
        TEST(an_end_and_an_error_are_two_things),
        TEST(the_first_reason_to_close_stays),
        TEST(a_held_conn_outlives_its_transport),
        TEST(a_conn_may_close_while_it_is_processed),
        TEST(nothing_is_called_after_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
