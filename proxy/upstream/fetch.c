/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that weir itself sends. Owns the copy of what is asked, the look-up, and the conns that
 * were dialled for it, one after the other; must never free anything while any of them, or its
 * caller, is still below on the stack: all that is not an event of the stream runs at the end of a
 * turn. Reactor's thread.
 */
#include "proxy/upstream/fetch.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/tls.h"
#include "proxy/upstream/fetch_state.h"

#define CONNECT_MS   5000
#define IDLE_MS      30000
#define STALL_MS     30000
#define HEAD_BYTES   65536
#define HEAD_FIELDS  100
#define WINDOW_BYTES 65536

static struct fetch *fetch_of(void *data)
{
    return CAST_OBJ(fetch, data, FETCH_MAGIC);
}

/* Runs its next step at the end of the turn. */
static void soon(struct fetch *f)
{
    reactor_later(f->client->reactor, &f->ready);
}

static void fail(struct fetch *f, const char *about, const char *why)
{
    snprintf(f->why, sizeof(f->why), "%.200s: %.300s", about, why);
    f->phase = FETCH_FAILS;
    soon(f);
}

/* ---- ends ---- */

/* Lets go of all that might still say something. */
static void fetch_stop(struct fetch *f)
{
    struct stream *s = TAKE(f->stream);
    CHECK(f->phase != FETCH_OVER);
    f->phase = FETCH_OVER;
    list_unlink(&f->link);
    wheel_cancel(&f->timer);
    dns_channel_end(TAKE(f->channel));
    if (s != NULL)
        s->ops->release(s, REASON_SHUTDOWN);
    soon(f);
}

/* The caller hears of it last. */
static void fetch_finish(struct fetch *f, const char *why)
{
    fetch_stop(f);
    f->events->end(f->ctx, why);
}

void fetch_cancel(struct fetch *f)
{
    if (f != NULL)
        fetch_stop(fetch_of(f));
}

static void fetch_free(struct fetch *f)
{
    struct fetch_client *client = f->client;
    if (f->conns > 0) /* the last one comes here again */
        return;
    wheel_remove(&client->reactor->wheel, &f->timer);
    f->magic = 0;
    if (f->events->gone != NULL)
        f->events->gone(f->ctx);
    free(f->addresses);
    free(f->fields);
    free(f->bytes);
    free(f);
    fetch_client_left(client);
}

/* ---- what the stream tells ---- */

static const char *words(const struct fetch *f, enum reason reason)
{
    switch (reason) {
    case REASON_CONNECT_REFUSED:
        return "nobody listens there; see whether the server runs, and whether the port is right";
    case REASON_CONNECT_FAILED:
        return f->client->tls_why[0] != '\0'
                   ? f->client->tls_why
                   : "it cannot be reached; see whether there is a route to it";
    case REASON_CONNECT_TIMEOUT:
        return "it cannot be connected to in time; see whether a firewall is in between";
    case REASON_UPSTREAM_TLS_FAILED:
        return f->client->tls_why[0] != '\0' ? f->client->tls_why : "the TLS handshake failed";
    case REASON_RESPONSE_HEAD_TIMEOUT:
        return "the server takes the request and does not answer; see what it logs";
    case REASON_RESPONSE_IDLE_TIMEOUT:
        return "the server's answer has stalled";
    case REASON_UPSTREAM_CLOSED:
    case REASON_UPSTREAM_RESET:
    case REASON_UPSTREAM_UNSENT:
        return f->client->url.tls ? "the server closed the connection without an answer; see what "
                                    "it logs"
                                  : "the server closed the connection without an answer; see what "
                                    "it logs, and whether it speaks TLS there (https)";
    case REASON_RESPONSE_INCOMPLETE:
        return "the server closed the connection in the middle of its answer";
    case REASON_BAD_RESPONSE:
        return "the answer is no HTTP/1.1; see whether that port speaks TLS, and whether it is the "
               "right one";
    default:
        return reason_row(reason)->text;
    }
}

