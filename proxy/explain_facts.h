/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an explanation says, as values, for whoever writes it: explain_tell.c (JSON) and
 * explain_print.c (text). The question's thread.
 */
#ifndef WEIR_EXPLAIN_FACTS_H
#define WEIR_EXPLAIN_FACTS_H

#include "proxy/explain.h"

/* The first that was answered. */
const struct explain_answer *explain_first(const struct explanation *e);

/* The routes' verdicts, of which the first `told` are to be told. */
struct explain_routes {
    struct route_query query;
    struct route_verdict *verdicts;
    size_t n, told;
};

void explain_routes_init(struct explain_routes *routes, const struct explain_question *q,
                         const struct explain_plan *plan, size_t most);
void explain_routes_fini(struct explain_routes *routes);

#define EXPLAIN_TIMES 10

struct explain_time {
    const char *name; /* as in the configuration */
    uint64_t ms;      /* 0: no bound */
};

/* The bounds that hold for the request; returns how many. The plan has a route. */
unsigned explain_times(const struct explain_question *q, const struct explain_plan *plan,
                       struct explain_time times[EXPLAIN_TIMES]);

#define RETRY_WHEN_TEXT 1024

/* After what there is another attempt: "connect, reset, 502". Returns text. */
const char *explain_retry_when(const struct retry_rule *rule, char text[RETRY_WHEN_TEXT]);

/* May the request be sent twice? */
bool explain_repeatable(const struct explain_question *q, const struct retry_rule *rule);

/* What requests have in common that go to one endpoint: "the client's address"; "nothing". */
const char *explain_key_text(const struct pool_spec *pool, char text[EXPLAIN_TEXT]);

#endif
