/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registrations by pool and id, and what of them goes together. No clock, no file, no I/O. Control
 * thread.
 */
#ifndef WEIR_DISCOVERY_REGISTRY_TABLE_H
#define WEIR_DISCOVERY_REGISTRY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "config/mem.h"
#include "proxy/discovery/registry.h"

struct registration {
    char *id;
    char *at; /* its address, as all have it that have the same */
    struct config_registration what;
    struct config_mem *mem; /* of what; NULL: somebody else's, who outlives it */
    uint64_t hash;          /* of what */
    uint64_t due_ms;        /* the registry's: loop's time */
    bool overdue;
    bool reprieved; /* it has been overdue, and has not been heard of since */
};

struct registry_pool {
    char *name;
    struct registration **entries; /* by id */
    size_t n, room;
    size_t overdue;                /* of them */
    struct registry_counts counts; /* but for what there is now */
};

/* All zero: empty. */
struct registry_table {
    struct registry_pool **pools;
    size_t n;
    size_t all, overdue; /* registrations of all of them */
};

void registry_table_fini(struct registry_table *t);

/* The pool of that name; NULL: nobody has ever registered for it. */
struct registry_pool *registry_table_pool(const struct registry_table *t, const char *name);
/* ... or a new one. */
struct registry_pool *registry_table_need(struct registry_table *t, const char *name);

/* NULL: there is none, or no pool. */
struct registration *registry_pool_find(const struct registry_pool *p, const char *id);
/* Of an id that is not there; it has yet to be set. */
struct registration *registry_table_add(struct registry_table *t, struct registry_pool *p,
                                        const char *id);
/* mem: see there. */
void registration_set(struct registration *e, const struct config_registration *what,
                      struct config_mem *mem);
void registry_table_overdue(struct registry_table *t, struct registry_pool *p,
                            struct registration *e, bool overdue);
/* Frees the one at index. */
void registry_table_drop(struct registry_table *t, struct registry_pool *p, size_t index);
/* False: it is not there, or the pool (NULL) is not. */
bool registry_table_remove(struct registry_table *t, struct registry_pool *p, const char *id);

/* Whoever else than id is at that address; NULL: nobody. */
const struct registration *registry_pool_at(const struct registry_pool *p,
                                            const struct config_addr *address, const char *id);
/* Would there be no more zones than weir keeps apart, without those who are gone then (or NULL)? */
bool registry_pool_fits_zone(const struct registry_pool *p, const char *zone,
                             const struct registration *const gone[2]);

/* A reference to all of the pool, of which there may be none (NULL). Never NULL. */
struct config_endpoints *registry_pool_endpoints(const struct registry_pool *p);

/* As it is written down; what is in it is the table's. */
struct config_registered *registry_table_describe(const struct registry_table *t,
                                                  struct config_mem *mem);

#endif
