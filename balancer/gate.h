/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests a pool may have in flight over all workers, and how many may wait for that: one
 * atomic word, so that both numbers are exact, whoever asks. It knows too which workers have
 * somebody waiting, and whose turn it is to be woken; waking and the queues themselves are the
 * caller's. Never blocks, does I/O or reads a clock; allocates only when it is made. Any thread.
 *
 * Who waits is never overlooked. The rule: whoever changes the word so that there is room while
 * somebody waits (every function that returns "wake") wakes the member of lb_gate_next; a member
 * that was woken begins as many of its own as it can, and if it has none left while there is still
 * room, wakes the next one. A newcomer does not enter while somebody waits.
 *
 * What frees an endpoint counts in the word as well. So one that entered, found every endpoint full
 * and goes back (lb_gate_back) is told if one was freed meanwhile, and looks again.
 *
 * Where not everybody has a use of each endpoint (workers have subsets, sessions an endpoint of
 * their own), whoever has to wake somebody wakes each member that has somebody waiting
 * (lb_gate_waiting), and none passes it on. Those that wait for the endpoint of their session are
 * counted apart: they keep nobody else from entering. One that has come to wait so looks once more
 * whether that has room.
 */
#ifndef WEIR_BALANCER_GATE_H
#define WEIR_BALANCER_GATE_H

#include <stdbool.h>
#include <stdint.h>

#define LB_GATE_MEMBERS   256
#define LB_GATE_MAX       ((1u << 24) - 1) /* in flight: as good as no limit */
#define LB_GATE_QUEUE_MAX ((1u << 20) - 1)

struct lb_gate;

struct lb_gate_counts {
    uint32_t limit, in_flight, queued;
};

/* limit: 1..LB_GATE_MAX requests in flight; queue: how many may wait, 0..LB_GATE_QUEUE_MAX. Never
 * NULL. */
struct lb_gate *lb_gate_new(uint32_t limit, uint32_t queue);

/* NULL is fine. */
void lb_gate_free(struct lb_gate *gate);

/* A request that did not wait comes in, if there is room and nobody waits. seen: for lb_gate_back.
 */
bool lb_gate_enter(struct lb_gate *gate, uint32_t *seen);

/* One that waits comes in, if there is room; it counts as waiting until lb_gate_unqueue. */
bool lb_gate_take(struct lb_gate *gate, uint32_t *seen);

/* It goes out again: no endpoint had room. False: it is still in, for one has got room since; it
 * shall look again. */
bool lb_gate_back(struct lb_gate *gate, uint32_t *seen);

/* A request that was in has ended. Returns: wake. */
bool lb_gate_leave(struct lb_gate *gate);

/* An endpoint has room, or may have. Returns: wake. */
bool lb_gate_freed(struct lb_gate *gate);

/* One more waits at the member. False: as many as may do already. wake: see above. who: what
 * lb_gate_next returns for the member, the same each time. */
bool lb_gate_queue(struct lb_gate *gate, uint32_t member, void *who, bool *wake);

/* One waits no more. last: the member has nobody else, of either kind. */
void lb_gate_unqueue(struct lb_gate *gate, uint32_t member, bool last);

/* As these two, for the endpoint of a session. Together with the others there are as many as may
 * wait, but for one each that workers add at the same moment. */
bool lb_gate_queue_session(struct lb_gate *gate, uint32_t member, void *who);
void lb_gate_unqueue_session(struct lb_gate *gate, uint32_t member, bool last);

/* Is there room, and somebody who waits? Asked by a member that has nobody waiting. */
bool lb_gate_idle_room(const struct lb_gate *gate);

/* The member to be woken, in turn; NULL: nobody waits any more. */
void *lb_gate_next(struct lb_gate *gate);

/* The members that have somebody waiting, one after the other: *from is 0 at first. NULL: that was
 * the last. */
void *lb_gate_waiting(struct lb_gate *gate, uint32_t *from);

/* 1..LB_GATE_MAX. Requests over it are left in peace. Returns: wake. */
bool lb_gate_set_limit(struct lb_gate *gate, uint32_t limit);

struct lb_gate_counts lb_gate_counts(const struct lb_gate *gate);

#endif
