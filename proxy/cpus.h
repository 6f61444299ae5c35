/* SPDX-License-Identifier: Apache-2.0 */
/* How many CPUs this process may use. Reads files; control thread, at start. */
#ifndef WEIR_CPUS_H
#define WEIR_CPUS_H

#include <stddef.h>

/* The smaller of the CPU affinity and the cgroup's CPU quota (v2 or v1), rounded up, at least 1.
 * why is filled with a phrase for people: "2 CPUs by affinity". */
unsigned cpus_available(char *why, size_t why_len);

/* The quota in CPUs that a cgroup v2 cpu.max line grants ("150000 100000" is 1.5); 0: none. */
double cpus_parse_max(const char *line);

#endif
