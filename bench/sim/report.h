/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulation came to, for people and for programs. Writes to stdout. One thread. */
#ifndef BENCH_SIM_REPORT_H
#define BENCH_SIM_REPORT_H

#include "bench/sim/run.h"

/* The name of a policy with its bound, such as maglev:125. Valid until the next call. */
const char *sim_report_name(const struct sim_result *r);

/* The head of the table, and a row of it. */
void sim_report_head(void);
void sim_report_row(const struct sim_result *r);

/* All of it as one line of JSON. */
void sim_report_json(const struct sim_scenario *sc, const struct sim_result *r);

#endif
