/* SPDX-License-Identifier: Apache-2.0 */
/* Handing over. Owns nothing; must never close what the new process has yet to get. Control thread.
 */
#include "proxy/control_upgrade.h"

#include <signal.h>

#include "proxy/base/log.h"
#include "proxy/cert_watch.h"
#include "proxy/discovery/registry.h"
#include "proxy/generation.h"
#include "proxy/runtime_centre.h"
#include "proxy/upgrade.h"

/* What waits in their queues is for this process to accept. */
static void leave_listeners(struct control *c)
{
    const struct snapshot *snap = c->latest->snapshot;
    for (size_t i = 0; i < snap->n_listeners; i++) {
        if (!upgrade_left(c->upgrade, snap->listeners[i]))
            continue;
        listen_remove(&snap->listeners[i]->addr);
        for (unsigned w = 0; w < c->options->n_workers; w++)
            c->workers[w].latest->listeners[i].at->left = true;
    }
}

/* Nothing closes here before its client knows: new conns are the other process' already. */
static void control_leave(struct control *c, pid_t successor)
{
    c->phase = PHASE_LEAVING;
    c->view.ready = false;
    cert_watch_close(c->certs);
    runtime_centre_stop(c->options->centre);
    leave_listeners(c);
    control_order(c, WORKER_LEAVE);
    if (c->admin != NULL)
        admin_leave(c->admin);
    control_set_deadline(c, c->shutdown_ms);
    log_info("upgrade: process %d serves; this one drains for at most %.1f s", (int)successor,
             (double)c->shutdown_ms / 1000);
    if (c->asked) /* it may have read what was there before */
        (void)kill(successor, SIGHUP);
}

void control_upgraded(void *ctx, pid_t successor)
{
    struct control *c = ctx;
    if (successor > 0) {
        control_leave(c, successor);
        return;
    }
    c->view.upgrades_failed++;
    registry_release(c->registry);
    uv_async_send(&c->told); /* a reload may have waited */
}

/* The upgrade has waited for it: the new process reads that file. */
static void on_registry_written(void *ctx)
{
    uv_async_send(&((struct control *)ctx)->told);
}

/* Not while workers change their sockets; nor before this one has what it may itself take over. */
void control_upgrade(struct control *c)
{
    struct upgrade_offer offer = {
        .workers = c->workers,
        .n_workers = c->options->n_workers,
        .snapshot = c->latest->snapshot,
        .admin_socket = c->options->admin_socket,
        .admin = &c->options->admin,
    };
    if (control_is_late(c, SIGUSR2)) {
        c->upgrade_asked = false;
        return;
    }
    if (!registry_hold(c->registry, on_registry_written, c))
        return;
    c->upgrade_asked = false;
    if (!upgrade_start(c->upgrade, &offer) && !upgrade_runs(c->upgrade))
        registry_release(c->registry);
}
