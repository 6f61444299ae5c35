/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir would do with a request, and why: the question, the plan that a worker (or nobody yet)
 * makes of it, and how both are told. Everything is asked of the functions that serve requests: the
 * parser, the routes' table, the split's draw, the keys, the balancer's pick, the fields' editing.
 *
 *   explain_question -> what the parser needs, the head      a plan ~> snapshot; plan -> look
 *
 * A question is made and told on one thread; meanwhile anybody may make plans of it.
 */
#ifndef WEIR_EXPLAIN_H
#define WEIR_EXPLAIN_H

#include "balancer/gate.h"
#include "balancer/look.h"
#include "proxy/base/json.h"
#include "proxy/http/h1_parser.h"
#include "proxy/net/tls.h"
#include "proxy/route_why.h"
#include "proxy/snapshot.h"

#define EXPLAIN_FIELDS 64 /* that may be asked with */

/* What is asked, as texts. */
struct explain_ask {
    const char *method;                 /* NULL: GET */
    const char *url;                    /* http://host/path?query, or a path alone */
    const char *fields[EXPLAIN_FIELDS]; /* "name: value" */
    unsigned n_fields;
    const char *client;   /* an address; NULL: 127.0.0.1 */
    const char *listener; /* its name; NULL: by the URL's scheme and port */
};

/* The request, as it would come. */
struct explain_question {
    struct buf_pool bufs;
    struct slab heads;
    struct h1_limits limits;
    struct h1_parser parser;
    struct block *in;
    enum reason refused;    /* it is answered with that, whatever the routes; or NONE */
    struct http_head *head; /* as far as it was understood; NULL: not even its first line */
    const struct snapshot *snap;
    const struct listener_spec *listener;
    const char *listener_why;
    struct tls_info tls; /* of a client without a certificate */
    struct http_peer peer;
};

/* False, with *error set to malloc'd text: what was asked is no question. snap must outlive it. */
bool explain_question_init(struct explain_question *q, const struct snapshot *snap,
                           const struct explain_ask *ask, char **error);
void explain_question_fini(struct explain_question *q);

/* Which endpoint one worker's next request of this kind gets. */
struct explain_plan {
    const struct snapshot *snap;
    const struct route *route; /* NULL: none */
    int32_t pool;              /* its index; -1: none */
    uint64_t key;              /* what the pool balances by; 0: none */
    int32_t stuck;             /* the endpoint that its cookie names, or LB_NONE */
    bool gated;
    struct lb_gate_counts gate; /* if so: before it is picked for, it has to come in */
    struct lb_look look;        /* if there is a pool */
    uint64_t hedge_us;          /* what a hedge would wait for; 0: nothing is known yet */
};

/* Where a plan finds what is a worker's own. */
struct explain_source {
    struct lb *(*lb)(void *ctx, int32_t pool);
    uint64_t (*hedge_us)(void *ctx, int32_t pool);
    void *ctx;
    struct lb_rng rng; /* a copy: drawing from it is noticed by nobody */
    bool choose;       /* nobody draws: it is this part of the route's */
    uint32_t part;
    uint64_t now_us;
};

/* As the exchange of such a request would: the route, its part, the key, the pick. The thread of
 * source; allocates. */
void explain_plan_make(struct explain_plan *plan, const struct snapshot *snap,
                       const struct explain_question *q, struct explain_source *source);
void explain_plan_fini(struct explain_plan *plan);

/* How it would end, were nothing to fail. */
enum explain_end {
    EXPLAIN_REFUSED,  /* the request itself is wrong */
    EXPLAIN_REDIRECT, /* the listener does nothing else */
    EXPLAIN_NO_ROUTE,
    EXPLAIN_NO_POOL,
    EXPLAIN_NO_ENDPOINT,
    EXPLAIN_WAITS,    /* for its turn, as others do */
    EXPLAIN_FULL,     /* nobody may wait, or as many do as may */
    EXPLAIN_ENDPOINT, /* the look's index */
    EXPLAIN_ENDS,
};

enum explain_end explain_end_of(const struct explain_question *q, const struct explain_plan *plan);

/* The reason that such an end is answered with; NONE: it is no error. */
enum reason explain_reason_of(const struct explain_question *q, const struct explain_plan *plan,
                              enum explain_end end);

/* A plan of one worker. */
struct explain_answer {
    unsigned worker;
    bool answered; /* else it has ended, or serves another generation */
    struct explain_plan plan;
};

/* All there is to tell. */
struct explanation {
    const struct explain_question *question;
    const struct explain_answer
        *answers; /* at least one; the first that was answered is told whole */
    unsigned n_answers;
    bool live; /* the answers are workers'; else of a worker that has just begun */
    bool most; /* all routes that were tried, however many */
    uint64_t now_us;
};

/* As JSON, and as text for a terminal. */
void explanation_write(struct json *j, const void *explanation);
void explanation_print(FILE *out, const struct explanation *e);

/* The fields that the endpoint would get: a copy of the head, edited. Free with free. *scratch: a
 * block of the question's, dropped with block_drop after it. */
struct http_head *explain_forward(struct explain_question *q, struct block **scratch);

/* The name of an end: "endpoint", "no_route", ...; and what it means, as a sentence. */
const char *explain_end_name(enum explain_end end);
#define EXPLAIN_TEXT 512
const char *explain_end_text(const struct explanation *e, const struct explain_answer *a,
                             char text[EXPLAIN_TEXT]);

#endif
