/* SPDX-License-Identifier: Apache-2.0 */
/* What the control thread has, and what its parts ask of control.c. Private to control.c,
 * control_reload.c and control_upgrade.c. Control thread. */
#ifndef WEIR_CONTROL_STATE_H
#define WEIR_CONTROL_STATE_H

#include "proxy/admin.h"
#include "proxy/control.h"
#include "proxy/notify.h"
#include "proxy/trace/exporter.h"

enum phase {
    PHASE_SERVING,
    PHASE_LEAVING,
    PHASE_MOMENT,
    PHASE_CLOSING,
    PHASE_ABORTING,
    PHASE_ENDED
};

struct control {
    const struct control_options *options;
    struct reactor reactor;
    struct worker *workers;
    struct worker_shared shared;
    struct conn_budget budget;
    struct admin *admin;
    struct admin_view view;
    struct cert_watch *certs;
    struct config_watch *file;
    struct outlier_watch *outliers;
    struct health *health;
    struct registry *registry;
    struct discovery *discovery;
    struct exporter *exporter;
    bool found;    /* other endpoints than are in use */
    bool applying; /* workers have yet to take them */
    bool begun;    /* it was told that weir serves */
    bool failed;
    uv_timer_t first;
    struct generation *latest;
    struct list_node generations; /* the oldest first */
    struct generation *trial;     /* that a canary is of, until all workers have left it; or NULL */
    struct canary *canary;        /* until no worker counts for it; or NULL */
    struct generation *changing;  /* that workers have been told of last */
    bool loading;                 /* some have yet to do so */
    bool asked;                   /* it is to be loaded once more */
    struct canary_ask wanted;     /* that time, or now */
    uint64_t made;                /* generations so far */
    uint64_t loads;               /* begun so far */
    char *said;                   /* of the last */
    uint64_t shutdown_ms, next_shutdown_ms;
    struct notify notify;
    struct upgrade *upgrade;
    bool upgrade_asked;
    enum phase phase;
    uv_signal_t signals[5];
    uv_async_t told; /* by workers */
    uv_timer_t moment, deadline;
};

/* To every worker. */
void control_order(struct control *c, enum worker_order order);

/* What is open then is ended. */
void control_set_deadline(struct control *c, uint64_t ms);

/* Is what the signal asks for refused, and told so? Who drains changes nothing any more. */
bool control_is_late(const struct control *c, int signum);

#endif
