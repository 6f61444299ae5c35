/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving over to another program, or another version of this one, without a refused connection. The
 * old process starts the new one (launcher.h) and gives it, by a channel of packets, all listening
 * sockets and the keys of session tickets. The new one reads its configuration, listens, and says
 * "ready"; only then the old one stops accepting, says "go", and drains. If the new one ends, or
 * says nothing for too long, nothing has changed. takeover.h is the other side. Packets, of which
 * those of an unknown kind are to be ignored:
 *
 *   old -> new   weir 1 N               N: this is the N-th upgrade since the first start
 *                managed                + a socket of the service manager's
 *                socket NAME ADDRESS    + one of the listener's (no NAME: the admin's), whose
 *                                       address this was to be
 *                tickets NAME BYTES     of the listener
 *                end
 *   new -> old   left NAME ADDRESS      a socket that it has closed: it has no such listener
 *                ready PID
 *                failed WHY
 *   old -> new   go
 *
 * Control thread.
 */
#ifndef WEIR_UPGRADE_H
#define WEIR_UPGRADE_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "proxy/worker.h"

struct upgrade;

/* What is given over: valid and unchanged until done is called. */
struct upgrade_offer {
    const struct worker *workers;
    unsigned n_workers;
    const struct snapshot *snapshot; /* that all workers serve */
    int admin_socket;                /* -1: none */
    const struct net_addr *admin;    /* as it was to be bound */
};

struct upgrade_options {
    uv_loop_t *loop;
    int launcher; /* -1: there is none */
    /* pid serves: stop accepting before this returns, or at once after it; 0: it came to nothing,
     * which is in the log. */
    void (*done)(void *ctx, pid_t pid);
    void *ctx;
};

struct upgrade *upgrade_new(const struct upgrade_options *options);

/* Begins. False: it is refused, or cannot be done; the log says why. done is not called. */
bool upgrade_start(struct upgrade *u, const struct upgrade_offer *offer);

/* Has it begun, and is not done? */
bool upgrade_runs(const struct upgrade *u);

/* Within done: has the new process left a socket of that listener to this one? */
bool upgrade_left(const struct upgrade *u, const struct listener_spec *spec);

/* Ends it, if it runs: the new process is killed. done is not called. */
void upgrade_cancel(struct upgrade *u);

/* Cancels, closes what is in the loop; it has to run before upgrade_free. May be called again. */
void upgrade_close(struct upgrade *u);
void upgrade_free(struct upgrade *u);

#endif
