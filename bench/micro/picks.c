/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pick costs: every policy, with 2, 100 and 10,000 endpoints. Prints for each
 *
 *   pick     ns for lb_pick alone, with requests in flight and a key
 *   request  ns for a pick, its start and its finish
 *   refresh  us for a worker to learn that one endpoint went out of use or came back
 *   table    ms to build what the workers share
 *
 * as medians of a few rounds, and fails if a pick or a lease allocated anything. One thread, as a
 * worker: the counters are in no other core's cache. `picks POLICY ENDPOINTS` measures one, of
 * which bench/budget.py counts the instructions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "balancer/hash.h"
#include "balancer/lb.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define ROUNDS   7
#define PICKS    100000
#define REFRESH  50  /* of a round */
#define LEASES   512 /* out at a time */
#define STEP_US  5   /* between two picks */
#define WEIGHTS  4   /* 1 to 4 */
#define SELECTED (argc < 2 || strstr(argv[1], policy->name) != NULL)
#define SIZED    (argc < 3 || counts[k] == strtoul(argv[2], NULL, 10))

/* ---- allocations: the linker sends malloc and its kin here ---- */

static unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    allocations++;
    return __real_realloc(p, size);
}

/* ---- measuring ---- */

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), by_value);
    return values[ROUNDS / 2];
}

struct rig {
    struct lb_endpoint *endpoints;
    struct lb_group *group;
    struct lb *lb;
    struct lb_lease leases[LEASES];
    uint64_t now_us;
    uint64_t key;
    uint32_t sum; /* of what was picked, so that it is */
    double table_ms;
};

static void rig_init(struct rig *rig, const struct lb_policy *policy, uint32_t count)
{
    const struct lb_options options = {.bound = policy->uses_key ? 125 : 0};
    struct lb_endpoint **list = mem_need(malloc(count * sizeof(struct lb_endpoint *)));
    memset(rig, 0, sizeof(*rig));
    rig->endpoints = mem_need(aligned_alloc(LB_CACHE_LINE, count * sizeof(*rig->endpoints)));
    for (uint32_t i = 0; i < count; i++) {
        list[i] = &rig->endpoints[i];
        lb_endpoint_init(list[i], lb_hash_pair(i, 0), i, 1 + i % WEIGHTS);
    }
    double before = now_ns();
    rig->group = lb_group_new(policy, &options, list, count);
    rig->table_ms = (now_ns() - before) / 1e6;
    rig->lb = lb_new(rig->group, 1);
    rig->now_us = 1000000;
    free(list);
}

static void rig_fini(struct rig *rig)
{
    for (uint32_t k = 0; k < LEASES; k++)
        lb_lease_drop(&rig->leases[k], rig->now_us);
    lb_free(rig->lb);
    lb_group_free(rig->group);
    free(rig->endpoints);
}

static uint32_t pick(struct rig *rig)
{
    rig->now_us += STEP_US;
    int32_t i = lb_pick(rig->lb, lb_hash_mix(++rig->key), NULL, rig->now_us);
    CHECK(i >= 0);
    return (uint32_t)i;
}

/* A function of its own: callgrind counts what happens in it. */
__attribute__((noinline)) static double time_picks(struct rig *rig)
{
    double before = now_ns();
    for (uint32_t k = 0; k < PICKS; k++)
        rig->sum += pick(rig);
    return (now_ns() - before) / PICKS;
}

static double time_requests(struct rig *rig)
{
    double before = now_ns();
    for (uint32_t k = 0; k < PICKS; k++) {
        struct lb_lease *lease = &rig->leases[k % LEASES];
        if (lb_lease_started(lease))
            lb_finished(lease, LB_OK, STEP_US * LEASES + k % 97, rig->now_us);
        lb_started(rig->lb, lease, pick(rig), rig->now_us);
    }
    return (now_ns() - before) / PICKS;
}

static double time_refreshes(struct rig *rig)
{
    double took = 0;
    for (uint32_t k = 0; k < REFRESH; k++) {
        uint32_t i = (uint32_t)(lb_hash_mix(k / 2) % rig->group->count);
        lb_group_mark(rig->group, i, LB_DOWN, k % 2 == 0, rig->now_us);
        double before = now_ns();
        rig->sum += pick(rig);
        took += now_ns() - before;
    }
    return took / REFRESH / 1e3;
}

static void measure(const struct lb_policy *policy, uint32_t count)
{
    static struct rig rig;
    double picks[ROUNDS], requests[ROUNDS], refreshes[ROUNDS];
    rig_init(&rig, policy, count);
    time_requests(&rig); /* warm, and with requests in flight */
    unsigned long before = allocations;
    for (int k = 0; k < ROUNDS; k++) {
        requests[k] = time_requests(&rig);
        picks[k] = time_picks(&rig);
        refreshes[k] = time_refreshes(&rig);
    }
    CHECK(allocations == before);
    printf("%-12s %9u %8.1f ns %8.1f ns %8.1f us", policy->name, count, median(picks),
           median(requests), median(refreshes));
    if (rig.group->table != NULL)
        printf(" %8.2f ms", rig.table_ms);
    printf("\n");
    rig_fini(&rig);
}

int main(int argc, char **argv)
{
    static const uint32_t counts[] = {2, 100, 10000};
    const struct lb_policy *policy;
    printf("%-12s %9s %11s %11s %11s %11s\n", "policy", "endpoints", "pick", "request", "refresh",
           "table");
    for (size_t p = 0; (policy = lb_policy_at(p)) != NULL; p++)
        for (size_t k = 0; k < ARRAY_LEN(counts) && SELECTED; k++)
            if (SIZED)
                measure(policy, counts[k]);
    return 0;
}
