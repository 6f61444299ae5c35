/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access log: a ring for each worker, a writer thread, and the way they wake each other.
 *
 * The writer is running, or lingers for LINGER_MS after it has written something, or is parked. A
 * worker wakes it by the eventfd only if it is parked, or lingers while the worker's ring is more
 * than half full; so a busy proxy makes no system call a request, and an idle one has a thread that
 * never wakes. Publishing a line and then reading the state on one side, and setting the state and
 * then looking at the rings on the other, are sequentially consistent, so that no line is left
 * behind by a writer that parks.
 *
 * Owns rings, descriptor, thread and format. A worker never waits for anything here. open, reopen
 * and close belong to the control thread, write to the workers, everything else to the writer.
 */
#include "proxy/access_log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "balancer/hash.h"
#include "proxy/access_rotate.h"
#include "proxy/access_sink.h"
#include "proxy/access_syslog.h"
#include "proxy/base/byte_ring.h"
#include "proxy/base/check.h"
#include "proxy/base/log.h"

enum {
    LINGER_MS = 50,
    PAUSE_MS = 10, /* before what no event tells of is tried again */
    DEFAULT_RING_BYTES = 1 << 20,
    MIN_RING_BYTES = 4096,
    MAX_SHARDS = 1024,
    DEFAULT_FLUSH_MS = 2000,
    WARN_EVERY_MS = 10000,
    HANG_MS = 3000, /* that a write may take in the end */
};

enum writer_state { WRITER_RUNNING, WRITER_LINGERS, WRITER_PARKED };

struct shard {
    struct byte_ring ring;
    /* The producer's. */
    _Alignas(64) struct access_clock clock;
    _Atomic uint64_t dropped;
};

struct access_log {
    struct access_format *format;
    char *path;
    unsigned shards_count;
    struct shard *shards;
    int wake_fd;
    pthread_t thread;
    unsigned flush_ms;
    unsigned sample;
    uint64_t rotate_bytes;
    unsigned rotate_keep;
    bool to_syslog;
    struct access_syslog syslog;

    _Alignas(64) _Atomic int state; /* enum writer_state */
    atomic_int next_fd;             /* from access_log_reopen; -1: none */
    atomic_bool stopping;
    _Atomic uint64_t lost; /* lines that could not be written */

    /* The writer's. */
    struct access_sink sink;
    struct log_limit drop_warning, failure, recovery;
    uint64_t file_bytes; /* in the file */
    uint64_t refused;    /* of the sink's, that are among the lost */
    uint64_t drops_seen;
    uint64_t give_up_ms; /* monotonic; 0: not stopping yet */
    bool failing;        /* the last write failed, and that has been said */
    bool mid_line;       /* what was written last was not the end of a line */
    bool torn;           /* ... and the rest of it is lost */
};

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* -- workers -------------------------------------------------------------------------------- */

/* An eventfd that nobody reads can't be full after so few writes; nothing else can fail. */
static void ring_the_bell(struct access_log *log)
{
    uint64_t one = 1;
    ssize_t n = write(log->wake_fd, &one, sizeof one);
    CHECK(n == (ssize_t)sizeof one);
}

static void wake_if_needed(struct access_log *log, struct shard *shard)
{
    int state = atomic_load_explicit(&log->state, memory_order_seq_cst);
    if (__builtin_expect(state == WRITER_RUNNING, 0))
        return;
    if (state == WRITER_LINGERS) {
        size_t half = shard->ring.cap / 2;
        if (__builtin_expect(byte_ring_used(&shard->ring) <= half, 1))
            return;
        byte_ring_refresh(&shard->ring);
        if (byte_ring_used(&shard->ring) <= half)
            return;
    }
    /* Of several workers that see this one gets to make the system call. */
    if (atomic_exchange(&log->state, WRITER_RUNNING) != WRITER_RUNNING)
        ring_the_bell(log);
}

