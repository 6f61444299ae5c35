/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the process after its configuration is known: workers, admin, signals, draining. The
 * control thread is the one that calls control_run.
 */
#ifndef WEIR_CONTROL_H
#define WEIR_CONTROL_H

#include "proxy/snapshot.h"
#include "proxy/access_log.h"

struct runtime_centre;
struct discovery;

/* A configuration to go over to. */
struct control_load {
    struct snapshot *snapshot; /* a reference, taken over */
    int *sockets; /* [worker * n_listeners + listener]; the descriptors are taken over, the
                     array is freed. -1: the listener has that of the snapshot before */
    uint64_t shutdown_ms;
    const char *watched; /* the file that it was read from, if that is to be watched; or NULL */
    uint64_t state;      /* of the file, before it was read; set also if nothing came of it */
};

/* A descriptor, which is taken over, that a worker listens on besides. */
struct listen_more {
    unsigned worker;
    size_t listener;
    int fd;
};

struct plan_live;

struct control_options {
    struct control_load first;
    unsigned n_workers;
    int admin_socket; /* taken over; -1: no admin listener */
    bool admin_unix;
    const char *admin_token;            /* NULL: none is needed */
    const char *registry_token;         /* for /registry alone; NULL: there is none */
    const struct tls_source *admin_tls; /* NULL: plain text */
    bool admin_probes;                  /* all that clients on other machines may ask for */
    struct net_addr admin;              /* that it was to be bound to */
    const struct listen_more *more;     /* sockets of the first beyond one for each worker */
    const char *registry_state;         /* file; NULL: none */
    size_t n_more;
    int launcher;               /* launcher.h; stays the caller's */
    struct access_log *log;     /* or NULL; stays the caller's */
    uint32_t flights;           /* records of each kind that a worker keeps: flight.h */
    bool (*serving)(void *ctx); /* called once when every worker listens; false: give up */
    /* Reads the configuration again. False: nothing is to change. *said: what there is to say of
     * it, malloc'd lines. NULL: there is nothing to read. */
    bool (*load)(void *ctx, struct control_load *to, char **said);
    struct runtime_centre *centre; /* that load reads from, if that is no file; or NULL */
    /* As that of admin_view. */
    struct span (*plan)(void *ctx, const struct plan_live *live, const char *name, struct span text,
                        bool json, unsigned *status);
    /* What was loaded last comes to nothing: it serves nobody any more. */
    void (*dropped)(void *ctx);
    /* Endpoints have been found: the same configuration with these. Without a snapshot nothing is
     * to change. False: they cannot be used yet. */
    bool (*found)(void *ctx, const struct discovery *found, struct control_load *to);
    /* All workers serve what was loaded last, but for exchanges that began before. */
    void (*loaded)(void *ctx);
    void *ctx;
};

/*
 * Serves until SIGTERM or SIGINT, then drains. SIGTERM: /readyz turns 503 and new work is still
 * served for a moment (a sixth of shutdown_ms, at most 5 s; only if there is an admin listener to
 * ask, and less what has passed since that was asked to drain); then listeners close, keep-alive
 * ends, and the process is done when idle or at shutdown_ms. SIGINT leaves the moment out. A second
 * signal ends it at once. SIGHUP reloads (options.load). SIGUSR2 starts a new process that takes
 * over (upgrade.h); then this one takes no new conns and is done when the last one has ended, or at
 * shutdown_ms. 0, or 1 when it could not start.
 */
int control_run(const struct control_options *options);

#endif
