/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outlier detection. Owns what was found of each endpoint of a group, behind a mutex; the counts of
 * its requests are the endpoint's. Must never do I/O or read a clock. Any thread.
 */
#include "balancer/outlier.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/shares.h"
#include "proxy/base/mem.h"

#define MAD_TO_SIGMA 1.4826  /* of a normal distribution */
#define BLOCKED_US   1000000 /* later it is seen whether something else still bars a probe */
#define ROOM_US      1000000 /* after one was asked before its time, for nothing */

/* Requests up to some moment, or between two. */
struct tally {
    uint32_t answers, failures;
    uint64_t logs;
};

struct record {
    struct lb_ejection e;
    bool early;          /* its probe is before its time */
    struct tally before; /* as of the last sweep, or its return */
    struct tally lately; /* the sweep's alone */
};

struct rated {
    double value; /* the larger, the worse */
    uint32_t index;
};

struct lb_outlier {
    struct lb_outlier_options options;
    pthread_mutex_t mutex;
    /* Under the mutex: */
    uint32_t out;           /* how many are ejected */
    uint64_t room_us;       /* when the next may be asked before its time */
    struct record *records; /* of each endpoint */
    struct rated *rated;    /* the sweep's */
    _Atomic uint64_t counts[LB_CAUSES][LB_RESULTS];
};

static void *array(size_t n, size_t size)
{
    return mem_need(calloc(n, size));
}

void lb_outlier_attach(struct lb_group *group, const struct lb_outlier_options *options)
{
    CHECK(group->outlier == NULL && options->max <= 100 && options->eject_us > 0);
    if (options->mode == LB_RULE_NONE)
        return;
    struct lb_outlier *o = array(1, sizeof(*o));
    o->options = *options;
    o->records = array(group->count, sizeof(o->records[0]));
    o->rated = array(group->count, sizeof(o->rated[0]));
    pthread_mutex_init(&o->mutex, NULL);
    group->outlier = o;
}

void lb_outlier_free(struct lb_outlier *o)
{
    if (o == NULL)
        return;
    pthread_mutex_destroy(&o->mutex);
    free(o->records);
    free(o->rated);
    free(o);
}

/* ---- going out ---- */

static uint64_t soonest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Nothing but its ejection bars a request there. */
static bool may_probe(const struct lb_group *group, uint32_t index)
{
    const struct lb_endpoint *ep = group->endpoints[index];
    return lb_group_marks(group, index) == LB_EJECTED && lb_group_weight(group, index) > 0 &&
           lb_endpoint_in_flight(ep) < ep->most;
}

/* When the next may be asked again. */
static void plan_probe(struct lb_group *group, uint64_t now_us)
{
    const struct lb_outlier *o = group->outlier;
    uint64_t next = LB_NEVER;
    for (uint32_t i = 0; i < group->count && o->out > 0; i++) {
        const struct lb_ejection *e = &o->records[i].e;
        if (!e->out || e->observed)
            continue;
        bool barred = e->until_us <= now_us && !may_probe(group, i);
        next = soonest(next, barred ? now_us + BLOCKED_US : e->until_us);
    }
    atomic_store_explicit(&group->probe_us, next, memory_order_relaxed);
}

static uint32_t most_out(const struct lb_outlier *o, uint32_t endpoints)
{
    uint64_t most = (uint64_t)endpoints * o->options.max / 100;
    return most > 0 ? (uint32_t)most : 1;
}

/* Not the last that is usable, nor one too many. */
static bool can_spare(const struct lb_group *group, uint32_t index)
{
    const struct lb_outlier *o = group->outlier;
    uint32_t open = 0, others = 0;
    if (o->out >= most_out(o, group->count))
        return false;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t marks = lb_group_marks(group, i);
        if (lb_group_weight(group, i) == 0 || (marks & (LB_DRAINED | LB_UNPROVEN)))
            continue;
        open++;
        others += i != index && marks == 0;
    }
    return others > 0 && o->out < most_out(o, open);
}

