/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a request takes one route and not another: every rule is judged by itself, by what route.h
 * says of precedence. A lookup never judges; that both agree is for tests to show, and the winner
 * is always that of the lookup. Takes time in proportion to the rules: not for a worker. Pure; any
 * thread, once the table is compiled.
 */
#ifndef WEIR_ROUTE_WHY_H
#define WEIR_ROUTE_WHY_H

#include "proxy/route.h"

/* What became of a rule; the first that is true. In the order in which they are told. */
enum route_why {
    ROUTE_WON,
    ROUTE_LATER,       /* it holds: like the winner, which stands before it in the file */
    ROUTE_FEW_FIELDS,  /* it holds: the winner asks for more fields */
    ROUTE_ANY_METHOD,  /* it holds: the winner names the method */
    ROUTE_SHORT_PATH,  /* it holds: the winner's path is exact, or longer */
    ROUTE_WIDE_HOST,   /* it holds: the winner's host is exact, or longer */
    ROUTE_OTHER_FIELD, /* a field is another, is missing, or stands there more than once */
    ROUTE_OTHER_METHOD,
    ROUTE_OTHER_PATH,
    ROUTE_OTHER_HOST,
    ROUTE_WHYS,
};

struct route_verdict {
    uint32_t rule; /* its index */
    enum route_why why;
    struct span host; /* the pattern of its hosts that fits best; empty: none, or it has none */
    uint32_t fields;  /* how many of its fields hold, up to the first that does not */
};

/* Judges rule index, 0..route_table_count - 1. won: what route_find says; NULL: none. */
void route_judge(const struct route_table *t, const struct route_query *q, size_t index,
                 const struct route *won, struct route_verdict *out);

/* All of them, in the order of enum route_why and, of the same, of the file: count of the table's,
 * of malloc's. */
struct route_verdict *route_judge_all(const struct route_table *t, const struct route_query *q,
                                      const struct route *won);

#define ROUTE_WHY_TEXT 512

/* A verdict as a sentence about the route: 'its path is not under "/api"'. Returns text. */
const char *route_why_text(const struct route_table *t, const struct route_query *q,
                           const struct route_verdict *v, const struct route *won,
                           char text[ROUTE_WHY_TEXT]);

/* The conditions of rule index, in short: "GET|HEAD shop.example /api* x-tier: gold"; "everything".
 * Returns text. */
const char *route_text(const struct route_table *t, size_t index, char text[ROUTE_WHY_TEXT]);

/* A name: "won", "later", "other_host", ... */
const char *route_why_name(enum route_why why);

#endif
