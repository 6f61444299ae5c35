/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the endpoints of a pool come from, if not from the configuration itself: one interface for
 * all kinds. A source asks or watches somebody, for as long as it runs, and says what it was told;
 * what to make of that (belief.h) is not its part. It never waits: everything is driven by the
 * loop. It retries by itself, with backoff.h between failures. Control thread.
 */
#ifndef WEIR_DISCOVERY_SOURCE_H
#define WEIR_DISCOVERY_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "config/config.h"
#include "proxy/net/addr.h"
#include "proxy/net/reactor.h"

#define SOURCE_ENDPOINTS_MAX 65536 /* of one source; more is an error */

struct registry;
struct etcd_spec;
struct source;

/* What a source works with. Lives as long as any. */
struct source_world {
    struct reactor *reactor;
    struct registry *registry; /* NULL: nobody can register */
};

/* What was configured: copied, for it is needed as long as nothing else is configured. Counted. */
struct source_spec {
    uint32_t refs;
    uint64_t identity; /* of what was configured: the same number, the same answers */
    const struct source_kind *kind;
    char *text; /* for messages: "dns app.internal", "file /etc/weir/app.yaml" */
    char *name; /* the DNS name, the prefix, the path, the Service, the pool */
    enum config_dns_type type;
    uint16_t port;
    struct net_addr server; /* len 0: those of resolv.conf */
    uint64_t min_ttl_ms, max_ttl_ms;
    uint32_t max; /* that may register */
    struct etcd_spec *etcd;
    struct source_kubernetes {
        char *namespace, *port, *kubeconfig, *credentials; /* as configured; or NULL */
        char *zone;                                        /* that weir is in; or NULL */
    } kubernetes;                                          /* its name: the Service's */
};

/* What a source says; called from the loop, never from within a call to it. */
struct source_events {
    /* All endpoints there are: a reference, which is taken over. note: why there are none, static;
     * or NULL. */
    void (*answered)(struct source *source, struct config_endpoints *all, const char *note);
    /* Nothing could be learnt, or, behind an answer, not all of it. why: one line that says what to
     * do. */
    void (*failed)(struct source *source, const char *why);
    /* What was answered last need not be confirmed, though it may be that there are none. */
    void (*certain)(struct source *source);
};

/* One kind of source. */
struct source_kind {
    const char *name; /* as its key in a pool */
    /* Begins to ask or to watch; events follow. spec is the source's, a reference. Never NULL. */
    struct source *(*start)(const struct source_world *world, struct source_spec *spec,
                            const struct source_events *events, void *owner);
    /* Asks again, soon: an event follows, if one was not on its way. */
    void (*ask)(struct source *source);
    /* No event follows. Frees itself once the loop has run. */
    void (*stop)(struct source *source);
};

/* What all kinds begin with. */
struct source {
    uint32_t magic; /* the kind's */
    struct source_spec *spec;
    const struct source_events *events;
    void *owner;
};

extern const struct source_kind source_dns, source_etcd, source_file, source_kubernetes,
    source_registry;

/* Of a pool that discovers; NULL for others. zone: that weir is in; or NULL. */
struct source_spec *source_spec_new(const struct config_pool *pool, const char *zone);
/* Returns spec. */
struct source_spec *source_spec_ref(struct source_spec *spec);
/* The last one frees it. NULL is fine. */
void source_spec_unref(struct source_spec *spec);

#define SOURCE_WHY 1024

/* The first error, with its place, and how many more there are. Returns out. */
const char *source_first_error(const struct config_errors *errs, char out[SOURCE_WHY]);

#endif
