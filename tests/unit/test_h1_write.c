/* SPDX-License-Identifier: Apache-2.0 */
/* What is put on the wire, byte for byte, and into which blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_write.h"
#include "tests/unit/wire.h"

struct fixture {
    struct wire w;
    struct conn conn;
    struct http_head head;
};

static void on_process(struct conn *c)
{
    (void)c;
}

static void on_flushed(struct conn *c, size_t n)
{
    (void)c;
    (void)n;
}

static const struct conn_ops ops = {
    .process = on_process, .flushed = on_flushed, .free = on_process};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    wire_init(&f->w, 1 << 20);
    conn_init(&f->conn, &f->w.r, &ops, 0);
    wire_attach(&f->w, &f->conn, false);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    conn_close(&f->conn, REASON_DONE, false);
    wire_settle(&f->w);
    wire_fini(&f->w);
    free(f);
    return 0;
}

static void add(struct http_head *head, const char *name, const char *value)
{
    http_head_add(head, FIELD_OTHER, span_str(name), span_str(value));
}

static const char *sent(struct fixture *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
    return wire_take(&f->w);
}

static struct http_head *request(struct fixture *f)
{
    http_head_init(&f->head);
    f->head.method = SPAN_LIT("GET");
    f->head.path = SPAN_LIT("/p");
    add(&f->head, "Host", "h");
    return &f->head;
}

static struct http_head *response(struct fixture *f, unsigned status)
{
    http_head_init(&f->head);
    f->head.status = (uint16_t)status;
    f->head.phrase = http_status_phrase(status);
    add(&f->head, "A", "1");
    return &f->head;
}

static void a_request_head(void **state)
{
    struct fixture *f = *state;
    struct http_head *head = request(f);
    h1_write_request(&f->conn, head, &(struct h1_framing){0});
    assert_string_equal(sent(f), "GET /p HTTP/1.1\r\nHost: h\r\n\r\n");
    head->has_query = true; /* an empty query is still one */
    h1_write_request(&f->conn, head, &(struct h1_framing){.chunked = true});
    assert_string_equal(sent(f),
                        "GET /p? HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    head->query = SPAN_LIT("q=1");
    h1_write_request(&f->conn, head, &(struct h1_framing){.upgrade = SPAN_LIT("websocket")});
    assert_string_equal(sent(f), "GET /p?q=1 HTTP/1.1\r\nHost: h\r\n"
                                 "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void a_response_head(void **state)
{
    struct fixture *f = *state;
    h1_write_response(&f->conn, response(f, 200), &(struct h1_framing){0});
    assert_string_equal(sent(f), "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n");
    h1_write_response(&f->conn, response(f, 599), &(struct h1_framing){.close = true});
    assert_string_equal(sent(f), "HTTP/1.1 599 \r\nA: 1\r\nConnection: close\r\n\r\n");
    h1_write_response(&f->conn, response(f, 100), &(struct h1_framing){.keep_alive = true});
    assert_string_equal(sent(f), "HTTP/1.1 100 Continue\r\nA: 1\r\nConnection: keep-alive\r\n\r\n");
}

/* One Connection field, whatever is asked for. */
static void framing_fields_exclude_one_another(void **state)
{
    struct fixture *f = *state;
    h1_write_response(&f->conn, response(f, 200),
                      &(struct h1_framing){.chunked = true, .close = true, .keep_alive = true});
    assert_string_equal(sent(f), "HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\n"
                                 "Connection: close\r\n\r\n");
    h1_write_response(&f->conn, response(f, 101),
                      &(struct h1_framing){.close = true, .upgrade = SPAN_LIT("x")});
    assert_string_equal(sent(f), "HTTP/1.1 101 Switching Protocols\r\nA: 1\r\n"
                                 "Connection: upgrade\r\nUpgrade: x\r\n\r\n");
}

static void dropped_fields_are_not_written(void **state)
{
    struct fixture *f = *state;
    struct http_head *head = request(f);
    add(head, "B", "2");
    add(head, "C", "");
    head->fields[1].flags |= FIELD_DROPPED;
    http_head_add(head, FIELD_OTHER, SPAN_LIT("D"), span_of(NULL, 0));
    h1_write_request(&f->conn, head, &(struct h1_framing){0});
    assert_string_equal(sent(f), "GET /p HTTP/1.1\r\nHost: h\r\nC: \r\nD: \r\n\r\n");
}

static void the_largest_head_fits(void **state)
{
    struct fixture *f = *state;
    struct http_head *head = request(f);
    static char value[60 * 1024 + 1];
    memset(value, 'v', sizeof(value) - 1);
    add(head, "Big", value);
    for (int i = 0; i < HTTP_MAX_FIELDS; i++)
        add(head, "N", "1");
    h1_write_request(&f->conn, head, &(struct h1_framing){.chunked = true});
    size_t n = strlen(sent(f));
    assert_int_equal(n, strlen("GET /p HTTP/1.1\r\nHost: h\r\nBig: \r\n") + sizeof(value) - 1 +
                            HTTP_MAX_FIELDS * strlen("N: 1\r\n") +
                            strlen("Transfer-Encoding: chunked\r\n\r\n"));
}

/* What weir adds can make a head longer than any block. */
static void a_head_beyond_any_block_is_sent_too(void **state)
{
    struct fixture *f = *state;
    struct http_head *head = request(f);
    static char value[60 * 1024 + 1];
    memset(value, 'v', sizeof(value) - 1);
    for (int i = 0; i < 3; i++)
        add(head, "Big", value);
    h1_write_request(&f->conn, head, &(struct h1_framing){0});
    const char *got = sent(f);
    assert_int_equal(strlen(got), strlen("GET /p HTTP/1.1\r\nHost: h\r\n\r\n") +
                                      3 * (strlen("Big: \r\n") + sizeof(value) - 1));
    assert_string_equal(got + strlen(got) - 6, "vv\r\n\r\n");
}

static struct chain bytes_of(struct fixture *f, size_t n)
{
    struct chain body;
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    memset(bytes, 'x', n);
    chain_init(&body);
    chain_copy_in(&body, &f->w.r.bufs, bytes, n);
    free(bytes);
    return body;
}

static void a_body_is_sent_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct chain body = bytes_of(f, 5);
    h1_write_body(&f->conn, &body, false);
    assert_true(chain_empty(&body));
    assert_string_equal(sent(f), "xxxxx");
}

static void chunk_sizes_are_hexadecimal(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535, 65536};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char size[16];
        struct chain body = bytes_of(f, sizes[i]);
        int n = snprintf(size, sizeof(size), "%zx\r\n", sizes[i]);
        h1_write_body(&f->conn, &body, true);
        const char *got = sent(f);
        assert_memory_equal(got, size, (size_t)n);
        assert_int_equal(strlen(got), (size_t)n + sizes[i] + 2);
        assert_string_equal(got + (size_t)n + sizes[i], "\r\n");
    }
}

