/* SPDX-License-Identifier: Apache-2.0 */
/* The last minutes. Owns the samples; must never make a worker wait. Control thread. */
#include "proxy/admin_history.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/base/mem.h"

#define SAMPLE_MS 5000
#define SAMPLES   180 /* a quarter of an hour */

struct admin_history {
    const struct admin_view *view;
    uv_timer_t timer;
    struct history_sample samples[SAMPLES];
    size_t n; /* ever taken */
};

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void history_sample_take(struct history_sample *s, const struct admin_view *view)
{
    s->at_ms = wall_ms();
    s->in_flight = totals_of_stat(view, offsetof(struct worker_stats, in_flight));
    s->clients = totals_of_stat(view, offsetof(struct worker_stats, conns));
    totals_of_all(view, &s->totals);
}

static void on_timer(uv_timer_t *timer)
{
    struct admin_history *h = timer->data;
    history_sample_take(&h->samples[h->n++ % SAMPLES], h->view);
}

struct admin_history *admin_history_new(uv_loop_t *loop, const struct admin_view *view)
{
    struct admin_history *h = mem_need(calloc(1, sizeof(*h)));
    h->view = view;
    uv_timer_init(loop, &h->timer);
    h->timer.data = h;
    uv_timer_start(&h->timer, on_timer, SAMPLE_MS, SAMPLE_MS);
    return h;
}

void admin_history_close(struct admin_history *h)
{
    uv_close((uv_handle_t *)&h->timer, NULL);
}

void admin_history_free(struct admin_history *h)
{
    free(h);
}

/* The last but one, as the last may have been taken just now. */
const struct history_sample *admin_history_before(const struct admin_history *h)
{
    if (h->n == 0)
        return NULL;
    return &h->samples[(h->n > 1 ? h->n - 2 : 0) % SAMPLES];
}

static void write_sample(struct json *j, const struct history_sample *s)
{
    json_object_begin(j);
    json_key(j, "at_ms");
    json_u64(j, s->at_ms);
    json_key(j, "in_flight");
    json_u64(j, s->in_flight);
    json_key(j, "clients");
    json_u64(j, s->clients);
    request_totals_write(j, &s->totals);
    json_object_end(j);
}

static void write_history(struct json *j, const void *ctx)
{
    const struct admin_history *h = ctx;
    json_array_begin(j);
    for (size_t i = h->n > SAMPLES ? h->n - SAMPLES : 0; i < h->n; i++)
        write_sample(j, &h->samples[i % SAMPLES]);
    json_array_end(j);
    json_raw(j, "\n", 1);
}

void admin_history(const struct admin_ask *ask, const struct admin_history *history)
{
    admin_json(ask, 200, write_history, history);
}
