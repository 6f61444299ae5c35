/* SPDX-License-Identifier: Apache-2.0 */
/* What a proxy takes out of a head and puts into it, on heads as the parser makes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1_parser.h"
#include "proxy/net/addr.h"
#include "proxy/net/tls.h"

#define ID "01931f60-0000-7000-8000-000000000000"

static const struct h1_limits limits = {
    .body_bytes = UINT64_MAX, .header_bytes = 60000, .target_bytes = 8192, .headers = 256};

struct fixture {
    struct buf_pool pool;
    struct slab heads;
    struct block *in, *scratch;
    struct http_head *head;
    struct http_peer peer;
    bool h2; /* the fields are looked at as for HTTP/2 */
    char text[70000];
};

/* As the listener does it; "unix:" is a Unix socket. */
static void come_from(struct fixture *f, const char *host)
{
    struct net_addr addr;
    if (strcmp(host, "unix:") == 0)
        assert_true(net_addr_unix(&addr, "/x"));
    else
        assert_true(net_addr_ip(&addr, host, 1234));
    http_peer_init(&f->peer, &addr, NULL, f->peer.trusted);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    buf_pool_init(&f->pool);
    slab_init(&f->heads, sizeof(struct http_head), 2);
    come_from(f, "192.0.2.7");
    *state = f;
    return 0;
}

static void drop_head(struct fixture *f)
{
    slab_put(&f->heads, TAKE(f->head));
    block_drop(TAKE(f->in));
    block_drop(TAKE(f->scratch));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    drop_head(f);
    slab_fini(&f->heads);
    buf_pool_fini(&f->pool);
    free(f);
    return 0;
}

static void parse(struct fixture *f, bool response, const char *text)
{
    struct h1_parser p;
    drop_head(f);
    h1_parser_init(&p, response, &limits, &f->heads);
    f->in = block_get(&f->pool, true);
    size_t len = strlen(text);
    assert_true(len <= f->in->cap);
    memcpy(f->in->data, text, len);
    f->in->used = (uint32_t)len;
    h1_parse(&p, f->in, f->in->data, len);
    assert_int_equal(p.error, REASON_NONE);
    assert_true(p.head_done);
    f->head = TAKE(p.head);
    h1_parser_fini(&p);
}

/* The fields that are left, one after the other. */
static const char *fields(struct fixture *f, const struct http_head *head)
{
    size_t n = 0;
    f->text[0] = '\0';
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        if (field->flags & (f->h2 ? FIELD_DROPPED : FIELD_DROPPED | FIELD_H2_ONLY))
            continue;
        n += (size_t)snprintf(f->text + n, sizeof(f->text) - n, "%.*s: %.*s|", field->name_len,
                              field->name, (int)field->value_len, field->value ? field->value : "");
        assert_true(n < sizeof(f->text));
    }
    return f->text;
}

static const char *forward(struct fixture *f, const char *request,
                           const struct forward_options *options)
{
    parse(f, false, request);
    struct span id = request_id_of(f->head, SPAN_LIT(ID));
    forward_request(f->head, &f->peer, options, id, &f->pool, &f->scratch);
    return fields(f, f->head);
}

static const struct forward_options plain = {false, false};

#define GET       "GET / HTTP/1.1\r\nHost: h\r\n"
#define ADDED     "X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: h|"
#define ADDED_ALL ADDED "X-Request-Id: " ID "|"
#define SECURE \
    "X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: https|X-Forwarded-Host: h|X-Request-Id: " ID "|"

static void the_forwarding_fields_come_last(void **state)
{
    assert_string_equal(forward(*state, GET "A: 1\r\nb: 2\r\n\r\n", &plain),
                        "Host: h|A: 1|b: 2|" ADDED_ALL);
}

