/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoints of all pools that discover them: runs the sources, keeps what is believed of their
 * answers (belief.h), and says when that has changed. A source that fails leaves what is known as
 * it is. Control thread.
 *
 *   discovery -> pool -> source (source.h), belief -> config_endpoints (counted)
 */
#ifndef WEIR_DISCOVERY_DISCOVERY_H
#define WEIR_DISCOVERY_DISCOVERY_H

#include "proxy/discovery/source.h"

struct discovery;

/* A pool, and where its endpoints come from; NULL: it is of no interest here. */
struct discovery_pool {
    const char *name;
    struct source_spec *spec;
    struct config_endpoints *has; /* those that it has, wherever they came from; NULL: none yet */
};

/* What is in use of some pools is not what discovery_endpoints says any more. From the loop. */
typedef void discovery_changed_fn(void *ctx);

/* No sources yet. Never NULL. */
struct discovery *discovery_new(const struct source_world *world, discovery_changed_fn *changed,
                                void *ctx);

/* Runs the sources of these pools and no others: a pool of the same name with the same source goes
 * on; with another, or its first, it begins with what it has. */
void discovery_use(struct discovery *d, const struct discovery_pool *pools, size_t n);

/* Of a pool with that source, as believed now; NULL: nothing is known yet, or it is another
 * source. Valid until the loop runs; who keeps it counts itself. */
struct config_endpoints *discovery_endpoints(const struct discovery *d, const char *pool,
                                             const struct source_spec *spec);

/* What was told could not be used: it is told again in a while. */
void discovery_again(struct discovery *d);

/* How many sources have yet to answer for the first time. */
size_t discovery_missing(const struct discovery *d);

/* Valid until the loop runs. */
struct discovery_status {
    const struct source_spec *spec;
    bool known;        /* there was an answer */
    size_t count;      /* of endpoints */
    uint64_t age_ms;   /* since the last answer, or since the source was started */
    uint64_t since_ms; /* since they have been what they are */
    uint64_t answers, changes, errors;
    const char *error;  /* why it failed last, if it has not answered since; or NULL */
    const char *note;   /* why the last answer was an empty one; or NULL */
    uint64_t failed_ms; /* since it fails without an answer */
};

/* False: no pool of that name discovers. d may be NULL. */
bool discovery_status(const struct discovery *d, const char *pool, struct discovery_status *out);

#define DISCOVERY_WHY 300

/* What there is to tell clients of a source: said; NULL: that it has not answered yet. Printable
 * ASCII without quotes. */
void discovery_tell(const struct source_spec *spec, const char *said, char out[DISCOVERY_WHY]);

/* Why the pool has no endpoints, as above. False, and empty: it has some, or does not discover. */
bool discovery_why_none(const struct discovery *d, const char *pool, char out[DISCOVERY_WHY]);

/* Ends all sources; frees itself once the loop has run. NULL is fine. */
void discovery_end(struct discovery *d);

#endif
