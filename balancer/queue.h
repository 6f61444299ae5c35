/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of one worker that wait for a pool. In the order of their arrival, and in turn
 * between keys: whoever sends many requests waits behind its own. Each waits for so long at most.
 *
 * Adaptive: once the queue has not been empty for as long as a request may wait, the newest is
 * served first, and whoever comes then waits for a twentieth of that (B. Maurer, "Fail at scale",
 * ACM Queue 2015). Under such a load not everybody can be served; those that have waited longest
 * are those whose clients have given up.
 *
 * Owns nothing of those that wait; their memory is in the requests. Pure: the time is an argument,
 * in microseconds of a monotonic clock. Allocates only when it is made. One thread.
 */
#ifndef WEIR_BALANCER_QUEUE_H
#define WEIR_BALANCER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/list.h"

#define LB_QUEUE_NEVER UINT64_MAX
#define LB_QUEUE_SHORT 20 /* under overload one waits for such a part */

/* One that may wait. Embedded in the request; only the queue writes it. */
struct lb_waiter {
    struct list_node age;  /* with those that wait as long, the oldest first */
    struct list_node same; /* the ring of those with its key */
    struct list_node turn; /* of the first of a key only, as the next two: when it is its turn */
    struct list_node chain;
    uint32_t n; /* in the ring */
    uint64_t key, until_us;
};

struct lb_queue_rule {
    uint64_t wait_us;
    bool adaptive; /* else always the oldest first */
    bool keyed;    /* else all have the same key */
};

struct lb_queue {
    struct lb_queue_rule rule;
    struct list_node ages[2]; /* those that wait for the whole time, and for the short one */
    struct list_node round;   /* the first of each key */
    struct list_node *buckets;
    uint32_t bucket_mask;
    uint32_t count, keys;
    uint64_t busy_us; /* not empty since */
};

/* For about so many. */
void lb_queue_init(struct lb_queue *q, const struct lb_queue_rule *rule, uint32_t size);

/* It must be empty. */
void lb_queue_fini(struct lb_queue *q);

void lb_waiter_init(struct lb_waiter *w);

static inline bool lb_waiter_waits(const struct lb_waiter *w)
{
    return list_linked(&w->age);
}

/* It waits from now on; its deadline is fixed now. */
void lb_queue_push(struct lb_queue *q, struct lb_waiter *w, uint64_t key, uint64_t now_us);

/* The same for one that has waited in another queue of the same rule: for as long as it may yet. */
void lb_queue_rejoin(struct lb_queue *q, struct lb_waiter *w, uint64_t key, uint64_t now_us);

/* Whose turn it is; NULL: the queue is empty. It still waits: lb_queue_serve, or nothing. */
struct lb_waiter *lb_queue_first(struct lb_queue *q, uint64_t now_us);

/* It is served: its key's next turn is after those of all others. */
void lb_queue_serve(struct lb_queue *q, struct lb_waiter *w);

/* Nobody of the key whose turn it is can be served: that of the next one comes. */
void lb_queue_pass(struct lb_queue *q);

/* It does not wait any more, for whatever cause. Harmless if it did not. */
void lb_queue_remove(struct lb_queue *q, struct lb_waiter *w);

/*
 * Who is to make room for one of this key while the queue is full: one of the key that has most,
 * if that has at least two more; under overload the oldest of the same key, since the newcomer has
 * better chances. NULL: the newcomer has to go. Looks at a few keys only, however many there are.
 */
struct lb_waiter *lb_queue_victim(struct lb_queue *q, uint64_t key, uint64_t now_us);

/* One whose time is over, or NULL. */
struct lb_waiter *lb_queue_expired(struct lb_queue *q, uint64_t now_us);

/* When the next one's time is over; LB_QUEUE_NEVER. */
uint64_t lb_queue_due_us(const struct lb_queue *q);

/* Is the newest served first? */
bool lb_queue_overloaded(const struct lb_queue *q, uint64_t now_us);

#endif