static void hop_by_hop_fields_stay_here(void **state)
{
    assert_string_equal(forward(*state,
                                GET "Connection: close, X-Hop\r\nKeep-Alive: timeout=5\r\n"
                                    "Proxy-Connection: x\r\nTE: trailers\r\nUpgrade: x\r\n"
                                    "Proxy-Authenticate: x\r\nProxy-Authorization: x\r\n"
                                    "HTTP2-Settings: x\r\nX-Hop: 1\r\nA: 1\r\n"
                                    "Transfer-Encoding: chunked\r\nTrailer: T\r\n\r\n",
                                &plain),
                        "Host: h|A: 1|Trailer: T|" ADDED_ALL);
}

/* RFC 9113 section 8.2.2: "trailers", and nothing else. */
static void te_goes_on_over_http_2(void **state)
{
    struct fixture *f = *state;
    f->h2 = true;
    assert_string_equal(forward(f, GET "Connection: TE\r\nTE: trailers\r\n\r\n", &plain),
                        "Host: h|TE: trailers|" ADDED_ALL);
    assert_string_equal(forward(f, GET "te: gzip;q=0.5, Trailers\r\n\r\n", &plain),
                        "Host: h|te: trailers|" ADDED_ALL);
    assert_string_equal(forward(f, GET "TE: gzip, trailers;q=1\r\n\r\n", &plain),
                        "Host: h|" ADDED_ALL);
    assert_string_equal(forward(f, GET "TE:\r\n\r\n", &plain), "Host: h|" ADDED_ALL);
}

#define CERT_FIELDS "x-client-cert-subject: CN=evil\r\nX-Client-Cert-San: DNS:evil\r\n"

static void nobody_may_say_what_certificate_a_client_has(void **state)
{
    struct fixture *f = *state;
    struct tls_info tls = {.subject = SPAN_LIT("CN=alice"), .san = SPAN_LIT("DNS:a.example")};
    assert_string_equal(forward(f, GET CERT_FIELDS "\r\n", &plain), "Host: h|" ADDED_ALL);
    f->peer.trusted = true;
    assert_string_equal(forward(f, GET CERT_FIELDS "\r\n", &plain), "Host: h|" ADDED_ALL);
    f->peer.tls = &tls;
    assert_string_equal(forward(f, GET CERT_FIELDS "\r\n", &plain), "Host: h|" SECURE);
}

static void a_verified_certificate_is_told(void **state)
{
    struct fixture *f = *state;
    struct tls_info tls = {.verified = true};
    f->peer.tls = &tls;
    assert_string_equal(forward(f, GET CERT_FIELDS "\r\n", &plain), "Host: h|" SECURE);
    tls.subject = SPAN_LIT("CN=alice,O=Example");
    assert_string_equal(forward(f, GET CERT_FIELDS "\r\n", &plain),
                        "Host: h|" SECURE "X-Client-Cert-Subject: CN=alice,O=Example|");
    tls.san = SPAN_LIT("DNS:a.example,IP:10.0.0.1");
    assert_string_equal(forward(f, GET "\r\n", &plain),
                        "Host: h|" SECURE "X-Client-Cert-Subject: CN=alice,O=Example|"
                        "X-Client-Cert-San: DNS:a.example,IP:10.0.0.1|");
}

static void over_tls_it_was_https(void **state)
{
    struct fixture *f = *state;
    struct tls_info tls = {.verified = false};
    f->peer.tls = &tls;
    assert_string_equal(forward(f, GET "X-Forwarded-Proto: http\r\n\r\n", &plain),
                        "Host: h|" SECURE);
    assert_string_equal(forward(f, GET "\r\n", &(struct forward_options){.forwarded = true}),
                        "Host: h|" SECURE "Forwarded: for=192.0.2.7;host=\"h\";proto=https|");
    f->peer.trusted = true;
    assert_string_equal(forward(f, GET "X-Forwarded-Proto: http\r\n\r\n", &plain),
                        "Host: h|X-Forwarded-Proto: http|X-Forwarded-For: 192.0.2.7|"
                        "X-Forwarded-Host: h|X-Request-Id: " ID "|");
}

