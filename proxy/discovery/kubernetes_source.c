/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints from an API server of Kubernetes: a list, then a watch from where the list ended, and a
 * list again when the server has forgotten that place. Owns the slices as they are known; must
 * never let go of them for a failure. Control thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/rng.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/discovery/backoff.h"
#include "proxy/discovery/kubernetes_list.h"
#include "proxy/discovery/kubernetes_refusal.h"
#include "proxy/discovery/source.h"
#include "proxy/watch/file_watch.h"

#define KUBE_SOURCE_MAGIC MAGIC('s', 'r', 'c', 'k')

#define SAID_BYTES      4096   /* of an answer that is an error */
#define HEAD_MS         30000  /* a watch is answered at once, unless the server has others first */
#define WATCH_MIN_S     300    /* it lasts for so long, or as much again */
#define WATCH_SLACK_S   30     /* ... and is not waited with for longer */
#define WATCH_SILENT_MS 150000 /* bookmarks come every minute */
#define WATCH_SHORT_MS  1000   /* one that ends sooner was of no use */
#define TELL_MS         10     /* what changes at once is told at once */
#define RETRY_AFTER_MS  300000 /* that a server may ask for, at most */

struct kube_source {
    struct source base;
    struct reactor *reactor;
    struct kube_want want;
    uv_timer_t due; /* the next request, from the loop; while watching: it is silent for too long */
    uv_timer_t tell;                /* what has changed */
    uint8_t open;                   /* timers */
    struct kube_reach reach;        /* closed: its files are to be read */
    struct kube_reach heir;         /* of files that have changed while it watches */
    struct file_watch *files;       /* those of reach */
    struct file_watched watched;    /* ... */
    struct kube_list list;          /* by reach */
    struct fetch *fetch;            /* ... a watch; or NULL */
    struct fetch *proof;            /* by heir */
    bool watching;                  /* the last that was asked was a watch */
    struct kube_slices slices;      /* as known */
    char version[KUBE_VERSION_MAX]; /* to watch from; "": to be listed */
    bool relisted;     /* since a watch was last of any use: the next time not at once */
    bool reread;       /* the token was, for a 401 */
    bool asked;        /* a list is wanted, whatever is known */
    uint64_t watch_ms; /* since when */
    unsigned status;   /* of the watch */
    uint32_t retry_after_ms;
    char said[SAID_BYTES + 1]; /* an answer that is an error */
    size_t said_len;
    char but[KUBE_WHY]; /* what is wrong although there are answers; or "" */
    struct kube_stream stream;
    struct config_endpoints *told;
    const char *note;
    uint64_t cost_ms; /* of the last telling */
    struct backoff backoff;
    struct lb_rng rng;
};

static struct kube_source *kube_source_of(void *data)
{
    return CAST_OBJ(kube_source, data, KUBE_SOURCE_MAGIC);
}

static void on_due(uv_timer_t *timer);
static void begin(struct kube_source *k);

static void in(struct kube_source *k, uint64_t ms)
{
    uv_timer_start(&k->due, on_due, ms, 0);
}

static uint64_t draw(struct kube_source *k)
{
    return lb_rng_next(&k->rng);
}

/* ---- what is told ---- */

/* Again what was told last: the server is there, and nothing has changed. */
static void tell_again(struct kube_source *k)
{
    if (k->told == NULL)
        return;
    k->base.events->answered(&k->base, config_endpoints_ref(k->told), k->note);
    if (k->but[0] != '\0')
        k->base.events->failed(&k->base, k->but);
}

static void on_tell(uv_timer_t *timer)
{
    struct kube_source *k = kube_source_of(timer->data);
    uint64_t begun = uv_hrtime();
    config_endpoints_unref(k->told);
    k->told = kube_slices_endpoints(&k->slices, &k->want, &k->note);
    k->cost_ms = (uv_hrtime() - begun) / 1000000;
    tell_again(k);
}

/* Of many that change one after the other, no more than a fifth of the time is spent on telling. */
static void tell(struct kube_source *k)
{
    if (!uv_is_active((uv_handle_t *)&k->tell))
        uv_timer_start(&k->tell, on_tell, TELL_MS + 4 * k->cost_ms, 0);
}

/* ---- what goes wrong ---- */

