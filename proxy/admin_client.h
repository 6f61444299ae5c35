/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the admin listener of a weir that runs: for verbs of the command line, which wait for the
 * answer. It blocks, so never from a process that serves.
 */
#ifndef WEIR_ADMIN_CLIENT_H
#define WEIR_ADMIN_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/span.h"

#define ADMIN_WHY      256 /* the longest explanation, NUL included */
#define ADMIN_BODY_MAX ((size_t)64 << 20)

struct admin_answer {
    unsigned status; /* 100..599 */
    char *body;      /* ends with NUL, which len does not count */
    size_t len;
};

/* Whom to ask. */
struct admin_server {
    const char *at;         /* "host:port", ":port" for this machine, "[v6]:port" or "unix:/path" */
    const char *token;      /* NULL, or what the listener wants to be shown */
    bool tls;               /* it speaks TLS, */
    bool any_name;          /* ... and its certificate need not be for the host of at */
    const char *ca;         /* of TLS: see tls_ask.h */
    const char *cert, *key; /* as well */
};

/*
 * One request, on a conn of its own; body: empty for none. path: with its query, as it goes into
 * the request line. True: the answer is whole, and admin_answer_free has to follow; it may be an
 * error's. False: there was none within_ms after the call (looking a name up is not bounded by
 * that), and why says what happened.
 */
bool admin_ask(const struct admin_server *server, const char *method, const char *path,
               struct span body, uint64_t within_ms, struct admin_answer *answer,
               char why[ADMIN_WHY]);

void admin_answer_free(struct admin_answer *answer);

#endif
