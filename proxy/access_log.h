/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log: workers format lines straight into a ring each (one producer, one consumer, no
 * lock, no system call in the steady state); one writer thread empties all rings with large writes.
 *
 * A worker never waits for the file. When its ring is full the line is dropped and counted; so are
 * lines that could not be written (disk full, reader gone). Lines are never torn or mixed. A line
 * is written at once when the log was idle, otherwise within 50 ms. A worker makes a system call
 * (8 bytes to an eventfd) only to wake a log that was idle for 50 ms, or when half of its ring has
 * filled up since the writer's last round.
 */
#ifndef WEIR_PROXY_ACCESS_LOG_H
#define WEIR_PROXY_ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/access_format.h"

struct access_log;

struct access_syslog_options;

struct access_log_options {
    const char *path;   /* appended to, made with mode 0640; "/dev/stdout" works for sockets too */
    const char *format; /* see access_format_new */
    const char *const *fields; /* instead of all of json's; n_fields 0: all */
    size_t n_fields;
    uint64_t rotate_bytes; /* a regular file is rotated before it gets larger; 0: never */
    unsigned rotate_keep;  /* older files: access_rotate.h */
    unsigned sample;       /* of 1000 requests so many are wanted, if all went well */
    const struct access_syslog_options *syslog; /* instead of path; or NULL */
    unsigned shards;                            /* number of producers, 1..1024 */
    size_t ring_bytes;                          /* for each shard; 0: 1 MiB. At least 4 KiB */
    unsigned flush_ms; /* how long close waits for a reader that does not read; 0: 2000 */
};

/* Control thread, before the workers. NULL with a message in err. Starts the writer thread, in
 * which all signals are blocked. */
struct access_log *access_log_open(const struct access_log_options *options, char *err,
                                   size_t err_len);

/* Whether a request that went well is to be in the log: for each id the same, here and in any weir
 * that samples alike. Any thread. */
bool access_log_samples(const struct access_log *log, struct span id);

/* One thread a shard at a time. False if the line was dropped. */
bool access_log_write(struct access_log *log, unsigned shard, const struct access_record *record);

/* Opens the path anew (rotation): a record written after the return goes to the new file. False
 * with a message in err, and the old file stays in use. Control thread. */
bool access_log_reopen(struct access_log *log, char *err, size_t err_len);

/* Lines dropped so far, for whatever reason. Any thread. */
uint64_t access_log_dropped(const struct access_log *log);

/* After the last producer has stopped: writes everything out, ends the thread, frees. NULL is fine.
 * What a stuck reader has not taken after flush_ms is lost, and counted in the program's log. With
 * a write that hangs it is all left to the end of the process. */
void access_log_close(struct access_log *log);

#endif
