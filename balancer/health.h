/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the results of an endpoint's health checks come to, and when the next check is due. Pure: no
 * I/O, no clock, no dice; times and draws are arguments. One thread.
 */
#ifndef WEIR_BALANCER_HEALTH_H
#define WEIR_BALANCER_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#define LB_HEALTH_JITTER_MAX 50 /* percent */

/* Shared by all endpoints of a pool. */
struct lb_health_rules {
    uint32_t down_after; /* checks failed in a row, at least 1 */
    uint32_t up_after;   /* checks passed in a row, at least 1 */
    uint32_t every_ms;   /* from the beginning of a check to that of the next, at least 1 */
    uint32_t out_ms;     /* the same of one that gets no requests; at least 1 */
    uint32_t jitter;     /* percent of that time by which a check may be late */
};

enum lb_health_state {
    LB_HEALTH_UNKNOWN,  /* no verdict yet: usable */
    LB_HEALTH_UNPROVEN, /* has to pass once before it is used */
    LB_HEALTH_UP,
    LB_HEALTH_DOWN,
};

struct lb_health {
    uint8_t state;     /* enum lb_health_state */
    uint32_t run;      /* results in a row that speak against the state */
    uint64_t since_us; /* when the state began */
    uint64_t slot_ms;  /* when the last check was due, but for jitter; at first: when it will be */
};

/* What has to be told to others. */
enum lb_health_news {
    LB_HEALTH_SAME,
    LB_HEALTH_WENT_UP,   /* may be used again, or for the first time */
    LB_HEALTH_WENT_DOWN, /* must not be used any more */
};

/* The first of its checks is due at slot_ms: within an interval, at a place of its own for each
 * nth, so that any who are numbered in a row are spread over it evenly. must_pass: it is not used
 * until a check has passed. */
void lb_health_init(struct lb_health *h, const struct lb_health_rules *rules, bool must_pass,
                    uint32_t nth, uint64_t now_us);

/* A check has ended. */
enum lb_health_news lb_health_result(struct lb_health *h, const struct lb_health_rules *rules,
                                     bool passed, uint64_t now_us);

/* When the next check begins, ms, now that one has ended: an interval after that one was due, so
 * that each endpoint keeps its place among the others. Intervals that went by are left out. draw:
 * 64 uniform bits. */
uint64_t lb_health_next_ms(struct lb_health *h, const struct lb_health_rules *rules,
                           uint64_t now_ms, uint64_t draw);

static inline bool lb_health_usable(const struct lb_health *h)
{
    return h->state == LB_HEALTH_UNKNOWN || h->state == LB_HEALTH_UP;
}

#endif
