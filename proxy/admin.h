/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener: /livez, /readyz, /metrics, /pools (admin_pools.h), /requests
 * (admin_requests.h), /registry (admin_registry.h), /generations and POST /reload (admin_reload.h),
 * POST /plan (admin_plan.h), /drain (admin_drain.h), on the control thread's reactor, built of the
 * same codec as a worker.
 */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include "proxy/canary.h"
#include "proxy/cert_watch.h"
#include "proxy/discovery/discovery.h"
#include "proxy/upstream/health.h"
#include "proxy/worker.h"

struct admin;
struct plan_live;
struct registry;
struct tls_source;

/* Of reloads since the start. */
struct reload_stats {
    uint64_t done, failed;
    uint64_t promoted, rolled_back; /* canaries, which are among those */
    uint64_t generation;            /* that serves */
    uint64_t generations;           /* that there are: it, one on trial, and older ones in use */
    uint64_t last_s;                /* Unix time of the last one's end; 0: there was none */
    bool last_failed;
    const char *said; /* of the last: lines, or NULL */
};

struct exporter;

/* What the pages show; lives longer than the admin. */
struct admin_view {
    struct worker *workers;
    unsigned n_workers;
    const struct snapshot *snapshot;
    const struct access_log *log;   /* or NULL */
    const struct cert_watch *certs; /* or NULL */
    const struct health *health;
    const struct discovery *discovery;   /* NULL: it has ended */
    const struct runtime_centre *centre; /* that the configuration is from; or NULL */
    struct exporter *exporter;
    struct registry *registry; /* NULL, too */
    struct reload_stats reloads;
    const struct list_node *generations; /* generation.h; the oldest first */
    const struct canary *canary;         /* of the newest generation; NULL: it serves */
    /* Asks for a reload, and returns which: admin_reloaded is called with that number, or a larger
     * one, later. canary: NULL, or how it is tried first. NULL: there is no file. */
    uint64_t (*reload)(void *ctx, const struct canary_ask *canary);
    /* What a reload of that text would change (plan.h): as lines or JSON, with status 200; or what
     * is wrong with it, with 422. malloc's. */
    struct span (*plan)(void *ctx, const struct plan_live *live, const char *name, struct span text,
                        bool json, unsigned *status);
    /* Is to take the process out of service; again is fine. */
    void (*drain)(void *ctx);
    void *ctx;
    uint64_t upgrades_failed;        /* binary upgrades that came to nothing */
    uint64_t draining_us;            /* when that was first asked for, by uv_hrtime; 0: not yet */
    bool ready;                      /* false: the end has begun, or */
    bool starting;                   /* ... the beginning has not ended */
    uint64_t started_s;              /* Unix time */
    struct span token;               /* that requests need; empty: none */
    struct span registry_token;      /* as good for /registry, and for nothing else; empty: none */
    const struct tls_source *tls;    /* of the listener; NULL: plain text */
    const struct admin_tls *own_tls; /* what has become of that; NULL, too */
    bool probes;  /* clients on other machines may ask for those, and for nothing else */
    bool is_unix; /* how it is listened */
};

/* Its certificates, as long as it; NULL: plain text. */
const struct admin_tls *admin_own_tls(const struct admin *admin);

/* Serves on a listening socket, which is taken over. NULL with *err set to a libuv error. */
struct admin *admin_new(struct reactor *r, const struct admin_view *view, int fd, bool is_unix,
                        int *err);

/* All reloads up to that one are over; said: what there was to say of the last, lines, or NULL. */
void admin_reloaded(struct admin *admin, uint64_t reload, bool done, const char *said);

/* A worker has something to tell. NULL is fine. */
void admin_told(struct admin *admin);

/* Lets go of the listening socket, which another process has too; its conns go with their next
 * answer. */
void admin_leave(struct admin *admin);

/* Stops listening and closes its conns; the loop must run before admin_free, for
 * which NULL is fine. */
void admin_close(struct admin *admin);
void admin_free(struct admin *admin);

#endif