/* One for whom the next address may do better. */
static bool not_reached(const struct stream *s, enum reason reason)
{
    return s->connected_us == 0 && reason != REASON_UPSTREAM_TLS_FAILED;
}

static void fail_at(struct fetch *f, enum reason reason)
{
    char text[NET_ADDR_TEXT];
    net_addr_print(&f->addresses[f->next - 1], text);
    fail(f, text, words(f, reason));
}

static uint32_t retry_after_ms(struct http_head *head)
{
    const struct http_field *field = NULL;
    for (unsigned i = 0; i < head->n_fields && field == NULL; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), SPAN_LIT("retry-after")))
            field = &head->fields[i];
    uint64_t s = 0;
    for (uint32_t i = 0; field != NULL && i < field->value_len; i++) {
        char c = field->value[i];
        if (c < '0' || c > '9')
            return 0;
        s = s < 86400 ? s * 10 + (uint64_t)(c - '0') : s;
    }
    return (uint32_t)(s < 86400 ? s * 1000 : 86400000);
}

static void on_head(struct stream *s, struct http_head *head)
{
    struct fetch *f = fetch_of(s->owner);
    const struct http_field *type = http_head_find(head, FIELD_CONTENT_TYPE);
    const struct fetch_head told = {
        .status = head->status,
        .content_type = type != NULL ? field_value(type) : span_of(NULL, 0),
        .retry_after_ms = retry_after_ms(head),
    };
    if (head->status >= 200 && f->events->head != NULL)
        f->events->head(f->ctx, &told);
}

static void on_body(struct stream *s, struct chain *body)
{
    struct fetch *f = fetch_of(s->owner);
    s->ops->credit(s, body->bytes);
    for (const struct slice *at = body->head; at != NULL && f->phase == FETCH_ASKS; at = at->next)
        if (at->len > 0)
            f->events->data(f->ctx, span_of(at->ptr, at->len));
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    (void)trailers;
    fetch_finish(fetch_of(s->owner), NULL);
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s, (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct fetch *f = fetch_of(s->owner);
    bool next = not_reached(s, reason) && f->next < f->n_addresses;
    f->stream = NULL;
    s->ops->release(s, reason);
    if (!next) {
        fail_at(f, reason);
        return;
    }
    f->phase = FETCH_DIALS;
    soon(f);
}

static const struct stream_events stream_events = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .aborted = on_aborted,
};

/* ---- a conn ---- */

/* It serves one request, so that there is never an idle one. */
static void on_idle(void *ctx, struct h1_client *cl)
{
    (void)ctx;
    h1_client_close(cl, REASON_DONE);
}

static void on_unlisted(void *ctx)
{
    (void)ctx;
}

static void on_closes_after(void *ctx, uint64_t ms)
{
    (void)ctx, (void)ms;
}

static void on_closed(void *ctx, struct h1_client *cl, enum reason reason)
{
    struct fetch *f = fetch_of(ctx);
    (void)cl, (void)reason;
    f->conns--;
    if (f->phase == FETCH_OVER)
        soon(f);
}

static const struct h1_client_owner conn_owner = {
    .idle = on_idle,
    .unlisted = on_unlisted,
    .outlived = on_unlisted,
    .closes_after = on_closes_after,
    .closed = on_closed,
};

static void add(struct http_head *head, const char *name, struct span value)
{
    struct span n = span_str(name);
    http_head_add(head, field_lookup(n), n, value);
}

/* length: memory for it. */
static void fill(struct http_head *head, const struct fetch *f, char length[24])
{
    http_head_init(head);
    head->minor = 1;
    head->version = 11;
    http_head_method(head, f->method);
    http_head_target(head, f->target);
    head->authority = span_str(f->client->authority);
    add(head, "Host", head->authority);
    add(head, "User-Agent", SPAN_LIT("weir/" WEIR_VERSION));
    for (size_t i = 0; i < f->n_fields; i++)
        http_head_add(head, field_lookup(f->fields[i].name), f->fields[i].name, f->fields[i].value);
    if (f->body.len == 0 && span_eq(f->method, SPAN_LIT("GET")))
        return;
    snprintf(length, 24, "%zu", f->body.len);
    add(head, "Content-Length", span_str(length));
    head->body = BODY_LENGTH;
    head->content_length = f->body.len;
}

