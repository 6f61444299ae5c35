/* SPDX-License-Identifier: Apache-2.0 */
/* Weir's own answers to a gRPC call, and to everybody else, as a stream is given them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/reply.h"
#include "tests/unit/notes.h"

struct fixture {
    struct reactor r;
    struct stream stream;
    struct http_head request;
    struct notes notes;
};

static void op_send_head(struct stream *s, const struct http_head *head)
{
    notes_add(s->owner, "%u body=%u|", head->status, head->body);
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->id != FIELD_DATE)
            notes_add(s->owner, "%.*s: %.*s|", field->name_len, field->name, (int)field->value_len,
                      field->value);
    }
}

static void op_send_body(struct stream *s, struct chain *body)
{
    for (const struct slice *slice = body->head; slice != NULL; slice = slice->next)
        notes_add(s->owner, "%.*s", (int)slice->len, slice->ptr);
    chain_clear(body);
}

static void op_send_end(struct stream *s, const struct http_head *trailers)
{
    assert_null(trailers);
    notes_add(s->owner, "end|");
}

static const struct stream_ops ops = {
    .send_head = op_send_head, .send_body = op_send_body, .send_end = op_send_end};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(reactor_init(&f->r), 0);
    f->stream = (struct stream){.magic = STREAM_MAGIC, .ops = &ops, .owner = &f->notes};
    http_head_init(&f->request);
    f->request.method = SPAN_LIT("POST");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    reactor_fini(&f->r);
    free(f);
    return 0;
}

static void a_call_is_told_by_trailers_only(void **state)
{
    struct fixture *f = *state;
    http_head_add(&f->request, FIELD_CONTENT_TYPE, SPAN_LIT("content-type"),
                  SPAN_LIT("application/grpc+proto"));
    assert_int_equal(
        reply_error(&f->r, &f->stream, &f->request, REASON_NO_ENDPOINT, NULL, SPAN_LIT("id1")), 0);
    assert_string_equal(
        f->notes.log, "200 body=0|Content-Type: application/grpc|grpc-status: 14|"
                      "grpc-message: the pool has no usable endpoint|"
                      "Proxy-Status: weir; error=destination_unavailable; details=\"no_endpoint\"|"
                      "X-Request-Id: id1|end|");
    assert_int_equal(reply_status(&f->request, REASON_NO_ENDPOINT), 200);
}

static void everybody_else_by_a_status(void **state)
{
    struct fixture *f = *state;
    http_head_add(&f->request, FIELD_CONTENT_TYPE, SPAN_LIT("content-type"),
                  SPAN_LIT("application/grpc-web"));
    size_t n = reply_error(&f->r, &f->stream, &f->request, REASON_NO_ROUTE, NULL, SPAN_LIT("id1"));
    assert_string_equal(f->notes.log,
                        "404 body=1|Content-Type: text/plain; charset=utf-8|Content-Length: 61|"
                        "Proxy-Status: weir; error=destination_not_found; details=\"no_route\"|"
                        "X-Request-Id: id1|"
                        "404 Not Found: no route matches this request\nrequest id: id1\nend|");
    assert_int_equal(n, 61);
    assert_int_equal(reply_status(&f->request, REASON_NO_ROUTE), 404);
}

/* Nobody could look up what has none: the admin listener's requests. */
static void what_has_no_id_names_none(void **state)
{
    struct fixture *f = *state;
    reply_error(&f->r, &f->stream, &f->request, REASON_NO_ROUTE, NULL, span_of(NULL, 0));
    assert_string_equal(f->notes.log,
                        "404 body=1|Content-Type: text/plain; charset=utf-8|Content-Length: 45|"
                        "Proxy-Status: weir; error=destination_not_found; details=\"no_route\"|"
                        "404 Not Found: no route matches this request\nend|");
}

static void nor_does_its_json(void **state)
{
    struct fixture *f = *state;
    http_head_add(&f->request, FIELD_ACCEPT, SPAN_LIT("accept"), SPAN_LIT("application/json"));
    reply_error(&f->r, &f->stream, &f->request, REASON_NO_ROUTE, NULL, span_of(NULL, 0));
    assert_non_null(strstr(f->notes.log, "{\"status\":404,\"error\":\"no_route\",\"message\":"
                                         "\"no route matches this request\"}end|"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_is_told_by_trailers_only, setup, teardown),
        cmocka_unit_test_setup_teardown(everybody_else_by_a_status, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_no_id_names_none, setup, teardown),
        cmocka_unit_test_setup_teardown(nor_does_its_json, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
