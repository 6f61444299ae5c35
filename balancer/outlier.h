/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outlier detection: who fails or is slow among its peers, judged by what their requests came to.
 * Attached to a group; says LB_EJECTED and takes it back. Three causes:
 *
 * - so many failures in a row (judged at once, by the worker that sees the last);
 * - a success rate below mean - factor * standard deviation of the pool's (as Envoy has it), and
 *   LB_RATE_GAP below the mean: of endpoints that hardly ever fail none is an outlier;
 * - a latency above factor times the pool's median, and above the median by LB_LATENCY_MADS robust
 *   standard deviations and by least_us. Both of these are judged by lb_outlier_sweep.
 *
 * An ejection lasts eject_us times how often that happened lately. Then one request is let through
 * (lb_pick), and its answer decides: back by slow start, or ejected for longer. When another was
 * found that cannot go, since it is the last or too many are out, the one that is out longest is
 * asked before its time; if it fails, that makes it no longer than it was, and the next is asked
 * after a second.
 *
 * Pure: no clock and no I/O. Allocates only when it is attached. Any thread; a mutex is held for
 * ejections, probes and reading, never for an answer without news.
 */
#ifndef WEIR_BALANCER_OUTLIER_H
#define WEIR_BALANCER_OUTLIER_H

#include "balancer/policy.h"

#define LB_RATE_GAP      0.05     /* of all requests */
#define LB_LATENCY_MADS  3.0      /* of 1.4826 times the median absolute deviation, each */
#define LB_PROBE_US      60000000 /* a probe that is not answered by then is given up */
#define LB_EJECTION_TEXT 160

enum lb_rule_mode { LB_RULE_NONE, LB_RULE_OBSERVE, LB_RULE_ENFORCE };

/* One of the rules that compare endpoints. */
struct lb_outlier_rule {
    enum lb_rule_mode mode;
    uint32_t factor;    /* percent; success rate: of a standard deviation; latency: of the median */
    uint32_t endpoints; /* it takes so many with */
    uint32_t requests;  /* so many of them each, since the sweep before */
    uint64_t least_us;  /* latency only */
};

struct lb_outlier_options {
    enum lb_rule_mode mode; /* of all: NONE is as if nothing were attached, OBSERVE is the most */
    uint32_t errors;        /* failures in a row; 0 = any */
    uint32_t max;           /* percent of the endpoints that may be out at once, but one always */
    uint64_t eject_us;      /* for the first time; at least 1 */
    uint64_t max_eject_us;
    struct lb_outlier_rule success_rate, latency;
};

enum lb_cause {
    LB_CAUSE_ERRORS,
    LB_CAUSE_SUCCESS_RATE,
    LB_CAUSE_LATENCY,
    LB_CAUSE_PROBE, /* the request that was let through failed */
    LB_CAUSES,
};

/* What came of a finding. */
enum lb_result {
    LB_RESULT_EJECTED,
    LB_RESULT_OBSERVED, /* it would have been ejected, but for the mode */
    LB_RESULT_HELD,     /* ... but that it is the last, or that too many are out */
    LB_RESULTS,
};

/* What was found of an endpoint, and what follows. */
struct lb_ejection {
    bool out;      /* else it was once, or never if since_us is 0 */
    bool observed; /* it is only said to be out */
    bool probing;  /* the request that decides is on its way */
    uint32_t times;
    uint64_t since_us;
    uint64_t until_us; /* when it may be asked again */
    enum lb_cause cause;
    enum lb_outcome last; /* errors, probe: the last failure */
    uint32_t count; /* errors: in a row; success rate, latency: requests that were looked at */
    double seen, pool, bound; /* of it, the mean or median of all, and what it must not pass:
                                 failures of all requests, or microseconds */
};

/* Before any balancer is on the group, which frees it. */
void lb_outlier_attach(struct lb_group *group, const struct lb_outlier_options *options);

/* The endpoint is one of another group, in whose place this one comes: if it is out there, it is
 * out here for the rest of its time, as far as the rules of this group have it. Before any balancer
 * is on group; before may be in use. */
void lb_outlier_follow(struct lb_group *group, uint32_t index, const struct lb_group *before,
                       uint32_t was, uint64_t now_us);

/* For group.c. NULL is fine. */
void lb_outlier_free(struct lb_outlier *outlier);

/* Whether these are the kind of outcome that counts against an endpoint. */
static inline bool lb_outcome_fails(enum lb_outcome outcome)
{
    return outcome >= LB_UNAVAILABLE && outcome <= LB_TIMED_OUT;
}

/*
 * The comparing rules, over what came since the last time; call it every few seconds, from one
 * thread. told: called for each endpoint that is (or would be) ejected.
 */
void lb_outlier_sweep(struct lb_group *group, uint64_t now_us,
                      void (*told)(void *ctx, uint32_t index), void *ctx);

/* A copy of what is known of an endpoint. False: nothing is attached. */
bool lb_outlier_read(const struct lb_group *group, uint32_t index, uint64_t now_us,
                     struct lb_ejection *out);

/* How often that has happened. */
uint64_t lb_outlier_count(const struct lb_group *group, enum lb_cause cause, enum lb_result result);

/* Names for labels: "errors", "success_rate", ...; "ejected", ... */
const char *lb_cause_name(enum lb_cause cause);
const char *lb_result_name(enum lb_result result);

/* What was seen, as a phrase: "5 failures in a row, the last: timed_out". Returns text. */
const char *lb_ejection_text(const struct lb_ejection *e, char text[LB_EJECTION_TEXT]);

/* ---- for lb.c ---- */

/* An endpoint whose time is over, for one request, or LB_NONE. Call it when probe_us of the group
 * has come. */
int32_t lb_outlier_probe(struct lb_group *group, uint64_t now_us);

/* The one that lb_outlier_probe would return now. */
int32_t lb_outlier_next_probe(const struct lb_group *group, uint64_t now_us);

/* That request has an answer, or none. Whether the endpoint's standing has changed. */
bool lb_outlier_probed(struct lb_group *group, uint32_t index, enum lb_outcome outcome,
                       uint64_t now_us);

/* An attempt at it has failed. Whether the endpoint's standing has changed. */
bool lb_outlier_failed(struct lb_group *group, uint32_t index, enum lb_outcome outcome,
                       uint64_t now_us);

/* log2 in 1/256, with straight lines between the powers of two. */
static inline uint32_t lb_outlier_log(uint64_t us)
{
    unsigned n = 63 - (unsigned)__builtin_clzll(us | 1);
    return n << 8 | (uint32_t)((us | 1) << (63 - n) >> 55 & 0xff);
}

/* It has answered. */
static inline void lb_outlier_answered(struct lb_endpoint *ep, uint64_t latency_us)
{
    atomic_fetch_add_explicit(&ep->answers, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&ep->logs, lb_outlier_log(latency_us), memory_order_relaxed);
    if (atomic_load_explicit(&ep->run, memory_order_relaxed) != 0)
        atomic_store_explicit(&ep->run, 0, memory_order_relaxed);
}

#endif
