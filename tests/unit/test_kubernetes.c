/* SPDX-License-Identifier: Apache-2.0 */
/* EndpointSlices and the events of a watch: what is read of them, and what they come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "proxy/base/check.h"
#include "proxy/discovery/kubernetes_stream.h"

#define SLICE(name, endpoints)                                                            \
    "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"7\"},"                    \
    "\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\",\"port\":80}],\"endpoints\":" \
    "[" endpoints "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"

static const struct kube_want any = {0};

/* ---- JSON ---- */

/* why: how it begins; the rest is jansson's. */
static void check_json(const char *text, const char *why)
{
    char said[JSON_READ_WHY] = "";
    struct json_t *root = json_read(span_str(text), said);
    assert_int_equal(root == NULL, why[0] != '\0');
    assert_true(why[0] != '\0' ? span_starts(span_str(said), span_str(why)) : said[0] == '\0');
    json_read_free(root);
}

static void test_json_is_bounded(void **state)
{
    static const char malformed[] = "malformed JSON at line 1, column ";
    char deep[200] = {0};
    (void)state;
    check_json("{}", "");
    check_json("[{\"a\":\"[[[[\\\"[[\"}]", "");
    check_json("", malformed);
    check_json("7", malformed);
    check_json("{\"a\":1,\"a\":2}", malformed);
    check_json("[\"a\\u0000\"]", malformed);
    memset(deep, '[', 65);
    check_json(deep, "the JSON is more than 64 levels deep");
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    check_json(deep, "");
    char *large = calloc(1, JSON_READ_MAX + 1);
    char said[JSON_READ_WHY];
    assert_null(json_read(span_of(large, JSON_READ_MAX + 1), said));
    assert_string_equal(said, "33554433 bytes of JSON are too many");
    for (size_t i = 0; i <= JSON_READ_PARTS; i++)
        large[i] = i % 2 == 0 ? ',' : '1';
    large[0] = '[';
    large[JSON_READ_PARTS] = ']';
    check_json(large, "");
    for (size_t i = 1; i <= JSON_READ_PARTS; i++)
        large[i] = ',';
    check_json(large, "the JSON has 1048577 parts, more than 1048576");
    free(large);
}

static void test_values_are_what_they_have_to_be(void **state)
{
    static const char text[] = "{\"a\":{\"b\":\"x\",\"n\":7,\"t\":true,\"l\":[1],\"z\":null}}";
    char said[JSON_READ_WHY];
    struct json_t *root = json_read(span_str(text), said);
    struct json_wrong wrong = {0};
    (void)state;
    assert_string_equal(json_read_text(root, "a.b", "", &wrong).ptr, "x");
    assert_int_equal(json_read_number(root, "a.n", 0, &wrong), 7);
    assert_true(json_read_bool(root, "a.t", false, &wrong));
    assert_int_equal(json_read_count(json_read_array(root, "a.l", &wrong)), 1);
    assert_string_equal(json_read_text(root, "a.z", "none", &wrong).ptr, "none");
    assert_string_equal(json_read_text(root, "a.b.c", "none", &wrong).ptr, "none");
    assert_true(json_read_bool(root, "nothing.at.all", true, &wrong));
    assert_string_equal(wrong.why, "");
    assert_int_equal(json_read_number(root, "a.b", 3, &wrong), 3);
    assert_string_equal(wrong.why, "a.b is not a whole number");
    json_read_bool(root, "a.n", false, &wrong);
    assert_string_equal(wrong.why, "a.b is not a whole number");
    json_read_free(root);
}

/* ---- slices ---- */

static void put(struct kube_slices *slices, const struct kube_want *want, const char *text,
                const char *why)
{
    char said[JSON_READ_WHY];
    struct json_wrong wrong = {0};
    struct json_t *root = json_read(span_str(text), said);
    assert_non_null(root);
    assert_int_equal(kube_slices_put(slices, want, root, &wrong), why[0] == '\0');
    assert_string_equal(wrong.why, why);
    json_read_free(root);
}

/* "10.0.0.1:80 drain zone, ..." */
static void check_endpoints(const struct kube_slices *slices, const struct kube_want *want,
                            const char *expected)
{
    char text[1024] = "";
    const char *note;
    struct config_endpoints *set = kube_slices_endpoints(slices, want, &note);
    assert_int_equal(note != NULL, set->count == 0);
    for (size_t i = 0; i < set->count; i++) {
        const struct config_endpoint *e = &set->items[i];
        size_t n = strlen(text);
        snprintf(text + n, sizeof(text) - n, "%s%s%s%s%s", i > 0 ? ", " : "", e->address.text,
                 e->drain ? " drain" : "", e->zone != NULL ? " " : "",
                 e->zone != NULL ? e->zone : "");
    }
    assert_string_equal(text, expected);
    config_endpoints_unref(set);
}

