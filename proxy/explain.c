/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions, and plans of them. Owns what a question parses; must never change what serves
 * requests. Questions: one thread; plans: the thread of whatever they look at.
 */
#include "proxy/explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward.h"
#include "proxy/request_route.h"

/* ---- the text of the request ---- */

__attribute__((format(printf, 1, 2))) static char *told(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return mem_need(n >= 0 ? text : NULL);
}

/* What a URL says; spans into it. */
struct url {
    bool absolute, tls;
    struct span authority, target;
};

static void read_url(const char *text, struct url *url)
{
    struct span rest = span_str(text);
    *url = (struct url){0};
    url->tls = span_starts(rest, SPAN_LIT("https://"));
    url->absolute = url->tls || span_starts(rest, SPAN_LIT("http://"));
    if (url->absolute) {
        rest = span_of(rest.ptr + (url->tls ? 8 : 7), rest.len - (url->tls ? 8 : 7));
        size_t n = strcspn(rest.ptr, "/?#");
        url->authority = span_of(rest.ptr, n);
        rest = span_of(rest.ptr + n, rest.len - n);
    }
    url->target = span_of(rest.ptr, strcspn(rest.ptr, "#")); /* no browser sends what follows */
}

static bool is_line(const char *text)
{
    return strpbrk(text, "\r\n") == NULL;
}

static bool names_host(const struct explain_ask *ask)
{
    for (unsigned i = 0; i < ask->n_fields; i++)
        if (strncasecmp(ask->fields[i], "host:", 5) == 0)
            return true;
    return false;
}

/* NULL with *error set. */
static char *write_head(const struct explain_ask *ask, const struct url *url, size_t *len,
                        char **error)
{
    char *text = NULL;
    const char *method = ask->method != NULL ? ask->method : "GET";
    const char *slash = url->target.len > 0 && url->target.ptr[0] != '?' ? "" : "/";
    bool lines = is_line(method) && is_line(ask->url);
    for (unsigned i = 0; i < ask->n_fields; i++)
        lines &= is_line(ask->fields[i]);
    if (!lines) {
        *error = told("a method, a URL or a field has a line break in it");
        return NULL;
    }
    FILE *out = mem_need(open_memstream(&text, len));
    fprintf(out, "%s %s%.*s HTTP/1.1\r\n", method, slash, (int)url->target.len, url->target.ptr);
    if (!names_host(ask))
        fprintf(out, "Host: %.*s\r\n", (int)url->authority.len, url->authority.ptr);
    for (unsigned i = 0; i < ask->n_fields; i++)
        fprintf(out, "%s\r\n", ask->fields[i]);
    fputs("\r\n", out);
    mem_need(fclose(out) == 0 ? text : NULL);
    return text;
}

/* As a conn does with the bytes of a client. */
static void parse_head(struct explain_question *q, const char *text, size_t len)
{
    q->in = block_get(&q->bufs, true);
    if (len > block_room(q->in)) {
        q->refused = REASON_HEAD_TOO_LARGE;
        return;
    }
    memcpy(q->in->data, text, len);
    q->in->used = (uint32_t)len;
    for (size_t at = 0, n = 1; at < len && n > 0 && !q->parser.head_done; at += n)
        n = h1_parse(&q->parser, q->in, q->in->data + at, len - at);
    q->refused = (enum reason)q->parser.error;
    q->head = q->parser.head;
    if (q->refused == REASON_NONE && !q->parser.head_done)
        q->refused = REASON_BAD_REQUEST_LINE;
}

/* ---- where it comes in ---- */

static const struct listener_spec *listener_named(const struct snapshot *snap, const char *name)
{
    for (size_t i = 0; i < snap->n_listeners; i++)
        if (strcmp(snap->listeners[i]->name, name) == 0)
            return snap->listeners[i];
    return NULL;
}

static uint16_t port_of(const struct url *url)
{
    const char *colon = NULL, *end = url->authority.ptr + url->authority.len;
    for (const char *at = url->authority.ptr; at < end; at++)
        colon = *at == ':' ? at : *at == ']' ? NULL : colon;
    unsigned port = url->tls ? 443 : 80;
    if (colon != NULL && colon + 1 < end)
        port = (unsigned)strtoul(colon + 1, NULL, 10);
    return (uint16_t)port;
}

/* The first that fits best: port and TLS, TLS, any. */
static const struct listener_spec *listener_for(const struct snapshot *snap, const struct url *url,
                                                const char **why)
{
    const struct listener_spec *best = snap->listeners[0];
    unsigned best_fit = 0;
    *why = "it is the first one";
    for (size_t i = 0; i < snap->n_listeners && url->absolute; i++) {
        const struct listener_spec *spec = snap->listeners[i];
        bool scheme = (spec->tls != NULL) == url->tls;
        bool port = net_addr_port(&spec->addr) == port_of(url);
        unsigned fit = scheme && port ? 2 : scheme;
        if (fit <= best_fit)
            continue;
        best = spec;
        best_fit = fit;
        *why = port ? "the URL's scheme and port are its" : "the URL's scheme is its";
    }
    return best;
}

static bool choose_listener(struct explain_question *q, const struct explain_ask *ask,
                            const struct url *url, char **error)
{
    if (ask->listener == NULL) {
        q->listener = listener_for(q->snap, url, &q->listener_why);
        return true;
    }
    q->listener = listener_named(q->snap, ask->listener);
    q->listener_why = "it was asked for";
    if (q->listener == NULL)
        *error = told("there is no listener \"%s\"", ask->listener);
    return q->listener != NULL;
}

