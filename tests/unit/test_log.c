/* SPDX-License-Identifier: Apache-2.0 */
/* The program's log, read back from a pipe that stands in for stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <unistd.h>

#include "proxy/base/check.h"
#include "proxy/base/log.h"

struct capture {
    int saved, read_end;
    char text[128 * 1024];
    size_t len;
};

static struct capture capture;

static void capture_begin(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    capture.len = 0;
    capture.saved = dup(STDERR_FILENO);
    capture.read_end = ends[0];
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
}

/* What has been written since; the pipe has room for 64 KiB, which no test exceeds. */
static const char *capture_take(void)
{
    ssize_t n;
    capture.len = 0;
    while ((n = read(capture.read_end, capture.text + capture.len,
                     sizeof capture.text - 1 - capture.len)) > 0)
        capture.len += (size_t)n;
    capture.text[capture.len] = 0;
    return capture.text;
}

static void capture_end(void)
{
    dup2(capture.saved, STDERR_FILENO);
    close(capture.saved);
    close(capture.read_end);
    log_set_level(LOG_INFO);
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int result = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    if (result != 0) {
        capture_end();
        fail_msg("\"%s\" does not match %s", text, pattern);
    }
}

#define TIME "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z"

static void a_line_has_time_level_and_message(void **state)
{
    (void)state;
    capture_begin();
    log_set_level(LOG_DEBUG);
    log_info("listening on %s with %d workers", ":8000", 2);
    assert_matches(capture_take(), "^" TIME " info  listening on :8000 with 2 workers\n$");
    log_debug("x");
    assert_matches(capture_take(), "^" TIME " debug x\n$");
    log_warn("x");
    assert_matches(capture_take(), "^" TIME " warn  x\n$");
    log_error("x");
    assert_matches(capture_take(), "^" TIME " error x\n$");
    capture_end();
}

static int evaluated;

static int evaluate(void)
{
    return ++evaluated;
}

static void levels_below_the_threshold_cost_nothing(void **state)
{
    (void)state;
    capture_begin();
    evaluated = 0;
    log_set_level(LOG_WARN);
    assert_int_equal(log_get_level(), LOG_WARN);
    log_debug("%d", evaluate());
    log_info("%d", evaluate());
    log_write(LOG_INFO, "%d", 1);
    assert_string_equal(capture_take(), "");
    assert_int_equal(evaluated, 0);
    log_warn("%d", evaluate());
    assert_matches(capture_take(), " warn  1\n$");
    capture_end();
}

static void a_message_can_not_forge_a_line(void **state)
{
    (void)state;
    capture_begin();
    log_info("host %s", "x\n2026-01-01T00:00:00.000Z error pwned\r\t\x1b[2J\x7f");
    assert_matches(capture_take(), "^" TIME " info  host x\\?2026-01-01T00:00:00.000Z error "
                                   "pwned\\?\\?\\?\\[2J\\?\n$");
    capture_end();
}

static void a_message_that_is_too_long_is_cut(void **state)
{
    (void)state;
    char big[8000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    capture_begin();
    log_info("%s", big);
    const char *text = capture_take();
    assert_in_range(capture.len, 4000, 4200);
    assert_string_equal(text + capture.len - 5, "x...\n");
    capture_end();
}

static void errno_passes_through(void **state)
{
    (void)state;
    capture_begin();
    errno = ENOENT;
    log_info("open: %m");
    assert_int_equal(errno, ENOENT);
    assert_matches(capture_take(), "open: No such file or directory\n$");
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    dup2(full, STDERR_FILENO);
    close(full);
    errno = EAGAIN;
    log_info("lost");
    assert_int_equal(errno, EAGAIN);
    capture_end();
}

static void level_names_are_read_and_written(void **state)
{
    (void)state;
    for (unsigned l = LOG_DEBUG; l <= LOG_ERROR; l++) {
        enum log_level parsed;
        assert_true(log_level_parse(log_level_name(l), &parsed));
        assert_int_equal(parsed, l);
    }
    enum log_level none = LOG_ERROR;
    assert_false(log_level_parse("", &none));
    assert_false(log_level_parse("INFO", &none));
    assert_false(log_level_parse("warning", &none));
    assert_int_equal(none, LOG_ERROR);
}

static void repeated_messages_are_counted_instead(void **state)
{
    (void)state;
    struct log_limit limit = LOG_LIMIT(60000);
    capture_begin();
    for (int i = 0; i < 42; i++)
        log_limited(&limit, LOG_WARN, "accept: %d", i);
    assert_matches(capture_take(), "^" TIME " warn  accept: 0\n$");
    /* The minute is over. */
    atomic_store(&limit.next_ms, 1);
    log_limited(&limit, LOG_WARN, "accept: %d", 42);
    assert_matches(capture_take(), "^" TIME " warn  accept: 42 \\(41 similar suppressed\\)\n$");
    atomic_store(&limit.next_ms, 1);
    log_limited(&limit, LOG_WARN, "accept: %d", 43);
    assert_matches(capture_take(), "^" TIME " warn  accept: 43\n$");
    atomic_store(&limit.next_ms, 1);
    log_limited(&limit, LOG_DEBUG, "off");
    assert_string_equal(capture_take(), "");
    capture_end();
}

enum { THREADS = 4, LINES = 150 };

static struct log_limit shared_limit = LOG_LIMIT(60000);

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++) {
        log_info("thread %d line %03d end", *(int *)arg, i);
        log_limited(&shared_limit, LOG_INFO, "limited");
    }
    return NULL;
}

static void threads_do_not_mix_their_lines(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int ids[THREADS];
    capture_begin();
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &ids[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    unsigned seen[THREADS] = {0}, limited = 0;
    char *save = NULL, *text = (char *)(uintptr_t)capture_take();
    capture_end();
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        int thread, number, end = 0;
        /* With those that came between its turn and its line, if there were any. */
        if (strncmp(line + 24, " info  limited", strlen(" info  limited")) == 0) {
            limited++;
            continue;
        }
        assert_int_equal(
            sscanf(line + 24, " info  thread %d line %3d end%n", &thread, &number, &end), 2);
        assert_true(end > 0 && line[24 + end] == 0);
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(number, seen[thread]++);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(seen[i], LINES);
    assert_int_equal(limited, 1);
    assert_int_equal(atomic_load(&shared_limit.suppressed), THREADS * LINES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_message),
        cmocka_unit_test(levels_below_the_threshold_cost_nothing),
        cmocka_unit_test(a_message_can_not_forge_a_line),
        cmocka_unit_test(a_message_that_is_too_long_is_cut),
        cmocka_unit_test(errno_passes_through),
        cmocka_unit_test(level_names_are_read_and_written),
        cmocka_unit_test(repeated_messages_are_counted_instead),
        cmocka_unit_test(threads_do_not_mix_their_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
