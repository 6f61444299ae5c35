/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the process after its configuration is known: workers, admin, signals, draining. The
 * control thread is the one that calls control_run.
 */
#ifndef WEIR_CONTROL_H
#define WEIR_CONTROL_H

#include "proxy/snapshot.h"
#include "proxy/access_log.h"

struct control_options {
    struct snapshot *snapshot;
    unsigned n_workers;
    int *sockets;     /* [worker * n_listeners + listener]; taken over */
    int admin_socket; /* taken over; -1: no admin listener */
    bool admin_unix;
    struct access_log *log; /* or NULL; stays the caller's */
    uint64_t shutdown_ms;
    bool (*serving)(void *ctx); /* called once when every worker listens; false: give up */
    void *ctx;
};

/*
 * Serves until SIGTERM or SIGINT, then drains. SIGTERM: /readyz turns 503 and new work is still
 * served for a moment (a sixth of shutdown_ms, at most 5 s; only if there is an admin listener to
 * ask); then listeners close, keep-alive ends, and the process is done when idle or at shutdown_ms.
 * SIGINT leaves the moment out. A second signal ends it at once. 0, or 1 when it could not start.
 */
int control_run(const struct control_options *options);

#endif