/* A chunk of nothing would be the last one. */
static void an_empty_body_is_no_chunk(void **state)
{
    struct fixture *f = *state;
    struct chain body;
    chain_init(&body);
    h1_write_body(&f->conn, &body, true);
    assert_string_equal(sent(f), "");
    h1_write_last_chunk(&f->conn, NULL);
    assert_string_equal(sent(f), "0\r\n\r\n");
}

static void trailers_follow_the_last_chunk(void **state)
{
    struct fixture *f = *state;
    http_head_init(&f->head);
    h1_write_last_chunk(&f->conn, &f->head);
    assert_string_equal(sent(f), "0\r\n\r\n");
    add(&f->head, "A", "1");
    add(&f->head, "B", "2");
    f->head.fields[0].flags |= FIELD_DROPPED;
    h1_write_last_chunk(&f->conn, &f->head);
    assert_string_equal(sent(f), "0\r\nB: 2\r\n\r\n");
}

/* Head, chunk framing and last chunk go to one block of the conn's own; the body stays where it is.
 */
static void small_pieces_share_a_block(void **state)
{
    struct fixture *f = *state;
    struct chain body = bytes_of(f, 100), large = bytes_of(f, 600);
    struct block *theirs = large.head->block;
    h1_write_response(&f->conn, response(f, 200), &(struct h1_framing){.chunked = true});
    h1_write_response(&f->conn, response(f, 200), &(struct h1_framing){.chunked = true});
    assert_ptr_equal(f->conn.out.head, f->conn.out.tail);
    struct block *ours = f->conn.out.head->block;
    h1_write_body(&f->conn, &body, true); /* behind a backlog a small body is copied */
    assert_ptr_equal(f->conn.out.head, f->conn.out.tail);
    assert_ptr_equal(f->conn.out.head->block, ours);
    h1_write_body(&f->conn, &large, true); /* a larger one is referred to */
    assert_ptr_equal(f->conn.out.head->next->block, theirs);
    assert_int_equal(theirs->refs, 1);
    assert_ptr_equal(f->conn.out.tail->block, ours);
    assert_true(strlen(sent(f)) > 700);
    assert_int_equal(f->w.r.bufs.blocks, 0);
}

