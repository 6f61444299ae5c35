/* SPDX-License-Identifier: Apache-2.0 */
/*
 * p2c: of two different endpoints drawn by weight, the one with fewer requests in flight over its
 * weight, counted over all workers; at a tie the first draw, so that an idle pool is shared by
 * weight. O(1) a pick. One worker's thread.
 */
#include "balancer/draw.h"

static void p2c_init(void *local, const struct lb_view *v, uint64_t seed)
{
    lb_draw_init(local, v, seed);
}

static void p2c_changed(void *local, const struct lb_view *v)
{
    lb_draw_changed(local, v);
}

static bool less_busy(const struct lb_view *v, uint32_t a, uint32_t b)
{
    return (uint64_t)lb_view_in_flight(v, a) * v->weights[b] <
           (uint64_t)lb_view_in_flight(v, b) * v->weights[a];
}

static int32_t p2c_pick(void *local, const struct lb_view *v, uint64_t key,
                        const struct lb_tried *tried, uint64_t now_us)
{
    (void)key, (void)now_us;
    int32_t a = tried == NULL ? lb_draw_any(local) : lb_draw_other(local, v, tried, LB_NONE);
    int32_t b = a == LB_NONE ? LB_NONE : lb_draw_other(local, v, tried, a);
    return b != LB_NONE && less_busy(v, (uint32_t)b, (uint32_t)a) ? b : a;
}

static void p2c_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                       double *scores)
{
    (void)local, (void)key, (void)now_us;
    lb_scores_busy(v, scores);
}

const struct lb_policy lb_p2c = {
    .name = "p2c",
    .score_is = "requests in flight over weight: of two that are drawn by weight, the lower wins",
    .local_size = lb_draw_size,
    .init = p2c_init,
    .changed = p2c_changed,
    .pick = p2c_pick,
    .scores = p2c_scores,
};