static bool format_into(struct access_log *log, struct shard *shard, char *place, size_t room,
                        const struct access_record *record)
{
    struct json out;
    json_init(&out, place, room);
    access_format_line(log->format, record, &shard->clock, &out);
    if (json_truncated(&out))
        return false;
    byte_ring_publish(&shard->ring, place, out.len);
    return true;
}

/* The room seen last was too small: looks again, and then at the other end. */
static bool format_elsewhere(struct access_log *log, struct shard *shard,
                             const struct access_record *record)
{
    size_t room, seen;
    byte_ring_room(&shard->ring, &seen);
    byte_ring_refresh(&shard->ring);
    char *place = byte_ring_room(&shard->ring, &room);
    if (room > seen && format_into(log, shard, place, room, record))
        return true;
    place = byte_ring_room_at_start(&shard->ring, &room);
    return place && format_into(log, shard, place, room, record);
}

bool access_log_samples(const struct access_log *log, struct span id)
{
    return log->sample >= 1000 || lb_hash_below(lb_hash(id.ptr, id.len), 1000) < log->sample;
}

bool access_log_write(struct access_log *log, unsigned shard_index,
                      const struct access_record *record)
{
    DCHECK(shard_index < log->shards_count);
    struct shard *shard = &log->shards[shard_index];
    size_t room;
    char *place = byte_ring_room(&shard->ring, &room);
    bool done =
        format_into(log, shard, place, room, record) || format_elsewhere(log, shard, record);
    if (!done) {
        /* The only writer of this counter, so no locked instruction. */
        uint64_t n = atomic_load_explicit(&shard->dropped, memory_order_relaxed);
        atomic_store_explicit(&shard->dropped, n + 1, memory_order_relaxed);
    }
    wake_if_needed(log, shard);
    return done;
}

/* -- the writer ----------------------------------------------------------------------------- */

static uint64_t count_drops(const struct access_log *log)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < log->shards_count; i++)
        n += atomic_load_explicit(&log->shards[i].dropped, memory_order_relaxed);
    return n;
}

uint64_t access_log_dropped(const struct access_log *log)
{
    return count_drops(log) + atomic_load_explicit(&log->lost, memory_order_relaxed);
}

static void warn_of_drops(struct access_log *log)
{
    uint64_t drops = count_drops(log);
    if (drops == log->drops_seen)
        return;
    log_limited(&log->drop_warning, LOG_WARN,
                "access log %s is slower than the requests; %llu lines dropped so far", log->path,
                (unsigned long long)drops);
    log->drops_seen = drops;
}

/* Sleeps until the bell rings, the sink can be written (if asked for), or the time is over. */
static void wait_for(struct access_log *log, bool writable, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = log->wake_fd, .events = POLLIN},
                            {.fd = log->sink.fd, .events = POLLOUT}};
    uint64_t rings;
    poll(fds, writable ? 2 : 1, timeout_ms);
    if (fds[0].revents & POLLIN)
        while (read(log->wake_fd, &rings, sizeof rings) < 0 && errno == EINTR)
            ;
}

/* How many ms the sink may take, still. -1: as many as it likes; the process does not want to end.
 */
static int patience(struct access_log *log)
{
    if (!atomic_load_explicit(&log->stopping, memory_order_acquire))
        return -1;
    uint64_t now = monotonic_ms();
    if (log->give_up_ms == 0)
        log->give_up_ms = now + log->flush_ms;
    return now < log->give_up_ms ? (int)(log->give_up_ms - now) : 0;
}

/* The sink takes nothing just now; the rings fill meanwhile. False: stop waiting for it. */
static bool wait_writable(struct access_log *log, int error)
{
    int left = patience(log);
    if (left == 0)
        return false;
    if (error == EAGAIN)
        wait_for(log, true, left);
    else
        poll(NULL, 0, PAUSE_MS);
    return true;
}

