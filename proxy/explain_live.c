/* SPDX-License-Identifier: Apache-2.0 */
/* Explaining with the workers' own state. Owns the jobs; must never wait for a worker. */
#include "proxy/explain_live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/explain.h"

#define WAITING_MAX 32   /* questions that wait for their turn */
#define ROUNDS_MAX  8    /* in which all workers served another generation than was asked about */
#define TEXT_MAX    8192 /* of one parameter; no target is longer */

struct explain_job {
    struct admin_waiter waiter;
    struct explain_live *live;
    struct snapshot *snap; /* counted */
    struct explain_question question;
    struct explain_answer *answers; /* by worker, each its own */
    _Atomic unsigned left;          /* workers that have yet to answer */
    unsigned rounds;
    int32_t worker; /* whose plan comes first; -1: any */
    bool most, text;
};

struct explain_live {
    const struct admin_view *view;
    struct explain_job *asked;                /* the workers have it; or NULL */
    struct explain_job *waiting[WAITING_MAX]; /* the first that came first */
    unsigned n_waiting;
};

/* ---- a worker ---- */

static struct lb *worker_lb(void *ctx, int32_t pool)
{
    const struct worker *w = ctx;
    return pool_lb(w->view->pools[pool]);
}

static uint64_t worker_hedge_us(void *ctx, int32_t pool)
{
    const struct worker *w = ctx;
    const struct lb_quantile *latencies = pool_latencies(w->view->pools[pool]);
    return latencies != NULL ? lb_quantile_us(latencies) : 0;
}

void explain_job_answer(struct worker *w, struct explain_job *job)
{
    if (job == NULL)
        return;
    struct explain_answer *a = &job->answers[w->index];
    struct explain_source source = {
        .lb = worker_lb,
        .hedge_us = worker_hedge_us,
        .ctx = w,
        .rng = w->rng,
        .now_us = reactor_us(&w->reactor),
    };
    a->answered = w->view->snapshot == job->snap;
    if (a->answered)
        explain_plan_make(&a->plan, job->snap, &job->question, &source);
    atomic_fetch_sub(&job->left, 1);
    worker_told(w);
}

/* ---- the questions ---- */

static void forget_answers(struct explain_job *job)
{
    for (unsigned i = 0; i < job->live->view->n_workers; i++) {
        explain_plan_fini(&job->answers[i].plan);
        job->answers[i] = (struct explain_answer){.worker = i};
    }
}

static void job_free(struct explain_job *job)
{
    forget_answers(job);
    explain_question_fini(&job->question);
    snapshot_unref(job->snap);
    free(job->answers);
    free(job);
}

/* It is with the workers, or will be soon: they may finish. */
static void on_gone(struct admin_waiter *waiter)
{
    (void)waiter;
}

/* The parameters, as texts that live as long as this. */
struct parameters {
    struct explain_ask ask;
    char *url, *texts[EXPLAIN_FIELDS];
    char method[64], client[64], listener[256], word[16];
};

static void parameters_fini(struct parameters *p)
{
    for (unsigned i = 0; i < p->ask.n_fields; i++)
        free(p->texts[i]);
    free(p->url);
}

static bool parameter(const struct admin_ask *from, const char *name, char *out, size_t room)
{
    struct span query = from->request->query;
    return admin_parameter(&query, name, out, room);
}

/* False: there are too many. */
static bool fields_read(struct parameters *p, struct span query)
{
    char *text = mem_need(malloc(TEXT_MAX));
    while (p->ask.n_fields < EXPLAIN_FIELDS && admin_parameter(&query, "header", text, TEXT_MAX)) {
        p->texts[p->ask.n_fields] = text;
        p->ask.fields[p->ask.n_fields++] = text;
        text = mem_need(malloc(TEXT_MAX));
    }
    bool all = !admin_parameter(&query, "header", text, TEXT_MAX);
    free(text);
    return all;
}

static bool parameters_read(struct parameters *p, const struct admin_ask *from)
{
    *p = (struct parameters){.url = mem_need(malloc(TEXT_MAX))};
    p->ask.url = p->url;
    p->ask.method = parameter(from, "method", p->method, sizeof(p->method)) ? p->method : NULL;
    p->ask.client = parameter(from, "client", p->client, sizeof(p->client)) ? p->client : NULL;
    if (parameter(from, "listener", p->listener, sizeof(p->listener)))
        p->ask.listener = p->listener;
    return parameter(from, "url", p->url, TEXT_MAX);
}

static struct explain_job *job_new(struct explain_live *live, const struct explain_ask *ask,
                                   char **error)
{
    struct explain_job *job = mem_need(calloc(1, sizeof(*job)));
    if (!explain_question_init(&job->question, live->view->snapshot, ask, error)) {
        free(job);
        return NULL;
    }
    job->live = live;
    job->snap = snapshot_ref((struct snapshot *)(uintptr_t)live->view->snapshot);
    job->answers = mem_need(calloc(live->view->n_workers, sizeof(job->answers[0])));
    return job;
}

static bool is_said(const struct admin_ask *from, const char *name, const char *value)
{
    char word[16];
    return parameter(from, name, word, sizeof(word)) && strcmp(word, value) == 0;
}

