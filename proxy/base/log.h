/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's own log, on stderr: one line a message, one write(2) a line.
 *
 *   2026-11-22T10:00:00.123Z info  message
 *
 * Any thread. Never on the path of a request that goes well: it is a system call. What a peer or a
 * kernel can cause repeatedly goes through log_limited. Control characters in a message are shown
 * as '?', so that nothing a peer sent can forge a line; a message over 4 KiB is cut.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Messages below it are left out. Default LOG_INFO. Any thread. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* The level named "debug", "info", "warn" or "error"; false for any other name. */
bool log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);

extern _Atomic int log_threshold; /* read through log_enabled only */

static inline bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

/* No newline at the end. errno is kept. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Arguments are not evaluated when the level is off. */
#define LOG_AT(level, ...) (log_enabled(level) ? log_write((level), __VA_ARGS__) : (void)0)
#define log_debug(...)     LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)      LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warn(...)      LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_error(...)     LOG_AT(LOG_ERROR, __VA_ARGS__)

/* One a call site or kind of message, usually static; threads may share it. */
struct log_limit {
    uint32_t every_ms;
    atomic_uint_fast64_t next_ms; /* monotonic; 0: nothing written yet */
    atomic_uint_fast64_t suppressed;
};

#define LOG_LIMIT(every)    \
    {                       \
        .every_ms = (every) \
    }

/* Writes at most one message in every_ms; the next that passes ends with how many were left out:
 * "accept: Too many open files (41 similar suppressed)". */
void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
