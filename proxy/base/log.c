/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's log. Owns the threshold and nothing else; holds no lock, since one write(2) of a
 * whole line is what keeps the lines of several threads apart. Never fails loudly: a log that can't
 * be written must not end a proxy. Any thread.
 */
#include "proxy/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/check.h"

enum { LINE_MAX_BYTES = 4096, TAIL_MAX_BYTES = 64 };

_Atomic int log_threshold = LOG_INFO;

static const char *const names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

void log_set_level(enum log_level level)
{
    CHECK(level <= LOG_ERROR);
    log_threshold = level;
}

enum log_level log_get_level(void)
{
    return log_threshold;
}

const char *log_level_name(enum log_level level)
{
    CHECK(level <= LOG_ERROR);
    return names[level];
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

static size_t put_head(char *line, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(line + n, size - n, ".%03uZ %-5s ",
                                (unsigned)(now.tv_nsec / 1000000), names[level]);
}

static size_t put_message(char *line, size_t size, const char *format, va_list args)
{
    int n = vsnprintf(line, size, format, args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= size) {
        len = size - 1;
        memcpy(line + len - 3, "...", 3);
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    return len;
}

__attribute__((format(printf, 3, 0))) static void emit(enum log_level level, uint64_t suppressed,
                                                       const char *format, va_list args)
{
    char line[LINE_MAX_BYTES + TAIL_MAX_BYTES];
    int saved = errno;
    size_t len = put_head(line, LINE_MAX_BYTES, level);
    /* "%m" in the message is the caller's errno. */
    errno = saved;
    len += put_message(line + len, LINE_MAX_BYTES - len, format, args);
    if (suppressed)
        len += (size_t)snprintf(line + len, TAIL_MAX_BYTES, " (%llu similar suppressed)",
                                (unsigned long long)suppressed);
    line[len++] = '\n';
    ssize_t n;
    do
        n = write(STDERR_FILENO, line, len);
    while (n < 0 && errno == EINTR);
    errno = saved;
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;
    if (!log_enabled(level))
        return;
    va_start(args, format);
    emit(level, 0, format, args);
    va_end(args);
}

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Exactly one of several threads gets the turn. */
static bool take_turn(struct log_limit *limit)
{
    uint64_t now = monotonic_ms();
    uint_fast64_t next = atomic_load_explicit(&limit->next_ms, memory_order_relaxed);
    return now >= next &&
           atomic_compare_exchange_strong_explicit(&limit->next_ms, &next, now + limit->every_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
    va_list args;
    if (!log_enabled(level))
        return;
    if (!take_turn(limit)) {
        atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
        return;
    }
    uint64_t suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    va_start(args, format);
    emit(level, suppressed, format, args);
    va_end(args);
}
