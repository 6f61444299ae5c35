/* SPDX-License-Identifier: Apache-2.0 */
/* A recorded load: what weir's access log (JSON lines) tells of each request. One thread. */
#ifndef BENCH_SIM_TRACE_H
#define BENCH_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_trace_request {
    uint64_t at;   /* ns since the first */
    uint64_t work; /* ns: how long it took then */
    uint64_t key;
    uint32_t number_of_key; /* below trace.keys; the same for the same key */
};

struct sim_trace {
    struct sim_trace_request *requests; /* by time */
    size_t count;
    uint32_t keys;
};

/* key: the field that is the key, "client" (without its port), "path" or "host". False with a
 * message in err. */
bool sim_trace_load(struct sim_trace *trace, const char *path, const char *key, char *err,
                    size_t err_len);
void sim_trace_fini(struct sim_trace *trace);

#endif
