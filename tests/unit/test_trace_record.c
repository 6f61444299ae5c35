/* SPDX-License-Identifier: Apache-2.0 */
/* Records of traced requests, in a ring and as spans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/json_read.h"
#include "proxy/trace/answer.h"
#include "proxy/trace/otlp.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static const struct otlp_resource resource = {"weir", "one", "0.1"};

static struct flight flight_of(const char *path, unsigned legs)
{
    struct flight f;
    flight_init(&f);
    f.trace.there = true;
    memcpy(f.trace.id, TRACE, sizeof(f.trace.id));
    memcpy(f.trace.span, SPAN, sizeof(f.trace.span));
    f.time_us = 1700000000000000;
    f.total_us = 30000;
    f.status = 200;
    f.reason = REASON_DONE;
    f.protocol = 11;
    flight_set_text(&f, FLIGHT_ID, SPAN_LIT("id-1"));
    flight_set_text(&f, FLIGHT_PEER, SPAN_LIT("[::1]:5000"));
    flight_set_text(&f, FLIGHT_METHOD, SPAN_LIT("GET"));
    flight_set_text(&f, FLIGHT_HOST, SPAN_LIT("[fd00::7]:8080"));
    flight_set_text(&f, FLIGHT_PATH, span_str(path));
    for (unsigned i = 0; i < legs; i++) {
        struct flight_leg leg = {.span = i + 1,
                                 .start_us = 100 * i,
                                 .end_us = 100 * i + 50,
                                 .up_us = FLIGHT_NEVER,
                                 .head_us = FLIGHT_NEVER,
                                 .reason = REASON_DONE};
        flight_add_leg(&f, &leg, SPAN_LIT("10.0.0.1:80"));
    }
    return f;
}

/* ---- the ring ---- */

struct taken {
    unsigned n, most;
    char paths[64][32];
};

static bool take(void *ctx, const struct trace_record *record)
{
    struct taken *t = ctx;
    struct span path = flight_text(&record->flight, FLIGHT_PATH);
    if (t->n == t->most)
        return false;
    memcpy(t->paths[t->n], path.ptr, path.len);
    t->paths[t->n++][path.len] = '\0';
    assert_true(span_eq(trace_record_state(record), SPAN_LIT("a=1")));
    assert_true(span_eq(trace_record_agent(record), SPAN_LIT("me")));
    assert_true(record->https);
    assert_int_equal((uintptr_t)record % 8, 0);
    return true;
}

static bool put(struct trace_ring *ring, const char *path, unsigned legs)
{
    struct flight f = flight_of(path, legs);
    return trace_ring_put(ring, &f, true, SPAN_LIT("a=1"), SPAN_LIT("me"));
}

static void records_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct trace_ring ring;
    char path[16];
    unsigned in = 0, out = 0;
    assert_true(trace_ring_init(&ring, 8192, NULL));
    for (int round = 0; round < 200; round++) {
        for (unsigned i = 0; i < (unsigned)round % 7; i++) {
            snprintf(path, sizeof(path), "/%u", in);
            in += put(&ring, path, in % 4);
        }
        struct taken t = {.most = (unsigned)round % 5};
        trace_ring_take(&ring, take, &t);
        for (unsigned i = 0; i < t.n; i++) {
            snprintf(path, sizeof(path), "/%u", out++);
            assert_string_equal(t.paths[i], path);
        }
    }
    struct taken t = {.most = 64};
    assert_true(trace_ring_take(&ring, take, &t));
    assert_int_equal(out + t.n, in);
    assert_true(in > 100);
    trace_ring_fini(&ring);
}

static void what_finds_no_room_is_counted_in_spans(void **state)
{
    (void)state;
    struct trace_ring ring;
    uint64_t dropped = 0;
    unsigned in = 0;
    assert_true(trace_ring_init(&ring, 4096, NULL));
    while (put(&ring, "/a", 2))
        in++;
    dropped += 3;
    assert_false(put(&ring, "/a", 4));
    dropped += 5;
    assert_int_equal(counter_get(&ring.dropped), dropped);
    struct taken t = {.most = 64};
    assert_true(trace_ring_take(&ring, take, &t));
    assert_int_equal(t.n, in);
    assert_true(put(&ring, "/a", 4));
    trace_ring_fini(&ring);
}

/* ---- spans ---- */