/* What was learnt before is told before: an answer that came after it would end the failure. */
static void retry(struct kube_source *k, const char *why)
{
    uint64_t ms = backoff_next(&k->backoff, draw(k));
    uint64_t asked = k->retry_after_ms < RETRY_AFTER_MS ? k->retry_after_ms : RETRY_AFTER_MS;
    k->retry_after_ms = 0;
    if (uv_is_active((uv_handle_t *)&k->tell)) {
        uv_timer_stop(&k->tell);
        on_tell(&k->tell);
    }
    k->base.events->failed(&k->base, why);
    in(k, ms > asked ? ms : asked);
}

/* What is known cannot be gone on from. */
static void forget_place(struct kube_source *k)
{
    kube_stream_fini(&k->stream);
    k->version[0] = '\0';
    k->relisted = true;
}

/* A watch is of use. */
static void is_well(struct kube_source *k)
{
    k->relisted = false;
    backoff_reset(&k->backoff);
}

/* The server has forgotten the place (410). The first time that is no failure. */
static void list_anew(struct kube_source *k)
{
    bool again = k->relisted;
    forget_place(k);
    if (again)
        retry(k, "the API server forgets at once what it has listed (410); see what it logs");
    else
        in(k, 0);
}

/* An answer that is no success. A watch that is not allowed is made up for by lists. */
static void refused(struct kube_source *k, unsigned status, struct span bytes)
{
    char why[KUBE_WHY];
    if (status == 410) {
        list_anew(k);
        return;
    }
    if (status == 401 && !k->reread) { /* the token is read for each request */
        k->reread = true;
        in(k, 0);
        return;
    }
    k->reread = false;
    kube_refusal(&k->reach.access, k->watching, status, bytes, why);
    if (status == 403 && k->watching)
        memcpy(k->but, why, sizeof(why));
    if (status >= 400 && status < 500 && status != 401 && status != 429)
        forget_place(k); /* it may be what it does not like; another server, say */
    retry(k, why);
}

/* ---- the list ---- */

static void list_done(struct kube_source *k, struct kube_listed *listed)
{
    kube_slices_fini(&k->slices);
    k->slices = listed->slices;
    listed->slices = (struct kube_slices){0};
    snprintf(k->version, sizeof(k->version), "%s", listed->version);
    k->reread = k->asked = false;
    if (!k->relisted)
        backoff_reset(&k->backoff);
    tell(k);
    in(k, 0);
}

static void on_listed(void *ctx, struct kube_listed *listed)
{
    struct kube_source *k = kube_source_of(ctx);
    k->retry_after_ms = listed->retry_after_ms;
    if (listed->malformed)
        forget_place(k);
    if (listed->why != NULL)
        retry(k, listed->why);
    else if (listed->status == 200)
        list_done(k, listed);
    else
        refused(k, listed->status, listed->body);
}

static void list(struct kube_source *k)
{
    char why[KUBE_WHY];
    k->watching = false;
    if (!kube_list_begin(&k->list, &k->reach, &k->want, on_listed, k, why))
        retry(k, why);
}

/* ---- the watch ---- */

static void drop_fetch(struct kube_source *k)
{
    fetch_cancel(TAKE(k->fetch));
    kube_stream_fini(&k->stream);
}

/* The watch says that it cannot go on; what it was is a Status. */
static void on_error_event(struct kube_source *k, const struct kube_event *event)
{
    char why[KUBE_WHY];
    struct json_wrong wrong = {0};
    int64_t code = json_read_number(event->object, "code", 0, &wrong);
    drop_fetch(k);
    if (code == 410) {
        list_anew(k);
        return;
    }
    kube_refusal_event(event->object, why);
    forget_place(k);
    retry(k, why);
}

static void put_or_drop(struct kube_source *k, const struct kube_event *event,
                        struct json_wrong *wrong)
{
    bool ok = event->kind == KUBE_DELETE
                  ? kube_slices_drop(&k->slices, event->object, wrong)
                  : kube_slices_put(&k->slices, &k->want, event->object, wrong);
    if (ok)
        tell(k);
}

static void malformed(struct kube_source *k, const struct json_wrong *wrong)
{
    char why[KUBE_WHY];
    snprintf(why, sizeof(why), "the API server's watch: %s", wrong->why);
    drop_fetch(k);
    forget_place(k);
    retry(k, why);
}

static bool on_event(void *ctx, const struct kube_event *event)
{
    struct kube_source *k = kube_source_of(ctx);
    struct json_wrong wrong = {0};
    if (event->kind == KUBE_ERROR) {
        on_error_event(k, event);
        return false;
    }
    memcpy(k->version, event->version.ptr, event->version.len + 1);
    if (event->kind == KUBE_BOOKMARK)
        tell_again(k);
    else
        put_or_drop(k, event, &wrong);
    if (wrong.why[0] == '\0')
        is_well(k);
    else
        malformed(k, &wrong);
    return k->fetch != NULL;
}

