/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When checks run, and what becomes of them. Owns a view of each pool that is for checks alone, and
 * one check for each endpoint, which runs or waits for its time; must never run two for the same
 * endpoint, nor take a request's conn. A timer only makes its check ready. The reactor's thread.
 */
#include "proxy/upstream/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/group.h"
#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/names.h"
#include "proxy/upstream/health_ask.h"

#define CHECK_MAGIC MAGIC('h', 'l', 't', 'h')

enum check_phase {
    CHECK_RESTS, /* the timer says when it begins */
    CHECK_WAITS, /* until fewer others run */
    CHECK_RUNS,  /* the timer says when it has failed */
    CHECK_OVER,
};

struct check {
    uint32_t magic;
    uint32_t index; /* of the endpoint */
    uint8_t phase;  /* enum check_phase */
    bool woken;     /* its time has come */
    struct checked_pool *pool;
    struct ready ready;
    struct wheel_timer timer;
    struct list_node link; /* of those that wait */
    struct pool_request wish;
    struct stream *stream; /* or NULL */
    struct health_answer answer;
    struct lb_health state;
};

/* One that has checks. */
struct checked_pool {
    struct health *health;
    const struct pool_spec *real; /* what requests use */
    const struct health_spec *spec;
    struct pool_spec asked; /* what checks use */
    struct pool_stats stats;
    struct pool_view *view;
    struct health_counts counts;
    struct check *checks;  /* one for each endpoint */
    bool stays;            /* health_use has it again */
    struct list_node link; /* of those that are left behind */
};

struct health {
    struct reactor *reactor;
    struct lb_rng rng;
    struct list_node waiting; /* checks, the first in time first */
    uint32_t running;
    bool beginning; /* begin_waiting is at it */
    bool started, closed;
    uint32_t nth;               /* checks that were begun */
    struct list_node left;      /* checked pools that are not any more, but have conns */
    void (*changed)(void *ctx); /* or NULL; see health_on_settled */
    void *ctx;
    size_t n_pools;              /* of the snapshot */
    struct checked_pool **pools; /* NULL: it has no checks */
};

void health_spec_free(struct health_spec *spec)
{
    if (spec == NULL)
        return;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        free((char *)(uintptr_t)spec->fields[i].name.ptr);
        free((char *)(uintptr_t)spec->fields[i].value.ptr);
    }
    free(spec->fields);
    free(spec->statuses);
    free(spec->endpoints);
    free((char *)(uintptr_t)spec->method.ptr);
    free((char *)(uintptr_t)spec->target.ptr);
    free((char *)(uintptr_t)spec->host.ptr);
    free((char *)(uintptr_t)spec->body.ptr);
    free((char *)(uintptr_t)spec->service.ptr);
    free(spec);
}

const char *health_why_name(unsigned why)
{
    static const char *const own[] = {"timeout", "bad_status", "bad_body", "not_serving"};
    CHECK(why < HEALTH_WHY_COUNT);
    return why < REASON_COUNT ? reason_row((enum reason)why)->name : own[why - REASON_COUNT];
}

/* ---- what is told ---- */

#define WHY_TEXT 128

/* What was seen, for people. */
static const char *why_text(const struct check *k, unsigned why, char out[WHY_TEXT])
{
    switch (why) {
    case HEALTH_TIMEOUT:
        snprintf(out, WHY_TEXT, "no whole answer within %u ms", k->pool->spec->timeout_ms);
        break;
    case HEALTH_BAD_STATUS:
        snprintf(out, WHY_TEXT, "the status was %u", k->answer.status);
        break;
    case HEALTH_BAD_BODY:
        snprintf(out, WHY_TEXT, "the answer, of status %u, has not the text that is asked for",
                 k->answer.status);
        break;
    case HEALTH_NOT_SERVING:
        snprintf(out, WHY_TEXT, "it does not say that it is SERVING");
        break;
    default:
        snprintf(out, WHY_TEXT, "%s", reason_row((enum reason)why)->text);
    }
    return out;
}