static bool choose_peer(struct explain_question *q, const struct explain_ask *ask, char **error)
{
    struct net_addr addr;
    const char *client = ask->client != NULL ? ask->client : "127.0.0.1";
    if (!net_addr_ip(&addr, client, 0) || client[0] == '\0') {
        *error = told("\"%s\" is no client's address", client);
        return false;
    }
    http_peer_init(&q->peer, &addr, NULL, listener_spec_trusts(q->listener, &addr));
    q->peer.tls = q->listener->tls != NULL ? &q->tls : NULL;
    return true;
}

bool explain_question_init(struct explain_question *q, const struct snapshot *snap,
                           const struct explain_ask *ask, char **error)
{
    struct url url;
    size_t len;
    *q = (struct explain_question){.snap = snap, .limits = snap->server.limits};
    buf_pool_init(&q->bufs);
    slab_init(&q->heads, sizeof(struct http_head), 1);
    h1_parser_init(&q->parser, false, &q->limits, &q->heads);
    read_url(ask->url, &url);
    char *text = NULL;
    bool ok = choose_listener(q, ask, &url, error) && choose_peer(q, ask, error) &&
              (text = write_head(ask, &url, &len, error)) != NULL;
    if (ok)
        parse_head(q, text, len);
    else
        explain_question_fini(q);
    free(text);
    return ok;
}

void explain_question_fini(struct explain_question *q)
{
    h1_parser_fini(&q->parser);
    block_drop(TAKE(q->in));
    slab_fini(&q->heads);
    buf_pool_fini(&q->bufs);
}

struct http_head *explain_forward(struct explain_question *q, struct block **scratch)
{
    static const char made[] = "(a new one)";
    struct http_head *head = mem_need(malloc(sizeof(*head)));
    *head = *q->head;
    struct span id = request_id_of(head, span_of(made, sizeof(made) - 1));
    forward_request(head, &q->peer, &q->listener->forward, id, &q->bufs, scratch);
    return head;
}

/* ---- the plan ---- */

static void plan_pool(struct explain_plan *plan, const struct explain_question *q,
                      const struct explain_source *source)
{
    const struct pool_spec *spec = plan->snap->pools[plan->pool];
    if (spec->key.kind != BALANCE_KEY_NONE)
        plan->key = balance_key_hash(&spec->key, q->head, &q->peer);
    if (spec->sticky.cookie.len > 0)
        plan->stuck = sticky_find(&spec->sticky, spec->balance, q->head);
    plan->gated = spec->limits.gate != NULL;
    if (plan->gated)
        plan->gate = lb_gate_counts(spec->limits.gate);
    lb_look_ahead(source->lb(source->ctx, plan->pool), plan->stuck, plan->key, NULL, source->now_us,
                  &plan->look);
    plan->hedge_us = source->hedge_us(source->ctx, plan->pool);
}

void explain_plan_make(struct explain_plan *plan, const struct snapshot *snap,
                       const struct explain_question *q, struct explain_source *source)
{
    *plan = (struct explain_plan){.snap = snap, .pool = ROUTE_NO_POOL, .stuck = LB_NONE};
    if (q->refused != REASON_NONE || q->listener->redirect_https != 0)
        return;
    struct route_query query = request_query(q->head, q->listener->name);
    plan->route = route_find(snap->table, &query);
    if (plan->route != NULL && source->choose && plan->route->total_weight > 0)
        plan->pool = plan->route->targets[source->part].pool;
    else if (plan->route != NULL)
        plan->pool = route_split_pick(plan->route, &source->rng);
    if (plan->pool != ROUTE_NO_POOL)
        plan_pool(plan, q, source);
}

void explain_plan_fini(struct explain_plan *plan)
{
    lb_look_fini(&plan->look);
}

/* ---- how it ends ---- */

static bool must_wait(const struct explain_plan *plan)
{
    return plan->look.index == LB_FULL ||
           (plan->gated && (plan->gate.in_flight >= plan->gate.limit || plan->gate.queued > 0));
}

enum explain_end explain_end_of(const struct explain_question *q, const struct explain_plan *plan)
{
    if (q->refused != REASON_NONE)
        return EXPLAIN_REFUSED;
    if (q->listener->redirect_https != 0)
        return EXPLAIN_REDIRECT;
    if (plan->route == NULL)
        return EXPLAIN_NO_ROUTE;
    if (plan->pool == ROUTE_NO_POOL)
        return EXPLAIN_NO_POOL;
    if (must_wait(plan))
        return plan->gate.queued < plan->snap->pools[plan->pool]->limits.queue ? EXPLAIN_WAITS
                                                                               : EXPLAIN_FULL;
    return plan->look.index == LB_NONE ? EXPLAIN_NO_ENDPOINT : EXPLAIN_ENDPOINT;
}

enum reason explain_reason_of(const struct explain_question *q, const struct explain_plan *plan,
                              enum explain_end end)
{
    switch (end) {
    case EXPLAIN_REFUSED:
        return q->refused;
    case EXPLAIN_NO_ROUTE:
        return REASON_NO_ROUTE;
    case EXPLAIN_NO_POOL:
        return REASON_NO_POOL;
    case EXPLAIN_NO_ENDPOINT:
        return REASON_NO_ENDPOINT;
    case EXPLAIN_FULL:
        return plan->snap->pools[plan->pool]->limits.queue == 0 ? REASON_REQUEST_LIMIT
                                                                : REASON_QUEUE_FULL;
    default:
        return REASON_NONE;
    }
}

const char *explain_end_name(enum explain_end end)
{
    static const char *const names[EXPLAIN_ENDS] = {
        "refused", "redirect", "no_route", "no_pool", "no_endpoint", "waits", "full", "endpoint"};
    return names[end];
}