/* It has said something, and has to say more in time; unless it is to be left anyway. */
static void await_more(struct kube_source *k)
{
    if (!k->asked)
        in(k, WATCH_SILENT_MS);
}

static void on_head(void *ctx, const struct fetch_head *head)
{
    struct kube_source *k = kube_source_of(ctx);
    k->status = head->status;
    k->retry_after_ms = head->retry_after_ms;
    if (head->status != 200)
        return;
    k->reread = false;
    k->but[0] = '\0';
    await_more(k);
    tell_again(k);
}

static void on_data(void *ctx, struct span bytes)
{
    struct kube_source *k = kube_source_of(ctx);
    struct json_wrong wrong = {0};
    if (k->status != 200) {
        size_t n = SAID_BYTES - k->said_len < bytes.len ? SAID_BYTES - k->said_len : bytes.len;
        memcpy(k->said + k->said_len, bytes.ptr, n);
        k->said_len += n;
        return;
    }
    await_more(k);
    if (!kube_stream_feed(&k->stream, bytes, on_event, k, &wrong))
        malformed(k, &wrong);
}

/* A watch ends all the time: when it was asked to, when the server restarts, when something in
 * between does. It goes on from where it was, at once if it was of any use. */
static void watch_ended(struct kube_source *k)
{
    bool was_short = uv_now(&k->reactor->loop) - k->watch_ms < WATCH_SHORT_MS;
    kube_stream_fini(&k->stream); /* a line that was cut comes again */
    if (!was_short)
        is_well(k);
    in(k, was_short ? backoff_next(&k->backoff, draw(k)) : 0);
}

static void on_end(void *ctx, const char *why)
{
    struct kube_source *k = kube_source_of(ctx);
    k->fetch = NULL;
    if (k->status == 200)
        watch_ended(k);
    else if (why != NULL)
        retry(k, why);
    else
        refused(k, k->status, span_of(k->said, k->said_len));
}

static const struct fetch_events watch_events = {.head = on_head, .data = on_data, .end = on_end};

static void watch(struct kube_source *k)
{
    struct kube_ask ask;
    char after[64], why[KUBE_WHY];
    uint32_t seconds = WATCH_MIN_S + (uint32_t)(draw(k) % (WATCH_MIN_S + 1));
    snprintf(after, sizeof(after), "&timeoutSeconds=%u&watch=true&resourceVersion=", seconds);
    if (!kube_ask_make(&ask, &k->reach, "allowWatchBookmarks=true&", after, k->version, why)) {
        retry(k, why);
        return;
    }
    k->watching = true;
    k->status = 0;
    k->said_len = 0;
    k->watch_ms = uv_now(&k->reactor->loop);
    ask.request.head_ms = HEAD_MS;
    ask.request.idle_ms = 2 * WATCH_SILENT_MS; /* on_due comes first */
    ask.request.total_ms = (seconds + WATCH_SLACK_S) * 1000;
    k->fetch = fetch_begin(k->reach.client, &ask.request, &watch_events, k);
    kube_ask_free(&ask);
}

/* ---- the server ---- */

static void watch_files(struct kube_source *k)
{
    file_watch_paths_begin(k->files);
    for (size_t i = 0; k->reach.access.files[i] != NULL; i++)
        file_watch_path(k->files, k->reach.access.files[i]);
    file_watch_paths_end(k->files);
}

static void drop_heir(struct kube_source *k)
{
    fetch_cancel(TAKE(k->proof));
    kube_reach_close(&k->heir);
}

/* With what the files say now. */
static bool reach(struct kube_source *k)
{
    char why[KUBE_WHY];
    drop_heir(k);
    if (kube_reach_current(&k->reach))
        return true;
    kube_reach_close(&k->reach);
    bool ok = kube_reach_open(&k->reach, k->reactor, k->base.spec, why);
    watch_files(k);
    if (!ok)
        retry(k, why);
    return ok;
}

/* The watch goes on by it, from where it is. */
static void take_heir(struct kube_source *k)
{
    drop_fetch(k);
    kube_reach_close(&k->reach);
    k->reach = k->heir;
    k->heir = (struct kube_reach){0};
    watch_files(k);
    in(k, 0);
}

