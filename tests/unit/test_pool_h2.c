/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools whose upstream speaks HTTP/2, by prior knowledge or because its TLS handshake says so, over
 * real sockets on loopback: which requests share a conn, which wait, and what becomes of those. The
 * upstream runs on the same loop and answers when it is told to.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "balancer/policy.h"
#include "proxy/base/check.h"
#include "proxy/net/listen.h"
#include "proxy/net/tls.h"
#include "proxy/upstream/pool.h"
#include "tests/unit/cert_maker.h"

enum { ASKS = 6, CONNS = 6, IDS = 8 };

struct fixture;

struct ask {
    struct fixture *f;
    struct pool_request wish;
    struct stream *stream;
    bool waited, ended;
    enum reason reason; /* why it failed */
};

/* A conn of the upstream's. */
struct upstream {
    struct conn conn;
    struct fixture *f;
    bool h2, preface, freed;
    uint32_t ids[IDS]; /* of streams that wait for an answer; h1: any number */
    unsigned n_ids;
};

struct fixture {
    struct reactor r;
    struct endpoint_spec endpoint;
    struct pool_spec spec;
    struct pool_stats stats;
    struct pool_view *view;
    struct tls_server_ctx *tls; /* of the upstream, or NULL */
    struct tls_client_options tls_options;
    struct http_head head;
    struct ask asks[ASKS];
    unsigned n_asks;
    struct upstream conns[CONNS];
    unsigned n_conns;
    int listener;
    bool deaf; /* the upstream accepts nothing */
};

static struct cert_maker maker;
static struct tls_certs *certs;
static struct tls_trust *trust;

/* ---- the upstream ---- */

static void say(struct upstream *u, const void *bytes, size_t n)
{
    struct chain chain;
    chain_init(&chain);
    chain_copy_in(&chain, &u->f->r.bufs, bytes, n);
    conn_send(&u->conn, &chain);
}

static uint32_t get24(const char *at)
{
    const uint8_t *p = (const uint8_t *)at;
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

/* One frame, or as much as is there. Returns how many bytes are done with. */
static size_t hear_frame(struct upstream *u, struct span in)
{
    if (in.len < 9 || in.len < 9 + get24(in.ptr))
        return 0;
    uint32_t id = get24(in.ptr + 6);
    if (in.ptr[3] == 1) {
        assert_true(u->n_ids < IDS);
        u->ids[u->n_ids++] = id;
    }
    return 9 + get24(in.ptr);
}

static void hear_h2(struct upstream *u)
{
    size_t n = 1;
    if (!u->preface && conn_input(&u->conn).len >= 24) {
        conn_consume(&u->conn, 24, NULL);
        u->preface = true;
        say(u, "\0\0\0\4\0\0\0\0\0", 9); /* SETTINGS */
    }
    while (u->preface && n > 0 && conn_input(&u->conn).len > 0) {
        n = hear_frame(u, conn_input(&u->conn));
        conn_consume(&u->conn, n, NULL);
    }
}

static void on_process(struct conn *c)
{
    struct upstream *u = CONTAINER_OF(c, upstream, conn);
    const struct tls_info *tls = conn_tls(c);
    u->h2 = tls != NULL ? span_eq(tls->alpn, SPAN_LIT("h2")) : u->f->spec.protocol == POOL_H2;
    if (c->flags & (CONN_EOF | CONN_ERROR)) {
        conn_close(c, REASON_DONE, false);
    } else if (u->h2) {
        hear_h2(u);
    } else if (conn_input(c).len > 0) { /* a request comes whole */
        conn_consume(c, conn_input(c).len, NULL);
        u->ids[u->n_ids++] = 1;
    }
}

static void on_flushed(struct conn *c, size_t n)
{
    (void)c, (void)n;
}

static void on_moved(struct conn *c, ptrdiff_t delta)
{
    (void)c, (void)delta;
}

static void on_free(struct conn *c)
{
    CONTAINER_OF(c, upstream, conn)->freed = true;
}

static const struct conn_ops upstream_ops = {.name = "upstream",
                                             .process = on_process,
                                             .flushed = on_flushed,
                                             .moved = on_moved,
                                             .free = on_free};

static void do_nothing(struct ready *ready)
{
    (void)ready;
}

/* A turn that does not wait, and what comes to the upstream in it. */
static void turn(struct fixture *f)
{
    struct ready nothing = {.run = do_nothing};
    int fd = f->deaf ? -1 : accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        assert_true(f->n_conns < CONNS);
        struct upstream *u = &f->conns[f->n_conns++];
        *u = (struct upstream){.f = f};
        conn_init(&u->conn, &f->r, &upstream_ops, 0);
        assert_true(conn_adopt(&u->conn, fd, false));
        if (f->tls != NULL)
            conn_secure_server(&u->conn, f->tls);
    }
    list_init(&nothing.link);
    reactor_later(&f->r, &nothing);
    reactor_turn(&f->r);
}