/* What became of it, after how long in the state before. why: "" or more to say, with its comma. */
static void tell(const struct check *k, const char *state, uint64_t was_us, uint32_t checks,
                 const char *result, const char *why)
{
    const struct checked_pool *p = k->pool;
    char count[32] = "one check";
    if (checks > 1)
        snprintf(count, sizeof(count), "%u checks in a row", checks);
    log_info("pool %s: %s is %s after %.1f s: it %s %s%s", p->real->name,
             p->real->endpoints[k->index].text, state, (double)was_us / 1e6, result, count, why);
}

static void tell_down(const struct check *k, unsigned why, uint64_t was_us)
{
    char text[WHY_TEXT], more[WHY_TEXT + 32];
    snprintf(more, sizeof(more), ", at last because %s", why_text(k, why, text));
    tell(k, "down", was_us, k->pool->spec->rules.down_after, "failed", more);
}

/* The balancer, and the log. */
static void check_judge(struct check *k, unsigned why)
{
    struct checked_pool *p = k->pool;
    uint64_t now = reactor_us(p->health->reactor), since = k->state.since_us;
    bool proven = k->state.state != LB_HEALTH_UNPROVEN;
    enum lb_mark mark = proven ? LB_DOWN : LB_UNPROVEN;
    switch (lb_health_result(&k->state, &p->spec->rules, why == REASON_NONE, now)) {
    case LB_HEALTH_SAME:
        return;
    case LB_HEALTH_WENT_DOWN:
        lb_group_mark(p->real->balance, k->index, LB_DOWN, true, now);
        tell_down(k, why, now - since);
        return;
    case LB_HEALTH_WENT_UP:
        lb_group_mark(p->real->balance, k->index, mark, false, now);
        tell(k, "up", now - since, proven ? p->spec->rules.up_after : 1, "passed", "");
        return;
    }
}

/* ---- one check ---- */

static void check_begin(struct check *k);

/* Others may begin now. Those that end at once are behind one another, not inside. */
static void begin_waiting(struct health *h)
{
    if (h->beginning)
        return;
    h->beginning = true;
    while (h->running < HEALTH_AT_ONCE && !list_empty(&h->waiting))
        check_begin(CONTAINER_OF(list_pop_front(&h->waiting), check, link));
    h->beginning = false;
}

static void check_stop(struct check *k, enum reason reason)
{
    struct stream *s = TAKE(k->stream);
    pool_cancel(&k->wish);
    if (s != NULL)
        s->ops->release(s, reason);
    k->pool->health->running--;
}

/* It was weir that could not: that says nothing of the endpoint. */
static bool skipped(unsigned why)
{
    return why < REASON_COUNT && reason_row((enum reason)why)->side == SIDE_WEIR;
}

/* why: REASON_NONE if it passed. */
static void check_end(struct check *k, unsigned why)
{
    struct checked_pool *p = k->pool;
    struct health *h = p->health;
    uint64_t now = reactor_now(h->reactor);
    check_stop(k, why == HEALTH_TIMEOUT                      ? REASON_REQUEST_TIMEOUT
                  : why < REASON_COUNT && why != REASON_NONE ? (enum reason)why
                                                             : REASON_DONE);
    if (skipped(why)) {
        p->counts.skipped++;
    } else {
        if (why == REASON_NONE)
            p->counts.passed++;
        else
            p->counts.failed[why]++;
        log_debug("pool %s: check of %s: %s", p->real->name, p->real->endpoints[k->index].text,
                  why == REASON_NONE ? "passed" : health_why_name(why));
        check_judge(k, why);
    }
    health_answer_clear(&k->answer);
    k->phase = CHECK_RESTS;
    k->woken = false;
    wheel_set(&h->reactor->wheel, &k->timer,
              lb_health_next_ms(&k->state, &p->spec->rules, now, lb_rng_next(&h->rng)));
    begin_waiting(h);
}

