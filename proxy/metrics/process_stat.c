/* SPDX-License-Identifier: Apache-2.0 */
/* Reads /proc/self by descriptors. Owns those two, for as long as the process lives. Control
 * thread. */
#include "proxy/metrics/process_stat.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int statm = -1, fds = -1;

void process_stat_open(void)
{
    statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static double seconds(const struct timeval *tv)
{
    return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static bool read_memory(struct process_stat *out)
{
    char text[128], *end;
    ssize_t n = statm >= 0 ? pread(statm, text, sizeof(text) - 1, 0) : -1;
    if (n <= 0)
        return false;
    text[n] = '\0';
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    out->virtual_bytes = strtoull(text, &end, 10) * page;
    out->resident_bytes = strtoull(end, &end, 10) * page;
    return out->resident_bytes > 0;
}

/* Before Linux 6.2 the folder does not tell how many are in it. */
static uint64_t count_fds(void)
{
    union {
        struct dirent64 first;
        char bytes[16384];
    } room;
    uint64_t count = 0;
    ssize_t n;
    if (lseek(fds, 0, SEEK_SET) != 0)
        return 0;
    while ((n = getdents64(fds, &room, sizeof(room))) > 0)
        for (char *at = room.bytes; at < room.bytes + n;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)at;
            count += entry->d_name[0] != '.';
            at += entry->d_reclen;
        }
    return count;
}

static bool read_fds(struct process_stat *out)
{
    struct stat st;
    struct rlimit limit;
    if (fds < 0 || fstat(fds, &st) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    out->open_fds = st.st_size > 0 ? (uint64_t)st.st_size : count_fds();
    out->max_fds = limit.rlim_cur;
    return out->open_fds > 0;
}

void process_stat_read(struct process_stat *out)
{
    struct rusage usage;
    *out = (struct process_stat){0};
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        out->cpu_s = seconds(&usage.ru_utime) + seconds(&usage.ru_stime);
    out->has_memory = read_memory(out);
    out->has_fds = read_fds(out);
}