/* Answers the oldest request of a conn, which must come first. */
static void answer(struct fixture *f, struct upstream *u)
{
    while (u->n_ids == 0)
        turn(f);
    char frame[] = {0, 0, 1, 1, 5, 0, 0, 0, (char)u->ids[0], (char)0x89}; /* :status 204 */
    memmove(u->ids, u->ids + 1, --u->n_ids * sizeof(u->ids[0]));
    if (u->h2)
        say(u, frame, sizeof(frame));
    else
        say(u, "HTTP/1.1 204 No Content\r\n\r\n", 27);
    reactor_dispatch(&f->r);
}

/* ---- the requests ---- */

static void on_head(struct stream *s, struct http_head *head)
{
    (void)s;
    assert_int_equal(head->status, 204);
}

static void on_body(struct stream *s, struct chain *body)
{
    (void)s, (void)body;
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct ask *a = s->owner;
    (void)trailers;
    a->ended = true;
    a->stream = NULL;
    s->ops->release(s, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s, (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct ask *a = s->owner;
    a->reason = reason;
    a->stream = NULL;
    s->ops->release(s, reason);
}

static const struct stream_events stream_events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

static void begin(struct ask *a, struct stream *s)
{
    a->stream = s;
    s->ops->send_head(s, &a->f->head);
    s->ops->send_end(s, NULL);
}

static void on_ready(struct pool_request *wish, struct stream *s)
{
    begin(wish->owner, s);
}

static void on_failed(struct pool_request *wish, enum reason reason)
{
    struct ask *a = wish->owner;
    a->reason = reason;
}

static const struct pool_request_events wish_events = {.ready = on_ready, .failed = on_failed};

static struct ask *ask(struct fixture *f, bool fresh)
{
    assert_true(f->n_asks < ASKS);
    struct ask *a = &f->asks[f->n_asks++];
    enum reason reason = REASON_INTERNAL;
    *a = (struct ask){.f = f,
                      .wish = {.events = &wish_events,
                               .stream_events = &stream_events,
                               .owner = a,
                               .response_head_ms = 60000}};
    list_init(&a->wish.link);
    struct stream *s = pool_open(f->view, 0, fresh, &a->wish, &reason);
    a->waited = s == NULL;
    if (s != NULL)
        begin(a, s);
    else if (reason != REASON_NONE)
        a->reason = reason;
    reactor_dispatch(&f->r);
    return a;
}

static void finish(struct fixture *f, const struct ask *a)
{
    while (!a->ended && a->reason == REASON_NONE)
        turn(f);
}

/* ---- a test's life ---- */

static int setup_all(void **state)
{
    char *error = NULL, path[CERT_PATH];
    const char *paths[] = {path};
    (void)state;
    cert_maker_init(&maker);
    cert_make(&maker, &(struct cert_spec){.file = "ca", .cn = "Test CA", .ca = true});
    cert_make(&maker, &(struct cert_spec){.file = "a", .issuer = "ca", .san = "DNS:a.example"});
    snprintf(path, sizeof(path), "%s", cert_path(&maker, "a.crt"));
    certs = tls_certs_load(paths, 1, &error);
    trust = tls_trust_load(cert_path(&maker, "ca.crt"), &error);
    assert_null(error);
    return 0;
}

static int teardown_all(void **state)
{
    (void)state;
    tls_certs_unref(certs);
    tls_trust_free(trust);
    cert_maker_fini(&maker);
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = aligned_alloc(alignof(struct fixture), sizeof(*f)); /* atomics have lines */
    struct net_addr any;
    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    assert_int_equal(reactor_init(&f->r), 0);
    assert_true(net_addr_ip(&any, "127.0.0.1", 0));
    f->listener = listen_socket(&any, false, 0);
    assert_true(f->listener >= 0);
    listen_bound(f->listener, &f->endpoint.addr);
    lb_endpoint_init(&f->endpoint.lb, 1, 0, 1);
    f->spec = (struct pool_spec){
        .name = "p",
        .balance = pool_balance(&lb_round_robin, NULL, &f->endpoint, 1),
        .endpoints = &f->endpoint,
        .n_endpoints = 1,
        .idle_ms = 55000,
        .max_idle = 2,
        .options = {.limits = {.body_bytes = UINT64_MAX,
                               .header_bytes = 8192,
                               .target_bytes = 4096,
                               .headers = 100},
                    .connect_ms = 60000,
                    .response_idle_ms = 60000,
                    .write_stall_ms = 60000,
                    .buffer = 65536},
        .h2 = {.limits = {.body_bytes = UINT64_MAX,
                          .header_bytes = 8192,
                          .target_bytes = 4096,
                          .headers = 100},
               .connect_ms = 60000,
               .response_idle_ms = 60000,
               .write_stall_ms = 60000,
               .idle_ms = 55000,
               .max_streams = 2,
               .buffer = 65536,
               .conn_buffer = 1 << 20},
    };
    http_head_init(&f->head);
    http_head_method(&f->head, SPAN_LIT("GET"));
    f->head.path = SPAN_LIT("/");
    http_head_add(&f->head, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("h"));
    *state = f;
    return 0;
}

static void speak(struct fixture *f, enum pool_protocol protocol)
{
    f->spec.protocol = (uint8_t)protocol;
    f->view = pool_view_new(&f->r, &f->spec, &f->stats, 1);
}

/* With TLS, in which the upstream agrees to these. */
static void speak_tls(struct fixture *f, enum pool_protocol protocol, uint8_t upstream_alpn)
{
    char *error = NULL;
    f->tls = tls_server_ctx_new(&(struct tls_server_options){.alpn = upstream_alpn}, certs, &error);
    assert_null(error);
    if (f->tls_options.server_name == NULL)
        f->tls_options = (struct tls_client_options){.ca = trust, .server_name = "a.example"};
    f->spec.tls = &f->tls_options;
    speak(f, protocol);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unsigned open = 1;
    for (unsigned i = 0; i < f->n_asks; i++) {
        struct stream *s = TAKE(f->asks[i].stream);
        pool_cancel(&f->asks[i].wish);
        if (s != NULL)
            s->ops->release(s, REASON_CLIENT_CLOSED);
    }
    pool_close_idle(f->view);
    reactor_dispatch(&f->r);
    f->deaf = false;
    while (counter_get(&f->stats.conns) > 0 || open > 0) {
        turn(f);
        open = 0;
        for (unsigned i = 0; i < f->n_conns; i++)
            open += !f->conns[i].freed;
    }
    pool_view_free(f->view);
    lb_group_free(f->spec.balance);
    tls_server_ctx_free(f->tls);
    close(f->listener);
    reactor_fini(&f->r);
    free(f);
    return 0;
}

/* ---- prior knowledge ---- */

static void requests_share_a_conn(void **state)
{
    struct fixture *f = *state;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false), *b = ask(f, false);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[0]);
    finish(f, a);
    finish(f, b);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    finish(f, a);
    struct ask *c = ask(f, false);
    assert_true(c->stream->reused);
    answer(f, &f->conns[0]);
    finish(f, c);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    assert_int_equal(counter_get(&f->stats.reused), 1);
}

