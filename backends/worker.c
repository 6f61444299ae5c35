/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of a worker: its listener, the clock of the Date field, and its end.
 * Never parses and never answers. Its own thread, but where worker.h says otherwise.
 */
#include "backends/worker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "backends/conn.h"
#include "backends/head.h"

#define BACKLOG 4096

char *output_extend(struct output *out, size_t n)
{
    CHECK(n <= OUT_CAP - out->len);
    char *at = out->data + out->len;
    out->len += n;
    return at;
}

void output_append(struct output *out, const char *ptr, size_t len)
{
    if (len)
        memcpy(output_extend(out, len), ptr, len);
}

/* Fires just after each full second, so that Date is never a second late. */
static void on_date(uv_timer_t *timer)
{
    struct worker *w = CAST_OBJ(worker, timer->data, WORKER_MAGIC);
    struct timeval now;
    canned_set_date(w);
    gettimeofday(&now, NULL);
    uv_timer_start(timer, on_date, 1001 - (uint64_t)now.tv_usec / 1000, 0);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        conn_accept(CAST_OBJ(worker, listener->data, WORKER_MAGIC));
}

static void on_stop(uv_async_t *stop)
{
    struct worker *w = CAST_OBJ(worker, stop->data, WORKER_MAGIC);
    uv_close(&w->listener.handle, NULL);
    uv_close((uv_handle_t *)&w->date_timer, NULL);
    uv_close((uv_handle_t *)&w->next_turn, NULL);
    uv_close((uv_handle_t *)&w->stop, NULL);
    list_for_each_safe (it, &w->conns)
        conn_close(CONTAINER_OF(it, conn, link));
}

static int open_listener(struct worker *w, int fd)
{
    int err = w->is_unix ? uv_pipe_init(&w->loop, &w->listener.pipe, 0)
                         : uv_tcp_init(&w->loop, &w->listener.tcp);
    CHECK(err == 0); /* neither makes a socket, so neither can fail */
    err = w->is_unix ? uv_pipe_open(&w->listener.pipe, fd) : uv_tcp_open(&w->listener.tcp, fd);
    if (err) {
        close(fd);
        return err;
    }
    w->listener.handle.data = w;
    return uv_listen(&w->listener.stream, BACKLOG, on_connection);
}

static int worker_init(struct worker *w, int fd)
{
    w->in = malloc(IN_CAP);
    w->out.data = malloc(OUT_CAP);
    int err = w->in && w->out.data && canned_init(w) ? uv_loop_init(&w->loop) : UV_ENOMEM;
    if (err) {
        close(fd);
        return err;
    }
    w->loop.data = w;
    uv_timer_init(&w->loop, &w->date_timer);
    w->date_timer.data = w;
    uv_idle_init(&w->loop, &w->next_turn);
    w->next_turn.data = w;
    w->stop.data = w;
    err = uv_async_init(&w->loop, &w->stop, on_stop);
    if (err) {
        close(fd);
        return err;
    }
    return open_listener(w, fd);
}

struct worker *worker_new(struct service *service, struct stats *stats, int fd, bool is_unix,
                          int *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w) {
        close(fd);
        *err = UV_ENOMEM;
        return NULL;
    }
    w->magic = WORKER_MAGIC;
    w->service = service;
    w->stats = stats;
    w->is_unix = is_unix;
    list_init(&w->conns);
    list_init(&w->yielding);
    *err = worker_init(w, fd);
    if (*err == 0)
        return w;
    worker_free(w);
    return NULL;
}

static void run(void *arg)
{
    struct worker *w = CAST_OBJ(worker, arg, WORKER_MAGIC);
    on_date(&w->date_timer);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    CHECK(list_empty(&w->conns));
}

int worker_start(struct worker *w)
{
    return uv_thread_create(&w->thread, run, w);
}

void worker_stop(struct worker *w)
{
    uv_async_send(&w->stop);
}

void worker_join(struct worker *w)
{
    uv_thread_join(&w->thread);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    if (w->loop.data) { /* a worker that never ran still has its handles */
        uv_walk(&w->loop, close_handle, NULL);
        uv_run(&w->loop, UV_RUN_DEFAULT);
        CHECK(uv_loop_close(&w->loop) == 0);
    }
    canned_fini(w);
    free(w->out.data);
    free(w->in);
    free(w);
}
