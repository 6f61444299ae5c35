/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the rings, the batch that is on its way and the client that it goes by. Must never make a
 * worker wait. Control thread.
 *
 *   resting    no batch: the clock, or a ring that is half full, begins the next one
 *   sending    a fetch runs
 *   waiting    the batch failed; the clock begins its next fetch
 *   ended      nothing runs
 */
#include "proxy/trace/exporter.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/uuid7.h"
#include "proxy/discovery/backoff.h"
#include "proxy/trace/answer.h"
#include "proxy/trace/otlp.h"

#define EXPORTER_MAGIC MAGIC('o', 't', 'l', 'p')

enum {
    BATCH_BYTES = 2 << 20,
    ANSWER_BYTES = 64 * 1024,
    GIVE_UP_MS = 60000,
    ASKED_MAX_MS = 300000, /* the longest Retry-After that is heeded */
};

enum exporter_state { EXPORTER_RESTING, EXPORTER_SENDING, EXPORTER_WAITING, EXPORTER_ENDED };

struct exporter {
    uint32_t magic;
    enum exporter_state state;
    struct reactor *reactor;
    uv_timer_t clock;    /* until the next batch, or the next try */
    uv_timer_t deadline; /* of the end */
    uv_async_t bell;     /* rung by workers */
    struct trace_ring *rings;
    unsigned n_rings, turn; /* turn: the ring that is looked into first */
    struct trace_target *target, *next;
    bool changes; /* to next, once no fetch runs */
    bool more;    /* the last batch left something in a ring */
    bool ending;
    struct fetch_client *client;
    struct fetch *fetch;
    char *memory; /* of a batch; NULL: there was none yet */
    struct otlp_batch batch;
    struct span body;
    uint64_t first_ms; /* when the batch was sent first; 0: it was not */
    struct backoff backoff;
    struct lb_rng rng;
    struct exporter_counts counts;
    char instance[UUID7_LEN + 1];
};

static struct exporter *exporter_of(void *ctx)
{
    return CAST_OBJ(exporter, ctx, EXPORTER_MAGIC);
}

static void exporter_collect(struct exporter *e);
static void exporter_send(struct exporter *e);

/* ---- the server ---- */

static bool secure(struct exporter *e)
{
    static struct log_limit limit = LOG_LIMIT(60000);
    char *error = NULL;
    if (!e->target->url.tls)
        return true;
    if (fetch_client_secure(e->client, &(struct fetch_tls){.ca_file = e->target->ca}, &error))
        return true;
    log_limited(&limit, LOG_ERROR, "tracing: no spans can be sent to %s: %s", e->target->text,
                error);
    free(error);
    return false;
}

/* No fetch runs. */
static void change_target(struct exporter *e)
{
    e->changes = false;
    fetch_client_end(TAKE(e->client));
    trace_target_unref(e->target);
    e->target = TAKE(e->next);
    e->backoff = (struct backoff){0};
    if (e->target == NULL)
        return;
    e->client = fetch_client_new(e->reactor, &e->target->url);
    secure(e);
}

/* ---- batches ---- */

static void on_clock(uv_timer_t *timer)
{
    struct exporter *e = exporter_of(timer->data);
    if (e->state == EXPORTER_WAITING)
        exporter_send(e);
    else if (e->state == EXPORTER_RESTING)
        exporter_collect(e);
    reactor_dispatch(e->reactor);
}

static void on_bell(uv_async_t *bell)
{
    struct exporter *e = exporter_of(bell->data);
    if (e->state == EXPORTER_RESTING)
        exporter_collect(e);
    reactor_dispatch(e->reactor);
}

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void exporter_stop(struct exporter *e)
{
    e->state = EXPORTER_ENDED;
    if (e->fetch != NULL)
        fetch_cancel(TAKE(e->fetch));
    fetch_client_end(TAKE(e->client));
    close_handle(&e->clock);
    close_handle(&e->deadline);
    close_handle(&e->bell);
}

/* There is no batch. Before nobody wants to know of any, what is left goes to where it went. */
static void exporter_rest(struct exporter *e)
{
    e->state = EXPORTER_RESTING;
    if (e->next != NULL)
        change_target(e);
    if (e->more || e->changes || e->ending)
        exporter_collect(e);
    else if (e->target != NULL)
        uv_timer_start(&e->clock, on_clock, e->target->every_ms, 0);
}

static bool take_record(void *ctx, const struct trace_record *record)
{
    struct exporter *e = ctx;
    unsigned spans = e->batch.spans + trace_record_spans(record);
    if (e->batch.spans > 0 && spans > e->target->batch)
        return false;
    return otlp_add(&e->batch, record);
}