/* A byte a chunk must not cost a block, or slices, a byte. */
static void tiny_chunks_behind_a_backlog_share_a_block(void **state)
{
    struct fixture *f = *state;
    static const char head[] = "HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    h1_write_response(&f->conn, response(f, 200), &(struct h1_framing){.chunked = true});
    for (int i = 0; i < 1000; i++) {
        struct chain body = bytes_of(f, 1);
        h1_write_body(&f->conn, &body, true);
        assert_true(chain_empty(&body));
    }
    assert_ptr_equal(f->conn.out.head, f->conn.out.tail);
    assert_int_equal(f->w.r.bufs.blocks, 1);
    const char *got = sent(f);
    assert_int_equal(strlen(got), sizeof(head) - 1 + 6000);
    for (int i = 0; i < 1000; i++)
        assert_memory_equal(got + sizeof(head) - 1 + i * 6, "1\r\nx\r\n", 6);
}

/* Bytes that somebody else may still read are not written over. */
static void a_shared_block_is_not_written_to(void **state)
{
    struct fixture *f = *state;
    struct chain body = bytes_of(f, 4), replay;
    chain_init(&replay);
    chain_share(&replay, &body);
    uint32_t used = body.head->block->used;
    h1_write_body(&f->conn, &body, true);
    assert_int_equal(replay.head->block->used, used);
    assert_string_equal(sent(f), "4\r\nxxxx\r\n");
    assert_memory_equal(replay.head->ptr, "xxxx", 4);
    chain_clear(&replay);
}

static void a_closed_conn_takes_nothing(void **state)
{
    struct fixture *f = *state;
    struct chain body = bytes_of(f, 4);
    conn_close(&f->conn, REASON_DONE, false);
    h1_write_response(&f->conn, response(f, 200), &(struct h1_framing){0});
    h1_write_body(&f->conn, &body, true);
    h1_write_last_chunk(&f->conn, NULL);
    assert_true(chain_empty(&body));
    assert_int_equal(f->w.r.bufs.blocks, 0);
    assert_string_equal(sent(f), "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_head),
        TEST(a_response_head),
        TEST(framing_fields_exclude_one_another),
        TEST(dropped_fields_are_not_written),
        TEST(the_largest_head_fits),
        TEST(a_head_beyond_any_block_is_sent_too),
        TEST(a_body_is_sent_as_it_is),
        TEST(chunk_sizes_are_hexadecimal),
        TEST(an_empty_body_is_no_chunk),
        TEST(trailers_follow_the_last_chunk),
        TEST(small_pieces_share_a_block),
        TEST(tiny_chunks_behind_a_backlog_share_a_block),
        TEST(a_shared_block_is_not_written_to),
        TEST(a_closed_conn_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