/* Of two that are begun at once, by a signal and by size, the older one has been renamed. */
static bool is_renamed(const struct access_log *log, int fd)
{
    struct stat opened, there;
    return log->rotate_bytes != 0 && log->sink.regular && fstat(fd, &opened) == 0 &&
           stat(log->path, &there) == 0 &&
           (opened.st_ino != there.st_ino || opened.st_dev != there.st_dev);
}

/* Takes the descriptor over. */
static void use_fd(struct access_log *log, int fd)
{
    struct stat st;
    log->sink = access_sink_from_fd(fd, log->to_syslog ? &log->syslog : NULL);
    log->refused = 0;
    log->file_bytes = fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static void adopt_fd(struct access_log *log, int fd)
{
    access_sink_close(&log->sink);
    use_fd(log, fd);
    log->failing = log->torn = log->mid_line = false;
}

static void adopt_next_fd(struct access_log *log)
{
    int fd = atomic_exchange(&log->next_fd, -1);
    if (fd >= 0 && is_renamed(log, fd))
        close(fd);
    else if (fd >= 0)
        adopt_fd(log, fd);
}

/* If it fails, what is open goes on to be written, and it is tried again after as many bytes. */
static void rotate(struct access_log *log)
{
    char err[256];
    int fd = -1;
    log->file_bytes = 0;
    if (!access_rotate(log->path, log->rotate_keep))
        snprintf(err, sizeof err, "%s: %s", log->path, strerror(errno));
    else
        fd = access_sink_open_fd(log->path, err, sizeof err);
    if (fd >= 0)
        adopt_fd(log, fd);
    else
        log_limited(&log->failure, LOG_ERROR, "access log cannot be rotated: %s", err);
}

static uint64_t count_lines(const struct iovec *piece)
{
    const char *p = piece->iov_base, *end = p + piece->iov_len;
    uint64_t n = 0;
    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        n++;
        p++;
    }
    return n;
}

/* Counts what is left of a batch as lost. A line of which a part was written counts too. */
static void lose(struct access_log *log, const struct iovec *pieces, int count)
{
    uint64_t lines = 0;
    for (int i = 0; i < count; i++)
        lines += count_lines(&pieces[i]);
    atomic_fetch_add_explicit(&log->lost, lines, memory_order_relaxed);
    log->torn = log->mid_line;
}

static void say_failed(struct access_log *log, int error)
{
    if (!log->failing)
        log_limited(&log->failure, LOG_ERROR,
                    "access log %s: %s; lines are dropped until it can be written again", log->path,
                    strerror(error));
    log->failing = true;
}

static void say_recovered(struct access_log *log)
{
    if (log->failing)
        log_limited(&log->recovery, LOG_INFO,
                    "access log %s is written again; %llu lines dropped so far", log->path,
                    (unsigned long long)access_log_dropped(log));
    log->failing = false;
}

/* Takes n written bytes off the front of the pieces. */
static void skip(struct access_log *log, struct iovec **pieces, int *count, size_t n)
{
    while (n > 0) {
        struct iovec *piece = *pieces;
        size_t step = n < piece->iov_len ? n : piece->iov_len;
        piece->iov_base = (char *)piece->iov_base + step;
        piece->iov_len -= step;
        log->mid_line = ((const char *)piece->iov_base)[-1] != '\n';
        n -= step;
        if (piece->iov_len == 0) {
            ++*pieces;
            --*count;
        }
    }
}

/* Writes whole lines, or loses and counts what can't be written. A line that was torn earlier is
 * ended first, so that the next one is whole. */
static void write_pieces(struct access_log *log, struct iovec *pieces, int count)
{
    char newline = '\n';
    while (count > 0) {
        struct iovec all[3] = {{&newline, 1}};
        int extra = log->torn ? 1 : 0;
        memcpy(all + extra, pieces, (size_t)count * sizeof *pieces);
        ssize_t n = access_sink_writev(&log->sink, all, count + extra);
        if (n > 0) {
            say_recovered(log);
            if (extra)
                log->torn = log->mid_line = false;
            log->file_bytes += (uint64_t)n;
            skip(log, &pieces, &count, (size_t)n - (size_t)extra);
        } else if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            if (wait_writable(log, errno))
                continue;
            lose(log, pieces, count);
            return;
        } else if (n == 0 || errno != EINTR) {
            say_failed(log, n == 0 ? ENOSPC : errno);
            lose(log, pieces, count);
            return;
        }
    }
}