/* The conn is up, or will carry the request once it is. */
static void check_ask(struct check *k, struct stream *s)
{
    const struct checked_pool *p = k->pool;
    const struct endpoint_spec *at = &p->asked.endpoints[k->index];
    k->stream = s;
    if (p->spec->kind == HEALTH_TCP)
        check_end(k, REASON_NONE);
    else
        health_ask(s, p->health->reactor, p->spec,
                   net_addr_is_unix(&at->addr) ? SPAN_LIT("localhost") : span_str(at->text));
}

static void check_begin(struct check *k)
{
    struct checked_pool *p = k->pool;
    struct reactor *r = p->health->reactor;
    enum reason reason = REASON_NONE;
    k->phase = CHECK_RUNS;
    k->woken = false;
    p->health->running++;
    wheel_set(&r->wheel, &k->timer, reactor_now(r) + p->spec->timeout_ms);
    struct stream *s = pool_open(p->view, k->index, true, &k->wish, &reason);
    if (s != NULL)
        check_ask(k, s);
    else if (reason != REASON_NONE)
        check_end(k, reason);
}

/* Until it is connected, it is connecting that takes too long. */
static unsigned late_why(const struct check *k)
{
    bool up = k->stream != NULL && k->stream->connected_us != 0;
    return up ? (unsigned)HEALTH_TIMEOUT : (unsigned)REASON_CONNECT_TIMEOUT;
}

static void check_run(struct ready *ready)
{
    struct check *k = CONTAINER_OF(ready, check, ready);
    struct health *h = k->pool->health;
    CHECK(k->magic == CHECK_MAGIC);
    if (!k->woken || k->phase == CHECK_OVER) /* it has ended meanwhile */
        return;
    if (k->phase == CHECK_RUNS) {
        check_end(k, late_why(k));
    } else if (h->running < HEALTH_AT_ONCE) {
        check_begin(k);
    } else {
        k->phase = CHECK_WAITS;
        list_push_back(&h->waiting, &k->link);
    }
}

static void check_due(struct wheel_timer *timer)
{
    struct check *k = CONTAINER_OF(timer, check, timer);
    k->woken = true;
    reactor_ready(k->pool->health->reactor, &k->ready);
}

/* ---- what the pool and the stream tell ---- */

static struct check *check_of(void *owner)
{
    return CAST_OBJ(check, owner, CHECK_MAGIC);
}

static void on_ready(struct pool_request *wish, struct stream *s)
{
    check_ask(check_of(wish->owner), s);
}

static void on_failed(struct pool_request *wish, enum reason reason)
{
    check_end(check_of(wish->owner), reason);
}

static const struct pool_request_events wish_events = {.ready = on_ready, .failed = on_failed};

static void on_head(struct stream *s, struct http_head *head)
{
    if (head->status >= 200)
        health_answer_head(&check_of(s->owner)->answer, head);
}

static void on_body(struct stream *s, struct chain *body)
{
    struct check *k = check_of(s->owner);
    health_answer_body(&k->answer, k->pool->spec, s, body);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct check *k = check_of(s->owner);
    check_end(k, health_answer_end(&k->answer, k->pool->spec, trailers));
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s;
    (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    check_end(check_of(s->owner), reason);
}

static const struct stream_events stream_events = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .aborted = on_aborted,
};

/* ---- life ---- */

/* Conns like those of requests, but each for one check, and in time for its end. */
static struct pool_spec asked_of(const struct pool_spec *real)
{
    const struct health_spec *spec = real->health;
    struct pool_spec asked = *real;
    asked.balance = NULL;
    asked.max_idle = 0;
    asked.options.once = true;
    asked.options.connect_ms = asked.h2.connect_ms = spec->timeout_ms;
    asked.h2.ping_ms = 0;
    if (spec->endpoints != NULL)
        asked.endpoints = spec->endpoints;
    if (spec->plain)
        asked.tls = NULL;
    if (spec->kind == HEALTH_GRPC)
        asked.protocol = POOL_H2;
    if (spec->kind == HEALTH_TCP) {
        asked.protocol = POOL_UP;
        if (asked.proxy_header != 0) /* a handshake may only come after it */
            asked.tls = NULL;
        asked.proxy_header = 0;
    }
    return asked;
}