/* The watch goes on as it is, and it is tried again in a minute, or when they change. */
static void refuse_heir(struct kube_source *k, const char *why)
{
    snprintf(k->but, sizeof(k->but), "%.500s", why);
    k->base.events->failed(&k->base, k->but);
    k->watched.failed = true;
    drop_heir(k);
}

static void on_proof(void *ctx, const struct fetch_answer *answer)
{
    struct kube_source *k = kube_source_of(ctx);
    char why[KUBE_WHY];
    k->proof = NULL;
    if (answer->why == NULL && answer->head.status == 200) {
        take_heir(k);
        return;
    }
    if (answer->why == NULL)
        kube_refusal(&k->heir.access, false, answer->head.status, answer->body, why);
    refuse_heir(k, answer->why != NULL ? answer->why : why);
}

/* A request that costs little shows whether a watch would do. */
static bool prove(struct kube_source *k, char why[KUBE_WHY])
{
    struct kube_ask ask;
    if (!kube_reach_open(&k->heir, k->reactor, k->base.spec, why) ||
        !kube_ask_make(&ask, &k->heir, "", "&limit=1", "", why))
        return false;
    ask.request.total_ms = KUBE_PAGE_MS;
    k->proof = fetch_whole(k->heir.client, &ask.request, KUBE_PAGE_BYTES, on_proof, k);
    kube_ask_free(&ask);
    return true;
}

static uint64_t files_state(struct file_watched *it)
{
    return kube_access_state(&CONTAINER_OF(it, kube_source, watched)->reach.access);
}

/* They have changed: a watch has to go by them, but must not end by their being no good. */
static bool files_read(struct file_watched *it, uint64_t *state)
{
    struct kube_source *k = CONTAINER_OF(it, kube_source, watched);
    char why[KUBE_WHY];
    (void)state;
    if (k->fetch == NULL || k->status != 200 || kube_reach_current(&k->reach))
        return true; /* what is asked next goes by them anyway */
    drop_heir(k);
    if (prove(k, why))
        return true;
    refuse_heir(k, why);
    return false;
}

static const struct file_reader files_reader = {.state = files_state, .read = files_read};

static void begin(struct kube_source *k)
{
    if (!reach(k))
        return;
    if (k->version[0] == '\0' || k->asked)
        list(k);
    else
        watch(k);
}

static void on_due(uv_timer_t *timer)
{
    struct kube_source *k = kube_source_of(timer->data);
    if (kube_list_runs(&k->list))
        return; /* it ends by itself */
    if (k->fetch != NULL)
        drop_fetch(k);
    begin(k);
}

/* ---- life ---- */

static void timer_open(struct kube_source *k, uv_timer_t *timer)
{
    uv_timer_init(&k->reactor->loop, timer);
    timer->data = k;
    k->open++;
}

static struct source *kube_start(const struct source_world *world, struct source_spec *spec,
                                 const struct source_events *events, void *owner)
{
    struct kube_source *k = mem_need(calloc(1, sizeof(*k)));
    k->base = (struct source){KUBE_SOURCE_MAGIC, spec, events, owner};
    k->reactor = world->reactor;
    k->want = (struct kube_want){.port = spec->kubernetes.port, .zone = spec->kubernetes.zone};
    lb_rng_seed(&k->rng, uv_hrtime() ^ (uintptr_t)k);
    timer_open(k, &k->due);
    timer_open(k, &k->tell);
    k->files = file_watch_new(&k->reactor->loop);
    file_watch_add(k->files, &k->watched, &files_reader, 0, false);
    in(k, 0);
    return &k->base;
}

static void kube_ask(struct source *source)
{
    struct kube_source *k = kube_source_of(source);
    k->asked = true;
    in(k, 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct kube_source *k = kube_source_of(handle->data);
    if (--k->open > 0)
        return;
    forget_place(k);
    kube_slices_fini(&k->slices);
    config_endpoints_unref(k->told);
    source_spec_unref(k->base.spec);
    k->base.magic = 0;
    free(k);
}

static void kube_stop(struct source *source)
{
    struct kube_source *k = kube_source_of(source);
    kube_list_end(&k->list);
    drop_fetch(k);
    drop_heir(k);
    kube_reach_close(&k->reach);
    file_watch_end(k->files);
    uv_close((uv_handle_t *)&k->due, on_closed);
    uv_close((uv_handle_t *)&k->tell, on_closed);
}

const struct source_kind source_kubernetes = {
    .name = "kubernetes", .start = kube_start, .ask = kube_ask, .stop = kube_stop};