/* NULL, and answered: it is no question. */
static struct explain_job *job_of(struct explain_live *live, const struct admin_ask *from)
{
    struct parameters p;
    struct explain_job *job = NULL;
    char *error = NULL;
    bool asked = parameters_read(&p, from);
    if (!fields_read(&p, from->request->query))
        admin_say(from, 400, "more than %d fields\n", EXPLAIN_FIELDS);
    else if (!asked)
        admin_say(from, 400,
                  "what is to be explained? /explain?url=http://host/path says it; "
                  "method=, header=name:%%20value, client= and listener= say more\n");
    else if ((job = job_new(live, &p.ask, &error)) == NULL)
        admin_say(from, 400, "%s\n", error);
    if (job != NULL) {
        job->worker = parameter(from, "worker", p.word, sizeof(p.word))
                          ? (int32_t)strtol(p.word, NULL, 10)
                          : -1;
        job->most = is_said(from, "routes", "all");
        job->text = is_said(from, "as", "text");
    }
    free(error);
    parameters_fini(&p);
    return job;
}

/* ---- asking ---- */

static void ask_workers(struct explain_live *live, struct explain_job *job)
{
    const struct admin_view *view = live->view;
    live->asked = job;
    forget_answers(job);
    atomic_store(&job->left, view->n_workers);
    for (unsigned i = 0; i < view->n_workers; i++) {
        atomic_store(&view->workers[i].explain, job);
        worker_order(&view->workers[i], WORKER_EXPLAIN);
    }
}

/* One of them goes first, since that is the one that is told whole. */
static void put_first(struct explain_job *job)
{
    unsigned n = job->live->view->n_workers;
    if (job->worker <= 0 || (unsigned)job->worker >= n)
        return;
    struct explain_answer first = job->answers[job->worker];
    memmove(&job->answers[1], &job->answers[0], (size_t)job->worker * sizeof(first));
    job->answers[0] = first;
}

static void tell_text(const struct admin_ask *ask, const struct explanation *e)
{
    char *text = NULL;
    size_t len;
    FILE *out = mem_need(open_memstream(&text, &len));
    explanation_print(out, e);
    mem_need(fclose(out) == 0 ? text : NULL);
    admin_text(ask, 200, SPAN_LIT("text/plain; charset=utf-8"), span_of(text, len));
    free(text);
}

static void tell(struct explain_job *job)
{
    struct admin_ask ask = admin_waiter_ask(&job->waiter);
    put_first(job);
    struct explanation e = {
        .question = &job->question,
        .answers = job->answers,
        .n_answers = job->live->view->n_workers,
        .live = true,
        .most = job->most,
        .now_us = uv_hrtime() / 1000,
    };
    if (job->text)
        tell_text(&ask, &e);
    else
        admin_json(&ask, 200, explanation_write, &e);
}

static bool any_answered(const struct explain_job *job)
{
    for (unsigned i = 0; i < job->live->view->n_workers; i++)
        if (job->answers[i].answered)
            return true;
    return false;
}

/* All workers have answered. False: it has to be asked once more. */
static bool finish(struct explain_job *job)
{
    if (job->waiter.stream != NULL && any_answered(job)) {
        tell(job);
    } else if (job->waiter.stream != NULL) {
        struct admin_ask ask = admin_waiter_ask(&job->waiter);
        if (job->live->view->ready && ++job->rounds < ROUNDS_MAX &&
            job->snap == job->live->view->snapshot)
            return false;
        admin_say(&ask, 503, "the configuration is changing: ask again\n");
    }
    admin_waiter_end(&job->waiter, REASON_DONE);
    job_free(job);
    return true;
}

static struct explain_job *pop(struct explain_live *live)
{
    struct explain_job *first = live->waiting[0];
    live->n_waiting--;
    memmove(&live->waiting[0], &live->waiting[1], live->n_waiting * sizeof(live->waiting[0]));
    return first;
}

/* Workers that are told to end take no orders. */
static void ask_next(struct explain_live *live)
{
    while (live->asked == NULL && live->n_waiting > 0) {
        struct explain_job *job = pop(live);
        if (job->waiter.stream != NULL && live->view->ready) {
            ask_workers(live, job);
            return;
        }
        if (job->waiter.stream != NULL) {
            struct admin_ask ask = admin_waiter_ask(&job->waiter);
            admin_say(&ask, 503, "shutting down\n");
        }
        admin_waiter_end(&job->waiter, REASON_DONE);
        job_free(job);
    }
}

void explain_live_told(struct explain_live *live)
{
    if (live == NULL || live->asked == NULL || atomic_load(&live->asked->left) > 0)
        return;
    struct explain_job *job = TAKE(live->asked);
    if (finish(job))
        ask_next(live);
    else
        ask_workers(live, job);
}

bool explain_live_page(struct explain_live *live, const struct admin_ask *ask)
{
    if (!live->view->ready || live->n_waiting >= WAITING_MAX) {
        admin_say(ask, 503, "%s\n", live->view->ready ? "too many questions" : "shutting down");
        return true;
    }
    struct explain_job *job = job_of(live, ask);
    if (job == NULL)
        return true;
    admin_wait(ask, &job->waiter, on_gone);
    live->waiting[live->n_waiting++] = job;
    ask_next(live);
    return false;
}

/* ---- life ---- */

struct explain_live *explain_live_new(const struct admin_view *view)
{
    struct explain_live *live = mem_need(calloc(1, sizeof(*live)));
    live->view = view;
    return live;
}

void explain_live_free(struct explain_live *live)
{
    if (live == NULL)
        return;
    if (live->asked != NULL)
        job_free(live->asked);
    while (live->n_waiting > 0)
        job_free(pop(live));
    free(live);
}