static void names_with_underscores_stay_here(void **state)
{
    assert_string_equal(forward(*state,
                                GET "X_Forwarded_For: 1\r\n_: 1\r\nContent_Length: 1\r\nA_: 1\r\n"
                                    "B: _\r\n\r\n",
                                &plain),
                        "Host: h|B: _|" ADDED_ALL);
}

static void an_untrusted_client_cannot_say_where_it_comes_from(void **state)
{
    assert_string_equal(forward(*state,
                                GET "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: https\r\n"
                                    "X-FORWARDED-HOST: evil\r\nForwarded: for=1.1.1.1\r\n"
                                    "x-forwarded-for: 2.2.2.2\r\n\r\n",
                                &plain),
                        "Host: h|" ADDED_ALL);
}

static void a_trusted_proxy_is_believed_and_added(void **state)
{
    struct fixture *f = *state;
    f->peer.trusted = true;
    assert_string_equal(
        forward(f,
                GET "X-Forwarded-For: 1.1.1.1, 3.3.3.3\r\nX-Forwarded-Proto: https\r\n"
                    "X-Forwarded-Host: real\r\nForwarded: for=1.1.1.1\r\n"
                    "x-forwarded-for:\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
                &plain),
        "Host: h|X-Forwarded-Proto: https|X-Forwarded-Host: real|"
        "Forwarded: for=1.1.1.1|"
        "X-Forwarded-For: 1.1.1.1, 3.3.3.3, 2.2.2.2, 192.0.2.7|X-Request-Id: " ID "|");
    assert_string_equal(forward(f, GET "\r\n", &plain), "Host: h|" ADDED_ALL);
}

/* A list that is too long for the scratch block must not lose the one address that is certain. */
static void a_list_that_does_not_fit_is_replaced(void **state)
{
    struct fixture *f = *state;
    f->peer.trusted = true;
    f->scratch = block_get(&f->pool, true);
    char request[512];
    snprintf(request, sizeof(request), GET "X-Forwarded-For: %0200d\r\n\r\n", 1);
    parse(f, false, request);
    f->scratch = block_get(&f->pool, true);
    f->scratch->used = f->scratch->cap - 100;
    forward_request(f->head, &f->peer, &plain, SPAN_LIT(ID), &f->pool, &f->scratch);
    assert_string_equal(fields(f, f->head), "Host: h|" ADDED_ALL);
    assert_int_equal(f->scratch->used, f->scratch->cap - 100);
}

