/* SPDX-License-Identifier: Apache-2.0 */
/* The retry budget: a ring of tenths of the window for each worker. Owns the cells; no I/O, no
 * clock, no lock. A cell is written by its worker and read by any. */
#include "balancer/budget.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "balancer/endpoint.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define SLOTS 10

/* A tenth of the window in one word, so that whoever reads it has parts that belong together: its
 * number (modulo 2^16), the retries and the requests in it. Counts stay at their largest value. */
#define COUNT_BITS 24
#define COUNT_MAX  ((UINT64_C(1) << COUNT_BITS) - 1)
#define TENTH_MASK UINT64_C(0xffff)

struct cell {
    alignas(LB_CACHE_LINE) _Atomic uint64_t slots[SLOTS];
};

struct lb_budget {
    struct lb_budget_rule rule;
    uint32_t workers;
    struct cell cells[];
};

struct lb_budget_rule lb_budget_default(void)
{
    return (struct lb_budget_rule){LB_BUDGET_PERCENT, LB_BUDGET_MIN_RATE, LB_BUDGET_WINDOW_US};
}

struct lb_budget *lb_budget_new(const struct lb_budget_rule *rule, uint32_t workers)
{
    CHECK(workers > 0 && rule->percent <= 100 && rule->min_rate <= 1000000);
    CHECK(rule->window_us >= SLOTS);
    size_t size = sizeof(struct lb_budget) + workers * sizeof(struct cell);
    struct lb_budget *b = mem_need(aligned_alloc(LB_CACHE_LINE, size));
    b->rule = *rule;
    b->workers = workers;
    for (uint32_t w = 0; w < workers; w++)
        for (uint32_t i = 0; i < SLOTS; i++)
            atomic_init(&b->cells[w].slots[i], 0);
    return b;
}

void lb_budget_follow(struct lb_budget *budget, const struct lb_budget *before)
{
    if (budget->rule.window_us != before->rule.window_us)
        return;
    CHECK(budget->workers == before->workers);
    for (uint32_t w = 0; w < budget->workers; w++)
        for (uint32_t i = 0; i < SLOTS; i++)
            atomic_init(&budget->cells[w].slots[i],
                        atomic_load_explicit(&before->cells[w].slots[i], memory_order_relaxed));
}

void lb_budget_free(struct lb_budget *budget)
{
    free(budget);
}

/* Counted from 1, so that a zeroed slot belongs to none. */
static uint64_t tenth_of(const struct lb_budget *b, uint64_t now_us)
{
    return now_us / (b->rule.window_us / SLOTS) + 1;
}

static uint64_t requests_of(uint64_t slot)
{
    return slot & COUNT_MAX;
}

static uint64_t retries_of(uint64_t slot)
{
    return slot >> COUNT_BITS & COUNT_MAX;
}

/* Whether a slot's tenth is in the window that ends with this one. A slot that nobody has written
 * to for so long that the number comes round again would be taken for new: 65,536 tenths are 18
 * hours of the default window, and a pool that sleeps so long has a small count in it. */
static bool in_window(uint64_t slot, uint64_t tenth)
{
    return slot != 0 && ((tenth - (slot >> 2 * COUNT_BITS)) & TENTH_MASK) < SLOTS;
}

static void count(struct lb_budget *b, uint32_t worker, uint64_t tenth, uint64_t shift)
{
    DCHECK(worker < b->workers);
    _Atomic uint64_t *at = &b->cells[worker].slots[tenth % SLOTS];
    uint64_t slot = atomic_load_explicit(at, memory_order_relaxed);
    if (slot == 0 || slot >> 2 * COUNT_BITS != (tenth & TENTH_MASK))
        slot = (tenth & TENTH_MASK) << 2 * COUNT_BITS;
    if ((slot >> shift & COUNT_MAX) < COUNT_MAX)
        slot += UINT64_C(1) << shift;
    atomic_store_explicit(at, slot, memory_order_relaxed);
}

void lb_budget_request(struct lb_budget *budget, uint32_t worker, uint64_t now_us)
{
    count(budget, worker, tenth_of(budget, now_us), 0);
}

/* What has been counted in the window that ends with this tenth. */
static void add_up(const struct lb_budget *b, uint64_t tenth, uint64_t *requests, uint64_t *retries)
{
    *requests = *retries = 0;
    for (uint32_t w = 0; w < b->workers; w++)
        for (uint32_t i = 0; i < SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&b->cells[w].slots[i], memory_order_relaxed);
            if (!in_window(slot, tenth))
                continue;
            *requests += requests_of(slot);
            *retries += retries_of(slot);
        }
}

/* How many retries go with so many requests. */
static uint64_t allowed(const struct lb_budget_rule *rule, uint64_t requests)
{
    uint64_t part = requests * rule->percent / 100;
    uint64_t least = rule->min_rate * rule->window_us / 1000000;
    return part > least ? part : least;
}

uint64_t lb_budget_left(const struct lb_budget *budget, uint64_t now_us)
{
    uint64_t requests, retries;
    add_up(budget, tenth_of(budget, now_us), &requests, &retries);
    uint64_t most = allowed(&budget->rule, requests);
    return most > retries ? most - retries : 0;
}

bool lb_budget_retry(struct lb_budget *budget, uint32_t worker, uint64_t now_us)
{
    uint64_t tenth = tenth_of(budget, now_us), requests, retries;
    add_up(budget, tenth, &requests, &retries);
    bool within = retries < allowed(&budget->rule, requests);
    if (within)
        count(budget, worker, tenth, COUNT_BITS);
    return within;
}
