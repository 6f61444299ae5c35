/* SPDX-License-Identifier: Apache-2.0 */
/* The access log to a syslog that the kernel has no buffers for: sendmsg(2) is this file's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proxy/access_log.h"
#include "proxy/access_syslog.h"

enum { TRIES_MAX = 64, PAUSE_MIN_MS = 5 };

static char dir[64], path[96];
static int reader = -1;

/* ---- the kernel ---- */

static _Atomic int busy; /* calls that find no buffers */
static _Atomic unsigned calls;
static uint64_t at_us[TRIES_MAX];
static sem_t tried, sent;

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    unsigned n = atomic_fetch_add(&calls, 1);
    (void)fd;
    (void)message;
    (void)flags;
    if (n < TRIES_MAX)
        at_us[n] = now_us();
    sem_post(&tried);
    if (atomic_load(&busy) > 0 && atomic_fetch_sub(&busy, 1) > 0) {
        errno = ENOBUFS;
        return -1;
    }
    sem_post(&sent);
    return 1;
}

/* ---- the log ---- */

static int setup(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/weir-busy-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", dir);
    strcpy(un.sun_path, path);
    reader = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    atomic_store(&calls, 0);
    return sem_init(&tried, 0, 0) | sem_init(&sent, 0, 0) |
           bind(reader, (struct sockaddr *)&un, sizeof(un));
}

static int teardown(void **state)
{
    (void)state;
    close(reader);
    unlink(path);
    sem_destroy(&tried);
    sem_destroy(&sent);
    return rmdir(dir);
}

static struct access_log *open_log(unsigned flush_ms)
{
    char err[256] = "";
    const struct access_syslog_options syslog = {.path = path, .facility = 16, .tag = "weir"};
    const struct access_log_options options = {.format = "{path}",
                                               .syslog = &syslog,
                                               .shards = 1,
                                               .ring_bytes = 4096,
                                               .flush_ms = flush_ms};
    struct access_log *log = access_log_open(&options, err, sizeof(err));
    if (log == NULL)
        fail_msg("%s", err);
    return log;
}

static bool write_line(struct access_log *log)
{
    const struct access_record record = {.path = SPAN_LIT("/a")};
    return access_log_write(log, 0, &record);
}

/* No event says when there are buffers again. */
static void assert_paused(unsigned tries)
{
    for (unsigned i = 1; i < tries && i < TRIES_MAX; i++)
        assert_true(at_us[i] - at_us[i - 1] >= PAUSE_MIN_MS * 1000);
}

static void wait_for(sem_t *event)
{
    while (sem_wait(event) != 0)
        assert_int_equal(errno, EINTR);
}

static void a_line_is_sent_again_after_a_pause(void **state)
{
    (void)state;
    atomic_store(&busy, 6);
    struct access_log *log = open_log(60000);
    assert_true(write_line(log));
    wait_for(&sent);
    assert_int_equal(atomic_load(&calls), 7);
    assert_paused(7);
    assert_int_equal(access_log_dropped(log), 0);
    access_log_close(log);
}

static void the_ring_fills_meanwhile_and_what_finds_no_room_is_counted(void **state)
{
    (void)state;
    unsigned written = 0;
    atomic_store(&busy, INT32_MAX);
    struct access_log *log = open_log(100);
    while (write_line(log))
        written++;
    assert_false(write_line(log));
    assert_in_range(written, 1, 4096);
    assert_int_equal(access_log_dropped(log), 2);
    for (unsigned i = 0; i < 4; i++)
        wait_for(&tried);
    assert_paused(4);
    access_log_close(log); /* has an end, though nobody takes a line */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_sent_again_after_a_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ring_fills_meanwhile_and_what_finds_no_room_is_counted,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