/* Writes what one ring holds now; what comes meanwhile waits for the other rings' turn. */
static bool drain_ring(struct access_log *log, struct byte_ring *ring)
{
    struct iovec pieces[2];
    int count = byte_ring_peek(ring, pieces);
    if (count == 0)
        return false;
    size_t len = pieces[0].iov_len + (count > 1 ? pieces[1].iov_len : 0);
    /* After the peek: a line that follows a reopen finds its file here. */
    adopt_next_fd(log);
    if (log->rotate_bytes != 0 && log->sink.regular && log->file_bytes > 0 &&
        log->file_bytes + len > log->rotate_bytes)
        rotate(log);
    write_pieces(log, pieces, count);
    atomic_fetch_add_explicit(&log->lost, log->sink.refused - log->refused, memory_order_relaxed);
    log->refused = log->sink.refused;
    byte_ring_consume(ring, len);
    return true;
}

static bool drain(struct access_log *log)
{
    bool any = false;
    for (unsigned i = 0; i < log->shards_count; i++)
        any |= drain_ring(log, &log->shards[i].ring);
    return any;
}

static bool all_empty(const struct access_log *log)
{
    for (unsigned i = 0; i < log->shards_count; i++)
        if (!byte_ring_empty(&log->shards[i].ring))
            return false;
    return true;
}

/* A worker that publishes after the look at the rings sees the state set before it. */
static void park(struct access_log *log)
{
    atomic_store_explicit(&log->state, WRITER_PARKED, memory_order_seq_cst);
    if (all_empty(log))
        wait_for(log, false, -1);
}

static void *writer_main(void *arg)
{
    struct access_log *log = arg;
    for (;;) {
        /* Read first: all that was published before the stop is then seen by this drain. */
        bool last = atomic_load_explicit(&log->stopping, memory_order_acquire);
        bool any = drain(log);
        if (last)
            break;
        adopt_next_fd(log);
        warn_of_drops(log);
        if (any) {
            atomic_store_explicit(&log->state, WRITER_LINGERS, memory_order_seq_cst);
            wait_for(log, false, LINGER_MS);
        } else {
            park(log);
        }
        atomic_store_explicit(&log->state, WRITER_RUNNING, memory_order_seq_cst);
    }
    return NULL;
}

/* -- control -------------------------------------------------------------------------------- */

static void log_free(struct access_log *log)
{
    access_format_free(log->format);
    for (unsigned i = 0; log->shards && i < log->shards_count; i++)
        byte_ring_fini(&log->shards[i].ring);
    free(log->shards);
    free(log->path);
    if (log->sink.fd >= 0)
        access_sink_close(&log->sink);
    if (log->wake_fd >= 0)
        close(log->wake_fd);
    free(log);
}

static bool make_shards(struct access_log *log, unsigned count, size_t ring_bytes)
{
    log->shards = aligned_alloc(_Alignof(struct shard), count * sizeof *log->shards);
    if (!log->shards)
        return false;
    memset(log->shards, 0, count * sizeof *log->shards);
    log->shards_count = count;
    for (unsigned i = 0; i < count; i++)
        if (!byte_ring_init(&log->shards[i].ring, ring_bytes))
            return false;
    return true;
}

/* All signals stay with the threads that expect them. */
static int start_writer(struct access_log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&log->thread, NULL, writer_main, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_setname_np(log->thread, "weir-access-log");
    return error;
}

/* -1 with a message. */
static int open_sink(struct access_log *log, char *err, size_t err_len)
{
    if (!log->to_syslog)
        return access_sink_open_fd(log->path, err, err_len);
    int fd = access_syslog_connect(&log->syslog);
    if (fd < 0)
        snprintf(err, err_len, "%s: %s", log->path, strerror(errno));
    return fd;
}

