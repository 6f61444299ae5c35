/* SPDX-License-Identifier: Apache-2.0 */
/* Registrations by pool and id. Owns them; must never know of time. Control thread. */
#include "proxy/discovery/registry_table.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/endpoint.h"
#include "proxy/base/check.h"
#include "proxy/base/mem.h"
#include "proxy/net/addr.h"

/* ---- pools ---- */

struct registry_pool *registry_table_pool(const struct registry_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->pools[i]->name, name) == 0)
            return t->pools[i];
    return NULL;
}

struct registry_pool *registry_table_need(struct registry_table *t, const char *name)
{
    struct registry_pool *p = registry_table_pool(t, name);
    if (p != NULL)
        return p;
    t->pools = mem_need(realloc(t->pools, (t->n + 1) * sizeof(struct registry_pool *)));
    p = t->pools[t->n++] = mem_need(calloc(1, sizeof(*p)));
    p->name = mem_need(strdup(name));
    return p;
}

/* ---- entries ---- */

/* Where it is, or belongs. */
static size_t place_of(const struct registry_pool *p, const char *id, bool *there)
{
    size_t low = 0, high = p->n;
    *there = false;
    while (low < high && !*there) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(p->entries[mid]->id, id);
        *there = order == 0;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return *there ? high : low;
}

struct registration *registry_pool_find(const struct registry_pool *p, const char *id)
{
    bool there = false;
    size_t i = p != NULL ? place_of(p, id, &there) : 0;
    return there ? p->entries[i] : NULL;
}

struct registration *registry_table_add(struct registry_table *t, struct registry_pool *p,
                                        const char *id)
{
    bool there;
    size_t i = place_of(p, id, &there);
    CHECK(!there);
    if (p->n == p->room) {
        p->room = p->room > 0 ? 2 * p->room : 8;
        p->entries = mem_need(realloc(p->entries, p->room * sizeof(struct registration *)));
    }
    memmove(p->entries + i + 1, p->entries + i, (p->n - i) * sizeof(struct registration *));
    struct registration *e = p->entries[i] = mem_need(calloc(1, sizeof(*e)));
    e->id = mem_need(strdup(id));
    p->n++;
    t->all++;
    return e;
}

/* An address has many texts, [::1]:80 and [0:0::1]:80; of it as it was written this has no copy. */
static void print_address(const struct config_addr *from, char out[NET_ADDR_TEXT])
{
    struct net_addr addr;
    bool ok = from->kind == CONFIG_ADDR_UNIX ? net_addr_unix(&addr, from->path)
                                             : net_addr_ip(&addr, from->host, from->port);
    CHECK(ok); /* whoever is found has an address */
    net_addr_print(&addr, out);
}

void registration_set(struct registration *e, const struct config_registration *what,
                      struct config_mem *mem)
{
    char at[NET_ADDR_TEXT];
    print_address(&what->endpoint.address, at);
    free(e->at);
    config_mem_free(e->mem);
    e->at = mem_need(strdup(at));
    e->what = *what;
    e->mem = mem;
    e->hash = config_registration_hash(what);
}

void registry_table_overdue(struct registry_table *t, struct registry_pool *p,
                            struct registration *e, bool overdue)
{
    t->overdue += (size_t)overdue - (size_t)e->overdue;
    p->overdue += (size_t)overdue - (size_t)e->overdue;
    e->overdue = overdue;
}

void registry_table_drop(struct registry_table *t, struct registry_pool *p, size_t index)
{
    struct registration *e = p->entries[index];
    registry_table_overdue(t, p, e, false);
    memmove(p->entries + index, p->entries + index + 1,
            (p->n - index - 1) * sizeof(struct registration *));
    p->n--;
    t->all--;
    config_mem_free(e->mem);
    free(e->at);
    free(e->id);
    free(e);
}

bool registry_table_remove(struct registry_table *t, struct registry_pool *p, const char *id)
{
    bool there = false;
    size_t i = p != NULL ? place_of(p, id, &there) : 0;
    if (there)
        registry_table_drop(t, p, i);
    return there;
}

/* ---- what goes together ---- */

const struct registration *registry_pool_at(const struct registry_pool *p,
                                            const struct config_addr *address, const char *id)
{
    char at[NET_ADDR_TEXT];
    print_address(address, at);
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->entries[i]->at, at) == 0 && strcmp(p->entries[i]->id, id) != 0)
            return p->entries[i];
    return NULL;
}

bool registry_pool_fits_zone(const struct registry_pool *p, const char *zone,
                             const struct registration *const gone[2])
{
    const char *zones[LB_ZONES - 1];
    size_t n = 0;
    if (zone == NULL)
        return true;
    for (size_t i = 0; i < p->n; i++) {
        const char *its = p->entries[i]->what.endpoint.zone;
        size_t z = 0;
        if (p->entries[i] == gone[0] || p->entries[i] == gone[1] || its == NULL)
            continue;
        if (strcmp(its, zone) == 0)
            return true;
        while (z < n && strcmp(zones[z], its) != 0)
            z++;
        if (z == n && n < ARRAY_LEN(zones))
            zones[n++] = its;
    }
    return n < ARRAY_LEN(zones);
}

struct config_endpoints *registry_pool_endpoints(const struct registry_pool *p)
{
    size_t n = p != NULL ? p->n : 0;
    const struct config_endpoint **all = mem_need(calloc(n + 1, sizeof(*all)));
    struct config_errors errs = {0};
    for (size_t i = 0; i < n; i++)
        all[i] = &p->entries[i]->what.endpoint;
    struct config_endpoints *set = config_endpoints_join(all, n, &errs);
    CHECK(set != NULL); /* what would not go together was refused */
    config_errors_free(&errs);
    free(all);
    return set;
}

/* ---- all of them ---- */

struct config_registered *registry_table_describe(const struct registry_table *t,
                                                  struct config_mem *mem)
{
    struct config_registered *all = config_mem_alloc(mem, 1, sizeof(*all));
    all->version = 1;
    all->pools = config_mem_alloc(mem, t->n, sizeof(*all->pools));
    for (size_t i = 0; i < t->n; i++) {
        const struct registry_pool *p = t->pools[i];
        if (p->n == 0)
            continue;
        struct config_registered_pool *to = &all->pools[all->count++];
        to->name = p->name;
        to->count = p->n;
        to->items = config_mem_alloc(mem, p->n, sizeof(*to->items));
        for (size_t k = 0; k < p->n; k++) {
            to->items[k] = p->entries[k]->what;
            to->items[k].id = p->entries[k]->id;
        }
    }
    return all;
}

void registry_table_fini(struct registry_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        struct registry_pool *p = t->pools[i];
        while (p->n > 0)
            registry_table_drop(t, p, p->n - 1);
        free(p->entries);
        free(p->name);
        free(p);
    }
    free(t->pools);
}
