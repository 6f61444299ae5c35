/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has registered as an endpoint of which pool, until when that is believed, and the file that
 * keeps it. Registering again, with the same, is the heartbeat, which changes no endpoints and is
 * not written down.
 *
 * Who is not heard of for its TTL has expired; but if nobody else has been heard of either, of
 * any pool, since half of that, it is more likely that nobody reaches weir than that all are gone:
 * then it is overdue, and stays. Once somebody is heard of again, each that is overdue has its TTL
 * once more to come back. The same holds after a restart, where each has its whole TTL.
 *
 *   registry -> pool -> registration        source (registry_source.c) ~> pool, by its name
 *
 * Control thread.
 */
#ifndef WEIR_DISCOVERY_REGISTRY_H
#define WEIR_DISCOVERY_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/base/list.h"
#include "proxy/base/span.h"

struct config_endpoints;

#define REGISTRY_ALL_MAX 40000 /* registrations of all pools */
#define REGISTRY_ID_GRAMMAR \
    "an id has 1 to 128 letters, digits, '.', '_', ':' or '-', and is not \".\" or \"..\""

struct registry;

/* state: the file, read now and written soon after each change; NULL: none. What cannot be read is
 * an error in the log, and nobody is registered. Never NULL. */
struct registry *registry_new(uv_loop_t *loop, const char *state);

/* Has what is not written yet be written; frees itself once the loop has run. NULL is fine. */
void registry_end(struct registry *r);

/* ---- changes ---- */

enum registry_done {
    REGISTRY_NEW,
    REGISTRY_CHANGED,
    REGISTRY_SAME,    /* a heartbeat */
    REGISTRY_FULL,    /* refused: the pool has max, or the registry REGISTRY_ALL_MAX */
    REGISTRY_ZONES,   /* refused: its endpoints would be in more zones than weir keeps apart */
    REGISTRY_INVALID, /* refused: what was said is wrong */
};

/* id: one that config_registration_id_ok, as for the others. said: an endpoint and its ttl, in
 * JSON. Another id of the same pool and address is forgotten: there is one endpoint at an address,
 * and this is the latest word of it. *wrong: lines that say what is wrong, malloc'd, of
 * REGISTRY_INVALID; else NULL. */
enum registry_done registry_put(struct registry *r, const char *pool, uint32_t max, const char *id,
                                struct span said, char **wrong);

/* False: it is not there. */
bool registry_remove(struct registry *r, const char *pool, const char *id);

/* Why somebody who wanted to register was sent away; what registry_put refuses counts itself. */
enum registry_refusal {
    REGISTRY_REFUSED_FULL,
    REGISTRY_REFUSED_ZONES,
    REGISTRY_REFUSED_INVALID, /* what was said is wrong */
    REGISTRY_REFUSED_POOL,    /* nobody can register for it */
    REGISTRY_REFUSED_HELD,
    REGISTRY_REFUSALS
};

void registry_refuse(struct registry *r, enum registry_refusal why);
uint64_t registry_refused(const struct registry *r, enum registry_refusal why);
const char *registry_refusal_name(enum registry_refusal why);

/* From now on, until it is released, nothing is to be changed, as another process reads the state;
 * who wants to is asked to come again. False: what has changed before is being written; settled
 * follows, whether it could be or not. May be called again. */
bool registry_hold(struct registry *r, void (*settled)(void *ctx), void *ctx);
void registry_release(struct registry *r);
bool registry_held(const struct registry *r);

/* ---- what there is ---- */

/* Valid until something changes. */
struct registry_entry {
    const char *id, *address;
    const char *zone; /* or NULL */
    uint32_t weight, priority;
    bool backup, drain;
    uint64_t ttl_ms, left_ms; /* left: 0 if it is overdue */
    bool overdue;
};

/* The one at index, by id. False: there are no more. */
bool registry_at(const struct registry *r, const char *pool, size_t index,
                 struct registry_entry *out);

/* False: it is not there. */
bool registry_find(const struct registry *r, const char *pool, const char *id,
                   struct registry_entry *out);

/* Of a pool since the start; all zero for one that nobody has registered for. */
struct registry_counts {
    size_t entries, overdue; /* now */
    uint64_t registered, renewed, changed, removed, replaced, expired;
};

void registry_counts(const struct registry *r, const char *pool, struct registry_counts *out);

/* Of the state's file. */
struct registry_saved {
    const char *path;  /* NULL: there is none */
    const char *error; /* why it could not be written last; or NULL */
    uint64_t errors;
};

void registry_saved(const struct registry *r, struct registry_saved *out);

/* ---- who reads ---- */

/* Who is told of a pool's changes. */
struct registry_reader {
    struct list_node link;
    const char *pool; /* stays the reader's */
    /* From within registry_put and the like, and from the loop. certain: somebody said so, nothing
     * expired. */
    void (*changed)(struct registry_reader *reader, bool certain);
};

void registry_read(struct registry *r, struct registry_reader *reader);
void registry_read_end(struct registry_reader *reader);

/* All of the pool, a reference; *overdue: how many of them are. Never NULL. */
struct config_endpoints *registry_endpoints(const struct registry *r, const char *pool,
                                            size_t *overdue);

#endif
