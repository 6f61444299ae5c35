/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request of a health check, and the verdict about its answer. Owns what is kept of the
 * answer's body; must never keep more than it looks at. Reactor's thread.
 */
#include "proxy/upstream/health_ask.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/grpc.h"
#include "proxy/upstream/health_grpc.h"

/* ---- the request ---- */

static void add(struct http_head *head, const char *name, struct span value)
{
    struct span n = span_str(name);
    http_head_add(head, field_lookup(n), n, value);
}

static bool has_field(const struct health_spec *spec, const char *name)
{
    for (uint32_t i = 0; i < spec->n_fields; i++)
        if (span_eq_nocase(spec->fields[i].name, span_str(name)))
            return true;
    return false;
}

static void fill_http(struct http_head *head, const struct health_spec *spec)
{
    http_head_method(head, spec->method);
    http_head_target(head, spec->target);
    if (!has_field(spec, "user-agent"))
        add(head, "User-Agent", SPAN_LIT("weir-health/" WEIR_VERSION));
    for (uint32_t i = 0; i < spec->n_fields; i++)
        http_head_add(head, field_lookup(spec->fields[i].name), spec->fields[i].name,
                      spec->fields[i].value);
    if (span_eq(spec->method, SPAN_LIT("POST")))
        add(head, "Content-Length", SPAN_LIT("0"));
}

static void fill_grpc(struct http_head *head)
{
    http_head_method(head, SPAN_LIT("POST"));
    http_head_target(head, SPAN_LIT("/grpc.health.v1.Health/Check"));
    add(head, "TE", SPAN_LIT("trailers"));
    add(head, "Content-Type", SPAN_LIT("application/grpc"));
    add(head, "User-Agent", SPAN_LIT("weir-health/" WEIR_VERSION));
    head->body = BODY_CHUNKED; /* its own five bytes say how long it is */
}

static void send_message(struct stream *s, struct reactor *r, struct span service)
{
    char message[HEALTH_GRPC_REQUEST];
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &r->bufs, message, health_grpc_request(service, message));
    s->ops->send_body(s, &body);
}

void health_ask(struct stream *s, struct reactor *r, const struct health_spec *spec,
                struct span host)
{
    struct http_head *head = reactor_alloc(r, SLAB_HEAD, sizeof(*head));
    http_head_init(head);
    head->minor = 1;
    head->version = 11;
    head->authority = spec->host.len > 0 ? spec->host : host;
    add(head, "Host", head->authority);
    if (spec->kind == HEALTH_GRPC)
        fill_grpc(head);
    else
        fill_http(head, spec);
    s->ops->send_head(s, head);
    reactor_free(r, SLAB_HEAD, head);
    if (spec->kind == HEALTH_GRPC)
        send_message(s, r, spec->service);
    s->ops->send_end(s, NULL);
}

/* ---- the answer ---- */

/* In the trailers, or in the head of an answer that has nothing else. */
static void look_for_grpc_status(struct health_answer *a, const struct http_head *head)
{
    unsigned code;
    if (grpc_status(head, &code))
        a->grpc_ok = code == 0;
}

void health_answer_head(struct health_answer *a, const struct http_head *head)
{
    a->status = head->status;
    look_for_grpc_status(a, head);
}

void health_answer_body(struct health_answer *a, const struct health_spec *spec, struct stream *s,
                        struct chain *body)
{
    size_t n = body->bytes;
    bool wanted = spec->kind == HEALTH_GRPC || spec->body.len > 0;
    if (wanted && a->body.bytes < HEALTH_BODY_BYTES)
        chain_move_bytes(&a->body, body, HEALTH_BODY_BYTES - a->body.bytes);
    s->ops->credit(s, n);
}

/* The kept bytes in a row. malloc's; never NULL. */
static char *flatten(const struct chain *chain)
{
    char *bytes = mem_need(malloc(chain->bytes + 1)), *at = bytes;
    for (const struct slice *s = chain->head; s != NULL; s = s->next) {
        memcpy(at, s->ptr, s->len);
        at += s->len;
    }
    return bytes;
}

static bool status_fits(const struct health_spec *spec, uint16_t status)
{
    for (uint32_t i = 0; i < spec->n_statuses; i++)
        if (status >= spec->statuses[i].from && status <= spec->statuses[i].to)
            return true;
    return false;
}

static bool body_fits(const struct health_answer *a, const struct health_spec *spec)
{
    if (spec->body.len == 0)
        return true;
    char *bytes = flatten(&a->body);
    bool found = memmem(bytes, a->body.bytes, spec->body.ptr, spec->body.len) != NULL;
    free(bytes);
    return found;
}

static bool grpc_serves(const struct health_answer *a)
{
    char *bytes = flatten(&a->body);
    bool serves = a->grpc_ok && health_grpc_serving(span_of(bytes, a->body.bytes));
    free(bytes);
    return serves;
}

unsigned health_answer_end(struct health_answer *a, const struct health_spec *spec,
                           const struct http_head *trailers)
{
    if (spec->kind == HEALTH_GRPC) {
        if (trailers != NULL)
            look_for_grpc_status(a, trailers);
        if (a->status != 200)
            return HEALTH_BAD_STATUS;
        return grpc_serves(a) ? REASON_NONE : HEALTH_NOT_SERVING;
    }
    if (!status_fits(spec, a->status))
        return HEALTH_BAD_STATUS;
    return body_fits(a, spec) ? REASON_NONE : HEALTH_BAD_BODY;
}

void health_answer_clear(struct health_answer *a)
{
    chain_clear(&a->body);
    *a = (struct health_answer){0};
}