static void fill(struct trace_record *record, const struct flight *f)
{
    memset(record, 0, sizeof(*record));
    record->flight = *f;
}

/* What came of some flights. */
struct told {
    struct json_t *root;
    const struct json_t *spans;
};

static const struct json_t *first(const struct json_t *in, const char *list)
{
    struct json_wrong wrong = {0};
    return json_read_item(json_read_array(in, list, &wrong), 0);
}

static struct told tell(const struct flight *flights, size_t n)
{
    char *memory = malloc(OTLP_BATCH_MIN), why[JSON_READ_WHY];
    struct told told;
    struct otlp_batch batch;
    struct json_wrong wrong = {0};
    otlp_begin(&batch, memory, OTLP_BATCH_MIN, &resource);
    for (size_t i = 0; i < n; i++) {
        struct trace_record record;
        fill(&record, &flights[i]);
        assert_true(otlp_add(&batch, &record));
    }
    told.root = json_read(otlp_end(&batch), why);
    free(memory);
    assert_non_null(told.root);
    told.spans =
        json_read_array(first(first(told.root, "resourceSpans"), "scopeSpans"), "spans", &wrong);
    assert_int_equal(json_read_count(told.spans), batch.spans);
    return told;
}

static const struct json_t *span_at(const struct told *told, size_t i)
{
    return json_read_item(told->spans, i);
}

static void assert_member(const struct json_t *span, const char *path, const char *want)
{
    struct span got = json_read_as_text(json_read_at(span, path));
    if (want == NULL)
        assert_null(got.ptr);
    else if (!span_eq(got, span_str(want)))
        fail_msg("%s: %.*s", path, (int)got.len, got.ptr);
}

/* Texts and numbers are both written as texts. */
static void assert_attribute(const struct json_t *span, const char *key, const char *want)
{
    struct json_wrong wrong = {0};
    const struct json_t *list = json_read_array(span, "attributes", &wrong);
    for (size_t i = 0; i < json_read_count(list); i++) {
        const struct json_t *one = json_read_item(list, i);
        if (!span_eq(json_read_as_text(json_read_at(one, "key")), span_str(key)))
            continue;
        bool text = json_read_at(one, "value.stringValue") != NULL;
        assert_non_null(want);
        assert_member(one, text ? "value.stringValue" : "value.intValue", want);
        return;
    }
    if (want != NULL)
        fail_msg("%s is not there", key);
}

static bool is_error(const struct json_t *span)
{
    struct json_wrong wrong = {0};
    return json_read_number(span, "status.code", 0, &wrong) == 2;
}

static void a_request_and_its_attempts_are_spans(void **state)
{
    (void)state;
    struct flight f = flight_of("/a?b=c", 2);
    struct told told = tell(&f, 1);
    const struct json_t *whole = span_at(&told, 0), *second = span_at(&told, 2);
    assert_int_equal(json_read_count(told.spans), 3);
    assert_member(whole, "traceId", TRACE);
    assert_member(whole, "spanId", SPAN);
    assert_member(whole, "parentSpanId", NULL);
    assert_member(whole, "startTimeUnixNano", "1700000000000000000");
    assert_member(whole, "endTimeUnixNano", "1700000000030000000");
    assert_attribute(whole, "server.address", "fd00::7");
    assert_attribute(whole, "server.port", "8080");
    assert_attribute(whole, "client.address", "::1");
    assert_attribute(whole, "client.port", "5000");
    assert_attribute(whole, "url.path", "/a");
    assert_attribute(whole, "url.query", "b=c");
    assert_member(second, "parentSpanId", SPAN);
    assert_member(second, "spanId", "0000000000000002");
    assert_attribute(second, "url.full", "http://10.0.0.1:80/a?b=c");
    assert_attribute(second, "http.request.resend_count", "1");
    assert_attribute(span_at(&told, 1), "http.request.resend_count", NULL);
    json_read_free(told.root);
}

