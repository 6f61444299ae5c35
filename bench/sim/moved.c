/* SPDX-License-Identifier: Apache-2.0 */
/* How many keys move when an endpoint is taken off the list. Pure. One thread. */
#include <stdlib.h>

#include "balancer/hash.h"
#include "balancer/lb.h"
#include "bench/sim/run.h"
#include "proxy/base/mem.h"

#define KEYS 100000

/* The endpoints of all keys, in a pool of n. */
static void map_keys(const struct lb_policy *policy, uint32_t n, int32_t *where)
{
    struct lb_endpoint *all = mem_need(aligned_alloc(LB_CACHE_LINE, n * sizeof(*all)));
    struct lb_endpoint **list = mem_need(malloc(n * sizeof(struct lb_endpoint *)));
    for (uint32_t i = 0; i < n; i++) {
        lb_endpoint_init(&all[i], lb_hash_pair(i, 0), i, 1);
        list[i] = &all[i];
    }
    struct lb_group *group = lb_group_new(policy, NULL, list, n);
    struct lb *lb = lb_new(group, 1);
    for (uint32_t k = 0; k < KEYS; k++)
        where[k] = lb_pick(lb, lb_hash_pair(k, 1), NULL, 1);
    lb_free(lb);
    lb_group_free(group);
    free(list);
    free(all);
}

double sim_keys_moved(const struct lb_policy *policy, uint32_t n)
{
    if (!policy->uses_key || n < 2)
        return -1;
    int32_t *before = mem_need(malloc(KEYS * sizeof(*before)));
    int32_t *after = mem_need(malloc(KEYS * sizeof(*after)));
    uint32_t others = 0, moved = 0;
    map_keys(policy, n, before);
    map_keys(policy, n - 1, after);
    for (uint32_t k = 0; k < KEYS; k++) {
        bool others_key = before[k] != (int32_t)n - 1;
        others += others_key;
        moved += others_key && after[k] != before[k];
    }
    free(before);
    free(after);
    return (double)moved / others;
}
