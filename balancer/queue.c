/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of one worker. Owns the table of keys; borrows who waits. No I/O, no clock. One thread.
 *
 * Those of a key are a ring, which has no head of its own: the first of them has the key's place in
 * the round and in the table, and hands both on when it goes. So there is no memory for a key but
 * that of who waits.
 */
#include "balancer/queue.h"

#include <stdlib.h>

#include "balancer/hash.h"
#include "proxy/base/mem.h"

#define KEYS_LOOKED_AT 64

void lb_queue_init(struct lb_queue *q, const struct lb_queue_rule *rule, uint32_t size)
{
    uint32_t buckets = 1;
    while (rule->keyed && buckets < size / 2 && buckets < 4096)
        buckets *= 2;
    *q = (struct lb_queue){.rule = *rule, .bucket_mask = buckets - 1};
    q->buckets = mem_need(malloc(buckets * sizeof(q->buckets[0])));
    for (uint32_t i = 0; i < buckets; i++)
        list_init(&q->buckets[i]);
    list_init(&q->ages[0]);
    list_init(&q->ages[1]);
    list_init(&q->round);
}

void lb_queue_fini(struct lb_queue *q)
{
    CHECK(q->count == 0 && q->keys == 0);
    free(q->buckets);
}

void lb_waiter_init(struct lb_waiter *w)
{
    list_init(&w->age);
    list_init(&w->same);
    list_init(&w->turn);
    list_init(&w->chain);
}

static struct lb_waiter *of_turn(struct list_node *node)
{
    return CONTAINER_OF(node, lb_waiter, turn);
}

static struct lb_waiter *of_same(struct list_node *node)
{
    return CONTAINER_OF(node, lb_waiter, same);
}

static struct list_node *bucket_of(struct lb_queue *q, uint64_t key)
{
    return &q->buckets[lb_hash_pair(key, 0) & q->bucket_mask];
}

/* The first of a key, or NULL. */
static struct lb_waiter *find(struct lb_queue *q, uint64_t key)
{
    list_for_each (it, bucket_of(q, key)) {
        struct lb_waiter *w = CONTAINER_OF(it, lb_waiter, chain);
        if (w->key == key)
            return w;
    }
    return NULL;
}

bool lb_queue_overloaded(const struct lb_queue *q, uint64_t now_us)
{
    return q->rule.adaptive && q->count > 0 && now_us - q->busy_us >= q->rule.wait_us;
}

static void join(struct lb_queue *q, struct lb_waiter *w)
{
    struct lb_waiter *first = find(q, w->key);
    if (first != NULL) {
        list_push_back(&first->same, &w->same);
        first->n++;
        return;
    }
    list_push_back(&q->round, &w->turn);
    list_push_back(bucket_of(q, w->key), &w->chain);
    w->n = 1;
    q->keys++;
}

static void begin(struct lb_queue *q, struct lb_waiter *w, uint64_t key, uint64_t now_us)
{
    CHECK(!lb_waiter_waits(w));
    if (q->count == 0)
        q->busy_us = now_us;
    w->key = q->rule.keyed ? key : 0;
    join(q, w);
    q->count++;
}

void lb_queue_push(struct lb_queue *q, struct lb_waiter *w, uint64_t key, uint64_t now_us)
{
    bool overloaded = lb_queue_overloaded(q, now_us);
    uint64_t wait_us = overloaded ? q->rule.wait_us / LB_QUEUE_SHORT : q->rule.wait_us;
    begin(q, w, key, now_us);
    w->until_us = now_us + wait_us;
    list_push_back(&q->ages[overloaded], &w->age);
}

static struct lb_waiter *of_age(struct list_node *node)
{
    return CONTAINER_OF(node, lb_waiter, age);
}

void lb_queue_rejoin(struct lb_queue *q, struct lb_waiter *w, uint64_t key, uint64_t now_us)
{
    struct list_node *before = q->ages[0].prev;
    while (before != &q->ages[0] && of_age(before)->until_us > w->until_us)
        before = before->prev;
    begin(q, w, key, now_us);
    list_insert_after(before, &w->age);
}

struct lb_waiter *lb_queue_first(struct lb_queue *q, uint64_t now_us)
{
    if (list_empty(&q->round))
        return NULL;
    struct lb_waiter *first = of_turn(q->round.next);
    return lb_queue_overloaded(q, now_us) ? of_same(first->same.prev) : first;
}

void lb_queue_serve(struct lb_queue *q, struct lb_waiter *w)
{
    struct lb_waiter *first = find(q, w->key);
    CHECK(first != NULL);
    list_unlink(&first->turn);
    list_push_back(&q->round, &first->turn);
    lb_queue_remove(q, w);
}

void lb_queue_pass(struct lb_queue *q)
{
    struct list_node *first = q->round.next;
    list_unlink(first);
    list_push_back(&q->round, first);
}

/* The first of a key goes: the next one takes its places. */
static void hand_on(struct lb_queue *q, struct lb_waiter *first)
{
    if (list_linked(&first->same)) {
        struct lb_waiter *next = of_same(first->same.next);
        list_insert_after(&first->turn, &next->turn);
        list_insert_after(&first->chain, &next->chain);
        next->n = first->n - 1;
    } else {
        q->keys--;
    }
    list_unlink(&first->turn);
    list_unlink(&first->chain);
}

void lb_queue_remove(struct lb_queue *q, struct lb_waiter *w)
{
    if (!lb_waiter_waits(w))
        return;
    if (list_linked(&w->turn))
        hand_on(q, w);
    else
        find(q, w->key)->n--;
    list_unlink(&w->same);
    list_unlink(&w->age);
    q->count--;
}

static struct lb_waiter *fattest(struct lb_queue *q)
{
    struct lb_waiter *most = of_turn(q->round.next);
    unsigned looked = 0;
    list_for_each (it, &q->round) {
        if (of_turn(it)->n > most->n)
            most = of_turn(it);
        if (++looked == KEYS_LOOKED_AT)
            break;
    }
    return most;
}

struct lb_waiter *lb_queue_victim(struct lb_queue *q, uint64_t key, uint64_t now_us)
{
    if (q->count == 0)
        return NULL;
    bool overloaded = lb_queue_overloaded(q, now_us);
    struct lb_waiter *own = find(q, q->rule.keyed ? key : 0);
    struct lb_waiter *most = fattest(q);
    if (most->n >= (own != NULL ? own->n : 0) + 2)
        return overloaded ? most : of_same(most->same.prev);
    return overloaded ? own : NULL;
}

/* The one that is due first, or NULL. Both lists are in the order of their deadlines. */
static struct lb_waiter *next_due(const struct lb_queue *q)
{
    struct lb_waiter *due = NULL;
    for (unsigned i = 0; i < 2; i++) {
        if (list_empty(&q->ages[i]))
            continue;
        struct lb_waiter *w = of_age(q->ages[i].next);
        if (due == NULL || w->until_us < due->until_us)
            due = w;
    }
    return due;
}

struct lb_waiter *lb_queue_expired(struct lb_queue *q, uint64_t now_us)
{
    struct lb_waiter *w = next_due(q);
    return w != NULL && now_us >= w->until_us ? w : NULL;
}

uint64_t lb_queue_due_us(const struct lb_queue *q)
{
    const struct lb_waiter *w = next_due(q);
    return w != NULL ? w->until_us : LB_QUEUE_NEVER;
}