static void test_states(void **state)
{
    struct kube_slices slices = {0};
    (void)state;
    put(&slices, &any,
        SLICE("a", "{\"addresses\":[\"10.0.0.9\"]},"
                   "{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":null}},"
                   "{\"addresses\":[\"10.0.0.2\"],\"conditions\":{\"ready\":false}},"
                   "{\"addresses\":[\"10.0.0.3\"],\"conditions\":{\"ready\":false,"
                   "\"serving\":true,\"terminating\":true}},"
                   "{\"addresses\":[\"10.0.0.4\"],\"conditions\":{\"ready\":false,"
                   "\"terminating\":true}},"
                   "{\"addresses\":[\"10.0.0.5\"],\"zone\":\"z\",\"conditions\":{\"ready\":true,"
                   "\"terminating\":true}}"),
        "");
    check_endpoints(&slices, &any, "10.0.0.1:80, 10.0.0.3:80 drain, 10.0.0.5:80 z, 10.0.0.9:80");
    put(&slices, &any,
        SLICE("a", "{\"addresses\":[\"10.0.0.3\"],\"conditions\":{\"ready\":false,"
                   "\"serving\":true,\"terminating\":true}}"),
        "");
    check_endpoints(&slices, &any, "10.0.0.3:80");
    put(&slices, &any, SLICE("a", ""), "");
    check_endpoints(&slices, &any, "");
    kube_slices_fini(&slices);
}

static void test_what_is_malformed_changes_nothing(void **state)
{
    struct kube_slices slices = {0};
    (void)state;
    put(&slices, &any, SLICE("a", "{\"addresses\":[\"10.0.0.1\"]}"), "");
    put(&slices, &any, SLICE("", ""), "metadata.name is missing");
    put(&slices, &any, SLICE("a", "{\"addresses\":[]}"),
        "endpoints.addresses does not begin with an IP address");
    put(&slices, &any, SLICE("a", "7"), "endpoints.addresses does not begin with an IP address");
    put(&slices, &any, SLICE("a", "{\"addresses\":[\"::1\"]}"),
        "endpoints.addresses does not begin with an IP address");
    put(&slices, &any, SLICE("a", "{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":1}}"),
        "conditions.ready is neither true nor false");
    put(&slices, &any, "{\"metadata\":{\"name\":\"a\"},\"addressType\":\"IPX\"}",
        "addressType is neither IPv4 nor IPv6");
    put(&slices, &any,
        "{\"metadata\":{\"name\":\"a\"},\"addressType\":\"IPv4\",\"ports\":[{\"port\":70000}],"
        "\"endpoints\":[{}]}",
        "ports.port is out of range");
    check_endpoints(&slices, &any, "10.0.0.1:80");
    kube_slices_fini(&slices);
}

/* In n bytes instead of the '%'. malloc'd. */
static char *grown(const char *text, size_t n)
{
    size_t before = strcspn(text, "%");
    char *out = calloc(1, strlen(text) + n);
    assert_non_null(out);
    memcpy(out, text, before);
    memset(out + before, 'x', n);
    strcpy(out + before + n, text + before + 1);
    return out;
}

static void check_grown(const char *text, size_t n, const char *why)
{
    struct kube_slices slices = {0};
    char *longer = grown(text, n);
    put(&slices, &any, longer, why);
    assert_int_equal(slices.count, why[0] == '\0');
    kube_slices_fini(&slices);
    free(longer);
}

static void test_what_is_kept_is_bounded(void **state)
{
    static const char zone[] = SLICE("a", "{\"addresses\":[\"10.0.0.1\"],\"zone\":\"%\"}");
    (void)state;
    check_grown(SLICE("%", ""), 253, "");
    check_grown(SLICE("%", ""), 254, "metadata.name is too long");
    check_grown(zone, 63, "");
    check_grown(zone, 64, "endpoints.zone is too long");
}

/* ---- pages ---- */

