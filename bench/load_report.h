/* SPDX-License-Identifier: Apache-2.0 */
/* The result, as one JSON object on one line of stdout. */
#ifndef BENCH_LOAD_REPORT_H
#define BENCH_LOAD_REPORT_H

#include "bench/load_net.h"

struct result {
    uint64_t requests; /* answers (of any status), or messages */
    uint64_t in_time;  /* ... of which so many came before the end of the measured stretch */
    double seconds;
    struct hist latency, late;
    uint64_t unfinished, oldest_ns;
    double cpu_seconds; /* of this program */
};

/* User and system time of this program so far. */
double report_cpu(void);

/* A line with what the mode counted, for the modes that measure. */
void report(const struct net *n, const struct result *r);

/* Parts of other lines: "errors":{...} and so on, without a comma at either end. */
void report_errors(const struct net *n);
void report_statuses(const struct net *n);

/* Ends the line; ends the program with 1 if stdout took it not. */
void report_line_end(void);

#endif
