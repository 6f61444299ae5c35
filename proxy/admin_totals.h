/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums over the workers' counters, as of about now: read without stopping anybody. Control thread.
 */
#ifndef WEIR_ADMIN_TOTALS_H
#define WEIR_ADMIN_TOTALS_H

#include "proxy/admin.h"
#include "proxy/base/json.h"

#define STATUS_CLASSES 5

/* Of requests that have ended. */
struct request_totals {
    uint64_t classes[STATUS_CLASSES]; /* 1xx to 5xx */
    uint64_t latency[HIST_BUCKETS];   /* bounds: HIST_BOUNDS */
};

/* Of a route, by its index; route_table_count of the table: of what no route took. */
void totals_of_route(const struct admin_view *view, size_t route, struct request_totals *out);

/* Of all. */
void totals_of_all(const struct admin_view *view, struct request_totals *out);

/* As two members of an object: "classes", of 1xx to 5xx, and "latency", by HIST_BOUNDS and what
 * took longer. */
void request_totals_write(struct json *j, const struct request_totals *totals);

/* The latency that so much of the answers (0..1) did not pass, in ms, by straight lines within a
 * bucket; -1: there are none. */
double latency_quantile_ms(const uint64_t latency[HIST_BUCKETS], double part);

/* Over the workers, of one counter of their statistics: its place is an offset in struct
 * worker_stats. */
uint64_t totals_of_stat(const struct admin_view *view, size_t offset);

/* Upstream connections of all pools. */
uint64_t totals_upstream_conns(const struct admin_view *view);

#endif