static void check_page(const char *text, size_t n, const char *why)
{
    struct kube_slices slices = {0};
    struct span version, more;
    struct json_wrong wrong = {0};
    char *longer = grown(text, n), said[JSON_READ_WHY];
    struct json_t *root = json_read(span_str(longer), said);
    assert_non_null(root);
    assert_int_equal(kube_page_read(&slices, &any, root, &version, &more, &wrong), why[0] == '\0');
    assert_string_equal(wrong.why, why);
    assert_true(why[0] != '\0' || more.len == n);
    json_read_free(root);
    free(longer);
}

static void test_how_to_ask_for_the_next_page_is_bounded(void **state)
{
    static const char page[] = "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"%\"}}";
    (void)state;
    check_page(page, 0, "");
    check_page(page, KUBE_CONTINUE_MAX, "");
    check_page(page, KUBE_CONTINUE_MAX + 1, "metadata.continue is too long");
}

/* ---- streams ---- */

struct seen {
    size_t n, stop_at; /* 0: never */
    enum kube_event_kind kinds[8];
    char versions[8][8];
};

static bool on_event(void *ctx, const struct kube_event *event)
{
    struct seen *seen = ctx;
    assert_true(seen->n < ARRAY_LEN(seen->kinds));
    seen->kinds[seen->n] = event->kind;
    snprintf(seen->versions[seen->n], sizeof(seen->versions[0]), "%.*s", (int)event->version.len,
             event->version.ptr != NULL ? event->version.ptr : "");
    return ++seen->n != seen->stop_at;
}

static const char events[] = EVENT("ADDED", SLICE("a", "")) "\n" EVENT("MODIFIED", SLICE("a", ""))
    EVENT("DELETED", SLICE("a", "")) EVENT("BOOKMARK", SLICE("", "")) EVENT("ERROR", "{}");

static void test_lines_come_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < sizeof(events); piece++) {
        struct kube_stream s = {0};
        struct seen seen = {0};
        struct json_wrong wrong = {0};
        for (size_t at = 0; at < sizeof(events) - 1; at += piece) {
            size_t left = sizeof(events) - 1 - at;
            assert_true(kube_stream_feed(&s, span_of(events + at, left < piece ? left : piece),
                                         on_event, &seen, &wrong));
        }
        assert_int_equal(seen.n, 5);
        assert_int_equal(seen.kinds[0], KUBE_PUT);
        assert_int_equal(seen.kinds[2], KUBE_DELETE);
        assert_int_equal(seen.kinds[4], KUBE_ERROR);
        assert_string_equal(seen.versions[3], "7");
        assert_string_equal(seen.versions[4], "");
        kube_stream_fini(&s);
    }
}

static void test_reading_stops_when_told_to(void **state)
{
    struct kube_stream s = {0};
    struct seen seen = {.stop_at = 2};
    struct json_wrong wrong = {0};
    (void)state;
    assert_true(kube_stream_feed(&s, span_str(events), on_event, &seen, &wrong));
    assert_int_equal(seen.n, 2);
    kube_stream_fini(&s);
}

static void check_refused(const char *text, const char *why)
{
    struct kube_stream s = {0};
    struct seen seen = {0};
    struct json_wrong wrong = {0};
    assert_false(kube_stream_feed(&s, span_str(text), on_event, &seen, &wrong));
    assert_string_equal(wrong.why, why);
    assert_int_equal(seen.n, 0);
    kube_stream_fini(&s);
}

static void test_what_is_no_event(void **state)
{
    char *large = malloc(KUBE_LINE_MAX + 2);
    (void)state;
    check_refused("[]\n", "type is none that a watch has");
    check_refused("{\"type\":\"ADDED\"}\n", "object is missing");
    check_refused("{\"type\":7,\"object\":{}}\n", "type is not a string");
    check_refused(EVENT("ADDED", "{}"), "metadata.resourceVersion is missing");
    memset(large, ' ', KUBE_LINE_MAX + 1);
    large[KUBE_LINE_MAX + 1] = '\0';
    check_refused(large, "a line of the watch has more than 8 MiB");
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_is_bounded),
        cmocka_unit_test(test_values_are_what_they_have_to_be),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_what_is_malformed_changes_nothing),
        cmocka_unit_test(test_what_is_kept_is_bounded),
        cmocka_unit_test(test_how_to_ask_for_the_next_page_is_bounded),
        cmocka_unit_test(test_lines_come_in_any_pieces),
        cmocka_unit_test(test_reading_stops_when_told_to),
        cmocka_unit_test(test_what_is_no_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
