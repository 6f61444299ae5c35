/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the last quarter of an hour, a sample each 5 s, so that who opens the dashboard at
 * night sees how it began; GET /history tells them. And GET /top, the state of things as a page of
 * text, which takes its rates from them: what `weir top` shows. Control thread.
 */
#ifndef WEIR_ADMIN_HISTORY_H
#define WEIR_ADMIN_HISTORY_H

#include <uv.h>

#include "proxy/admin_page.h"
#include "proxy/admin_totals.h"

struct admin_history;

struct history_sample {
    uint64_t at_ms; /* Unix time */
    uint64_t in_flight, clients;
    struct request_totals totals;
};

/* As of now. */
void history_sample_take(struct history_sample *s, const struct admin_view *view);

/* Samples from now on. view: must live until admin_history_close. */
struct admin_history *admin_history_new(uv_loop_t *loop, const struct admin_view *view);

/* The loop must run before admin_history_free, for which NULL is fine. */
void admin_history_close(struct admin_history *history);
void admin_history_free(struct admin_history *history);

/* The newest that is a few seconds old, to compare with; NULL: there is none yet. */
const struct history_sample *admin_history_before(const struct admin_history *history);

/* Answer requests for the pages. */
void admin_history(const struct admin_ask *ask, const struct admin_history *history);
void admin_top(const struct admin_ask *ask, const struct admin_history *history);

#endif