static void forwarded_is_rfc_7239(void **state)
{
    static const struct {
        const char *host, *request, *want;
    } rows[] = {
        {"192.0.2.7", GET "\r\n", "for=192.0.2.7;host=\"h\";proto=http"},
        {"2001:db8::1", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
         "for=\"[2001:db8::1]\";host=\"[::1]:80\";proto=http"},
        {"unix:", GET "\r\n", "for=unknown;host=\"h\";proto=http"},
        {"192.0.2.7", "GET / HTTP/1.0\r\n\r\n", "for=192.0.2.7;proto=http"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        come_from(f, rows[i].host);
        forward(f, rows[i].request, &(struct forward_options){.forwarded = true});
        struct http_field *got = http_head_find(f->head, FIELD_FORWARDED);
        assert_non_null(got);
        assert_ptr_equal(got, &f->head->fields[f->head->n_fields - 1]);
        assert_true(span_eq(field_value(got), span_str(rows[i].want)));
        struct http_field *xff = http_head_find(f->head, FIELD_X_FORWARDED_FOR);
        assert_true(span_eq(field_value(xff), span_str(rows[i].host)));
    }
}

static void what_tells_the_host_is_as_secret_as_the_first_line(void **state)
{
    static const enum field_id ids[] = {FIELD_X_FORWARDED_HOST, FIELD_FORWARDED};
    const struct forward_options options = {.forwarded = true};
    struct fixture *f = *state;
    for (int secret = 0; secret < 2; secret++) {
        parse(f, false, GET "\r\n");
        f->head->secret_line = secret != 0;
        forward_request(f->head, &f->peer, &options, SPAN_LIT(ID), &f->pool, &f->scratch);
        for (size_t i = 0; i < ARRAY_LEN(ids); i++)
            assert_int_equal(http_head_find(f->head, ids[i])->flags, secret ? FIELD_SECRET : 0);
    }
}

static void via_tells_the_version_that_was_received(void **state)
{
    const struct forward_options via = {.via = true};
    struct fixture *f = *state;
    assert_string_equal(forward(f, GET "Via: 1.1 other\r\n\r\n", &via),
                        "Host: h|Via: 1.1 other|" ADDED_ALL "Via: 1.1 weir|");
    assert_string_equal(forward(f, "GET / HTTP/1.0\r\nHost: h\r\n\r\n", &via),
                        "Host: h|" ADDED_ALL "Via: 1.0 weir|");
    parse(f, true, "HTTP/1.0 200 OK\r\nDate: d\r\n\r\n");
    forward_response(f->head, &via, SPAN_LIT("now"));
    assert_string_equal(fields(f, f->head), "Date: d|Via: 1.0 weir|");
}

static void both_lists_together(void **state)
{
    struct fixture *f = *state;
    f->peer.trusted = true;
    forward(f, GET "X-Forwarded-For: 1.1.1.1\r\n\r\n",
            &(struct forward_options){.forwarded = true, .via = true});
    assert_string_equal(fields(f, f->head),
                        "Host: h|X-Forwarded-For: 1.1.1.1, 192.0.2.7|X-Forwarded-Proto: http|"
                        "X-Forwarded-Host: h|X-Request-Id: " ID
                        "|Forwarded: for=192.0.2.7;host=\"h\";proto=http|Via: 1.1 weir|");
}

static void host_comes_first_when_there_was_none(void **state)
{
    assert_string_equal(forward(*state, "GET / HTTP/1.0\r\nA: 1\r\n\r\n", &plain),
                        "Host: |A: 1|X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|"
                        "X-Forwarded-Host: |X-Request-Id: " ID "|");
    assert_string_equal(forward(*state, "GET http://t:81/ HTTP/1.0\r\nA: 1\r\n\r\n", &plain),
                        "Host: t:81|A: 1|X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|"
                        "X-Forwarded-Host: t:81|X-Request-Id: " ID "|");
}

static void expect_is_for_those_who_can_wait(void **state)
{
    assert_string_equal(forward(*state,
                                "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                                "Content-Length: 1\r\n\r\n",
                                &plain),
                        "Host: h|Expect: 100-continue|Content-Length: 1|" ADDED_ALL);
    assert_string_equal(forward(*state,
                                "POST / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\n"
                                "Content-Length: 1\r\n\r\n",
                                &plain),
                        "Host: h|Content-Length: 1|" ADDED_ALL);
}

static void a_usable_request_id_is_kept(void **state)
{
    static const char *const usable[] = {"a", "abc-123", "!~\"{}", "0123456789"};
    static const char *const unusable[] = {"", "a b", "\xc3\xa9", "a\tb"};
    struct fixture *f = *state;
    char request[512], want[512];
    for (size_t i = 0; i < ARRAY_LEN(usable); i++) {
        snprintf(request, sizeof(request), GET "x-REQUEST-id: %s\r\n\r\n", usable[i]);
        snprintf(want, sizeof(want), "Host: h|x-REQUEST-id: %s|" ADDED, usable[i]);
        assert_string_equal(forward(f, request, &plain), want);
    }
    for (size_t i = 0; i < ARRAY_LEN(unusable); i++) {
        snprintf(request, sizeof(request), GET "X-Request-Id: %s\r\n\r\n", unusable[i]);
        assert_string_equal(forward(f, request, &plain), "Host: h|" ADDED_ALL);
    }
}

static void a_request_id_has_a_length(void **state)
{
    struct fixture *f = *state;
    char request[512];
    for (int len = 128; len <= 129; len++) {
        snprintf(request, sizeof(request), GET "X-Request-Id: %0*d\r\n\r\n", len, 0);
        parse(f, false, request);
        assert_int_equal(request_id_of(f->head, SPAN_LIT(ID)).len, len == 128 ? 128 : strlen(ID));
    }
}

static const char *forward_back(struct fixture *f, const char *response)
{
    parse(f, true, response);
    forward_response(f->head, &plain, SPAN_LIT("now"));
    return fields(f, f->head);
}

static void a_response_loses_its_hop_by_hop_fields(void **state)
{
    assert_string_equal(forward_back(*state,
                                     "HTTP/1.1 200 OK\r\nConnection: X-Hop, date\r\nX-Hop: 1\r\n"
                                     "Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n"
                                     "Transfer-Encoding: chunked\r\nUpgrade: x\r\nA_b: 1\r\n"
                                     "Date: then\r\nTrailer: T\r\nServer: s\r\n\r\n"),
                        "A_b: 1|Date: then|Trailer: T|Server: s|");
}

static void a_final_response_has_a_date(void **state)
{
    assert_string_equal(forward_back(*state, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
                        "Content-Length: 0|Date: now|");
    assert_string_equal(forward_back(*state, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"), "Link: x|");
}

/* RFC 9110 section 8.6: no Content-Length in 1xx and 204; a 304 may have one. */
static void some_responses_have_no_length(void **state)
{
    assert_string_equal(forward_back(*state, "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"),
                        "Date: now|");
    assert_string_equal(forward_back(*state, "HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n"), "");
    assert_string_equal(forward_back(*state, "HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n"),
                        "Content-Length: 5|Date: now|");
}

static void trailers_lose_what_belongs_in_a_head(void **state)
{
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: h\r\nX-Checksum: 1\r\nConnection: x\r\nTE: x\r\nExpect: x\r\n"
        "X-Forwarded-For: 1\r\nX-Forwarded-Host: 1\r\nForwarded: for=1\r\nTrailer: x\r\nA_b: 1\r\n"
        "Content-Length: 0\r\nDate: d\r\n\r\n";
    struct fixture *f = *state;
    parse(f, false, text);
    forward_trailers(f->head, true);
    assert_string_equal(fields(f, f->head), "X-Checksum: 1|Date: d|");
    parse(f, false, text);
    forward_trailers(f->head, false);
    assert_string_equal(fields(f, f->head), "X-Checksum: 1|A_b: 1|Date: d|");
    forward_trailers(NULL, true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_forwarding_fields_come_last),
        TEST(hop_by_hop_fields_stay_here),
        TEST(te_goes_on_over_http_2),
        TEST(nobody_may_say_what_certificate_a_client_has),
        TEST(a_verified_certificate_is_told),
        TEST(over_tls_it_was_https),
        TEST(names_with_underscores_stay_here),
        TEST(an_untrusted_client_cannot_say_where_it_comes_from),
        TEST(a_trusted_proxy_is_believed_and_added),
        TEST(a_list_that_does_not_fit_is_replaced),
        TEST(forwarded_is_rfc_7239),
        TEST(what_tells_the_host_is_as_secret_as_the_first_line),
        TEST(via_tells_the_version_that_was_received),
        TEST(both_lists_together),
        TEST(host_comes_first_when_there_was_none),
        TEST(expect_is_for_those_who_can_wait),
        TEST(a_usable_request_id_is_kept),
        TEST(a_request_id_has_a_length),
        TEST(a_response_loses_its_hop_by_hop_fields),
        TEST(a_final_response_has_a_date),
        TEST(some_responses_have_no_length),
        TEST(trailers_lose_what_belongs_in_a_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