static void count(struct lb_outlier *o, enum lb_cause cause, enum lb_result result)
{
    atomic_fetch_add_explicit(&o->counts[cause][result], 1, memory_order_relaxed);
}

/* For how long, the so manieth time. */
static uint64_t sentence(const struct lb_outlier *o, uint32_t times)
{
    uint64_t most = o->options.max_eject_us, once = o->options.eject_us;
    if (most < once)
        most = once;
    return times > most / once ? most : times * once;
}

static void put_out(struct lb_group *group, uint32_t index, const struct lb_ejection *found,
                    uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    struct record *r = &o->records[index];
    struct lb_ejection *e = &r->e;
    bool was = e->out && !e->observed;
    uint32_t times = e->times + !(found->observed || r->early);
    r->early = false;
    *e = *found;
    e->out = true;
    e->times = times;
    e->since_us = now_us;
    e->until_us = now_us + sentence(o, found->observed ? 1 : times);
    count(o, e->cause, e->observed ? LB_RESULT_OBSERVED : LB_RESULT_EJECTED);
    if (e->observed)
        return;
    o->out += !was;
    lb_group_mark(group, index, LB_EJECTED, true, now_us);
    plan_probe(group, now_us);
}

void lb_outlier_follow(struct lb_group *group, uint32_t index, const struct lb_group *before,
                       uint32_t was, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier, *from = before->outlier;
    if (o == NULL || from == NULL)
        return;
    struct lb_ejection *e = &o->records[index].e;
    pthread_mutex_lock(&from->mutex);
    *e = from->records[was].e;
    pthread_mutex_unlock(&from->mutex);
    bool out = e->out && !e->observed;
    if (out && (o->options.mode < LB_RULE_ENFORCE || o->out >= most_out(o, group->count)))
        out = e->out = false;
    if (e->probing) /* its answer is told elsewhere: the next one decides */
        e->until_us = now_us;
    e->probing = false;
    e->until_us = soonest(e->until_us, now_us + sentence(o, e->times));
    if (!out)
        return;
    o->out++;
    lb_group_mark(group, index, LB_EJECTED, true, e->since_us);
    uint64_t next = atomic_load_explicit(&group->probe_us, memory_order_relaxed);
    atomic_store_explicit(&group->probe_us, soonest(next, e->until_us), memory_order_relaxed);
}

/* Nobody else can go, and who is out may be well by now: the one that is out longest is asked
 * already. */
static void make_room(struct lb_group *group, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    struct record *first = NULL;
    for (uint32_t i = 0; i < group->count && now_us >= o->room_us; i++) {
        struct record *r = &o->records[i];
        if (r->e.out && !r->e.observed && !r->e.probing && r->e.until_us > now_us &&
            may_probe(group, i) && (first == NULL || r->e.since_us < first->e.since_us))
            first = r;
    }
    if (first == NULL)
        return;
    first->early = true;
    first->e.until_us = now_us;
    o->room_us = now_us + ROOM_US;
    plan_probe(group, now_us);
}

/* Something was found of one that serves. Whether that made a difference. */
static bool convict(struct lb_group *group, uint32_t index, enum lb_rule_mode mode,
                    struct lb_ejection *found, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    const struct lb_ejection *e = &o->records[index].e;
    found->observed = mode < LB_RULE_ENFORCE || o->options.mode < LB_RULE_ENFORCE;
    pthread_mutex_lock(&o->mutex);
    /* One that is only said to be out can still be found out. */
    bool stands =
        e->out && (found->observed || !e->observed) && (!e->observed || now_us < e->until_us);
    bool spared = !stands && !can_spare(group, index);
    if (spared) {
        count(o, found->cause, LB_RESULT_HELD);
        make_room(group, now_us);
    } else if (!stands) {
        put_out(group, index, found, now_us);
    }
    pthread_mutex_unlock(&o->mutex);
    return !stands && !spared;
}

