/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests a pool takes at once, and how the others wait for their turn: an exchange is
 * admitted before its first attempt, and keeps its place until it ends, however many attempts there
 * are. The numbers are those of all workers; each has a queue of its own.
 *
 *   snapshot_view -> admission[pools] ~> gate (the pool's), queue ~> exchange's waiter
 *
 * Views that have a pool in common have its admission in common, too: who waits when the next view
 * is taken waits on in the same queue, and those that come later wait behind.
 *
 * Worker's thread.
 */
#ifndef WEIR_EXCHANGE_ADMIT_H
#define WEIR_EXCHANGE_ADMIT_H

#include "proxy/exchange_state.h"

struct admission;

/* A worker's part of a pool's limits, which must outlive it. NULL: there are none. Any thread. */
struct admission *admission_new(struct worker *w, const struct pool_limits *limits);

/* Nobody may wait here any more; with other workers they may. NULL is fine. */
void admission_free(struct admission *a);

/* The pool may have room for those that wait here. NULL is fine. */
void admission_wake(struct admission *a);

/* Of an exchange whose pool has limits: whose turn it will share. Its head is as the client sent
 * it. */
void exchange_queue_up(struct exchange *x, struct admission *a);

/* The rest is for exchanges that have queued up. */

/* The first attempt begins: now, or when it is its turn, or never, if that would be too late. The
 * exchange may have ended when it returns. */
void exchange_admit(struct exchange *x);

/* An attempt has ended, so that its endpoint may have room for another. */
void exchange_endpoint_freed(struct exchange *x);

/* What was picked for it is not started after all, or not now. */
void exchange_unpick(struct exchange *x);

/* The exchange ends for reason: it waits no more, or its place goes to another. */
void exchange_leave(struct exchange *x, enum reason reason);

#endif
