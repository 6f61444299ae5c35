/* SPDX-License-Identifier: Apache-2.0 */
/* The access log end to end: rings, writer, file, pipe, socket, rotation and every way to fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/access_log.h"
#include "proxy/base/check.h"

enum { PATIENCE_MS = 60000 };

static char dir[64];
static char path[96];

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.32s/weir-log-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/access.log", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char old[112];
    snprintf(old, sizeof old, "%s.1", path);
    unlink(path);
    unlink(old);
    return rmdir(dir);
}

static struct access_log *open_log(const char *to, const char *format, unsigned shards,
                                   size_t ring_bytes)
{
    char err[256] = "";
    struct access_log_options options = {
        .path = to, .format = format, .shards = shards, .ring_bytes = ring_bytes, .flush_ms = 100};
    struct access_log *log = access_log_open(&options, err, sizeof err);
    if (!log)
        fail_msg("%s", err);
    return log;
}

static bool write_path(struct access_log *log, unsigned shard, const char *text)
{
    struct access_record r = {.path = span_str(text)};
    return access_log_write(log, shard, &r);
}

/* The whole file, with a NUL; the caller frees. */
static char *slurp(const char *from, size_t *len)
{
    struct stat st;
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    char *text = malloc((size_t)st.st_size + 1);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    text[st.st_size] = 0;
    *len = (size_t)st.st_size;
    return text;
}

static void assert_file(const char *name, const char *want)
{
    size_t len;
    char *text = slurp(name, &len);
    assert_string_equal(text, want);
    free(text);
}

