/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See pool_rig.h. Owns the view under test, and the upstream's conns until they are closed.
 */
#include "tests/unit/pool_rig.h"

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
#include "tests/unit/cert_maker.h"

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
        assert_true(u->n_ids < POOL_RIG_IDS);
        u->ids[u->n_ids++] = id;
    }
    return 9 + get24(in.ptr);
}

static void hear_h2(struct upstream *u)
{
    size_t n = 1;
    char settings[] = {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, u->f->takes};
    if (!u->preface && conn_input(&u->conn).len >= 24) {
        conn_consume(&u->conn, 24, NULL);
        u->preface = true;
        settings[2] = u->f->takes > 0 ? 6 : 0;
        say(u, settings, 9 + (size_t)settings[2]);
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
void pool_rig_turn(struct pool_rig *f)
{
    struct ready nothing = {.run = do_nothing};
    int fd = f->deaf ? -1 : accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        assert_true(f->n_conns < POOL_RIG_CONNS);
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
void pool_rig_answer(struct pool_rig *f, struct upstream *u)
{
    while (u->n_ids == 0)
        pool_rig_turn(f);
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

struct ask *pool_rig_ask(struct pool_rig *f, bool fresh)
{
    assert_true(f->n_asks < POOL_RIG_ASKS);
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

void pool_rig_finish(struct pool_rig *f, const struct ask *a)
{
    while (!a->ended && a->reason == REASON_NONE)
        pool_rig_turn(f);
}

void pool_rig_failed(struct pool_rig *f, const struct ask *a, enum reason reason)
{
    while (a->reason == REASON_NONE)
        pool_rig_turn(f);
    assert_int_equal(a->reason, reason);
}

/* ---- a test's life ---- */

int pool_rig_setup_all(void **state)
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

int pool_rig_teardown_all(void **state)
{
    (void)state;
    tls_certs_unref(certs);
    tls_trust_free(trust);
    cert_maker_fini(&maker);
    return 0;
}

void pool_rig_init(struct pool_rig *f)
{
    struct net_addr any;
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
}

int pool_rig_setup(void **state)
{
    struct pool_rig *f =
        aligned_alloc(alignof(struct pool_rig), sizeof(*f)); /* atomics have lines */
    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    pool_rig_init(f);
    *state = f;
    return 0;
}

void pool_rig_speak(struct pool_rig *f, enum pool_protocol protocol)
{
    f->spec.protocol = (uint8_t)protocol;
    f->view = pool_view_new(&f->r, &f->spec, &f->stats, 1);
    if (f->spec.tls != NULL)
        pool_rig_secure(f);
}

void pool_rig_secure(struct pool_rig *f)
{
    struct tls_client_options options = pool_tls_options(f->view);
    char *error = NULL;
    pool_secure(f->view, tls_client_ctx_new(&options, &error));
    assert_null(error);
}

/* With TLS, in which the upstream agrees to these. */
void pool_rig_tls(struct pool_rig *f, enum pool_protocol protocol, uint8_t upstream_alpn)
{
    char *error = NULL;
    f->tls = tls_server_ctx_new(&(struct tls_server_options){.alpn = upstream_alpn}, certs, &error);
    assert_null(error);
    f->tls_options.ca = trust;
    if (f->tls_options.server_name == NULL)
        f->tls_options.server_name = "a.example";
    f->spec.tls = &f->tls_options;
    pool_rig_speak(f, protocol);
}

void pool_rig_fini(struct pool_rig *f)
{
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
        pool_rig_turn(f);
        open = 0;
        for (unsigned i = 0; i < f->n_conns; i++)
            open += !f->conns[i].freed;
    }
    pool_view_free(f->view);
    lb_group_free(f->spec.balance);
    tls_server_ctx_free(f->tls);
    if (f->listener >= 0)
        close(f->listener);
    reactor_fini(&f->r);
}

int pool_rig_teardown(void **state)
{
    pool_rig_fini(*state);
    free(*state);
    return 0;
}
