/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin listener: /livez, /readyz, /metrics, /pools (admin_pools.h), on the control thread's
 * reactor, built of the same codec as a worker.
 */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include "proxy/cert_watch.h"
#include "proxy/upstream/health.h"
#include "proxy/worker.h"

struct admin;

/* What the pages show; lives longer than the admin. */
struct admin_view {
    struct worker *workers;
    unsigned n_workers;
    const struct snapshot *snapshot;
    const struct access_log *log;   /* or NULL */
    const struct cert_watch *certs; /* or NULL */
    const struct health *health;
    bool ready;
};

/* Serves on a listening socket, which is taken over. NULL with *err set to a libuv error. */
struct admin *admin_new(struct reactor *r, const struct admin_view *view, int fd, bool is_unix,
                        int *err);

/* Stops listening and closes its conns; the loop must run before admin_free, for
 * which NULL is fine. */
void admin_close(struct admin *admin);
void admin_free(struct admin *admin);

#endif