/* What is known of it goes on. */
static void check_follow(struct check *k, const struct check *was)
{
    struct lb_group *group = k->pool->real->balance;
    k->state = was->state;
    if (k->state.state == LB_HEALTH_UNPROVEN)
        lb_group_mark(group, k->index, LB_UNPROVEN, true, k->state.since_us);
    if (k->state.state == LB_HEALTH_DOWN)
        lb_group_mark(group, k->index, LB_DOWN, true, k->state.since_us);
}

/* was: NULL, or the check of the same endpoint in the pool before; added: there was such a pool,
 * and it had no such endpoint. */
static void check_init(struct checked_pool *p, uint32_t i, const struct check *was, bool added)
{
    struct check *k = &p->checks[i];
    struct health *h = p->health;
    bool must_pass = p->spec->must_pass || added;
    *k = (struct check){.magic = CHECK_MAGIC, .index = i, .pool = p, .ready = {.run = check_run}};
    list_init(&k->ready.link);
    list_init(&k->link);
    list_init(&k->wish.link);
    wheel_timer_init(&k->timer, check_due);
    k->wish.events = &wish_events;
    k->wish.stream_events = &stream_events;
    k->wish.owner = k;
    k->wish.response_head_ms = p->spec->timeout_ms;
    lb_health_init(&k->state, &p->spec->rules, must_pass, h->nth++, reactor_us(h->reactor));
    if (was != NULL)
        check_follow(k, was);
    else if (must_pass)
        lb_group_mark(p->real->balance, i, LB_UNPROVEN, true, k->state.since_us);
    if (h->started)
        wheel_set(&h->reactor->wheel, &k->timer,
                  added ? reactor_now(h->reactor) : k->state.slot_ms);
}

static void checks_init(struct checked_pool *p, const struct checked_pool *was)
{
    uint32_t n = p->real->n_endpoints;
    p->checks = mem_need(calloc(n, sizeof(p->checks[0])));
    for (uint32_t i = 0; i < n; i++) {
        int32_t at = was != NULL ? pool_find(was->real, &p->real->endpoints[i]) : -1;
        bool added = was != NULL && was->real->n_endpoints > 0 && at < 0;
        check_init(p, i, at >= 0 ? &was->checks[at] : NULL, added);
    }
}

static void on_emptied(void *ctx)
{
    const struct health *h = ctx;
    if (h->changed != NULL)
        h->changed(h->ctx);
}

static struct checked_pool *checked_new(struct health *h, const struct pool_spec *real,
                                        const struct checked_pool *was)
{
    struct checked_pool *p = mem_need(calloc(1, sizeof(*p)));
    p->health = h;
    p->real = real;
    p->spec = real->health;
    p->asked = asked_of(real);
    p->view = pool_view_new(h->reactor, &p->asked, &p->stats, 0);
    *pool_users(p->view) = (struct pool_users){.emptied = on_emptied, .ctx = h};
    list_init(&p->link);
    if (was != NULL)
        p->counts = was->counts;
    checks_init(p, was);
    return p;
}

/* Its checks stop, and its conns close. */
static void checked_close(struct checked_pool *p)
{
    struct health *h = p->health;
    for (uint32_t i = 0; i < p->real->n_endpoints; i++) {
        struct check *k = &p->checks[i];
        if (k->phase == CHECK_RUNS)
            check_stop(k, REASON_SHUTDOWN);
        health_answer_clear(&k->answer);
        list_unlink(&k->link);
        list_unlink(&k->ready.link);
        k->phase = CHECK_OVER;
        wheel_remove(&h->reactor->wheel, &k->timer);
    }
    pool_close_idle(p->view);
}

static void checked_free(struct checked_pool *p)
{
    list_unlink(&p->link);
    pool_view_free(p->view);
    free(p->checks);
    free(p);
}

struct health *health_new(struct reactor *r, uint64_t seed)
{
    struct health *h = mem_need(calloc(1, sizeof(*h)));
    h->reactor = r;
    lb_rng_seed(&h->rng, seed);
    list_init(&h->waiting);
    list_init(&h->left);
    return h;
}

