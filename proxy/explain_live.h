/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /explain: asks the workers what they would do with a request, and tells. Each makes a plan of
 * it in its own time, by its own balancers as they are; the control thread waits for all of them
 * without being in anybody's way. One question is with the workers at a time; others wait.
 *
 *   explain_live -> job (the one that is asked, those that wait) -> question, answers
 *   worker ~> job, from the order until it has answered
 *
 * Control thread, but for explain_job_answer.
 */
#ifndef WEIR_EXPLAIN_LIVE_H
#define WEIR_EXPLAIN_LIVE_H

#include "proxy/admin_page.h"

struct explain_job;
struct explain_live;

struct explain_live *explain_live_new(const struct admin_view *view);

/* Whoever waits is answered, as far as the workers have been. */
void explain_live_told(struct explain_live *live);

/* The workers have ended, and all clients are gone. NULL is fine. */
void explain_live_free(struct explain_live *live);

/* Answers a request for the page, now (true) or later. */
bool explain_live_page(struct explain_live *live, const struct admin_ask *ask);

/* Makes the worker's plan. job: what w->explain was, or NULL. Worker's thread. */
void explain_job_answer(struct worker *w, struct explain_job *job);

#endif
