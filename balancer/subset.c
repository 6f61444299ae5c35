/* SPDX-License-Identifier: Apache-2.0 */
/* Deterministic subsetting. Owns nothing that lasts. Any thread. */
#include "balancer/subset.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/gcd.h"
#include "balancer/hash.h"
#include "balancer/rng.h"
#include "proxy/base/mem.h"

/* The nth, the same in every process. */
static uint32_t *shuffle(const struct lb_group *group, uint64_t nth)
{
    struct lb_rng rng;
    uint32_t *circle = lb_group_order(group);
    lb_rng_seed(&rng, lb_hash_mix(nth));
    for (uint32_t left = group->count; left > 1; left--) {
        uint32_t k = (uint32_t)lb_rng_below(&rng, left), last = circle[left - 1];
        circle[left - 1] = circle[k];
        circle[k] = last;
    }
    return circle;
}

uint32_t *lb_subset_order(const struct lb_group *group, uint64_t client)
{
    uint64_t count = group->count, subset = group->options.subset;
    uint64_t clients = count / lb_gcd(count, subset); /* that go round and end where they began */
    CHECK(client < LB_CLIENTS && subset > 0);
    uint32_t *circle = shuffle(group, client / clients);
    uint32_t *order = mem_need(malloc(count * sizeof(*order)));
    uint64_t at = client % clients * subset % count;
    memcpy(order, circle + at, (count - at) * sizeof(*order));
    memcpy(order + count - at, circle, at * sizeof(*order));
    free(circle);
    return order;
}