/* Waits for exactly what is wanted from a pipe or socket. */
static void assert_reads(int fd, const char *want)
{
    char text[1024];
    size_t len = 0;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    while (len < strlen(want)) {
        assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    text[len] = 0;
    assert_string_equal(text, want);
}

static int open_fifo_reader(void)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* The writer counts on its own thread; nothing else tells when. */
static void wait_dropped(struct access_log *log, uint64_t want)
{
    uint64_t until = now_ms() + PATIENCE_MS;
    while (access_log_dropped(log) < want && now_ms() < until)
        sched_yield();
    assert_int_equal(access_log_dropped(log), want);
}

static void close_writes_everything(void **state)
{
    (void)state;
    struct access_log *log = open_log(path, "<{path}>", 2, 0);
    assert_true(write_path(log, 0, "/a"));
    assert_true(write_path(log, 0, "/b"));
    assert_int_equal(access_log_dropped(log), 0);
    access_log_close(log);
    assert_file(path, "</a>\n</b>\n");
    log = open_log(path, "<{path}>", 1, 0);
    assert_true(write_path(log, 0, "/c"));
    access_log_close(log);
    assert_file(path, "</a>\n</b>\n</c>\n");
    access_log_close(NULL);
}

static void a_file_is_not_for_everyone(void **state)
{
    (void)state;
    mode_t before = umask(0);
    struct access_log *log = open_log(path, "json", 1, 0);
    umask(before);
    access_log_close(log);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_single_line_wakes_the_parked_writer(void **state)
{
    (void)state;
    int reader = open_fifo_reader();
    struct access_log *log = open_log(path, "{path}", 1, 0);
    for (int i = 0; i < 5; i++) {
        /* Between the lines it lingers or parks, as the pauses of the scheduler have it. */
        assert_true(write_path(log, 0, "/lonely"));
        assert_reads(reader, "/lonely\n");
        struct pollfd pfd = {.fd = reader, .events = POLLIN};
        assert_int_equal(poll(&pfd, 1, i * 40), 0);
    }
    access_log_close(log);
    close(reader);
}

static void a_reopened_log_goes_to_the_new_file(void **state)
{
    (void)state;
    char old[112], err[256];
    snprintf(old, sizeof old, "%s.1", path);
    struct access_log *log = open_log(path, "{path}", 1, 0);
    assert_true(write_path(log, 0, "/before"));
    assert_int_equal(rename(path, old), 0);
    /* The line before may still be in the ring, so it may be in either file. */
    assert_true(access_log_reopen(log, err, sizeof err));
    assert_true(access_log_reopen(log, err, sizeof err));
    assert_true(write_path(log, 0, "/after"));
    access_log_close(log);
    size_t old_len, new_len;
    char *old_text = slurp(old, &old_len), *new_text = slurp(path, &new_len);
    assert_int_equal(old_len + new_len, strlen("/before\n/after\n"));
    assert_non_null(strstr(new_text, "/after\n"));
    free(old_text);
    free(new_text);
}

static void an_idle_log_lets_the_old_file_go(void **state)
{
    (void)state;
    int reader = open_fifo_reader();
    char old[112], err[256];
    snprintf(old, sizeof old, "%s.1", path);
    struct access_log *log = open_log(path, "{path}", 1, 0);
    assert_int_equal(rename(path, old), 0);
    assert_true(access_log_reopen(log, err, sizeof err));
    /* The reader of the old pipe sees its end without any line being written. */
    struct pollfd pfd = {.fd = reader, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    assert_true(pfd.revents & POLLHUP);
    access_log_close(log);
    close(reader);
}

static void a_failed_reopen_keeps_the_old_file(void **state)
{
    (void)state;
    char err[256] = "", old[112];
    snprintf(old, sizeof old, "%s.1", path);
    struct access_log *log = open_log(path, "{path}", 1, 0);
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_false(access_log_reopen(log, err, sizeof err));
    assert_non_null(strstr(err, strerror(EISDIR)));
    assert_true(write_path(log, 0, "/x"));
    access_log_close(log);
    assert_int_equal(rmdir(path), 0);
    assert_file(old, "/x\n");
}

static void what_cannot_be_opened_is_an_error(void **state)
{
    (void)state;
    static const struct {
        const char *path, *format, *message;
    } rows[] = {
        {"/nowhere/at/all", "json", "/nowhere/at/all: No such file or directory"},
        {"/", "json", "/: Is a directory"},
        {"/dev/null", "{x", "'{' at position 1 has no '}' ('{{' is a plain one)"},
        {"", "json", ": No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char err[256] = "";
        struct access_log_options o = {.path = rows[i].path, .format = rows[i].format, .shards = 1};
        assert_null(access_log_open(&o, err, sizeof err));
        assert_string_equal(err, rows[i].message);
    }
    char err[256] = "", want[128];
    assert_int_equal(mkfifo(path, 0600), 0);
    struct access_log_options o = {.path = path, .format = "json", .shards = 1};
    assert_null(access_log_open(&o, err, sizeof err));
    snprintf(want, sizeof want, "%s: nobody reads this pipe", path);
    assert_string_equal(err, want);
}

static void a_full_ring_drops_and_never_waits(void **state)
{
    (void)state;
    int reader = open_fifo_reader();
    struct access_log *log = open_log(path, "{path}", 1, 4096);
    char text[200];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    /* Nobody reads: the pipe's 64 KiB and the ring fill up, the rest is dropped. */
    uint64_t accepted = 0, attempts = 0, until = now_ms() + PATIENCE_MS;
    while (access_log_dropped(log) < 1000 && now_ms() < until) {
        accepted += write_path(log, 0, text);
        attempts++;
    }
    assert_in_range(access_log_dropped(log), 1000, UINT64_MAX - 1);
    assert_int_equal(accepted + access_log_dropped(log), attempts);
    /* Once it is read again, every accepted line is there. */
    uint64_t bytes = 0;
    struct pollfd pfd = {.fd = reader, .events = POLLIN};
    while (bytes < accepted * sizeof text) {
        char buf[4096];
        assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
        ssize_t n = read(reader, buf, sizeof buf);
        assert_true(n > 0);
        bytes += (uint64_t)n;
    }
    assert_int_equal(bytes, accepted * sizeof text);
    assert_true(write_path(log, 0, "/again"));
    assert_reads(reader, "/again\n");
    access_log_close(log);
    close(reader);
}

static void a_reader_that_is_stuck_does_not_stop_the_end(void **state)
{
    (void)state;
    int reader = open_fifo_reader();
    struct access_log *log = open_log(path, "{path}", 2, 0);
    char text[1001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 200; i++)
        assert_true(write_path(log, (unsigned)i % 2, text));
    uint64_t start = now_ms();
    access_log_close(log); /* flush_ms is 100 here; nothing else would end it */
    assert_true(now_ms() - start >= 100);
    close(reader);
}

static void a_line_longer_than_the_ring_is_dropped(void **state)
{
    (void)state;
    struct access_log *log = open_log(path, "{path}", 1, 4096);
    char *text = malloc(8001);
    assert_non_null(text);
    memset(text, 'x', 8000);
    text[8000] = 0;
    assert_false(write_path(log, 0, text));
    free(text);
    assert_int_equal(access_log_dropped(log), 1);
    assert_true(write_path(log, 0, "/short"));
    access_log_close(log);
    assert_file(path, "/short\n");
}

/* Runs with stderr in a file; returns what came, which the caller frees. */
static char *with_stderr(void (*story)(void))
{
    char name[96];
    size_t len;
    snprintf(name, sizeof name, "%s/stderr", dir);
    int saved = dup(STDERR_FILENO), fd = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && fd >= 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
    story();
    dup2(saved, STDERR_FILENO);
    close(saved);
    char *text = slurp(name, &len);
    unlink(name);
    return text;
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void write_to_full_disk(void)
{
    struct access_log *log = open_log("/dev/full", "{path}", 2, 0);
    for (unsigned i = 1; i <= 5; i++) {
        assert_true(write_path(log, i % 2, "/a"));
        assert_true(write_path(log, i % 2, "/b"));
        wait_dropped(log, i * 2);
    }
    access_log_close(log);
}

static void a_full_disk_is_counted_and_said_once(void **state)
{
    (void)state;
    char *text = with_stderr(write_to_full_disk);
    assert_int_equal(count_of(text, "error access log /dev/full: No space left on device"), 1);
    assert_int_equal(count_of(text, "\n"), 1);
    free(text);
}

static void write_to_closed_pipe(void)
{
    int reader = open_fifo_reader();
    struct access_log *log = open_log(path, "{path}", 1, 0);
    close(reader);
    for (unsigned i = 1; i <= 3; i++) {
        assert_true(write_path(log, 0, "/gone"));
        wait_dropped(log, i);
    }
    /* Somebody reads again. */
    reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(write_path(log, 0, "/back"));
    assert_reads(reader, "/back\n");
    assert_int_equal(access_log_dropped(log), 3);
    access_log_close(log);
    close(reader);
}

static void a_gone_reader_is_counted_and_said_once(void **state)
{
    (void)state;
    char *text = with_stderr(write_to_closed_pipe);
    assert_int_equal(count_of(text, ": Broken pipe; lines are dropped"), 1);
    assert_int_equal(count_of(text, "is written again; 3 lines dropped so far"), 1);
    assert_int_equal(count_of(text, "\n"), 2);
    free(text);
}

static void write_over_the_limit(void)
{
    struct rlimit before, limit;
    struct access_log *log = open_log(path, "{path}", 1, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 14;
    assert_true(write_path(log, 0, "/11111111"));
    /* Until that line is in the file the limit must not be there. */
    struct stat st = {0};
    uint64_t until = now_ms() + PATIENCE_MS;
    while (st.st_size < 10 && now_ms() < until)
        assert_int_equal(stat(path, &st), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_true(write_path(log, 0, "/22222222"));
    wait_dropped(log, 1);
    assert_true(write_path(log, 0, "/33333333"));
    wait_dropped(log, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(write_path(log, 0, "/44444444"));
    assert_true(write_path(log, 0, "/55555555"));
    access_log_close(log);
}

static void a_torn_line_does_not_spoil_the_next(void **state)
{
    (void)state;
    free(with_stderr(write_over_the_limit));
    assert_file(path, "/11111111\n/222\n/44444444\n/55555555\n");
}

/* Puts fd at descriptor 1 for as long as a log is opened on /dev/stdout. */
static struct access_log *open_on_stdout(int fd, const char *format)
{
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fd, STDOUT_FILENO);
    struct access_log *log = open_log("/dev/stdout", format, 1, 0);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return log;
}

static void stdout_may_be_a_socket(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct access_log *log = open_on_stdout(pair[0], "{path}");
    assert_true(write_path(log, 0, "/socket"));
    assert_reads(pair[1], "/socket\n");
    /* Full, and its description is blocking: the writer must not block in it. */
    char text[1001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 900; i++)
        write_path(log, 0, text);
    access_log_close(log);
    assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
    close(pair[0]);
    close(pair[1]);
}

static void stdout_may_be_a_pipe_that_others_share(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct access_log *log = open_on_stdout(ends[1], "{path}");
    assert_true(write_path(log, 0, "/pipe"));
    assert_reads(ends[0], "/pipe\n");
    char text[1001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 200; i++)
        assert_true(write_path(log, 0, text));
    access_log_close(log);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    close(ends[0]);
    close(ends[1]);
}

static void stdout_may_be_a_file_that_others_write_too(void **state)
{
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* as a shell's > does */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before\n", 7), 7);
    struct access_log *log = open_on_stdout(fd, "{path}");
    assert_true(write_path(log, 0, "/x"));
    access_log_close(log);
    assert_int_equal(write(fd, "after\n", 6), 6);
    close(fd);
    assert_file(path, "before\n/x\nafter\n");
}

enum { PRODUCERS = 4, LINES = 20000 };

struct producer {
    struct access_log *log;
    unsigned shard;
    bool retry; /* until it is taken */
    uint64_t accepted;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    char text[512];
    for (unsigned i = 0; i < LINES; i++) {
        /* Lengths differ, so that the ring's end is met in every way. */
        int n = snprintf(text, sizeof text, "/%u/%u/", p->shard, i);
        int fill = (int)(i * 7 % 300);
        memset(text + n, 'x', (size_t)fill);
        text[n + fill] = 0;
        while (!write_path(p->log, p->shard, text) && p->retry)
            sched_yield();
    }
    return NULL;
}

/* Every line whole and each shard's lines in order; returns how many. */
static uint64_t check_stress_file(void)
{
    size_t len;
    char *text = slurp(path, &len), *save = NULL;
    uint64_t lines = 0;
    int64_t last[PRODUCERS] = {-1, -1, -1, -1};
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned shard, number;
        int at = 0;
        assert_int_equal(sscanf(line, "</%u/%u/%n", &shard, &number, &at), 2);
        assert_true(at > 0 && shard < PRODUCERS);
        assert_true(number > last[shard]);
        last[shard] = number;
        size_t fill = number * 7 % 300;
        assert_int_equal(strlen(line + at), fill + 1);
        assert_int_equal(strspn(line + at, "x"), fill);
        assert_int_equal(line[at + (int)fill], '>');
        lines++;
    }
    free(text);
    return lines;
}

static void stress(size_t ring_bytes, bool retry)
{
    struct access_log *log = open_log(path, "<{path}>", PRODUCERS, ring_bytes);
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    char err[256];
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.log = log, .shard = i, .retry = retry};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_true(access_log_reopen(log, err, sizeof err));
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t dropped = access_log_dropped(log);
    access_log_close(log);
    uint64_t lines = check_stress_file();
    if (retry)
        assert_int_equal(lines, (uint64_t)PRODUCERS * LINES);
    else
        assert_int_equal(lines + dropped, (uint64_t)PRODUCERS * LINES);
}

static void four_workers_lose_nothing_that_was_taken(void **state)
{
    (void)state;
    stress(4096, true);
}

static void four_workers_count_every_drop(void **state)
{
    (void)state;
    stress(16384, false);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
#define STORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        STORY(close_writes_everything),
        STORY(a_file_is_not_for_everyone),
        STORY(a_single_line_wakes_the_parked_writer),
        STORY(a_reopened_log_goes_to_the_new_file),
        STORY(an_idle_log_lets_the_old_file_go),
        STORY(a_failed_reopen_keeps_the_old_file),
        STORY(what_cannot_be_opened_is_an_error),
        STORY(a_full_ring_drops_and_never_waits),
        STORY(a_reader_that_is_stuck_does_not_stop_the_end),
        STORY(a_line_longer_than_the_ring_is_dropped),
        STORY(a_full_disk_is_counted_and_said_once),
        STORY(a_gone_reader_is_counted_and_said_once),
        STORY(a_torn_line_does_not_spoil_the_next),
        STORY(stdout_may_be_a_socket),
        STORY(stdout_may_be_a_pipe_that_others_share),
        STORY(stdout_may_be_a_file_that_others_write_too),
        STORY(four_workers_lose_nothing_that_was_taken),
        STORY(four_workers_count_every_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