/* One that nobody wants to know of. */
static bool drop_record(void *ctx, const struct trace_record *record)
{
    struct exporter *e = ctx;
    e->counts.dropped += trace_record_spans(record);
    return true;
}

/* One that it is too late to tell of. */
static bool fail_record(void *ctx, const struct trace_record *record)
{
    struct exporter *e = ctx;
    e->counts.failed += trace_record_spans(record);
    return true;
}

static bool take_all(struct exporter *e, bool (*take)(void *ctx, const struct trace_record *record))
{
    bool all = true;
    for (unsigned i = 0; e->rings != NULL && i < e->n_rings; i++)
        all &= trace_ring_take(&e->rings[(e->turn + i) % e->n_rings], take, e);
    e->turn++;
    return all;
}

static void begin_batch(struct exporter *e)
{
    const struct otlp_resource resource = {e->target->service, e->instance, WEIR_VERSION};
    if (e->memory == NULL)
        e->memory = mem_need(malloc(BATCH_BYTES));
    otlp_begin(&e->batch, e->memory, BATCH_BYTES, &resource);
}

/* The next batch, if there is anything to tell; else what is to be done when there is nothing. */
static void exporter_collect(struct exporter *e)
{
    e->more = false;
    if (e->target == NULL) {
        take_all(e, drop_record);
    } else {
        begin_batch(e);
        e->more = !take_all(e, take_record);
        if (e->batch.spans > 0) {
            e->body = otlp_end(&e->batch);
            e->first_ms = 0;
            exporter_send(e);
            return;
        }
    }
    if (e->changes)
        change_target(e);
    if (e->target == NULL)
        free(TAKE(e->memory));
    if (e->ending)
        exporter_stop(e);
    else if (e->target != NULL)
        uv_timer_start(&e->clock, on_clock, e->target->every_ms, 0);
}

/* ---- a batch on its way ---- */

static void batch_done(struct exporter *e, uint64_t *counter, unsigned spans)
{
    *counter += spans;
    e->batch.spans = 0;
    exporter_rest(e);
}

static void batch_taken(struct exporter *e, const struct fetch_answer *answer)
{
    static struct log_limit limit = LOG_LIMIT(60000);
    char message[OTLP_MESSAGE];
    uint64_t rejected = otlp_rejected(answer->body, message);
    if (rejected > e->batch.spans)
        rejected = e->batch.spans;
    if (rejected > 0 || message[0] != '\0')
        log_limited(&limit, LOG_WARN, "tracing: %s did not take %u of %u spans: %s",
                    e->target->text, (unsigned)rejected, e->batch.spans, message);
    backoff_reset(&e->backoff);
    e->counts.rejected += rejected;
    batch_done(e, &e->counts.exported, e->batch.spans - (unsigned)rejected);
}

static void batch_refused(struct exporter *e, unsigned status)
{
    static struct log_limit limit = LOG_LIMIT(60000);
    log_limited(&limit, LOG_WARN, "tracing: %s answered %u: %u spans are lost", e->target->text,
                status, e->batch.spans);
    batch_done(e, &e->counts.rejected, e->batch.spans);
}

/* Nobody is to be told of anything any more, but of what is left. */
static bool is_leaving(const struct exporter *e)
{
    return e->changes && e->next == NULL;
}

/* why: in words. */
static void batch_failed(struct exporter *e, const char *why, uint64_t asked_ms)
{
    static struct log_limit limit = LOG_LIMIT(60000);
    uint64_t now = reactor_now(e->reactor);
    uint64_t pause = backoff_next(&e->backoff, lb_rng_next(&e->rng));
    bool over = e->ending || now - e->first_ms >= GIVE_UP_MS;
    log_limited(&limit, LOG_WARN, "tracing: %s: %s; %u spans %s", e->target->text, why,
                e->batch.spans, over ? "are lost" : "are sent again");
    if (over) {
        if (e->ending || is_leaving(e)) /* the others would come to the same */
            take_all(e, fail_record);
        batch_done(e, &e->counts.failed, e->batch.spans);
        return;
    }
    if (asked_ms > pause)
        pause = asked_ms < ASKED_MAX_MS ? asked_ms : ASKED_MAX_MS;
    e->state = EXPORTER_WAITING;
    uv_timer_start(&e->clock, on_clock, e->next != NULL ? 0 : pause, 0);
}

