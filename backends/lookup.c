/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking a name up beside a loop. What thread and loop share belongs to both, and goes with the
 * last of them: the thread may outlive the loop. The thread of the loop, but for look_up.
 */
#include "backends/lookup.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

struct shared {
    pthread_mutex_t lock;
    unsigned users;
    uv_async_t *bell; /* NULL: nobody waits */
    struct addrinfo *found;
    char *host, *port;
};

struct lookup {
    uv_async_t bell;
    struct shared *shared;
    void (*done)(void *ctx, const struct addrinfo *found);
    void *ctx;
};

static void leave(struct shared *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->users == 0;
    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    if (s->found != NULL)
        freeaddrinfo(s->found);
    pthread_mutex_destroy(&s->lock);
    free(s->host);
    free(s->port);
    free(s);
}

static void *look_up(void *arg)
{
    struct shared *s = arg;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(s->host, s->port, &hints, &found) != 0)
        found = NULL;
    pthread_mutex_lock(&s->lock);
    s->found = found;
    if (s->bell != NULL)
        uv_async_send(s->bell);
    pthread_mutex_unlock(&s->lock);
    leave(s);
    return NULL;
}

static bool start_thread(struct shared *s)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, look_up, s) != 0)
        return false;
    pthread_detach(thread);
    return true;
}

/* ---- the loop's ---- */

static void on_closed(uv_handle_t *handle)
{
    struct lookup *l = handle->data;
    leave(l->shared);
    free(l);
}

static void lookup_close(struct lookup *l)
{
    pthread_mutex_lock(&l->shared->lock);
    l->shared->bell = NULL;
    pthread_mutex_unlock(&l->shared->lock);
    uv_close((uv_handle_t *)&l->bell, on_closed);
}

static void on_bell(uv_async_t *bell)
{
    struct lookup *l = bell->data;
    lookup_close(l);
    l->done(l->ctx, l->shared->found);
}

struct lookup *lookup_begin(uv_loop_t *loop, const char *host, const char *port,
                            void (*done)(void *ctx, const struct addrinfo *found), void *ctx)
{
    struct lookup *l = calloc(1, sizeof(*l));
    struct shared *s = calloc(1, sizeof(*s));
    CHECK(l != NULL && s != NULL);
    *l = (struct lookup){.shared = s, .done = done, .ctx = ctx};
    *s = (struct shared){.users = 2, .bell = &l->bell, .host = strdup(host), .port = strdup(port)};
    CHECK(s->host != NULL && s->port != NULL);
    pthread_mutex_init(&s->lock, NULL);
    uv_async_init(loop, &l->bell, on_bell);
    l->bell.data = l;
    if (start_thread(s))
        return l;
    leave(s);
    lookup_close(l);
    return NULL;
}

void lookup_cancel(struct lookup *lookup)
{
    if (lookup != NULL)
        lookup_close(lookup);
}
