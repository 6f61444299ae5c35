/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked list. The head is a node; an unlinked node points at itself, so that
 * unlinking twice is harmless and "is it linked?" can be asked. Owns nothing. Single-threaded.
 */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

#include <stdbool.h>

#include "proxy/base/check.h"

struct list_node {
    struct list_node *prev, *next;
};

static inline void list_init(struct list_node *n)
{
    n->prev = n->next = n;
}

static inline bool list_linked(const struct list_node *n)
{
    return n->next != n;
}

static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline void list_insert_after(struct list_node *at, struct list_node *n)
{
    DCHECK(!list_linked(n));
    n->prev = at;
    n->next = at->next;
    at->next->prev = n;
    at->next = n;
}

static inline void list_push_front(struct list_node *head, struct list_node *n)
{
    list_insert_after(head, n);
}

static inline void list_push_back(struct list_node *head, struct list_node *n)
{
    list_insert_after(head->prev, n);
}

static inline void list_unlink(struct list_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* First node, unlinked; NULL if the list is empty. */
static inline struct list_node *list_pop_front(struct list_node *head)
{
    struct list_node *n = head->next;
    if (n == head)
        return NULL;
    list_unlink(n);
    return n;
}

/* Moves every node of from to the end of to. */
static inline void list_splice_back(struct list_node *to, struct list_node *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

#define list_for_each(it, head) \
    for (struct list_node *it = (head)->next; it != (head); it = it->next)

/* The current node may be unlinked in the body. */
#define list_for_each_safe(it, head)                                               \
    for (struct list_node *it = (head)->next, *it##_next = it->next; it != (head); \
         it = it##_next, it##_next = it->next)

#endif