static void on_answer(void *ctx, const struct fetch_answer *answer)
{
    struct exporter *e = exporter_of(ctx);
    unsigned status = answer->head.status;
    char said[32];
    e->fetch = NULL;
    snprintf(said, sizeof(said), "it answered %u", status);
    if (answer->why != NULL)
        batch_failed(e, answer->why, 0);
    else if (otlp_retryable(status))
        batch_failed(e, said, answer->head.retry_after_ms);
    else if (status >= 200 && status < 300)
        batch_taken(e, answer);
    else
        batch_refused(e, status);
}

static void fetch_batch(struct exporter *e)
{
    const struct trace_target *to = e->target;
    const struct fetch_request request = {
        .method = SPAN_LIT("POST"),
        .target = SPAN_LIT("/v1/traces"),
        .fields = to->fields,
        .n_fields = to->n_fields,
        .body = e->body,
        .connect_ms = to->timeout_ms,
        .idle_ms = to->timeout_ms,
        .total_ms = to->timeout_ms,
    };
    e->fetch = fetch_whole(e->client, &request, ANSWER_BYTES, on_answer, e);
}

static void exporter_send(struct exporter *e)
{
    if (e->next != NULL)
        change_target(e);
    if (e->first_ms == 0)
        e->first_ms = reactor_now(e->reactor);
    uv_timer_stop(&e->clock);
    if (fetch_client_ready(e->client) || secure(e)) {
        e->state = EXPORTER_SENDING;
        fetch_batch(e);
    } else {
        batch_failed(e, "TLS cannot be spoken to it", 0);
    }
}

/* ---- its life ---- */

struct exporter *exporter_new(struct reactor *r, unsigned producers)
{
    struct exporter *e = mem_need(calloc(1, sizeof(*e)));
    struct uuid7 ids;
    e->magic = EXPORTER_MAGIC;
    e->reactor = r;
    e->n_rings = producers;
    CHECK(uuid7_init(&ids)); /* the workers' have worked */
    uuid7_format(&ids, (uint64_t)time(NULL) * 1000, e->instance);
    lb_rng_seed(&e->rng, ids.state[0]);
    uv_timer_init(&r->loop, &e->clock);
    uv_timer_init(&r->loop, &e->deadline);
    uv_async_init(&r->loop, &e->bell, on_bell);
    e->clock.data = e->deadline.data = e->bell.data = e;
    return e;
}

struct trace_ring *exporter_ring(struct exporter *e, unsigned producer)
{
    return e->rings != NULL ? &e->rings[producer] : NULL;
}

void exporter_prepare(struct exporter *e)
{
    if (e->rings != NULL)
        return;
    size_t bytes = e->n_rings * sizeof(e->rings[0]);
    e->rings = mem_need(aligned_alloc(_Alignof(struct trace_ring), bytes));
    for (unsigned i = 0; i < e->n_rings; i++)
        mem_need(trace_ring_init(&e->rings[i], TRACE_RING_BYTES, &e->bell) ? e : NULL);
}

void exporter_use(struct exporter *e, struct trace_target *target)
{
    const struct trace_target *now = e->changes ? e->next : e->target;
    if (target == now || e->ending)
        return;
    trace_target_unref(e->next);
    e->next = trace_target_ref(target);
    e->changes = true;
    if (e->state == EXPORTER_WAITING && target != NULL)
        exporter_send(e);
    else if (e->state == EXPORTER_RESTING)
        exporter_rest(e);
}

static void on_deadline(uv_timer_t *timer)
{
    struct exporter *e = exporter_of(timer->data);
    log_warn("tracing: %s has not answered in time; %u spans are lost", e->target->text,
             e->batch.spans);
    e->counts.failed += e->batch.spans;
    exporter_stop(e);
}

void exporter_end(struct exporter *e, uint64_t within_ms)
{
    bool first = !e->ending;
    e->ending = true;
    if (first && e->state == EXPORTER_RESTING)
        exporter_collect(e);
    else if (first && e->state == EXPORTER_WAITING)
        exporter_send(e);
    if (e->state != EXPORTER_ENDED)
        uv_timer_start(&e->deadline, on_deadline, within_ms, 0);
}

void exporter_free(struct exporter *e)
{
    if (e == NULL)
        return;
    CHECK(e->state == EXPORTER_ENDED);
    for (unsigned i = 0; e->rings != NULL && i < e->n_rings; i++)
        trace_ring_fini(&e->rings[i]);
    free(e->rings);
    free(e->memory);
    trace_target_unref(e->target);
    trace_target_unref(e->next);
    e->magic = 0;
    free(e);
}

void exporter_count(struct exporter *e, struct exporter_counts *counts)
{
    *counts = e->counts;
    for (unsigned i = 0; e->rings != NULL && i < e->n_rings; i++)
        counts->dropped += counter_get(&e->rings[i].dropped);
}