static void a_full_conn_is_joined_by_another(void **state)
{
    struct fixture *f = *state;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false), *b = ask(f, false), *c = ask(f, false);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[1]);
    finish(f, a);
    finish(f, b);
    finish(f, c);
    assert_true(a->ended && b->ended && c->ended);
}

static void a_fresh_one_has_not_served(void **state)
{
    struct fixture *f = *state;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false);
    answer(f, &f->conns[0]);
    finish(f, a);
    assert_false(ask(f, true)->stream->reused);
    assert_int_equal(counter_get(&f->stats.opened), 2);
    assert_false(ask(f, true)->stream->reused); /* nor has the one that was dialled for the other */
    assert_int_equal(counter_get(&f->stats.opened), 2);
}

static void an_idle_conn_is_shed(void **state)
{
    struct fixture *f = *state;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false);
    assert_false(pool_shed_idle(f->view));
    answer(f, &f->conns[0]);
    finish(f, a);
    while (!pool_shed_idle(f->view))
        turn(f);
    while (counter_get(&f->stats.conns) > 0)
        turn(f);
}

static void none_are_kept_when_none_may_be(void **state)
{
    struct fixture *f = *state;
    f->spec.max_idle = 0;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false);
    answer(f, &f->conns[0]);
    finish(f, a);
    while (counter_get(&f->stats.conns) > 0)
        turn(f);
}

