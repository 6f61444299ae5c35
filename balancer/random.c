/* SPDX-License-Identifier: Apache-2.0 */
/* random: each pick is an independent draw by weight. O(1) a pick. One worker's thread. */
#include <math.h>

#include "balancer/draw.h"

static void random_init(void *local, const struct lb_view *v, uint64_t seed)
{
    lb_draw_init(local, v, seed);
}

static void random_changed(void *local, const struct lb_view *v)
{
    lb_draw_changed(local, v);
}

static int32_t random_pick(void *local, const struct lb_view *v, uint64_t key,
                           const struct lb_tried *tried, uint64_t now_us)
{
    (void)key, (void)now_us;
    return tried == NULL ? lb_draw_any(local) : lb_draw_other(local, v, tried, LB_NONE);
}

static void random_scores(const void *local, const struct lb_view *v, uint64_t key, uint64_t now_us,
                          double *scores)
{
    (void)local, (void)key, (void)now_us;
    for (uint32_t i = 0; i < v->count; i++)
        scores[i] = v->weights[i] > 0 ? v->weights[i] / (double)v->total_weight : NAN;
}

const struct lb_policy lb_random = {
    .name = "random",
    .score_is = "the chance of being drawn",
    .local_size = lb_draw_size,
    .init = random_init,
    .changed = random_changed,
    .pick = random_pick,
    .scores = random_scores,
};
