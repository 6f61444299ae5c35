/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start and end of the service. The main thread makes the workers and then only waits for a
 * signal; it never serves.
 */
#include "backends/server.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/listen.h"
#include "backends/register.h"
#include "backends/tls.h"
#include "backends/worker.h"

struct server {
    struct options opt;
    struct service service;
    struct listen_result listening;
    struct worker **workers;
    struct registrar *registrar; /* NULL: nobody is told */
    size_t made, started;
};

static bool fail(const struct server *s, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", s->opt.program, what, why);
    return false;
}

/* The worker's counters start on a cache line of their own. */
static struct stats *stats_new(void)
{
    struct stats *stats = aligned_alloc(64, (sizeof(struct stats) + 63) / 64 * 64);
    if (stats)
        memset(stats, 0, sizeof(*stats));
    return stats;
}

static bool make_workers(struct server *s, const int *fds)
{
    size_t n = s->opt.workers;
    for (size_t i = 0; i < n; i++) {
        int err = UV_ENOMEM;
        s->service.shards[i] = stats_new();
        if (s->service.shards[i])
            s->workers[i] =
                worker_new(&s->service, s->service.shards[i], fds[i], s->listening.is_unix, &err);
        if (!s->workers[i]) {
            for (size_t rest = i + 1; rest < n; rest++)
                close(fds[rest]);
            return fail(s, s->listening.bound, uv_strerror(err));
        }
        s->made++;
    }
    return true;
}

static bool start_workers(struct server *s)
{
    for (; s->started < s->made; s->started++) {
        int err = worker_start(s->workers[s->started]);
        if (err)
            return fail(s, "thread", uv_strerror(err));
    }
    return true;
}

/* The text as a JSON string without its quotes. Control bytes can't be in an address. */
static void print_escaped(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
}

/* A reader sees the whole object or no file: written next to it, then renamed. */
static bool write_ready_file(const struct server *s)
{
    char temp[4096];
    const char *path = s->opt.ready_file;
    int n = snprintf(temp, sizeof(temp), "%s.%ld.tmp", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof(temp))
        return fail(s, path, "path too long");
    FILE *f = fopen(temp, "we");
    if (!f)
        return fail(s, temp, strerror(errno));
    fprintf(f, "{\"pid\":%ld,\"listen\":\"", (long)getpid());
    print_escaped(f, s->listening.bound);
    fputs("\"}\n", f);
    bool written = !ferror(f);
    written = fclose(f) == 0 && written;
    if (written && rename(temp, path) == 0)
        return true;
    fail(s, path, strerror(errno));
    unlink(temp);
    return false;
}

static bool announce(const struct server *s)
{
    unsigned n = s->opt.workers;
    fprintf(stderr, "%s: listening on %s with %u %s\n", s->opt.program, s->listening.bound, n,
            n == 1 ? "worker" : "workers");
    if (s->opt.print_port) {
        if (s->listening.is_unix)
            puts(s->listening.bound);
        else
            printf("%u\n", s->listening.port);
        fflush(stdout);
    }
    return !s->opt.ready_file || write_ready_file(s);
}

static bool open_ledger(struct server *s)
{
    const char *path = s->opt.ledger;
    s->service.ledger = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : -1;
    return !path || s->service.ledger >= 0 || fail(s, path, strerror(errno));
}

static bool open_tls(struct server *s)
{
    const struct options *o = &s->opt;
    const char *what, *why;
    if (!o->tls_cert)
        return true;
    s->service.tls = tls_open(o->tls_cert, o->tls_key, !o->no_h2, &what, &why);
    return s->service.tls || fail(s, what, why);
}

/* Once it listens, as others send it requests from then on. */
static bool join(struct server *s)
{
    if (s->opt.registering.n == 0)
        return true;
    s->registrar = registrar_start(&s->opt.registering, s->opt.program, s->listening.bound);
    return s->registrar != NULL || fail(s, "--register", strerror(EAGAIN));
}

/* Until the end: a pod's backend gets SIGTERM before all who send it requests know of that. Who
 * reads a registry is told first. */
static void wait_for_end(struct server *s, const sigset_t *signals)
{
    struct timespec linger = {.tv_sec = s->opt.linger};
    int sig;
    sigwait(signals, &sig);
    registrar_leave(s->registrar);
    if (sig == SIGTERM && s->opt.linger > 0)
        sigtimedwait(signals, NULL, &linger);
}

static bool serve(struct server *s, const sigset_t *signals)
{
    int fds[256];
    CHECK(s->opt.workers <= ARRAY_LEN(fds));
    if (!open_tls(s) || !open_ledger(s))
        return false;
    if (!listen_open(s->opt.listen, fds, s->opt.workers, &s->listening)) {
        fprintf(stderr, "%s: %s\n", s->opt.program, s->listening.error);
        return false;
    }
    bool ok = make_workers(s, fds) && start_workers(s) && announce(s) && join(s);
    if (ok)
        wait_for_end(s, signals);
    for (size_t i = 0; i < s->started; i++)
        worker_stop(s->workers[i]);
    for (size_t i = 0; i < s->started; i++)
        worker_join(s->workers[i]);
    if (s->opt.ready_file && ok)
        unlink(s->opt.ready_file);
    listen_cleanup(&s->listening);
    return ok;
}

static void server_fini(struct server *s)
{
    for (size_t i = 0; i < s->opt.workers; i++) {
        if (s->workers)
            worker_free(s->workers[i]);
        if (s->service.shards)
            free(s->service.shards[i]);
    }
    if (s->service.ledger >= 0)
        close(s->service.ledger);
    SSL_CTX_free(s->service.tls);
    free(s->workers);
    free(s->service.shards);
}

int server_main(int argc, char **argv, const char *program, unsigned port)
{
    struct server s = {.made = 0};
    switch (options_parse(&s.opt, argc, argv, program, port)) {
    case OPTIONS_DONE:
        return 0;
    case OPTIONS_BAD:
        return 2;
    case OPTIONS_RUN:
        break;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread, so that all inherit it */
    signal(SIGPIPE, SIG_IGN);

    s.service.opt = &s.opt;
    s.service.ledger = -1;
    s.service.workers = s.opt.workers;
    s.service.shards = calloc(s.opt.workers, sizeof(struct stats *));
    s.workers = calloc(s.opt.workers, sizeof(struct worker *));
    bool ok =
        s.service.shards && s.workers ? serve(&s, &signals) : fail(&s, "start", strerror(ENOMEM));
    server_fini(&s);
    return ok ? 0 : 1;
}
