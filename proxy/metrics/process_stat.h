/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel says of this process. Its files in /proc are opened before the sandbox, which
 * does not let them be opened, and stay open. Control thread.
 */
#ifndef WEIR_METRICS_PROCESS_STAT_H
#define WEIR_METRICS_PROCESS_STAT_H

#include <stdbool.h>
#include <stdint.h>

struct process_stat {
    double cpu_s; /* user and system */
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    bool has_memory, has_fds; /* else there is no /proc, and the numbers are 0 */
};

/* Once, before any right is given up. */
void process_stat_open(void);

void process_stat_read(struct process_stat *out);

#endif
