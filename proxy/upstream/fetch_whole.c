/* SPDX-License-Identifier: Apache-2.0 */
/* Small answers as a whole. Owns what has come of them; a fetch as any other. Reactor's thread. */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/upstream/fetch_state.h"

struct whole {
    struct fetch *fetch;
    void (*fn)(void *ctx, const struct fetch_answer *answer);
    void *ctx;
    size_t max, len, room;
    char *bytes;
    struct fetch_head head;
    char content_type[128];
};

static void whole_end(void *ctx, const char *why)
{
    struct whole *w = ctx;
    struct fetch_answer answer = {.why = why, .head = w->head, .body = span_of(w->bytes, w->len)};
    w->bytes[w->len] = '\0';
    w->fn(w->ctx, &answer);
}

static void whole_head(void *ctx, const struct fetch_head *head)
{
    struct whole *w = ctx;
    size_t n = head->content_type.len;
    n = n < sizeof(w->content_type) ? n : sizeof(w->content_type);
    if (n > 0)
        memcpy(w->content_type, head->content_type.ptr, n);
    w->head = *head;
    w->head.content_type = span_of(w->content_type, n);
}

static void whole_data(void *ctx, struct span bytes)
{
    struct whole *w = ctx;
    char why[FETCH_AUTHORITY + 80];
    if (bytes.len > w->max - w->len) {
        snprintf(why, sizeof(why), "%s: the answer has more than %zu bytes",
                 w->fetch->client->authority, w->max);
        fetch_cancel(w->fetch);
        whole_end(w, why);
        return;
    }
    if (bytes.len >= w->room - w->len) {
        w->room = (w->room + bytes.len) * 2;
        w->bytes = mem_need(realloc(w->bytes, w->room));
    }
    memcpy(w->bytes + w->len, bytes.ptr, bytes.len);
    w->len += bytes.len;
}

static void whole_gone(void *ctx)
{
    struct whole *w = ctx;
    free(w->bytes);
    free(w);
}

static const struct fetch_events whole_events = {
    .head = whole_head, .data = whole_data, .end = whole_end, .gone = whole_gone};

struct fetch *fetch_whole(struct fetch_client *client, const struct fetch_request *request,
                          size_t max, void (*fn)(void *ctx, const struct fetch_answer *answer),
                          void *ctx)
{
    struct whole *w = mem_need(calloc(1, sizeof(*w)));
    w->fn = fn;
    w->ctx = ctx;
    w->max = max;
    w->room = 1024;
    w->bytes = mem_need(malloc(w->room));
    w->fetch = fetch_begin(client, request, &whole_events, w);
    return w->fetch;
}