bool lb_outlier_failed(struct lb_group *group, uint32_t index, enum lb_outcome outcome,
                       uint64_t now_us)
{
    struct lb_endpoint *ep = group->endpoints[index];
    uint32_t errors = group->outlier->options.errors;
    atomic_fetch_add_explicit(&ep->failures, 1, memory_order_relaxed);
    uint32_t run = atomic_fetch_add_explicit(&ep->run, 1, memory_order_relaxed) + 1;
    if (errors == 0 || run % errors != 0) /* who was spared is looked at again */
        return false;
    struct lb_ejection found = {.cause = LB_CAUSE_ERRORS, .last = outcome, .count = run};
    return convict(group, index, LB_RULE_ENFORCE, &found, now_us);
}

/* ---- coming back ---- */

static int32_t find_probe(const struct lb_group *group, uint64_t now_us)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const struct lb_ejection *e = &group->outlier->records[i].e;
        if (e->out && !e->observed && e->until_us <= now_us && may_probe(group, i))
            return (int32_t)i;
    }
    return LB_NONE;
}

int32_t lb_outlier_next_probe(const struct lb_group *group, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    if (pthread_mutex_trylock(&o->mutex) != 0)
        return LB_NONE;
    int32_t found = find_probe(group, now_us);
    pthread_mutex_unlock(&o->mutex);
    return found;
}

int32_t lb_outlier_probe(struct lb_group *group, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    if (pthread_mutex_trylock(&o->mutex) != 0)
        return LB_NONE;
    int32_t found = find_probe(group, now_us);
    if (found != LB_NONE) {
        struct lb_ejection *e = &o->records[found].e;
        e->probing = true;
        e->until_us = now_us + LB_PROBE_US;
    }
    plan_probe(group, now_us);
    pthread_mutex_unlock(&o->mutex);
    return found;
}

static struct tally tally_of(const struct lb_endpoint *ep)
{
    return (struct tally){
        .answers = atomic_load_explicit(&ep->answers, memory_order_relaxed),
        .failures = atomic_load_explicit(&ep->failures, memory_order_relaxed),
        .logs = atomic_load_explicit(&ep->logs, memory_order_relaxed),
    };
}

/* What it did before is not held against it. */
static void readmit(struct lb_group *group, uint32_t index, uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    struct record *r = &o->records[index];
    o->out--;
    o->room_us = 0;
    r->e.out = r->e.probing = r->early = false;
    r->before = tally_of(group->endpoints[index]);
    atomic_store_explicit(&group->endpoints[index]->run, 0, memory_order_relaxed);
    lb_group_mark(group, index, LB_EJECTED, false, now_us);
    plan_probe(group, now_us);
}

bool lb_outlier_probed(struct lb_group *group, uint32_t index, enum lb_outcome outcome,
                       uint64_t now_us)
{
    struct lb_outlier *o = group->outlier;
    struct lb_ejection *e = &o->records[index].e;
    struct lb_ejection failed = {.cause = LB_CAUSE_PROBE, .last = outcome};
    pthread_mutex_lock(&o->mutex);
    bool decides = e->out && e->probing && outcome != LB_CANCELLED;
    if (decides && lb_outcome_fails(outcome)) {
        put_out(group, index, &failed, now_us);
    } else if (decides) {
        readmit(group, index, now_us);
    } else if (e->out && e->probing) { /* nobody knows: the next one decides */
        e->probing = false;
        e->until_us = now_us;
        plan_probe(group, now_us);
    }
    pthread_mutex_unlock(&o->mutex);
    return decides;
}

/* ---- comparing ---- */

static int by_value(const void *a, const void *b)
{
    const struct rated *ra = a, *rb = b;
    if (ra->value != rb->value)
        return ra->value < rb->value ? -1 : 1;
    return ra->index < rb->index ? -1 : 1;
}

