/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May a request be sent again, after which answers, and when? Pure rules, in one place (RFC 9110
 * section 9.2.2). Any thread.
 */
#ifndef WEIR_RETRY_H
#define WEIR_RETRY_H

#include <stdbool.h>

#include "proxy/base/reason.h"
#include "proxy/base/span.h"
#include "proxy/http/msg.h"

/* After what a route wants another attempt; bits. */
enum retry_on {
    RETRY_ON_CONNECT = 1 << 0,     /* no byte of the request can have been processed */
    RETRY_ON_RESET = 1 << 1,       /* it ended without an answer */
    RETRY_ON_TIMEOUT = 1 << 2,     /* the endpoint is silent for too long */
    RETRY_ON_UNAVAILABLE = 1 << 3, /* of gRPC, without a message before it */
    RETRY_ON_DEFAULT = RETRY_ON_CONNECT | RETRY_ON_RESET | RETRY_ON_TIMEOUT,
};

#define RETRY_METHODS    2   /* that are worth it: POST and PATCH */
#define RETRY_STATUS_MIN 400 /* of answers that may be tried again */
#define RETRY_STATUS_MAX 599

/* What a route says about retries. Zeroed: none. Times in ms. */
struct retry_rule {
    uint32_t attempts;    /* after the first */
    uint32_t on;          /* enum retry_on */
    uint64_t statuses[4]; /* a bit for each from RETRY_STATUS_MIN on */
    uint32_t backoff_ms;  /* the first retry waits up to this, each further one up to twice that */
    uint32_t max_backoff_ms; /* ... but never longer */
    uint32_t retry_after_ms; /* an answer that asks for a longer pause is passed on */
    bool same_endpoint;      /* one that has failed may be asked again, if there is no other */
    struct span methods[RETRY_METHODS]; /* that may be sent twice, though not idempotent */
    uint32_t n_methods;
};

enum retry_verdict {
    RETRY_NO,
    RETRY_SAME,  /* the endpoint is fine, its conn was stale or full: a fresh conn, not counted */
    RETRY_OTHER, /* another endpoint, counted */
};

struct retry_facts {
    enum reason reason; /* why the attempt failed */
    bool wanted;        /* the route wants another attempt after that */
    bool idempotent;    /* the method is, or the route says that it may be sent twice */
    bool committed;     /* the client has seen a byte of a response */
    bool replayable;    /* all of the request's body so far can be sent again */
    bool reused;        /* the conn had served before */
    bool answered;      /* the upstream sent a byte */
    unsigned attempts_left;
};

/* "no retry", "again on a fresh connection", "again at another endpoint" */
const char *retry_verdict_name(enum retry_verdict verdict);

/* What is to be done about an attempt that failed. */
enum retry_verdict retry_verdict(const struct retry_facts *facts);

/* Does the rule want another attempt after this failure? */
bool retry_wanted(const struct retry_rule *rule, enum reason reason);

/* Why an answer with this head is to be tried again, or REASON_NONE. */
enum reason retry_answer(const struct retry_rule *rule, const struct http_head *head);

/* How long the answer asks to wait, in ms: 0 if it does not, UINT64_MAX if it names a date. */
uint64_t retry_after_ms(struct http_head *head);

/* May a request of this method be sent twice by the rule? */
bool retry_repeatable(const struct retry_rule *rule, struct span method);

/* Asks the method for nothing to be done (RFC 9110 section 9.2.1)? What is not even cacheable or
 * common is left out. */
bool retry_safe(struct span method);

/* The longest that the n-th retry (from 0) waits: a random part of it is what it does. */
uint64_t retry_backoff_ms(const struct retry_rule *rule, unsigned n);

/* Says the reason nothing of the endpoint or its load? Then the retry waits for nothing, and no
 * budget pays for it. */
bool retry_free(enum reason reason);

static inline bool retry_has_status(const struct retry_rule *rule, unsigned status)
{
    unsigned i = status - RETRY_STATUS_MIN;
    return status >= RETRY_STATUS_MIN && status <= RETRY_STATUS_MAX &&
           rule->statuses[i / 64] >> i % 64 & 1;
}

#endif