static void ask(struct fetch *f)
{
    struct reactor *r = f->client->reactor;
    struct http_head *head = reactor_alloc(r, SLAB_HEAD, sizeof(*head));
    struct stream *s = f->stream;
    struct chain body;
    char length[24];
    fill(head, f, length);
    s->ops->send_head(s, head);
    reactor_free(r, SLAB_HEAD, head);
    chain_init(&body);
    if (f->body.len > 0) {
        chain_copy_in(&body, &r->bufs, f->body.ptr, f->body.len);
        s->ops->send_body(s, &body);
    }
    s->ops->send_end(s, NULL);
}

/* What time is left is for all addresses that are: one that drops packets leaves some to others. */
static uint32_t connect_ms(const struct fetch *f)
{
    uint64_t now = reactor_now(f->client->reactor);
    uint64_t left = f->connect_by > now ? f->connect_by - now : 0;
    uint64_t ms = left / (f->n_addresses - f->next);
    return ms > 0 ? (uint32_t)ms : 1;
}

static void dial(struct fetch *f)
{
    struct fetch_client *client = f->client;
    f->options.connect_ms = connect_ms(f);
    const struct net_addr *to = &f->addresses[f->next++];
    int err;
    struct h1_client *cl = h1_client_dial(client->reactor, &f->options, to, &conn_owner, f, &err);
    if (cl == NULL) {
        if (f->next < f->n_addresses)
            soon(f);
        else
            fail_at(f, h1_client_connect_reason(err));
        return;
    }
    f->conns++;
    f->phase = FETCH_ASKS;
    client->tls_why[0] = '\0';
    if (client->tls != NULL)
        conn_secure_client(h1_client_conn(cl), client->tls, 0, to);
    f->stream = h1_client_open(cl, &stream_events, f, f->head_ms);
    ask(f);
}

/* ---- steps ---- */

static void set_addresses(struct fetch *f, const struct net_addr *addresses, size_t n)
{
    f->addresses = mem_need(malloc(n * sizeof(addresses[0])));
    memcpy(f->addresses, addresses, n * sizeof(addresses[0]));
    f->n_addresses = n;
    f->phase = FETCH_DIALS;
    soon(f);
}

static void on_addresses(void *ctx, const struct net_addr *addresses, size_t n, const char *why)
{
    struct fetch *f = fetch_of(ctx);
    char text[FETCH_WHY];
    if (why == NULL) {
        set_addresses(f, addresses, n);
        return;
    }
    snprintf(text, sizeof(text),
             "%.200s; see whether it is the right host, and what /etc/resolv.conf asks", why);
    fail(f, f->client->url.host, text);
}

static void look_up(struct fetch *f)
{
    const struct fetch_url *url = &f->client->url;
    struct net_addr address, any = {0};
    const char *why;
    f->phase = FETCH_LOOKS_UP;
    if (url->ip) {
        CHECK(net_addr_ip(&address, url->host, url->port));
        set_addresses(f, &address, 1);
        return;
    }
    f->channel = dns_channel_new(&f->client->reactor->loop, &any, &why);
    if (f->channel != NULL)
        dns_channel_find(f->channel, url->host, url->port, on_addresses, f);
    else
        fail(f, url->host, why);
}

static void wind(struct fetch *f)
{
    bool connects = f->phase < FETCH_DIALS && f->connect_by < f->end_by;
    uint64_t by = connects ? f->connect_by : f->end_by;
    if (by != NEVER)
        wheel_set(&f->client->reactor->wheel, &f->timer, by);
    else
        wheel_cancel(&f->timer);
}