static double failure_rate(const struct tally *t)
{
    return t->failures / ((double)t->failures + t->answers);
}

/* In lb_outlier_log's scale, of which only order and differences count. */
static double mean_log(const struct tally *t)
{
    return (double)t->logs / 256 / t->answers;
}

static double us_of(double log)
{
    return (1 + (log - floor(log))) * exp2(floor(log));
}

static double log_of(double us)
{
    double n = floor(log2(us));
    return n + us / exp2(n) - 1;
}

/* Those that had enough requests, the best first. Their number; 0 if that is too few. */
static uint32_t rate(const struct lb_group *group, const struct lb_outlier_rule *rule)
{
    struct lb_outlier *o = group->outlier;
    bool latency = rule == &o->options.latency;
    uint32_t n = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct tally *t = &o->records[i].lately;
        uint64_t requests = t->answers + (latency ? 0 : (uint64_t)t->failures);
        if (requests == 0 || requests < rule->requests || lb_group_marks(group, i) != 0)
            continue;
        o->rated[n++] = (struct rated){latency ? mean_log(t) : failure_rate(t), i};
    }
    if (n == 0 || n < rule->endpoints)
        return 0;
    qsort(o->rated, n, sizeof(o->rated[0]), by_value);
    return n;
}

struct bound {
    double pool, value;
};

static struct bound rate_bound(const struct rated *rated, uint32_t n, uint32_t factor)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += rated[i].value;
    double mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += (rated[i].value - mean) * (rated[i].value - mean);
    return (struct bound){mean, mean + fmax(factor / 100.0 * sqrt(squares / n), LB_RATE_GAP)};
}

static double middle(const struct rated *rated, uint32_t n)
{
    return (rated[(n - 1) / 2].value + rated[n / 2].value) / 2;
}

/* Median absolute deviation: the middle of two sequences that rise away from the median, merged. */
static double deviation(const struct rated *rated, uint32_t n, double median)
{
    uint32_t above = 0;
    while (above < n && rated[above].value < median)
        above++;
    double last = 0, before = 0;
    for (uint32_t below = above, taken = 0; taken <= n / 2; taken++) {
        bool down = above == n ||
                    (below > 0 && median - rated[below - 1].value < rated[above].value - median);
        before = last;
        last = down ? median - rated[--below].value : rated[above++].value - median;
    }
    return n % 2 == 0 ? (before + last) / 2 : last;
}

static struct bound latency_bound(const struct rated *rated, uint32_t n,
                                  const struct lb_outlier_rule *rule)
{
    double median = middle(rated, n), us = us_of(median);
    double spread = LB_LATENCY_MADS * MAD_TO_SIGMA * deviation(rated, n, median);
    double bound = fmax(us * rule->factor / 100.0, us + (double)rule->least_us);
    return (struct bound){median, fmax(median + spread, log_of(bound))};
}

static struct lb_ejection finding(const struct lb_outlier *o, const struct rated *rated,
                                  struct bound bound, bool latency)
{
    const struct tally *t = &o->records[rated->index].lately;
    if (latency)
        return (struct lb_ejection){
            .cause = LB_CAUSE_LATENCY,
            .count = t->answers,
            .seen = us_of(rated->value),
            .pool = us_of(bound.pool),
            .bound = us_of(bound.value),
        };
    return (struct lb_ejection){
        .cause = LB_CAUSE_SUCCESS_RATE,
        .count = t->answers + t->failures,
        .seen = rated->value,
        .pool = bound.pool,
        .bound = bound.value,
    };
}

