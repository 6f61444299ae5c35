/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May a request be sent again? One pure rule, in one place (RFC 9110 section 9.2.2). Any thread.
 */
#ifndef WEIR_RETRY_H
#define WEIR_RETRY_H

#include <stdbool.h>

#include "proxy/base/reason.h"

enum retry_verdict {
    RETRY_NO,
    RETRY_SAME,  /* the endpoint is fine, its conn was stale or full: a fresh conn, not counted */
    RETRY_OTHER, /* another endpoint, counted */
};

struct retry_facts {
    enum reason reason; /* why the attempt failed */
    bool idempotent;    /* the method is */
    bool committed;     /* the client has seen a byte of a response */
    bool replayable;    /* all of the request's body so far can be sent again */
    bool reused;        /* the conn had served before */
    bool answered;      /* the upstream sent a byte */
    unsigned attempts_left;
};

/* "no retry", "again on a fresh connection", "again at another endpoint" */
const char *retry_verdict_name(enum retry_verdict verdict);

/* What is to be done about an attempt that failed. Pure. */
enum retry_verdict retry_verdict(const struct retry_facts *facts);

#endif