static void out_of_time(struct fetch *f)
{
    snprintf(f->why, sizeof(f->why), "%.260s: %s", f->client->url.host,
             f->phase == FETCH_LOOKS_UP ? "nobody says in time which address it has; see whether "
                                          "the DNS servers of /etc/resolv.conf answer"
                                        : "there was no whole answer in time");
    fetch_finish(f, f->why);
}

static void on_step(struct ready *ready)
{
    struct fetch *f = CONTAINER_OF(ready, fetch, ready);
    CHECK(f->magic == FETCH_MAGIC);
    if (f->phase == FETCH_OVER) {
        fetch_free(f);
        return;
    }
    if (f->phase == FETCH_FAILS) {
        fetch_finish(f, f->why);
        return;
    }
    if (f->late) {
        out_of_time(f);
        return;
    }
    if (f->phase == FETCH_BEGINS) {
        look_up(f);
    } else if (f->phase == FETCH_DIALS) {
        dns_channel_end(TAKE(f->channel));
        dial(f);
    }
    wind(f);
}

static void on_due(struct wheel_timer *timer)
{
    struct fetch *f = CONTAINER_OF(timer, fetch, timer);
    f->late = true;
    soon(f);
}

/* ---- requests ---- */

static struct span keep(char **at, struct span s)
{
    struct span kept = span_of(*at, s.len);
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return kept;
}

static size_t size_of(const struct fetch_request *request, size_t path)
{
    size_t n = request->method.len + path + request->target.len + request->body.len + 1;
    for (size_t i = 0; i < request->n_fields; i++)
        n += request->fields[i].name.len + request->fields[i].value.len;
    return n;
}

static void copy(struct fetch *f, const struct fetch_request *request)
{
    struct span path = span_str(f->client->url.path);
    char *at = f->bytes = mem_need(malloc(size_of(request, path.len)));
    f->method = keep(&at, request->method);
    f->target = keep(&at, path);
    f->target.len += keep(&at, request->target).len;
    f->body = keep(&at, request->body);
    f->n_fields = request->n_fields;
    f->fields = mem_need(calloc(request->n_fields + 1, sizeof(f->fields[0])));
    for (size_t i = 0; i < request->n_fields; i++)
        f->fields[i] = (struct fetch_field){keep(&at, request->fields[i].name),
                                            keep(&at, request->fields[i].value)};
}

static struct h1_client_options options_of(const struct fetch *f)
{
    return (struct h1_client_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = HEAD_BYTES,
                   .target_bytes = HEAD_BYTES,
                   .headers = HEAD_FIELDS},
        .response_idle_ms = f->idle_ms,
        .write_stall_ms = STALL_MS,
        .buffer = WINDOW_BYTES,
        .once = true,
    };
}

struct fetch *fetch_begin(struct fetch_client *client, const struct fetch_request *request,
                          const struct fetch_events *events, void *ctx)
{
    struct fetch *f = mem_need(calloc(1, sizeof(*f)));
    uint64_t now = reactor_now(client->reactor);
    CHECK(client->magic == FETCH_CLIENT_MAGIC && !client->ended && fetch_client_ready(client));
    f->magic = FETCH_MAGIC;
    f->client = client;
    f->events = events;
    f->ctx = ctx;
    f->idle_ms = request->idle_ms != 0 ? request->idle_ms : IDLE_MS;
    f->head_ms = request->head_ms != 0 ? request->head_ms : f->idle_ms;
    f->connect_by = now + (request->connect_ms != 0 ? request->connect_ms : CONNECT_MS);
    f->end_by = request->total_ms != 0 ? now + request->total_ms : NEVER;
    f->options = options_of(f);
    f->ready.run = on_step;
    list_init(&f->ready.link);
    list_init(&f->link);
    wheel_timer_init(&f->timer, on_due);
    copy(f, request);
    list_push_back(&client->fetches, &f->link);
    client->n_fetches++;
    soon(f);
    return f;
}