/* The one of that pool; else one whose pool has its name, which it follows or is tried beside; or
 * NULL. */
static struct checked_pool *find(const struct health *h, const struct names *names,
                                 const struct pool_spec *pool)
{
    struct checked_pool *like = NULL;
    int32_t at;
    for (uint32_t n = 0; (at = names_find_nth(names, pool->name, n)) >= 0; n++) {
        if (h->pools[at]->real == pool)
            return h->pools[at];
        like = like != NULL ? like : h->pools[at];
    }
    return like;
}

static void pools_leave(struct health *h)
{
    for (size_t i = 0; i < h->n_pools; i++) {
        struct checked_pool *p = h->pools[i];
        if (p == NULL || p->stays)
            continue;
        checked_close(p);
        list_push_back(&h->left, &p->link);
    }
}

void health_use(struct health *h, struct pool_spec *const *pools, size_t n)
{
    struct names names = {0};
    struct checked_pool **next = mem_need(calloc(n, sizeof(next[0])));
    CHECK(!h->closed);
    for (size_t i = 0; i < h->n_pools; i++)
        if (h->pools[i] != NULL)
            names_add(&names, h->pools[i]->real->name, (int32_t)i);
    names_sort(&names);
    for (size_t i = 0; i < n; i++) {
        struct checked_pool *was = find(h, &names, pools[i]);
        if (was != NULL && was->real == pools[i])
            next[i] = was;
        else if (pools[i]->health != NULL)
            next[i] = checked_new(h, pools[i], was);
        if (next[i] != NULL)
            next[i]->stays = true;
    }
    names_fini(&names);
    pools_leave(h);
    free(h->pools);
    h->pools = next;
    h->n_pools = n;
    for (size_t i = 0; i < n; i++)
        if (next[i] != NULL)
            next[i]->stays = false;
    begin_waiting(h);
    reactor_dispatch(h->reactor);
}

void health_on_settled(struct health *h, void (*changed)(void *ctx), void *ctx)
{
    h->changed = changed;
    h->ctx = ctx;
}

bool health_settled(struct health *h)
{
    list_for_each_safe (node, &h->left) {
        struct checked_pool *p = CONTAINER_OF(node, checked_pool, link);
        if (pool_conns(p->view) == 0)
            checked_free(p);
    }
    return list_empty(&h->left);
}

struct pool_view *health_tls_view(const struct health *h, size_t pool)
{
    CHECK(pool < h->n_pools);
    const struct checked_pool *p = h->pools[pool];
    return p != NULL && p->asked.tls != NULL ? p->view : NULL;
}

void health_start(struct health *h)
{
    h->started = true;
    for (size_t i = 0; i < h->n_pools; i++)
        for (uint32_t k = 0; h->pools[i] != NULL && k < h->pools[i]->real->n_endpoints; k++)
            wheel_set(&h->reactor->wheel, &h->pools[i]->checks[k].timer,
                      h->pools[i]->checks[k].state.slot_ms);
}

void health_close(struct health *h)
{
    if (h == NULL || h->closed)
        return;
    h->closed = true;
    for (size_t i = 0; i < h->n_pools; i++)
        if (h->pools[i] != NULL)
            checked_close(h->pools[i]);
    reactor_dispatch(h->reactor);
}

void health_free(struct health *h)
{
    if (h == NULL)
        return;
    CHECK(health_settled(h));
    for (size_t i = 0; i < h->n_pools; i++)
        if (h->pools[i] != NULL)
            checked_free(h->pools[i]);
    free(h->pools);
    free(h);
}

/* ---- to look at ---- */

const struct health_counts *health_counts(const struct health *h, size_t pool)
{
    CHECK(pool < h->n_pools);
    return h->pools[pool] != NULL ? &h->pools[pool]->counts : NULL;
}

const struct lb_health *health_of(const struct health *h, size_t pool, uint32_t endpoint)
{
    CHECK(pool < h->n_pools && h->pools[pool] != NULL);
    CHECK(endpoint < h->pools[pool]->real->n_endpoints);
    return &h->pools[pool]->checks[endpoint].state;
}