static void nobody_listens(void **state)
{
    struct fixture *f = *state;
    close(f->listener);
    f->listener = -1;
    speak(f, POOL_H2);
    struct ask *a = ask(f, false);
    finish(f, a);
    assert_int_equal(a->reason, REASON_CONNECT_REFUSED);
}

/* ---- TLS ---- */

static void tls_to_h1(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_H1, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = ask(f, false);
    assert_false(a->waited);
    answer(f, &f->conns[0]);
    assert_false(f->conns[0].h2);
    finish(f, a);
    assert_true(a->ended);
    assert_true(ask(f, false)->stream->reused);
}

static void tls_to_h2(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_H2, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = ask(f, false), *b = ask(f, false);
    assert_false(a->waited);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[0]);
    finish(f, a);
    finish(f, b);
    assert_true(a->ended && b->ended);
    assert_int_equal(counter_get(&f->stats.opened), 1);
}

static void an_upstream_that_does_not_agree_on_h2(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_H2, 0);
    struct ask *a = ask(f, false);
    finish(f, a);
    assert_int_equal(a->reason, REASON_UPSTREAM_WRONG_PROTOCOL);
}

static void the_wrong_name(void **state)
{
    struct fixture *f = *state;
    static const uint8_t protocols[] = {POOL_H1, POOL_H2, POOL_AUTO};
    f->tls_options = (struct tls_client_options){.ca = trust, .server_name = "b.example"};
    speak_tls(f, POOL_H1, TLS_ALPN_H1 | TLS_ALPN_H2);
    for (unsigned i = 0; i < ARRAY_LEN(protocols); i++) {
        pool_close_idle(f->view);
        while (counter_get(&f->stats.conns) > 0)
            turn(f);
        pool_view_free(f->view);
        speak(f, (enum pool_protocol)protocols[i]);
        struct ask *a = ask(f, false);
        finish(f, a);
        assert_int_equal(a->reason, REASON_UPSTREAM_TLS_FAILED);
    }
}

