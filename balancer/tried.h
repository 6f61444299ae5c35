/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoints that one exchange has tried already, as indices into a view: a retry goes to
 * another one. A plain value of bounded size inside the exchange; never allocates. Pure; one
 * thread.
 */
#ifndef WEIR_BALANCER_TRIED_H
#define WEIR_BALANCER_TRIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LB_TRIED_FEW 64 /* indices below it have a bit */
#define LB_TRIED_MAX                                                             \
    14 /* of the others so many are remembered; a route retries 10 times at most \
        */

struct lb_tried {
    uint64_t few;
    uint32_t added; /* ever added to many; the oldest is overwritten, and so forgotten */
    uint32_t many[LB_TRIED_MAX];
};

/* The empty set; a zeroed struct is one too. */
static inline void lb_tried_clear(struct lb_tried *t)
{
    t->few = 0;
    t->added = 0;
}

static inline uint32_t lb_tried_many(const struct lb_tried *t)
{
    return t->added < LB_TRIED_MAX ? t->added : LB_TRIED_MAX;
}

/* NULL is the empty set. */
static inline bool lb_tried_empty(const struct lb_tried *t)
{
    return t == NULL || (t->few == 0 && t->added == 0);
}

/* NULL is the empty set. */
static inline bool lb_tried_has(const struct lb_tried *t, uint32_t index)
{
    if (t == NULL)
        return false;
    if (index < LB_TRIED_FEW)
        return t->few >> index & 1;
    for (uint32_t i = 0, n = lb_tried_many(t); i < n; i++)
        if (t->many[i] == index)
            return true;
    return false;
}

/* Adding one twice changes nothing. */
static inline void lb_tried_add(struct lb_tried *t, uint32_t index)
{
    if (index < LB_TRIED_FEW)
        t->few |= UINT64_C(1) << index;
    else if (!lb_tried_has(t, index))
        t->many[t->added++ % LB_TRIED_MAX] = index;
}

#endif