/* Everything but the thread; false with a message. */
static bool log_init(struct access_log *log, const struct access_log_options *o, char *err,
                     size_t err_len)
{
    size_t ring_bytes = o->ring_bytes ? o->ring_bytes : DEFAULT_RING_BYTES;
    log->flush_ms = o->flush_ms ? o->flush_ms : DEFAULT_FLUSH_MS;
    log->drop_warning.every_ms = log->failure.every_ms = log->recovery.every_ms = WARN_EVERY_MS;
    log->sample = o->sample;
    log->rotate_bytes = o->rotate_bytes;
    log->rotate_keep = o->rotate_keep;
    log->to_syslog = o->syslog != NULL;
    log->format = o->n_fields > 0 ? access_format_json(o->fields, o->n_fields, err, err_len)
                                  : access_format_new(o->format, err, err_len);
    if (!log->format)
        return false;
    log->path = strdup(log->to_syslog ? "syslog" : o->path);
    if (!log->path) {
        snprintf(err, err_len, "out of memory");
        return false;
    }
    if (log->to_syslog && !access_syslog_init(&log->syslog, o->syslog, err, err_len))
        return false;
    int fd = open_sink(log, err, err_len);
    if (fd < 0)
        return false;
    use_fd(log, fd);
    log->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (log->wake_fd >= 0 && make_shards(log, o->shards, ring_bytes))
        return true;
    snprintf(err, err_len, "access log: %s", strerror(errno));
    return false;
}

struct access_log *access_log_open(const struct access_log_options *options, char *err,
                                   size_t err_len)
{
    CHECK(options->shards >= 1 && options->shards <= MAX_SHARDS);
    CHECK(options->ring_bytes == 0 || options->ring_bytes >= MIN_RING_BYTES);
    struct access_log *log = aligned_alloc(_Alignof(struct access_log), sizeof *log);
    if (!log) {
        snprintf(err, err_len, "out of memory");
        return NULL;
    }
    *log = (struct access_log){.wake_fd = -1, .next_fd = -1, .sink.fd = -1};
    if (!log_init(log, options, err, err_len)) {
        log_free(log);
        return NULL;
    }
    int error = start_writer(log);
    if (error != 0) {
        snprintf(err, err_len, "access log: thread: %s", strerror(error));
        log_free(log);
        return NULL;
    }
    return log;
}

bool access_log_reopen(struct access_log *log, char *err, size_t err_len)
{
    int fd = open_sink(log, err, err_len);
    if (fd < 0)
        return false;
    int unused = atomic_exchange(&log->next_fd, fd);
    if (unused >= 0)
        close(unused);
    /* Even with nothing to write the old file is to be let go. */
    ring_the_bell(log);
    return true;
}

/* False: it is in a call that does not return, as on a disk that hangs. */
static bool writer_ends(struct access_log *log)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (log->flush_ms + HANG_MS) / 1000;
    int error = pthread_timedjoin_np(log->thread, NULL, &until);
    CHECK(error == 0 || error == ETIMEDOUT);
    return error == 0;
}

void access_log_close(struct access_log *log)
{
    if (!log)
        return;
    atomic_store_explicit(&log->stopping, true, memory_order_release);
    ring_the_bell(log);
    if (!writer_ends(log)) {
        log_error("access log %s: a write does not end; what is left is lost", log->path);
        return; /* the writer has it, as long as the process lives */
    }
    uint64_t lost = atomic_load_explicit(&log->lost, memory_order_relaxed);
    if (log->give_up_ms != 0 && lost > 0)
        log_warn("access log %s was not read to the end; %llu lines lost", log->path,
                 (unsigned long long)lost);
    int unused = atomic_exchange(&log->next_fd, -1);
    if (unused >= 0)
        close(unused);
    log_free(log);
}