/* ---- what the handshake says ---- */

static void all_wait_for_the_first_handshake_and_share(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_AUTO, TLS_ALPN_H1 | TLS_ALPN_H2);
    struct ask *a = ask(f, false), *b = ask(f, false);
    assert_true(a->waited && b->waited);
    while (f->n_conns == 0)
        turn(f);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[0]);
    finish(f, a);
    finish(f, b);
    assert_true(a->ended && b->ended && f->conns[0].h2);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    assert_false(ask(f, false)->waited);
}

/* It has room for two. */
static void those_it_has_no_room_for_wait_for_another(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_AUTO, TLS_ALPN_H1 | TLS_ALPN_H2);
    for (int i = 0; i < 3; i++)
        assert_true(ask(f, false)->waited);
    while (f->n_conns < 2)
        turn(f);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[0]);
    answer(f, &f->conns[1]);
    for (int i = 0; i < 3; i++)
        finish(f, &f->asks[i]);
    assert_int_equal(counter_get(&f->stats.opened), 2);
}

static void an_upstream_of_http1_gets_a_conn_for_each(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_AUTO, TLS_ALPN_H1);
    for (int i = 0; i < 3; i++)
        assert_true(ask(f, false)->waited);
    assert_int_equal(counter_get(&f->stats.opened), 1);
    while (f->n_conns < 3)
        turn(f);
    for (int i = 0; i < 3; i++)
        answer(f, &f->conns[i]);
    for (int i = 0; i < 3; i++)
        finish(f, &f->asks[i]);
    assert_int_equal(counter_get(&f->stats.opened), 3);
    assert_false(ask(f, false)->waited);
    assert_int_equal(counter_get(&f->stats.reused), 1);
}

static void who_waits_may_give_up(void **state)
{
    struct fixture *f = *state;
    speak_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = ask(f, false), *b = ask(f, false);
    pool_cancel(&a->wish);
    while (f->n_conns == 0)
        turn(f);
    answer(f, &f->conns[0]);
    finish(f, b);
    assert_true(b->ended && !a->ended);
    assert_int_equal(counter_get(&f->stats.opened), 1);
}

static void waiting_takes_too_long(void **state)
{
    struct fixture *f = *state;
    f->deaf = true; /* the kernel accepts, and nobody shakes hands */
    speak_tls(f, POOL_AUTO, TLS_ALPN_H1);
    struct ask *a = ask(f, false), *b = ask(f, false);
    f->r.now_ms += 60100; /* until the loop looks at the clock again */
    wheel_advance(&f->r.wheel, reactor_now(&f->r));
    reactor_dispatch(&f->r);
    assert_int_equal(a->reason, REASON_CONNECT_TIMEOUT);
    assert_int_equal(b->reason, REASON_CONNECT_TIMEOUT);
}

static void plain_auto_is_http1(void **state)
{
    struct fixture *f = *state;
    speak(f, POOL_AUTO);
    struct ask *a = ask(f, false);
    assert_false(a->waited);
    answer(f, &f->conns[0]);
    finish(f, a);
    assert_true(a->ended);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_share_a_conn),
        TEST(a_full_conn_is_joined_by_another),
        TEST(a_fresh_one_has_not_served),
        TEST(an_idle_conn_is_shed),
        TEST(none_are_kept_when_none_may_be),
        TEST(nobody_listens),
        TEST(tls_to_h1),
        TEST(tls_to_h2),
        TEST(an_upstream_that_does_not_agree_on_h2),
        TEST(the_wrong_name),
        TEST(all_wait_for_the_first_handshake_and_share),
        TEST(those_it_has_no_room_for_wait_for_another),
        TEST(an_upstream_of_http1_gets_a_conn_for_each),
        TEST(who_waits_may_give_up),
        TEST(waiting_takes_too_long),
        TEST(plain_auto_is_http1),
    };
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