/* The worst go first, should there not be room for all. */
static void compare(struct lb_group *group, const struct lb_outlier_rule *rule, uint64_t now_us,
                    void (*told)(void *ctx, uint32_t index), void *ctx)
{
    struct lb_outlier *o = group->outlier;
    bool latency = rule == &o->options.latency;
    uint32_t n = rule->mode == LB_RULE_NONE ? 0 : rate(group, rule);
    if (n == 0)
        return;
    struct bound bound =
        latency ? latency_bound(o->rated, n, rule) : rate_bound(o->rated, n, rule->factor);
    while (n-- > 0 && o->rated[n].value > bound.value) {
        struct lb_ejection found = finding(o, &o->rated[n], bound, latency);
        if (convict(group, o->rated[n].index, rule->mode, &found, now_us))
            told(ctx, o->rated[n].index);
    }
}

/* What each one did since the last time; what it was ejected for fades while it serves. */
static void look(struct lb_group *group)
{
    struct lb_outlier *o = group->outlier;
    pthread_mutex_lock(&o->mutex);
    for (uint32_t i = 0; i < group->count; i++) {
        struct record *r = &o->records[i];
        struct tally now = tally_of(group->endpoints[i]);
        r->lately = (struct tally){now.answers - r->before.answers,
                                   now.failures - r->before.failures, now.logs - r->before.logs};
        r->before = now;
        if (r->e.times > 0 && (!r->e.out || r->e.observed))
            r->e.times--;
    }
    pthread_mutex_unlock(&o->mutex);
}

void lb_outlier_sweep(struct lb_group *group, uint64_t now_us,
                      void (*told)(void *ctx, uint32_t index), void *ctx)
{
    if (group->outlier == NULL)
        return;
    look(group);
    compare(group, &group->outlier->options.success_rate, now_us, told, ctx);
    compare(group, &group->outlier->options.latency, now_us, told, ctx);
}

/* ---- telling ---- */

bool lb_outlier_read(const struct lb_group *group, uint32_t index, uint64_t now_us,
                     struct lb_ejection *out)
{
    struct lb_outlier *o = group->outlier;
    CHECK(index < group->count);
    if (o == NULL)
        return false;
    pthread_mutex_lock(&o->mutex);
    *out = o->records[index].e;
    pthread_mutex_unlock(&o->mutex);
    out->out &= !out->observed || now_us < out->until_us;
    return true;
}

uint64_t lb_outlier_count(const struct lb_group *group, enum lb_cause cause, enum lb_result result)
{
    const struct lb_outlier *o = group->outlier;
    return o == NULL ? 0 : atomic_load_explicit(&o->counts[cause][result], memory_order_relaxed);
}

const char *lb_cause_name(enum lb_cause cause)
{
    static const char *const names[] = {"errors", "success_rate", "latency", "probe"};
    return cause < LB_CAUSES ? names[cause] : "?";
}

const char *lb_result_name(enum lb_result result)
{
    static const char *const names[] = {"ejected", "observed", "held"};
    return result < LB_RESULTS ? names[result] : "?";
}

const char *lb_ejection_text(const struct lb_ejection *e, char text[LB_EJECTION_TEXT])
{
    const char *last = lb_outcome_name(e->last);
    switch (e->cause) {
    case LB_CAUSE_ERRORS:
        snprintf(text, LB_EJECTION_TEXT, "%u failures in a row, the last: %s", e->count, last);
        break;
    case LB_CAUSE_PROBE:
        snprintf(text, LB_EJECTION_TEXT, "the request that was let through failed: %s", last);
        break;
    case LB_CAUSE_SUCCESS_RATE:
        snprintf(text, LB_EJECTION_TEXT,
                 "%.1f%% of %u requests failed; %.1f%% on average of the pool, %.1f%% allowed",
                 100 * e->seen, e->count, 100 * e->pool, 100 * e->bound);
        break;
    case LB_CAUSE_LATENCY:
    case LB_CAUSES:
        snprintf(text, LB_EJECTION_TEXT,
                 "%u answers took %.1f ms; %.1f ms in the middle of the pool, %.1f ms allowed",
                 e->count, e->seen / 1000, e->pool / 1000, e->bound / 1000);
        break;
    }
    return text;
}
