/* SPDX-License-Identifier: Apache-2.0 */
/* CPU affinity and cgroup quota. Owns nothing; control thread. */
#include "proxy/cpus.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned affinity(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

static bool read_line(const char *path, char *line, int size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool ok = fgets(line, size, f) != NULL;
    fclose(f);
    return ok;
}

double cpus_parse_max(const char *line)
{
    char *end;
    double quota = strtod(line, &end);
    if (end == line) /* "max" */
        return 0;
    double period = strtod(end, NULL);
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* This process's cgroup below a mount, from /proc/self/cgroup: "0::/x" or "4:cpu,cpuacct:/x". */
static bool own_cgroup(const char *controller, char *out, size_t size)
{
    char line[1024];
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    if (f == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        char *list = strchr(line, ':');
        char *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool v2 = list[1] == '\0' && controller == NULL;
        bool v1 = controller != NULL && strstr(list + 1, controller) != NULL;
        if (v2 || v1)
            found = (size_t)snprintf(out, size, "%s", path) < size;
    }
    fclose(f);
    return found;
}

/* The tightest quota from the process's own group up to the root. */
static double quota_v2(void)
{
    char group[1024], path[1280], line[128];
    double least = 0;
    if (!own_cgroup(NULL, group, sizeof(group)))
        return 0;
    for (;;) {
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", strcmp(group, "/") ? group : "");
        if (read_line(path, line, sizeof(line))) {
            double q = cpus_parse_max(line);
            if (q > 0 && (least == 0 || q < least))
                least = q;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL || group[0] == '\0')
            return least;
        *slash = '\0';
    }
}

static double quota_v1(void)
{
    char group[1024], path[1280], quota[64], period[64], both[160];
    if (!own_cgroup("cpu", group, sizeof(group)))
        return 0;
    for (int own = 1; own >= 0; own--) { /* in a container the own path may not be mounted */
        snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", own ? group : "");
        if (!read_line(path, quota, sizeof(quota)))
            continue;
        snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", own ? group : "");
        if (!read_line(path, period, sizeof(period)))
            continue;
        quota[strcspn(quota, "\n")] = '\0';
        snprintf(both, sizeof(both), "%s %s", quota, period);
        return cpus_parse_max(both);
    }
    return 0;
}

unsigned cpus_available(char *why, size_t why_len)
{
    unsigned cpus = affinity();
    double quota = quota_v2();
    if (quota <= 0)
        quota = quota_v1();
    unsigned limit = quota > 0 ? (unsigned)ceil(quota) : cpus;
    if (limit < 1)
        limit = 1;
    if (limit < cpus) {
        snprintf(why, why_len, "the cgroup's quota of %.2f CPUs; %u by affinity", quota, cpus);
        return limit;
    }
    snprintf(why, why_len, "%u CPU%s by affinity", cpus, cpus == 1 ? "" : "s");
    return cpus;
}