static void which_statuses_are_errors(void **state)
{
    (void)state;
    static const struct {
        uint16_t status, reason;
        const char *type, *shown; /* error.type, and the status that is told */
    } table[] = {
        {200, REASON_DONE, NULL, "200"},
        {404, REASON_DONE, NULL, "404"},
        {404, REASON_NO_ROUTE, NULL, "404"},
        {400, REASON_BAD_HOST, NULL, "400"},
        {500, REASON_DONE, "500", "500"},
        {499, REASON_DONE, NULL, "499"},
        {499, REASON_CLIENT_CLOSED, "client_closed", NULL},
        {200, REASON_CLIENT_CLOSED, "client_closed", "200"},
        {200, REASON_RESPONSE_INCOMPLETE, "response_incomplete", "200"},
        {503, REASON_NO_ENDPOINT, "no_endpoint", "503"},
        {0, REASON_SHUTDOWN, "shutdown", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct flight f = flight_of("/", 0);
        f.status = table[i].status;
        f.reason = table[i].reason;
        struct told told = tell(&f, 1);
        assert_attribute(span_at(&told, 0), "error.type", table[i].type);
        assert_attribute(span_at(&told, 0), "http.response.status_code", table[i].shown);
        assert_int_equal(is_error(span_at(&told, 0)), table[i].type != NULL);
        json_read_free(told.root);
    }
}

static void any_text_is_valid_json(void **state)
{
    (void)state;
    struct flight f = flight_of("/\xff\xfe\"\\\x01\xc3", 1);
    f.trace.has_parent = true;
    memcpy(f.trace.parent, SPAN, sizeof(f.trace.parent));
    struct told told = tell(&f, 1);
    assert_member(span_at(&told, 0), "parentSpanId", SPAN);
    assert_attribute(span_at(&told, 0), "url.path",
                     "/\xef\xbf\xbd\xef\xbf\xbd\"\\\x01\xef\xbf\xbd");
    json_read_free(told.root);
}

static void an_attempt_ends_within_its_request(void **state)
{
    (void)state;
    struct flight f = flight_of("/", 1);
    f.total_us = UINT64_C(10000000000); /* longer than a leg counts */
    f.legs[0].end_us = FLIGHT_NEVER - 1;
    struct told told = tell(&f, 1);
    assert_member(span_at(&told, 0), "endTimeUnixNano", "1700010000000000000");
    assert_member(span_at(&told, 1), "endTimeUnixNano", "1700010000000000000");
    json_read_free(told.root);
}

static void a_full_batch_stays_as_it_was(void **state)
{
    (void)state;
    char *memory = malloc(OTLP_BATCH_MIN), why[JSON_READ_WHY];
    struct flight f = flight_of("/", FLIGHT_LEGS);
    struct trace_record record;
    struct otlp_batch batch;
    unsigned spans = 0;
    fill(&record, &f);
    otlp_begin(&batch, memory, OTLP_BATCH_MIN, &resource);
    while (otlp_add(&batch, &record))
        spans += 1 + FLIGHT_LEGS;
    assert_int_equal(batch.spans, spans);
    struct json_t *root = json_read(otlp_end(&batch), why);
    assert_non_null(root);
    json_read_free(root);
    free(memory);
}

/* ---- answers ---- */

static void what_an_answer_says_was_not_taken(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
        uint64_t rejected;
    } table[] = {
        {"{}", "", 0},
        {"{\"partialSuccess\":{}}", "", 0},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"7\"}}", "", 7},
        {"{\"partialSuccess\":{\"rejectedSpans\":7,\"errorMessage\":\"old\"}}", "old", 7},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"-7\"}}", "", 0},
        {"{\"partialSuccess\":{\"errorMessage\":\"a\\n\\u0007b\"}}", "a??b", 0},
        {"{\"partialSuccess\":[]}", "", 0},
        {"{\"partialSuccess\":{\"rejectedSpans\":{}}}", "", 0},
        {"", "", 0},
        {"[1", "", 0},
        {"\x0a\x02\x08\x07", "", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char message[OTLP_MESSAGE];
        assert_int_equal(otlp_rejected(span_str(table[i].body), message), table[i].rejected);
        assert_string_equal(message, table[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_as_they_went_in),
        cmocka_unit_test(what_finds_no_room_is_counted_in_spans),
        cmocka_unit_test(a_request_and_its_attempts_are_spans),
        cmocka_unit_test(which_statuses_are_errors),
        cmocka_unit_test(any_text_is_valid_json),
        cmocka_unit_test(an_attempt_ends_within_its_request),
        cmocka_unit_test(a_full_batch_stays_as_it_was),
        cmocka_unit_test(what_an_answer_says_was_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
